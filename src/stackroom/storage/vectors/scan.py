"""The exact scan: every live row against the query. It is the reference that every faster path is tested against.

A first pass in float32 finds the candidates; those that rounding could have misplaced are scored again in float64.
`np.vecdot` runs on one thread (two get slower on a busy machine) and at the speed of memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.errors import DamagedError
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.vectors.vector_file import VectorMap
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ranges = NDArray[np.int64]
    Rows = slice | list[slice] | NDArray[np.int64]
    """Rows of a file: runs of them, or numbers."""

_BLOCK = 16_384

# Above float32's rounding of a dot product (about sqrt(dim) * 2**-24, relative to the norms).
_SLACK = 1e-5

# Many ranges are gathered before they are scanned: a call for each would cost more than the copy.
_FEW = 256
_GATHERED = 1024
"""Rows that are copied to be scanned."""


class Scored(NamedTuple):
    """Rows (int64, shape (n,)), their scores, and how far rounding may have moved these."""

    rows: NDArray[np.int64]
    scores: NDArray[np.floating]
    slack: float


def nearest_rows(
    vectors: VectorMap,
    query: NDArray[np.float32],
    k: int,
    *,
    metric: Metric,
    ranges: Ranges,
    also: Scored | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows within `ranges` (int64, shape (m, 2), [first, end)), or of `also`, that may be among the best `k`, with exact scores.

    Returns row numbers (int64) and scores (float64), best first, at least `k` of them where there are as many; the
    ones past `k` are those whose score is equal to the last one's, for the caller to order.
    """
    rows = _candidates(vectors, query, k, metric, _blocks(ranges), also)
    exact = exact_scores(vectors, rows, query, metric=metric)
    order = np.argsort(-exact, kind="stable")
    if len(order) > k:
        last = exact[order[k - 1]]
        order = order[exact[order] >= last]
    return rows[order], exact[order]


def scores(vectors: VectorMap, query: NDArray[np.float32], *, metric: Metric) -> NDArray[np.floating]:
    """The score of every row, in float32 where its range is enough: shape (n,)."""
    return first_scores(vectors, slice(None), query, metric)[0]


def exact_scores(
    vectors: VectorMap, rows: NDArray[np.int64], query: NDArray[np.float32], *, metric: Metric
) -> NDArray[np.float64]:
    """float64 score of each of these rows; cosine in [-1, 1], 0 where either vector is all zeros."""
    wide = query.astype(np.float64)
    scores = np.empty(len(rows), dtype=np.float64)
    for first in range(0, len(rows), 1024):
        try:
            block = vectors.rows[rows[first : first + 1024]].astype(np.float64)
        except IndexError as error:
            raise beyond(vectors) from error
        scores[first : first + 1024] = score_exactly(block, wide, metric)
    return scores


def beyond(vectors: VectorMap) -> DamagedError:
    return DamagedError(
        f"The catalogue names rows that {vectors.path} does not have.",
        hint="See what is hit: stackroom verify",
        path=vectors.path,
    )


