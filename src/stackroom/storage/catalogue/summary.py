"""The library in numbers: what `status` shows. Needs no vector file, and numpy only where there are several collections."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from stackroom import copied
from stackroom.errors import DamagedError
from stackroom.reports import Collection, Copied, Failure, Stats
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.ids import pack_text, unpack_text
from stackroom.storage.catalogue.schema import ACTIVE_SET
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.vectors import spaces
from stackroom.types import HIDDEN_CHARACTERS, RECOGNISED_PAGES

_SHOWN_FAILURES = 10


def stats(connection: Connection, blobs: Codec, library: Path) -> Stats:
    """The caller holds a read transaction."""

    def number(query: str, *values: object) -> int:
        found = connection.value(query, values) or 0
        if not isinstance(found, int | float):
            raise DamagedError(
                f"The catalogue {layout.catalogue(library)} has {found!r} where a number belongs.",
                hint="See what is hit: stackroom verify",
                path=layout.catalogue(library),
            )
        return int(found)

    space, kept = spaces.serving(connection), spaces.with_state(connection, spaces.FORMER)
    chunks = number("SELECT count(*) FROM chunks")
    dead = number("SELECT sum(n) FROM dead_rows WHERE space_key = ?", space.key) if space else 0
    failed = connection.rows(
        "SELECT name, error, error_kind FROM sources WHERE error IS NOT NULL ORDER BY name LIMIT ?", (_SHOWN_FAILURES,)
    )
    return Stats(
        library=str(library),
        format_version=number("SELECT value FROM settings WHERE name = 'format_version'"),
        sources=number("SELECT count(*) FROM sources"),
        documents=number("SELECT count(*) FROM documents"),
        chunks=chunks,
        active_sources=number("SELECT count(*) FROM set_members WHERE set_key = ?", ACTIVE_SET),
        embedder=None if space is None else space.identity,
        bytes=sizes(library),
        failed=tuple(Failure(unpack_text(name), unpack_text(error), kind or "") for name, error, kind in failed),
        failed_count=number("SELECT count(*) FROM sources WHERE error IS NOT NULL"),
        unfinished=number("SELECT count(*) FROM sources WHERE state = 'partial' AND error IS NULL"),
        missing=sum(
            not os.path.lexists(unpack_text(name))
            for (name,) in connection.execute("SELECT name FROM sources WHERE is_file")
        ),
        pages_without_text=number("SELECT sum(pages_without_text) FROM sources"),
        sqlite=apsw.sqlite_lib_version(),
        needs_embedding=chunks - (space.rows - dead if space else 0),
        dead_rows=dead,
        collections=_collections(connection, chunks, None if space is None else space.dim),
        former=None if kept is None else kept.identity,
        hiding=_documents_with(connection, HIDDEN_CHARACTERS),
        recognised=_documents_with(connection, RECOGNISED_PAGES),
        set_aside=tuple(map(str, _put_aside(library))),
        copied=copied_of(connection, blobs),
    )


def copied_of(connection: Connection, blobs: Codec) -> Copied | None:
    """What the library says of the transfer that made it a copy; None where none did, or where that is damaged."""
    if connection.row("SELECT 1 FROM attachments WHERE name = ?", (pack_text(copied.RECORD),)) is None:
        return None
    from stackroom.storage.catalogue import originals

    try:
        version = connection.value("SELECT value FROM settings WHERE name = 'commits'")
        return copied.read(originals.attachment(connection, blobs, copied.RECORD), version)
    except DamagedError:
        # `verify` tells of it.
        return None


def _documents_with(connection: Connection, field: str) -> int:
    if connection.value("SELECT 1 FROM fields WHERE name = ?", (field,)) is None:
        return 0
    from stackroom.storage.catalogue import metadata

    return metadata.documents_with(connection, field)


def _collections(connection: Connection, chunks: int, dim: int | None) -> tuple[Collection, ...]:
    if connection.value("SELECT count(*) FROM collections") == 1:
        return (Collection("default", chunks, dim),)
    from stackroom.storage.catalogue import collections, runs

    everything, homes = runs.everything(connection), collections.homes(connection)
    return tuple(
        Collection(item.name, item.chunks, item.identity.dim if item.identity else dim, item.identity is not None)
        for item in collections.summaries(connection, lambda: everything, lambda: homes)
    )


def sizes(library: Path) -> dict[str, int]:
    """Bytes on disk of each part."""
    catalogue = sum(fsio.size_of(library / name) for name in (layout.CATALOGUE, layout.WAL))
    parts = {
        "catalogue": catalogue,
        "vectors": _folder(library / layout.VECTORS),
        "sketches": _folder(library / layout.SKETCHES),
        "set_aside": sum(_folder(path) + _folder(path / layout.VECTORS) for path in _put_aside(library)),
    }
    return {**parts, "total": sum(parts.values())}


def _put_aside(library: Path) -> list[Path]:
    try:
        return layout.put_aside(library)
    except OSError:
        return []


def _folder(path: Path) -> int:
    try:
        return sum(fsio.size_of(file) for file in path.iterdir() if not file.is_dir())
    except OSError:
        return 0
