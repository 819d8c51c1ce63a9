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
from stackroom.storage.words.postings import BITS, BLOCK, GROUP, Word

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]
    Numbers = NDArray[np.int64]

SLACK = 1e-4
"""More than float32 loses on the way to a score, relative to it."""

_LOOKUP = 8
"""Looking a passage up in a term takes as long as adding so many of the term's passages."""

_TOGETHER = 2048
"""Postings of a block, on average, up to which all blocks are searched together."""


class Term(Protocol):
    """What one part of a query adds to the scores of passages, block by block."""

    @property
    def bound(self) -> float:
        """the most that it adds to any passage"""

    def size(self, block: int) -> int:
        """How many passages it has there."""

    def add(self, block: int, scores: Scores) -> None:
        """Add to the scores of all passages of a block."""

    def all_from(self, block: int) -> tuple[Numbers, Scores] | None:
        """Its passages from a block on, ascending, and what it adds to each; None where it has them block by block only."""

    def of_all(self, numbers: Numbers) -> Scores:
        """What it adds to these passages of the file, ascending."""


class Wanted(Protocol):
    """Which passages may be found."""

    def numbers(self) -> Numbers | None:
        """All of them, ascending, where they are few."""

    def flags(self, block: int) -> NDArray[np.bool_]:
        """For each passage of a block."""

    def has(self, numbers: Numbers) -> NDArray[np.bool_]:
        """For each of these passages of the file, ascending."""


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

    def all_from(self, block: int) -> tuple[Numbers, Scores] | None:
        if self.word.passages is None:
            return None
        numbers, counts = self.word.all_from(block)
        return numbers, self._weighed(counts, self.norms.reshape(-1).take(numbers))

    def of_all(self, numbers: Numbers) -> Scores:
        return self._weighed(self.word.counts_of(numbers), self.norms.reshape(-1).take(numbers))

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

    def all_from(self, block: int) -> tuple[Numbers, Scores] | None:
        start, _ = self._range(block)
        return self.numbers[start:], self.scores[start:].astype(np.float32)

    def of_all(self, numbers: Numbers) -> Scores:
        at = np.minimum(self.numbers.searchsorted(numbers), len(self.numbers) - 1)
        return np.where(self.numbers[at] == numbers, self.scores[at], 0).astype(np.float32)

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
        # Others raise nothing; and most are 0, which a partition among equals takes long for.
        above = scores[scores > self.needed]
        if len(above) >= self._k:
            bound = float(np.partition(above, len(above) - self._k)[len(above) - self._k])
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


def best(terms: Sequence[Term], blocks: int, size: int, k: int, wanted: Wanted | None) -> Numbers:
    """The `k` best passages and those that may equal the last of them, ascending by number; none that has no term.

    A file has so many `blocks`, with room for `size` passages in each. `wanted` None: all passages.
    """
    order = sorted((term for term in terms if term.bound > 0), key=lambda term: -term.bound)
    # What the terms from each one on can add.
    rest = [*accumulate((term.bound for term in reversed(order)), initial=0.0)][::-1]
    found = _Best(k)
    few = None if wanted is None else wanted.numbers()
    if few is not None:
        _look_up(order, rest, 0, few, np.zeros(len(few), dtype=np.float32), found)
    else:
        scores = np.zeros(size, dtype=np.float32)
        for block in range(blocks):
            if block and _rest_of_file(order, rest, block, blocks, scores, wanted, found):
                break
            _search(order, rest, block, scores, wanted, found)
    return np.sort(found.numbers())


def _search(
    order: Sequence[Term], rest: Sequence[float], block: int, scores: Scores, wanted: Wanted | None, found: _Best
) -> None:
    """One block: terms are added up until what is left of them brings no new passage. `scores` is room for it."""
    flags = None if wanted is None else wanted.flags(block)
    scores.fill(0)
    at = 0
    for at, term in enumerate(order):
        if rest[at] < found.needed:
            break
        if term.size(block):
            term.add(block, scores)
            if not block:
                # The best of a thousand parts of the block: the k-th of them is a bound, and close. Later blocks find one that is good.
                _keep(scores, flags)
                found.raise_to(scores.reshape(-1, GROUP).max(axis=0))
    else:
        at = len(order)
    _keep(scores, flags)
    # A passage is worth a look that reaches the bound with all that is left.
    least = found.needed - rest[at]
    low = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    for left in range(at, len(order)):
        if len(low) * _LOOKUP < order[left].size(block):
            _look_up(order, rest, left, low + (block << BITS), scores[low], found)
            return
        order[left].add(block, scores)
        low = low[scores[low] + rest[left + 1] >= found.needed]
    found.add(low + (block << BITS), scores[low])


def _keep(scores: Scores, flags: NDArray[np.bool_] | None) -> None:
    if flags is not None:
        scores[: len(flags)] *= flags
        scores[len(flags) :] = 0


def _rest_of_file(
    order: Sequence[Term],
    rest: Sequence[float],
    block: int,
    blocks: int,
    scores: Scores,
    wanted: Wanted | None,
    found: _Best,
) -> bool:
    """All blocks from one on together, where the terms that can bring a new passage have few; False: too many."""
    at = next((at for at, left in enumerate(rest) if left < found.needed), len(order))
    total = sum(term.size(later) for term in order[:at] for later in range(block, blocks))
    if total > _TOGETHER * (blocks - block):
        return False
    listed = []
    for term in order[:at]:
        own = term.all_from(block)
        if own is None:
            return False
        if len(own[0]):
            listed.append(own)
    if not listed:
        return True
    least = found.needed - rest[at]
    numbers, sums = listed[0] if len(listed) == 1 else _sums(listed, block, blocks, scores)
    keep = sums >= least if least > 0 else sums > 0
    numbers, sums = numbers[keep], sums[keep]
    if wanted is not None:
        keep = wanted.has(numbers)
        numbers, sums = numbers[keep], sums[keep]
    _look_up(order, rest, at, numbers, sums, found)
    return True


def _sums(listed: Sequence[tuple[Numbers, Scores]], block: int, blocks: int, scores: Scores) -> tuple[Numbers, Scores]:
    """Each passage of several lists once, ascending, and the sum of what it has in them."""
    scores.fill(0)
    edges = [np.searchsorted(numbers, np.arange(block, blocks + 1) << BITS).tolist() for numbers, _ in listed]
    found, sums = [], []
    for number in range(blocks - block):
        parts = [
            (numbers[ends[number] : ends[number + 1]] & (BLOCK - 1), added[ends[number] : ends[number + 1]])
            for (numbers, added), ends in zip(listed, edges, strict=True)
        ]
        for low, added in parts:
            scores[low] += added
        for low, _ in parts:
            # Who was met before has 0 left.
            own = scores[low]
            scores[low] = 0
            there = own > 0
            found.append(low[there] + ((block + number) << BITS))
            sums.append(own[there])
    every = np.concatenate(found)
    order = np.argsort(every)
    return every[order], np.concatenate(sums)[order]


def _look_up(
    order: Sequence[Term], rest: Sequence[float], at: int, numbers: Numbers, scores: Scores, found: _Best
) -> None:
    """Add the terms from one on to the scores of these passages, and drop those that have fallen behind."""
    for left in range(at, len(order)):
        if not len(numbers):
            return
        scores = scores + order[left].of_all(numbers)
        keep = scores + np.float32(rest[left + 1]) >= np.float32(found.needed)
        if not keep.all():
            numbers, scores = numbers[keep], scores[keep]
    there = scores > 0
    found.add(numbers[there], scores[there])
