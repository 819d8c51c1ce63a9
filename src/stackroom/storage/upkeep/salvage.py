"""What survives of a damaged catalogue, read row by row and written into a new one under the same keys.

Every record has a checksum, so that what is taken over is what was written. What a table has lost may still stand in its indexes, and
rows that a broken tree hides are found by the keys that other tables name. What is derived (words, filters, runs) is made again. Vector
rows are compared with their checksums; a file of which any is lost is written anew with the others.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import numpy as np

from stackroom.backend import DocumentRecord, SourceRecord, Waiting
from stackroom.errors import DamagedError
from stackroom.progress import Progress, ProgressEvent
from stackroom.reports import Damage
from stackroom.storage import writer
from stackroom.storage.catalogue import codec, ids, records, runs, schema, sums, waiting
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.database import STRANGE
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.upkeep import compaction
from stackroom.storage.vectors import extents, sketches, spaces, vector_file
from stackroom.storage.vectors.extents import Extent
from stackroom.storage.words import fulltext, postings, word_files
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A disk or a system that refuses is no damage: what it refused may be there tomorrow.
_BROKEN = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.MismatchError, UnicodeDecodeError)
_UNREADABLE = (*_BROKEN, DamagedError, *(kind for kind in STRANGE if kind is not MemoryError))
_AT_ONCE = 512
_LONGEST_SEQUENCE = 1 << 48
_KEPT_SETTINGS = {"library_uuid": bytes, "commit_id": bytes, "candidates": int, "backup_of": bytes}


class Survey(NamedTuple):
    """What a salvage found."""

    restored: tuple[str, ...]
    lost: tuple[Damage, ...]
    waiting: Waiting
    made: tuple[Path, ...]
    """vector files that were written anew"""
    replaced: tuple[Path, ...]
    """those that they stand for"""


def salvage(library: Path, source: Connection, target: Connection, progress: Progress) -> Survey:
    """Fill the empty catalogue `target` with what can be read of `source`, within a transaction of the caller's.

    Raises DamagedError where nothing can be read, StorageError.
    """
    return _Salvage(library, source, target, progress).run()


def nothing_left(library: Path) -> DamagedError:
    """The error for a catalogue of which nothing can be read."""
    return DamagedError(
        f"Nothing can be read of {layout.catalogue(library)}.",
        hint="Restore the library from a backup, or index the files anew in another folder.",
        path=library,
    )


class _Table:
    """Rows of one table, as far as they can be read. `whole` once all were read without an error."""

    def __init__(self, connection: Connection, table: str, columns: str, key: str) -> None:
        self._connection = connection
        self._select = f"SELECT {columns} FROM {table} NOT INDEXED"
        self._key = key
        self.whole = False

    def rows(self, hints: Callable[[], Iterable[int]] | None = None) -> Iterator[tuple[Any, ...]]:
        """From the front; where that breaks off, from the back, and by the keys that others name."""
        last: Any = None
        try:
            for row in self._connection.execute(f"{self._select} ORDER BY {self._key}"):
                last = row
                yield row
            self.whole = True
            return
        except _BROKEN:
            pass
        low: Any = None
        try:
            for row in self._connection.execute(f"{self._select} ORDER BY {_descending(self._key)}"):
                if row == last:
                    break
                low = row
                yield row
        except _BROKEN:
            pass
        if hints is None:
            return
        first = last[0] if last and isinstance(last[0], int) else -1
        end = low[0] if low and isinstance(low[0], int) else None
        for key in hints():
            if key > first and (end is None or key < end):
                try:
                    found = self._connection.row(f"{self._select} WHERE {self._key} = ?", (key,))
                except _BROKEN:
                    continue
                if found is not None:
                    yield found


def _descending(key: str) -> str:
    return ", ".join(f"{column} DESC" for column in key.split(", "))


class _Salvage:
    def __init__(self, library: Path, source: Connection, target: Connection, progress: Progress) -> None:
        self._library = library
        self._source = source
        self._target = target
        self._progress = progress
        self._codec = Codec(target)
        self._restored: list[str] = []
        self._lost: list[Damage] = []
        self._sources: dict[int, SourceRecord] = {}
        self._documents: dict[int, DocumentRecord] = {}
        self._hurt: set[int] = set()
        self._missing = KeySet.empty()
        self._made: list[Path] = []
        self._replaced: list[Path] = []
        pages = [_value(source, f"PRAGMA {name}", 0) for name in ("page_count", "page_size")]
        # No catalogue has more rows than this: a broken count must not have us look for ever.
        self._most = pages[0] * pages[1] // 8 + 1000

    def run(self) -> Survey:
        self._settings()
        self._dictionaries()
        self._take_sources()
        self._take_documents()
        self._collections()
        self._chunks()
        if not self._whole and not self._sources and not self._documents:
            raise nothing_left(self._library)
        runs.rebuild(self._target)
        live = runs.everything(self._target)
        self._sets()
        self._spaces(live)
        self._originals(live)
        self._attachments()
        compaction.rebuild_metadata(self._target, self._codec)
        self._word_files(live)
        self._sequences()
        left = self._waiting()
        waiting.put(self._target, left)
        schema.count_commit(self._target, members=True)
        return Survey(tuple(self._restored), tuple(self._lost), left, tuple(self._made), tuple(self._replaced))

    def _table(self, table: str, columns: str, key: str) -> _Table:
        return _Table(self._source, table, columns, key)

    def _column(self, statement: str) -> list[tuple[Any, ...]]:
        """As many rows as can be read."""
        found = []
        try:
            for row in self._source.execute(statement):
                found.append(row)
                if len(found) > self._most:
                    break
        except _BROKEN:
            pass
        return found

    def _is_lost(self, structure: str, message: str, document_key: int = 0) -> None:
        document = self._documents.get(document_key)
        source = None if document is None else self._sources.get(document.source_key)
        self._lost.append(
            Damage(
                structure,
                message,
                None if document is None else document.document_id,
                None if source is None else source.name,
            )
        )

    def _settings(self) -> None:
        found = {row[0]: row[1] for row in self._table("settings", "name, value", "name").rows()}
        for name, kind in _KEPT_SETTINGS.items():
            if isinstance(found.get(name), kind):
                self._target.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (name, found[name]))
        commits = found.get("commits")
        if not isinstance(commits, int) or not 0 <= commits < _LONGEST_SEQUENCE:
            # Any number that no snapshot has had.
            commits = 1 << 32
        self._target.execute("UPDATE settings SET value = ? WHERE name = 'commits'", (commits,))
        for table in _decoded(lambda _: list(sums.differing(self._source)), ()) or ():
            self._is_lost("catalogue", f"What the table {table} said: what it says now was taken over.")
        self._before = waiting.parsed(found.get(waiting.NAME))

    def _dictionaries(self) -> None:
        for number, kind, data in self._table("dictionaries", "dictionary_id, kind, data", "dictionary_id").rows():
            try:
                good = codec.dictionary_id(data) == number and kind in ("text", "details", "original")
            except _UNREADABLE:
                good = False
            if good:
                self._target.execute("INSERT OR IGNORE INTO dictionaries VALUES(?, ?, ?)", (number, kind, data))

    def _by_index(self, table: str, key: str, column: str, index: str) -> dict[int, Any]:
        """A column as an index has it, by key."""
        rows = self._column(f"SELECT {key}, {column} FROM {table} INDEXED BY {index}")
        return {row[0]: row[1] for row in rows if isinstance(row[0], int)}

    def _take_sources(self) -> None:
        names = self._by_index("sources", "source_key", "name", "sqlite_autoindex_sources_2")
        known = self._by_index("sources", "source_key", "source_id", "sqlite_autoindex_sources_1")
        hints = sorted({*names, *known})
        for row in self._table("sources", records.SOURCE_COLUMNS, "source_key").rows(lambda: hints):
            key = row[0]
            for source_id in (row[1], known.get(key)):
                for name in (row[2], names.get(key)):
                    record = _decoded(records.to_source, (key, source_id, name, *row[3:]))
                    if record is not None and key not in self._sources:
                        self._keep_source(record)
        for key, name in names.items():
            if key in self._sources or _decoded(ids.unpack_text, name) is None:
                continue
            text = ids.unpack_text(name)
            source_id = _decoded(ids.unpack_id, known.get(key)) or ids.unpack_id(ids.new_id())
            record = SourceRecord(text, is_file=os.path.isabs(text), state="partial", source_id=source_id, key=key)
            self._keep_source(record)
            self._lost.append(Damage("sources", "What was known of the source but its name.", None, text))

    def _keep_source(self, record: SourceRecord) -> None:
        self._sources[record.key] = record
        self._target.execute(
            f"INSERT OR REPLACE INTO sources VALUES(?, ?{', ?' * 15})",
            (record.key, ids.pack_id(record.source_id), *records.source_fields(record)),
        )

    def _take_documents(self) -> None:
        known = self._by_index("documents", "document_key", "document_id", "sqlite_autoindex_documents_1")
        owners = self._by_index("documents", "document_key", "source_key", "documents_by_source")
        hints = sorted({*known, *owners})
        for row in self._table("documents", records.DOCUMENT_COLUMNS, "document_key").rows(lambda: hints):
            key = row[0]
            for document_id in (row[1], known.get(key)):
                for source_key in (row[2], owners.get(key)):
                    record = _decoded(records.to_document, (key, document_id, source_key, *row[3:]))
                    if record is not None and key not in self._documents:
                        self._keep_document(record)
        for key in hints:
            if key not in self._documents:
                self._stand_in(key, _decoded(ids.unpack_id, known.get(key)), owners.get(key))

    def _keep_document(self, record: DocumentRecord) -> None:
        if record.source_key not in self._sources:
            name = f"recovered/{record.source_key}"
            source = SourceRecord(name, title=name, source_id=ids.unpack_id(ids.new_id()), key=record.source_key)
            self._keep_source(source)
            self._is_lost("sources", f"The source with key {record.source_key}: its documents are in {name!r}.")
        self._documents[record.key] = record
        self._target.execute(
            "INSERT OR REPLACE INTO documents VALUES(?, ?, ?, ?, ?, ?)",
            (record.key, ids.pack_id(record.document_id), *records.document_fields(record)),
        )

    def _stand_in(self, key: int, document_id: str | None, source_key: object) -> None:
        """A document of which a name or a passage is left."""
        source = source_key if isinstance(source_key, int) and source_key in self._sources else (1 << 40) + key
        self._keep_document(DocumentRecord(document_id or ids.unpack_id(ids.new_id()), source, key=key))
        self._hurt.add(key)
        lost = "title and metadata" if document_id else "id, title and metadata"
        self._is_lost("documents", f"The document's {lost}.", key)

    def _collections(self) -> None:
        for key, name, space in self._table("collections", "collection_key, name, space_key", "collection_key").rows():
            if isinstance(key, int) and isinstance(name, str) and key != schema.DEFAULT_COLLECTION:
                own = space if isinstance(space, int) else None
                self._target.execute("INSERT OR IGNORE INTO collections VALUES(?, ?, ?)", (key, name, own))
        self._known = {row[0] for row in self._target.rows("SELECT collection_key FROM collections")}
        listed = self._table("collection_members", "collection_key, first_key, n", "collection_key, first_key")
        for key, first, n in listed.rows():
            if key in self._known and isinstance(first, int) and isinstance(n, int) and 0 < n <= self._most:
                self._target.execute("INSERT OR IGNORE INTO collection_members VALUES(?, ?, ?)", (key, first, n))
        if not listed.whole:
            self._is_lost("collections", "Which passages some collections listed.")

    def _chunks(self) -> None:
        """Passages whose id, text and details are what was written; they are indexed as they come."""
        of = {}
        for document, first, n in self._column("SELECT document_key, first_key, n FROM runs"):
            if all(isinstance(value, int) for value in (document, first, n)) and 0 < n <= self._most:
                of.update(dict.fromkeys(range(first, first + n), document))
            if len(of) > self._most:
                break
        known: dict[int, Any] | None = None
        positions = self._by_index("chunks", "key", "position", "chunks_by_document")
        hints = sorted({*of, *positions})
        columns = "key, chunk_id, document_key, collection_key, position, checksum, details, text"
        table = self._table("chunks", columns, "key")
        texts: list[tuple[int, str]] = []
        seen: set[int] = set()
        for row in table.rows(lambda: hints):
            key = row[0]
            text = self._text(row)
            if text is None:
                if known is None:
                    known = self._by_index("chunks", "key", "chunk_id", "sqlite_autoindex_chunks_1")
                row = (key, known.get(key), *row[2:])
                text = self._text(row)
            if text is None:
                continue
            position = row[4] if isinstance(row[4], int) else positions.get(key, key)
            document = of.get(key, row[2])
            if positions.get(key, position) != position:
                self._hurt.add(document)
                self._is_lost("chunks", f"Where the passage with key {key} stands in its document.", document)
            if document not in self._documents:
                self._stand_in(document if isinstance(document, int) else 1 << 40, None, None)
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
        self._whole = table.whole
        for key in hints:
            if key not in seen:
                document = of.get(key, 0)
                self._hurt.add(document)
                self._is_lost("chunks", f"The passage with key {key}.", document)

    def _text(self, row: tuple[Any, ...]) -> str | None:
        try:
            key, chunk_id, _, _, _, checksum, details, text = row
            name, plain = ids.unpack_id(chunk_id), self._codec.decode(text)
            described = None if details is None else self._codec.decode(details)
            if not isinstance(key, int) or codec.chunk_checksum(name, plain, described) != checksum:
                return None
            codec.load_details(described)
            return codec.to_text(plain)
        except _UNREADABLE:
            return None

    def _collection(self, key: Any) -> int:
        if not isinstance(key, int):
            return schema.DEFAULT_COLLECTION
        if key not in self._known:
            self._known.add(key)
            self._target.execute("INSERT OR IGNORE INTO collections VALUES(?, ?, NULL)", (key, f"recovered {key}"))
            self._is_lost("collections", f"The name of the collection with key {key}: it is 'recovered {key}' now.")
        return key

    def _sets(self) -> None:
        for key, name, joins in self._table("sets", "set_key, name, joins", "set_key").rows():
            if isinstance(key, int) and isinstance(name, str) and key != schema.ACTIVE_SET:
                self._target.execute("INSERT OR IGNORE INTO sets VALUES(?, ?, ?)", (key, name, int(bool(joins))))
        members = self._table("set_members", "set_key, source_key", "set_key, source_key")
        for key, source in members.rows():
            if source in self._sources:
                self._target.execute("INSERT OR IGNORE INTO set_members VALUES(?, ?)", (key, source))
        if not members.whole:
            self._target.execute(
                "INSERT OR IGNORE INTO set_members SELECT ?, source_key FROM sources", (schema.ACTIVE_SET,)
            )
            self._is_lost("sets", "Which sources were not active: all of them are now.")

    def _spaces(self, live: KeySet) -> None:
        columns = "space_key, state, identity, dim, metric, unit, file, file_uuid, rows"
        named: dict[int, spaces.Space] = {}
        table = self._table("spaces", columns, "space_key")
        found = [_decoded(spaces.to_space, row) for row in table.rows()]
        unread = not table.whole or None in found
        serving = False
        for space in found:
            # Two that serve can't be.
            if space is not None and not (serving and space.state == spaces.SERVING):
                named[space.key] = space
                serving = serving or space.state == spaces.SERVING
        kept = _Table(
            self._source,
            "extents",
            "space_key, first_row, n, first_key, document_key, checksums",
            "space_key, first_row",
        )
        by_space: dict[int, list[Extent]] = {}
        for key, *fields in kept.rows():
            if self._is_extent(fields):
                by_space.setdefault(key, []).append(Extent(*fields))
        own = {row[0] for row in self._target.rows("SELECT space_key FROM collections WHERE space_key IS NOT NULL")}
        # The one with the most vectors first: that is the library's own.
        for key in sorted(by_space.keys() - named.keys(), key=lambda key: -sum(e.n for e in by_space[key])):
            state = spaces.OWN if key in own else spaces.BUILDING if serving else spaces.SERVING
            space = self._of_file(key, state)
            if space is not None:
                named[key] = space
                serving = serving or state == spaces.SERVING
                self._is_lost("spaces", f"Which model made the vectors of {space.file}.")
        for space in sorted(named.values(), key=lambda space: space.key):
            if space.state == spaces.BUILDING:
                self._restored.append(
                    "A change of model that was under way begins anew: stackroom rebuild --embedder NAME"
                )
            elif space.state == spaces.FORMER:
                self._restored.append(
                    f"The vectors of the model before, {space.identity.name!r}, are not kept: there is no way back to it"
                )
            elif space.state == spaces.SERVING or space.key in own:
                self._space(
                    space, sorted(by_space.get(space.key, []), key=lambda e: e.first_key), live, whole=kept.whole
                )
        known = {row[0] for row in self._target.rows("SELECT space_key FROM spaces")}
        for key in own - known:
            self._target.execute("UPDATE collections SET space_key = NULL WHERE space_key = ?", (key,))
            self._is_lost("vectors", "The vectors of a collection of its own.")
        if unread and not serving:
            self._is_lost("spaces", "The vectors of the library, and which model made them.")

    def _is_extent(self, fields: Sequence[Any]) -> bool:
        first_row, n, first_key, document, checksums = fields
        whole = all(isinstance(value, int) and value >= 0 for value in (first_row, n, first_key, document))
        return whole and isinstance(checksums, bytes) and 0 < n <= self._most and len(checksums) == 4 * n

    def _of_file(self, key: int, state: str) -> spaces.Space | None:
        """A space whose record is gone: what its file says of itself."""
        folder = layout.vectors(self._library)
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
        wanted = live.intersection(had) if whole and _tiles(self._source, space, found) else live
        good = self._rewrite(space, found, rows, live)
        lost = wanted.difference(good)
        self._restored.append(f"{good.count:,} vectors of {space.file} were taken over.")
        if space.state == spaces.SERVING:
            self._missing = lost
            return
        for key in lost.intersection(had).keys().tolist():
            document = self._target.value("SELECT document_key FROM chunks WHERE key = ?", (key,))
            self._is_lost(
                "vectors", f"The vector of the passage with key {key} in a collection of its own.", document or 0
            )
        if not (whole and _tiles(self._source, space, found)):
            self._is_lost("vectors", f"Which passages some of the {space.rows:,} rows of {space.file} belonged to.")

    def _is_sound(self, space: spaces.Space, found: list[Extent], live: KeySet) -> bool:
        if not _tiles(self._source, space, found):
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
        for first, n in self._column(f"SELECT first_row, n FROM dead_rows WHERE space_key = {space.key}"):
            self._target.execute("INSERT INTO dead_rows VALUES(?, ?, ?)", (space.key, first, n))
        folder = layout.sketches(self._library)
        for entry in _decoded(lambda _: sketches.of_space(self._source, space), ()) or []:
            if sketches.is_usable(folder / entry.file, space, entry) and not sketches.is_damaged(folder / entry.file):
                self._target.execute("INSERT INTO sketches VALUES(?, ?, ?, ?)", (space.key, *entry))

    def _rewrite(
        self, space: spaces.Space, found: list[Extent], rows: NDArray[np.float32] | None, live: KeySet
    ) -> KeySet:
        """A new file of the rows that are what was written; the keys that have one."""
        name = spaces.new_file_name(self._target, self._library, space.key)
        path = layout.vectors(self._library) / name
        file_uuid = vector_file.create(path, space.dim)
        self._made.append(path)
        self._replaced.append(space.path(self._library))
        appender = vector_file.Appender(path, rows=0, dim=space.dim, unit=True)
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

    def _originals(self, live: KeySet) -> None:
        table = self._table("originals", "owner, key, checksum, data", "owner, key")
        for owner, key, checksum, data in table.rows():
            if not isinstance(key, int):
                continue
            alive = key in self._documents if owner == 0 else bool(live.contains(np.array([key]))[0])
            if alive and self._is_intact(checksum, data):
                self._target.execute("INSERT OR IGNORE INTO originals VALUES(?, ?, ?, ?)", (owner, key, checksum, data))
            elif alive:
                self._is_lost(
                    "originals",
                    f"What another program had written about the {'passage' if owner else 'document'} {key}.",
                )
        if not table.whole:
            self._is_lost("originals", "Some of what another program had written about documents and passages.")

    def _attachments(self) -> None:
        table = self._table("attachments", "rowid, name, checksum, data", "rowid")
        names = self._by_index("attachments", "rowid", "name", "sqlite_autoindex_attachments_1")
        for number, name, checksum, data in table.rows(lambda: sorted(names)):
            if names.get(number, name) != name:
                called = _decoded(ids.unpack_text, name)
                self._is_lost("attachments", f"What the attachment {called!r} was called: its index has another name.")
            if self._is_intact(checksum, data) and _decoded(ids.unpack_text, name) is not None:
                self._target.execute("INSERT OR IGNORE INTO attachments VALUES(?, ?, ?)", (name, checksum, data))
            else:
                self._is_lost("attachments", f"The attachment {_decoded(ids.unpack_text, name)!r}.")
        if not table.whole:
            self._is_lost("attachments", "Some of what was carried along from another program.")

    def _is_intact(self, checksum: Any, data: Any) -> bool:
        return bool(_decoded(lambda frame: zlib.crc32(self._codec.decode(frame)), data) == checksum)

    def _word_files(self, live: KeySet) -> None:
        """Postings files of the passages that are still all there."""
        folder = layout.sketches(self._library)
        for entry in _decoded(word_files.every, self._source) or []:
            path = folder / entry.file
            found = None if postings.is_damaged(path) else postings.load(path, entry.first, entry.end)
            if found is not None and not live.intersection(entry.range).difference(KeySet.from_keys(found.keys)).count:
                self._target.execute("INSERT OR IGNORE INTO word_files VALUES(?, ?, ?, ?)", entry)

    def _sequences(self) -> None:
        """Keys are never used again, those of lost records included."""
        before = {row[0]: row[1] for row in self._column("SELECT name, seq FROM sqlite_sequence")}
        for table, key in (("sources", "source_key"), ("documents", "document_key"), ("chunks", "key")):
            used = self._target.value(f"SELECT coalesce(max({key}), 0) FROM {table}")
            old = before.get(table)
            last = max(used, old) if isinstance(old, int) and 0 <= old < _LONGEST_SEQUENCE else used
            self._target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            self._target.execute("INSERT INTO sqlite_sequence VALUES(?, ?)", (table, last))

    def _waiting(self) -> Waiting:
        """What needs a model or a file: passages whose vectors are lost, sources whose passages are."""
        read = dict(self._before.read)
        for document_key in self._hurt:
            document = self._documents.get(document_key)
            source = None if document is None else self._sources.get(document.source_key)
            if source is not None and source.is_file:
                read[source.key] = source.content_hash or read.get(source.key)
                self._keep_source(replace(source, state="partial"))
        for key, source in self._sources.items():
            if source.is_file and source.state == "partial" and source.indexed_at is None and source.recipe == "":
                read.setdefault(key, None)
        missing = self._missing.union(KeySet.from_keys(np.array(self._before.embed, dtype=np.int64)))
        return Waiting(tuple(missing.keys().tolist()), tuple(sorted(read.items())))


def _tiles(source: Connection, space: spaces.Space, found: list[Extent]) -> bool:
    """Whether extents and dead rows are all the rows of the file, each once."""
    ranges = [(extent.first_row, extent.first_row + extent.n) for extent in found]
    try:
        dead = source.rows("SELECT first_row, n FROM dead_rows WHERE space_key = ?", (space.key,))
        ranges += [(first, first + n) for first, n in dead]
    except _UNREADABLE:
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


def _decoded(decode: Callable[[Any], Any], value: Any) -> Any:
    """What a stored value says, None where it says nothing."""
    try:
        return decode(value)
    except _UNREADABLE:
        return None


def _value(connection: Connection, statement: str, instead: int) -> int:
    found = _decoded(connection.value, statement)
    return found if isinstance(found, int) else instead
