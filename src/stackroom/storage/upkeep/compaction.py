"""Giving disk back: vector files without dead rows, full text without tombstones, free pages returned.

What deletes leave behind is bounded without anybody asking (`reclaim`); `compact` gives all of it back.

The long copy is made from a snapshot while others read and write. Then, under the writer lock, what changed meanwhile is
caught up with, and one commit switches to the new file. Chunks and their text are not touched.
"""

from __future__ import annotations

import contextlib
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import indexed_metadata
from stackroom.errors import BusyError
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.reports import Compaction
from stackroom.storage.catalogue import codec, metadata, originals, records, runs, schema
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.catalogue.summary import sizes
from stackroom.storage.disk import fsio, layout
from stackroom.storage.upkeep import maintenance, search_files
from stackroom.storage.vectors import extents, spaces, vector_file
from stackroom.storage.vectors.extents import Extent
from stackroom.storage.words import fulltext

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.store import LocalStore

_ROWS = 1024
_RECORDS = 4096
"""Of which the metadata is held in memory."""
_PAGES = 2_000
_PAGES_BESIDE = 250
"""So few that nobody waits for them."""
_LEAST_BYTES = 32 << 20
"""Of dead rows or free pages: less is not worth a copy."""
_MERGE_PAGES = 1_000

_READERS_SECONDS = 2.0
"""How long views of older states are waited for, before the WAL stays as it is."""


def compact(store: LocalStore, *, progress: Progress, cancel: CancelToken) -> Compaction:
    """Rewrite what holds dead space. Raises BusyError while an ingest runs, DamagedError, StorageError."""
    with store.lease("compact"), search_files.alone(store, "compact"):
        return _compact(store, progress, lambda: cancel.cancelled)


def _compact(store: LocalStore, progress: Progress, stopped: Callable[[], bool]) -> Compaction:
    before = sizes(store.path)["total"]
    dropped = 0
    with store.view() as view:
        living = spaces.every(view.connection)
    for space in living:
        if not stopped():
            dropped += _rewrite_vectors(store, space, progress, stopped)
    if not stopped():
        with store.exclusive() as writer:
            with writer.connection:
                metadata.cut(writer.connection, runs.everything(writer.connection))
            _shrink(writer.connection, progress, stopped)
            sweep(store.path, writer.connection)
    return Compaction(before, sizes(store.path)["total"], dropped)


def is_due(connection: Connection) -> bool:
    """Whether deletes have left so much that `reclaim` gives some of it back."""
    return any(_is_wasteful(connection, space) for space in spaces.every(connection)) or _free_pages(connection) > 0


def reclaim(store: LocalStore, *, progress: Progress, stopped: Callable[[], bool]) -> None:
    """Give back what deletes have left, beside readers and writers, where it is a third of what there is.

    So a vector file is never much larger than one and a half times its live rows, and no row is rewritten for less than half a row that died.
    The caller holds the lock of what is made beside commits.
    """
    with store.view() as view:
        wasteful = [space for space in spaces.every(view.connection) if _is_wasteful(view.connection, space)]
    for space in wasteful:
        if not stopped() and space.state != spaces.BUILDING:
            _rewrite_vectors(store, space, progress, stopped)
    if wasteful and not stopped():
        with store.exclusive() as writer, writer.connection:
            metadata.cut(writer.connection, runs.everything(writer.connection))
    while not stopped():
        with store.exclusive() as writer:
            if not _free_pages(writer.connection):
                break
            writer.connection.rows(f"PRAGMA incremental_vacuum({_PAGES_BESIDE})")
            maintenance.checkpoint(writer.connection, "PASSIVE")


def _is_wasteful(connection: Connection, space: spaces.Space) -> bool:
    """Whether a third of a space's rows are dead, and enough of them to be worth it."""
    width = space.dim * 4
    if space.rows * width < _LEAST_BYTES:
        return False
    dead = connection.value("SELECT coalesce(sum(n), 0) FROM dead_rows WHERE space_key = ?", (space.key,))
    return bool(dead * width >= _LEAST_BYTES and dead * 3 >= space.rows)


