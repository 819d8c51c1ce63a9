"""Whether the candidates of a sketch hold the best rows, told from the candidates themselves.

Each candidate has two numbers: the sketch's estimate, and the score that was calculated from its row. Their differences say how far
estimates err for this very query; the estimates of the last candidates say how many more rows there are below them. Together that is
how many of the best are to be expected among the rows that were not proposed. Few dimensions, vectors that are all equally far, and
many hits at once need many candidates; most queries need few.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSED = 0.001
"""The share of the best that may be expected among rows that were not proposed: recall is to be 0.999 at least."""

_ROUNDING = 1e-6
_STEP = 1.25


def needed(estimates: NDArray[np.float32], scores: NDArray[np.floating], k: int, *, most: int) -> int:
    """How many candidates hold the best `k` (but for a share of MISSED): no more than there are, where these do.

    `estimates` and `scores` are those of the candidates, on one scale, higher is better, both of shape (n,) with n > k; `most` is where
    to stop counting.
    """
    n = len(estimates)
    scores = scores.astype(np.float64)
    errors = scores - estimates
    usual, spread = float(errors.mean()), float(errors.std())
    if not math.isfinite(usual) or not math.isfinite(spread):
        return most
    middle, last = np.partition(estimates, (0, n // 2))[[n // 2, 0]].astype(np.float64)
    # The last hit's lead over what a row with the lowest estimate is expected to score.
    lead = float(np.partition(scores, n - k)[n - k]) - float(last) - usual
    # Below the middle one there are twice as many: their number grows by e with each 1 / growth.
    growth = math.log(n / (n - n // 2)) / max(float(middle - last), _ROUNDING)
    asked = float(n)
    while asked < most and _missed(asked, lead + math.log(asked / n) / growth, growth, spread) > MISSED * k:
        asked *= _STEP
    # A little more, so that a second look suffices.
    return n if asked == n else min(math.ceil(asked * _STEP), most)


def _missed(n: float, lead: float, growth: float, spread: float) -> float:
    """How many rows below the first `n` are to be expected above the last hit.

    There are `n * growth * exp(growth * x) dx` rows at `x` below the lowest estimate, each of which is above the last hit with the
    probability of an error larger than `lead + x`, normally distributed. That is integrated over all x > 0.
    """
    if spread < _ROUNDING:
        return 0.0 if lead > -_ROUNDING else n
    exponent = (growth * spread) ** 2 / 2 - growth * lead
    if exponent > 50:
        return n
    below = lead / spread
    return n * (math.exp(exponent) * _normal(growth * spread - below) - _normal(-below))


def _normal(x: float) -> float:
    """The cumulative normal distribution."""
    return 0.5 * math.erfc(-x / math.sqrt(2))