def score_exactly(block: NDArray[np.float64], query: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """The score of each row of `block`, float64 of shape (n, dim): shape (n,)."""
    if metric == "l2":
        difference = block - query
        distances: NDArray[np.float64] = np.vecdot(difference, difference)
        return -distances
    dots: NDArray[np.float64] = np.vecdot(block, query)
    if metric == "dot":
        return dots
    lengths = np.sqrt(np.vecdot(block, block)) * np.sqrt(np.vecdot(query, query))
    cosine = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    # Rounded below float32's resolution, so that equal rows are equal whatever block they were scored in.
    scores: NDArray[np.float64] = np.clip(np.round(cosine, 12), -1.0, 1.0)
    return scores


def first_scores(
    vectors: VectorMap, rows: Rows, query: NDArray[np.float32], metric: Metric
) -> tuple[NDArray[np.floating], float]:
    """The score of each of these rows, in float32 where its range is enough, and how far rounding may have moved them."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores, slack = _score(vectors, rows, query, float(np.linalg.norm(query.astype(np.float64))), metric)
        if np.isfinite(scores).all() and np.isfinite(slack):
            return scores, slack
        # Products beyond float32: vectors that no model makes, but a file may hold.
        exact = score_exactly(_taken(vectors.rows, rows).astype(np.float64), query.astype(np.float64), metric)
    # What is no number was never written: such a row is damaged, and no hit.
    return np.where(np.isnan(exact), -np.inf, exact), 0.0


def _candidates(
    vectors: VectorMap,
    query: NDArray[np.float32],
    k: int,
    metric: Metric,
    blocks: Sequence[list[slice] | NDArray[np.int64]],
    also: Scored | None,
) -> NDArray[np.int64]:
    kept_rows: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    kept_scores: NDArray[np.floating] = np.empty(0, dtype=np.float32)
    slack = 0.0
    scored = (Scored(_numbers(rows), *first_scores(vectors, rows, query, metric)) for rows in blocks)
    for part in itertools.chain(() if also is None else (also,), scored):
        kept_rows = np.concatenate([kept_rows, part.rows])
        kept_scores = np.concatenate([kept_scores, part.scores])
        # Of the rows before as well.
        slack = max(slack, part.slack)
        if len(kept_scores) > k:
            threshold = np.partition(kept_scores, len(kept_scores) - k)[len(kept_scores) - k]
            keep = kept_scores >= threshold - slack
            kept_rows, kept_scores = kept_rows[keep], kept_scores[keep]
    return kept_rows


def _numbers(rows: list[slice] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.arange(run.start, run.stop) for run in rows]) if isinstance(rows, list) else rows


def _taken(array: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
    return np.concatenate([array[run] for run in rows]) if isinstance(rows, list) else array[rows]


def _dots(matrix: NDArray[np.float32], rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32]
    if isinstance(rows, list):
        # Runs are read where they lie.
        found = np.concatenate([np.vecdot(matrix[run], query) for run in rows])
    elif isinstance(rows, slice) or len(rows) <= _GATHERED:
        found = np.vecdot(matrix[rows], query)
    else:
        # They are copied, and a search that is not sure asks for thousands: a portion at a time.
        portions = (rows[first : first + _GATHERED] for first in range(0, len(rows), _GATHERED))
        found = np.concatenate([np.vecdot(matrix[portion], query) for portion in portions])
    return found


def _score(
    vectors: VectorMap,
    rows: Rows,
    query: NDArray[np.float32],
    query_length: float,
    metric: Metric,
) -> tuple[NDArray[np.floating], float]:
    """float32 scores of these rows, and how far rounding may have moved them."""
    dots = _dots(vectors.rows, rows, query)
    norms = None if vectors.norms is None else _taken(vectors.norms, rows)
    longest = 1.0 if norms is None else float(norms.max(initial=0.0))
    if metric == "dot":
        return dots, _SLACK * query_length * longest
    if metric == "cosine":
        lengths = np.float32(query_length) * (np.float32(1.0) if norms is None else norms)
        scores = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
        return scores, _SLACK
    squares = np.float32(1.0) if norms is None else norms * norms
    return 2 * dots - squares - np.float32(query_length**2), _SLACK * (query_length + longest) ** 2


def _blocks(ranges: Ranges) -> list[list[slice] | NDArray[np.int64]]:
    """The rows of the ranges in pieces of bounded size: runs of the file, or gathered row numbers."""
    if len(ranges) <= _FEW:
        return [*_runs(ranges)]
    rows = KeySet(ranges).keys()
    return [rows[start : start + _GATHERED] for start in range(0, len(rows), _GATHERED)]


def _runs(ranges: Ranges) -> Iterator[list[slice]]:
    """Runs that have no more than a block's rows together."""
    block: list[slice] = []
    left = _BLOCK
    for first, end in ranges.tolist():
        while first < end:
            run = slice(first, min(first + left, end))
            block.append(run)
            left -= run.stop - run.start
            first = run.stop
            if not left:
                yield block
                block, left = [], _BLOCK
    if block:
        yield block
