"""Sketch, then exact: sketches name candidates, and the rows themselves say which of them are the best.

Where there is no sketch, or a selection leaves few rows of one, the rows are scanned, which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
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

IN_HAND = 400_000
"""Among so many rows as many candidates again are named in the same look, which makes it a twentieth longer: at hand where the others do not suffice."""

SPARSE = 24
"""A sketch scans this many rows in the time of one exact one."""

SCATTERED, RANKED_BYTES = 4, 8192
"""A candidate is scored in the time of so many rows that lie together, and put in its place in that of so many bytes."""

SCANNED_BYTES = 1 << 20
"""Rows that are scanned in the time of what asking a sketch takes besides, for its selection."""

JUDGED_BYTES = 6 << 20
"""Rows that are scanned in the time of what judging candidates takes besides, however few sketches are asked."""

_DEVIATIONS, _MORE = 4, 8
"""What a sketch's share of the candidates has above what is expected of it: seldom is it asked again."""

_SHORTEST, _LONGEST = 1e-4, 1e6


class _Candidates(NamedTuple):
    rows: NDArray[np.int64]
    estimates: NDArray[np.float32]


class _Proposal(NamedTuple):
    best: _Candidates
    rest: KeySet
    """rows of which no sketch was asked"""


class _Part(NamedTuple):
    """What one sketch has of the rows that are searched."""

    sketch: Sketch
    within: KeySet
    n: int
    share: int
    """of the candidates, which it is asked for at first"""

    def saved(self, row: int) -> int:
        return _saved(self.n, self.sketch.n, self.share, row)

    def candidates(self, asked: NDArray[np.float32], wanted: int) -> _Candidates | None:
        """So many of the best estimates; None where it can't tell."""
        rows, estimates = self.sketch.candidates(asked, wanted, self.within)
        return _Candidates(rows, estimates) if len(rows) == wanted and np.isfinite(estimates).all() else None


def worth_asking(sketched: Sequence[int], dim: int) -> bool:
    """Whether a search over everything would ask sketches of so many rows each; where not, they need not be loaded."""
    total = sum(sketched)
    saved = [_saved(n, n, _share(CANDIDATES * n / total, CANDIDATES), dim * 4) for n in sketched if n > CANDIDATES]
    return sum(bytes_ for bytes_ in saved if bytes_ > 0) >= JUDGED_BYTES


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

    `candidates`: how many are to be proposed; None: as many as it takes for `sureness.MISSED`. Raises DamagedError.
    """
    n = len(vectors.rows)
    if (among.start < 0 or among.end > n) and among.difference(KeySet(np.array([[0, n]]))):
        raise scan.beyond(vectors)
    unit = vectors.norms is None
    asked = _comparable(query, metric, unit=unit) if sketches else None
    wanted = max(candidates or CANDIDATES, CANDIDATES_A_HIT * k)
    found: _Proposal | None = None
    while asked is not None:
        if found is None or wanted > len(found.best.rows):
            more = 0 if candidates else int(wanted * among.count / IN_HAND)
            # Where a scan takes less than naming so many, it may still take more than naming those that are wanted.
            found = _proposal(vectors, sketches, asked, wanted + more, among) if more else None
            found = found or _proposal(vectors, sketches, asked, wanted, among)
        if found is None:
            break
        best = _best([found.best], wanted)
        scores, slack = scan.first_scores(vectors, best.rows, query, metric)
        comparable = _as_estimates(scores, query, metric, unit=unit)
        needed = wanted if candidates else sureness.needed(best.estimates, comparable, k, most=among.count)
        if needed <= wanted:
            also = scan.Scored(best.rows, scores, slack)
            return scan.nearest_rows(vectors, query, k, metric=metric, ranges=found.rest.ranges, also=also)
        wanted = needed
    return scan.nearest_rows(vectors, query, k, metric=metric, ranges=among.ranges)


def _proposal(
    vectors: VectorMap, sketches: Sequence[Sketch], asked: NDArray[np.float32], wanted: int, among: KeySet
) -> _Proposal | None:
    """The `wanted` best candidates of all sketches that are worth asking; None where scanning takes less."""
    row = int(vectors.rows.shape[1]) * 4
    saved = [(part, saved) for part in _parts(sketches, wanted, among) if (saved := part.saved(row)) > 0]
    if sum(bytes_ for _, bytes_ in saved) < JUDGED_BYTES:
        return None
    told = _told([part for part, _ in saved], asked, wanted)
    if not told:
        return None
    best = _best([own for _, own in told], wanted)
    sketched = [(part.sketch.first, part.sketch.end) for part, _ in told]
    return _Proposal(best, _without(among, sketched))


def _parts(sketches: Sequence[Sketch], wanted: int, among: KeySet) -> list[_Part]:
    each = [
        (sketch, within, within.count) for sketch in sketches if (within := _within(among, sketch.first, sketch.end))
    ]
    total = sum(n for *_, n in each)
    return [_Part(sketch, within, n, _share(wanted * n / total, wanted)) for sketch, within, n in each if n > wanted]


def _saved(n: int, sketched: int, share: int, row: int) -> int:
    """Bytes of rows, of `row` bytes each, that would be scanned in the time by which it is quicker to ask a sketch for `share` candidates among `n` of its rows."""
    return (n - sketched // SPARSE) * row - SCANNED_BYTES - share * (SCATTERED * row + RANKED_BYTES)


def _share(expected: float, most: int) -> int:
    return min(math.ceil(expected + _DEVIATIONS * math.sqrt(expected)) + _MORE, most)


def _told(parts: Sequence[_Part], asked: NDArray[np.float32], wanted: int) -> list[tuple[_Part, _Candidates]]:
    """What each sketch has of the `wanted` best of all; those that can't tell are left out."""
    first = [(part, own) for part in parts if (own := part.candidates(asked, part.share)) is not None]
    if all(part.share == wanted for part, _ in first):
        return first
    best = _best([own for _, own in first], wanted)
    last = best.estimates.min() if len(best.rows) == wanted else -math.inf
    # One that goes on with candidates as good as the last ones may have more than its share.
    return [
        (part, own)
        for part, told in first
        if (own := told if told.estimates.min() <= last else part.candidates(asked, wanted)) is not None
    ]


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
    # Mostly there is one sketch after another, and no row behind them.
    together = all(end == first for (_, end), (first, _) in pairwise(sketched))
    if together and _covers(sketched[0][0], sketched[-1][1], left):
        return KeySet.empty()
    return left.difference(KeySet.from_ranges(np.array(sketched, dtype=np.int64)))


def _best(found: Sequence[_Candidates], n: int) -> _Candidates:
    """The `n` of the best estimates, in the order of the file."""
    rows = np.concatenate([own.rows for own in found])
    estimates = np.concatenate([own.estimates for own in found])
    if len(rows) > n:
        best = np.argpartition(-estimates, n - 1)[:n]
        rows, estimates = rows[best], estimates[best]
    order = np.argsort(rows)
    return _Candidates(rows[order], estimates[order])
