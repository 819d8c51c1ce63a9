"""Giving disk back: vector files without dead rows, full text without tombstones, free pages returned.

The long copy is made from a snapshot while others read and write. Then, under the writer lock, what changed meanwhile is
caught up with, and one commit switches to the new file. Chunks and their text are not touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.reports import Compaction
from stackroom.storage.catalogue import codec, metadata, originals, records, schema
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.catalogue.summary import sizes
from stackroom.storage.disk import fsio, layout
from stackroom.storage.upkeep import maintenance, sketching
from stackroom.storage.vectors import extents, spaces, vector_file
from stackroom.storage.vectors.extents import Extent
from stackroom.storage.words import fulltext

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.store import LocalStore

_ROWS = 4096
_PAGES = 2_000
_MERGE_PAGES = 1_000


def compact(store: LocalStore, *, progress: Progress, cancel: CancelToken) -> Compaction:
    """Rewrite what holds dead space. Raises BusyError while an ingest runs, DamagedError, StorageError."""
    before = sizes(store.path)["total"]
    dropped = 0
    with store.lease("compact"):
        with store.view() as view:
            living = spaces.every(view.connection)
        for space in living:
            if not cancel.cancelled:
                dropped += _rewrite_vectors(store, space, progress, cancel)
        if not cancel.cancelled:
            with store.exclusive() as writer:
                with writer.connection:
                    _rebuild_metadata(writer.connection, writer.codec)
                _shrink(writer.connection, progress, cancel)
                sweep(store.path, writer.connection)
    return Compaction(before, sizes(store.path)["total"], dropped)


def purge(store: LocalStore, *, progress: Progress, cancel: CancelToken) -> None:
    """Compact, and leave nothing of what was removed in any file: not in free pages, dictionaries, or the WAL."""
    with store.exclusive() as writer:
        connection = writer.connection
        connection.rows("PRAGMA secure_delete = ON")
        with connection:
            fulltext.optimize(connection)
            _recompress(connection, writer.codec)
            _rebuild_metadata(connection, writer.codec)
        maintenance.train_dictionaries(connection, writer.codec)
    compact(store, progress=progress, cancel=cancel)
    with store.exclusive() as writer:
        # VACUUM writes every page anew, those that were freed before secure_delete was on included.
        writer.connection.execute("VACUUM")
        maintenance.checkpoint(writer.connection, "TRUNCATE")
        writer.connection.rows("PRAGMA secure_delete = OFF")


def _rewrite_vectors(store: LocalStore, space: spaces.Space, progress: Progress, cancel: CancelToken) -> int:
    """Copy a space's live rows to a new file, in the order of their keys, and switch to it. Returns rows dropped."""
    with store.view() as view:
        plan = list(extents.each(view.connection, space.key))
        live = sum(extent.n for extent in plan)
        if live == space.rows:
            return 0
        mapped = view.mapped(space)
        with store.exclusive() as writer:
            name = spaces.new_file_name(writer.connection, store.path, space.key)
            path = layout.vectors(store.path) / name
            file_uuid = vector_file.create(path, space.dim)
        appender = vector_file.Appender(path, rows=0, dim=space.dim, unit=True)
        try:
            moved: dict[int, int] = {}
            for extent in plan:
                if cancel.cancelled:
                    return 0
                moved[extent.first_row] = _copy(mapped.rows, extent.first_row, extent.n, appender)
                progress(ProgressEvent("compact", done=appender.rows, total=live))
            dropped = _switch(store, space, plan, moved, appender, (name, file_uuid))
        finally:
            appender.close()
            with store.exclusive() as writer:
                sweep(store.path, writer.connection)
    return dropped


def _copy(rows: NDArray[np.float32], first: int, n: int, appender: vector_file.Appender) -> int:
    start = appender.rows
    for at in range(first, first + n, _ROWS):
        appender.append(np.ascontiguousarray(rows[at : min(at + _ROWS, first + n)]))
    return start


