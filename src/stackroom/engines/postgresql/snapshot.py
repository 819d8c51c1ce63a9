"""A fixed read view: one transaction of the server, repeatable read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import (
    CollectionRecord,
    DocumentRecord,
    Owner,
    Scope,
    Scored,
    SourceRecord,
    StoredChunk,
    TextStatistics,
)
from stackroom.engines.postgresql import nearest, records, scoping, words
from stackroom.engines.postgresql.asking import Asking, Row, Where
from stackroom.engines.postgresql.tables import DOCUMENT_COLUMNS, SERVING, SOURCE_COLUMNS
from stackroom.engines.postgresql.values import pack, unpack
from stackroom.engines.records import each, load_identity
from stackroom.engines.snapshot import EngineView, no_collection
from stackroom.engines.vectors import NOTHING, require_dim
from stackroom.errors import NotFoundError
from stackroom.storage.catalogue.records import shown
from stackroom.storage.derived import Derived
from stackroom.types import Chunk, EmbedderIdentity, Passage, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLE = 1024
_PASSAGE = "c.key, c.chunk_id, c.details, c.body"
_KINDS = {"string": "text", "array": "list", "boolean": "bool"}


class PostgresView(EngineView[int]):
    """A View, valid while its transaction is open. Made by PostgresStore.view()."""

    def __init__(self, asking: Asking, derived: Derived, version: int) -> None:
        super().__init__(derived)
        self._asking = asking
        self.version = version
        self._last: tuple[Scope, Where] | None = None

    @property
    def identity(self) -> EmbedderIdentity | None:
        return self._derived.get("identity", lambda: self._identity(SERVING))

    def _identity(self, space_key: int | None) -> EmbedderIdentity | None:
        found = self._asking.value("SELECT identity FROM spaces WHERE space_key = %s", (space_key,))
        return None if found is None else load_identity(found)

    @property
    def candidates(self) -> int | None:
        found: int | None = self._derived.get(
            "candidates", lambda: self._asking.value("SELECT value FROM settings WHERE name = 'candidates'")
        )
        return found

    def source(self, name: str) -> SourceRecord | None:
        return records.source(self._asking, "name = %s", pack(name))

    def sources_with_content(self, content_hash: bytes) -> list[SourceRecord]:
        return records.sources(self._asking, "content_hash = %s ORDER BY source_key", (content_hash,))

    def each_source(self, *, under: str | None = None) -> Iterator[SourceRecord]:
        import os

        if under is None:
            yield from records.sources(self._asking, "true ORDER BY name")
            return
        folder = pack(under.rstrip(os.sep) + os.sep)
        yield from records.sources(
            self._asking, "name = %s OR starts_with(name, %s) ORDER BY name", (pack(under), folder)
        )

    def find_sources(self, wanted: str) -> list[SourceRecord]:
        keys = records.find_sources(self._asking, wanted)
        found = {record.key: record for record in records.sources(self._asking, "source_key = ANY(%s)", (keys,))}
        return [found[key] for key in keys]

    def listing(self, records_: Sequence[SourceRecord] | None = None) -> list[Source]:
        rows = self._asking.rows(
            """SELECT s.source_key, active, count(DISTINCT d.document_key), count(c.key),
                   (SELECT coalesce(sum(greatest(least((facts ->> 'recognised_pages')::numeric, 1e9), 0)), 0) FROM documents o
                     WHERE o.source_key = s.source_key AND jsonb_typeof(facts -> 'recognised_pages') = 'number')
               FROM sources s LEFT JOIN documents d USING(source_key) LEFT JOIN chunks c USING(document_key)
               GROUP BY s.source_key, active"""
        )
        counts = {key: (documents, chunks, active, int(pages)) for key, active, documents, chunks, pages in rows}
        return [
            shown(record, *counts.get(record.key, (0, 0, 0, 0)))
            for record in (self.each_source() if records_ is None else records_)
        ]

    def documents(self, source_key: int) -> list[DocumentRecord]:
        return records.documents(self._asking, "source_key = %s", (source_key,))

    def document(self, document_id: str) -> DocumentRecord | None:
        return records.document(self._asking, "document_id = %s", pack(document_id))

    def each_document(self) -> Iterator[DocumentRecord]:
        return records.each_document(self._asking)

    def chunks(self, document_key: int, *, vectors: bool = False) -> Iterator[StoredChunk]:
        rows = self._asking.rows(
            f"SELECT c.position, {_PASSAGE}, document_id FROM chunks c JOIN documents USING(document_key) WHERE document_key = %s ORDER BY position, key",
            (document_key,),
        )
        found = nearest.embeddings(self._asking, SERVING, [row[1] for row in rows]) if vectors else {}
        for position, key, *rest in rows:
            passage = _passage((key, *rest))
            chunk = Chunk(passage.text, passage.chunk_id, passage.metadata, passage.place, found.get(key))
            yield StoredChunk(key, position, chunk)

    def keys_of(self, document_key: int) -> list[int]:
        rows = self._asking.rows(
            "SELECT key FROM chunks WHERE document_key = %s ORDER BY position, key", (document_key,)
        )
        return [key for (key,) in rows]

    def passages(self, keys: Sequence[int]) -> list[Passage]:
        rows = self._asking.rows(
            f"SELECT {_PASSAGE}, document_id FROM chunks c JOIN documents USING(document_key) WHERE key = ANY(%s)",
            (list(map(int, keys)),),
        )
        return each({row[0]: _passage(row) for row in rows}, keys)

    def document_keys(self, keys: Sequence[int]) -> list[int]:
        rows = self._asking.rows("SELECT key, document_key FROM chunks WHERE key = ANY(%s)", (list(map(int, keys)),))
        return each(dict(rows), keys)

    def document_of(self, document_ids: Sequence[str]) -> dict[str, tuple[DocumentRecord, SourceRecord]]:
        width = DOCUMENT_COLUMNS.count(",") + 1
        columns = ", ".join(
            f"{table}.{column.strip()}"
            for table, names in (("d", DOCUMENT_COLUMNS), ("s", SOURCE_COLUMNS))
            for column in names.split(",")
        )
        rows = self._asking.rows(
            f"SELECT {columns} FROM documents d JOIN sources s USING(source_key) WHERE document_id = ANY(%s)",
            (list(map(pack, document_ids)),),
        )
        found = {row[1]: (records.to_document(row[:width]), records.to_source(row[width:])) for row in rows}
        return {document_id: found[packed] for document_id in document_ids if (packed := pack(document_id)) in found}

    def chunk_keys(self, chunk_ids: Sequence[str]) -> list[int | None]:
        packed = list(map(pack, chunk_ids))
        found: dict[str, int] = dict(
            self._asking.rows("SELECT chunk_id, key FROM chunks WHERE chunk_id = ANY(%s)", (packed,))
        )
        return [found.get(chunk_id) for chunk_id in packed]

    def neighbours(self, key: int, context: int) -> tuple[list[Passage], list[Passage]]:
        own = self._asking.row("SELECT document_key, position FROM chunks WHERE key = %s", (key,))
        if own is None:
            return [], []
        beside = (
            f"SELECT {_PASSAGE}, document_id FROM chunks c JOIN documents USING(document_key) WHERE document_key = %s"
        )
        before = self._asking.rows(f"{beside} AND position < %s ORDER BY position DESC LIMIT %s", (*own, context))
        after = self._asking.rows(f"{beside} AND position > %s ORDER BY position LIMIT %s", (*own, context))
        return [_passage(row) for row in reversed(before)], [_passage(row) for row in after]

    def _space(self, collection: str) -> tuple[int, EmbedderIdentity | None]:
        if collection == "default":
            return SERVING, self.identity
        row = self._asking.row("SELECT space_key FROM collections WHERE name = %s", (pack(collection),))
        if row is None:
            raise no_collection(collection)
        return (SERVING, self.identity) if row[0] is None else (int(row[0]), self._identity(row[0]))

    def _embeddings(self, space: int, keys: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        return nearest.embeddings(self._asking, space, keys)

    def nearest(
        self, query: NDArray[np.float32], k: int, scope: Scope, *, exact: bool = False, candidates: int | None = None
    ) -> Scored:
        space_key, identity = self._space(scope.collection)
        if identity is None or k <= 0:
            return NOTHING
        require_dim(query, identity.dim)
        where = self._where(scope)
        indexed: int | None = None
        if not exact:
            indexed = self._derived.get(f"index {space_key}", lambda: nearest.index_of(self._asking, space_key))
        found = candidates or self.candidates
        return nearest.nearest(self._asking, space_key, identity, query, k, where, indexed=indexed, candidates=found)

    def _where(self, scope: Scope) -> Where:
        # Both legs of a search ask for the same scope.
        if self._last is None or self._last[0] is not scope:
            self._last = scope, scoping.where(self._asking, scope)
        return self._last[1]

    def _sample(self) -> NDArray[np.float64]:
        return nearest.sample(self._asking, SERVING, _SAMPLE)

    def matching(self, query: str, k: int, scope: Scope) -> tuple[Scored, TextStatistics]:
        from stackroom.storage.words.tokenizer import parse_query

        known = self._derived.get("words", lambda: words.totals(self._asking))
        return words.matching(self._asking, parse_query(query), k, self._where(scope), known)

    def live_keys(self, *, with_vector: bool = False) -> NDArray[np.int64]:
        if with_vector:
            return _keys(self._asking.rows("SELECT key FROM vectors WHERE space_key = %s ORDER BY key", (SERVING,)))
        return _keys(self._asking.rows("SELECT key FROM chunks ORDER BY key"))

    def select(self, scope: Scope) -> NDArray[np.int64]:
        where = self._where(scope)
        return _keys(
            self._asking.rows(f"SELECT c.key FROM {where.tables} WHERE {where.condition} ORDER BY c.key", where.values)
        )

    def collections(self) -> list[CollectionRecord]:
        found = []
        rows = self._asking.rows("SELECT collection_key, name, space_key FROM collections ORDER BY collection_key")
        for key, name, space_key in rows:
            called = unpack(name)
            listed = bool(
                self._asking.value(
                    "SELECT EXISTS(SELECT 1 FROM listed l JOIN chunks USING(key) WHERE l.collection_key = %s)", (key,)
                )
            )
            identity = None if space_key is None else self._identity(space_key)
            found.append(CollectionRecord(called, self._count(called), identity, listed=listed))
        return found

    def _count(self, collection: str) -> int:
        where = scoping.in_collection(self._asking, Where(), collection)
        return int(self._asking.value(f"SELECT count(*) FROM {where.tables} WHERE {where.condition}", where.values))

    def has_collection(self, name: str) -> bool:
        return self._asking.row("SELECT 1 FROM collections WHERE name = %s", (pack(name),)) is not None

    def kinds(self, field: str) -> frozenset[str]:
        name = pack(field)
        rows = self._asking.rows(
            """SELECT DISTINCT jsonb_typeof(facts -> %s::text) FROM documents
               UNION SELECT DISTINCT jsonb_typeof(own -> %s::text) FROM chunks""",
            (name, name),
        )
        return frozenset(_KINDS.get(kind, str(kind)) for (kind,) in rows if kind is not None)

    def chunk_ids(self, keys: Sequence[int] | None = None) -> list[str]:
        if keys is None:
            return [unpack(name) for (name,) in self._asking.rows("SELECT chunk_id FROM chunks ORDER BY key")]
        statement = "SELECT key, chunk_id FROM chunks WHERE key = ANY(%s)"
        found: dict[int, str] = dict(self._asking.rows(statement, (list(map(int, keys)),)))
        missing = next((key for key in keys if key not in found), None)
        if missing is not None:
            raise NotFoundError(f"There is no chunk with key {missing}.", actual=missing)
        return [unpack(found[key]) for key in keys]

    def kept(self, owner: Owner, keys: Sequence[int]) -> dict[int, bytes]:
        rows = self._asking.rows(
            "SELECT key, data FROM originals WHERE owner = %s AND key = ANY(%s)", (owner, list(map(int, keys)))
        )
        return dict(rows)

    def attachment(self, name: str) -> bytes | None:
        found: bytes | None = self._asking.value("SELECT data FROM attachments WHERE name = %s", (pack(name),))
        return found

    def attachments(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        rows = self._asking.rows(
            "SELECT name, data FROM attachments WHERE starts_with(name, %s) ORDER BY name", (pack(prefix),)
        )
        for name, data in rows:
            yield unpack(name), data


def _passage(row: Row) -> Passage:
    """Of a row of `_PASSAGE` with the document's id behind it."""
    _, chunk_id, details, body, document_id = row
    place, metadata = records.to_details(details, f"{chunk_id} of the document {document_id}")
    return Passage(unpack(chunk_id), unpack(document_id), unpack(body), place, metadata)


def _keys(rows: Sequence[tuple[Any, ...]]) -> NDArray[np.int64]:
    return np.array([row[0] for row in rows], dtype=np.int64)
