"""Sketch, then exact: sketches name candidates, and the rows themselves say which of them are the best.

Where there is no sketch, or a selection leaves few rows of one, the rows are scanned, which is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.vectors import scan
from stackroom.storage.vectors.sketches import Sketch
from stackroom.storage.vectors.vector_file import VectorMap
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST, MOST, ROWS_A_CANDIDATE = 300, 1000, 125
"""How many candidates are scored exactly: one for so many rows, within these bounds. docs/benchmarks/search.md has what others would give."""

SPARSE = 24
"""A sketch scans this many rows in the time of one exact one."""

SCANNED_BYTES = 4 << 20
"""Rows that are scanned in the time of what asking a sketch takes besides: its selection, and scoring its candidates."""

_SHORTEST, _LONGEST = 1e-4, 1e6

CANDIDATES_A_HIT = 8
"""At least, where more hits are wanted than usual."""


def nearest_rows(
    vectors: VectorMap,
    sketches: Sequence[Sketch],
    query: NDArray[np.float32],
    k: int,
    *,
    metric: Metric,
    among: KeySet,
    candidates: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `scan.nearest_rows`; exact but for rows that no sketch proposed. `candidates`: how many are to be proposed, at least."""
    asked = _comparable(query, metric, unit=vectors.norms is None) if sketches else None
    if asked is None:
        return scan.nearest_rows(vectors, query, k, metric=metric, ranges=among.ranges)
    usual = min(max(among.count // ROWS_A_CANDIDATE, LEAST), MOST)
    wanted = max(candidates or usual, CANDIDATES_A_HIT * k)
    rows: list[NDArray[np.int64]] = []
    estimates: list[NDArray[np.float32]] = []
    sketched: list[tuple[int, int]] = []
    for sketch in sketches:
        within = _within(among, sketch.first, sketch.end)
        n = within.count
        if n <= wanted or _scans_quicker(n, sketch.n, vectors):
            continue
        found, estimated = sketch.candidates(asked, wanted, within)
        if len(found) < wanted or not np.isfinite(estimated).all():
            continue
        rows.append(found)
        estimates.append(estimated)
        sketched.append((sketch.first, sketch.end))
    if not rows:
        return scan.nearest_rows(vectors, query, k, metric=metric, ranges=among.ranges)
    rest = _without(among, sketched)
    return scan.nearest_rows(vectors, query, k, metric=metric, ranges=rest.ranges, also=_best(rows, estimates, wanted))


def _scans_quicker(selected: int, sketched: int, vectors: VectorMap) -> bool:
    """Whether so many rows of a sketch are scanned in less time than the sketch takes, with what its candidates take."""
    return (selected - sketched // SPARSE) * int(vectors.rows.shape[1]) * 4 < SCANNED_BYTES


def _comparable(query: NDArray[np.float32], metric: Metric, *, unit: bool) -> NDArray[np.float32] | None:
    """The query as sketches can be asked; None where they can't.

    Its length counts for nothing, but under l2; there a very long or short one finds all rows equally far, which sketches can't tell.
    """
    wide = query.astype(np.float64)
    length = float(np.linalg.norm(wide))
    if metric == "l2" and not (_SHORTEST < length < _LONGEST):
        return None
    if metric == "l2" and not unit:
        return query
    return (wide / length).astype(np.float32) if 0 < length < np.inf else None


def _within(rows: KeySet, first: int, end: int) -> KeySet:
    # Mostly one sketch has all rows.
    if _covers(first, end, rows):
        return rows
    return rows.intersection(KeySet(np.array([[first, end]], dtype=np.int64)))


def _covers(first: int, end: int, rows: KeySet) -> bool:
    return first <= rows.start and rows.end <= end


def _without(left: KeySet, sketched: list[tuple[int, int]]) -> KeySet:
    if len(sketched) == 1 and _covers(*sketched[0], left):
        return KeySet.empty()
    return left.difference(KeySet.from_ranges(np.array(sketched, dtype=np.int64)))


def _best(rows: list[NDArray[np.int64]], estimates: list[NDArray[np.float32]], n: int) -> NDArray[np.int64]:
    """The `n` rows of the best estimates, in the order of the file."""
    found, estimated = np.concatenate(rows), np.concatenate(estimates)
    if len(found) > n:
        found = found[np.argpartition(-estimated, n - 1)[:n]]
    return np.sort(found)
