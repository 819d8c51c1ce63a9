"""Records of a damaged catalogue, each taken over where its checksum says that it is what was written."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.progress import Progress, ProgressEvent
from stackroom.reports import Damage
from stackroom.storage.catalogue import branches, codec, ids, lost, originals, records, schema, sums, waiting
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.upkeep.salvaging.findings import Findings
from stackroom.storage.upkeep.salvaging.tables import BROKEN, UNREADABLE, Tables, decoded
from stackroom.storage.words import fulltext

LONGEST_SEQUENCE = 1 << 48
_AT_ONCE = 512
_CANT_TELL = "Whether anything was {} another program can't be told: nothing shows that it was."
_KEPT = {"library_uuid": bytes, "commit_id": bytes, "candidates": int, "backup_of": bytes, branches.NAME: bytes}


class Records:
    """Takes them over in the order in which they need each other."""

    def __init__(self, tables: Tables, target: Connection, blobs: Codec, found: Findings, progress: Progress) -> None:
        self._tables = tables
        self._target = target
        self._codec = blobs
        self._found = found
        self._progress = progress

    def settings(self) -> None:
        found = {row[0]: row[1] for row in self._tables.table("settings", "name, value", "name").rows()}
        for name, kind in _KEPT.items():
            if isinstance(found.get(name), kind):
                self._target.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (name, found[name]))
        if not isinstance(found.get("library_uuid"), bytes):
            self._found.is_lost(
                "catalogue",
                "By what its backups know it: the next one is made in a new folder, and a push under another name.",
            )
        commits = found.get("commits")
        if not isinstance(commits, int) or not 0 <= commits < LONGEST_SEQUENCE:
            # Any number that no snapshot has had.
            commits = 1 << 32
        self._target.execute("UPDATE settings SET value = ? WHERE name = 'commits'", (commits,))
        differing = decoded(lambda _: list(sums.differing(self._tables.connection, BROKEN)), ()) or []
        flipped = decoded(sums.flipped_identity, self._tables.connection) if "spaces" in differing else None
        if flipped is not None:
            differing.remove("spaces")
            self._found.identities = dict([flipped])
            self._found.restored.append("What is known of the model: one bit of it had flipped.")
        self._doubtful = differing
        self.before = waiting.parsed(found.get(waiting.NAME))
        self.lost_before = lost.parsed(found.get(lost.NAME))

    def dictionaries(self) -> None:
        for number, kind, data in self._tables.table(
            "dictionaries", "dictionary_id, kind, data", "dictionary_id"
        ).rows():
            try:
                good = codec.dictionary_id(data) == number and kind in ("text", "details", "original")
            except UNREADABLE:
                good = False
            if good:
                self._target.execute("INSERT OR IGNORE INTO dictionaries VALUES(?, ?, ?)", (number, kind, data))

    def sources(self) -> None:
        names = self._tables.by_index("sources", "source_key", "name", "sqlite_autoindex_sources_2")
        known = self._tables.by_index("sources", "source_key", "source_id", "sqlite_autoindex_sources_1")
        hints = sorted({*names, *known})
        table = self._tables.table("sources", records.SOURCE_COLUMNS, "source_key")
        for row in table.rows(lambda: hints):
            key = row[0]
            for source_id in (row[1], known.get(key)):
                for name in (row[2], names.get(key)):
                    record = decoded(records.to_source, (key, source_id, name, *row[3:]))
                    if record is not None and key not in self._found.sources:
                        self.keep_source(record)
        for key, name in names.items():
            if key in self._found.sources or decoded(ids.unpack_text, name) is None:
                continue
            text = ids.unpack_text(name)
            source_id = decoded(ids.unpack_id, known.get(key)) or ids.unpack_id(ids.new_id())
            record = SourceRecord(text, is_file=os.path.isabs(text), state="partial", source_id=source_id, key=key)
            self.keep_source(record)
            self._found.bereft.add(key)
            self._found.lost.append(Damage("sources", "What was known of the source but its name.", None, text))
        indexes = ("sqlite_autoindex_sources_1", "sqlite_autoindex_sources_2")
        if not table.whole and not any(self._tables.is_whole("source_key", f"sources INDEXED BY {i}") for i in indexes):
            self._found.is_lost("sources", "Others, of which nothing tells any more.")

    def keep_source(self, record: SourceRecord) -> None:
        self._found.sources[record.key] = record
        self._target.execute(
            f"INSERT OR REPLACE INTO sources VALUES(?, ?{', ?' * 15})",
            (record.key, ids.pack_id(record.source_id), *records.source_fields(record)),
        )

    def documents(self) -> None:
        known = self._tables.by_index("documents", "document_key", "document_id", "sqlite_autoindex_documents_1")
        owners = self._tables.by_index("documents", "document_key", "source_key", "documents_by_source")
        hints = sorted({*known, *owners})
        table = self._tables.table("documents", records.DOCUMENT_COLUMNS, "document_key")
        for row in table.rows(lambda: hints):
            key = row[0]
            for document_id in (row[1], known.get(key)):
                for source_key in (row[2], owners.get(key)):
                    record = decoded(records.to_document, (key, document_id, source_key, *row[3:]))
                    if record is not None and key not in self._found.documents:
                        self._keep_document(record)
        for key in hints:
            if key not in self._found.documents:
                self._stand_in(key, decoded(ids.unpack_id, known.get(key)), owners.get(key))
        indexes = ("sqlite_autoindex_documents_1", "documents_by_source")
        if not table.whole and not any(
            self._tables.is_whole("document_key", f"documents INDEXED BY {i}") for i in indexes
        ):
            holding = {document.source_key for document in self._found.documents.values()}
            for key, source in self._found.sources.items():
                # A file that could not be read has none.
                if key not in holding and key not in self._found.bereft and source.error is None:
                    self._found.bereft.add(key)
                    self._found.lost.append(Damage("documents", "What it held, if anything.", None, source.name))

    def _keep_document(self, record: DocumentRecord) -> None:
        if record.source_key not in self._found.sources:
            name = f"recovered/{record.source_key}"
            source = SourceRecord(name, title=name, source_id=ids.unpack_id(ids.new_id()), key=record.source_key)
            self.keep_source(source)
            self._found.is_lost("sources", f"The source with key {record.source_key}: its documents are in {name!r}.")
        self._found.documents[record.key] = record
        self._target.execute(
            "INSERT OR REPLACE INTO documents VALUES(?, ?, ?, ?, ?, ?)",
            (record.key, ids.pack_id(record.document_id), *records.document_fields(record)),
        )

    def _stand_in(self, key: int, document_id: str | None, source_key: object) -> None:
        """A document of which a name or a passage is left."""
        source = source_key if isinstance(source_key, int) and source_key in self._found.sources else (1 << 40) + key
        self._keep_document(DocumentRecord(document_id or ids.unpack_id(ids.new_id()), source, key=key))
        self._found.hurt.add(key)
        self._found.more.add(key)
        if not document_id:
            self._found.invented.add(key)
        lost = "title and metadata" if document_id else "id, title and metadata"
        self._found.is_lost("documents", f"The document's {lost}.", key)

    def collections(self) -> None:
        names = self._tables.by_index("collections", "collection_key", "name", "sqlite_autoindex_collections_1")
        table = self._tables.table("collections", "collection_key, name, space_key", "collection_key")
        rows = [*table.rows(lambda: sorted(names))]
        read = {row[0] for row in rows if isinstance(row[1], str)}
        for key, name, space in (*rows, *((key, name, None) for key, name in names.items() if key not in read)):
            if isinstance(key, int) and isinstance(name, str) and key != schema.DEFAULT_COLLECTION:
                own = space if isinstance(space, int) else None
                self._target.execute("INSERT OR IGNORE INTO collections VALUES(?, ?, ?)", (key, name, own))
                if key not in read:
                    self._found.named_alone.add(key)
        self._known = {row[0] for row in self._target.rows("SELECT collection_key FROM collections")}
        listed = self._tables.table("collection_members", "collection_key, first_key, n", "collection_key, first_key")
        for key, first, n in listed.rows():
            if key in self._known and isinstance(first, int) and isinstance(n, int) and 0 < n <= self._tables.most:
                self._target.execute("INSERT OR IGNORE INTO collection_members VALUES(?, ?, ?)", (key, first, n))
        if not listed.whole and self._as_written("collection_members") is not True:
            self._found.is_lost("collections", "Which passages some collections listed.")

    def chunks(self) -> bool:
        """Passages whose id, text and details are what was written, indexed as they come; whether all could be looked at."""
        runs, extents = self._owners("runs"), self._owners("extents")
        indexed = self._tables.by_index("chunks", "key", "document_key", "chunks_by_document")
        known = cache(lambda: self._tables.by_index("chunks", "key", "chunk_id", "sqlite_autoindex_chunks_1"))
        positions = self._tables.by_index("chunks", "key", "position", "chunks_by_document")
        hints = sorted({*runs, *positions})
        columns = "key, chunk_id, document_key, collection_key, position, checksum, details, text"
        table = self._tables.table("chunks", columns, "key")
        texts: list[tuple[int, str]] = []
        seen: set[int] = set()
        for row in table.rows(lambda: hints):
            key = row[0]
            text = self._text(row)
            if text is None:
                row = (key, known().get(key), *row[2:])
                text = self._text(row)
            if text is None:
                continue
            position = row[4] if isinstance(row[4], int) else positions.get(key, key)
            told = self._told_of(key, row[2], indexed, runs, extents)
            document = _most(told)
            if document is None:
                document = told[0] if told else 1 << 40
                self._found.hurt.update(told)
                self._found.is_lost(
                    "chunks", f"Whose the passage with key {key} is: it may be another document's.", document
                )
            if positions.get(key, position) != position:
                self._found.hurt.add(document)
                self._found.is_lost("chunks", f"Where the passage with key {key} stands in its document.", document)
            if document not in self._found.documents:
                self._stand_in(document, None, None)
            self._target.execute(
                "INSERT OR IGNORE INTO chunks VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                (*row[:2], document, self._collection(row[3]), position, *row[5:]),
            )
            if not self._target.changes():
                continue
            seen.add(key)
            texts.append((key, text))
            if len(texts) == _AT_ONCE:
                fulltext.add(self._target, texts)
                texts.clear()
                self._progress(ProgressEvent("repair", done=len(seen), total=len(hints)))
        fulltext.add(self._target, texts)
        for key in hints:
            if key not in seen:
                document = indexed.get(key, runs.get(key, 0))
                self._found.hurt.add(document)
                if name := decoded(ids.unpack_id, known().get(key)):
                    self._found.gone[document].append(name)
                else:
                    self._found.more.add(document)
                self._found.is_lost("chunks", f"The passage with key {key}.", document)
        if not table.whole:
            self._untold(runs, indexed)
        return table.whole

    def _untold(self, runs: dict[int, int], indexed: dict[int, int]) -> None:
        """Where passages are lost, and nothing that lists them can be read to its end: the documents that it may have told of.

        Both lists are in the order of the documents, so that of the last one that was read there may be more.
        """
        if self._tables.is_whole("n", "runs") or self._tables.is_whole(
            "position", "chunks INDEXED BY chunks_by_document"
        ):
            return
        told: set[int] = set()
        for owners in (runs.values(), indexed.values()):
            told |= set(owners) - {max(owners, default=0)}
        for key in self._found.documents.keys() - told - self._found.hurt:
            self._found.hurt.add(key)
            self._found.more.add(key)
            self._found.is_lost("chunks", "Passages of which nothing tells any more, if it had any.", key)

    def _owners(self, table: str) -> dict[int, int]:
        """The document of each key, as one table of runs of keys has it."""
        of: dict[int, int] = {}
        for document, first, n in self._tables.column(f"SELECT document_key, first_key, n FROM {table}"):
            if all(isinstance(value, int) for value in (document, first, n)) and 0 < n <= self._tables.most:
                of.update(dict.fromkeys(range(first, first + n), document))
            if len(of) > self._tables.most:
                break
        return of

    def _told_of(self, key: int, own: Any, *others: dict[int, Any]) -> list[int]:
        """Whose a passage is, as its record and others have it: documents that are known, where any of them is."""
        told = [owner for owner in (own, *(of.get(key) for of in others)) if isinstance(owner, int)]
        return [owner for owner in told if owner in self._found.documents] or told

    def _text(self, row: tuple[Any, ...]) -> str | None:
        try:
            key, chunk_id, _, _, _, checksum, details, text = row
            name, plain = ids.unpack_id(chunk_id), self._codec.decode(text)
            described = None if details is None else self._codec.decode(details)
            if not isinstance(key, int) or codec.chunk_checksum(name, plain, described) != checksum:
                return None
            codec.load_details(described)
            return codec.to_text(plain)
        except UNREADABLE:
            return None

    def _collection(self, key: Any) -> int:
        if not isinstance(key, int):
            return schema.DEFAULT_COLLECTION
        if key not in self._known:
            self._known.add(key)
            self._target.execute("INSERT OR IGNORE INTO collections VALUES(?, ?, NULL)", (key, f"recovered {key}"))
            self._found.named_alone.add(key)
            self._found.is_lost(
                "collections", f"The name of the collection with key {key}: it is 'recovered {key}' now."
            )
        return key

    def sets(self) -> None:
        for key, name, joins in self._tables.table("sets", "set_key, name, joins", "set_key").rows():
            if isinstance(key, int) and isinstance(name, str) and key != schema.ACTIVE_SET:
                self._target.execute("INSERT OR IGNORE INTO sets VALUES(?, ?, ?)", (key, name, int(bool(joins))))
        members = self._tables.table("set_members", "set_key, source_key", "set_key, source_key")
        for key, source in members.rows():
            if source in self._found.sources:
                self._target.execute("INSERT OR IGNORE INTO set_members VALUES(?, ?)", (key, source))
        if not members.whole:
            self._target.execute(
                "INSERT OR IGNORE INTO set_members SELECT ?, source_key FROM sources", (schema.ACTIVE_SET,)
            )
            if self._as_written("set_members") is not True:
                self._found.is_lost("sets", "Which sources were not active: all of them are now.")

    def originals(self, live: KeySet) -> None:
        table = self._tables.table("originals", "owner, key, checksum, data", "owner, key")
        seen = 0
        for owner, key, checksum, data in table.rows():
            if not isinstance(key, int):
                continue
            seen += 1
            alive = key in self._found.documents if owner == 0 else bool(live.contains(np.array([key]))[0])
            if alive and self._is_intact(checksum, data):
                self._target.execute("INSERT OR IGNORE INTO originals VALUES(?, ?, ?, ?)", (owner, key, checksum, data))
            elif alive:
                self._found.is_lost(
                    "originals",
                    f"What another program had written about the {'passage' if owner else 'document'} {key}.",
                )
        told = decoded(originals.stored_tally, self._tables.connection)
        if not table.whole and (seen if told is None else seen < told[0]):
            self._found.is_lost("originals", "Some of what another program had written about documents and passages.")
        elif not table.whole and told is None:
            self._found.restored.append(_CANT_TELL.format("written by"))
        elif told is not None and seen < told[0]:
            self._found.is_lost("originals", originals.missing(told[0], seen))
        originals.put_tally(self._target)

    def attachments(self) -> None:
        table = self._tables.table("attachments", "rowid, name, checksum, data", "rowid")
        names = self._tables.by_index("attachments", "rowid", "name", "sqlite_autoindex_attachments_1")
        seen = 0
        for number, name, checksum, data in table.rows(lambda: sorted(names)):
            seen += 1
            if names.get(number, name) != name:
                called = decoded(ids.unpack_text, name)
                self._found.is_lost(
                    "attachments", f"What the attachment {called!r} was called: its index has another name."
                )
            if self._is_intact(checksum, data) and decoded(ids.unpack_text, name) is not None:
                self._target.execute("INSERT OR IGNORE INTO attachments VALUES(?, ?, ?)", (name, checksum, data))
            else:
                self._found.is_lost("attachments", f"The attachment {decoded(ids.unpack_text, name)!r}.")
        told = decoded(originals.stored_number, self._tables.connection)
        if told is not None and seen < told:
            self._found.is_lost("attachments", originals.missing_attachments(told, seen))
        elif not table.whole and told is None and (names or seen):
            self._found.is_lost("attachments", "Some of what was carried along from another program.")
        elif not table.whole and told is None:
            self._found.restored.append(_CANT_TELL.format("carried along from"))
        originals.put_number(self._target)

    def small_tables(self) -> None:
        """Those that are not what was written, but for what was told of them already. To be asked last."""
        for table in list(self._doubtful):
            if self._as_written(table) is not True:
                self._found.is_lost("catalogue", f"What the table {table} said: what it says now was taken over.")

    def _as_written(self, table: str) -> bool | None:
        """Whether what was taken over of a small table is all that was written, however it came; None where nothing says so. Who asks tells of it."""
        if table in self._doubtful:
            self._doubtful.remove(table)
        written: bool | None = decoded(
            lambda source: sums.is_as_written(self._target, table, source), self._tables.connection
        )
        return written

    def _is_intact(self, checksum: Any, data: Any) -> bool:
        return bool(decoded(lambda frame: zlib.crc32(self._codec.decode(frame)), data) == checksum)


def _most(told: list[int]) -> int | None:
    """What more of them say than anything else; None where there is no such thing."""
    ranked = Counter(told).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]
