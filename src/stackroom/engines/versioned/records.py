"""Rows of the database's tables as records, and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from stackroom.backend import DocumentRecord, SourceRecord, indexed_metadata
from stackroom.engines.records import AGAIN, an_object, load_details, readable
from stackroom.engines.versioned.asking import RECORD_FIELDS
from stackroom.engines.versioned.conditions import EVERYTHING, Condition
from stackroom.engines.versioned.database import Row
from stackroom.engines.versioned.tables import (
    ACTIVE,
    ATTACHMENT,
    BLANK,
    COLLECTION,
    DOCUMENT,
    FAILED,
    HIDING,
    ORIGINAL,
    RECOGNISED,
    RECORDS,
    SOURCE,
    UNFINISHED,
    number,
    record,
)
from stackroom.storage.catalogue.records import as_path, meant
from stackroom.storage.derived import Derived, Remembered
from stackroom.types import RECOGNISED_PAGES, Passage

_SOURCE_FIELDS = (
    "source_id", "name", "title", "type", "is_file", "size", "mtime_ns", "recipe", "state", "error", "error_kind", "pages",
    "pages_without_text", "indexed_at",
)  # fmt: skip


def source_name(name: str) -> int:
    return number("source", name)


def source_id(id_: str) -> int:
    return number("source id", id_)


def content(content_hash: bytes | None) -> int:
    return 0 if content_hash is None else number("content", content_hash)


def document_id(id_: str) -> int:
    return number("document", id_)


def chunk_id(id_: str) -> int:
    return number("chunk", id_)


def collection_name(name: str) -> int:
    return number("collection", name)


def attachment_name(name: str) -> int:
    return number("attachment", name)


def folder(name: str) -> int:
    """Of an attachment's name: up to its first slash."""
    return number("folder", name.partition("/")[0] + "/" if "/" in name else "")


def from_source(source: SourceRecord, *, active: bool) -> Row:
    """`key` and `source_id` are known."""
    flag = ACTIVE * active | FAILED * (source.error is not None) | BLANK * bool(source.pages_without_text)
    flag |= UNFINISHED * source.unfinished
    said = [getattr(source, name) for name in _SOURCE_FIELDS]
    return record(
        SOURCE,
        key=source.key,
        name=source_name(source.name),
        owner=source_id(source.source_id),
        mark=content(source.content_hash),
        flag=flag,
        data=[*said, None if source.content_hash is None else source.content_hash.hex()],
    )


def _record_of(kind: str) -> Callable[[Row], str]:
    return lambda row: f"the record of {kind} (row {row['id']})"


@readable(_record_of("a source"))
def to_source(row: Row) -> SourceRecord:
    *said, content_hash = json.loads(row["data"])
    return SourceRecord(
        **dict(zip(_SOURCE_FIELDS, said, strict=True)),
        content_hash=None if content_hash is None else bytes.fromhex(content_hash),
        key=int(row["key"]),
    )


def is_active(row: Row) -> bool:
    return bool(row["flag"] & ACTIVE)


def from_document(document: DocumentRecord, source: SourceRecord, chunks: int) -> Row:
    facts = indexed_metadata(document, source)
    flag = HIDING * ("hidden_characters" in facts) | RECOGNISED * (RECOGNISED_PAGES in facts)
    return record(
        DOCUMENT,
        key=document.key,
        name=document_id(document.document_id),
        owner=document.source_key,
        mark=chunks,
        flag=flag,
        data=[document.document_id, document.title, dict(document.metadata)],
    )


@readable(_record_of("a document"))
def to_document(row: Row, *, counted: bool = True) -> DocumentRecord:
    its_id, title, metadata = json.loads(row["data"])
    chunks = int(row["mark"]) if counted else 0
    return DocumentRecord(its_id, int(row["owner"]), title, an_object(metadata), chunks, int(row["key"]))


def recognised_pages(row: Row) -> int:
    pages: Any = to_document(row).metadata.get(RECOGNISED_PAGES)
    known = isinstance(pages, int | float) and not isinstance(pages, bool)
    return int(min(max(pages, 0), 1e9)) if known else 0


def from_collection(key: int, name: str, identity: str | None) -> Row:
    return record(COLLECTION, key=key, name=collection_name(name), data=[name, identity])


@readable(_record_of("a collection"))
def to_collection(row: Row) -> tuple[str, str | None]:
    """Its name, and the identity of its own vectors."""
    name, identity = json.loads(row["data"])
    return name, identity


def from_attachment(name: str, data: bytes) -> Row:
    return record(
        ATTACHMENT, name=attachment_name(name), owner=folder(name), data=[name, base64.b64encode(data).decode()]
    )


