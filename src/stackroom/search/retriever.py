"""A query in, hits out: runs the legs over one view, fuses them, and fetches what the reader sees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.backend import DocumentRecord, Scope, Scored, SourceRecord, View
from stackroom.errors import DamagedError, NotFoundError, UsageError
from stackroom.types import Excerpt, Explanation, Hit, HitDocument, Leg, Mode, Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.protocols import Embedder
    from stackroom.search.reranking import Reranking

# What knows words is imported where there are some: a process that asks with a vector starts sooner.

_DEPTH = 100
_JUDGED = 10
"""Hits by meaning that a fused search has at least: its first ones say whether the model knows their language."""


class Request(NamedTuple):
    """One search. `text` None means that only a vector was given; `vector` None that only words count."""

    text: str | None
    vector: NDArray[np.float32] | None
    k: int
    mode: Mode
    scope: Scope
    exact: bool = False
    per_document: int | None = None
    context: int = 0
    explain: bool = False
    reranking: Reranking | None = None


class _Ranking(NamedTuple):
    """Keys best first with their scores, and why each is where it is."""

    keys: NDArray[np.int64]
    scores: NDArray[np.float64]
    explain: Callable[[int], Explanation]
    complete: bool
    """whether a deeper look could find more"""


def search(view: View, request: Request, embedder: Embedder | None) -> list[Hit]:
    """The best `k` hits. Raises UsageError, NotFoundError, DimensionMismatchError, DamagedError."""
    if request.k <= 0:
        return []
    if request.text is not None:
        request = request._replace(scope=_conditioned(request.scope, request.text))
    depth = _depth(request)
    while True:
        ranking = _rank(view, request, embedder, depth)
        if request.reranking is not None and request.text is not None:
            ranking = _reranked(view, request.text, request.reranking, ranking)
        chosen, passages = _choose(view, request, ranking)
        if len(chosen) == request.k or ranking.complete or request.per_document is None:
            break
        # Passages of few documents fill the top: look deeper for others.
        depth *= 4
    found = view.document_of(list({passage.document_id for passage in passages}))
    hits = []
    for rank, (index, passage) in enumerate(zip(chosen, passages, strict=True), start=1):
        if passage.document_id not in found:
            raise DamagedError(
                f"The document {passage.document_id!r} of a passage can't be found by its id.",
                hint="See what is hit: stackroom verify",
                actual=passage.document_id,
            )
        document, source = found[passage.document_id]
        key = int(ranking.keys[index])
        before, after = view.neighbours(key, request.context) if request.context else ([], [])
        hits.append(
            Hit(
                rank=rank,
                score=float(ranking.scores[index]),
                chunk_id=passage.chunk_id,
                text=passage.text,
                document=described(document, source),
                place=passage.place,
                metadata=passage.metadata,
                explain=ranking.explain(index) if request.explain else None,
                before=tuple(before),
                after=tuple(after),
            )
        )
    return hits


def described(document: DocumentRecord, source: SourceRecord) -> HitDocument:
    title = document.title or source.title or os.path.basename(source.name) or source.name
    return HitDocument(document.document_id, title, source.name, document.metadata, source.source_id, source.type)


def excerpt(view: View, chunk_id: str, context: int) -> Excerpt:
    """A passage with up to `context` before and after it. Raises NotFoundError, DamagedError."""
    (key,) = view.chunk_keys([chunk_id])
    if key is None:
        raise NotFoundError(
            f"There is no passage {chunk_id!r}.", hint="It may have been removed: search again.", actual=chunk_id
        )
    (passage,) = view.passages([key])
    before, after = view.neighbours(key, context) if context else ([], [])
    document, source = view.document_of([passage.document_id])[passage.document_id]
    return Excerpt(described(document, source), passage, tuple(before), tuple(after))


def _conditioned(scope: Scope, text: str) -> Scope:
    """The scope without what the query excludes, and with what it quotes: the meaning leg knows no words, so the scope of both legs says so."""
    from stackroom.storage.words.tokenizer import parse_query

    asked = parse_query(text)
    if not (asked.excluded or asked.phrases):
        return scope
    return replace(scope, without=asked.excluded, phrases=tuple(asked.phrases))


def _depth(request: Request) -> int:
    """How many hits each leg is asked for: more than are wanted where legs are fused, or hits of one document are limited."""
    fused = request.mode == "hybrid" and request.text is not None
    if request.reranking is not None:
        return max(_DEPTH, 2 * request.k, request.reranking.candidates)
    return max(_DEPTH, 2 * request.k) if fused or request.per_document is not None else request.k


def _vector_depth(request: Request, depth: int) -> int:
    """How many hits by meaning are enough where those by words are `depth`.

    What the words have not found is explained by them no better than what they have, so that it comes among the best `k` of both by being
    among the best `k` by meaning. More are wanted where hits are left out, or where ranks are to be told.
    """
    if request.mode != "hybrid" or request.per_document is not None or request.reranking is not None or request.explain:
        return depth
    return min(max(request.k, _JUDGED), depth)


def _choose(view: View, request: Request, ranking: _Ranking) -> tuple[list[int], list[Passage]]:
    """Positions in the ranking, and their passages: the first `k`, with at most `per_document` of one document."""
    if request.per_document is None:
        keys = ranking.keys[: request.k].tolist()
        return list(range(len(keys))), view.passages(keys)
    keys = ranking.keys.tolist()
    taken: Counter[int] = Counter()
    chosen = []
    # A document may have thousands of the best: their texts are not read.
    for index, document in enumerate(view.document_keys(keys)):
        if taken[document] < request.per_document:
            taken[document] += 1
            chosen.append(index)
            if len(chosen) == request.k:
                break
    return chosen, view.passages([keys[index] for index in chosen])


def _reranked(view: View, text: str, asked: Reranking, ranking: _Ranking) -> _Ranking:
    """The first candidates in the order of the reranker, with its scores, or the ranking as it is."""
    from stackroom.search.reranking import judged

    keys = ranking.keys[: asked.candidates]
    found = judged(asked, text, [passage.text for passage in view.passages(keys.tolist())]) if len(keys) else None
    if found is None:
        # Looking deeper would only take the time once more.
        return ranking._replace(complete=True)
    scores = np.array(found, dtype=np.float64)
    order = np.lexsort((np.arange(len(keys)), -scores))
    ranks = {int(at): rank for rank, at in enumerate(order, start=1)}

    def explain(index: int) -> Explanation:
        at = int(order[index])
        return replace(ranking.explain(at), rerank=Leg(ranks[at], float(scores[at])))

    return _Ranking(keys[order], scores[order], explain, complete=True)


def _rank(view: View, request: Request, embedder: Embedder | None, depth: int) -> _Ranking:
    if request.mode == "text":
        return _text_only(view, request, depth)
    if request.vector is None:
        raise UsageError("This search needs a vector, and there is no model to make one.", hint="Use mode='text'.")
    if request.mode == "vector" or request.text is None:
        vector = view.nearest(request.vector, depth, request.scope, exact=request.exact)
        return _Ranking(vector.keys, vector.scores, _explain_leg("vector", vector), complete=len(vector.keys) < depth)
    vector = view.nearest(request.vector, _vector_depth(request, depth), request.scope, exact=request.exact)
    return _hybrid(view, request, request.vector, vector, request.text, embedder, depth)


def _text_only(view: View, request: Request, depth: int) -> _Ranking:
    if request.text is None:
        raise UsageError("A text search needs words.", hint="Give the query as text.")
    text, _ = view.matching(request.text, depth, request.scope)
    return _Ranking(text.keys, text.scores, _explain_leg("text", text), complete=len(text.keys) < depth)


def _hybrid(
    view: View,
    request: Request,
    query: NDArray[np.float32],
    vector: Scored,
    words: str,
    embedder: Embedder | None,
    depth: int,
) -> _Ranking:
    from stackroom.search import fusion

    text, statistics = view.matching(words, depth, request.scope)
    keys = fusion.candidates(vector, text)
    fused = fusion.fuse(
        keys,
        _vector_scores(view, query, keys, vector),
        text,
        statistics,
        background=view.background(query),
        familiarity=_familiarity(view, vector, words, embedder),
        text_is_full=len(text.keys) == depth,
    )
    ranks = {name: _ranks(leg) for name, leg in (("vector", vector), ("text", text))}

    def explain(index: int) -> Explanation:
        key = int(fused.keys[index])
        return Explanation(
            vector=_leg(ranks["vector"].get(key), float(fused.vector_share[index])),
            text=_leg(ranks["text"].get(key), float(fused.text_share[index])),
            weights={"vector": fused.weight, "text": 1.0},
            matched=statistics.terms,
        )

    return _Ranking(fused.keys, fused.scores, explain, complete=len(vector.keys) < depth and len(text.keys) < depth)


def _vector_scores(
    view: View, query: NDArray[np.float32], keys: NDArray[np.int64], vector: Scored
) -> NDArray[np.float64]:
    """The vector score of each of these keys: what its leg found is known, the others are asked for."""
    known = dict(zip(vector.keys.tolist(), vector.scores.tolist(), strict=True))
    scores = np.array([known.get(key, np.nan) for key in keys.tolist()], dtype=np.float64)
    others = np.array([key not in known for key in keys.tolist()], dtype=np.bool_)
    if others.any():
        scores[others] = view.scores(query, keys[others].tolist())
    return scores


def _familiarity(view: View, vector: Scored, words: str, embedder: Embedder | None) -> float:
    """How far the model's opinion counts: it must know the query's language, and that of what it found."""
    from stackroom.search.familiarity import familiarity

    tokenizer = None if embedder is None else embedder.tokenizer
    if tokenizer is None:
        return 1.0
    texts = [passage.text for passage in view.passages(vector.keys[:3].tolist())]
    return min(familiarity(tokenizer, [words]), familiarity(tokenizer, texts))


def _ranks(leg: Scored) -> dict[int, tuple[int, float]]:
    return {
        key: (rank, score)
        for rank, (key, score) in enumerate(zip(leg.keys.tolist(), leg.scores.tolist(), strict=True), start=1)
    }


def _leg(found: tuple[int, float] | None, share: float) -> Leg | None:
    return None if found is None else Leg(found[0], found[1], share)


def _explain_leg(name: str, leg: Scored) -> Callable[[int], Explanation]:
    def explain(index: int) -> Explanation:
        found = Leg(index + 1, float(leg.scores[index]))
        return Explanation(vector=found) if name == "vector" else Explanation(text=found)

    return explain
