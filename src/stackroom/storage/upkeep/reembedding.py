"""Another model for every passage: a second space is built beside the serving one, which serves until the switch.

The one that served is kept as the former space, so that there is a way back: that is the same work with the former space in the place of a
new one, which lacks only what was added since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import EmbedTexts, Judge
from stackroom.errors import DimensionMismatchError
from stackroom.identity import interchangeable
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.storage import writer
from stackroom.storage.catalogue import schema, sums
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.upkeep import compaction
from stackroom.storage.vectors import extents, spaces
from stackroom.storage.vectors.extents import Extent
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.store import LocalStore

_BATCH = 32


def reembed(
    store: LocalStore,
    identity: EmbedderIdentity,
    embed: EmbedTexts,
    *,
    judge: Judge | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> tuple[int, bool]:
    """Embed every passage that the other space lacks, batch by batch, then switch. Returns how many were embedded now, and whether it serves.

    A run that was cancelled or killed, or whose judge refused, leaves the space as far as it came; the next one with the same model goes on there.
    """
    key = _begin(store, identity)
    embedded = 0
    while not cancel.cancelled:
        with store.view() as view:
            if spaces.of_key(view.connection, key) is None:
                break  # a repair has written the catalogue anew
            missing = view.without_row(key)
            total = len(view.live_keys())
        if not len(missing):
            if judge is not None and not _is_good(store, key, judge):
                return embedded, False
            judge = None
            if _switch(store, key):
                return embedded, True
        for first in range(0, len(missing), _BATCH):
            if cancel.cancelled:
                break
            with store.view() as view:
                wanted = view.texts(missing[first : first + _BATCH].tolist())
            if not wanted:
                continue
            rows = np.ascontiguousarray(embed([text for _, _, text in wanted]), dtype="<f4")
            if rows.shape != (len(wanted), identity.dim):
                raise DimensionMismatchError(
                    f"The embedder returned an array of shape {rows.shape}.", expected=(len(wanted), identity.dim)
                )
            _append(store, key, [(chunk, document) for chunk, document, _ in wanted], rows)
            embedded += len(wanted)
            progress(ProgressEvent("rebuild", done=embedded, total=total, chunks=embedded))
    return embedded, False


def discard(store: LocalStore) -> bool:
    """Forget the former space and remove its files; False where there is none."""
    with store.exclusive() as held:
        with held.connection:
            kept = spaces.with_state(held.connection, spaces.FORMER)
            if kept is None:
                return False
            spaces.drop(held.connection, kept)
            schema.count_commit(held.connection)
        compaction.sweep(store.path, held.connection)
    return True


def _begin(store: LocalStore, identity: EmbedderIdentity) -> int:
    """The key of the former space, where it is this model's; else of one that an interrupted run left, or of a new one."""
    with store.exclusive() as held, held.connection:
        key = _target(held.connection, store, identity)
        sums.put(held.connection)
    return key


def _target(connection: Connection, store: LocalStore, identity: EmbedderIdentity) -> int:
    serving = spaces.serving(connection)
    former = spaces.with_state(connection, spaces.FORMER)
    # A model that is changed for itself is to embed all anew.
    anew = serving is not None and interchangeable(serving.identity, identity)
    if former is not None and not anew and interchangeable(former.identity, identity):
        return former.key
    building = spaces.with_state(connection, spaces.BUILDING)
    if building is not None and not interchangeable(building.identity, identity):
        spaces.drop(connection, building)
        building = None
    return (building or spaces.create(connection, store.path, identity, spaces.BUILDING)).key


def _append(store: LocalStore, key: int, chunks: Sequence[tuple[int, int]], rows: NDArray[np.float32]) -> None:
    """Commit vectors of the other space; chunks that were removed meanwhile are left out."""
    with store.exclusive() as held, held.connection:
        connection = held.connection
        space = spaces.of_key(connection, key)
        if space is None:
            return
        appender = writer.appender_of(connection, store.path, space)
        try:
            for (chunk, document_key), row in zip(chunks, rows, strict=True):
                if connection.row("SELECT 1 FROM chunks WHERE key = ?", (chunk,)) is None:
                    continue
                first = appender.append(row[None])
                checksum = writer.row_checksums(chunk, row[None])
                extents.add(connection, space.key, Extent(first, 1, chunk, document_key, checksum))
            appender.sync()
            spaces.set_rows(connection, space, rows=appender.rows, unit=appender.unit)
            schema.count_commit(connection)
        finally:
            appender.close()


def _is_good(store: LocalStore, key: int, judge: Judge) -> bool:
    """Let the judge ask both spaces."""
    with store.view() as view:
        space = spaces.of_key(view.connection, key)
        return space is None or judge(view, lambda query, k: view.nearest_in(space, query, k))


def _switch(store: LocalStore, key: int) -> bool:
    """Let the other space serve, unless passages were added since the last look."""
    with store.exclusive() as held:
        connection = held.connection
        # Read through a connection of its own what is rewritten here: nobody else writes meanwhile.
        with store.view() as before, connection:
            space = spaces.of_key(connection, key)
            if space is None:
                return False
            have = connection.row("SELECT sum(n) FROM extents WHERE space_key = ?", (key,))
            want = connection.row("SELECT count(*) FROM chunks")
            if ((have and have[0]) or 0) != ((want and want[0]) or 0):
                return False
            connection.execute("DELETE FROM extents WHERE space_key = ?", (key,))
            for extent in compaction.joined(extents.each(before.connection, key)):
                extents.add(connection, key, extent)
            spaces.switch(connection, space)
            schema.count_commit(connection)
        compaction.sweep(store.path, connection)
    return True
