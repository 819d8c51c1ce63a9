"""What engines have in common about vectors: what is let in, and exact scores for the candidates that an engine finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scored
from stackroom.engines.records import AGAIN, UnreadableError
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


def stacked(rows: Sequence[NDArray[np.float32]], dim: int) -> NDArray[np.float32]:
    """Vectors that an engine holds: float32 of shape `(len(rows), dim)`. Raises DamagedError where one of them is none of the library's."""
    if any(np.shape(row) != (dim,) for row in rows):
        raise UnreadableError(f"a vector that does not have {dim} numbers can't be read", hint=AGAIN)
    return np.array(rows, dtype=np.float32).reshape(len(rows), dim)


def best(
    keys: Sequence[int], rows: Sequence[NDArray[np.float32]], query: NDArray[np.float32], metric: Metric, k: int
) -> Scored:
    """The best `k` of these candidates, scored in float64 as everywhere in Stackroom; equal ones in the order of their keys."""
    if not rows:
        return NOTHING
    numbers = np.array(keys, dtype=np.int64)
    scores = score_exactly(stacked(rows, len(query)).astype(np.float64), query.astype(np.float64), metric)
    order = np.lexsort((numbers, -scores))[:k]
    return Scored(numbers[order], scores[order])
