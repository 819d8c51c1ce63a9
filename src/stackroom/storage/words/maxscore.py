"""The best passages of a postings file without scoring every passage that holds a word of the query: MaxScore, exactly.

Terms are added up by how much one can add at most. Once the `k` best so far have more than all remaining terms together can give, no new
passage gets among them, and the remaining terms are only looked up for those that are found already (Turtle and Flood, "Query evaluation:
strategies and optimizations", 1995, https://doi.org/10.1016/0306-4573(95)00020-H). What is left out can't be among the best: the answer is that
of scoring everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stackroom.storage.words import okapi
from stackroom.storage.words.postings import BITS, BLOCK, GROUP, Word, each_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]
    Low = NDArray[np.uint16]

SLACK = 1e-4
"""More than float32 loses on the way to a score, relative to it."""

_LOOKUP = 8
"""Looking a passage up in a term takes as long as adding so many of the term's passages."""


class Term(Protocol):
    """What one part of a query adds to the scores of passages, block by block."""

    @property
    def bound(self) -> float:
        """the most that it adds to any passage"""

    def size(self, block: int) -> int:
        """How many passages it has there."""

    def add(self, block: int, scores: Scores) -> None:
        """Add to the scores of all passages of a block."""

    def of(self, block: int, numbers: Low) -> Scores:
        """What it adds to these passages of a block, ascending."""


@dataclass(slots=True)
class WordTerm:
    """A word; `norms` are those of the file's passages."""

    word: Word
    weight: float
    bound: float
    norms: Scores

    def size(self, block: int) -> int:
        return self.word.size(block)

    def add(self, block: int, scores: Scores) -> None:
        numbers, counts = self.word.numbers(block), self.word.counts_in(block)
        if numbers is None:
            scores[: len(counts)] += self._weighed(counts, self.norms[block, : len(counts)])
        elif len(numbers):
            at = numbers.astype(np.intp)
            scores[at] += self._weighed(counts, self.norms[block].take(at))

    def of(self, block: int, numbers: Low) -> Scores:
        counts = self.word.counts_of(block, numbers)
        return self._weighed(counts, self.norms[block].take(numbers))

    def _weighed(self, counts: Scores, norms: Scores) -> Scores:
        found: Scores = counts + norms
        np.divide(counts, found, out=found)
        found *= np.float32(self.weight * okapi.MOST)
        return found


@dataclass(slots=True)
class GivenTerm:
    """Scores that are known already: numbers of passages in the file, ascending, and what each gets."""

    numbers: NDArray[np.int64]
    scores: NDArray[np.float64]
    bound: float

    def size(self, block: int) -> int:
        start, end = self._range(block)
        return end - start

    def add(self, block: int, scores: Scores) -> None:
        start, end = self._range(block)
        scores[self.numbers[start:end] & (BLOCK - 1)] += self.scores[start:end].astype(np.float32)

    def of(self, block: int, numbers: Low) -> Scores:
        start, end = self._range(block)
        found = np.zeros(len(numbers), dtype=np.float32)
        if start < end:
            own = (self.numbers[start:end] & (BLOCK - 1)).astype(np.uint16)
            at = np.minimum(own.searchsorted(numbers), end - start - 1)
            here = own[at] == numbers
            found[here] = self.scores[start:end][at[here]]
        return found

    def _range(self, block: int) -> tuple[int, int]:
        start, end = np.searchsorted(self.numbers, [block << BITS, (block + 1) << BITS]).tolist()
        return start, end