def _free_pages(connection: Connection) -> int:
    """How many of the catalogue's pages are free, where that is a third of it and worth it; otherwise 0."""
    free, pages = connection.value("PRAGMA freelist_count"), connection.value("PRAGMA page_count")
    enough = free * connection.value("PRAGMA page_size") >= _LEAST_BYTES and free * 3 >= pages
    return int(free) if enough else 0


def purge(store: LocalStore, *, progress: Progress, cancel: CancelToken) -> None:
    """Compact, and leave nothing of what was removed in any file: not in free pages, dictionaries, or the WAL.

    Raises BusyError where somebody goes on reading an older state, which is in the files for as long.
    """
    with store.lease("purge"), search_files.nothing_made(store):
        _purge(store, progress, lambda: cancel.cancelled)


def _purge(store: LocalStore, progress: Progress, stopped: Callable[[], bool]) -> None:
    with store.exclusive() as writer:
        connection = writer.connection
        connection.rows("PRAGMA secure_delete = ON")
        with connection:
            fulltext.optimize(connection)
            _recompress(connection, writer.codec)
            rebuild_metadata(connection, writer.codec)
        maintenance.train_dictionaries(connection, writer.codec)
    _compact(store, progress, stopped)
    with store.exclusive() as writer:
        # VACUUM writes every page anew, those that were freed before secure_delete was on included.
        writer.connection.execute("VACUUM")
        with writer.connection:
            # A backup that holds what was purged, also one that was made meanwhile, is an earlier state by it, and is replaced.
            schema.count_commit(writer.connection)
        done = maintenance.checkpoint(writer.connection, "TRUNCATE", wait=_READERS_SECONDS)
        writer.connection.rows("PRAGMA secure_delete = OFF")
    # What a repair has put aside may hold what was removed.
    with fsio.translated(store.path):
        for folder in store.path.glob(f"{layout.DAMAGED}.*"):
            shutil.rmtree(folder)
    if not done:
        raise BusyError(
            f"Somebody reads an older state of {store.path}, so that its files still hold traces of what was removed.",
            hint="Wait until that ends, or stop it, then finish the purge: stackroom compact --purge",
            path=store.path,
        )


def _rewrite_vectors(store: LocalStore, space: spaces.Space, progress: Progress, stopped: Callable[[], bool]) -> int:
    """Copy a space's live rows to a new file, in the order of their keys, and switch to it. Returns rows dropped."""
    with store.view() as view:
        # What was committed since the space was looked up is among the extents, and must be in the map.
        known = space.key
        found = next((now for now in spaces.every(view.connection) if now.key == known), None)
        if found is None:
            return 0
        space = found
        live = view.connection.value("SELECT coalesce(sum(n), 0) FROM extents WHERE space_key = ?", (space.key,))
        if live == space.rows:
            return 0
        try:
            mapped = view.mapped(space)
        except FileNotFoundError as error:
            raise vector_file.missing(error.filename) from error
        with store.exclusive() as writer:
            name = spaces.new_file_name(writer.connection, store.path, space.key)
            path = layout.vectors(store.path) / name
            file_uuid = vector_file.create(path, space.dim)
        appender = vector_file.Appender(path, rows=0, dim=space.dim, unit=True, file_uuid=file_uuid)
        try:
            moved = _Moved()
            for extent in extents.each(view.connection, space.key):
                if stopped():
                    return 0
                moved.add(extent.first_row, extent.n, _copy(mapped.rows, extent.first_row, extent.n, appender))
                progress(ProgressEvent("compact", done=appender.rows, total=live))
            # Most of the file is on the disk before anybody waits for it.
            appender.sync()
            dropped = _switch(store, space, moved, appender, (name, file_uuid))
        finally:
            appender.close()
            with store.exclusive() as writer:
                sweep(store.path, writer.connection)
    return dropped


