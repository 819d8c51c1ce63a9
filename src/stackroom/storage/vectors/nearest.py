"""Sketch, then exact: sketches name candidates, and the rows themselves say which of them are the best.

Where there is no sketch, or a selection leaves few rows of one, the rows are scanned, which is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.vectors import scan, sureness
from stackroom.storage.vectors.sketches import Sketch
from stackroom.storage.vectors.vector_file import VectorMap
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANDIDATES = 300
"""Asked for at first. Where they do not suffice, more are: docs/benchmarks/search.md."""

CANDIDATES_A_HIT = 8
"""At first, where more hits are wanted than usual."""

SPARSE = 24
"""A sketch scans this many rows in the time of one exact one."""

SCATTERED, RANKED_BYTES = 4, 8192
"""A candidate is scored in the time of so many rows that lie together, and put in its place in that of so many bytes."""

SCANNED_BYTES = 1 << 20
"""Rows that are scanned in the time of what asking a sketch takes besides, for its selection."""

_SHORTEST, _LONGEST = 1e-4, 1e6


class _Proposal(NamedTuple):
    rows: NDArray[np.int64]
    estimates: NDArray[np.float32]
    rest: KeySet
    """rows of which no sketch was asked"""


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
    """As `scan.nearest_rows`; exact but for rows that no sketch proposed.

    `candidates`: how many are to be proposed; None: as many as it takes for `sureness.MISSED`.
    """
    unit = vectors.norms is None
    asked = _comparable(query, metric, unit=unit) if sketches else None
    wanted = max(candidates or CANDIDATES, CANDIDATES_A_HIT * k)
    while asked is not None and (found := _proposal(vectors, sketches, asked, wanted, among)) is not None:
        scores, slack = scan.first_scores(vectors, found.rows, query, metric)
        if candidates is None:
            comparable = _as_estimates(scores, query, metric, unit=unit)
            needed = sureness.needed(found.estimates, comparable, k, most=among.count)
            if needed > wanted:
                wanted = needed
                continue
        also = scan.Scored(found.rows, scores, slack)
        return scan.nearest_rows(vectors, query, k, metric=metric, ranges=found.rest.ranges, also=also)
    return scan.nearest_rows(vectors, query, k, metric=metric, ranges=among.ranges)


def _proposal(
    vectors: VectorMap, sketches: Sequence[Sketch], asked: NDArray[np.float32], wanted: int, among: KeySet
) -> _Proposal | None:
    """The `wanted` best candidates of all sketches that are worth asking; None where there is none."""
    rows: list[NDArray[np.int64]] = []
    estimates: list[NDArray[np.float32]] = []
    sketched: list[tuple[int, int]] = []
    for sketch in sketches:
        within = _within(among, sketch.first, sketch.end)
        n = within.count
        if n <= wanted or _scans_quicker(n, sketch.n, wanted, vectors):
            continue
        found, estimated = sketch.candidates(asked, wanted, within)
        if len(found) < wanted or not np.isfinite(estimated).all():
            continue
        rows.append(found)
        estimates.append(estimated)
        sketched.append((sketch.first, sketch.end))
    if not rows:
        return None
    return _Proposal(*_best(rows, estimates, wanted), _without(among, sketched))


def _scans_quicker(selected: int, sketched: int, wanted: int, vectors: VectorMap) -> bool:
    """Whether so many rows of a sketch are scanned in less time than the sketch takes, with what its candidates take."""
    row = int(vectors.rows.shape[1]) * 4
    return (selected - sketched // SPARSE) * row < SCANNED_BYTES + wanted * (SCATTERED * row + RANKED_BYTES)


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


def _as_estimates(
    scores: NDArray[np.floating], query: NDArray[np.float32], metric: Metric, *, unit: bool
) -> NDArray[np.floating]:
    """Scores on the scale of estimates, which are of the query as `_comparable` has it."""
    if metric == "cosine":
        return 2 * scores - 2
    length = float(np.linalg.norm(query.astype(np.float64)))
    if metric == "dot":
        return scores / length
    return (scores + 1 + length**2) / length - 2 if unit else scores


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


def _best(
    rows: list[NDArray[np.int64]], estimates: list[NDArray[np.float32]], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `n` rows of the best estimates, in the order of the file, with these."""
    found, estimated = np.concatenate(rows), np.concatenate(estimates)
    if len(found) > n:
        best = np.argpartition(-estimated, n - 1)[:n]
        found, estimated = found[best], estimated[best]
    order = np.argsort(found)
    return found[order], estimated[order]
