"""Full text: PostgreSQL's inverted index over the words that a local library has, ranked by the same formula.

A passage's words are made by the tokenizer of the local store (folded, stemmed, pairs of characters where a script writes no
spaces) and handed to PostgreSQL as a finished `tsvector`; its own configurations know other stems, and no Chinese. So the same passages
match. Where more than `CANDIDATES` do, PostgreSQL's own rank says which of them are scored.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from stackroom.backend import Scored, TextStatistics
from stackroom.engines import terms as shared
from stackroom.engines.postgresql.asking import Asking, Where
from stackroom.engines.terms import rank, tokens_of, tokens_of_terms
from stackroom.engines.vectors import NOTHING
from stackroom.storage.derived import Remembered

if TYPE_CHECKING:
    from stackroom.storage.words.tokenizer import TextQuery

CANDIDATES = 1_000
"""Passages that are scored by BM25, the best by PostgreSQL's own rank."""

_REMEMBERED = 4_096
"""Words of queries whose counts are kept, of one version."""

_LONGEST = 500
"""Characters of a word; PostgreSQL takes 2,046 bytes."""
_MOST = 60_000
"""Words of a passage that are indexed; what PostgreSQL takes is a megabyte."""


def indexed(text: str) -> tuple[str, int]:
    """A passage's `tsvector` as PostgreSQL reads it, and the number of its words."""
    tokens = tokens_of(text)
    places: dict[str, list[int]] = defaultdict(list)
    for place, token in enumerate(tokens[:_MOST], start=1):
        places[token[:_LONGEST]].append(place)
    # PostgreSQL keeps 256 places of a word, up to the 16,383rd; it says so in its documentation.
    return " ".join(f"{_quoted(word)}:{','.join(map(str, at[:256]))}" for word, at in places.items()), len(tokens)


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


class _Candidate(NamedTuple):
    key: int
    words: int
    places: dict[str, list[int]]
    """of the words that are wanted"""


class Term(shared.Term):
    """One term of a query, and the `tsquery` that says it."""

    def __init__(self, text: str, tokens: Sequence[str]) -> None:
        super().__init__(text, [token[:_LONGEST] for token in tokens])

    @property
    def query(self) -> str | None:
        """As a `tsquery`; None where it holds no word."""
        if not self.tokens:
            return None
        parts = [_quoted(token) for token in self.tokens]
        if self.is_beginning:
            parts[-1] += ":*"
        return parts[0] if len(parts) == 1 else "(" + " <-> ".join(parts) + ")"


def terms(texts: Sequence[str]) -> list[Term]:
    return [Term(text, tokens) for text, tokens in zip(texts, tokens_of_terms(texts), strict=True)]


def any_of(parts: Iterable[Term]) -> str | None:
    """The `tsquery` that a passage with any of these terms meets."""
    queries = [query for part in parts if (query := part.query) is not None]
    return " | ".join(queries) or None


class Totals(NamedTuple):
    """What one version of a library is known to hold."""

    rows: int
    words: int
    frequencies: Remembered[str, int]
    """passages by the `tsquery` that they meet: to count those of a common word is to look at each of them"""


def totals(asking: Asking) -> Totals:
    (row,) = asking.rows("SELECT count(*), coalesce(sum(words), 0)::bigint FROM chunks")
    return Totals(row[0], row[1], Remembered(_REMEMBERED))


