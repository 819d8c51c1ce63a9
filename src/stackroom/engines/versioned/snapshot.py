"""A fixed read view: the rows of one version."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

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
from stackroom.engines.records import AGAIN, UnreadableError, each, load_identity, lost_source
from stackroom.engines.snapshot import EngineView, no_collection
from stackroom.engines.vectors import NOTHING, require_dim
from stackroom.engines.versioned import facts, nearest, records, scoping, words
from stackroom.engines.versioned.asking import Asking, of_kind
from stackroom.engines.versioned.conditions import EVERYTHING, Among, Condition, among, both
from stackroom.engines.versioned.database import Row
from stackroom.engines.versioned.nearest import EMBEDDED
from stackroom.engines.versioned.tables import (
    ATTACHMENT,
    COLLECTION,
    DOCUMENT,
    ORIGINAL,
    RECOGNISED,
    RECORDS,
    SOURCE,
    flagged,
)
from stackroom.errors import NotFoundError
from stackroom.storage.catalogue.records import shown
from stackroom.storage.derived import Derived
from stackroom.types import Chunk, EmbedderIdentity, Passage, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLE = 1024
_SPREAD = 200_000
"""Vectors up to which the sample is spread evenly over all keys, which are read for it."""
_AT_ONCE = 400
"""Chunks that are read at once: with their vectors they fit into one answer, whatever their length."""
_READ = ("id", "key", "pieces", "data")


class VersionedView(EngineView[str]):
    """A View. Made by VersionedStore.view()."""

    def __init__(self, asking: Asking, derived: Derived) -> None:
        super().__init__(derived)
        self.asking = asking
        self._reading = records.Reading(asking, derived)
        self._last: tuple[Scope, Condition] | None = None
        self._chunks = asking.state.chunk_table

    @property
    def version(self) -> int:
        return self.asking.state.version

    @property
    def identity(self) -> EmbedderIdentity | None:
        said = self.asking.state.identity
        return None if said is None else load_identity(said)

    @property
    def candidates(self) -> int | None:
        return self.asking.state.candidates

    def source(self, name: str) -> SourceRecord | None:
        return self._reading.source(name)

    def sources_with_content(self, content_hash: bytes) -> list[SourceRecord]:
        rows = self._reading.whole(SOURCE, "mark", [records.content(content_hash)])
        return [one for one in map(records.to_source, rows) if one.content_hash == content_hash]

    def each_source(self, *, under: str | None = None) -> Iterator[SourceRecord]:
        folder = "" if under is None else under.rstrip(os.sep) + os.sep
        for one in self._reading.sources():
            if under is None or one.name == under or one.name.startswith(folder):
                yield one

    def find_sources(self, wanted: str) -> list[SourceRecord]:
        return self._reading.find_sources(wanted)

    def listing(self, records_: Sequence[SourceRecord] | None = None) -> list[Source]:
        documents: dict[int, int] = {}
        chunks: dict[int, int] = {}
        for row in self.asking.each(RECORDS, of_kind(DOCUMENT), ("owner", "mark")):
            documents[row["owner"]] = documents.get(row["owner"], 0) + 1
            chunks[row["owner"]] = chunks.get(row["owner"], 0) + int(row["mark"])
        pages: dict[int, int] = {}
        for row in self.asking.records(DOCUMENT, flagged(RECOGNISED)):
            pages[row["owner"]] = pages.get(row["owner"], 0) + records.recognised_pages(row)
        active = {
            row["key"] for row in self.asking.each(RECORDS, of_kind(SOURCE), ("key", "flag")) if records.is_active(row)
        }
        return [
            shown(one, documents.get(one.key, 0), chunks.get(one.key, 0), one.key in active, pages.get(one.key, 0))
            for one in (self.each_source() if records_ is None else records_)
        ]

    def documents(self, source_key: int) -> list[DocumentRecord]:
        return [records.to_document(row) for row in self._reading.whole(DOCUMENT, "owner", [source_key])]

    def document(self, document_id: str) -> DocumentRecord | None:
        return self._reading.document(document_id)

    def each_document(self) -> Iterator[DocumentRecord]:
        keys = sorted(int(row["key"]) for row in self.asking.each(RECORDS, of_kind(DOCUMENT), ("key",)))
        for part in _parts(keys):
            for row in self._reading.whole(DOCUMENT, "key", part):
                yield records.to_document(row, counted=False)

    def chunks(self, document_key: int, *, vectors: bool = False) -> Iterator[StoredChunk]:
        fields = (*_READ, "position", *(("embedded", "embedding") if vectors else ()))
        _, identity = self._space("default")
        for part in _parts([id_ for _, _, id_ in self._order(document_key)]):
            found = {row["id"]: row for row in self.asking.whole(self.asking.find(self._chunks, "id", part, fields))}
            for id_ in part:
                row = found[id_]
                passage = self._passage(row)
                vector = row["embedding"] if vectors and row["embedded"] else None
                if (
                    identity is not None
                    and vectors
                    and row["embedded"]
                    and (vector is None or vector.shape != (identity.dim,))
                ):
                    raise UnreadableError(f"the vector of the passage {passage.chunk_id} can't be read", hint=AGAIN)
                chunk = Chunk(passage.text, passage.chunk_id, passage.metadata, passage.place, vector)
                yield StoredChunk(int(row["key"]), int(row["position"]), chunk)

    def _order(self, document_key: int) -> list[tuple[int, int, int]]:
        """`(position, key, id)` of a document's chunks, in order."""
        rows = self.asking.rows(self._chunks, Among("document_key", (int(document_key),)), ("id", "key", "position"))
        return sorted((int(row["position"]), int(row["key"]), int(row["id"])) for row in rows)

    def keys_of(self, document_key: int) -> list[int]:
        return [key for _, key, _ in self._order(document_key)]

    def _passage(self, row: Row) -> Passage:
        """Of a whole row. Raises UnreadableError that names its document."""
        try:
            return records.to_passage(row)
        except UnreadableError as error:
            keys = self.document_keys([int(row["key"])])
            for document in map(records.to_document, self._reading.whole(DOCUMENT, "key", keys)):
                error.message += f", of the document {document.document_id} {document.title}".rstrip()
            raise

    def passages(self, keys: Sequence[int]) -> list[Passage]:
        rows = self.asking.whole(self.asking.find(self._chunks, "key", map(int, keys), _READ))
        return each({int(row["key"]): self._passage(row) for row in rows}, keys)

    def document_keys(self, keys: Sequence[int]) -> list[int]:
        rows = self.asking.find(self._chunks, "key", map(int, keys), ("key", "document_key"))
        return each({int(row["key"]): int(row["document_key"]) for row in rows}, keys)

    def document_of(self, document_ids: Sequence[str]) -> dict[str, tuple[DocumentRecord, SourceRecord]]:
        found = self._reading.documents_of(document_ids)
        rows = self._reading.whole(SOURCE, "key", {one.source_key for one in found.values()})
        sources = {int(row["key"]): records.to_source(row) for row in rows}
        lost = next((id_ for id_, one in found.items() if one.source_key not in sources), None)
        if lost is not None:
            raise lost_source(lost)
        return {id_: (found[id_], sources[found[id_].source_key]) for id_ in document_ids if id_ in found}

    def chunk_keys(self, chunk_ids: Sequence[str]) -> list[int | None]:
        rows = self.asking.whole(self.asking.find(self._chunks, "name", map(records.chunk_id, chunk_ids), _READ))
        found = {self._passage(row).chunk_id: int(row["key"]) for row in rows}
        return [found.get(id_) for id_ in chunk_ids]

    def neighbours(self, key: int, context: int) -> tuple[list[Passage], list[Passage]]:
        own = self.asking.find(self._chunks, "key", [int(key)], ("document_key", "position"))
        if not own:
            return [], []
        position = int(own[0]["position"])
        order = self._order(own[0]["document_key"])
        before = [other for place, other, _ in order if place < position]
        after = [other for place, other, _ in order if place > position]
        return self.passages(before[max(len(before) - context, 0) :]), self.passages(after[:context])

    def _space(self, collection: str) -> tuple[str, EmbedderIdentity | None]:
        if collection != "default":
            found = self._reading.collection(collection)
            if found is None:
                raise no_collection(collection)
            key, identity = found
            if identity is not None:
                return f"space_{key}", load_identity(identity)
        return self._chunks, self.identity

    def _embeddings(self, space: str, keys: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        also = ("embedded",) if space == self._chunks else ()
        rows = self.asking.find(space, "key", map(int, keys), ("key", "embedding", *also))
        return {int(row["key"]): row["embedding"] for row in rows if row.get("embedded", 1)}

    def nearest(
        self, query: NDArray[np.float32], k: int, scope: Scope, *, exact: bool = False, candidates: int | None = None
    ) -> Scored:
        table, identity = self._space(scope.collection)
        if identity is None or k <= 0:
            return NOTHING
        require_dim(query, identity.dim)
        state = self.asking.state
        own = table != self._chunks
        return nearest.nearest(
            self.asking,
            table,
            identity.metric,
            query,
            k,
            self._among_own(scope) if own else both(EMBEDDED, self._where(scope)),
            index=self.asking.database.indexes[0] if own else state.index,
            exact=exact or own or state.vectors < nearest.APPROXIMATE,
            candidates=candidates or self.candidates,
        )

    def _among_own(self, scope: Scope) -> Condition:
        """The scope as a condition on a collection's own vectors: these rows know their chunk alone."""
        where = scoping.condition(self.asking, self._reading, self._derived, scope, in_collection=False)
        if where == EVERYTHING:
            return where
        return among("key", (row["key"] for row in self.asking.rows(self._chunks, where, ("key",))))

    def _where(self, scope: Scope) -> Condition:
        # Both legs of a search ask for the same scope.
        if self._last is None or self._last[0] is not scope:
            self._last = scope, scoping.condition(self.asking, self._reading, self._derived, scope)
        return self._last[1]

    def _sample(self) -> NDArray[np.float64]:
        rows = self.asking.state.vectors
        keys = self.live_keys(with_vector=True) if rows <= _SPREAD else None
        chosen = nearest.sample_keys(self.asking, self._chunks, _SAMPLE, rows, keys)
        return self.vectors(chosen).astype(np.float64)

    def matching(self, query: str, k: int, scope: Scope) -> tuple[Scored, TextStatistics]:
        from stackroom.storage.words.tokenizer import parse_query

        return words.matching(self.asking, self._derived, parse_query(query), k, self._where(scope))

    def live_keys(self, *, with_vector: bool = False) -> NDArray[np.int64]:
        return self._keys(EMBEDDED if with_vector else EVERYTHING)

    def select(self, scope: Scope) -> NDArray[np.int64]:
        return self._keys(self._where(scope))

    def _keys(self, condition: Condition) -> NDArray[np.int64]:
        found = [row["key"] for row in self.asking.rows(self._chunks, condition, ("key",))]
        return np.sort(np.array(found, dtype=np.int64))

    def collections(self) -> list[CollectionRecord]:
        found = []
        for row in sorted(self.asking.records(COLLECTION), key=lambda row: int(row["key"])):
            name, identity = records.to_collection(row)
            found.append(
                CollectionRecord(
                    name,
                    self.asking.count(self._chunks, scoping.of_collection(self._reading, name)),
                    None if identity is None else load_identity(identity),
                    listed=bool(self.asking.rows(self._chunks, Among("listed", (int(row["key"]),)), ("id",), limit=1)),
                )
            )
        default = CollectionRecord(
            "default", self.asking.count(self._chunks, scoping.of_collection(self._reading, "default"))
        )
        return [default, *found]

    def has_collection(self, name: str) -> bool:
        return name == "default" or self._reading.collection(name) is not None

    def kinds(self, field: str) -> frozenset[str]:
        return frozenset(
            kind
            for kind in facts.KINDS
            if self.asking.rows(self._chunks, facts.carries_kind(field, kind), ("id",), limit=1)
        )

    def chunk_ids(self, keys: Sequence[int] | None = None) -> list[str]:
        if keys is None:
            return self.chunk_ids(self.live_keys().tolist())
        found: dict[int, str] = {}
        for part in _parts(list(map(int, keys))):
            for row in self.asking.whole(self.asking.find(self._chunks, "key", part, _READ)):
                found[int(row["key"])] = self._passage(row).chunk_id
        missing = next((key for key in keys if key not in found), None)
        if missing is not None:
            raise NotFoundError(f"There is no chunk with key {missing}.", actual=missing)
        return [found[key] for key in keys]

    def kept(self, owner: Owner, keys: Sequence[int]) -> dict[int, bytes]:
        rows = self._reading.whole(ORIGINAL, "key", map(int, keys))
        return {int(row["key"]): records.to_original(row) for row in rows if row["owner"] == records.OWNERS[owner]}

    def attachment(self, name: str) -> bytes | None:
        found = map(records.to_attachment, self._reading.whole(ATTACHMENT, "name", [records.attachment_name(name)]))
        return next((data for its_name, data in found if its_name == name), None)

    def attachments(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        of_folder = Among("owner", (records.folder(prefix),)) if "/" in prefix else EVERYTHING
        found = map(records.to_attachment, self.asking.records(ATTACHMENT, of_folder))
        yield from sorted(one for one in found if one[0].startswith(prefix))


def _parts(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(keys), _AT_ONCE):
        yield keys[first : first + _AT_ONCE]
