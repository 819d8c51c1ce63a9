"""What a salvage does last: postings files that are still right, sequences, and what is left to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stackroom.backend import Waiting
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.lost import Lost
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
    owners = {found.documents[key].source_key for key in found.hurt & found.documents.keys()}
    for source_key in sorted((owners | found.bereft) & found.sources.keys()):
        source = found.sources[source_key]
        read[source_key] = source.content_hash or read.get(source_key)
        taken.keep_source(replace(source, state="partial"))
    missing = found.missing.union(KeySet.from_keys(np.array(taken.before.embed, dtype=np.int64)))
    return Waiting(tuple(missing.keys().tolist()), tuple(sorted(read.items())))


def lost_of(found: Findings, taken: Records) -> list[Lost]:
    """What is to be given again, beside what an earlier repair has lost and nobody has given since."""
    lost = {
        (one.source_key, one.document_key): one
        for one in taken.lost_before
        if one.source_key in found.sources and (one.document_key == 0 or one.document_key in found.documents)
    }
    for key in found.gone.keys() | found.more:
        document = found.documents.get(key)
        if document is None or document.source_key not in found.sources:
            continue
        # Nobody can give a document again whose id is not known.
        whose = document.source_key, 0 if key in found.invented else key
        before = lost.get(whose, Lost(*whose))
        names = dict.fromkeys((*before.chunk_ids, *(() if key in found.invented else found.gone.get(key, ()))))
        lost[whose] = before._replace(chunk_ids=tuple(names), more=before.more or key in found.more)
    for source_key in found.bereft & found.sources.keys():
        lost[source_key, 0] = Lost(source_key, 0, more=True)
    return [lost[whose] for whose in sorted(lost)]
