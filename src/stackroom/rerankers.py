"""Rerankers by name: a cross-encoder of fastembed, or any object with the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stackroom._optional import require
from stackroom.errors import UnavailableError, UsageError
from stackroom.protocols import Reranker


class FastembedReranker:
    """A cross-encoder that fastembed fetches and runs. `options` go to its TextCrossEncoder as they are.

    Loaded where it is made, so that a search need not wait for it. Raises MissingExtraError, UnavailableError.
    """

    def __init__(self, model: str, **options: Any) -> None:
        self.name = f"fastembed:{model}"
        require("fastembed", extra="fastembed")
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        try:
            self._model = TextCrossEncoder(model_name=model, **options)
        except Exception as error:  # fastembed's own, and those of what it fetches with
            raise UnavailableError(
                f"fastembed can't load the reranker {model!r}: {error}",
                hint="See what it has: fastembed.rerank.cross_encoder.TextCrossEncoder.list_supported_models()",
            ) from error

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """The model's own numbers, one for each text: higher is better, of no fixed range."""
        # One at a time: padding costs, and a quantised model's answer would depend on its neighbours.
        return [float(score) for score in self._model.rerank(query, list(texts), batch_size=1)]


def resolve(reranker: str | Reranker) -> Reranker:
    """The reranker `fastembed:MODEL`, or the object. Raises UsageError, MissingExtraError, UnavailableError."""
    if not isinstance(reranker, str):
        if not isinstance(reranker, Reranker):
            raise UsageError(
                f"{type(reranker).__name__} is not a reranker.", hint="It needs a name and scores(query, texts)."
            )
        return reranker
    kind, _, model = reranker.partition(":")
    if kind != "fastembed" or not model:
        raise UsageError(
            f"There is no reranker called {reranker!r}.",
            hint="Give fastembed:MODEL, for example fastembed:Xenova/ms-marco-MiniLM-L-6-v2",
            actual=reranker,
        )
    return FastembedReranker(model)
