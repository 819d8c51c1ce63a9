"""Ranking by words over postings files, with FTS5 for what no file has: new passages, phrases, and beginnings of words.

The scores are FTS5's own (Okapi BM25 with k1 = 1.2 and b = 0.75, and its floor for words that most passages hold), to the last digits:
both use the whole library's statistics.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stackroom.backend import Scored, TextStatistics
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import tokenizer
from stackroom.storage.words.postings import Postings, Word
from stackroom.storage.words.tokenizer import TextQuery

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_K1, _B = 1.2, 0.75
_LEAST_WEIGHT = 1e-6
_SLACK = 1e-4
"""More than float32 loses on the way to a score, relative to it."""

_COUNTS = "stackroom_counts"


class File(NamedTuple):
    """A postings file, and which of its passages are still there; None where all are."""

    postings: Postings
    alive: Mask | None


@dataclass(frozen=True, slots=True)
class _Term:
    """A term of the query. `token` is its word as the index has it; None for what only FTS5 can look up."""

    text: str
    token: str | None


class _Tail(NamedTuple):
    """Passages behind the last file: keys, lengths, and how often each plain term occurs (one row a passage)."""

    keys: NDArray[np.int64]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]


class _Extra(NamedTuple):
    """What terms that only FTS5 can look up add to scores; keys in ascending order."""

    keys: NDArray[np.int64]
    scores: NDArray[np.float64]

    def of(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        if not len(self.keys):
            return np.zeros(len(keys))
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.scores[at], 0.0)


def matching(
    connection: Connection, files: Sequence[File], query: TextQuery, k: int, allowed: KeySet | None, live: KeySet
) -> tuple[Scored, TextStatistics]:
    """The `k` best passages among the allowed ones (None: all), and the statistics of the query.

    `files` are neighbours from the first passage on, `live` are all passages. Raises ValueError where a file is not what was written.
    """
    chunks = live.count
    rows, total = _totals(connection)
    if not query.terms or k <= 0 or not rows:
        return _NOTHING, tokenizer.statistics(connection, query, chunks)
    terms = [_Term(text, _token(connection, text)) for text in query.terms]
    plain = [term for term in terms if term.token is not None]
    average = total / rows
    tail = _tail(connection, plain, files[-1].postings.end, live)
    extra = _looked_up(connection, [term for term in terms if term.token is None])
    found = [[file.postings.word(term.token or "") for term in plain] for file in files]
    frequencies = [
        sum(_alive(file, file_words[number]) for file, file_words in zip(files, found, strict=True))
        + int(np.count_nonzero(tail.counts[:, number]))
        for number in range(len(plain))
    ]
    weights = [_weight(rows, frequency) for frequency in frequencies]
    parts = [
        _best_of_file(file, file_words, weights, average, extra, k, allowed)
        for file, file_words in zip(files, found, strict=True)
    ]
    parts.append(_of_tail(tail, weights, average, extra, files[-1].postings.end, allowed))
    keys = np.concatenate([part.keys for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.lexsort((keys, -scores))[:k]
    known = {term.text: frequency for term, frequency in zip(plain, frequencies, strict=True)}
    return Scored(keys[order], scores[order]), tokenizer.statistics(connection, query, chunks, known)


_NOTHING = Scored(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))


def _token(connection: Connection, text: str) -> str | None:
    if text.endswith("*"):
        return None
    tokens = tokenizer.stem(connection, text)
    return tokens[0] if len(tokens) == 1 else None


def _weight(rows: int, frequency: int) -> float:
    """How much a word says: FTS5's inverse document frequency."""
    weight = math.log((rows - frequency + 0.5) / (frequency + 0.5))
    return weight if weight > 0 else _LEAST_WEIGHT


def _saturated(counts: NDArray[Any], lengths: NDArray[Any], average: float) -> NDArray[Any]:
    return counts * (_K1 + 1) / (counts + _K1 * (1 - _B + _B * lengths / average))


def _alive(file: File, word: Word | None) -> int:
    if word is None:
        return 0
    return len(word.passages) if file.alive is None else int(np.count_nonzero(file.alive[word.passages]))


