"""How fast and how exact searches of this very library are, and what other settings would give.

Questions are first sentences of its own passages, embedded as queries where the model is at hand; else stored vectors are asked for.
"""

from __future__ import annotations

import functools
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import Backend, Scope, Scored, View
from stackroom.errors import UsageError
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.protocols import Embedder
from stackroom.reports import Measurement, Setting, Timing
from stackroom.search.retriever import Request, search

if TYPE_CHECKING:
    from numpy.typing import NDArray

K = 10
_WORDS = 12
_WARM, _LOADING = 3, 16
"""Questions of each kind that are asked before time counts; so many for sketches, which are loaded when enough was searched for that to pay."""

_MANY, _PROMISED, _PROMISED_OF_MANY = 100_000, 0.999, 0.99


def promised(chunks: int) -> float:
    """The recall@10 that the fast path is to have: 0.999 to 100,000 passages, 0.99 above."""
    return _PROMISED if chunks <= _MANY else _PROMISED_OF_MANY


def measure(
    backend: Backend,
    embedder: Embedder | None,
    questions: int,
    settings: Sequence[int],
    *,
    progress: Progress,
    cancel: CancelToken,
) -> Measurement:
    """Raises UsageError where no passage has a vector. Cancelled, it has what was measured so far."""
    with backend.view() as view:
        texts, vectors = _questions(view, embedder, questions)
        run = _Run(len(texts), progress, cancel)
        exact, exactly = run.answers("exact", lambda n: view.nearest(vectors[n], K, Scope(), exact=True))
        fast, quick = run.answers("vector", lambda n: view.nearest(vectors[n], K, Scope()), warm=_LOADING)
        searches = {"vector": quick, "exact": exactly}
        searches["text"] = run.answers("text", lambda n: view.matching(texts[n], K, Scope()))[1]
        whole = [Request(text, vector, K, "hybrid", Scope()) for text, vector in zip(texts, vectors, strict=True)]
        searches["hybrid"] = run.answers("hybrid", lambda n: search(view, whole[n], embedder))[1]
        others = []
        for candidates in settings:
            ask = functools.partial(_nearest, view, vectors, candidates)
            found, took = run.answers(f"{candidates:,} candidates", ask)
            others.append(Setting(candidates, _recall(exact, found), took))
        return Measurement(
            chunks=len(view.live_keys()),
            questions=len(texts),
            asked="stored vectors" if embedder is None else f"first sentences, by {embedder.identity.name}",
            candidates=view.candidates,
            recall=_recall(exact, fast),
            promised=promised(len(view.live_keys())),
            searches=searches,
            settings=tuple(others),
            cancelled=cancel.cancelled,
        )


def require_promise(found: Measurement) -> None:
    """Raises UsageError where its setting finds less than is promised."""
    setting = found.settings[0]
    if setting.recall < found.promised:
        raise UsageError(
            f"With {setting.candidates:,} candidates recall@10 is {setting.recall:.4f}, and {found.promised} is promised.",
            hint="Choose more, or say that it is wanted so: --force (force=True).",
            expected=found.promised,
            actual=setting.recall,
        )


def _nearest(view: View, vectors: Sequence[NDArray[np.float32]], candidates: int, n: int) -> Scored:
    return view.nearest(vectors[n], K, Scope(), candidates=candidates)


class _Run:
    """Answers with the time that each took."""

    def __init__(self, total: int, progress: Progress, cancel: CancelToken) -> None:
        self._total = total
        self._progress = progress
        self._cancel = cancel

    def answers(self, what: str, ask: Callable[[int], Any], *, warm: int = _WARM) -> tuple[list[Any], Timing]:
        """The first questions are asked twice: what is imported, mapped or loaded for them is not part of a search."""
        for n in range(warm):
            if self._cancel.cancelled:
                break
            ask(n % self._total)
        found, took = [], []
        for n in range(self._total):
            if self._cancel.cancelled:
                break
            begun = time.perf_counter()
            found.append(ask(n))
            took.append(time.perf_counter() - begun)
            self._progress(ProgressEvent("measure", done=n + 1, total=self._total, current=what))
        took = sorted(took) or [float("nan")]
        return found, Timing(1000 * statistics.median(took), 1000 * took[-(-99 * len(took) // 100) - 1])


def _recall(exact: Sequence[Scored], found: Sequence[Scored]) -> float:
    """The share of the exact ten best that were found."""
    right = [
        len(np.intersect1d(one.keys, other.keys)) / max(len(one.keys), 1)
        for one, other in zip(exact, found, strict=False)
    ]
    return statistics.mean(right) if right else float("nan")


def _questions(view: View, embedder: Embedder | None, n: int) -> tuple[list[str], list[NDArray[np.float32]]]:
    keys = view.live_keys(with_vector=True)
    if not len(keys):
        raise UsageError("No passage of this library has a vector: there is nothing to measure.")
    chosen = keys[np.unique(np.linspace(0, len(keys) - 1, min(n, len(keys))).astype(np.int64))].tolist()
    texts = [_first_sentence(passage.text) for passage in view.passages(chosen)]
    if embedder is None:
        return texts, list(view.vectors(chosen))
    return texts, [embedder.embed_query(text) for text in texts]


def _first_sentence(text: str) -> str:
    sentence = re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]
    # Quotes and signs would mean something in a query.
    return " ".join(re.findall(r"\w+", sentence)[:_WORDS]) or text[:40]
