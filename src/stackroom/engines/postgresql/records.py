"""Rows of the engine's tables as records, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.engines.postgresql.asking import Asking, Row
from stackroom.engines.postgresql.tables import DOCUMENT_COLUMNS, SOURCE_COLUMNS
from stackroom.engines.postgresql.values import pack, unpack
from stackroom.engines.records import AGAIN, an_object, load_details, readable
from stackroom.storage.catalogue.records import as_path, meant
from stackroom.types import Place

_AT_ONCE = 1_000


def source_fields(record: SourceRecord) -> tuple[Any, ...]:
    """The columns of `SOURCE_FIELDS`."""
    return (
        pack(record.name),
        pack(record.title),
        record.type,
        record.is_file,
        record.size,
        record.mtime_ns,
        record.content_hash,
        record.recipe,
        record.state,
        None if record.error is None else pack(record.error),
        record.error_kind,
        record.pages,
        record.pages_without_text,
        record.indexed_at,
    )


def to_source(row: Row) -> SourceRecord:
    key, source_id, name, title, kind, is_file, size, mtime, content, recipe, state, error, error_kind, *rest = row
    pages, blank, at = rest
    return SourceRecord(
        name=unpack(name),
        title=unpack(title),
        type=kind,
        is_file=is_file,
        size=size,
        mtime_ns=mtime,
        content_hash=content,
        recipe=recipe,
        state=state,
        error=None if error is None else unpack(error),
        error_kind=error_kind,
        pages=pages,
        pages_without_text=blank,
        indexed_at=at,
        source_id=unpack(source_id),
        key=key,
    )


@readable(lambda row, *_: f"the record of the document {row[1]} {row[3]}".rstrip())
def to_document(row: Row, chunks: int = 0) -> DocumentRecord:
    key, document_id, source_key, title, metadata = row
    described = an_object(json.loads(metadata)) if metadata else {}
    return DocumentRecord(unpack(document_id), source_key, unpack(title), described, chunks, key)


@readable(lambda _, chunk_id: f"what is said of the passage {chunk_id}", AGAIN)
def to_details(text: str | None, chunk_id: str) -> tuple[Place, dict[str, Any]]:
    """Place and metadata of a passage; its id is for the error."""
    del chunk_id
    return load_details(text)


def sources(asking: Asking, condition: str = "true", values: Sequence[Any] = ()) -> list[SourceRecord]:
    return [to_source(row) for row in asking.rows(f"SELECT {SOURCE_COLUMNS} FROM sources WHERE {condition}", values)]


def source(asking: Asking, condition: str, *values: Any) -> SourceRecord | None:
    found = sources(asking, condition, values)
    return found[0] if found else None


def documents(asking: Asking, condition: str, values: Sequence[Any] = ()) -> list[DocumentRecord]:
    """With the number of their chunks, in the order of their keys."""
    rows = asking.rows(
        f"""SELECT {DOCUMENT_COLUMNS}, (SELECT count(*) FROM chunks c WHERE c.document_key = documents.document_key)
            FROM documents WHERE {condition} ORDER BY document_key""",
        values,
    )
    return [to_document(row[:-1], row[-1]) for row in rows]


def document(asking: Asking, condition: str, *values: Any) -> DocumentRecord | None:
    found = documents(asking, condition, values)
    return found[0] if found else None


def each_document(asking: Asking) -> Iterator[DocumentRecord]:
    after = -1
    while rows := asking.rows(
        f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE document_key > %s ORDER BY document_key LIMIT {_AT_ONCE}",
        (after,),
    ):
        yield from map(to_document, rows)
        after = rows[-1][0]


def find_sources(asking: Asking, wanted: str) -> list[int]:
    """Keys by id or exact name; else by path, title or file name, as words or as a glob."""
    names = [pack(wanted)]
    if wanted:
        names.append(pack(as_path(wanted)))
    for column, name in (("source_id", names[0]), *(("name", name) for name in names)):
        exact = asking.value(f"SELECT source_key FROM sources WHERE {column} = %s", (name,))
        if exact is not None:
            return [exact]
    rows = asking.rows("SELECT source_key, name, title FROM sources ORDER BY name")
    return meant(wanted, ((key, unpack(name), unpack(title)) for key, name, title in rows))
