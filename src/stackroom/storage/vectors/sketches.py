"""Sketches: quantised copies of vector rows, a thirtieth of their size, that find candidates for the exact scan.

A sketch is derived. Deleting every one of them costs speed and nothing else: what has no sketch, or one that can't be trusted, is scanned
exactly. It is a FAISS index of the kind IVF-RaBitQ-FastScan with one list [1], because that one honours a selection of rows. What is stored
is its codes and its centroid, which are put into an empty index again: FAISS's own reader trusts its input, and a library may come from a
stranger.

A vector file's committed rows never change, so that a sketch of some of them is good as long as the file is. The catalogue says which sketches
there are: those that it does not name were made from rows that another state of the catalogue had.

[1] Gao and Long: RaBitQ. Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search.
    SIGMOD 2024, https://arxiv.org/abs/2405.12497
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stackroom._forking import Gate
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.vectors.spaces import Space
from stackroom.storage.vectors.vector_file import VectorMap
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ranges = NDArray[np.int64]

WORTH_BYTES = 4 * 1024 * 1024
"""Rows without a sketch of this size get one: below, scanning them takes less than a search of a sketch, or little more."""

GROWTH = 4
"""A sketch that is less than this many times as large as the rows behind it is made again, together with them: so there are few."""

LOADING_BYTES = 256 * 1024 * 1024
"""What could be scanned in the time that importing FAISS takes. A process that searches less never loads a sketch."""

_AHEAD = 2
"""A process that asks again imports FAISS beside its searches from one so manyth of that on: a question from a command line never does."""

LEAST_DIMENSIONS = 32
_LONGER = 32
_SMALLEST = 1e-9
_SPARE = 2
_SAMPLE = 16_384
_COPIED = 4 * 1024 * 1024
_BLOCK = 4 * 1024 * 1024
_LARGEST = np.float32(1e12)
_MAGIC = b"STRMSKT\x01"
_HEADER = struct.Struct("<8s16sQQI4s16sI")
_METRICS: dict[Metric, bytes] = {"cosine": b"cos\x00", "dot": b"dot\x00", "l2": b"l2\x00\x00"}


_IMPORTING = Gate()


class Entry(NamedTuple):
    """A sketch as the catalogue has it: of the rows [first, first + n)."""

    first: int
    n: int
    file: str

    @property
    def end(self) -> int:
        return self.first + self.n


def of_space(connection: Connection, space: Space) -> list[Entry]:
    """The sketches of a space, by row. What a library from a stranger says beyond its own rows, or about other folders, is no sketch."""
    rows = connection.rows(
        "SELECT first_row, n, file FROM sketches WHERE space_key = ? ORDER BY first_row", (space.key,)
    )
    found: list[Entry] = []
    for entry in (Entry(*row) for row in rows):
        start = found[-1].end if found else 0
        if start <= entry.first < entry.end <= space.rows and layout.is_name(entry.file):
            found.append(entry)
    return found


def register(connection: Connection, space_key: int, made: Entry) -> None:
    """Name a sketch, in place of those of its rows."""
    connection.execute("DELETE FROM sketches WHERE space_key = ? AND first_row >= ?", (space_key, made.first))
    connection.execute("INSERT INTO sketches VALUES(?, ?, ?, ?)", (space_key, *made))


def wanted(space: Space, entries: Sequence[Entry]) -> tuple[int, int] | None:
    """The rows that the next sketch should be of: those that have none, and those of small ones before them. None: all is well."""
    first, good = 0, []
    for entry in entries:
        if entry.first == first:
            good.append(entry)
            first = entry.end
    if (space.rows - first) * space.dim * 4 < WORTH_BYTES:
        return None
    for entry in reversed(good):
        if entry.n >= GROWTH * (space.rows - first):
            break
        first = entry.first
    return first, space.rows


def is_fit(space: Space, vectors: VectorMap, first: int, end: int) -> bool:
    """Whether a sketch of these rows would be of use.

    One bit for each of few dimensions says little; and rows of very different lengths, whose length counts, share a scale that fits none.
    """
    if space.dim < LEAST_DIMENSIONS:
        return False
    if space.metric == "cosine" or vectors.norms is None:
        return True
    norms = vectors.norms[_spread(first, end)]
    middle = float(np.median(norms))
    return middle > _SMALLEST and float(norms.max()) < min(_LONGER * middle, 1 / _SMALLEST)


@dataclass(slots=True)
class Sketch:
    """A sketch in memory. `candidates` may be called from several threads."""

    first: int
    n: int
    _index: Any
    _coarse: Any
    """belongs to the index, which does not keep it alive"""
    _metric: Metric

    @property
    def end(self) -> int:
        return self.first + self.n

    def candidates(
        self, query: NDArray[np.float32], k: int, within: KeySet
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of the file (int64) that are likely among the best `k` of `within`, with estimates (float32, higher is better)."""
        faiss = _faiss()
        # One bit a row, the lowest first, as FAISS has it.
        whole = within.count == self.n
        bits = None if whole else np.packbits(within.marks(self.first, self.end), bitorder="little")
        chosen = None if bits is None else faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParametersIVF(nprobe=1, sel=chosen) if chosen is not None else None
        with _one_thread(faiss):
            distances, rows = self._index.search(query[None], min(k, self.n), params=parameters)
        found = rows[0] >= 0
        estimates = distances[0][found] if self._metric == "dot" else -distances[0][found]
        return rows[0][found] + self.first, estimates


