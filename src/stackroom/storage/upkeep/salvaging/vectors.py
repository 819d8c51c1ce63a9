"""Spaces and rows of a damaged library. Rows are compared with their checksums; a file of which any is lost is written anew with the others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.errors import DamagedError
from stackroom.storage import writer
from stackroom.storage.catalogue import codec
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.upkeep import compaction
from stackroom.storage.upkeep.salvaging.findings import Findings
from stackroom.storage.upkeep.salvaging.tables import UNREADABLE, Table, Tables, decoded
from stackroom.storage.vectors import extents, sketches, spaces, vector_file
from stackroom.storage.vectors.extents import Extent
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Vectors:
    def __init__(self, library: Path, tables: Tables, target: Connection, found: Findings) -> None:
        self._library = library
        self._tables = tables
        self._target = target
        self._found = found

    def take(self, live: KeySet) -> None:
        columns = "space_key, state, identity, dim, metric, unit, file, file_uuid, rows"
        named: dict[int, spaces.Space] = {}
        table = self._tables.table("spaces", columns, "space_key")
        mended = self._found.identities
        found = [decoded(spaces.to_space, (*row[:2], mended.get(row[0], row[2]), *row[3:])) for row in table.rows()]
        unread = not table.whole or None in found
        serving = False
        for space in found:
            # Two that serve can't be.
            if space is not None and not (serving and space.state == spaces.SERVING):
                named[space.key] = space
                serving = serving or space.state == spaces.SERVING
        kept = Table(
            self._tables.connection,
            "extents",
            "space_key, first_row, n, first_key, document_key, checksums",
            "space_key, first_row",
        )
        by_space: dict[int, list[Extent]] = {}
        for key, *fields in kept.rows():
            if self._is_extent(fields):
                by_space.setdefault(key, []).append(Extent(*fields))
        own = self._own()
        homeless = [space for space in named.values() if space.state == spaces.OWN and space.key not in own]
        for space in homeless:
            self._give_back(space, by_space.get(space.key, []), alone=len(homeless) == 1)
        own = self._own()
        # The one with the most vectors first: that is the library's own.
        for key in sorted(by_space.keys() - named.keys(), key=lambda key: -sum(e.n for e in by_space[key])):
            state = spaces.OWN if key in own else spaces.BUILDING if serving else spaces.SERVING
            space = self._of_file(key, state)
            if space is not None:
                named[key] = space
                serving = serving or state == spaces.SERVING
                self._found.is_lost("spaces", f"Which model made the vectors of {space.file}.")
        for space in sorted(named.values(), key=lambda space: space.key):
            if space.state == spaces.BUILDING:
                self._found.restored.append(
                    "A change of model that was under way begins anew: stackroom rebuild --embedder NAME"
                )
            elif space.state == spaces.FORMER:
                self._found.restored.append(
                    f"The vectors of the model before, {space.identity.name!r}, are not kept: there is no way back to it"
                )
            elif space.state == spaces.SERVING or space.key in own:
                self._space(
                    space, sorted(by_space.get(space.key, []), key=lambda e: e.first_key), live, whole=kept.whole
                )
        known = {row[0] for row in self._target.rows("SELECT space_key FROM spaces")}
        for key in own - known:
            self._target.execute("UPDATE collections SET space_key = NULL WHERE space_key = ?", (key,))
            self._found.is_lost("vectors", "The vectors of a collection of its own.")
        if unread and not serving:
            self._found.is_lost("spaces", "The vectors of the library, and which model made them.")

    def _own(self) -> set[int]:
        return {row[0] for row in self._target.rows("SELECT space_key FROM collections WHERE space_key IS NOT NULL")}

    def _give_back(self, space: spaces.Space, found: list[Extent], *, alone: bool) -> None:
        """Vectors that no collection says are its own: those of the one whose record is lost, and whose passages these are.

        One that has nothing but vectors lists no passages: where there is one such, and no other such vectors, they belong together.
        """
        keys = np.array([(extent.first_key, extent.first_key + extent.n) for extent in found], dtype=np.int64)
        wanted = KeySet.from_ranges(np.sort(keys.reshape(-1, 2), axis=0))
        held = {key: self._listed(key) for key in self._found.named_alone}
        fitting = [key for key, listed in held.items() if listed.count and not wanted.difference(listed).count]
        if not fitting and alone:
            fitting = [key for key, listed in held.items() if not listed.count]
        if len(fitting) == 1:
            self._target.execute(
                "UPDATE collections SET space_key = ? WHERE collection_key = ?", (space.key, fitting[0])
            )
            self._found.named_alone.discard(fitting[0])
            self._found.restored.append(f"The vectors of {space.file} went back to the collection that had lost them.")
        else:
            self._found.is_lost("vectors", f"Which collection the vectors of {space.file} belong to.")

    def _listed(self, collection: int) -> KeySet:
        """The passages that it lists, or has for itself."""
        ranges = [
            *self._target.rows(
                "SELECT first_key, first_key + n FROM collection_members WHERE collection_key = ?", (collection,)
            ),
            *self._target.rows("SELECT key, key + 1 FROM chunks WHERE collection_key = ?", (collection,)),
        ]
        return KeySet.from_ranges(np.array(sorted(ranges), dtype=np.int64).reshape(-1, 2))

    def _is_extent(self, fields: Sequence[Any]) -> bool:
        first_row, n, first_key, document, checksums = fields
        whole = all(isinstance(value, int) and value >= 0 for value in (first_row, n, first_key, document))
        return whole and isinstance(checksums, bytes) and 0 < n <= self._tables.most and len(checksums) == 4 * n

    def _of_file(self, key: int, state: str) -> spaces.Space | None:
        """A space whose record is gone: what its file says of itself."""
        folder = layout.vectors(self._library)
        with fsio.translated(folder):
            names = sorted(path.name for path in folder.iterdir() if re.fullmatch(rf"{key}\.\d{{4}}", path.name))
        for name in reversed(names):
            described = vector_file.described(folder / name)
            if described is not None:
                file_uuid, dim = described
                held = (fsio.size_of(folder / name) - layout.VECTOR_HEADER) // (4 * dim)
                identity = EmbedderIdentity(name="", dim=dim)
                return spaces.Space(key, state, identity, dim, identity.metric, True, name, file_uuid, held)
        return None

    def _space(self, space: spaces.Space, found: list[Extent], live: KeySet, *, whole: bool) -> None:
        rows = vector_file.surviving(space.path(self._library), dim=space.dim)
        had = KeySet.from_ranges(
            np.array([(e.first_key, e.first_key + e.n) for e in found], dtype=np.int64).reshape(-1, 2)
        )
        if whole and self._is_sound(space, found, live):
            self._copy_space(space, found)
            return
        # Where extents may be gone, a passage without a row may have lost it.
        wanted = live.intersection(had) if whole and _tiles(self._tables.connection, space, found) else live
        good = self._rewrite(space, found, rows, live)
        lost = wanted.difference(good)
        name = f"{layout.VECTORS}/{space.file}"
        self._found.restored.append(
            f"Vectors of {name} that are as they were: {good.count:,}."
            if good.count
            else f"No vector of {name} is left."
        )
        if space.state == spaces.SERVING:
            self._found.missing = lost
            return
        for key in lost.intersection(had).keys().tolist():
            document = self._target.value("SELECT document_key FROM chunks WHERE key = ?", (key,))
            self._found.is_lost(
                "vectors", f"The vector of the passage with key {key} in a collection of its own.", document or 0
            )
        if not (whole and _tiles(self._tables.connection, space, found)):
            self._found.is_lost(
                "vectors", f"Which passages some of the {space.rows:,} rows of {space.file} belonged to."
            )

    def _is_sound(self, space: spaces.Space, found: list[Extent], live: KeySet) -> bool:
        if not _tiles(self._tables.connection, space, found):
            return False
        try:
            path = space.path(self._library)
            mapped = vector_file.open_map(
                path, rows=space.rows, dim=space.dim, file_uuid=space.file_uuid, unit=space.unit
            )
        except (DamagedError, FileNotFoundError):
            return False
        for extent in found:
            inside = live.contains(np.arange(extent.first_key, extent.first_key + extent.n)).all()
            if not inside or len(_good_rows(mapped.rows, extent)) != extent.n:
                return False
        return mapped.norms is None or vector_file.are_norms(mapped.norms, mapped.rows)

    def _copy_space(self, space: spaces.Space, found: list[Extent]) -> None:
        spaces.insert(self._target, space)
        for extent in found:
            extents.add(self._target, space.key, extent)
        for first, n in self._tables.column(f"SELECT first_row, n FROM dead_rows WHERE space_key = {space.key}"):
            self._target.execute("INSERT INTO dead_rows VALUES(?, ?, ?)", (space.key, first, n))
        folder = layout.sketches(self._library)
        for entry in decoded(lambda _: sketches.of_space(self._tables.connection, space), ()) or []:
            if sketches.is_usable(folder / entry.file, space, entry) and not sketches.is_damaged(folder / entry.file):
                self._target.execute("INSERT INTO sketches VALUES(?, ?, ?, ?)", (space.key, *entry))

    def _rewrite(
        self, space: spaces.Space, found: list[Extent], rows: NDArray[np.float32] | None, live: KeySet
    ) -> KeySet:
        """A new file of the rows that are what was written; the keys that have one."""
        name = spaces.new_file_name(self._target, self._library, space.key)
        path = layout.vectors(self._library) / name
        file_uuid = vector_file.create(path, space.dim)
        self._found.made.append(path)
        self._found.replaced.append(space.path(self._library))
        appender = vector_file.Appender(path, rows=0, dim=space.dim, unit=True, file_uuid=file_uuid)
        kept: list[int] = []
        try:

            def parts() -> Iterator[Extent]:
                for extent in found:
                    alive = live.contains(np.arange(extent.first_key, extent.first_key + extent.n))
                    for offset in _good_rows(rows, extent) if rows is not None else ():
                        key = extent.first_key + offset
                        if not alive[offset] or (kept and key <= kept[-1]):
                            continue
                        row = np.array(rows[extent.first_row + offset : extent.first_row + offset + 1])  # type: ignore[index]
                        first = appender.append(np.ascontiguousarray(row, dtype="<f4"))
                        kept.append(key)
                        yield Extent(first, 1, key, extent.document_key, writer.row_checksums(key, row))

            written = list(compaction.joined(parts()))
            appender.sync()
        finally:
            appender.close()
        spaces.insert(
            self._target, replace(space, file=name, file_uuid=file_uuid, rows=appender.rows, unit=appender.unit)
        )
        for extent in written:
            extents.add(self._target, space.key, extent)
        return KeySet.from_keys(np.array(kept, dtype=np.int64))


def _tiles(source: Connection, space: spaces.Space, found: list[Extent]) -> bool:
    """Whether extents and dead rows are all the rows of the file, each once."""
    ranges = [(extent.first_row, extent.first_row + extent.n) for extent in found]
    try:
        dead = source.rows("SELECT first_row, n FROM dead_rows WHERE space_key = ?", (space.key,))
        ranges += [(first, first + n) for first, n in dead]
    except UNREADABLE:
        return False
    end = 0
    for first, stop in sorted(ranges):
        if first != end:
            return False
        end = stop
    return end == space.rows


def _good_rows(rows: NDArray[np.float32], extent: Extent) -> list[int]:
    """The offsets within an extent of the rows that are what was written."""
    sums = np.frombuffer(extent.checksums, dtype="<u4").tolist()
    there = rows[extent.first_row : extent.first_row + extent.n]
    return [
        offset
        for offset, row in enumerate(there)
        if codec.row_checksum(extent.first_key + offset, np.ascontiguousarray(row).data.cast("B")) == sums[offset]
    ]
