"""The vector file: an append-only matrix of float32 rows, mapped by readers and written past its committed end.

The catalogue says how many rows are committed. Rows past them are nobody's and are overwritten by the next commit;
committed rows are never changed, so that a reader needs no lock.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stackroom.errors import DamagedError
from stackroom.storage.disk import fsio, layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER = struct.Struct("<8s16sI4sI")
_FLOAT32 = b"<f4\x00"

_WORTH_A_THREAD = 256 * 1024
"""Bytes that are sent to the disk beside other work: less is there as soon as a thread has begun."""


@dataclass(frozen=True, slots=True)
class VectorMap:
    """The committed rows of one vector file, mapped; the arrays keep the map alive while anyone holds them."""

    path: Path
    rows: NDArray[np.float32]
    """float32, shape (rows, dim)"""
    norms: NDArray[np.float32] | None
    """float32, shape (rows,); None when every row is of unit length"""


def create(path: Path, dim: int) -> bytes:
    """Make an empty, durable vector file; returns the UUID in its header."""
    file_uuid = uuid.uuid4().bytes
    header = _HEADER.pack(layout.VECTOR_MAGIC, file_uuid, dim, _FLOAT32, 0)
    header = _HEADER.pack(layout.VECTOR_MAGIC, file_uuid, dim, _FLOAT32, zlib.crc32(header))
    with fsio.translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | fsio.NO_LINK, 0o600)
        try:
            fsio.write_at(descriptor, header.ljust(layout.VECTOR_HEADER, b"\x00"), 0)
            fsio.sync_file(descriptor)
        finally:
            os.close(descriptor)
        fsio.sync_directory(path.parent)
    return file_uuid


def check_header(path: Path, head: bytes, *, dim: int, file_uuid: bytes) -> None:
    """Raises DamagedError when these are not the first bytes of the vector file that the catalogue means."""
    if len(head) >= _HEADER.size:
        magic, found_uuid, found_dim, dtype, checksum = _HEADER.unpack_from(head)
        expected = zlib.crc32(_HEADER.pack(magic, found_uuid, found_dim, dtype, 0))
        if (magic, dtype, checksum) == (layout.VECTOR_MAGIC, _FLOAT32, expected) and (found_uuid, found_dim) == (
            file_uuid,
            dim,
        ):
            return
    raise DamagedError(
        f"{path} is not the vector file that the catalogue names, or its header is damaged.",
        hint="Restore the library from a backup, or bring back what can be: stackroom repair",
        path=path,
    )


def open_map(path: Path, *, rows: int, dim: int, file_uuid: bytes, unit: bool) -> VectorMap:
    """Map `rows` committed rows. Raises FileNotFoundError (replaced meanwhile: start again) and DamagedError."""
    # A file that is gone was replaced; whatever else the system says is about this file.
    with fsio.translated(path, passing=FileNotFoundError):
        mapped = _map(path, layout.VECTOR_HEADER, rows * dim * 4)
    check_header(path, mapped[: _HEADER.size], dim=dim, file_uuid=file_uuid)
    matrix = np.frombuffer(mapped, dtype="<f4", count=rows * dim, offset=layout.VECTOR_HEADER).reshape(rows, dim)
    norms = None
    if not unit:
        of_norms = layout.norms_of(path)
        with fsio.translated(of_norms, passing=FileNotFoundError):
            norms = np.frombuffer(_map(of_norms, 0, rows * 4), dtype="<f4", count=rows)
    return VectorMap(path, matrix, norms)


def _map(path: Path, header: int, length: int) -> mmap.mmap | bytes:
    with fsio.open_regular(path) as file:
        _require_whole(path, file.fileno(), header + length)
        if header + length == 0:
            return b""
        # Only the committed part, so that what a writer appends never shows.
        return mmap.mmap(file.fileno(), header + length, access=mmap.ACCESS_READ)


def described(path: Path) -> tuple[bytes, int] | None:
    """UUID and dimensions as the file's own header has them; None where that is damaged. Raises StorageError."""
    with fsio.translated(path), fsio.open_regular(path) as file:
        head = file.read(_HEADER.size)
    try:
        _, file_uuid, dim, _, _ = _HEADER.unpack(head)
        check_header(path, head, dim=dim, file_uuid=file_uuid)
    except (struct.error, DamagedError):
        return None
    return file_uuid, dim


def surviving(path: Path, *, dim: int) -> NDArray[np.float32] | None:
    """As many whole rows as the file has, mapped, whatever its header says; None where there is no file. Raises OSError."""
    n = max(fsio.size_of(path) - layout.VECTOR_HEADER, 0) // (4 * dim)
    try:
        mapped = _map(path, layout.VECTOR_HEADER, n * dim * 4)
    except (FileNotFoundError, DamagedError):
        return None
    rows = np.frombuffer(mapped, dtype="<f4", count=n * dim, offset=layout.VECTOR_HEADER)
    return rows.reshape(n, dim)


def are_norms(norms: NDArray[np.float32], rows: NDArray[np.float32]) -> bool:
    """Whether these are the lengths of these rows, but for rounding."""
    with np.errstate(invalid="ignore"):
        return bool(np.allclose(norms, lengths(rows), rtol=1e-5, atol=0))


def missing(path: str | os.PathLike[str]) -> DamagedError:
    """The error for a vector file that the catalogue names and nobody has replaced."""
    return DamagedError(
        f"The vector file {os.fspath(path)} is missing.",
        hint="Restore the library from a backup, or bring back what can be: stackroom repair",
        path=path,
    )