def build(path: Path, space: Space, vectors: VectorMap, first: int, end: int, *, check: Callable[[], None]) -> None:
    """Write a sketch of the rows [first, end) to `path`. Raises StorageError, and what `check` raises, which is called between portions."""
    faiss = _faiss()
    centroid = _centroid(vectors, space.metric, first, end)
    index, coarse = _empty(centroid, space.metric)
    step = _at_once(space.dim)
    # Portions are too small for more: the threads wait for one another in a loop, which takes twice the time. And OpenMP in a forked
    # child waits forever for those that its parent had.
    with _one_thread(faiss):
        for start in range(first, end, step):
            check()
            index.add(_prepared(vectors, space.metric, slice(start, min(start + step, end))))
    lists = faiss.downcast_InvertedLists(index.invlists)
    codes = faiss.rev_swig_ptr(lists.get_codes(0), _code_bytes(lists, end - first))
    del coarse
    body = centroid.tobytes(), codes.data
    checksum = zlib.crc32(body[1], zlib.crc32(body[0]))
    header = _header(space, first, end - first, checksum)
    with fsio.translated(path), path.open("xb") as file:
        os.chmod(path, 0o600)
        for part in (header, *body):
            file.write(part)


def is_usable(path: Path, space: Space, entry: Entry) -> bool:
    """Whether the file says that it is this sketch, made by this FAISS."""
    with contextlib.suppress(OSError, struct.error), fsio.open_regular(path) as file:
        head = file.read(_HEADER.size)
        return head == _header(space, entry.first, entry.n, _HEADER.unpack(head)[-1])
    return False


def is_damaged(path: Path) -> bool:
    """Whether the file is there and not what was written, whoever wrote it."""
    head, checksum = _read(path)
    return path.exists() and (len(head) < _HEADER.size or _HEADER.unpack(head)[-1] != checksum)


def _read(path: Path) -> tuple[bytes, int]:
    """Header, and checksum of what follows; an empty one where there is no such file."""
    with contextlib.suppress(OSError), fsio.open_regular(path) as file:
        head, checksum = file.read(_HEADER.size), 0
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
        return head, checksum
    return b"", 0


def load(path: Path, space: Space, entry: Entry) -> Sketch | None:
    """The sketch in this file; None where it is gone, damaged, or of another FAISS, whose codes may be other ones."""
    # Whatever is wrong with it, and with FAISS: the rows are scanned then.
    with contextlib.suppress(Exception), fsio.open_regular(path) as file:
        faiss = _faiss()
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return None
        checksum = _HEADER.unpack(head)[-1]
        if head != _header(space, entry.first, entry.n, checksum):
            return None
        centroid = np.fromfile(file, dtype="<f4", count=space.dim)
        if len(centroid) != space.dim:
            return None
        index, coarse = _empty(centroid, space.metric)
        lists = faiss.downcast_InvertedLists(index.invlists)
        size = _code_bytes(lists, entry.n)
        if path.stat().st_size != _HEADER.size + space.dim * 4 + size:
            return None
        lists.resize(0, entry.n)
        codes = faiss.rev_swig_ptr(lists.get_codes(0), size)
        if file.readinto(codes.data) != size or zlib.crc32(codes.data, zlib.crc32(centroid.data)) != checksum:
            return None
        faiss.rev_swig_ptr(lists.get_ids(0), entry.n)[:] = np.arange(entry.n)
        index.ntotal = entry.n
        return Sketch(entry.first, entry.n, index, coarse, space.metric)
    return None


@functools.cache
def _faiss() -> Any:
    """FAISS, imported at its first use. Its stubs don't know what its Python layer adds."""
    # A thread makes sketches beside the program, which may fork: its child would wait for the half of an import for ever.
    with _IMPORTING.within():
        return importlib.import_module("faiss")


