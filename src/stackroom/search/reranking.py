"""The best candidates of a search in the order of a reranker, within a bound of time; else in the order that they had."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from stackroom.errors import NotRerankedWarning
from stackroom.protocols import Reranker

_BATCH = 4
"""Passages between two looks at the clock."""


class Reranking(NamedTuple):
    """What is asked: which reranker, how many candidates it reads, and how many seconds it has."""

    reranker: Reranker
    candidates: int
    seconds: float


def judged(asked: Reranking, query: str, texts: Sequence[str]) -> list[float] | None:
    """A score for each text; None, with a NotRerankedWarning, where the reranker failed or was not done in time.

    It works in a thread that ends after the batch in hand, since nothing can stop it before.
    """
    scores: list[float] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        try:
            for first in range(0, len(texts), _BATCH):
                if stop.is_set():
                    return
                part = texts[first : first + _BATCH]
                found = [float(score) for score in asked.reranker.scores(query, part)]
                if len(found) != len(part) or not all(map(math.isfinite, found)):
                    raise ValueError(f"it gave {found} for {len(part)} passages")
                scores.extend(found)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="rerank", daemon=True)
    thread.start()
    thread.join(asked.seconds)
    stop.set()
    if failed:
        why = f"failed ({type(failed[0]).__name__}: {failed[0]})"
    elif thread.is_alive() or len(scores) < len(texts):
        why = f"was not done within {asked.seconds:g} s"
    else:
        return scores
    warnings.warn(
        f"The reranker {asked.reranker.name} {why}: the hits are in the order that they had before it.",
        NotRerankedWarning,
        stacklevel=5,
    )
    return None
