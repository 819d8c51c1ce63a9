"""Sources and documents: rows of the catalogue as records, and back."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from stackroom.backend import DocumentRecord, SourceRecord, SourceState
from stackroom.errors import DamagedError, UsageError
from stackroom.storage.catalogue import codec, schema
from stackroom.storage.catalogue.ids import pack_id, pack_text, unpack_id, unpack_text
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.derived import Remembered
from stackroom.types import RECOGNISED_PAGES, Metadata, Place, Source

SOURCE_COLUMNS = (
    "source_key, source_id, name, title, type, is_file, size, mtime_ns, content_hash, recipe, state, error, "
    "error_kind, pages, pages_without_text, indexed_at, checksum"
)
DOCUMENT_COLUMNS = "document_key, document_id, source_key, title, metadata, checksum"

_LONGEST_PATTERN = 1_000
_DOCUMENT_WIDTH = DOCUMENT_COLUMNS.count(",") + 1
_METADATA = 4
_LONGEST_KEPT = 4096
"""Bytes of metadata with which a document is remembered."""
_QUALIFIED = ", ".join(
    f"{table}.{column.strip()}"
    for table, columns in (("d", DOCUMENT_COLUMNS), ("s", SOURCE_COLUMNS))
    for column in columns.split(",")
)


def dump_metadata(metadata: Metadata) -> bytes | None:
    """Metadata as stored JSON. Raises UsageError when it is not JSON."""
    return _dumped(lambda: codec.dump_json(dict(metadata)) if metadata else None)


def dump_details(place: Place, metadata: Metadata) -> bytes | None:
    """A chunk's place and metadata as stored JSON. Raises UsageError when the metadata is not JSON."""
    return _dumped(lambda: codec.dump_details(place, metadata))


def _dumped(dump: Callable[[], bytes | None]) -> bytes | None:
    try:
        return dump()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"This metadata can't be stored as JSON: {error}.",
            hint="Use text, numbers, true, false, null, lists and objects of these.",
        ) from error


def source_fields(record: SourceRecord) -> tuple[Any, ...]:
    """The columns of a source from `name` on, checksum last."""
    stored = (
        pack_text(record.name),
        pack_text(record.title),
        record.type,
        int(record.is_file),
        record.size,
        record.mtime_ns,
        record.content_hash,
        record.recipe,
        record.state,
        None if record.error is None else pack_text(record.error),
        record.error_kind,
        record.pages,
        record.pages_without_text,
        record.indexed_at,
    )
    return (*stored, codec.record_checksum(record.source_id, *stored))


def to_source(row: tuple[Any, ...]) -> SourceRecord:
    key, source_id, *stored, checksum = row
    name, title, kind, is_file, size, mtime, content, recipe, state, error, error_kind, pages, blank, at = stored
    source_id = unpack_id(source_id)
    if codec.record_checksum(source_id, *stored) != checksum:
        raise _damaged("source", unpack_text(name))
    return SourceRecord(
        name=unpack_text(name),
        title=unpack_text(title),
        type=kind,
        is_file=bool(is_file),
        size=size,
        mtime_ns=mtime,
        content_hash=content,
        recipe=recipe,
        state=cast(SourceState, state),
        error=None if error is None else unpack_text(error),
        error_kind=error_kind,
        pages=pages,
        pages_without_text=blank,
        indexed_at=at,
        source_id=source_id,
        key=key,
    )


def document_fields(record: DocumentRecord) -> tuple[Any, ...]:
    """The columns of a document from `source_key` on, checksum last."""
    stored = (record.source_key, pack_text(record.title), dump_metadata(record.metadata))
    return (*stored, codec.record_checksum(record.document_id, *stored))


def to_document(row: tuple[Any, ...]) -> DocumentRecord:
    return _document(_checked(row))


