"""Ranking by words over postings files, with FTS5 for what no file has: new passages, phrases, and beginnings of words.

The scores are FTS5's own, to the last digits: both use the whole library's statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stackroom.backend import Scored, TextStatistics
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import maxscore, okapi, tokenizer
from stackroom.storage.words.maxscore import GivenTerm, WordTerm
from stackroom.storage.words.postings import BITS, BLOCK, Postings, Word
from stackroom.storage.words.tokenizer import TextQuery

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_FEWEST = 16
"""Where a scope leaves less than one in so many of a file's passages, those are looked up, and no other is looked at."""
_REMEMBERED = 10_000
"""Words whose number of living passages a file remembers."""

_COUNT = "stackroom_count"


@dataclass(slots=True)
class File:
    """A postings file as one version of the library sees it: which of its passages are still there; None where all are."""

    postings: Postings
    alive: Mask | None
    _dead: NDArray[np.int64] = field(init=False, repr=False)
    _frequencies: dict[str, int] = field(default_factory=dict, repr=False)
    _behind: tuple[NDArray[np.int64], NDArray[np.int64]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._dead = np.empty(0, dtype=np.int64) if self.alive is None else np.flatnonzero(~self.alive)

    def frequency(self, token: str, word: Word | None) -> int:
        """In how many passages that are still there a word occurs."""
        if word is None or self.alive is None:
            return 0 if word is None else word.n
        if token not in self._frequencies:
            if len(self._frequencies) >= _REMEMBERED:
                self._frequencies.clear()
            self._frequencies[token] = word.n - int(np.count_nonzero(word.counts_of(self._dead)))
        return self._frequencies[token]

    def behind(self, connection: Connection) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys, ascending, and lengths of the passages behind it, as FTS5 keeps them."""
        if self._behind is None:
            rows = connection.rows("SELECT id, sz FROM words_docsize WHERE id >= ? ORDER BY id", (self.postings.end,))
            keys = np.array([key for key, _ in rows], dtype=np.int64)
            self._behind = keys, np.array([_varints(size)[0] for _, size in rows], dtype=np.int64)
        return self._behind


@dataclass(frozen=True, slots=True)
class _Term:
    """A term of the query. `token` is its word as the index has it; None for what only FTS5 can look up."""

    text: str
    token: str | None


@dataclass(frozen=True, slots=True)
class _Alive:
    """Passages that are still there."""

    alive: Mask

    def numbers(self) -> None:
        return None

    def flags(self, block: int) -> Mask:
        return self.alive[block << BITS :][:BLOCK]

    def has(self, numbers: NDArray[np.int64]) -> Mask:
        return self.alive[numbers]


@dataclass(frozen=True, slots=True)
class _Allowed:
    """Passages that a scope leaves; flags are made for the blocks that are asked for, since a million take longer than the search."""

    postings: Postings
    allowed: KeySet

    def numbers(self) -> NDArray[np.int64] | None:
        return self.postings.few_among(self.allowed, len(self.postings.keys) // _FEWEST)

    def flags(self, block: int) -> Mask:
        return self.postings.among_block(self.allowed, block)

    def has(self, numbers: NDArray[np.int64]) -> Mask:
        return self.allowed.contains(self.postings.keys[numbers])


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


_NO_EXTRA = _Extra(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))


def matching(
    connection: Connection, files: Sequence[File], query: TextQuery, k: int, allowed: KeySet | None, live: KeySet
) -> tuple[Scored, TextStatistics]:
    """The `k` best passages among the allowed ones (None: all), and the statistics of the query.

    `files` are neighbours from the first passage on, `live` are all passages. Raises ValueError where a file is not what was written.
    """
    chunks = live.count
    rows, total = _totals(connection)
    if not query.terms or k <= 0 or not rows or not total:
        return _NOTHING, tokenizer.statistics(connection, query, chunks)
    terms = [_Term(text, token) for text, token in zip(query.terms, _tokens(connection, query.terms), strict=True)]
    plain = [term for term in terms if term.token is not None]
    average = total / rows
    tail = _tail(connection, plain, files[-1], live)
    extra = _looked_up(connection, [term for term in terms if term.token is None])
    found = [[file.postings.word(term.token or "") for term in plain] for file in files]
    frequencies = [
        sum(file.frequency(term.token or "", file_words[number]) for file, file_words in zip(files, found, strict=True))
        + (int(np.count_nonzero(tail.counts[:, number])) if len(tail.keys) else 0)
        for number, term in enumerate(plain)
    ]
    weights = [okapi.weight(rows, frequency) for frequency in frequencies]
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


def _tokens(connection: Connection, texts: Sequence[str]) -> list[str | None]:
    """The word of each term as the index has it; None where it is several, or the beginning of one."""
    each = tokenizer.stems(connection, texts)
    return [
        tokens[0] if len(tokens) == 1 and not text.endswith("*") else None
        for text, tokens in zip(texts, each, strict=True)
    ]


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
    wanted: maxscore.Wanted | None = None
    if allowed is not None:
        wanted = _Allowed(postings, allowed)
    elif file.alive is not None:
        wanted = _Alive(file.alive)
    norms = postings.norms(average)
    # Bounds were taken at the file's own average: a passage is damped less where the library's is greater.
    looser = max(average / postings.average, 1.0)
    terms: list[maxscore.Term] = [
        WordTerm(word, weight, weight * min(word.bound * looser, okapi.MOST), norms)
        for word, weight in zip(found, weights, strict=True)
        if word is not None
    ]
    given = _given(postings, extra, wanted)
    if given is not None:
        terms.append(given)
    try:
        best = maxscore.best(terms, postings.blocks, norms.shape[1], k, wanted)
    except IndexError as error:
        raise ValueError("damaged postings") from error
    keys = postings.keys[best]
    exact = extra.of(keys)
    damping = okapi.norms(postings.lengths[best].astype(np.float64), average)
    for word, weight in zip(found, weights, strict=True):
        if word is not None:
            exact += weight * okapi.saturated(word.counts_of(best).astype(np.float64), damping)
    return Scored(keys, exact)


def _given(postings: Postings, extra: _Extra, wanted: maxscore.Wanted | None) -> GivenTerm | None:
    """What FTS5 has looked up, as far as it is in this file and wanted."""
    if not len(extra.keys) or not len(postings.keys):
        return None
    at = np.minimum(np.searchsorted(postings.keys, extra.keys), len(postings.keys) - 1)
    here = postings.keys[at] == extra.keys
    if wanted is not None:
        here &= wanted.has(at)
    at, scores = at[here], extra.scores[here]
    return GivenTerm(at, scores, float(scores.max())) if len(at) else None


def _of_tail(
    tail: _Tail, weights: Sequence[float], average: float, extra: _Extra, first: int, allowed: KeySet | None
) -> Scored:
    late = extra.keys[extra.keys >= first]
    if not len(late) and not len(tail.keys):
        return _NOTHING
    keys = np.union1d(tail.keys, late)
    scores = extra.of(keys)
    at = np.searchsorted(keys, tail.keys)
    damping = okapi.norms(tail.lengths.astype(np.float64), average)
    for number, weight in enumerate(weights):
        scores[at] += weight * okapi.saturated(tail.counts[:, number].astype(np.float64), damping)
    keep = np.ones(len(keys), dtype=np.bool_) if allowed is None else allowed.contains(keys)
    return Scored(keys[keep], scores[keep])


def _tail(connection: Connection, terms: Sequence[_Term], last: File, live: KeySet) -> _Tail:
    first = last.postings.end
    # Also where FTS5 would find nothing: it walks over all that is before.
    if not terms or live.end <= first:
        none = np.empty(0, dtype=np.int64)
        return _Tail(none, none, np.empty((0, len(terms)), dtype=np.int64))
    if not connection.counts_words:
        connection.register_fts5_function(_COUNT, _count)
        connection.counts_words = True
    # Term by term, since a function that tells the terms of a passage apart takes four times as long.
    each = [
        connection.rows(
            f"SELECT rowid, {_COUNT}(words) FROM words WHERE words MATCH ? AND rowid >= ?",
            (tokenizer.any_of([term.text]), first),
        )
        for term in terms
    ]
    keys = np.unique(np.fromiter((key for rows in each for key, _ in rows), dtype=np.int64))
    counts = np.zeros((len(keys), len(terms)), dtype=np.int64)
    for number, rows in enumerate(each):
        if rows:
            told = np.array(rows, dtype=np.int64)
            counts[np.searchsorted(keys, told[:, 0]), number] = told[:, 1]
    every, lengths = last.behind(connection)
    at = np.searchsorted(every, keys)
    if len(keys) and at[-1] >= len(every):
        raise ValueError("a passage without a length")
    return _Tail(keys, lengths[at], counts)


def _count(api: Any, *_: Any) -> int:
    """For FTS5: how often the only term of the query occurs in a passage."""
    return int(api.inst_count)


def _varints(data: bytes) -> list[int]:
    """FTS5's integers of variable length, the highest bits first."""
    values, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            values.append(value)
            value = 0
    return values


def _looked_up(connection: Connection, terms: Sequence[_Term]) -> _Extra:
    total: dict[int, float] = {}
    for term in terms:
        for key, rank in connection.rows(
            "SELECT rowid, rank FROM words WHERE words MATCH ?", (tokenizer.any_of([term.text]),)
        ):
            total[key] = total.get(key, 0.0) - rank
    if not total:
        return _NO_EXTRA
    keys = np.array(sorted(total), dtype=np.int64)
    return _Extra(keys, np.array([total[key] for key in keys.tolist()], dtype=np.float64))


def _totals(connection: Connection) -> tuple[int, int]:
    """Passages and words in the index, as FTS5 keeps them in row 1 of its data."""
    values = _varints(connection.value("SELECT block FROM words_data WHERE id = 1") or b"")
    return (values[0], values[1]) if len(values) > 1 else (0, 0)