class _Moved:
    """Which rows were copied where: 24 bytes for each extent, as a library may have as many extents as passages."""

    def __init__(self) -> None:
        self._runs: array[int] = array("q")

    def add(self, first: int, n: int, to: int) -> None:
        """The `n` rows from `first` on are now those from `to` on."""
        self._runs.extend((first, n, to))

    def lookup(self) -> Callable[[int, int], int | None]:
        """Where the `n` rows from `first` on are now; None where they were not copied together."""
        runs = np.frombuffer(self._runs, dtype=np.int64).reshape(-1, 3)
        by_row = np.argsort(runs[:, 0], kind="stable")
        starts = runs[by_row, 0]

        def find(first: int, n: int) -> int | None:
            at = int(np.searchsorted(starts, first, side="right")) - 1
            if at < 0:
                return None
            old, length, to = runs[by_row[at]].tolist()
            return to + first - old if first + n <= old + length else None

        return find


def _copy(rows: NDArray[np.float32], first: int, n: int, appender: vector_file.Appender) -> int:
    start = appender.rows
    for at in range(first, first + n, _ROWS):
        appender.append(np.ascontiguousarray(rows[at : min(at + _ROWS, first + n)]))
    return start


def _switch(
    store: LocalStore,
    space: spaces.Space,
    moved: _Moved,
    appender: vector_file.Appender,
    target: tuple[str, bytes],
) -> int:
    """Catch up with what was committed during the copy, and make the new file the space's own."""
    find = moved.lookup()
    dropped = 0
    with store.exclusive() as writer:
        connection = writer.connection
        # The newest state is read through a connection of its own: as long as nobody else writes, it is the one that is rewritten here.
        with store.view() as before, connection:
            current = next((found for found in spaces.every(connection) if found.key == space.key), None)
            # Who puts another model in this one's place sweeps what the catalogue does not name.
            if current is None or current.file_uuid != space.file_uuid or not appender.path.exists():
                return 0
            newest = vector_file.open_map(
                current.path(store.path),
                rows=current.rows,
                dim=current.dim,
                file_uuid=current.file_uuid,
                unit=current.unit,
            )

            def rewritten() -> Iterator[Extent]:
                for extent in extents.each(before.connection, space.key):
                    first = find(extent.first_row, extent.n)
                    if first is None:
                        first = _copy(newest.rows, extent.first_row, extent.n, appender)
                    yield extent._replace(first_row=first)

            connection.execute("DELETE FROM extents WHERE space_key = ?", (space.key,))
            connection.execute("DELETE FROM dead_rows WHERE space_key = ?", (space.key,))
            for extent in joined(rewritten()):
                extents.add(connection, space.key, extent)
            appender.sync()
            _bury_gaps(connection, space.key, appender.rows)
            name, file_uuid = target
            spaces.set_file(connection, current, file=name, file_uuid=file_uuid, rows=appender.rows, unit=appender.unit)
            schema.count_commit(connection)
            dropped = current.rows - appender.rows
    return dropped


def joined(found: Iterable[Extent]) -> Iterator[Extent]:
    """Extents, given by key: those of a document that are neighbours in key and row are one."""
    last: Extent | None = None
    for extent in found:
        if last is None:
            last = extent
        elif last.document_key == extent.document_key and (last.first_key + last.n, last.first_row + last.n) == (
            extent.first_key,
            extent.first_row,
        ):
            last = last._replace(n=last.n + extent.n, checksums=last.checksums + extent.checksums)
        else:
            yield last
            last = extent
    if last is not None:
        yield last


