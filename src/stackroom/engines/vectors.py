"""What engines have in common about vectors: what is let in, and exact scores for the candidates that an engine finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scored
from stackroom.errors import DimensionMismatchError, UsageError
from stackroom.storage.vectors.scan import score_exactly
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTHING = Scored(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))


def require_dim(query: NDArray[np.float32], dim: int) -> None:
    if query.shape != (dim,):
        raise DimensionMismatchError(
            f"The query has the shape {query.shape}, the library's vectors have {dim} dimensions.",
            hint="Use the model that the library was made with.",
            expected=dim,
            actual=query.shape,
        )


def as_row(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same vector as it is stored. Raises DimensionMismatchError where it is none."""
    row = np.ascontiguousarray(embedding, dtype="<f4")
    if row.ndim != 1 or not len(row):
        raise DimensionMismatchError(
            f"An embedding has the shape {row.shape}.", hint="Give one vector a chunk: float32 of shape (dim,)."
        )
    return row


def require_row(row: NDArray[np.float32], dim: int) -> None:
    """Raises DimensionMismatchError, UsageError."""
    if row.shape != (dim,):
        raise DimensionMismatchError(
            f"An embedding has {len(row)} dimensions, the library's have {dim}.",
            hint="Use the model that the library was made with. For another one, make a library of its own.",
            expected=dim,
            actual=len(row),
        )
    if not np.isfinite(row).all():
        raise UsageError("An embedding holds NaN or infinity.", hint="Embed that text again, or leave it out.")


def best(
    keys: Sequence[int], rows: Sequence[NDArray[np.float32]], query: NDArray[np.float32], metric: Metric, k: int
) -> Scored:
    """The best `k` of these candidates, scored in float64 as everywhere in Stackroom; equal ones in the order of their keys."""
    if not rows:
        return NOTHING
    numbers = np.array(keys, dtype=np.int64)
    scores = score_exactly(np.stack(rows).astype(np.float64), query.astype(np.float64), metric)
    order = np.lexsort((numbers, -scores))[:k]
    return Scored(numbers[order], scores[order])
