"""Another model for every passage: a second space is built beside the serving one, which serves until the switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import EmbedTexts
from stackroom.errors import DimensionMismatchError
from stackroom.identity import interchangeable
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.storage import writer
from stackroom.storage.catalogue import schema, sums
from stackroom.storage.upkeep import compaction
from stackroom.storage.vectors import extents, spaces, vector_file
from stackroom.storage.vectors.extents import Extent
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.store import LocalStore

_BATCH = 32


def reembed(
    store: LocalStore, identity: EmbedderIdentity, embed: EmbedTexts, *, progress: Progress, cancel: CancelToken
) -> int:
    """Embed every passage that the new space lacks, batch by batch, then switch. Returns how many were embedded now.

    A cancelled or killed run leaves the new space as far as it came; the next one with the same model goes on there.
    """
    _begin(store, identity)
    embedded = 0
    while not cancel.cancelled:
        with store.view() as view:
            space = spaces.with_state(view.connection, spaces.BUILDING)
            if space is None:
                break
            total = view.connection.row("SELECT count(*) FROM chunks")
            wanted = view.without_row(space.key, _BATCH)
        if not wanted:
            if _switch(store):
                break
            continue
        rows = np.ascontiguousarray(embed([text for _, _, text in wanted]), dtype="<f4")
        if rows.shape != (len(wanted), identity.dim):
            raise DimensionMismatchError(
                f"The embedder returned an array of shape {rows.shape}.", expected=(len(wanted), identity.dim)
            )
        _append(store, [(key, document) for key, document, _ in wanted], rows)
        embedded += len(wanted)
        progress(ProgressEvent("rebuild", done=embedded, total=int(total[0]) if total else None, chunks=embedded))
    return embedded


def _begin(store: LocalStore, identity: EmbedderIdentity) -> None:
    """A new space, or the one that an interrupted run of the same model left."""
    with store.exclusive() as held, held.connection:
        building = spaces.with_state(held.connection, spaces.BUILDING)
        if building is not None and not interchangeable(building.identity, identity):
            spaces.drop(held.connection, building)
            building = None
        if building is None:
            spaces.create(held.connection, store.path, identity, spaces.BUILDING)
        sums.put(held.connection)


def _append(store: LocalStore, chunks: list[tuple[int, int]], rows: NDArray[np.float32]) -> None:
    """Commit vectors of the new space; chunks that were removed meanwhile are left out."""
    with store.exclusive() as held, held.connection:
        connection = held.connection
        space = spaces.with_state(connection, spaces.BUILDING)
        if space is None:
            return
        appender = vector_file.Appender(space.path(store.path), rows=space.rows, dim=space.dim, unit=space.unit)
        try:
            for (key, document_key), row in zip(chunks, rows, strict=True):
                if connection.row("SELECT 1 FROM chunks WHERE key = ?", (key,)) is None:
                    continue
                first = appender.append(row[None])
                checksum = writer.row_checksums(key, row[None])
                extents.add(connection, space.key, Extent(first, 1, key, document_key, checksum))
            appender.sync()
            spaces.set_rows(connection, space, rows=appender.rows, unit=appender.unit)
            schema.count_commit(connection)
        finally:
            appender.close()


def _switch(store: LocalStore) -> bool:
    """Let the new space serve, unless passages were added since the last look."""
    with store.exclusive() as held:
        connection = held.connection
        # Read through a connection of its own what is rewritten here: nobody else writes meanwhile.
        with store.view() as before, connection:
            building = spaces.with_state(connection, spaces.BUILDING)
            if building is None:
                return True
            have = connection.row("SELECT sum(n) FROM extents WHERE space_key = ?", (building.key,))
            want = connection.row("SELECT count(*) FROM chunks")
            if ((have and have[0]) or 0) != ((want and want[0]) or 0):
                return False
            connection.execute("DELETE FROM extents WHERE space_key = ?", (building.key,))
            for extent in compaction.joined(extents.each(before.connection, building.key)):
                extents.add(connection, building.key, extent)
            spaces.switch(connection, building, spaces.serving(connection))
            schema.count_commit(connection)
        compaction.sweep(store.path, connection)
    return True
