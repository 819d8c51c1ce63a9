"""The query modes of LlamaIndex's vector stores, over one view of a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.core.vector_stores.types import VectorStoreQueryMode as Mode

from stackroom.adapters import likeness
from stackroom.backend import Scope, Scored, View
from stackroom.errors import StackroomError, UsageError
from stackroom.index import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.adapters.llamaindex.embedding import StackroomEmbedding

_WORDS = (Mode.TEXT_SEARCH, Mode.SPARSE)
_HYBRID = (Mode.HYBRID, Mode.SEMANTIC_HYBRID)
_LEARNERS = (Mode.SVM, Mode.LOGISTIC_REGRESSION, Mode.LINEAR_REGRESSION)


def as_vector(values: Any) -> NDArray[np.float32]:
    """Numbers of any kind as one row of float32. Raises UsageError, which is a ValueError."""
    try:
        row = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError("An embedding is a list of numbers.", hint="Look at the embedding model.") from error
    if row.ndim != 1 or not np.isfinite(row).all():
        raise UsageError("An embedding is one row of finite numbers.", hint="Look at the embedding model.")
    return row


def needs_vector(query: VectorStoreQuery) -> bool:
    """Whether this query can't be answered by words alone."""
    return query.mode not in _WORDS and not (query.mode in _HYBRID and query.alpha == 0)


def rank(view: View, query: VectorStoreQuery, scope: Scope, options: Mapping[str, Any]) -> Scored:
    """The best chunks for a query. Raises ValueError for a mode that there is not, and for a query that says too little."""
    mode, k = query.mode, query.similarity_top_k
    if mode in _LEARNERS:
        raise UsageError(
            f"There is no query mode {mode.value!r} here: it trains a classifier on every stored vector for each query.",
            hint="Use 'default', 'mmr', 'text_search' or 'hybrid'.",
        )
    if mode in _WORDS:
        return view.matching(_words(query), query.sparse_top_k or k, scope)[0]
    if mode in _HYBRID:
        return _hybrid(view, query, scope)
    vector = as_vector(query.query_embedding)
    if mode == Mode.MMR:
        return _diverse(view, query, vector, scope, options)
    if mode != Mode.DEFAULT:
        raise UsageError(
            f"There is no query mode {mode!r} here.", hint="Use 'default', 'mmr', 'text_search' or 'hybrid'."
        )
    return view.nearest(vector, k, scope)


def _words(query: VectorStoreQuery) -> str:
    if query.query_str is None:
        raise UsageError(
            f"A query in the mode {query.mode.value!r} needs query_str.", hint="Give the words to look for."
        )
    return query.query_str


def _hybrid(view: View, query: VectorStoreQuery, scope: Scope) -> Scored:
    """`alpha` 1 is vectors alone, 0 words alone, None reciprocal ranks."""
    from stackroom.search import fusion

    k = query.hybrid_top_k or query.similarity_top_k
    words_deep = query.sparse_top_k or query.similarity_top_k
    alpha = query.alpha
    if alpha is not None and not 0 <= alpha <= 1:
        raise UsageError(f"alpha is between 0 (words) and 1 (vectors), not {alpha!r}.")
    if alpha == 0:
        return view.matching(_words(query), k, scope)[0]
    vector = view.nearest(as_vector(query.query_embedding), k if alpha == 1 else query.similarity_top_k, scope)
    if alpha == 1:
        return vector
    text, _ = view.matching(_words(query), words_deep, scope)
    fused = fusion.by_rank(vector, text) if alpha is None else fusion.by_score(vector, text, alpha)
    return Scored(fused.keys[:k], fused.scores[:k])


def _diverse(
    view: View, query: VectorStoreQuery, vector: NDArray[np.float32], scope: Scope, options: Mapping[str, Any]
) -> Scored:
    """Maximal marginal relevance; the similarities are cosines all the same."""
    from stackroom.search import diversity

    threshold = options.get("mmr_threshold", query.mmr_threshold)
    k = query.similarity_top_k
    if options.get("mmr_prefetch_k") is not None:
        depth = int(options["mmr_prefetch_k"])
    else:
        depth = int(k * float(options.get("mmr_prefetch_factor") or diversity.PREFETCH))
    found = view.nearest(vector, max(depth, k), scope)
    rows = view.vectors(found.keys.tolist(), collection=scope.collection)
    chosen = diversity.choose(vector, rows, k, relevance=0.5 if threshold is None else float(threshold))
    return Scored(found.keys[chosen], found.scores[chosen])


def reranked(
    reranker: Any, words: str, nodes: list[BaseNode], scores: list[float]
) -> tuple[list[BaseNode], list[float]]:
    """What a LlamaIndex node postprocessor makes of these nodes."""
    given = [NodeWithScore(node=node, score=score) for node, score in zip(nodes, scores, strict=True)]
    found = reranker.postprocess_nodes(given, query_bundle=QueryBundle(query_str=words))
    return [item.node for item in found], [float(item.score or 0.0) for item in found]


def require_like(index: Index, nodes: Sequence[BaseNode], named: StackroomEmbedding | None) -> None:
    """Whether the model that the application names made these vectors, or else the one that the library does, where it is at hand.

    Raises EmbedderMismatchError where it did not.
    """
    with index.backend.view() as view:
        identity = view.identity if named is None else named.stackroom_identity
    if identity is None or not identity.name:
        return
    chosen = [node for node in nodes if node.embedding is not None and node.get_content().strip()][: likeness.SAMPLES]
    rows = [as_vector(node.embedding) for node in chosen]
    if not rows or any(row.shape != (identity.dim,) for row in rows):
        return
    try:
        model = index.embedder() if named is None else named.embedder
    except StackroomError:
        return
    likeness.require_like(
        model.embed_passages([node.get_content(metadata_mode=MetadataMode.EMBED) for node in chosen]),
        np.array(rows),
        library=identity,
        others="these vectors with another one",
        hint="Use that model (StackroomEmbedding has those that Stackroom knows), another library, or embed anew: "
        "stackroom rebuild --embedder NAME",
    )