def _best_of_file(
    file: File,
    found: Sequence[Word | None],
    weights: Sequence[float],
    average: float,
    extra: _Extra,
    k: int,
    allowed: KeySet | None,
) -> Scored:
    """The best `k` of a file and those that equal the last one: found in float32, scored in float64."""
    postings = file.postings
    wanted = file.alive if allowed is None else postings.among(allowed)
    scores = np.zeros(len(postings.keys), dtype=np.float32)
    narrowed: list[Word | None] = []
    for word, weight in zip(found, weights, strict=True):
        if word is not None and wanted is not None:
            keep = wanted[word.passages]
            word = Word(word.passages[keep], word.counts[keep])
        narrowed.append(word)
        if word is not None and len(word.passages):
            lengths = postings.lengths[word.passages].astype(np.float32)
            scores[word.passages] += np.float32(weight) * _saturated(word.counts, lengths, average)
    if len(extra.keys) and len(postings.keys):
        at = np.minimum(np.searchsorted(postings.keys, extra.keys), len(postings.keys) - 1)
        here = postings.keys[at] == extra.keys
        if wanted is not None:
            here &= wanted[at]
        scores[at[here]] += extra.scores[here].astype(np.float32)
    best = np.flatnonzero(scores > 0)  # much quicker than of the scores themselves
    if len(best) > k:
        values = scores[best]
        last = np.partition(values, len(values) - k)[len(values) - k]
        best = best[values >= last * (1 - _SLACK)]
    exact = extra.of(postings.keys[best])
    lengths = postings.lengths[best].astype(np.float64)
    for word, weight in zip(narrowed, weights, strict=True):
        if word is not None and len(word.passages):
            at = np.minimum(np.searchsorted(word.passages, best), len(word.passages) - 1)
            counts = np.where(word.passages[at] == best, word.counts[at], 0.0).astype(np.float64)
            exact += weight * _saturated(counts, lengths, average)
    return Scored(postings.keys[best], exact)


def _of_tail(
    tail: _Tail, weights: Sequence[float], average: float, extra: _Extra, first: int, allowed: KeySet | None
) -> Scored:
    late = extra.keys[extra.keys >= first]
    keys = np.union1d(tail.keys, late)
    scores = extra.of(keys)
    at = np.searchsorted(keys, tail.keys)
    for number, weight in enumerate(weights):
        scores[at] += weight * _saturated(tail.counts[:, number].astype(np.float64), tail.lengths, average)
    keep = np.ones(len(keys), dtype=np.bool_) if allowed is None else allowed.contains(keys)
    return Scored(keys[keep], scores[keep])


def _tail(connection: Connection, terms: Sequence[_Term], first: int, live: KeySet) -> _Tail:
    # Also where FTS5 would find nothing: it walks over all that is before.
    if not terms or not len(live.ranges) or int(live.ranges[-1, 1]) <= first:
        none = np.empty(0, dtype=np.int64)
        return _Tail(none, none, np.empty((0, len(terms)), dtype=np.int64))
    if not connection.counts_words:
        connection.register_fts5_function(_COUNTS, _counts)
        connection.counts_words = True
    rows = connection.rows(
        f"SELECT rowid, {_COUNTS}(words) FROM words WHERE words MATCH ? AND rowid >= ?",
        (tokenizer.any_of(term.text for term in terms), first),
    )
    told = np.frombuffer(b"".join(row[1] for row in rows), dtype=np.uintc).reshape(len(rows), len(terms) + 1)
    keys = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    return _Tail(keys, told[:, 0].astype(np.int64), told[:, 1:].astype(np.int64))


def _counts(api: Any, *_: Any) -> bytes:
    """For FTS5: a passage's length, and how often each term of the query occurs in it, as C's unsigned integers."""
    found = [api.column_size(0), *(len(api.phrase_locations(number)[0]) for number in range(api.phrase_count))]
    return array("I", found).tobytes()


def _looked_up(connection: Connection, terms: Sequence[_Term]) -> _Extra:
    total: dict[int, float] = {}
    for term in terms:
        for key, rank in connection.rows(
            "SELECT rowid, rank FROM words WHERE words MATCH ?", (tokenizer.any_of([term.text]),)
        ):
            total[key] = total.get(key, 0.0) - rank
    keys = np.array(sorted(total), dtype=np.int64)
    return _Extra(keys, np.array([total[key] for key in keys.tolist()], dtype=np.float64))


def _totals(connection: Connection) -> tuple[int, int]:
    """Passages and words in the index, as FTS5 keeps them: row 1 of its data, variable-length integers, the highest bits first."""
    data = connection.value("SELECT block FROM words_data WHERE id = 1") or b""
    values, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            values.append(value)
            value = 0
    return (values[0], values[1]) if len(values) > 1 else (0, 0)
