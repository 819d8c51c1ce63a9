"""The full-text index: FTS5 without content, since the catalogue's chunks are the truth.

What is indexed is the `indexed_form` of a text (tokenizer.py), so that languages without spaces are found too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import Scored, TextStatistics
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import checksums, tokenizer
from stackroom.storage.words.tokenizer import TextQuery

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to here one query a range is cheaper than ranking every match and dropping most of them.
_FEW_RANGES = 8


def add(connection: Connection, texts: Iterable[tuple[int, str]]) -> None:
    """Index `(key, text)` pairs."""
    checksums.watch(connection)
    connection.executemany(
        "INSERT INTO words(rowid, text) VALUES(?, ?)",
        ((key, _bindable(tokenizer.indexed_form(text))) for key, text in texts),
    )


def remove(connection: Connection, keys: Iterable[int]) -> None:
    checksums.watch(connection)
    connection.executemany("DELETE FROM words WHERE rowid = ?", ((key,) for key in keys))


def merge(connection: Connection, pages: int) -> int:
    """Join segments, writing up to `pages` pages: done between commits, since it can take long. How many rows it changed: 1 where there was nothing to join."""
    checksums.watch(connection)
    before = connection.total_changes()
    connection.execute("INSERT INTO words(words, rank) VALUES('merge', ?)", (pages,))
    changed = connection.total_changes() - before
    checksums.put(connection)
    return changed


def optimize(connection: Connection) -> None:
    """Join all segments into one and drop every trace of deleted chunks."""
    checksums.watch(connection)
    connection.execute("INSERT INTO words(words) VALUES('optimize')")
    checksums.put(connection)


def matching(
    connection: Connection, query: TextQuery, k: int, allowed: KeySet | None, chunks: int
) -> tuple[Scored, TextStatistics]:
    """The `k` best chunks by BM25 (k1 = 1.2, b = 0.75, as FTS5 has it) among the allowed ones; `chunks` is how many there are."""
    expression = query.match_expression()
    if expression is None or k <= 0:
        return _NOTHING, tokenizer.statistics(connection, query, chunks)
    if allowed is None:
        rows = connection.rows(
            "SELECT rowid, rank FROM words WHERE words MATCH ? ORDER BY rank, rowid LIMIT ?", (expression, k)
        )
        keys, scores = _columns(rows)
    else:
        keys, scores = _columns(_within(connection, expression, allowed))
        keep = allowed.contains(keys)
        keys, scores = keys[keep], scores[keep]
        order = np.lexsort((keys, scores))[:k]
        keys, scores = keys[order], scores[order]
    return Scored(keys, -scores), tokenizer.statistics(connection, query, chunks)


def holding(connection: Connection, terms: Sequence[str]) -> KeySet:
    """The chunks in which any of these words and phrases occurs."""
    return _meeting(connection, tokenizer.any_of(terms))


def holding_all(connection: Connection, terms: Sequence[str]) -> KeySet:
    """The chunks in which all of these words and phrases occur."""
    return _meeting(connection, tokenizer.all_of(terms))


def _meeting(connection: Connection, expression: str) -> KeySet:
    statement = "SELECT rowid FROM words WHERE words MATCH ?"
    return KeySet.from_keys(connection.numbers(statement, (expression,), columns=1)[:, 0])


_NOTHING = Scored(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))


def _within(connection: Connection, expression: str, allowed: KeySet) -> Iterator[tuple[Any, ...]]:
    ranges = allowed.ranges
    if len(ranges) > _FEW_RANGES:
        ranges = np.array([[ranges[0, 0], ranges[-1, 1]]])
    for first, end in ranges.tolist():
        yield from connection.each(
            "SELECT rowid, rank FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?", (expression, first, end - 1)
        )


def _columns(rows: Iterable[tuple[Any, ...]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    found = np.fromiter(rows, dtype=[("key", np.int64), ("score", np.float64)])
    return found["key"].copy(), found["score"].copy()


def _bindable(text: str) -> str:
    """SQLite can't hold lone surrogates; for finding words they are no loss."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