@readable(_record_of("what is kept under a name"))
def to_attachment(row: Row) -> tuple[str, bytes]:
    name, data = json.loads(row["data"])
    return name, base64.b64decode(data)


OWNERS = {"document": 0, "chunk": 1}


def from_original(owner: str, key: int, data: bytes) -> Row:
    return record(ORIGINAL, key=key, owner=OWNERS[owner], data=base64.b64encode(data).decode())


@readable(_record_of("what another program kept"))
def to_original(row: Row) -> bytes:
    return base64.b64decode(json.loads(row["data"]))


@readable(_record_of("a value of metadata"))
def to_value(row: Row) -> tuple[str, Any]:
    """The name of a field, and one of its values."""
    name, value = json.loads(row["data"])
    return name, value


@readable(lambda row: f"a passage (row {row['id']})", AGAIN)
def to_passage(row: Row) -> Passage:
    """Of a whole row of a chunk."""
    its_id, its_document, text, details = json.loads(row["data"])
    place, metadata = load_details(None if details is None else json.dumps(details))
    return Passage(its_id, its_document, text, place, metadata)


_REMEMBERED = 10_000
"""Documents of a version that are remembered."""


def _remembered() -> Remembered[str, tuple[Row, ...]]:
    """Rows of documents by their ids; none of one that is not there."""
    return Remembered(_REMEMBERED)


class Sight(Protocol):
    """Rows as a version has them, or as a commit will leave them."""

    def find(
        self, table: str, name: str, values: Iterable[int], fields: Sequence[str], *, kind: int = 0
    ) -> list[Row]: ...

    def whole(self, rows: list[Row]) -> list[Row]: ...

    def records(self, kind: int, condition: Condition = EVERYTHING) -> Iterator[Row]: ...


class Reading:
    """What is asked of records, the same for a view and for a commit's own sight of the library."""

    def __init__(self, asking: Sight, derived: Derived | None = None) -> None:
        self.asking = asking
        self._derived = derived or Derived()

    def whole(self, kind: int, name: str, values: Iterable[int]) -> list[Row]:
        """Whole records of a kind whose field is one of these values, in the order of their keys."""
        found = self.asking.whole(self.asking.find(RECORDS, name, values, RECORD_FIELDS, kind=kind))
        return sorted(found, key=lambda row: (row["key"], row["id"]))

    def source(self, name: str) -> SourceRecord | None:
        found = [to_source(row) for row in self.whole(SOURCE, "name", [source_name(name)])]
        return next((one for one in found if one.name == name), None)

    def sources(self, condition: Condition = EVERYTHING) -> list[SourceRecord]:
        """By name."""
        return sorted(map(to_source, self.asking.records(SOURCE, condition)), key=lambda one: one.name)

    def find_sources(self, wanted: str) -> list[SourceRecord]:
        """By id or exact name; else by path, title or file name, as words or as a glob."""
        by_id = [to_source(row) for row in self.whole(SOURCE, "owner", [source_id(wanted)])]
        exact = [one for one in by_id if one.source_id == wanted]
        if exact:
            return exact[:1]
        names = [wanted, as_path(wanted)] if wanted else [wanted]
        for name in names:
            found = self.source(name)
            if found is not None:
                return [found]
        every = self.sources()
        keys = meant(wanted, ((one.key, one.name, one.title) for one in every))
        by_key = {one.key: one for one in every}
        return [by_key[key] for key in keys]

    def document(self, id_: str) -> DocumentRecord | None:
        return self.documents_of([id_]).get(id_)

    def documents_of(self, ids: Iterable[str]) -> dict[str, DocumentRecord]:
        return {id_: to_document(row) for id_, row in self.document_rows(ids).items()}

    def document_rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Whole records of these documents, by id. A commit asks for what a view of the same version has just looked up."""
        known = self._derived.get("documents", _remembered)
        # Each is asked for once: threads share what is known, and it may be forgotten at any time.
        found = {id_: known.get(id_) for id_ in ids}
        unknown = [id_ for id_, rows in found.items() if rows is None]
        if unknown:
            rows = {
                to_document(row).document_id: row for row in self.whole(DOCUMENT, "name", map(document_id, unknown))
            }
            for id_ in unknown:
                found[id_] = there = (rows[id_],) if id_ in rows else ()
                known.put(id_, there)
        return {id_: rows[0] for id_, rows in found.items() if rows}

    def collection(self, name: str) -> tuple[int, str | None] | None:
        """The key of a collection, and the identity of its own vectors."""
        for row in self.whole(COLLECTION, "name", [collection_name(name)]):
            its_name, identity = to_collection(row)
            if its_name == name:
                return int(row["key"]), identity
        return None


def described(value: Any) -> tuple[Any, ...]:
    """What of a source its documents are filtered by."""
    return value.name, value.title, value.type, value.is_file