def _checked(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row of a document. Raises DamagedError where it is not what was written."""
    _, document_id, *stored, checksum = row
    document_id = unpack_id(document_id)
    if codec.record_checksum(document_id, *stored) != checksum:
        raise _damaged("document", document_id)
    return row


def _document(checked: tuple[Any, ...]) -> DocumentRecord:
    key, document_id, source_key, title, metadata, _ = checked
    described = json.loads(metadata) if metadata else {}
    return DocumentRecord(unpack_id(document_id), source_key, unpack_text(title), described, key=key)


def _damaged(kind: str, name: str) -> DamagedError:
    return DamagedError(
        f"The record of the {kind} {name!r} is damaged.", hint="See what is hit: stackroom verify", actual=name
    )


def source_by_name(connection: Connection, name: str) -> SourceRecord | None:
    return _first(connection, "name = ?", (pack_text(name),))


def source_by_key(connection: Connection, key: int) -> SourceRecord | None:
    return _first(connection, "source_key = ?", (key,))


def _first(connection: Connection, where: str, values: tuple[Any, ...]) -> SourceRecord | None:
    row = connection.row(f"SELECT {SOURCE_COLUMNS} FROM sources WHERE {where}", values)
    return None if row is None else to_source(row)


def sources_with_content(connection: Connection, content_hash: bytes) -> list[SourceRecord]:
    rows = connection.execute(
        f"SELECT {SOURCE_COLUMNS} FROM sources WHERE content_hash = ? ORDER BY source_key", (content_hash,)
    )
    return [to_source(row) for row in rows]


def each_source(connection: Connection, under: str | None = None) -> Iterator[SourceRecord]:
    """By name; `under` keeps one path and what lies below it."""
    if under is None:
        rows = connection.execute(f"SELECT {SOURCE_COLUMNS} FROM sources ORDER BY name")
    else:
        folder = under.rstrip(os.sep) + os.sep
        rows = connection.execute(
            f"""SELECT {SOURCE_COLUMNS} FROM sources WHERE name = ?
                UNION ALL SELECT {SOURCE_COLUMNS} FROM sources WHERE name >= ? AND name < ? ORDER BY name""",
            (under, folder, folder[:-1] + chr(ord(os.sep) + 1)),
        )
    for row in rows:
        yield to_source(row)


_BY_ID = "SELECT source_key FROM sources WHERE source_id = ?"
_BY_NAME = "SELECT source_key FROM sources WHERE name = ?"


def source_called(connection: Connection, wanted: str, *, by_id: bool = True) -> int | None:
    """The key of the source with this id, or this very name; None where there is none, whatever folder the process is in."""
    found = connection.row(_BY_ID, (pack_id(wanted),)) if by_id else None
    found = found or connection.row(_BY_NAME, (pack_text(wanted),))
    return None if found is None else int(found[0])


def as_path(wanted: str) -> str:
    """What a path means here; what can't be one (a NUL or half a character behind a tilde) as it is."""
    with contextlib.suppress(ValueError):
        return os.path.abspath(os.path.expanduser(wanted))
    return wanted


def find_sources(connection: Connection, wanted: str) -> list[int]:
    """Keys by id or exact name; else by path, title or file name, as words or as a glob, without regard to case."""
    exact = source_called(connection, wanted)
    if exact is None and wanted:
        exact = source_called(connection, as_path(wanted), by_id=False)
    if exact is not None:
        return [exact]
    rows = connection.execute("SELECT source_key, name, title FROM sources ORDER BY name")
    return meant(wanted, ((key, unpack_text(name), unpack_text(title)) for key, name, title in rows))


def source_keys(connection: Connection, source_ids: Sequence[str]) -> set[int]:
    """The keys of those of these ids that there are."""
    statement = "SELECT source_key FROM sources WHERE source_id IN (...)"
    return {row[0] for row in connection.among(statement, list(map(pack_id, source_ids)))}


def meant(wanted: str, sources: Iterable[tuple[int, str, str]]) -> list[int]:
    """The keys of those `(key, name, title)` whose path, file name or title this is, or a glob of it, and of those below it as a folder.

    No name means none: a script whose variable is empty must not remove what lies below the folder that it runs in.
    """
    if not wanted:
        return []
    pattern = wanted.casefold()
    # What is longer is no pattern that somebody wrote, and would take seconds to be made one.
    is_pattern = len(pattern) <= _LONGEST_PATTERN and any(sign in pattern for sign in "*?[")
    absolute = as_path(wanted).casefold()
    found = []
    for key, name, title in sources:
        path = name.casefold()
        candidates = (path, os.path.basename(path), title.casefold())
        below = path.startswith(absolute.rstrip(os.sep) + os.sep)
        if (
            below
            or pattern in candidates
            or (is_pattern and any(fnmatch.fnmatchcase(candidate, pattern) for candidate in candidates))
        ):
            found.append(key)
    return found


def listing(connection: Connection, records: Sequence[SourceRecord] | None) -> list[Source]:
    """Sources with their counts, as users see them."""
    wanted = None if records is None else json.dumps([record.key for record in records])
    counts: dict[int, tuple[int, int, int]] = {
        key: (documents, chunks, active)
        for key, documents, chunks, active in connection.execute(
            """SELECT s.source_key,
                   (SELECT count(*) FROM documents d WHERE d.source_key = s.source_key),
                   (SELECT coalesce(sum(r.n), 0) FROM documents d JOIN runs r USING(document_key)
                     WHERE d.source_key = s.source_key),
                   EXISTS(SELECT 1 FROM set_members m WHERE m.set_key = ?1 AND m.source_key = s.source_key)
               FROM sources s WHERE ?2 IS NULL OR s.source_key IN (SELECT value FROM json_each(?2))""",
            (schema.ACTIVE_SET, wanted),
        )
    }
    recognised = _recognised(connection)
    return [
        shown(record, *counts.get(record.key, (0, 0, 0)), recognised.get(record.key, 0))
        for record in (each_source(connection) if records is None else records)
    ]


def _recognised(connection: Connection) -> dict[int, int]:
    """On how many pages of a source text was recognised, where on any."""
    if connection.value("SELECT 1 FROM fields WHERE name = ?", (RECOGNISED_PAGES,)) is None:
        return {}
    from stackroom.storage.catalogue import metadata

    pages = metadata.numbers_of_documents(connection, RECOGNISED_PAGES)
    found: dict[int, int] = {}
    statement = "SELECT document_key, source_key FROM documents WHERE document_key IN (...)"
    for document, source in connection.among(statement, list(pages)):
        found[source] = found.get(source, 0) + int(min(max(pages[document], 0), 1e9))
    return found


def shown(record: SourceRecord, documents: int, chunks: int, active: int, recognised: int = 0) -> Source:
    """A source as users see it."""
    return Source(
        id=record.source_id,
        path=record.name,
        title=record.title or Path(record.name).name or record.name,
        type=record.type,
        documents=documents,
        chunks=chunks,
        active=bool(active),
        state=record.state,
        indexed_at=record.indexed_at,
        error=record.error,
        size=record.size,
        pages=record.pages,
        pages_without_text=record.pages_without_text,
        modified_at=_time(record.mtime_ns),
        recognised_pages=recognised,
    )


def _time(ns: int | None) -> str | None:
    """ISO 8601 in UTC, to the second; None also for what no calendar has, which a library from a stranger may say."""
    if ns is None:
        return None
    try:
        return datetime.fromtimestamp(ns // 1_000_000_000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return None


def documents_of(connection: Connection, source_key: int) -> list[DocumentRecord]:
    rows = connection.execute(
        f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE source_key = ? ORDER BY document_key", (source_key,)
    )
    return [to_document(row) for row in rows]


def each_document(connection: Connection) -> Iterator[DocumentRecord]:
    for row in connection.execute(f"SELECT {DOCUMENT_COLUMNS} FROM documents ORDER BY document_key"):
        yield to_document(row)


def document_by_id(connection: Connection, document_id: str) -> DocumentRecord | None:
    row = connection.row(f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE document_id = ?", (pack_id(document_id),))
    return None if row is None else to_document(row)


Owner = tuple[tuple[Any, ...], SourceRecord]
"""A document's row, whose checksum was checked, and its source."""


def with_sources(
    connection: Connection, document_ids: Sequence[str], known: Remembered[str, Owner]
) -> dict[str, tuple[DocumentRecord, SourceRecord]]:
    """Those of these documents that there are, each with its source; `known` are those of this version that were read before."""
    owners = {document_id: known.get(document_id) for document_id in document_ids}
    for document_id, owner in _read_owners(connection, [wanted for wanted, owner in owners.items() if owner is None]):
        owners[document_id] = owner
        if len(owner[0][_METADATA] or b"") <= _LONGEST_KEPT:
            known.put(document_id, owner)
    # Records are made anew: their metadata is the caller's to change.
    return {wanted: (_document(owner[0]), owner[1]) for wanted, owner in owners.items() if owner is not None}


def _read_owners(connection: Connection, document_ids: Sequence[str]) -> Iterator[tuple[str, Owner]]:
    sources: dict[int, SourceRecord] = {}
    statement = f"SELECT {_QUALIFIED} FROM documents d JOIN sources s USING(source_key) WHERE document_id IN (...)"
    for joined in connection.among(statement, list(map(pack_id, document_ids))):
        row = _checked(joined[:_DOCUMENT_WIDTH])
        source_key = row[2]
        if source_key not in sources:
            sources[source_key] = to_source(joined[_DOCUMENT_WIDTH:])
        yield unpack_id(row[1]), (row, sources[source_key])


def document_by_key(connection: Connection, key: int) -> DocumentRecord | None:
    row = connection.row(f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE document_key = ?", (key,))
    return None if row is None else to_document(row)


RESERVED = {
    "doc_id": "document_id",
    "ref_doc_id": "document_id",
    "metadata.doc_id": "doc_id",
    "metadata.ref_doc_id": "ref_doc_id",
}
"""Other frameworks' names for a document's id, as filters may use them, and the way to a user's own key of that name."""


def chunk_counts(connection: Connection, document_keys: Sequence[int]) -> dict[int, int]:
    return {
        key: connection.value("SELECT coalesce(sum(n), 0) FROM runs WHERE document_key = ?", (key,))
        for key in document_keys
    }
