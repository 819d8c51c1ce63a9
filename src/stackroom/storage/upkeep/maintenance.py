"""What keeps commits short: the work that SQLite would do inside them is done between them, in small portions."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from stackroom.storage.catalogue import codec, database
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.vectors import spaces

_WAL_BYTES = 8 * 1024 * 1024
"""Of the WAL that are not folded in yet. Its file is larger, and stays so when it is begun anew."""
_DRAIN_EVERY = _TRAIN_EVERY = 8
_WAL_TOO_LONG = 64 * 1024 * 1024
_DRAIN_SECONDS = 0.25
_MERGE_EVERY = 4
_MERGE_PAGES = 128
_TRAIN_AT = 400
_SAMPLES = 2_000
_NEWEST: dict[codec.Kind, str] = {
    "text": "SELECT text FROM chunks ORDER BY key DESC",
    "details": "SELECT details FROM chunks WHERE details IS NOT NULL ORDER BY key DESC",
    "original": "SELECT data FROM originals WHERE owner = 1 ORDER BY key DESC",
}
"""What the dictionary of each kind is trained on."""


def after_commit(connection: Connection, blobs: Codec) -> None:
    """A little upkeep now and then. The caller holds the writer lock, and no transaction is open."""
    from stackroom.storage.words import fulltext  # every process that closes a library is here, and most know no words

    commits = connection.value("SELECT value FROM settings WHERE name = 'commits'")
    # Never together with a checkpoint: the slowest commit counts.
    if commits % _MERGE_EVERY == _MERGE_EVERY // 2:
        with connection:
            fulltext.merge(connection, _MERGE_PAGES)
    # Soon after the start, then now and then: texts may be too few or too short to train on.
    if (commits & (commits - 1) == 0 or commits % _TRAIN_EVERY == 0) and not _trained(connection):
        train_dictionaries(connection, blobs)
    _, pages, folded = connection.rows("PRAGMA wal_checkpoint(NOOP)")[0]
    if commits % _DRAIN_EVERY == 0 and pages * layout.PAGE_SIZE > _WAL_TOO_LONG:
        # While views overlap, one of them always needs the WAL, and it is never begun anew. Once it is folded in, new views do without
        # it: this writer waits for the older ones to end. Where one does not, it waits again eight commits later.
        checkpoint(connection, "RESTART", wait=_DRAIN_SECONDS)
    elif (pages - folded) * layout.PAGE_SIZE > _WAL_BYTES:
        checkpoint(connection, "PASSIVE")


def settle(connection: Connection, library: Path) -> None:
    """Let rows that a dead writer left be nobody's for good, before they are overwritten. The caller holds the writer lock.

    It may have died when its commit was in the WAL, whole, and not yet in the WAL's index. While others have the library open nobody
    sees that commit; but who opens it after a power cut finds it there, and then its rows must be there as well.
    """
    left = [
        (space, path, end)
        for space in spaces.every(connection)
        if fsio.size_of(path := space.path(library)) > (end := layout.VECTOR_HEADER + space.rows * space.dim * 4)
    ]
    if not left:
        return
    from stackroom.storage.vectors import extents  # a process that closes a library mostly needs no numbers

    supersede(connection)
    for space, path, end in left:
        if not extents.are_within(connection, space.key, space.rows):
            continue
        # On Windows a mapped file keeps its length; what is behind its end is nobody's all the same.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | fsio.NO_LINK)
            try:
                os.ftruncate(descriptor, end)
            finally:
                os.close(descriptor)


def supersede(connection: Connection) -> None:
    """A commit that changes nothing, in the place where the WAL may hold one that nobody has seen."""
    version = connection.value("PRAGMA user_version")
    connection.execute(f"PRAGMA user_version = {(version + 1) % 2**31}")


def checkpoint(connection: Connection, mode: str, *, wait: float = 0.0) -> bool:
    """Fold the WAL into the catalogue as far as readers allow, of whom some may end within `wait` seconds; whether it is done."""
    connection.set_busy_timeout(round(wait * 1000))
    try:
        busy, _, _ = connection.rows(f"PRAGMA wal_checkpoint({mode})")[0]
    finally:
        connection.set_busy_timeout(database.BUSY_MILLISECONDS)
    return not busy


def _trained(connection: Connection) -> bool:
    return connection.row("SELECT 1 FROM dictionaries LIMIT 1") is not None


def train_dictionaries(connection: Connection, blobs: Codec) -> None:
    """Train the dictionaries of text and details once there is enough to learn from."""
    count = connection.value("SELECT count(*) FROM (SELECT 1 FROM chunks LIMIT ?)", (_TRAIN_AT,))
    if count < _TRAIN_AT:
        return
    with connection:
        for kind, newest in _NEWEST.items():
            rows = connection.execute(f"{newest} LIMIT ?", (_SAMPLES,))
            data = codec.train([blobs.decode(row[0]) for row in rows])
            if data is not None:
                dictionary_id = codec.dictionary_id(data)
                connection.execute("INSERT INTO dictionaries VALUES(?, ?, ?)", (dictionary_id, kind, data))
    blobs.forget_compressors()