class _Best:
    """The best passages so far, those that equal the last of them included, and the score that a passage needs to be one."""

    def __init__(self, k: int) -> None:
        self.needed = 0.0
        self._k = k
        self._numbers: list[NDArray[np.int64]] = []
        self._scores: list[Scores] = []
        self._n = 0

    def raise_to(self, scores: Scores) -> None:
        """`scores` are of distinct passages, or less than theirs: the k-th of them is a bound."""
        if len(scores) >= self._k:
            bound = float(np.partition(scores, len(scores) - self._k)[len(scores) - self._k])
            self.needed = max(self.needed, bound * (1 - SLACK))

    def add(self, numbers: NDArray[np.int64], scores: Scores) -> None:
        if not len(numbers):
            return
        self._numbers.append(numbers)
        self._scores.append(scores)
        self._n += len(numbers)
        if self._n > self._k:
            every = np.concatenate(self._scores)
            self.raise_to(every)
            keep = every >= self.needed
            self._numbers = [np.concatenate(self._numbers)[keep]]
            self._scores = [every[keep]]
            self._n = len(self._scores[0])

    def numbers(self) -> NDArray[np.int64]:
        return np.concatenate(self._numbers) if self._numbers else np.empty(0, dtype=np.int64)


def best(
    terms: Sequence[Term], blocks: int, size: int, k: int, wanted: NDArray[np.bool_] | NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """The `k` best passages and those that may equal the last of them, ascending by number; none that has no term.

    A file has so many `blocks`, with room for `size` passages in each. `wanted` says which passages there are: a flag for each of the file's,
    or their numbers (int64, ascending); None: all.
    """
    order = sorted((term for term in terms if term.bound > 0), key=lambda term: -term.bound)
    # What the terms from each one on can add.
    rest = [*accumulate((term.bound for term in reversed(order)), initial=0.0)][::-1]
    found = _Best(k)
    if wanted is not None and wanted.dtype != np.bool_:
        for block, low in each_block(wanted.astype(np.int64, copy=False)):
            _look_up(order, rest, 0, block, low, np.zeros(len(low), dtype=np.float32), found)
    else:
        flags = None if wanted is None else wanted.view(np.bool_)
        for block in range(blocks):
            _search(order, rest, block, size, None if flags is None else flags[block << BITS :][:BLOCK], found)
    return np.sort(found.numbers())


def _search(
    order: Sequence[Term], rest: Sequence[float], block: int, size: int, wanted: NDArray[np.bool_] | None, found: _Best
) -> None:
    """One block: terms are added up until what is left of them brings no new passage."""
    if rest[0] < found.needed:
        return
    scores = np.zeros(size, dtype=np.float32)
    empty, at = True, 0
    for at, term in enumerate(order):
        if rest[at] < found.needed:
            break
        if term.size(block):
            term.add(block, scores)
            empty = False
            if not block:
                # The best of a thousand parts of the block: the k-th of them is a bound, and close. Later blocks find one that is good.
                _keep(scores, wanted)
                found.raise_to(scores.reshape(-1, GROUP).max(axis=0))
    else:
        at = len(order)
    if empty:
        return
    _keep(scores, wanted)
    # A passage is worth a look that reaches the bound with all that is left.
    least = found.needed - rest[at]
    low = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    for left in range(at, len(order)):
        if len(low) * _LOOKUP < order[left].size(block):
            _look_up(order, rest, left, block, low.astype(np.uint16), scores[low], found)
            return
        order[left].add(block, scores)
        low = low[scores[low] + rest[left + 1] >= found.needed]
    found.add(low + (block << BITS), scores[low])


def _keep(scores: Scores, wanted: NDArray[np.bool_] | None) -> None:
    if wanted is not None:
        scores[: len(wanted)] *= wanted
        scores[len(wanted) :] = 0


def _look_up(
    order: Sequence[Term], rest: Sequence[float], at: int, block: int, low: Low, scores: Scores, found: _Best
) -> None:
    """Add the terms from one on to the scores of these passages, and drop those that have fallen behind."""
    for left in range(at, len(order)):
        scores = scores + order[left].of(block, low)
        keep = scores + np.float32(rest[left + 1]) >= np.float32(found.needed)
        if not keep.all():
            low, scores = low[keep], scores[keep]
            if not len(low):
                return
    there = scores > 0
    found.add(low[there].astype(np.int64) + (block << BITS), scores[there])
