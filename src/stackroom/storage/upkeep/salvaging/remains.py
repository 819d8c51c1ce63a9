"""What a salvage does last: postings files that are still right, sequences, and what is left to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stackroom.backend import Waiting
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.storage.upkeep.salvaging.findings import Findings
from stackroom.storage.upkeep.salvaging.records import LONGEST_SEQUENCE, Records
from stackroom.storage.upkeep.salvaging.tables import Tables, decoded
from stackroom.storage.words import postings, word_files


def word_files_of(library: Path, tables: Tables, target: Connection, live: KeySet) -> None:
    """Postings files of the passages that are still all there."""
    folder = layout.sketches(library)
    for entry in decoded(word_files.every, tables.connection) or []:
        path = folder / entry.file
        loaded = None if postings.is_damaged(path) else postings.load(path, entry.first, entry.end)
        if loaded is not None and not live.intersection(entry.range).difference(KeySet.from_keys(loaded.keys)).count:
            target.execute("INSERT OR IGNORE INTO word_files VALUES(?, ?, ?, ?)", entry)


def sequences(tables: Tables, target: Connection) -> None:
    """Keys are never used again, those of lost records included."""
    before = {row[0]: row[1] for row in tables.column("SELECT name, seq FROM sqlite_sequence")}
    for table, key in (("sources", "source_key"), ("documents", "document_key"), ("chunks", "key")):
        used = target.value(f"SELECT coalesce(max({key}), 0) FROM {table}")
        old = before.get(table)
        last = max(used, old) if isinstance(old, int) and 0 <= old < LONGEST_SEQUENCE else used
        target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        target.execute("INSERT INTO sqlite_sequence VALUES(?, ?)", (table, last))


def waiting_of(found: Findings, taken: Records) -> Waiting:
    """What needs a model, or to be read or given again: passages whose vectors are lost, sources whose passages are."""
    read = dict(taken.before.read)
    hurt = {key: (source, lost) for source, key, lost in taken.before.hurt}
    owners = {found.documents[key].source_key for key in found.hurt & found.documents.keys()}
    for source_key in sorted((owners | found.bereft) & found.sources.keys()):
        source = found.sources[source_key]
        read[source_key] = source.content_hash or read.get(source_key)
        taken.keep_source(replace(source, state="partial"))
    for key in found.hurt & found.documents.keys():
        owner = found.sources.get(found.documents[key].source_key)
        if owner is not None and not owner.is_file:
            before = hurt[key][1] if key in hurt else ()
            hurt[key] = owner.key, tuple(dict.fromkeys((*before, *found.gone[key])))
    missing = found.missing.union(KeySet.from_keys(np.array(taken.before.embed, dtype=np.int64)))
    still = tuple((source, key, lost) for key, (source, lost) in sorted(hurt.items()) if key in found.documents)
    return Waiting(tuple(missing.keys().tolist()), tuple(sorted(read.items())), still)
