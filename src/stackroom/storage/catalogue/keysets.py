"""Sets of chunk keys: every filter, source and active set is one of these.

Sources are few ranges. What a filter leaves of a million chunks may be hundreds of thousands, which take a byte a key as marks, and a
twentieth of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stackroom.errors import DamagedError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

_MARKS_A_RANGE = 64
"""Marks that are gone through in the time that half a range takes."""

_FARTHER = 4
"""Sets are not marked over more than so many times what was marked already."""

_FEW = 64

_NO_MARKS = np.empty(0, dtype=np.bool_)


class KeySet:
    """An immutable set of int64 keys: as ranges, or as marks where the ranges would be many.

    `ranges` is int64 of shape (n, 2): [first, end), sorted, disjoint, and not touching.
    """

    __slots__ = ("_first", "_marks", "_ranges")

    def __init__(self, ranges: NDArray[np.int64]) -> None:
        self._ranges: NDArray[np.int64] | None = ranges
        self._marks = _NO_MARKS
        self._first = 0

    @classmethod
    def empty(cls) -> KeySet:
        return cls(np.empty((0, 2), dtype=np.int64))

    @classmethod
    def from_ranges(cls, ranges: NDArray[np.int64]) -> KeySet:
        """Ranges sorted by their first key; overlapping and touching ones are joined, empty ones dropped."""
        ranges = ranges[ranges[:, 1] > ranges[:, 0]]
        if len(ranges) < 2:
            return cls(ranges)
        reach = np.maximum.accumulate(ranges[:, 1])
        starts = np.concatenate([[True], ranges[1:, 0] > reach[:-1]])
        ends = np.concatenate([starts[1:], [True]])
        return cls(np.stack([ranges[starts, 0], reach[ends]], axis=1))

    @classmethod
    def from_keys(cls, keys: NDArray[np.int64]) -> KeySet:
        """Keys in any order, duplicates allowed."""
        if not len(keys):
            return cls.empty()
        keys = _distinct(keys.astype(np.int64, copy=False))
        breaks = np.flatnonzero(np.diff(keys) != 1)
        first = keys[np.concatenate([[0], breaks + 1])]
        last = keys[np.concatenate([breaks, [len(keys) - 1]])]
        return cls(np.stack([first, last + 1], axis=1))

    @classmethod
    def from_marks(cls, marks: NDArray[np.bool_], first: int) -> KeySet:
        """The keys `first + i` for which `marks[i]`; the array is the set's from here on."""
        changes = marks[1:] != marks[:-1]
        if int(np.count_nonzero(changes)) * _MARKS_A_RANGE > len(marks):
            made = cls.empty()
            made._first, made._marks, made._ranges = first, marks, None
            return made
        return cls(_ranges_of(marks, changes, first))

    @property
    def ranges(self) -> NDArray[np.int64]:
        if self._ranges is None:
            marks = self._marks
            self._ranges = _ranges_of(marks, marks[1:] != marks[:-1], self._first)
        return self._ranges

    @property
    def is_marked(self) -> bool:
        """Whether the ranges are many, and better not asked for."""
        return self._marks is not _NO_MARKS

    @property
    def start(self) -> int:
        """No key is smaller."""
        return self._first if self.is_marked else int(self.ranges[0, 0]) if len(self.ranges) else 0

    @property
    def end(self) -> int:
        """Every key is smaller; 0 where there are none."""
        return self._first + len(self._marks) if self.is_marked else int(self.ranges[-1, 1]) if len(self.ranges) else 0

    @property
    def count(self) -> int:
        if self.is_marked:
            return int(np.count_nonzero(self._marks))
        return int((self.ranges[:, 1] - self.ranges[:, 0]).sum())

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return bool(self._marks.any()) if self.is_marked else len(self.ranges) > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and np.array_equal(self.ranges, other.ranges)

    def __hash__(self) -> int:
        return hash(self.ranges.tobytes())

    def keys(self) -> NDArray[np.int64]:
        """Every key in order, int64 of shape (count,)."""
        if self.is_marked:
            return np.flatnonzero(self._marks) + self._first
        lengths = self.ranges[:, 1] - self.ranges[:, 0]
        shifts = np.repeat(self.ranges[:, 0] - (np.cumsum(lengths) - lengths), lengths)
        keys: NDArray[np.int64] = np.arange(int(lengths.sum()), dtype=np.int64) + shifts
        return keys

    def first(self, limit: int) -> list[int]:
        """The smallest keys, at most `limit` of them."""
        found: list[int] = []
        for start, end in self.ranges[:limit].tolist():
            found += range(start, min(end, start + limit - len(found)))
            if len(found) >= limit:
                break
        return found

    def contains(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each key whether it is in the set: bool of shape (n,)."""
        found: NDArray[np.bool_]
        if self.is_marked:
            at = keys - self._first
            inside = (at >= 0) & (at < len(self._marks))
            found = inside & self._marks[np.where(inside, at, 0)]
            return found
        if not len(self.ranges):
            return np.zeros(len(keys), dtype=np.bool_)
        at = np.searchsorted(self.ranges[:, 0], keys, side="right") - 1
        found = (at >= 0) & (keys < self.ranges[np.maximum(at, 0), 1])
        return found

    def marks(self, first: int, end: int) -> NDArray[np.bool_]:
        """For each number from `first` on and below `end` whether it is in the set: a bool array of the caller's own."""
        found = np.zeros(max(end - first, 0), dtype=np.bool_)
        if self.is_marked:
            start, stop = max(first, self.start), min(end, self.end)
            if start < stop:
                found[start - first : stop - first] = self._marks[start - self._first : stop - self._first]
            return found
        ranges = np.clip(self._between(first, end).ranges, first, end) - first
        if len(ranges) <= _FEW:
            for start, stop in ranges.tolist():
                found[start:stop] = True
            return found
        steps = np.zeros(len(found) + 1, dtype=np.int8)
        steps[ranges[:, 0]] = 1
        steps[ranges[:, 1]] -= 1
        return np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_)

    def union(self, *others: KeySet) -> KeySet:
        parts = [part for part in (self, *others) if part]
        if any(part.is_marked for part in parts):
            first, end = min(part.start for part in parts), max(part.end for part in parts)
            if end - first <= _FARTHER * sum(len(part._marks) for part in parts):
                marks = parts[0].marks(first, end)
                for part in parts[1:]:
                    marks |= part.marks(first, end)
                return KeySet.from_marks(marks, first)
        ranges = np.concatenate([self.ranges, *(other.ranges for other in others)])
        return KeySet.from_ranges(ranges[np.argsort(ranges[:, 0], kind="stable")])

    def intersection(self, other: KeySet) -> KeySet:
        if self.is_marked or other.is_marked:
            first, end = max(self.start, other.start), min(self.end, other.end)
            return KeySet.from_marks(self.marks(first, end) & other.marks(first, end), first)
        few, many = (self, other) if len(self.ranges) <= len(other.ranges) else (other, self)
        if len(few.ranges) == 1:
            return many._between(*few.ranges[0].tolist())
        start = np.searchsorted(many.ranges[:, 1], few.ranges[:, 0], side="right")
        stop = np.searchsorted(many.ranges[:, 0], few.ranges[:, 1], side="left")
        counts = np.maximum(stop - start, 0)
        mine = np.repeat(np.arange(len(few.ranges)), counts)
        theirs = start[mine] + np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        first_key = np.maximum(few.ranges[mine, 0], many.ranges[theirs, 0])
        end_key = np.minimum(few.ranges[mine, 1], many.ranges[theirs, 1])
        return KeySet(np.stack([first_key, end_key], axis=1))

    def _between(self, first: int, end: int) -> KeySet:
        """The keys in [first, end): what most intersections come to, without the arithmetic of many ranges."""
        start = int(np.searchsorted(self.ranges[:, 1], first, side="right"))
        stop = int(np.searchsorted(self.ranges[:, 0], end, side="left"))
        if start >= stop:
            return KeySet.empty()
        found = self.ranges[start:stop]
        if found[0, 0] < first or found[-1, 1] > end:
            found = found.copy()
            found[0, 0], found[-1, 1] = max(found[0, 0], first), min(found[-1, 1], end)
        return KeySet(found)

    def difference(self, other: KeySet) -> KeySet:
        first, end = self.start, self.end
        if self.is_marked or (other.is_marked and end - first <= _FARTHER * len(other._marks)):
            return KeySet.from_marks(self.marks(first, end) & ~other.marks(first, end), first)
        return self.intersection(other._complement())

    def _complement(self) -> KeySet:
        """Every other int64."""
        limits = np.iinfo(np.int64)
        edges = np.concatenate([[limits.min], self.ranges.reshape(-1), [limits.max]]).reshape(-1, 2)
        return KeySet(edges[edges[:, 1] > edges[:, 0]])