def _switch(
    store: LocalStore,
    space: spaces.Space,
    plan: list[Extent],
    moved: dict[int, int],
    appender: vector_file.Appender,
    target: tuple[str, bytes],
) -> int:
    """Catch up with what was committed during the copy, and make the new file the space's own."""
    starts = np.array(sorted(moved), dtype=np.int64)
    lengths = {extent.first_row: extent.n for extent in plan}
    dropped = 0
    with store.exclusive() as writer:
        connection = writer.connection
        with connection:
            current = next((found for found in spaces.every(connection) if found.key == space.key), None)
            if current is None or current.file_uuid != space.file_uuid:
                return 0
            newest = vector_file.open_map(
                current.path(store.path),
                rows=current.rows,
                dim=current.dim,
                file_uuid=current.file_uuid,
                unit=current.unit,
            )
            rewritten: list[Extent] = []
            for extent in list(extents.each(connection, space.key)):
                at = int(np.searchsorted(starts, extent.first_row, side="right")) - 1
                old = int(starts[at]) if at >= 0 else -1
                if old >= 0 and extent.first_row + extent.n <= old + lengths[old]:
                    first = moved[old] + extent.first_row - old
                else:
                    first = _copy(newest.rows, extent.first_row, extent.n, appender)
                rewritten.append(extent._replace(first_row=first))
            appender.sync()
            connection.execute("DELETE FROM extents WHERE space_key = ?", (space.key,))
            connection.execute("DELETE FROM dead_rows WHERE space_key = ?", (space.key,))
            for extent in joined(rewritten):
                extents.add(connection, space.key, extent)
            _bury_gaps(connection, space.key, rewritten, appender.rows)
            name, file_uuid = target
            spaces.set_file(connection, current, file=name, file_uuid=file_uuid, rows=appender.rows, unit=appender.unit)
            schema.count_commit(connection)
            dropped = current.rows - appender.rows
    return dropped


def joined(found: list[Extent]) -> list[Extent]:
    """Extents of a document that became neighbours in key and row are one."""
    result: list[Extent] = []
    for extent in sorted(found, key=lambda item: item.first_key):
        last = result[-1] if result else None
        if (
            last is not None
            and last.document_key == extent.document_key
            and (last.first_key + last.n, last.first_row + last.n) == (extent.first_key, extent.first_row)
        ):
            result[-1] = last._replace(n=last.n + extent.n, checksums=last.checksums + extent.checksums)
        else:
            result.append(extent)
    return result


def _bury_gaps(connection: Connection, space_key: int, live: list[Extent], rows: int) -> None:
    """Rows that were copied and died before the switch."""
    end = 0
    for extent in sorted(live, key=lambda item: item.first_row):
        if extent.first_row > end:
            connection.execute("INSERT INTO dead_rows VALUES(?, ?, ?)", (space_key, end, extent.first_row - end))
        end = extent.first_row + extent.n
    if rows > end:
        connection.execute("INSERT INTO dead_rows VALUES(?, ?, ?)", (space_key, end, rows - end))


def _rebuild_metadata(connection: Connection, blobs: Codec) -> None:
    """The index of metadata without the values of what is gone."""

    def batches() -> Iterator[tuple[int, list[tuple[int, Mapping[str, Any]]]]]:
        held: list[tuple[int, Mapping[str, Any]]] = []
        for source in list(records.each_source(connection)):
            for document in records.documents_of(connection, source.key):
                held.append((document.key, records.indexed_metadata(document, source)))
        yield metadata.DOCUMENT, held
        chunks: list[tuple[int, Mapping[str, Any]]] = []
        for key, details in connection.execute("SELECT key, details FROM chunks WHERE details IS NOT NULL"):
            described = codec.load_details(blobs.decode(details))[1]
            if described:
                chunks.append((key, described))
            if len(chunks) >= 10_000:
                yield metadata.CHUNK, chunks
                chunks = []
        yield metadata.CHUNK, chunks

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


def _shrink(connection: Connection, progress: Progress, cancel: CancelToken) -> None:
    """Merge full-text segments, then hand free pages back, a portion at a time."""
    changes = -1
    while not cancel.cancelled and connection.total_changes() != changes:
        changes = connection.total_changes()
        with connection:
            fulltext.merge(connection, -_MERGE_PAGES if changes == 0 else _MERGE_PAGES)
        if connection.total_changes() - changes < 2:
            break
    while not cancel.cancelled:
        free = connection.row("PRAGMA freelist_count")
        if not free or not free[0]:
            break
        progress(ProgressEvent("shrink", done=0, total=int(free[0])))
        connection.rows(f"PRAGMA incremental_vacuum({_PAGES})")
    maintenance.checkpoint(connection, "TRUNCATE")


def sweep(library: Path, connection: Connection) -> None:
    """Remove files of vectors and sketches that the catalogue does not name: replaced ones, and those of interrupted runs."""
    named = {row[0] for row in connection.execute("SELECT file FROM spaces")}
    with fsio.translated(layout.vectors(library)):
        there = list(layout.vectors(library).iterdir())
    left = [path for path in there if path.name.removesuffix(".norms") not in named]
    if left:
        maintenance.supersede(connection)
    for path in left:
        # On Windows a mapped file can't be removed yet; the next compaction does it.
        with contextlib.suppress(OSError):
            path.unlink()
    sketching.sweep(library, connection)
