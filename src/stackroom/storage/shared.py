"""What the snapshots of one catalogue share: maps and loaded files, and what was derived from the newest version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stackroom.storage.derived import Newest
from stackroom.storage.vectors import sketches, spaces
from stackroom.storage.vectors.vector_file import VectorMap, open_map

if TYPE_CHECKING:
    from stackroom.storage.words.word_files import Shelf

_MAPPED = 16
"""Vector files that are kept mapped: those of some collections that have vectors of their own."""


class Shared:
    """Of one catalogue in one process. Threads may share it."""

    def __init__(self, library: Path, file: tuple[int, int]) -> None:
        self.library = library
        self.file = file
        """the catalogue: what another one in its place says is another matter"""
        self.sketches = sketches.Shelf()
        self._word_files: Shelf | None = None
        self._mapped: dict[tuple[bytes, int, bool], VectorMap] = {}
        self.derived = Newest()

    def map(self, space: spaces.Space) -> VectorMap:
        """The rows of a space. Raises FileNotFoundError."""
        key = (space.file_uuid, space.rows, space.unit)
        found = self._mapped.get(key)
        if found is None:
            path = space.path(self.library)
            found = open_map(path, rows=space.rows, dim=space.dim, file_uuid=space.file_uuid, unit=space.unit)
            # Of one file the newest state; assigned at once, as threads may share it.
            others = [(other, map_) for other, map_ in self._mapped.items() if other[0] != space.file_uuid]
            self._mapped = dict([*others[1 - _MAPPED :], (key, found)])
        return found

    @property
    def word_files(self) -> Shelf:
        # Imported where words are asked for: a process that asks with a vector starts sooner.
        if self._word_files is None:
            from stackroom.storage.words.word_files import Shelf

            self._word_files = Shelf()
        return self._word_files
