"""The answers that the old store's own numbers give: an exhaustive search in float64 while its vectors stream by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT = 16
"""Answers kept of each query: ten, and some that may change places with the tenth."""


class Answer(NamedTuple):
    score: float
    chunk_id: str


class Truth:
    """The best chunks for each query, by float64 arithmetic over the vectors as they were written."""

    def __init__(self, queries: Sequence[NDArray[np.float64]], metric: Metric) -> None:
        self.queries = list(queries)
        self._metric = metric
        self._matrix = np.stack(self.queries) if self.queries else np.empty((0, 0))
        self._best: list[list[Answer]] = [[] for _ in self.queries]

    def see(self, chunk_ids: Sequence[str], vectors: Sequence[NDArray[np.float64]]) -> None:
        """Some more vectors, each float64 of shape `(dim,)`."""
        if not self.queries or not vectors:
            return
        scores = self._scores(np.stack(vectors))
        few = min(_KEPT, len(chunk_ids))
        for query, column in enumerate(scores):
            top = np.argpartition(-column, few - 1)[:few] if few < len(column) else np.arange(len(column))
            found = [Answer(float(column[row]), chunk_ids[row]) for row in top.tolist()]
            self._best[query] = sorted([*self._best[query], *found], key=lambda answer: -answer.score)[:_KEPT]

    def _scores(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 of shape `(queries, vectors)`, higher is better."""
        products: NDArray[np.float64] = self._matrix @ vectors.T
        if self._metric == "dot":
            return products
        lengths = np.vecdot(vectors, vectors)
        own = np.vecdot(self._matrix, self._matrix)
        if self._metric == "l2":
            distances: NDArray[np.float64] = 2 * products - lengths[None, :] - own[:, None]
            return distances
        scale = np.sqrt(lengths[None, :] * own[:, None])
        cosines: NDArray[np.float64] = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
        return cosines

    def found(self) -> list[list[tuple[float, str]]]:
        """All answers so far, as plain values; `restore` takes them."""
        return [[(answer.score, answer.chunk_id) for answer in answers] for answers in self._best]

    def restore(self, found: Sequence[Sequence[tuple[float, str]]]) -> None:
        self._best = [[Answer(*answer) for answer in answers] for answers in found]

    def best(self, query: int, k: int) -> list[Answer]:
        """The `k` best for this query; up to `_KEPT` are known."""
        return self._best[query][:k]
