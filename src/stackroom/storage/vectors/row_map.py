"""Which row a key has, and which key a row, in one version of the library.

The catalogue is asked while little is: its cost does not follow the library. A version that is asked much loads all extents into memory,
once that would have been cheaper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.vectors import extents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ranges = NDArray[np.int64]

_LOADED_IN_A_LOOKUP = 10
"""Extents that are loaded in the time of one question to the catalogue."""

_COPIED_APART = 2_000
"""Extents up to which the marks of each are copied by themselves; beyond, every key is looked up, which follows their number less."""


class _Table(NamedTuple):
    """A space's extents as arrays (int64, shape (m,)), ordered by key; neighbours in both, keys and rows, are one."""

    first_key: NDArray[np.int64]
    n: NDArray[np.int64]
    first_row: NDArray[np.int64]
    by_row: NDArray[np.int64]
    """the order of rows"""

    @classmethod
    def of(cls, first_key: NDArray[np.int64], n: NDArray[np.int64], first_row: NDArray[np.int64]) -> _Table:
        if len(n):
            # What was added at one time lies together: a filter's hundred thousand ranges meet few extents then.
            follows = (first_key[:-1] + n[:-1] == first_key[1:]) & (first_row[:-1] + n[:-1] == first_row[1:])
            starts = np.flatnonzero(np.concatenate([[True], ~follows]))
            first_key, n, first_row = first_key[starts], np.add.reduceat(n, starts), first_row[starts]
        return cls(first_key, n, first_row, np.argsort(first_row, kind="stable"))

    def rows_of(self, keys: KeySet) -> KeySet:
        if not keys.is_marked:
            return KeySet.from_ranges(self.rows_of_ranges(keys.ranges))
        start = int(np.searchsorted(self.first_key + self.n, keys.start, side="right"))
        stop = int(np.searchsorted(self.first_key, keys.end, side="left"))
        if start >= stop:
            return KeySet.empty()
        met = np.s_[start:stop]
        low, high = int(self.first_row[met].min()), int((self.first_row + self.n)[met].max())
        marks = np.zeros(high - low, dtype=np.bool_)
        if stop - start <= _COPIED_APART:
            columns = (self.first_key[met].tolist(), self.n[met].tolist(), (self.first_row[met] - low).tolist())
            for key, n, row in zip(*columns, strict=True):
                marks[row : row + n] = keys.marks(key, key + n)
        else:
            rows = self.rows_of_keys(keys.keys())
            marks[rows[rows >= 0] - low] = True
        return KeySet.from_marks(marks, low)

    def rows_of_ranges(self, keys: Ranges) -> Ranges:
        if not len(self.n) or not len(keys):
            return np.empty((0, 2), dtype=np.int64)
        at = np.searchsorted(self.first_key, keys[:, 0], side="right") - 1
        last = np.maximum(at, 0)
        inside = (at >= 0) & (keys[:, 1] <= self.first_key[last] + self.n[last])
        rows: Ranges = keys + (self.first_row - self.first_key)[last][:, None]
        if not inside.all():
            rows = np.concatenate([rows.take(np.flatnonzero(inside), axis=0), self._rows_beyond(keys[~inside])])
        return _by_row(rows)

    def _rows_beyond(self, keys: Ranges) -> Ranges:
        """The rows of ranges that do not lie within one extent."""
        end_key = self.first_key + self.n
        start = np.searchsorted(end_key, keys[:, 0], side="right")
        stop = np.searchsorted(self.first_key, keys[:, 1], side="left")
        counts = np.maximum(stop - start, 0)
        wanted = np.repeat(np.arange(len(keys)), counts)
        offsets = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        which = start[wanted] + offsets
        first = np.maximum(keys[wanted, 0], self.first_key[which])
        last = np.minimum(keys[wanted, 1], end_key[which])
        shift = self.first_row[which] - self.first_key[which]
        rows: Ranges = np.stack([first + shift, last + shift], axis=1)
        return rows

    def rows_of_keys(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self.n):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.maximum(np.searchsorted(self.first_key, keys, side="right") - 1, 0)
        offset = keys - self.first_key[at]
        rows: NDArray[np.int64] = np.where((offset >= 0) & (offset < self.n[at]), self.first_row[at] + offset, -1)
        return rows

    def keys_of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self.n) and len(rows):
            raise extents.nobodys(int(rows[0]))
        at = self.by_row[np.maximum(np.searchsorted(self.first_row, rows, side="right", sorter=self.by_row) - 1, 0)]
        offset = rows - self.first_row[at]
        strange = rows[(offset < 0) | (offset >= self.n[at])]
        if len(strange):
            raise extents.nobodys(int(strange[0]))
        keys: NDArray[np.int64] = self.first_key[at] + offset
        return keys


def _by_row(ranges: Ranges) -> Ranges:
    if bool((ranges[1:, 0] >= ranges[:-1, 0]).all()):
        return ranges
    return ranges[np.argsort(ranges[:, 0], kind="stable")]


class RowMap:
    """The rows of one space in one version. Shared by the snapshots of that version, each with a connection of its own."""

    def __init__(self, space_key: int) -> None:
        self._space_key = space_key
        self._asked = self._enough = 0
        self._table: _Table | None = None

    def keys_of_rows(self, connection: Connection, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The key of each of these live rows: int64 of shape (n,). Raises DamagedError."""
        table = self._loaded(connection, len(rows))
        if table is not None:
            return table.keys_of_rows(rows)
        return extents.keys_of_rows(connection, self._space_key, rows)

    def rows_of_keys(self, connection: Connection, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each of these keys, -1 where it has none: int64 of shape (n,)."""
        table = self._loaded(connection, len(keys))
        if table is not None:
            return table.rows_of_keys(keys)
        found = extents.rows_of_keys(connection, self._space_key, keys.tolist())
        return np.array([found[key][0] if key in found else -1 for key in keys.tolist()], dtype=np.int64)

    def rows_of(self, connection: Connection, keys: KeySet) -> KeySet:
        """The rows of these keys."""
        table = self._loaded(connection, keys.count if keys.is_marked else len(keys.ranges))
        if table is not None:
            return table.rows_of(keys)
        found = [
            (part.first_row, part.first_row + part.n)
            for first, end in keys.ranges.tolist()
            for part in extents.overlapping(connection, self._space_key, first, end)
        ]
        return KeySet.from_ranges(np.array(sorted(found), dtype=np.int64).reshape(len(found), 2))

    def _loaded(self, connection: Connection, asking: int) -> _Table | None:
        """The table, where what was asked so far, and is now, costs as much as loading it."""
        if self._table is None:
            self._asked += asking
            if self._asked < self._enough:
                return None
            # Counted no further than matters, and again when twice as much was asked: no search pays for all of them.
            worth = self._asked * _LOADED_IN_A_LOOKUP
            self._enough = 2 * self._asked
            counted = "SELECT count(*) FROM (SELECT 1 FROM extents WHERE space_key = ? LIMIT ?)"
            if (connection.value(counted, (self._space_key, worth + 1)) or 0) > worth:
                return None
            statement = "SELECT first_key, n, first_row FROM extents WHERE space_key = ? ORDER BY first_key"
            self._table = _Table.of(*connection.numbers(statement, (self._space_key,), columns=3).T.copy())
        return self._table
