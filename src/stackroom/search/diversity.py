"""Maximal marginal relevance: hits that are near the query and not near each other (Carbonell and Goldstein 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREFETCH = 4
"""Candidates for each hit that is wanted."""


def choose(query: NDArray[np.float32], rows: NDArray[np.float32], k: int, *, relevance: float) -> NDArray[np.int64]:
    """Positions in `rows` (float32, shape (n, dim)), in the order of choosing: int64 of shape (min(k, n),).

    Each next one has the highest `relevance * cosine to the query - (1 - relevance) * highest cosine to those chosen`; the
    first of equals is taken. `relevance` 1 looks at the query alone.
    """
    unit = _unit(rows.astype(np.float64))
    similar = unit @ _unit(query.astype(np.float64)[None])[0]
    redundant = np.full(len(rows), -np.inf)
    left = np.ones(len(rows), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(k, len(rows))):
        penalty = np.where(np.isfinite(redundant), redundant, 0.0)
        gain = np.where(left, relevance * similar - (1 - relevance) * penalty, -np.inf)
        best = int(np.argmax(gain))
        chosen.append(best)
        left[best] = False
        redundant = np.maximum(redundant, unit @ unit[best])
    return np.array(chosen, dtype=np.int64)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
