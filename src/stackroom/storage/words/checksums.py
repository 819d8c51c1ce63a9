"""Checksums of the full-text index: FTS5 keeps none, and what has flipped in one of its pages is found like any other word.

Which of its rows a transaction has changed SQLite itself tells (its update hook); their checksums are written before it commits. Only a
verification reads them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from stackroom.storage.catalogue.codec import record_checksum
from stackroom.storage.catalogue.sql import Connection

TABLE = "word_sums"

_PAGES, _SEGMENTS, _SIZES, _SETTINGS = "pages", "segments", "sizes", "settings"
"""What has a checksum: a page; the pages that each segment lists by their first words; the lengths of some passages; what FTS5 was told."""

_SIZES_TOGETHER = 64
_SEGMENT = 37
"""The bit of a page's number from which on it says the segment (FTS5's fts5_index.c)."""
_SEGMENTS_END = 1 << 16
"""Where pages of segments end; behind them are those of what was removed from a segment, of which it lists none."""

Part = tuple[str, int]


def watch(connection: Connection) -> None:
    """Know from here on what changes."""
    if connection.changed_words is not None:
        return
    changed: set[Part] = set()

    def heard(_kind: int, _database: str, table: str, row: int) -> None:
        if table == "words_data":
            changed.add((_PAGES, row))
        elif table == "words_docsize":
            changed.add((_SIZES, row // _SIZES_TOGETHER))

    connection.changed_words = changed
    connection.set_update_hook(heard)


def put(connection: Connection) -> None:
    """Write those of what has changed since the last call, within the transaction that changed it."""
    changed = connection.changed_words
    if not changed:
        return
    # FTS5 keeps words in memory until it commits, or is asked to write them.
    connection.execute("INSERT INTO words(words) VALUES('flush')")
    if not _is_there(connection):
        put_all(connection)
    else:
        _put(connection, changed)
    changed.clear()


def put_all(connection: Connection) -> None:
    """Write every one, in a table made where it is missing: in a new library, and in one that has none yet."""
    connection.execute(
        f"""CREATE TABLE IF NOT EXISTS {TABLE}(
            part TEXT NOT NULL,
            id INTEGER NOT NULL,
            checksum INTEGER NOT NULL,
            PRIMARY KEY(part, id)
        ) STRICT, WITHOUT ROWID"""
    )
    connection.executemany(f"INSERT OR REPLACE INTO {TABLE} VALUES(?, ?, ?)", list(_all(connection)))


def _put(connection: Connection, changed: Iterable[Part]) -> None:
    segments = {number >> _SEGMENT for part, number in changed if part == _PAGES}
    listing = {(_SEGMENTS, segment) for segment in segments if 0 < segment < _SEGMENTS_END}
    for part, number in sorted({*changed, *listing}):
        checksum = _NOW[part](connection, number)
        if checksum is None:
            connection.execute(f"DELETE FROM {TABLE} WHERE part = ? AND id = ?", (part, number))
        else:
            connection.execute(f"INSERT OR REPLACE INTO {TABLE} VALUES(?, ?, ?)", (part, number, checksum))


def differing(connection: Connection) -> int:
    """How many parts of the index are not what was written; 0 in a library that has no checksums yet."""
    if not _is_there(connection):
        return 0
    stored = {(part, number): checksum for part, number, checksum in connection.execute(f"SELECT * FROM {TABLE}")}
    wrong: int = sum(stored.pop((part, number), None) != checksum for part, number, checksum in _all(connection))
    return wrong + len(stored)


def _is_there(connection: Connection) -> bool:
    return connection.row("SELECT 1 FROM sqlite_schema WHERE name = ?", (TABLE,)) is not None


def _all(connection: Connection) -> Iterator[tuple[str, int, int]]:
    for (number,) in connection.each("SELECT id FROM words_data"):
        yield _PAGES, number, _page(connection, number) or 0
    for (number,) in connection.each("SELECT DISTINCT segid FROM words_idx"):
        yield _SEGMENTS, number, _listed(connection, number) or 0
    for (number,) in connection.each(f"SELECT DISTINCT id / {_SIZES_TOGETHER} FROM words_docsize"):
        yield _SIZES, number, _sizes(connection, number) or 0
    # They are given once, when the table is made.
    yield (
        _SETTINGS,
        0,
        record_checksum(*chain.from_iterable(connection.rows("SELECT k, v FROM words_config ORDER BY k"))),
    )


def _page(connection: Connection, number: int) -> int | None:
    block = connection.value("SELECT block FROM words_data WHERE id = ?", (number,))
    return None if block is None else zlib.crc32(block)


def _listed(connection: Connection, segment: int) -> int | None:
    # Each portion of a merge asks for it, of a list as long as the segment: a fifth of what rows would take.
    listed = connection.value(
        "SELECT group_concat(quote(term) || quote(pgno) ORDER BY term) FROM words_idx WHERE segid = ?", (segment,)
    )
    return None if listed is None else zlib.crc32(listed.encode("utf-8", "surrogatepass"))


def _sizes(connection: Connection, number: int) -> int | None:
    first = number * _SIZES_TOGETHER
    rows = connection.rows(
        "SELECT id, sz, origin FROM words_docsize WHERE id >= ? AND id < ? ORDER BY id",
        (first, first + _SIZES_TOGETHER),
    )
    return record_checksum(*chain.from_iterable(rows)) if rows else None


_NOW: dict[str, Callable[[Connection, int], int | None]] = {_PAGES: _page, _SEGMENTS: _listed, _SIZES: _sizes}