def _bury_gaps(connection: Connection, space_key: int, rows: int) -> None:
    """Rows that were copied and died before the switch."""
    end = 0
    for first, n in connection.execute(
        "SELECT first_row, n FROM extents WHERE space_key = ? ORDER BY first_row", (space_key,)
    ):
        if first > end:
            connection.execute("INSERT INTO dead_rows VALUES(?, ?, ?)", (space_key, end, first - end))
        end = first + n
    if rows > end:
        connection.execute("INSERT INTO dead_rows VALUES(?, ?, ?)", (space_key, end, rows - end))


def rebuild_metadata(connection: Connection, blobs: Codec) -> None:
    """The index of metadata without the values of what is gone."""

    def batches() -> Iterator[tuple[int, list[tuple[int, Mapping[str, Any]]]]]:
        for owner, described in ((metadata.DOCUMENT, documents()), (metadata.CHUNK, chunks())):
            while batch := list(islice(described, _RECORDS)):
                yield owner, batch

    def documents() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for document in records.each_document(connection):
            source = records.source_by_key(connection, document.source_key)
            if source is not None:
                yield document.key, indexed_metadata(document, source)

    def chunks() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for key, details in connection.execute("SELECT key, details FROM chunks WHERE details IS NOT NULL"):
            described = codec.load_details(blobs.decode(details))[1]
            if described:
                yield key, described

    metadata.rebuild(connection, batches())


def _recompress(connection: Connection, blobs: Codec) -> None:
    """Every passage without a dictionary: a trained one may quote what was removed."""
    connection.execute("CREATE TEMP TABLE plain(key INTEGER PRIMARY KEY, details BLOB, text BLOB)")
    for key, details, text in connection.execute("SELECT key, details, text FROM chunks"):
        connection.execute(
            "INSERT INTO temp.plain VALUES(?, ?, ?)",
            (key, blobs.decode(details) if details else None, blobs.decode(text)),
        )
    originals.plain(connection, blobs)
    connection.execute("DELETE FROM dictionaries")
    blobs.forget_compressors()
    for key, details, text in connection.execute("SELECT key, details, text FROM temp.plain"):
        connection.execute(
            "UPDATE chunks SET details = ?, text = ? WHERE key = ?",
            (blobs.encode("details", details) if details else None, blobs.encode("text", text), key),
        )
    connection.execute("DROP TABLE temp.plain")
    originals.recompress(connection, blobs)


def _shrink(connection: Connection, progress: Progress, stopped: Callable[[], bool]) -> None:
    """Merge full-text segments, then hand free pages back, a portion at a time."""
    pages = -_MERGE_PAGES if connection.total_changes() == 0 else _MERGE_PAGES
    while not stopped():
        with connection:
            if fulltext.merge(connection, pages) < 2:
                break
        pages = _MERGE_PAGES
    while not stopped():
        free = connection.row("PRAGMA freelist_count")
        if not free or not free[0]:
            break
        progress(ProgressEvent("shrink", done=0, total=int(free[0])))
        connection.rows(f"PRAGMA incremental_vacuum({_PAGES})")
    maintenance.checkpoint(connection, "TRUNCATE", wait=_READERS_SECONDS)


def sweep(library: Path, connection: Connection) -> None:
    """Remove files that the catalogue does not name: replaced ones, and those of interrupted runs. The caller holds the writer lock."""
    named = {row[0] for row in connection.execute("SELECT file FROM spaces")}
    with fsio.translated(layout.vectors(library)):
        there = list(layout.vectors(library).iterdir())
    with fsio.translated(library):
        begun = list(library.glob(f"{layout.CATALOGUE_NEW}*"))
    left = [path for path in there if path.name.removesuffix(".norms") not in named]
    if left:
        maintenance.supersede(connection)
    for path in left:
        # On Windows a mapped file can't be removed yet; the next compaction does it.
        with contextlib.suppress(OSError):
            path.unlink()
    # Of a creation or a repair that died; the lock keeps both away now.
    for path in begun:
        with contextlib.suppress(OSError):
            path.unlink()
    search_files.sweep(library, connection)
