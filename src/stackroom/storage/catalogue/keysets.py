"""Sets of chunk keys, as sorted disjoint ranges: every filter, source and active set is one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class KeySet:
    """An immutable set of int64 keys.

    `ranges` is int64 of shape (n, 2): [first, end), sorted, disjoint, and not touching.
    """

    __slots__ = ("ranges",)

    def __init__(self, ranges: NDArray[np.int64]) -> None:
        self.ranges = ranges

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
    def from_mask(cls, mask: NDArray[np.bool_], first: int) -> KeySet:
        """The keys `first + i` for which `mask[i]`; the quickest way to many keys that lie close together."""
        if not len(mask):
            return cls.empty()
        edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
        if mask[0]:
            edges = np.concatenate([[0], edges])
        if mask[-1]:
            edges = np.concatenate([edges, [len(mask)]])
        return cls(edges.reshape(-1, 2).astype(np.int64) + first)

    @property
    def count(self) -> int:
        return int((self.ranges[:, 1] - self.ranges[:, 0]).sum())

    def __len__(self) -> int:
        return self.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and np.array_equal(self.ranges, other.ranges)

    def __hash__(self) -> int:
        return hash(self.ranges.tobytes())

    def keys(self) -> NDArray[np.int64]:
        """Every key in order, int64 of shape (count,)."""
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
        if not len(self.ranges):
            return np.zeros(len(keys), dtype=np.bool_)
        at = np.searchsorted(self.ranges[:, 0], keys, side="right") - 1
        found: NDArray[np.bool_] = (at >= 0) & (keys < self.ranges[np.maximum(at, 0), 1])
        return found

    def union(self, *others: KeySet) -> KeySet:
        ranges = np.concatenate([self.ranges, *(other.ranges for other in others)])
        return KeySet.from_ranges(ranges[np.argsort(ranges[:, 0], kind="stable")])

    def intersection(self, other: KeySet) -> KeySet:
        few, many = (self, other) if len(self.ranges) <= len(other.ranges) else (other, self)
        if len(few.ranges) == 1:
            return many._between(*few.ranges[0].tolist())
        start = np.searchsorted(many.ranges[:, 1], few.ranges[:, 0], side="right")
        stop = np.searchsorted(many.ranges[:, 0], few.ranges[:, 1], side="left")
        counts = np.maximum(stop - start, 0)
        mine = np.repeat(np.arange(len(few.ranges)), counts)
        theirs = start[mine] + np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        first = np.maximum(few.ranges[mine, 0], many.ranges[theirs, 0])
        end = np.minimum(few.ranges[mine, 1], many.ranges[theirs, 1])
        return KeySet(np.stack([first, end], axis=1))

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
        return self.intersection(other.complement())

    def complement(self) -> KeySet:
        """Every other int64."""
        limits = np.iinfo(np.int64)
        edges = np.concatenate([[limits.min], self.ranges.reshape(-1), [limits.max]]).reshape(-1, 2)
        return KeySet(edges[edges[:, 1] > edges[:, 0]])


def _distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """In order, without duplicates. Most come so already, and looking is much cheaper than sorting."""
    if bool((keys[1:] > keys[:-1]).all()):
        return keys
    keys = np.sort(keys)
    distinct: NDArray[np.int64] = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    return distinct
