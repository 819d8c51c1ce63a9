"""Full text: the words that a local library has, as numbers, ranked by the same formula.

A database's own full text has other stems, and other ideas of Chinese; so a passage's words are made by the tokenizer of the local store.
A chunk carries its distinct words as numbers, how often each occurs, and a sparse vector of what they come to. The database finds candidates by
the inner product of these with the words of the query; those are scored by BM25 from the counts. Where no more than `CANDIDATES` passages hold a
word of the query, or where the database has no such search, all are scored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scored, TextStatistics
from stackroom.engines.terms import Term, rank, tokens_of, tokens_of_terms
from stackroom.engines.vectors import NOTHING
from stackroom.engines.versioned import conditions
from stackroom.engines.versioned.asking import Asking
from stackroom.engines.versioned.conditions import All, Among, Condition, Either, Not, among, both
from stackroom.engines.versioned.database import Row
from stackroom.engines.versioned.records import to_passage
from stackroom.engines.versioned.tables import dimension, term
from stackroom.storage.derived import Derived, Remembered
from stackroom.storage.words import okapi
from stackroom.storage.words.tokenizer import UNSPACED

if TYPE_CHECKING:
    from stackroom.storage.words.tokenizer import TextQuery

CANDIDATES = 1_000
"""Passages that are scored by BM25, the best by what their words come to in a library of passages of `_USUAL` words."""
_USUAL = 150

_REMEMBERED = 10_000
"""Words and phrases of queries whose frequencies in a version are remembered."""

_COUNTED = ("id", "key", "words", "terms", "counts")
_READ_AT_ONCE = 1_000


def indexed(text: str, most: int | None) -> Row:
    """The fields of a chunk that say its words, the `most` frequent ones."""
    tokens = tokens_of(text)
    found: Counter[int] = Counter()
    for token in tokens:
        found[term(token)] += 1
        if UNSPACED.match(token):
            # One character is looked up as the beginning of pairs.
            found[_beginning(token)] += 1
    kept = found.most_common(most)
    counts = np.array([count for _, count in kept], dtype=np.float64)
    weights = okapi.saturated(counts, okapi.norms(np.array([len(tokens)], dtype=np.float64), _USUAL)).tolist()
    vector: dict[int, float] = {}
    for (known, _), weight in zip(kept, weights, strict=True):
        vector[dimension(known)] = vector.get(dimension(known), 0.0) + weight
    return {
        "words": len(tokens),
        "terms": [known for known, _ in kept],
        "counts": [count for _, count in kept],
        "sparse": vector,
    }


def _beginning(token: str) -> int:
    return term(token[:1] + "*")


class _Wanted:
    """A term as it is looked up."""

    def __init__(self, parsed: Term) -> None:
        self.parsed = parsed
        tokens = parsed.tokens
        self.numbers = [term(token) for token in tokens]
        if parsed.is_beginning and tokens:
            self.numbers[-1] = _beginning(tokens[-1])
        self.is_counted = len(tokens) == 1 and (not parsed.is_beginning or len(tokens[0]) == 1)
        """how often a passage has it stands in its counts; of others, its words are looked at one after the other"""

    @property
    def holds(self) -> Condition:
        """The condition that a passage has all of its words."""
        return both(*map(_has, self.numbers))


def _has(number: int) -> Condition:
    return Among("terms", (number,))


def _wanted(texts: Sequence[str]) -> list[_Wanted]:
    return [_Wanted(Term(text, tokens)) for text, tokens in zip(texts, tokens_of_terms(texts), strict=True)]


def without(asking: Asking, texts: Sequence[str]) -> list[Condition]:
    """The conditions that a passage holds none of these words and phrases."""
    return [Not(held) for held in holding(asking, texts) if held != conditions.NOTHING]


def holding(asking: Asking, texts: Sequence[str]) -> list[Condition]:
    """The conditions that a passage holds each of these words and phrases."""
    return [
        wanted.holds
        if wanted.is_counted
        else among("id", (row["id"] for row, _ in _looked_at(asking, [wanted], wanted.holds)))
        for wanted in _wanted(texts)
        if wanted.numbers
    ]


def _frequencies() -> Remembered[Condition | str, int]:
    return Remembered(_REMEMBERED)


def matching(
    asking: Asking, derived: Derived, query: TextQuery, k: int, condition: Condition
) -> tuple[Scored, TextStatistics]:
    """The `k` best passages that meet the condition by BM25, and the statistics of the query."""
    state = asking.state
    wanted = _wanted(query.terms)
    known = derived.get("frequencies", _frequencies)

    def frequency(holds: Condition) -> int:
        return known.get_or(holds, lambda: asking.count(state.chunk_table, holds))

    statistics = TextStatistics(
        query.terms,
        # A phrase counts as its rarest word.
        tuple(min((frequency(_has(term(token))) for token in one.parsed.tokens), default=0) for one in wanted),
        state.chunks,
    )
    asked = [one for one in wanted if one.numbers]
    if not asked or k <= 0 or not state.chunks or not state.words:
        return NOTHING, statistics
    condition = both(condition, *without(asking, query.excluded))

    def weight(one: _Wanted) -> int:
        if one.is_counted:
            return frequency(one.holds)
        return known.get_or(f"phrase {one.parsed.text}", lambda: len(_looked_at(asking, [one], one.holds)))

    frequencies = [weight(one) for one in asked]
    finds = asking.database.finds_words
    if not finds or not all(one.is_counted for one in asked):
        # Passages that hold some words of a phrase, and neither all of them nor another term, are none.
        condition = both(condition, _one_of(asked))
    if finds:
        most = min(max(CANDIDATES, k), asking.database.bounds.rows)
        found = asking.heaviest(_vector(asked, frequencies, state.chunks), most, condition, _COUNTED)
    else:
        found = asking.rows(state.chunk_table, condition, _COUNTED)
    columns = _columns(asking, asked, found)
    hits = [at for at in range(len(found)) if any(counts[at] for counts in columns)]
    counted = [(times, [counts[at] for at in hits]) for times, counts in zip(frequencies, columns, strict=True)]
    keys, lengths = [found[at]["key"] for at in hits], [found[at]["words"] for at in hits]
    return rank(keys, lengths, counted, k, state.chunks, state.words / state.chunks), statistics


def _one_of(wanted: Sequence[_Wanted]) -> Condition:
    return Either(tuple(one.holds for one in wanted))


def _vector(asked: Sequence[_Wanted], frequencies: Sequence[int], chunks: int) -> dict[int, float]:
    """The query for candidates: what each word says. The words of a phrase find its passages, and share what it says."""
    found: dict[int, float] = defaultdict(float)
    for one, frequency in zip(asked, frequencies, strict=True):
        for known in one.numbers:
            found[dimension(known)] += okapi.weight(chunks, frequency) / len(one.numbers)
    return dict(found)


def _columns(asking: Asking, asked: Sequence[_Wanted], found: Sequence[Row]) -> list[list[int]]:
    """For each term, how often each of these passages has it."""
    phrases = [one for one in asked if not one.is_counted]
    read = {row["id"]: counts for row, counts in _count(asking, phrases, found)} if phrases else {}
    return [
        [_count_of(row, one.numbers[0]) for row in found]
        if one.is_counted
        else [read[row["id"]].get(phrases.index(one), 0) for row in found]
        for one in asked
    ]


def _count_of(row: Row, known: int) -> int:
    try:
        return int(row["counts"][list(row["terms"]).index(known)])
    except ValueError:
        return 0


def _looked_at(asking: Asking, wanted: Sequence[_Wanted], condition: Condition) -> list[tuple[Row, dict[int, int]]]:
    """The passages that meet the condition and have one of these terms."""
    rows = asking.rows(asking.state.chunk_table, condition, ("id", "key"))
    return [(row, counts) for row, counts in _count(asking, wanted, rows) if counts]


def _count(asking: Asking, wanted: Sequence[_Wanted], rows: Iterable[Row]) -> list[tuple[Row, dict[int, int]]]:
    """How often each passage has each of these terms, by its place among them: by reading the passages that have all words of one."""
    listed = list(rows)
    known = {row["id"]: row for row in listed}
    found: dict[int, dict[int, int]] = {row["id"]: {} for row in listed}
    ids = list(known)
    holds = _one_of(wanted)
    for first in range(0, len(ids), _READ_AT_ONCE):
        part = among("id", ids[first : first + _READ_AT_ONCE])
        read = asking.rows(asking.state.chunk_table, All((part, holds)), ("id", "data", "pieces"))
        for row in asking.whole(read):
            places: dict[str, list[int]] = defaultdict(list)
            for place, token in enumerate(tokens_of(to_passage(row).text)):
                places[token].append(place)
            for at, one in enumerate(wanted):
                times = one.parsed.count(places)
                if times:
                    found[row["id"]][at] = times
    return [(known[id_], counts) for id_, counts in found.items()]
