"""One commit: rows are written past the committed end and synced, then one SQLite transaction makes all of it true.

Until that transaction is durable nothing of a commit can be seen; after it, all of it. An exception on the way rolls
the catalogue back, and the rows that were written belong to nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import GIVE_AGAIN, DocumentRecord, Owner, SourceRecord, Waiting, indexed_metadata
from stackroom.errors import DamagedError, DimensionMismatchError, NotFoundError, UsageError
from stackroom.identity import require_same
from stackroom.storage.catalogue import codec, collections, ids, metadata, originals, records, runs, schema
from stackroom.storage.catalogue import waiting as waits
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.ids import pack_id
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.lost import Losses
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.vectors import extents, spaces, vector_file
from stackroom.storage.vectors.extents import Extent
from stackroom.storage.words import fulltext
from stackroom.types import Chunk, EmbedderIdentity, Metadata, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A chunk on its way in, checked, with its key."""

    key: int
    chunk_id: str
    chunk: Chunk
    embedding: NDArray[np.float32] | None


class LocalCommit:
    """The changes of one commit, applied to an open transaction of the catalogue. Made by LocalStore.commit()."""

    def __init__(self, library: Path, connection: Connection, blobs: Codec) -> None:
        self._library = library
        self._connection = connection
        self._codec = blobs
        self._space: spaces.Space | None = spaces.serving(connection)
        self._appenders: dict[int, tuple[spaces.Space, vector_file.Appender]] = {}
        self._declared: EmbedderIdentity | None = None
        self._next_key: int | None = None
        self._removes = False
        self._members_changed = False
        self._losses = Losses.of(connection)
        # Gathered until the end: a value's postings are then read and written once, not once a document.
        self._described: dict[int, dict[int, Metadata]] = {metadata.DOCUMENT: {}, metadata.CHUNK: {}}

    def put_source(self, record: SourceRecord) -> int:
        connection = self._connection
        known = (
            records.source_by_key(connection, record.key)
            if record.key
            else records.source_by_name(connection, record.name)
        )
        if known is None:
            if record.key:
                raise NotFoundError(f"There is no source with key {record.key}.", hint="List them: stackroom list")
            return self._new_source(record)
        self._losses.touch(known.key)
        if known.name != record.name:
            other = records.source_by_name(connection, record.name)
            if other is not None:
                self.remove_source(other.key)
        record = replace(record, key=known.key, source_id=known.source_id)
        connection.execute(
            """UPDATE sources SET name = ?, title = ?, type = ?, is_file = ?, size = ?, mtime_ns = ?, content_hash = ?,
               recipe = ?, state = ?, error = ?, error_kind = ?, pages = ?, pages_without_text = ?, indexed_at = ?,
               checksum = ? WHERE source_key = ?""",
            (*records.source_fields(record), known.key),
        )
        if (known.name, known.title, known.type, known.is_file) != (
            record.name,
            record.title,
            record.type,
            record.is_file,
        ):
            for document in records.documents_of(connection, known.key):
                self._reindex(document, indexed_metadata(document, known), document, record)
        return known.key

    def _new_source(self, record: SourceRecord) -> int:
        source_id = pack_id(record.source_id) if record.source_id else ids.new_id()
        record = replace(record, source_id=ids.unpack_id(source_id))
        self._connection.execute(
            f"INSERT INTO sources VALUES(NULL, ?{', ?' * 15})", (source_id, *records.source_fields(record))
        )
        key = self._connection.last_insert_rowid()
        self._members_changed = True
        # Row by row: a statement that may insert several would have FTS5 write out what it holds, before each.
        joined = self._connection.execute("SELECT set_key FROM sets WHERE joins").fetchall()
        self._connection.executemany("INSERT INTO set_members VALUES(?, ?)", ((row[0], key) for row in joined))
        return key

    def put_document(self, record: DocumentRecord) -> int:
        connection = self._connection
        source = records.source_by_key(connection, record.source_key)
        if source is None:
            raise NotFoundError(f"There is no source with key {record.source_key}.", hint="List them: stackroom list")
        known = records.document_by_id(connection, record.document_id) if record.document_id else None
        if known is None:
            document_id = pack_id(record.document_id) if record.document_id else ids.new_id()
            record = replace(record, document_id=ids.unpack_id(document_id))
            connection.execute(
                "INSERT INTO documents VALUES(NULL, ?, ?, ?, ?, ?)", (document_id, *records.document_fields(record))
            )
            record = replace(record, key=connection.last_insert_rowid())
            self._described[metadata.DOCUMENT][record.key] = indexed_metadata(record, source)
            return record.key
        owner = records.source_by_key(connection, known.source_key) or source
        record = replace(record, key=known.key)
        connection.execute(
            "UPDATE documents SET source_key = ?, title = ?, metadata = ?, checksum = ? WHERE document_key = ?",
            (*records.document_fields(record), known.key),
        )
        self._reindex(known, indexed_metadata(known, owner), record, source)
        return known.key

    def _reindex(
        self, known: DocumentRecord, before: dict[str, Any], record: DocumentRecord, source: SourceRecord
    ) -> None:
        after = indexed_metadata(record, source)
        if before != after or str(before) != str(after):
            self._forget_described(known.key, before)
            self._described[metadata.DOCUMENT][known.key] = after

    def add_chunks(
        self, document_key: int, chunks: Sequence[Chunk], *, position: int | None = 0, collection: str = "default"
    ) -> list[int]:
        prepared = self._prepare(chunks)
        if not prepared:
            return []
        connection = self._connection
        if position is None:
            position = connection.value(
                "SELECT coalesce(max(position) + 1, 0) FROM chunks WHERE document_key = ?", (document_key,)
            )
        collection_key = collections.obtain(connection, collection).key
        stored = list(self._blobs(prepared))
        # First, so that they are on their way to the disk while SQLite works; but not before all is known to be storable.
        self._append_rows(document_key, prepared)
        connection.executemany(
            "INSERT INTO chunks VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (item.key, pack_id(item.chunk_id), document_key, collection_key, position + i, *blobs)
                for i, (item, blobs) in enumerate(zip(prepared, stored, strict=True))
            ),
        )
        fulltext.add(connection, ((item.key, item.chunk.text) for item in prepared))
        described = self._described[metadata.CHUNK]
        described.update((item.key, item.chunk.metadata) for item in prepared if item.chunk.metadata)
        runs.add(connection, document_key, prepared[0].key, len(prepared))
        return [item.key for item in prepared]

    def _prepare(self, chunks: Sequence[Chunk]) -> list[_Prepared]:
        """Choose ids and keys; chunks of the same ids, in the library or earlier in the list, make way."""
        named = {chunk.chunk_id: chunk for chunk in chunks if chunk.chunk_id}
        statement = "SELECT key FROM chunks WHERE chunk_id IN (...)"
        replaced = [key for (key,) in self._connection.among(statement, list(map(pack_id, named)))]
        if replaced:
            self.remove_chunks(replaced)
        kept = [chunk for chunk in chunks if not chunk.chunk_id or named[chunk.chunk_id] is chunk]
        rows = self._checked([chunk.embedding for chunk in kept])
        first = self._allocate(len(kept))
        return [
            _Prepared(first + i, chunk.chunk_id or ids.unpack_id(ids.new_id()), chunk, row)
            for i, (chunk, row) in enumerate(zip(kept, rows, strict=True))
        ]

    def _allocate(self, n: int) -> int:
        if self._next_key is None:
            row = self._connection.row("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'")
            self._next_key = (row[0] if row else 0) + 1
        first = self._next_key
        self._next_key += n
        return first

    def _checked(self, embeddings: Sequence[NDArray[np.float32] | None]) -> list[NDArray[np.float32] | None]:
        """The same vectors as they are stored. Raises DimensionMismatchError, UsageError."""
        rows = [None if row is None else np.ascontiguousarray(row, dtype="<f4") for row in embeddings]
        given = [row for row in rows if row is not None]
        for row in given:
            if row.ndim != 1 or not len(row):
                raise DimensionMismatchError(
                    f"An embedding has the shape {row.shape}.", hint="Give one vector a chunk: float32 of shape (dim,)."
                )
            self._of_length(row, self._writable_space(len(row)))
        if given:
            _require_finite(np.stack(given))
        return rows

    def _of_length(self, row: NDArray[np.float32], space: spaces.Space) -> None:
        """Raises DimensionMismatchError where a vector is not of this space."""
        if row.shape != (space.dim,):
            raise DimensionMismatchError(
                f"An embedding has {len(row)} dimensions, the library's have {space.dim}.",
                hint="Use the model that the library was made with. For another one, make a library of its own.",
                expected=space.dim,
                actual=len(row),
            )

    def _writable_space(self, dim: int) -> spaces.Space:
        if self._space is None:
            identity = self._declared or EmbedderIdentity(name="", dim=dim)
            self._space = spaces.create(self._connection, self._library, identity, spaces.SERVING)
        return self._space

    def _blobs(self, prepared: Sequence[_Prepared]) -> Iterator[tuple[int, bytes | None, bytes]]:
        """Checksum, details and text of each chunk as they are stored."""
        texts = [codec.to_bytes(item.chunk.text) for item in prepared]
        details = [records.dump_details(item.chunk.place, item.chunk.metadata) for item in prepared]
        packed = iter(self._codec.encode_many("details", [item for item in details if item is not None]))
        stored = self._codec.encode_many("text", texts)
        for item, text, described, frame in zip(prepared, texts, details, stored, strict=True):
            checksum = codec.chunk_checksum(item.chunk_id, text, described)
            yield checksum, None if described is None else next(packed), frame

    def _append_rows(self, document_key: int, prepared: Sequence[_Prepared]) -> None:
        """Write the vectors there are; every run of chunks that have one becomes an extent."""
        run: list[_Prepared] = []
        for item in [*prepared, None]:
            if item is not None and item.embedding is not None:
                run.append(item)
                continue
            if run:
                rows = np.stack([item.embedding for item in run if item.embedding is not None])
                self._append_run(self._writable_space(rows.shape[1]), document_key, run[0].key, rows)
            run = []

    def _append_run(self, space: spaces.Space, document_key: int, first_key: int, rows: NDArray[np.float32]) -> None:
        appender = self._appender(space)
        first_row = appender.append(rows)
        appender.sync_ahead()
        checksums = row_checksums(first_key, rows)
        extents.add(self._connection, space.key, Extent(first_row, len(rows), first_key, document_key, checksums))

    def _appender(self, space: spaces.Space) -> vector_file.Appender:
        if space.key not in self._appenders:
            self._appenders[space.key] = space, appender_of(self._connection, self._library, space)
        return self._appenders[space.key][1]

    def add_vectors(self, collection: str, vectors_: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        for key, vector in vectors_:
            identity = EmbedderIdentity(name="", dim=len(vector))
            space = collections.own_space(self._connection, self._library, collection, identity)
            self._of_length(vector, space)
            _require_finite(vector)
            document_key = self._connection.value("SELECT document_key FROM chunks WHERE key = ?", (key,))
            if document_key is None:
                raise NotFoundError(f"There is no chunk with key {key}.")
            extents.remove(self._connection, space.key, key, key + 1)
            self._append_run(space, document_key, key, vector[None])

    def give_vectors(self, vectors: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        for key, vector in vectors:
            document_key = self._connection.value("SELECT document_key FROM chunks WHERE key = ?", (key,))
            if document_key is None:
                continue
            for row in self._checked([vector]):
                if row is not None:
                    space = self._writable_space(len(row))
                    extents.remove(self._connection, space.key, key, key + 1)
                    self._append_run(space, document_key, key, row[None])

    def given(self, document_key: int, chunk_ids: Collection[str] | None = None) -> None:
        document = records.document_by_key(self._connection, document_key) if self._losses else None
        if document is not None:
            self._losses.given(document.source_key, document_key, chunk_ids)

    def _tell_lost(self) -> None:
        """Have the sources that were written to say whether they lack anything still."""
        for source_key in sorted(self._losses.touched):
            source = records.source_by_key(self._connection, source_key)
            if source is None:
                continue
            if source.is_file and source.state == "indexed":
                self._losses.forget(source_key)
            if not self._losses.lacks(source_key):
                if source.lacks_passages:
                    self.put_source(replace(source, state="indexed", error=None, error_kind=None))
            elif not source.is_file and (source_key in self._losses.given_to or not source.lacks_passages):
                failed = replace(source, state="partial", error=GIVE_AGAIN, error_kind=DamagedError.__name__)
                self.put_source(failed)
        self._losses.finish()

    def set_waiting(self, waiting: Waiting) -> None:
        waits.put(self._connection, waiting)

    def enlist(self, collection: str, keys: Sequence[int]) -> None:
        self._members_changed = True
        collections.enlist(self._connection, collection, keys)

    def listings(self, source_key: int) -> list[str]:
        return collections.listing(self._connection, runs.of_sources(self._connection, [source_key]))

    def leave(self, collection: str, keys: Sequence[int]) -> None:
        self._members_changed = True
        space_key = collections.leave(self._connection, collection, keys)
        if space_key is not None:
            for first, end in KeySet.from_keys(np.array(keys, dtype=np.int64)).ranges.tolist():
                extents.remove(self._connection, space_key, first, end)

    def disband(self, collection: str) -> None:
        self._members_changed = True
        collections.disband(self._connection, collection)

    def keep(self, owner: Owner, records_: Sequence[tuple[int, bytes]]) -> None:
        originals.keep(self._connection, self._codec, owner, records_)

    def attach(self, name: str, data: bytes) -> None:
        originals.attach(self._connection, self._codec, name, data)

    def detach(self, name: str) -> bool:
        return originals.detach(self._connection, name)

    def move_chunks(self, moves: Sequence[tuple[int, int, Place]]) -> None:
        connection = self._connection
        for key, position, place in moves:
            row = connection.row("SELECT chunk_id, details, text FROM chunks WHERE key = ?", (key,))
            if row is None:
                raise NotFoundError(f"There is no chunk with key {key}.")
            chunk_id, details, text = row
            _, described = codec.load_details(self._codec.decode(details) if details else None)
            moved = codec.dump_details(place, described)
            connection.execute(
                "UPDATE chunks SET position = ?, details = ?, checksum = ? WHERE key = ?",
                (
                    position,
                    None if moved is None else self._codec.encode("details", moved),
                    codec.chunk_checksum(ids.unpack_id(chunk_id), self._codec.decode(text), moved),
                    key,
                ),
            )

    def remove_chunks(self, keys: Sequence[int]) -> None:
        self._remove_by_document(keys)

    def discard(self, keys: Sequence[int]) -> None:
        connection = self._connection
        for document_key in self._remove_by_document(keys):
            if connection.row("SELECT 1 FROM runs WHERE document_key = ?", (document_key,)) is not None:
                continue
            source_key = connection.value("SELECT source_key FROM documents WHERE document_key = ?", (document_key,))
            self.remove_document(document_key)
            if connection.row("SELECT 1 FROM documents WHERE source_key = ?", (source_key,)) is None:
                self.remove_source(source_key)

    def _remove_by_document(self, keys: Sequence[int]) -> list[int]:
        """Remove chunks; the keys of the documents that had them."""
        by_document: dict[int, list[int]] = defaultdict(list)
        for key in keys:
            row = self._connection.row("SELECT document_key FROM chunks WHERE key = ?", (key,))
            if row is not None:
                by_document[row[0]].append(key)
        for document_key, removed in by_document.items():
            self._remove_keys(document_key, KeySet.from_keys(np.array(removed, dtype=np.int64)))
        return list(by_document)

    def _remove_keys(self, document_key: int, keys: KeySet) -> None:
        connection = self._connection
        self._removes = True
        every_space = [row[0] for row in connection.execute("SELECT space_key FROM spaces")]
        for first, end in keys.ranges.tolist():
            fulltext.remove(connection, range(first, end))
            connection.execute("DELETE FROM chunks WHERE key >= ? AND key < ?", (first, end))
            for space_key in every_space:
                extents.remove(connection, space_key, first, end)
            originals.forget(connection, "chunk", first, end)
        runs.remove(connection, document_key, keys)

    def remove_document(self, document_key: int) -> None:
        connection = self._connection
        document = records.document_by_key(connection, document_key)
        if document is None:
            return
        self._remove_keys(document_key, runs.of_documents(connection, [document_key]))
        source = records.source_by_key(connection, document.source_key)
        if source is not None:
            self._forget_described(document_key, indexed_metadata(document, source))
        originals.forget(connection, "document", document_key, document_key + 1)
        connection.execute("DELETE FROM documents WHERE document_key = ?", (document_key,))
        self._losses.removed(document_key)

    def remove_source(self, source_key: int) -> None:
        for document in records.documents_of(self._connection, source_key):
            self.remove_document(document.key)
        self._members_changed = True
        self._connection.execute("DELETE FROM set_members WHERE source_key = ?", (source_key,))
        self._connection.execute("DELETE FROM sources WHERE source_key = ?", (source_key,))
        self._losses.forget(source_key)

    def set_active(self, source_keys: Sequence[int] | None, active: bool) -> None:
        self._members_changed = True
        connection, members = self._connection, schema.ACTIVE_SET
        if source_keys is None:
            connection.execute("DELETE FROM set_members WHERE set_key = ?", (members,))
            if active:
                connection.execute("INSERT INTO set_members SELECT ?, source_key FROM sources", (members,))
            return
        statement = (
            "INSERT OR IGNORE INTO set_members SELECT ?, source_key FROM sources WHERE source_key = ?"
            if active
            else "DELETE FROM set_members WHERE set_key = ? AND source_key = ?"
        )
        connection.executemany(statement, ((members, key) for key in source_keys))

    def use_embedder(self, identity: EmbedderIdentity) -> None:
        if self._space is None:
            self._declared = identity
            return
        require_same(self._space.identity, identity)
        if not self._space.identity.name and identity.name:
            # Vectors came before their model was known; from now on it is.
            spaces.set_identity(self._connection, self._space, identity)

    def _forget_described(self, document_key: int, facts: Metadata) -> None:
        """Take a document out of the filter index, or out of what is about to go there."""
        if self._described[metadata.DOCUMENT].pop(document_key, None) is None:
            metadata.discard(self._connection, metadata.DOCUMENT, document_key, facts)

    @property
    def touches_chunks(self) -> bool:
        """Whether passages or vectors were written or removed."""
        return bool(self._appenders) or self._next_key is not None or self._removes

    def set_candidates(self, candidates: int | None) -> None:
        if candidates is None:
            self._connection.execute("DELETE FROM settings WHERE name = 'candidates'")
        else:
            # More than any library has means all of it.
            values = (min(int(candidates), _ALL),)
            self._connection.execute("INSERT OR REPLACE INTO settings VALUES('candidates', ?)", values)

    def finish(self) -> None:
        """Have every row on the disk; what is left is the catalogue's own commit."""
        self._tell_lost()
        for owner, described in self._described.items():
            metadata.add(self._connection, owner, described.items())
        for space, appender in self._appenders.values():
            appender.sync()
            spaces.set_rows(self._connection, space, rows=appender.rows, unit=appender.unit)
        # Copies that are written to apart count on alike; this tells them apart.
        schema.count_commit(self._connection, members=self._members_changed)

    def release(self) -> None:
        for _, appender in self._appenders.values():
            appender.close()


_ALL = 2**31


def appender_of(connection: Connection, library: Path, space: spaces.Space) -> vector_file.Appender:
    """What writes behind the committed rows of a space. Raises DamagedError, StorageError."""
    path = space.path(library)
    if not extents.are_within(connection, space.key, space.rows):
        raise DamagedError(
            f"The catalogue names passages behind the end of {path}, and what is there would be overwritten.",
            hint="See what is hit: stackroom verify. Bring back what can be: stackroom repair",
            path=path,
            actual=space.rows,
        )
    return vector_file.Appender(path, rows=space.rows, dim=space.dim, unit=space.unit, file_uuid=space.file_uuid)


def _require_finite(rows: NDArray[np.float32]) -> None:
    if not np.isfinite(rows).all():
        raise UsageError("An embedding holds NaN or infinity.", hint="Embed that text again, or leave it out.")


def row_checksums(first_key: int, rows: NDArray[np.float32]) -> bytes:
    """The CRC-32 of each row (u32, little-endian), for keys from `first_key` on."""
    sums = [codec.row_checksum(first_key + i, row.data.cast("B")) for i, row in enumerate(rows)]
    return np.array(sums, dtype="<u4").tobytes()