def lengths(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean norm of each row, float64 of shape `(n,)`, in blocks so that memory stays small."""
    norms = np.empty(len(rows), dtype=np.float64)
    for first in range(0, len(rows), 4096):
        block = rows[first : first + 4096].astype(np.float64)
        norms[first : first + 4096] = np.sqrt(np.vecdot(block, block))
    return norms


def all_unit(norms: NDArray[np.float64]) -> bool:
    """Whether these rows may be scanned without their norms: off by less than float32's own rounding matters."""
    return bool(np.all(np.abs(norms - 1.0) <= 1e-6))


def _open_whole(path: Path, least: int) -> int:
    """A descriptor to write with, of a file that has what was committed to it. Raises OSError, DamagedError."""
    try:
        descriptor = os.open(path, os.O_RDWR | fsio.NO_LINK)
    except FileNotFoundError as error:
        raise missing(path) from error
    try:
        _require_whole(path, descriptor, least)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_whole(path: Path, descriptor: int, least: int) -> None:
    """Raises DamagedError where a file has fewer bytes."""
    size = os.fstat(descriptor).st_size
    if size < least:
        raise DamagedError(
            f"{path} is shorter than what was committed to it.",
            hint="Restore the library from a backup, or bring back what can be: stackroom repair",
            path=path,
            expected=least,
            actual=size,
        )


class Appender:
    """Writes rows past the committed end of one vector file, for one commit.

    Raises DamagedError where the file is not the one that the catalogue names, or is shorter than what was committed to it: rows
    behind a hole would hide that.
    """

    def __init__(self, path: Path, *, rows: int, dim: int, unit: bool, file_uuid: bytes) -> None:
        self.path = path
        self.rows = rows
        self.unit = unit
        self._dim = dim
        self._norms: int | None = None
        self._ahead: _SyncAhead | None = None
        self._synced = rows
        with contextlib.ExitStack() as undone, fsio.translated(path):
            self._file = _open_whole(path, layout.VECTOR_HEADER + rows * dim * 4)
            undone.callback(os.close, self._file)
            check_header(path, fsio.read_at(self._file, _HEADER.size, 0), dim=dim, file_uuid=file_uuid)
            if not unit:
                self._norms = _open_whole(layout.norms_of(path), rows * 4)
            undone.pop_all()

    def append(self, rows: NDArray[np.float32]) -> int:
        """Write rows (float32, C-contiguous, shape `(n, dim)`); returns the row number of the first."""
        first = self.rows
        norms = lengths(rows)
        with fsio.translated(self.path):
            if self.unit and not all_unit(norms):
                self._begin_norms()
            fsio.write_at(self._file, rows.data, layout.VECTOR_HEADER + first * self._dim * 4)
            if self._norms is not None:
                fsio.write_at(self._norms, norms.astype("<f4").data, first * 4)
        self.rows += len(rows)
        return first

    def sync_ahead(self) -> None:
        """Have what was written go to the disk beside what is done next, where it is worth it; `sync` waits for it, and sees to the rest."""
        ahead = self._ahead
        if ahead is not None:
            # What the disk has refused is for `sync` to say: there it ends the writer.
            if ahead.is_alive() or ahead.refused is not None:
                return
            self._synced = ahead.rows
        if (self.rows - self._synced) * self._dim * 4 < _WORTH_A_THREAD:
            return
        ahead = _SyncAhead(self._file, self.rows)
        # There are no more threads to be had, or the interpreter is ending: `sync` does all of it.
        with contextlib.suppress(RuntimeError):
            ahead.start()
            self._ahead = ahead

    def sync(self) -> None:
        """Have every row on the disk."""
        with fsio.translated(self.path):
            if self._ahead is not None:
                self._ahead.join()
                if self._ahead.refused is not None:
                    raise self._ahead.refused
                self._synced = self._ahead.rows
            if self._synced < self.rows:
                fsio.sync_file(self._file)
                self._synced = self.rows
            if self._norms is not None:
                fsio.sync_file(self._norms)

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.join()
        os.close(self._file)
        if self._norms is not None:
            os.close(self._norms)

    def _begin_norms(self) -> None:
        """The first row that is not of unit length: from now on every row's norm is kept, also the older ones'."""
        path = layout.norms_of(self.path)
        with fsio.translated(path):
            self._norms = os.open(path, os.O_RDWR | os.O_CREAT | fsio.NO_LINK, 0o600)
        width = self._dim * 4
        for first in range(0, self.rows, 4096):
            n = min(4096, self.rows - first)
            data = fsio.read_at(self._file, n * width, layout.VECTOR_HEADER + first * width)
            block = np.frombuffer(data, dtype="<f4").reshape(n, self._dim)
            fsio.write_at(self._norms, lengths(block).astype("<f4").data, first * 4)
        fsio.sync_directory(self.path.parent)
        self.unit = False


class _SyncAhead(threading.Thread):
    """Syncs a file whose first `rows` rows were written before."""

    def __init__(self, file: int, rows: int) -> None:
        super().__init__(name="stackroom-sync", daemon=True)
        self.rows = rows
        self.refused: OSError | None = None
        self._file = file

    def run(self) -> None:
        try:
            fsio.sync_file(self._file)
        except OSError as error:
            self.refused = error
