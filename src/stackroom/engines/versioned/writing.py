"""One commit: changes are collected here, and written at its end under a number that no reader knows yet.

What it looks up is of the version before, with its own changes laid over. So a block that raises has written nothing.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import DocumentRecord, Owner, SourceRecord, indexed_metadata
from stackroom.engines.records import dump_identity, load_identity
from stackroom.engines.snapshot import no_collection
from stackroom.engines.vectors import as_row, require_row
from stackroom.engines.versioned import facts, records, words
from stackroom.engines.versioned.asking import CHUNK_FIELDS, RECORD_FIELDS, Asking, of_kind
from stackroom.engines.versioned.conditions import Within
from stackroom.engines.versioned.database import Row
from stackroom.engines.versioned.drafts import Draft, Drafts
from stackroom.engines.versioned.tables import (
    ATTACHMENT,
    COLLECTION,
    DEFAULT_COLLECTION,
    DOCUMENT,
    LIGHT,
    ORIGINAL,
    RECORDS,
    SOURCE,
    VALUE,
    State,
    dump,
    record,
)
from stackroom.engines.writing import EngineCommit, last_of_each
from stackroom.errors import NotFoundError, UsageError
from stackroom.storage.catalogue.records import dump_details
from stackroom.storage.derived import Derived
from stackroom.types import Chunk, EmbedderIdentity, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AHEAD = 500
"""Sources whose keys follow on one that is looked up: documents are written in their order."""


class VersionedCommit(EngineCommit):
    """The changes of one commit. Made by VersionedStore.commit()."""

    def __init__(self, asking: Asking, derived: Derived, attempt: int) -> None:
        identity = asking.state.identity
        super().__init__(asking.database.name, None if identity is None else load_identity(identity))
        self.state: State = replace(asking.state, version=attempt, aborted=list(asking.state.aborted))
        self.drafts = Drafts(asking, attempt)
        self._database = asking.database
        self._before = records.Reading(asking, derived)
        self._reading = records.Reading(self.drafts)
        self._records = self.drafts.of(RECORDS)
        self._chunks = self.drafts.of(asking.state.chunk_table)
        self._sources: dict[int, Row] = {}
        self._collections: dict[str, tuple[int, str | None]] = {"default": (DEFAULT_COLLECTION, None)}
        self._grown: dict[int, int] = defaultdict(int)
        """by how many chunks documents have grown"""
        self._values: dict[int, tuple[str, Any]] = {}
        self._gone: set[int] = set()
        """keys of chunks that are removed"""
        self._attached: dict[str, bytes] = {}
        self._named: dict[str, int] = {}
        """the keys of new chunks, by the id that they were given"""

    def _source_row(self, key: int) -> Row | None:
        if key not in self._sources:
            row = next(iter(self._records.drafted("key", [key], kind=SOURCE)), None)
            if row is None:
                asking = self.drafts.asking
                near = of_kind(SOURCE, Within("key", least=int(key), below=int(key) + _AHEAD))
                found = asking.whole(asking.rows(RECORDS, near, RECORD_FIELDS))
                self._sources.update((one["key"], one) for one in found if one["id"] not in self._records.ended)
            else:
                self._sources[key] = row
        return self._sources.get(key)

    def _source(self, key: int) -> SourceRecord:
        row = self._source_row(key)
        if row is None:
            raise NotFoundError(f"There is no source with key {key}.", hint="List them: stackroom list")
        return records.to_source(row)

    def _source_named(self, name: str) -> Row | None:
        rows = self._reading.whole(SOURCE, "name", [records.source_name(name)])
        return next((row for row in rows if records.to_source(row).name == name), None)

    def put_source(self, record: SourceRecord) -> int:
        row = self._source_row(record.key) if record.key else self._source_named(record.name)
        if row is None:
            if record.key:
                self._source(record.key)
            made = replace(record, key=self.drafts.next(), source_id=record.source_id or str(uuid.uuid4()))
            self._sources[made.key] = self.drafts.put(RECORDS, records.from_source(made, active=True))
            return made.key
        known = records.to_source(row)
        if known.name != record.name:
            other = self._source_named(record.name)
            if other is not None:
                self.remove_source(other["key"])
        made = replace(record, key=known.key, source_id=known.source_id)
        self._put_source_row(row, records.from_source(made, active=records.is_active(row)))
        if records.described(known) != records.described(made):
            for document in self._reading.whole(DOCUMENT, "owner", [known.key]):
                self._describe(records.to_document(document), made)
        return known.key

    def _put_source_row(self, old: Row, new: Row) -> None:
        self._records.end(old)
        self._sources[new["key"]] = self.drafts.put(RECORDS, new)

    def remove_source(self, source_key: int) -> None:
        for document in self._reading.whole(DOCUMENT, "owner", [source_key]):
            self.remove_document(document["key"])
        row = self._source_row(source_key)
        if row is not None:
            self._records.end(row)
            self._sources.pop(source_key)

    def set_active(self, source_keys: Sequence[int] | None, active: bool) -> None:
        rows = (
            list(self.drafts.records(SOURCE))
            if source_keys is None
            else self._reading.whole(SOURCE, "key", map(int, source_keys))
        )
        for row in rows:
            if records.is_active(row) != active:
                self._put_source_row(row, records.from_source(records.to_source(row), active=active))

    def _document_row(self, document_id: str) -> Row | None:
        drafted = self._records.drafted("name", [records.document_id(document_id)], kind=DOCUMENT)
        known = self._before.document_rows([document_id]).values()
        for row in (*drafted, *known):
            if row["id"] not in self._records.ended and records.to_document(row).document_id == document_id:
                return row
        return None

    def put_document(self, record: DocumentRecord) -> int:
        source = self._source(record.source_key)
        record = replace(record, document_id=record.document_id or str(uuid.uuid4()))
        # What is no JSON is refused here.
        dump_details(Place(), record.metadata)
        row = self._document_row(record.document_id)
        if row is None:
            made = replace(record, key=self.drafts.next())
            self.drafts.put(RECORDS, records.from_document(made, source, 0))
            return made.key
        known = records.to_document(row)
        made = replace(record, key=known.key)
        self._records.end(row)
        self.drafts.put(RECORDS, records.from_document(made, source, row["mark"]))
        before = indexed_metadata(known, self._source(known.source_key))
        if known.source_key != made.source_key or dump(before) != dump(indexed_metadata(made, source)):
            self._describe(made, source)
        return made.key

    def _describe(self, document: DocumentRecord, source: SourceRecord) -> None:
        """Have a document's chunks filtered by what it and its source are now."""
        shared = indexed_metadata(document, source)
        rows = self.drafts.whole(self._chunks.find("document_key", [document.key], CHUNK_FIELDS))
        for row in rows:
            own = records.to_passage(row).metadata
            self._rewrite(row, facts=self._facts(shared, own), source_key=source.key)

    def _facts(self, shared: dict[str, Any], own: Any) -> list[int]:
        carried, values = facts.numbers(facts.effective(shared, own))
        self._values.update(values)
        return self._fitting(carried, "the metadata of a passage")

    def _fitting(self, values: list[int], what: str) -> list[int]:
        """The same numbers. Raises UsageError where there are more than an array holds."""
        most = self._database.bounds.numbers
        if most is not None and len(values) > most:
            raise UsageError(
                f"{self._database.name} holds {most:,} numbers in an array, and {what} need {len(values):,}.",
                hint="Keep this library on a local disk, or on another engine.",
                expected=most,
                actual=len(values),
            )
        return values

    def remove_document(self, document_key: int) -> None:
        self._remove(self._chunks.find("document_key", [document_key], LIGHT))
        rows = self._reading.whole(DOCUMENT, "key", [document_key])
        for row in (*rows, *self._originals("document", [document_key])):
            self._records.end(row)
        self._grown.pop(document_key, None)

    def add_chunks(
        self, document_key: int, chunks: Sequence[Chunk], *, position: int | None = 0, collection: str = "default"
    ) -> list[int]:
        kept, named = last_of_each(chunks)
        if not kept:
            return []
        document = self._document_with(document_key)
        shared = indexed_metadata(document, self._source(document.source_key))
        self.remove_chunks([self._named[name] for name in named if name in self._named])
        rows = self._checked([chunk.embedding for chunk in kept])
        if position is None:
            there = self._chunks.find("document_key", [document_key], ("position",))
            position = max((int(row["position"]) + 1 for row in there), default=0)
        collection_key, _ = self._collection(collection)
        keys = []
        for i, (chunk, vector) in enumerate(zip(kept, rows, strict=True)):
            key, chunk_id = self.drafts.next(), chunk.chunk_id or str(uuid.uuid4())
            self._put_chunk(
                {
                    "key": key,
                    "name": records.chunk_id(chunk_id),
                    "document_key": document_key,
                    "source_key": document.source_key,
                    "collection_key": collection_key,
                    "position": position + i,
                    "listed": [],
                    "facts": self._facts(shared, chunk.metadata),
                    **_data(chunk_id, document.document_id, chunk.text, chunk.place, chunk.metadata),
                    "embedded": int(vector is not None),
                    "embedding": vector,
                    **words.indexed(chunk.text, self._database.bounds.numbers),
                }
            )
            keys.append(key)
            if chunk.chunk_id:
                self._named[chunk.chunk_id] = key
        return keys

    def _document_with(self, key: int) -> DocumentRecord:
        drafted = self._records.drafted("key", [key], kind=DOCUMENT)
        rows = drafted or self._reading.whole(DOCUMENT, "key", [key])
        if not rows:
            raise NotFoundError(f"There is no document with key {key}.", hint="List them: stackroom list")
        return records.to_document(rows[0])

    def _put_chunk(self, row: Row) -> None:
        self.drafts.put(self.drafts.asking.state.chunk_table, row)
        self._grown[row["document_key"]] += 1
        self._count(row, 1)

    def _count(self, row: Row, by: int) -> None:
        self.state.chunks += by
        self.state.words += by * int(row["words"])
        self.state.size += by * int(row["size"])
        self.state.vectors += by * int(row["embedded"])

    def _rewrite(self, row: Row, **changes: Any) -> None:
        """Another row of the same chunk."""
        self._chunks.end(row)
        self.state.size += changes.get("size", row["size"]) - row["size"]
        self.drafts.put(self.drafts.asking.state.chunk_table, {**row, **changes})

    def _whole_chunks(self, keys: Iterable[int]) -> list[Row]:
        return self.drafts.whole(self._chunks.find("key", map(int, keys), CHUNK_FIELDS))

    def remove_chunks(self, keys: Sequence[int]) -> None:
        self._remove(self._chunks.find("key", map(int, keys), LIGHT))

    def _remove(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._chunks.end(row)
            self._grown[row["document_key"]] -= 1
            self._count(row, -1)
            self._gone.add(row["key"])

    def discard(self, keys: Sequence[int]) -> None:
        rows = self._chunks.find("key", map(int, keys), LIGHT)
        documents = {row["document_key"] for row in rows}
        self._remove(rows)
        left = {row["document_key"] for row in self._chunks.find("document_key", documents, ("document_key",))}
        sources = set()
        for row in self._reading.whole(DOCUMENT, "key", documents - left):
            sources.add(row["owner"])
            self.remove_document(row["key"])
        for source_key in sources:
            if not self._records.find("owner", [source_key], ("key",), kind=DOCUMENT):
                self.remove_source(source_key)

    def move_chunks(self, moves: Sequence[tuple[int, int, Place]]) -> None:
        rows = {row["key"]: row for row in self._whole_chunks(key for key, _, _ in moves)}
        for key, position, place in moves:
            if key not in rows:
                raise NotFoundError(f"There is no chunk with key {key}.")
            row = rows[key]
            passage = records.to_passage(row)
            data = _data(passage.chunk_id, passage.document_id, passage.text, place, passage.metadata)
            self._rewrite(row, position=position, **data)

    def _begin_space(self, identity: EmbedderIdentity) -> None:
        dim = identity.dim
        most = self._database.bounds.dimensions
        if dim > most:
            raise UsageError(
                f"{self._database.name} holds vectors of up to {most:,} dimensions, and these have {dim:,}.",
                hint="Keep this library on a local disk.",
                expected=most,
                actual=dim,
            )

    def give_vectors(self, vectors: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        there = {row["key"]: row for row in self._whole_chunks(key for key, _ in vectors)}
        given = [(key, vector) for key, vector in vectors if key in there]
        for (key, _), vector in zip(given, self._checked([vector for _, vector in given]), strict=True):
            row = there[key]
            self.state.vectors += not row["embedded"]
            self._rewrite(row, embedded=1, embedding=vector)

    @property
    def identity(self) -> EmbedderIdentity | None:
        return self._identity

    def set_candidates(self, candidates: int | None) -> None:
        self.state.candidates = None if candidates is None else int(candidates)

    def _known_collection(self, name: str) -> tuple[int, str | None] | None:
        if name not in self._collections:
            found = self._reading.collection(name)
            if found is None:
                return None
            self._collections[name] = found
        return self._collections[name]

    def _collection(self, name: str) -> tuple[int, str | None]:
        """The key of the collection of that name, made where it is missing, and the identity of its own vectors."""
        found = self._known_collection(name)
        if found is None:
            found = self._collections[name] = (self.drafts.next(), None)
            self.drafts.put(RECORDS, records.from_collection(found[0], name, None))
        return found

    def add_vectors(self, collection: str, vectors_: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        if not vectors_:
            self._collection(collection)
            return
        key, said = self._collection(collection)
        rows = [as_row(vector) for _, vector in vectors_]
        identity = EmbedderIdentity(name="", dim=len(rows[0])) if said is None else load_identity(said)
        for row in rows:
            require_row(row, identity.dim)
        there = {row["key"]: row for row in self._whole_chunks(key for key, _ in vectors_)}
        missing = next((key for key, _ in vectors_ if key not in there), None)
        if missing is not None:
            raise NotFoundError(f"There is no chunk with key {missing}.")
        if said is None:
            self._begin_space(identity)
            said = dump_identity(identity)
            for old in self._reading.whole(COLLECTION, "key", [key]):
                self._records.end(old)
            self.drafts.put(RECORDS, records.from_collection(key, collection, said))
            self._collections[collection] = key, said
            self.drafts.of(f"space_{key}", is_new=True)
        space = self.drafts.of(f"space_{key}")
        for old in space.find("key", there, ("key",)):
            space.end(old)
        for (chunk_key, _), row in zip(vectors_, rows, strict=True):
            self.drafts.put(f"space_{key}", {"key": chunk_key, "embedding": row})
        for chunk in there.values():
            # The negative number: it has a vector of the collection's own.
            self._list(chunk, add=[-key])

    def _list(self, row: Row, *, add: Sequence[int] = (), drop: Sequence[int] = ()) -> None:
        listed = sorted((set(row["listed"]) | set(add)) - set(drop))
        if listed != sorted(row["listed"]):
            self._rewrite(row, listed=self._fitting(listed, "the collections of a passage"))

    def enlist(self, collection: str, keys: Sequence[int]) -> None:
        key, _ = self._collection(collection)
        for row in self._whole_chunks(keys):
            self._list(row, add=[key])

    def listings(self, source_key: int) -> list[str]:
        rows = self._chunks.find("source_key", [source_key], ("listed",))
        keys = {key for row in rows for key in row["listed"] if key > 0}
        names = [records.to_collection(row)[0] for row in self._reading.whole(COLLECTION, "key", keys)]
        return names + (["default"] if DEFAULT_COLLECTION in keys else [])

    def leave(self, collection: str, keys: Sequence[int]) -> None:
        found = self._known_collection(collection)
        if found is None:
            raise no_collection(collection)
        key, said = found
        for row in self._whole_chunks(keys):
            self._list(row, drop=[key, -key])
        if said is not None:
            space = self.drafts.of(f"space_{key}")
            for row in space.find("key", map(int, keys), ("key",)):
                space.end(row)

    def disband(self, collection: str) -> None:
        found = self._known_collection(collection)
        if found is None:
            return
        key, said = found
        for row in self.drafts.whole(self._chunks.find("listed", [key], CHUNK_FIELDS)):
            self._list(row, drop=[key])
        lives = self._chunks.find("collection_key", [key], ("key",))
        if collection != "default" and said is None and not lives:
            for row in self._reading.whole(COLLECTION, "key", [key]):
                self._records.end(row)
            self._collections.pop(collection)

    def _originals(self, owner: Owner, keys: Iterable[int]) -> list[Row]:
        rows = self._records.find("key", keys, RECORD_FIELDS, kind=ORIGINAL)
        return [row for row in rows if row["owner"] == records.OWNERS[owner]]

    def keep(self, owner: Owner, records_: Sequence[tuple[int, bytes]]) -> None:
        for row in self._originals(owner, [key for key, _ in records_]):
            self._records.end(row)
        for key, data in dict(records_).items():
            self.drafts.put(RECORDS, records.from_original(owner, key, data))

    def attach(self, name: str, data: bytes) -> None:
        # What was there is looked for at the end, for all of them at once.
        self._attached[name] = data

    def detach(self, name: str) -> bool:
        drafted = self._attached.pop(name, None) is not None
        there = self._attachments([name])
        for row in there:
            self._records.end(row)
        return drafted or bool(there)

    def _attachments(self, names: Iterable[str]) -> list[Row]:
        wanted = set(names)
        rows = self._reading.whole(ATTACHMENT, "name", map(records.attachment_name, wanted))
        return [row for row in rows if records.to_attachment(row)[0] in wanted]

    def finish(self) -> None:
        """Look up what waited for the end. After it, drafts and state are what is written."""
        self._replace_named()
        for row in self._attachments(self._attached):
            self._records.end(row)
        for name, data in self._attached.items():
            self.drafts.put(RECORDS, records.from_attachment(name, data))
        for row in self._originals("chunk", self._gone):
            self._records.end(row)
        for row in list(self.drafts.records(COLLECTION)) if self._gone else ():
            if records.to_collection(row)[1] is not None:
                self._end_all(self.drafts.of(f"space_{row['key']}"), self._gone)
        grown = {key: by for key, by in self._grown.items() if by}
        for row in self._reading.whole(DOCUMENT, "key", grown):
            self._records.end(row)
            self.drafts.put(RECORDS, {**row, "mark": row["mark"] + grown[row["key"]]})
        known = {row["owner"] for row in self._records.find("owner", self._values, ("owner",), kind=VALUE)}
        for number, (name, value) in self._values.items():
            if number not in known:
                self.drafts.put(RECORDS, record(VALUE, owner=number, name=facts.field(name), data=[name, value]))
        self.state.identity = None if self._identity is None else dump_identity(self._identity)

    def _replace_named(self) -> None:
        """A chunk id belongs to one chunk: the last that it was given to."""
        rows = self._chunks.find("name", map(records.chunk_id, self._named), (*LIGHT, "data"))
        for row in self.drafts.whole([row for row in rows if row["id"] not in self._chunks.new]):
            name = records.to_passage(row).chunk_id
            if name in self._named and row["key"] != self._named[name]:
                self._remove([row])

    def _end_all(self, space: Draft, keys: Iterable[int]) -> None:
        for row in space.find("key", keys, ("key",)):
            space.end(row)


def _data(chunk_id: str, document_id: str, text: str, place: Place, metadata: Any) -> Row:
    """The fields of a chunk that are only read."""
    details = dump_details(place, metadata)
    data = dump([chunk_id, document_id, text, None if details is None else json.loads(details)])
    return {"data": data, "size": len(data.encode())}
