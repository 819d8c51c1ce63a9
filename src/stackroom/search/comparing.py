"""Two models on the same library, before the second takes over: what both find, and what each finds of what it should.

Questions are sentences from the middle of passages, spread over the library: the passage that one is from should be among the ten best.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scope, Scored, View
from stackroom.protocols import Embedder
from stackroom.reports import Comparison

if TYPE_CHECKING:
    from numpy.typing import NDArray

K = 10
QUESTIONS = 50
_WORDS = 16


def compare(
    view: View,
    before: Embedder | None,
    after: Embedder,
    nearest: Callable[[NDArray[np.float32], int], Scored],
    *,
    name: str,
    questions: int = QUESTIONS,
) -> Comparison:
    """`before` made the vectors that serve, called `name`; None where it is not at hand. `nearest` asks those of `after`."""
    asked = _questions(view, questions)
    both = have = found = 0.0
    for key, text in asked:
        new = nearest(after.embed_query(text), K).keys
        found += key in new
        if before is not None:
            old = view.nearest(before.embed_query(text), K, Scope()).keys
            have += key in old
            both += len(np.intersect1d(old, new)) / max(len(old), 1)
    n = max(len(asked), 1)
    return Comparison(
        before=name,
        after=after.identity.name,
        questions=len(asked),
        overlap=None if before is None else both / n,
        found_before=None if before is None else have / n,
        found_after=found / n,
    )


def _questions(view: View, n: int) -> list[tuple[int, str]]:
    """`(key of the passage, a sentence of it)`."""
    keys = view.live_keys()
    if not len(keys):
        return []
    chosen: list[int] = keys[np.unique(np.linspace(0, len(keys) - 1, min(n, len(keys))).astype(np.int64))].tolist()
    texts = [_sentence(passage.text) for passage in view.passages(chosen)]
    return [(key, text) for key, text in zip(chosen, texts, strict=True) if text]


def _sentence(text: str) -> str:
    sentences = [part for part in re.split(r"(?<=[.!?。！？])\s*", text.strip()) if part.strip()]
    return " ".join(sentences[len(sentences) // 2].split()[:_WORDS]) if sentences else ""