@functools.cache
def _import_ahead() -> None:
    """Import FAISS in a thread, once: a later question will need it, and should not wait for that."""

    def quietly() -> None:
        with contextlib.suppress(Exception):  # who needs it meets the same, and does without
            _faiss()

    # Not a daemon: who is within an import when the interpreter ends would take the process down with it. A fork waits at the gate.
    with contextlib.suppress(RuntimeError):  # no thread begins when the interpreter ends
        threading.Thread(target=quietly, name="stackroom-faiss").start()


@functools.cache
def _version() -> str:
    """FAISS's, without importing it where its package says it."""
    from importlib import metadata  # a tenth of a start, and needed only where there is a sketch

    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("faiss-cpu")
    return str(_faiss().__version__)


@contextlib.contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    """One query, or one portion, is over before a second thread of a busy machine has begun. OpenMP keeps the number for each thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _header(space: Space, first: int, n: int, checksum: int) -> bytes:
    made_by = _version().encode()[:16].ljust(16, b"\x00")
    return _HEADER.pack(_MAGIC, space.file_uuid, first, n, space.dim, _METRICS[space.metric], made_by, checksum)


def _empty(centroid: NDArray[np.float32], metric: Metric) -> tuple[Any, Any]:
    """An index with one list around the centroid, and its coarse quantiser, which must live as long."""
    faiss = _faiss()
    dim = len(centroid)
    kind = faiss.METRIC_INNER_PRODUCT if metric == "dot" else faiss.METRIC_L2
    coarse = faiss.IndexFlat(dim, kind)
    coarse.add(centroid[None])
    index = faiss.IndexIVFRaBitQFastScan(coarse, dim, 1, kind)
    index.is_trained = True
    return index, coarse


def _code_bytes(lists: Any, n: int) -> int:
    blocks = -(-n // lists.n_per_block)
    return int(blocks * lists.block_size)


def _centroid(vectors: VectorMap, metric: Metric, first: int, end: int) -> NDArray[np.float32]:
    """The mean of rows that are spread evenly."""
    rows = _spread(first, end)
    dim = vectors.rows.shape[1]
    total = np.zeros(dim, dtype=np.float64)
    for start in range(0, len(rows), _at_once(dim)):
        part = rows[start : start + _at_once(dim)]
        total += _prepared(vectors, metric, part).sum(axis=0, dtype=np.float64)
    centroid: NDArray[np.float32] = (total / len(rows)).astype("<f4")
    return centroid


def _spread(first: int, end: int) -> NDArray[np.int64]:
    """A sample of these rows, spread evenly."""
    return np.unique(np.linspace(first, end - 1, min(_SAMPLE, end - first)).astype(np.int64))


def _at_once(dim: int) -> int:
    """How many rows are copied at a time: what is held does not follow the library, nor the model."""
    return max(_COPIED // (4 * dim), 1)


def _prepared(vectors: VectorMap, metric: Metric, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows as they are sketched: by cosine, of unit length, so that the nearest ones are those of the highest score."""
    found = np.array(vectors.rows[rows], dtype=np.float32)
    if metric == "cosine" and vectors.norms is not None:
        norms = vectors.norms[rows][:, None]
        found = np.divide(found, norms, out=np.zeros_like(found), where=norms > 0)
    # What no model makes would spoil the centroid, and all others' codes with it.
    return np.clip(np.nan_to_num(found, copy=False), -_LARGEST, _LARGEST, out=found)


class Shelf:
    """The sketches that this process has loaded, by space."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loaded: dict[int, dict[str, Sketch | None]] = {}
        self._loading = False
        self._scanned = 0

    def take(self, library: Path, space: Space, entries: Sequence[Entry], scanning: int) -> list[Sketch]:
        """The sketches of a space. None as long as this process has scanned too little for loading to pay; `scanning` bytes are next.

        While one thread loads (the first one imports FAISS), others do without.
        """
        with self._guard:
            held = self._loaded.get(space.key)
            if held is None:
                asks_again, self._scanned = self._scanned > 0, self._scanned + scanning
                if not entries or self._scanned < LOADING_BYTES:
                    if entries and asks_again and self._scanned * _AHEAD >= LOADING_BYTES:
                        _import_ahead()
                    return []
                held = self._loaded[space.key] = {}
            missing = [entry for entry in entries if entry.file not in held]
            loads = bool(missing) and not self._loading
            self._loading = self._loading or loads
        loaded: dict[str, Sketch | None] = {}
        if loads:
            try:
                loaded = {entry.file: load(layout.sketches(library) / entry.file, space, entry) for entry in missing}
            finally:
                with self._guard:
                    self._loading = False
        with self._guard:
            held.update(loaded)
            names = {entry.file for entry in entries}
            # Some are kept for older views, which would load them again at every search.
            for name in [name for name in held if name not in names][:-_SPARE]:
                del held[name]
            return [found for entry in entries if (found := held.get(entry.file)) is not None]
