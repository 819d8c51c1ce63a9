"""Whether two models are the same one, judged by what they make of the same texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stackroom.errors import EmbedderMismatchError
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 3
"""Texts that are enough to tell."""

_LIKE = 0.3
"""A cosine that vectors of two models reach by chance only; one model's reach it also where metadata was embedded with the text."""


def require_like(
    one: NDArray[np.floating], other: NDArray[np.floating], *, library: EmbedderIdentity, others: str, hint: str
) -> None:
    """`one` and `other` are vectors of the same texts, of shape (n, dim); `others` says whose the library's are compared with.

    Raises EmbedderMismatchError where not even the most alike of them are alike.
    """
    mine, theirs = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    best = float(np.max(np.vecdot(mine, theirs) / np.where(lengths > 0, lengths, 1.0)))
    if best < _LIKE:
        known = f"the model {library.name!r}" if library.name else "another model"
        raise EmbedderMismatchError(
            f"The library was made with {known}, and {others} (the likeness is {best:.2f}).",
            hint=hint,
            expected=library,
            actual=best,
        )
