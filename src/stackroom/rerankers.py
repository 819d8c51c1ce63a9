"""Rerankers by name: a cross-encoder of fastembed, or any object with the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stackroom._optional import require
from stackroom.errors import UnavailableError, UsageError
from stackroom.protocols import Reranker
from stackroom.search.reranking import Reranking

_LEAST_RERANKED = 30


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
            names = [one["model"] for one in TextCrossEncoder.list_supported_models()]
            raise UnavailableError(
                f"fastembed can't load the reranker {model!r}: {error}",
                hint="It is fetched from the network, once." if model in names else f"There are: {', '.join(names)}.",
            ) from error

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """The model's own numbers, one for each text: higher is better, of no fixed range."""
        # One at a time: padding costs, and a quantised model's answer would depend on its neighbours.
        return [float(score) for score in self._model.rerank(query, list(texts), batch_size=1)]


def asked(rerank: str | Reranker, query: object, k: int, seconds: float, *, loaded: dict[str, Reranker]) -> Reranking:
    """What a search for `k` hits asks of a reranker. One that is named is kept in `loaded`: loading it takes longer than a search.

    Raises UsageError where the query is no text, and what `resolve` raises.
    """
    if not isinstance(query, str):
        raise UsageError("A reranker reads a question, and a vector is none.", hint="Give the query as text.")
    if isinstance(rerank, str):
        if rerank not in loaded:
            loaded[rerank] = resolve(rerank)
        rerank = loaded[rerank]
    return Reranking(resolve(rerank), max(3 * k, _LEAST_RERANKED), seconds)


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
