"""One commit: one transaction of the server, under the library's writer lock."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import DocumentRecord, Owner, SourceRecord, indexed_metadata
from stackroom.engines.postgresql import nearest, records, words
from stackroom.engines.postgresql.asking import Asking
from stackroom.engines.postgresql.tables import SERVING, SOURCE_FIELDS
from stackroom.engines.postgresql.values import dump_facts, pack, unpack
from stackroom.engines.records import dump_identity, load_identity
from stackroom.engines.snapshot import no_collection
from stackroom.engines.vectors import as_row, require_row
from stackroom.engines.writing import EngineCommit, last_of_each
from stackroom.errors import NotFoundError, UsageError
from stackroom.storage.catalogue.records import dump_details, dump_metadata
from stackroom.types import Chunk, EmbedderIdentity, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALL = 2**31 - 1
_FIELDS = SOURCE_FIELDS.split(", ")


class PostgresCommit(EngineCommit):
    """The changes of one commit. Made by PostgresStore.commit()."""

    def __init__(self, asking: Asking) -> None:
        found = asking.value("SELECT identity FROM spaces WHERE space_key = %s", (SERVING,))
        super().__init__("PostgreSQL", None if found is None else load_identity(found))
        self._asking = asking

    def set_candidates(self, candidates: int | None) -> None:
        self._asking.execute("DELETE FROM settings WHERE name = 'candidates'")
        if candidates is not None:
            self._asking.execute("INSERT INTO settings VALUES('candidates', %s)", (min(int(candidates), _ALL),))

    def put_source(self, record: SourceRecord) -> int:
        asking = self._asking
        known = (
            records.source(asking, "source_key = %s", record.key)
            if record.key
            else records.source(asking, "name = %s", pack(record.name))
        )
        if known is None:
            if record.key:
                raise NotFoundError(f"There is no source with key {record.key}.", hint="List them: stackroom list")
            places = ", ".join(["%s"] * (len(_FIELDS) + 1))
            return int(
                asking.value(
                    f"INSERT INTO sources(source_id, {SOURCE_FIELDS}) VALUES({places}) RETURNING source_key",
                    (pack(record.source_id or str(uuid.uuid4())), *records.source_fields(record)),
                )
            )
        if known.name != record.name:
            other = records.source(asking, "name = %s", pack(record.name))
            if other is not None:
                self.remove_source(other.key)
        assignments = ", ".join(f"{field} = %s" for field in _FIELDS)
        asking.execute(
            f"UPDATE sources SET {assignments} WHERE source_key = %s", (*records.source_fields(record), known.key)
        )
        described = ("name", "title", "type", "is_file")
        if any(getattr(known, field) != getattr(record, field) for field in described):
            for document in records.documents(asking, "source_key = %s", (known.key,)):
                facts = dump_facts(indexed_metadata(document, record))
                asking.execute("UPDATE documents SET facts = %s WHERE document_key = %s", (facts, document.key))
        return known.key

    def put_document(self, record: DocumentRecord) -> int:
        asking = self._asking
        source = records.source(asking, "source_key = %s", record.source_key)
        if source is None:
            raise NotFoundError(f"There is no source with key {record.source_key}.", hint="List them: stackroom list")
        record = replace(record, document_id=record.document_id or str(uuid.uuid4()))
        metadata = dump_metadata(record.metadata)
        return int(
            asking.value(
                """INSERT INTO documents(document_id, source_key, title, metadata, facts) VALUES(%s, %s, %s, %s, %s)
                   ON CONFLICT(document_id) DO UPDATE SET source_key = excluded.source_key, title = excluded.title,
                       metadata = excluded.metadata, facts = excluded.facts RETURNING document_key""",
                (
                    pack(record.document_id),
                    record.source_key,
                    pack(record.title),
                    None if metadata is None else metadata.decode(),
                    dump_facts(indexed_metadata(record, source)),
                ),
            )
        )

    def add_chunks(
        self, document_key: int, chunks: Sequence[Chunk], *, position: int | None = 0, collection: str = "default"
    ) -> list[int]:
        kept, named = last_of_each(chunks)
        if not kept:
            return []
        asking = self._asking
        replaced = asking.rows("SELECT key FROM chunks WHERE chunk_id = ANY(%s)", (list(map(pack, named)),))
        self.remove_chunks([key for (key,) in replaced])
        rows = self._checked([chunk.embedding for chunk in kept])
        if position is None:
            last = "SELECT coalesce(max(position) + 1, 0) FROM chunks WHERE document_key = %s"
            position = int(asking.value(last, (document_key,)))
        collection_key = self._collection(collection)
        keys = [key for (key,) in asking.rows("SELECT nextval('chunk_keys') FROM generate_series(1, %s)", (len(kept),))]
        columns = "key, chunk_id, document_key, collection_key, position, details, own, body, lexemes, words"
        with asking.connection.cursor() as cursor, cursor.copy(f"COPY chunks({columns}) FROM STDIN".encode()) as copy:
            for i, (key, chunk) in enumerate(zip(keys, kept, strict=True)):
                details = dump_details(chunk.place, chunk.metadata)
                lexemes, count = words.indexed(chunk.text)
                copy.write_row(
                    (
                        key,
                        pack(chunk.chunk_id or str(uuid.uuid4())),
                        document_key,
                        collection_key,
                        position + i,
                        None if details is None else details.decode(),
                        dump_facts(chunk.metadata) if chunk.metadata else None,
                        pack(chunk.text),
                        lexemes,
                        count,
                    )
                )
        self._write(SERVING, [(key, row) for key, row in zip(keys, rows, strict=True) if row is not None])
        return keys

    def _write(self, space_key: int, vectors: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        if not vectors:
            return
        statement = b"COPY vectors(space_key, key, embedding) FROM STDIN (FORMAT binary)"
        with self._asking.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["int4", "int8", "vector"])
            for key, vector in vectors:
                copy.write_row((space_key, key, vector))

    def _begin_space(self, identity: EmbedderIdentity) -> None:
        self._new_space(SERVING, identity)

    def _name_space(self, identity: EmbedderIdentity) -> None:
        self._asking.execute("UPDATE spaces SET identity = %s WHERE space_key = %s", (dump_identity(identity), SERVING))

    def _new_space(self, space_key: int, identity: EmbedderIdentity) -> None:
        if identity.dim > nearest.MOST_DIMENSIONS:
            raise UsageError(
                f"pgvector holds vectors of up to {nearest.MOST_DIMENSIONS:,} dimensions, and these have {identity.dim:,}.",
                hint="Keep this library on a local disk.",
                expected=nearest.MOST_DIMENSIONS,
                actual=identity.dim,
            )
        self._asking.execute("INSERT INTO spaces VALUES(%s, %s)", (space_key, dump_identity(identity)))

    def _collection(self, name: str) -> int:
        """The key of the collection of that name, made where it is missing."""
        self._asking.execute("INSERT INTO collections(name) VALUES(%s) ON CONFLICT DO NOTHING", (pack(name),))
        return int(self._asking.value("SELECT collection_key FROM collections WHERE name = %s", (pack(name),)))

    def add_vectors(self, collection: str, vectors_: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        asking, collection_key = self._asking, self._collection(collection)
        for key, vector in vectors_:
            row = as_row(vector)
            own = asking.row(
                "SELECT space_key, identity FROM collections JOIN spaces USING(space_key) WHERE collection_key = %s",
                (collection_key,),
            )
            if own is None:
                space_key = int(asking.value("SELECT greatest(max(space_key), %s) + 1 FROM spaces", (SERVING,)))
                identity = EmbedderIdentity(name="", dim=len(row))
                self._new_space(space_key, identity)
                asking.execute(
                    "UPDATE collections SET space_key = %s WHERE collection_key = %s", (space_key, collection_key)
                )
            else:
                space_key, identity = own[0], load_identity(own[1])
            require_row(row, identity.dim)
            if asking.row("SELECT 1 FROM chunks WHERE key = %s", (key,)) is None:
                raise NotFoundError(f"There is no chunk with key {key}.")
            asking.execute("DELETE FROM vectors WHERE space_key = %s AND key = %s", (space_key, key))
            self._write(space_key, [(key, row)])

    def give_vectors(self, vectors: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        keys = [key for key, _ in vectors]
        there = {key for (key,) in self._asking.rows("SELECT key FROM chunks WHERE key = ANY(%s)", (keys,))}
        given = [(key, vector) for key, vector in vectors if key in there]
        rows = self._checked([vector for _, vector in given])
        self._asking.execute("DELETE FROM vectors WHERE space_key = %s AND key = ANY(%s)", (SERVING, list(there)))
        self._write(SERVING, [(key, row) for (key, _), row in zip(given, rows, strict=True) if row is not None])

    def enlist(self, collection: str, keys: Sequence[int]) -> None:
        self._asking.execute(
            "INSERT INTO listed SELECT %s, unnest(%s::bigint[]) ON CONFLICT DO NOTHING",
            (self._collection(collection), list(map(int, keys))),
        )

    def listings(self, source_key: int) -> list[str]:
        rows = self._asking.rows(
            """SELECT DISTINCT name FROM listed JOIN chunks USING(key) JOIN documents USING(document_key)
               JOIN collections ON collections.collection_key = listed.collection_key WHERE source_key = %s""",
            (source_key,),
        )
        return [unpack(name) for (name,) in rows]

    def leave(self, collection: str, keys: Sequence[int]) -> None:
        found = self._asking.row(
            "SELECT collection_key, space_key FROM collections WHERE name = %s", (pack(collection),)
        )
        if found is None:
            raise no_collection(collection)
        gone = list(map(int, keys))
        self._asking.execute("DELETE FROM listed WHERE collection_key = %s AND key = ANY(%s)", (found[0], gone))
        if found[1] is not None:
            self._asking.execute("DELETE FROM vectors WHERE space_key = %s AND key = ANY(%s)", (found[1], gone))

    def disband(self, collection: str) -> None:
        name = pack(collection)
        self._asking.execute(
            "DELETE FROM listed WHERE collection_key = (SELECT collection_key FROM collections WHERE name = %s)",
            (name,),
        )
        self._asking.execute(
            """DELETE FROM collections l WHERE name = %s AND name <> 'default' AND space_key IS NULL
               AND NOT EXISTS(SELECT 1 FROM chunks c WHERE c.collection_key = l.collection_key)""",
            (name,),
        )

    def keep(self, owner: Owner, records: Sequence[tuple[int, bytes]]) -> None:
        self._asking.many(
            """INSERT INTO originals VALUES(%s, %s, %s)
               ON CONFLICT(owner, key) DO UPDATE SET data = excluded.data""",
            ((owner, key, data) for key, data in records),
        )

    def attach(self, name: str, data: bytes) -> None:
        self._asking.execute(
            "INSERT INTO attachments VALUES(%s, %s) ON CONFLICT(name) DO UPDATE SET data = excluded.data",
            (pack(name), data),
        )

    def detach(self, name: str) -> bool:
        return self._asking.execute("DELETE FROM attachments WHERE name = %s", (pack(name),)).rowcount > 0

    def move_chunks(self, moves: Sequence[tuple[int, int, Place]]) -> None:
        for key, position, place in moves:
            row = self._asking.row("SELECT details, chunk_id FROM chunks WHERE key = %s", (key,))
            if row is None:
                raise NotFoundError(f"There is no chunk with key {key}.")
            _, metadata = records.to_details(*row)
            moved = dump_details(place, metadata)
            self._asking.execute(
                "UPDATE chunks SET position = %s, details = %s WHERE key = %s",
                (position, None if moved is None else moved.decode(), key),
            )

    def remove_chunks(self, keys: Sequence[int]) -> None:
        gone = list(map(int, keys))
        if not gone:
            return
        for table in ("vectors", "listed", "chunks"):
            self._asking.execute(f"DELETE FROM {table} WHERE key = ANY(%s)", (gone,))
        self._asking.execute("DELETE FROM originals WHERE owner = 'chunk' AND key = ANY(%s)", (gone,))

    def discard(self, keys: Sequence[int]) -> None:
        asking = self._asking
        touched = asking.rows(
            """SELECT DISTINCT document_key, source_key FROM chunks JOIN documents USING(document_key)
               WHERE key = ANY(%s)""",
            (list(map(int, keys)),),
        )
        self.remove_chunks(keys)
        for document_key, source_key in touched:
            if asking.row("SELECT 1 FROM chunks WHERE document_key = %s LIMIT 1", (document_key,)) is not None:
                continue
            self.remove_document(document_key)
            if asking.row("SELECT 1 FROM documents WHERE source_key = %s LIMIT 1", (source_key,)) is None:
                self.remove_source(source_key)

    def remove_document(self, document_key: int) -> None:
        keys = self._asking.rows("SELECT key FROM chunks WHERE document_key = %s", (document_key,))
        self.remove_chunks([key for (key,) in keys])
        self._asking.execute("DELETE FROM originals WHERE owner = 'document' AND key = %s", (document_key,))
        self._asking.execute("DELETE FROM documents WHERE document_key = %s", (document_key,))

    def remove_source(self, source_key: int) -> None:
        for (key,) in self._asking.rows("SELECT document_key FROM documents WHERE source_key = %s", (source_key,)):
            self.remove_document(key)
        self._asking.execute("DELETE FROM sources WHERE source_key = %s", (source_key,))

    def set_active(self, source_keys: Sequence[int] | None, active: bool) -> None:
        if source_keys is None:
            self._asking.execute("UPDATE sources SET active = %s", (active,))
        else:
            self._asking.execute(
                "UPDATE sources SET active = %s WHERE source_key = ANY(%s)", (active, list(map(int, source_keys)))
            )

    def finish(self) -> None:
        self._asking.execute("UPDATE settings SET value = value + 1 WHERE name = 'commits'")
        # A library that was dropped and made anew, or restored, may come to the same number with other passages.
        self._asking.execute(
            "INSERT INTO settings VALUES('commit_id', %s) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
            (secrets.randbits(63),),
        )
