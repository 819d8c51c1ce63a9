"""Queries of LangChain's vector stores, over one view of a library."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

from langchain_core.documents import Document

from stackroom.adapters.langchain.documents import Candidate, of_hit
from stackroom.adapters.langchain.filters import to_filter
from stackroom.backend import Scope, View
from stackroom.errors import UsageError
from stackroom.protocols import Embedder
from stackroom.types import Hit, Metric, Mode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FETCH = 32

FilterFunction = Callable[[Any], bool]
AnyFilter = Mapping[str, Any] | FilterFunction | None
Found = list[tuple[Document, float]]


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `text` None means that only a vector was given; `vector` None that only words count.

    `keep` is a filter function; it sees `fetch_k` candidates at first, and more where it leaves too few.
    """

    text: str | None
    k: int
    mode: Mode
    vector: NDArray[np.float32] | None = None
    scope: Scope = field(default_factory=Scope)
    keep: FilterFunction | None = None
    fetch_k: int = 0
    least: float | None = None


def query_of(text: str | None, k: int, mode: Mode, filter: AnyFilter, options: Mapping[str, Any]) -> Query:
    """The query that these arguments mean, still without its vector. Raises UsageError, which is a ValueError."""
    given = dict(options)
    chosen = given.pop("mode", None) or mode
    sources, active = given.pop("sources", None), given.pop("active", False)
    fetch_k, least = given.pop("fetch_k", None), given.pop("score_threshold", None)
    if given:
        raise UsageError(
            f"A search has no option {next(iter(given))!r}.",
            hint="There are: k, filter, mode, active, sources, fetch_k, score_threshold.",
        )
    if chosen not in get_args(Mode):
        raise UsageError(f"There is no mode {chosen!r}.", hint="Use 'vector', 'hybrid' or 'text'.")
    if isinstance(sources, str):
        sources = [sources]
    where = keep = None
    if isinstance(filter, Mapping):
        where = to_filter(filter)
    elif callable(filter):
        keep = filter
    elif filter is not None:
        raise UsageError(f"{type(filter).__name__} is not a filter.", hint="Give a dict or a function.")
    scope = Scope(where, sources=None if sources is None else tuple(sources), active=active)
    return Query(text, number("k", k), chosen, None, scope, keep, number("fetch_k", fetch_k or 0), least)


def number(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name} must not be {value!r}.", hint="Give a whole number.") from None


def find(view: View, query: Query, embedder: Embedder | None) -> Found:
    """The `k` best with their scores, best first. Raises what a search raises."""
    if query.keep is None:
        found = [(of_hit(hit), hit.score) for hit in _hits(view, query, query.k, embedder)]
    else:
        found = _kept(view, query, query.keep, embedder)
    return [pair for pair in found if query.least is None or pair[1] >= query.least]


def _hits(view: View, query: Query, k: int, embedder: Embedder | None) -> list[Hit]:
    from stackroom.search.retriever import Request, search

    return search(view, Request(query.text, query.vector, k, query.mode, query.scope), embedder)


def _kept(view: View, query: Query, keep: FilterFunction, embedder: Embedder | None) -> Found:
    """The best that a function keeps: ever deeper, until there are enough or no more."""
    if query.k <= 0:
        return []
    verdicts: dict[str, bool] = {}
    depth = max(query.fetch_k, 4 * query.k, _FETCH)
    while True:
        hits = _hits(view, query, depth, embedder)
        kept = []
        for hit in hits:
            if hit.chunk_id not in verdicts:
                verdicts[hit.chunk_id] = bool(keep(of_hit(hit, Candidate)))
            if verdicts[hit.chunk_id]:
                kept.append(hit)
        if len(kept) >= query.k or len(hits) < depth:
            return [(of_hit(hit), hit.score) for hit in kept[: query.k]]
        depth *= 4


def diverse(view: View, query: Query, k: int, relevance: float) -> Found:
    """Maximal marginal relevance among the query's own best; the scores are those of a vector search all the same."""
    from stackroom.search import diversity

    found = find(view, replace(query, k=max(query.k, k)), None)
    if not found or query.vector is None or k <= 0:
        return []
    keys = [key for key in view.chunk_keys([document.id or "" for document, _ in found]) if key is not None]
    chosen = diversity.choose(query.vector, view.vectors(keys), k, relevance=relevance)
    return [found[at] for at in chosen.tolist()]


def relevance_of(metric: Metric) -> Callable[[float], float]:
    """How a vector score becomes a number from 0 to 1: a cosine is one already, but for those that point away."""
    if metric == "l2":
        # The score is the squared distance, negated.
        return lambda score: 1.0 / (1.0 + max(0.0, -score) ** 0.5)
    return lambda score: min(1.0, max(0.0, score))


def relevant(view: View, query: Query, embedder: Embedder | None) -> Found:
    """The best with their relevance from 0 to 1, in every mode."""
    found = find(view, query, embedder)
    if query.mode == "vector":
        change = relevance_of(view.identity.metric if view.identity else "cosine")
    elif query.mode == "hybrid":
        return found
    else:
        from stackroom.search.fusion import upper_bound

        bound = upper_bound(view.matching(query.text or "", 1, query.scope)[1])
        change = relevance_of("cosine") if bound <= 0 else lambda score: min(1.0, max(0.0, score / bound))
    return [(document, change(score)) for document, score in found]


def keys_of(view: View, ids: Sequence[str]) -> list[int]:
    """The keys of the chunks of these ids that there are, each once, in the order asked. Raises UsageError."""
    if isinstance(ids, str):
        raise UsageError("ids is one text.", hint="Give a list of ids.")
    return [key for key in view.chunk_keys(list(dict.fromkeys(map(str, ids)))) if key is not None]
