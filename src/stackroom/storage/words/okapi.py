"""Okapi BM25 as SQLite's FTS5 has it (https://sqlite.org/fts5.html, 7.1): k1 = 1.2, b = 0.75, and a floor for words that most passages hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

K1, B = 1.2, 0.75
MOST = K1 + 1
"""What a passage's count of a word comes to at most, before the word's weight."""

_LEAST_WEIGHT = 1e-6


def weight(rows: int, frequency: int) -> float:
    """How much a word says that `frequency` of `rows` passages hold: the inverse document frequency."""
    found = math.log((rows - frequency + 0.5) / (frequency + 0.5))
    return found if found > 0 else _LEAST_WEIGHT


def norms(lengths: NDArray[Any], average: float) -> NDArray[Any]:
    """How much passages of so many words damp their counts; the kind of `lengths` stays."""
    found: NDArray[Any] = lengths * (K1 * B / average) + K1 * (1 - B)
    return found


def saturated(counts: NDArray[Any], damping: NDArray[Any]) -> NDArray[Any]:
    """What counts come to, before the word's weight; `damping` is from `norms`."""
    found: NDArray[Any] = counts * MOST / (counts + damping)
    return found
