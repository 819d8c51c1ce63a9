"""What would grow in memory with an old store, tables of offsets and hashes, lies in a file without a name once it is large.

A mapped file is memory that the system may take back at any time, so that the process stays as small as it began.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from stackroom.storage.disk import fsio

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 1024 * 1024
"""Bytes from which on a table leaves memory."""


class Spill:
    """Bytes that are written once, from the first to the last, and then read in any order. Raises StorageError, DiskFullError."""

    def __init__(self) -> None:
        self._recent = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, data: bytes | memoryview) -> None:
        self._recent += data
        if len(self._recent) >= LARGE:
            with fsio.translated(Path(tempfile.gettempdir())):
                if self._file is None:
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `done`)
                self._file.write(self._recent)
            self._recent.clear()

    def done(self) -> mmap.mmap | bytes:
        """All of it. The file goes with the last one who holds its map. Raises StorageError."""
        if self._file is None:
            return bytes(self._recent)
        with fsio.translated(Path(tempfile.gettempdir())), self._file as file:
            file.write(self._recent)
            file.flush()
            self._recent.clear()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class Offsets:
    """Integers that are appended, and then read in any order."""

    def __init__(self) -> None:
        self._recent = array("q")
        self._spill = Spill()

    def extend(self, values: Iterable[int]) -> None:
        self._recent.extend(values)
        if len(self._recent) >= LARGE // 8:
            self._spill.write(memoryview(self._recent).cast("B"))
            self._recent = array("q")

    def done(self) -> memoryview:
        self._spill.write(memoryview(self._recent).cast("B"))
        return memoryview(self._spill.done()).cast("q")


def settled(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same numbers, out of memory where there are many."""
    if numbers.nbytes < LARGE:
        return numbers
    spill = Spill()
    spill.write(numbers.data.cast("B"))
    return np.frombuffer(spill.done(), dtype=np.int64)
