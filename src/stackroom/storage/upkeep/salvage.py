"""What survives of a damaged catalogue, read row by row and written into a new one under the same keys.

Every record has a checksum, so that what is taken over is what was written. What is derived (words, filters, runs) is made again. The rooms
are in `salvaging`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stackroom.backend import Waiting
from stackroom.errors import DamagedError
from stackroom.progress import Progress
from stackroom.reports import Damage
from stackroom.storage.catalogue import lost, runs, schema, waiting
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.storage.upkeep import compaction
from stackroom.storage.upkeep.salvaging import remains
from stackroom.storage.upkeep.salvaging.findings import Findings
from stackroom.storage.upkeep.salvaging.records import Records
from stackroom.storage.upkeep.salvaging.tables import Tables
from stackroom.storage.upkeep.salvaging.vectors import Vectors


class Survey(NamedTuple):
    """What a salvage found."""

    restored: tuple[str, ...]
    lost: tuple[Damage, ...]
    waiting: Waiting
    unread: tuple[Damage, ...]
    """the sources of which passages are lost, by name"""
    made: tuple[Path, ...]
    """vector files that were written anew"""
    replaced: tuple[Path, ...]
    """those that they stand for"""


def salvage(library: Path, source: Connection, target: Connection, progress: Progress) -> Survey:
    """Fill the empty catalogue `target` with what can be read of `source`, within a transaction of the caller's.

    Raises DamagedError where nothing can be read, StorageError.
    """
    tables, blobs, found = Tables(source), Codec(target), Findings()
    taken = Records(tables, target, blobs, found, progress)
    taken.settings()
    taken.dictionaries()
    taken.sources()
    taken.documents()
    taken.collections()
    whole = taken.chunks()
    if not whole and not found.sources and not found.documents:
        raise nothing_left(library)
    runs.rebuild(target)
    live = runs.everything(target)
    taken.sets()
    Vectors(library, tables, target, found).take(live)
    taken.originals(live)
    taken.attachments()
    compaction.rebuild_metadata(target, blobs)
    remains.word_files_of(library, tables, target, live)
    remains.sequences(tables, target)
    taken.small_tables()
    left = remains.waiting_of(found, taken)
    waiting.put(target, left)
    lost.put(target, remains.lost_of(found, taken))
    schema.count_commit(target, members=True)
    names = [found.sources[key].name for key, _ in left.read if key in found.sources]
    unread = tuple(Damage("sources", f"{name} lost passages.", None, name) for name in names)
    return Survey(tuple(found.restored), tuple(found.lost), left, unread, tuple(found.made), tuple(found.replaced))


def nothing_left(library: Path) -> DamagedError:
    """The error for a catalogue of which nothing can be read."""
    return DamagedError(
        f"Nothing can be read of {layout.catalogue(library)}.",
        hint="Restore the library from a backup, or index the files anew in another folder.",
        path=library,
    )