def _ranges_of(marks: NDArray[np.bool_], changes: NDArray[np.bool_], first: int) -> NDArray[np.int64]:
    """What is marked as ranges; `changes` says which mark differs from the one before."""
    if not len(marks):
        return np.empty((0, 2), dtype=np.int64)
    edges = np.flatnonzero(changes) + 1
    if marks[0]:
        edges = np.concatenate([[0], edges])
    if marks[-1]:
        edges = np.concatenate([edges, [len(marks)]])
    return edges.reshape(-1, 2).astype(np.int64) + first


def _distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """In order, without duplicates. Most come so already, and looking is much cheaper than sorting."""
    if bool((keys[1:] > keys[:-1]).all()):
        return keys
    keys = np.sort(keys)
    distinct: NDArray[np.int64] = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    return distinct


def unpacked(blob: bytes, kind: str) -> NDArray[Any]:
    """The numbers of this dtype that a value of the catalogue is made of: shape (n,). Raises DamagedError."""
    try:
        return np.frombuffer(blob, dtype=kind)
    except (TypeError, ValueError) as error:
        raise broken_numbers() from error


def broken_numbers() -> DamagedError:
    """The error for a value that is not made of whole numbers."""
    return DamagedError(
        "A list of numbers in the catalogue has not the length that it should have.",
        hint="See what is hit: stackroom verify. Bring back what can be: stackroom repair",
    )
