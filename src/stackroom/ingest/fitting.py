"""How many passages of a library are longer than a model reads: said before it is given all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stackroom.backend import View
from stackroom.ingest.splitter import TokenSplitter
from stackroom.protocols import Embedder
from stackroom.reports import LengthEstimate

Agree = Callable[[LengthEstimate], bool]

_LOOKED_AT = 500
"""Passages that are counted, spread over the library: a second's work."""


def too_long(view: View, model: Embedder, keys: NDArray[np.int64]) -> LengthEstimate | None:
    """Of the passages of these keys, int64 of shape (n,); None where the model reads every one that was looked at to its end."""
    limit = model.identity.max_tokens
    if limit is None or not len(keys):
        return None
    looked_at = min(_LOOKED_AT, len(keys))
    chosen: list[int] = keys[np.linspace(0, len(keys) - 1, looked_at).astype(np.int64)].tolist()
    splitter = TokenSplitter(model.tokenizer, limit)
    longer = sum(len(splitter.token_starts(passage.text)) > limit for passage in view.passages(chosen))
    if not longer:
        return None
    return LengthEstimate(
        model=model.identity.name,
        max_tokens=limit,
        chunks=len(keys),
        longer=round(longer * len(keys) / looked_at),
        looked_at=looked_at,
    )