def matching(asking: Asking, query: TextQuery, k: int, scope: Where, known: Totals) -> tuple[Scored, TextStatistics]:
    """The `k` best passages in scope by BM25, and the statistics of the query. `known` is of the version that is asked."""
    rows, all_words, _ = known
    wanted = terms(query.terms)
    frequencies = _frequencies(asking, wanted, known.frequencies)
    statistics = TextStatistics(
        query.terms,
        # A phrase counts as its rarest word.
        tuple(min((frequencies[_quoted(token)] for token in term.tokens), default=0) for term in wanted),
        rows,
    )
    asked = any_of(wanted)
    if asked is None or k <= 0 or not rows or not all_words:
        return NOTHING, statistics
    excluded = any_of(terms(query.excluded)) if query.excluded else None
    if excluded is not None:
        scope = scope.also("NOT c.lexemes @@ %s::tsquery", excluded)
    # Words that most passages hold weigh next to nothing: passages with no other are looked at where there are too few.
    telling = [term for term in wanted if 2 * frequencies.get(term.query or "", 0) < rows]
    found = _candidates(asking, telling, wanted, k, scope) if len(telling) < len(wanted) else []
    if len(found) < k:
        found = _candidates(asking, wanted, wanted, k, scope)
    return _ranked(found, wanted, frequencies, k, rows, all_words / rows), statistics


def _candidates(
    asking: Asking, asked: Sequence[Term], wanted: Sequence[Term], k: int, scope: Where
) -> list[_Candidate]:
    """Passages in scope that hold any term of `asked`, the best by PostgreSQL's own rank, with the places of the words that are wanted."""
    query = any_of(asked)
    if query is None:
        return []
    where = scope.also("c.lexemes @@ %s::tsquery", query)
    found = asking.rows(
        f"""SELECT c.key, c.words, c.lexemes::text FROM {where.tables} WHERE {where.condition}
            ORDER BY ts_rank(c.lexemes, %s::tsquery) DESC, c.key LIMIT %s""",
        (*where.values, query, max(CANDIDATES, k)),
    )
    # A server that takes the vectors apart takes four times as long.
    pattern = re.compile("|".join(f"(?<![^ ])({_written(token, term)}):([0-9,]+)" for token, term in _distinct(wanted)))
    return [_Candidate(key, count, _places(pattern, lexemes)) for key, count, lexemes in found]


def _distinct(wanted: Sequence[Term]) -> list[tuple[str, Term]]:
    """Each word once; beginnings of words last, since they hold others."""
    found = {(token, term.is_beginning and token == term.tokens[-1]): term for term in wanted for token in term.tokens}
    return [(token, term) for (token, _), term in sorted(found.items(), key=lambda item: item[0][1])]


def _written(token: str, term: Term) -> str:
    """A word as PostgreSQL writes it, as a regular expression."""
    if not (term.is_beginning and token == term.tokens[-1]):
        return re.escape(_quoted(token))
    return re.escape(_quoted(token)[:-1]) + r"(?:[^'\\]|''|\\\\)*'"


def _places(pattern: re.Pattern[str], lexemes: str) -> dict[str, list[int]]:
    found = {}
    for match in pattern.finditer(lexemes):
        word, places = (part for part in match.groups() if part is not None)
        found[word[1:-1].replace("''", "'").replace("\\\\", "\\")] = list(map(int, places.split(",")))
    return found


def _ranked(
    found: Sequence[_Candidate],
    wanted: Sequence[Term],
    frequencies: Mapping[str, int],
    k: int,
    rows: int,
    average: float,
) -> Scored:
    counted = (
        (frequencies.get(term.query, 0), [term.count(row.places) for row in found])
        for term in wanted
        if term.query is not None
    )
    return rank([row.key for row in found], [row.words for row in found], counted, k, rows, average)


def _frequencies(asking: Asking, wanted: Sequence[Term], known: Remembered[str, int]) -> dict[str, int]:
    """In how many passages each term occurs, and each word of a phrase: by its `tsquery`."""
    queries: dict[str, None] = {}
    for term in wanted:
        if term.query is not None:
            queries.update(dict.fromkeys((term.query, *map(_quoted, term.tokens))))
    found = {query: known.get(query) for query in queries}
    unknown = [query for query, count in found.items() if count is None]
    if unknown:
        counts = ", ".join(["(SELECT count(*) FROM chunks WHERE lexemes @@ %s::tsquery)"] * len(unknown))
        (row,) = asking.rows(f"SELECT {counts}", tuple(unknown))
        for query, count in zip(unknown, row, strict=True):
            found[query] = count
            known.put(query, count)
    return {query: count for query, count in found.items() if count is not None}
