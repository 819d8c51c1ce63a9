"""Every query mode and every field of a query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.indices.query.embedding_utils import get_top_k_embeddings
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryResult
from llama_index.core.vector_stores.types import VectorStoreQueryMode as Mode

from llamaindex_support import DIM, WordEmbedding, ids, node, random_nodes, vector_of
from stackroom.adapters.llamaindex import StackroomVectorStore
from stackroom.errors import DimensionMismatchError

TEXTS = {
    "light": "The lighthouse keeper lights the lamp at dusk",
    "lamp": "A lamp for the desk with a green shade",
    "ship": "Ships steer by the light of the tower",
    "bread": "Bread is baked before dawn in the village",
    "dawn": "At dawn the village wakes and the lamp goes out",
}


@pytest.fixture
def store(library: Path) -> StackroomVectorStore:
    made = StackroomVectorStore(library)
    made.add([node(name, text, f"doc-{name}") for name, text in TEXTS.items()])
    return made


def query(store: StackroomVectorStore, **fields: Any) -> VectorStoreQueryResult:
    fields = {"similarity_top_k": 3, **fields}
    options = fields.pop("options", {})
    return store.query(VectorStoreQuery(**fields), **options)


def test_the_default_mode_is_an_exact_vector_search(library: Path) -> None:
    store = StackroomVectorStore(library)
    nodes = random_nodes(300, seed=3)
    store.add(nodes)
    for seed in range(20):
        wanted = np.random.default_rng(100 + seed).standard_normal(DIM).tolist()
        scores, best = get_top_k_embeddings(wanted, [item.embedding or [] for item in nodes], None, 10, ids(nodes))
        found = query(store, query_embedding=wanted, similarity_top_k=10)
        assert found.ids == best
        assert found.similarities == pytest.approx(scores, abs=1e-6)
        assert all(type(score) is float for score in found.similarities or [])
        assert ids(found.nodes or []) == best


def test_how_many(store: StackroomVectorStore) -> None:
    for k, n in ((0, 0), (-1, 0), (2, 2), (5, 5), (99, 5)):
        assert len(query(store, query_embedding=vector_of("lamp"), similarity_top_k=k).ids or []) == n


def test_an_empty_store_answers_with_nothing(library: Path) -> None:
    found = query(StackroomVectorStore(library), query_embedding=[1.0, 2.0])
    assert (found.nodes, found.ids, found.similarities) == ([], [], [])


def test_node_ids(store: StackroomVectorStore) -> None:
    vector = vector_of("lamp")
    everything = query(store, query_embedding=vector, similarity_top_k=9).ids
    assert query(store, query_embedding=vector, similarity_top_k=9, node_ids=None).ids == everything
    assert query(store, query_embedding=vector, similarity_top_k=9, node_ids=[]).ids == everything
    some = ["bread", "missing", "light"]
    for _ in range(2):
        assert set(query(store, query_embedding=vector, similarity_top_k=9, node_ids=some).ids or []) == {
            "bread",
            "light",
        }
    some.append("dawn")
    assert len(query(store, query_embedding=vector, similarity_top_k=9, node_ids=some).ids or []) == 3
    assert query(store, query_embedding=vector, node_ids=["missing"]).ids == []
    store.add([node("bread", "bread and lamp", "doc-bread")])
    assert "bread" in (query(store, query_embedding=vector, node_ids=some).ids or [])


def test_document_ids(store: StackroomVectorStore) -> None:
    vector = vector_of("lamp")
    assert query(store, query_embedding=vector, doc_ids=["doc-bread", "nothing"]).ids == ["bread"]
    assert query(store, query_embedding=vector, doc_ids=["doc-bread"], node_ids=["light"]).ids == []
    assert query(store, query_str="village", mode=Mode.TEXT_SEARCH, doc_ids=["doc-dawn"]).ids == ["dawn"]


def test_a_vector_of_another_length_is_an_error_that_names_both(store: StackroomVectorStore) -> None:
    with pytest.raises(DimensionMismatchError, match=rf"\(3,\).*{DIM}"):
        query(store, query_embedding=[1.0, 2.0, 3.0])


def test_a_vector_query_without_a_vector(store: StackroomVectorStore, library: Path) -> None:
    with pytest.raises(ValueError, match="needs query_embedding"):
        query(store, query_str="lamp")
    knowing = StackroomVectorStore(library, embed_model=WordEmbedding())
    assert query(knowing, query_str=TEXTS["lamp"], similarity_top_k=1).ids == ["lamp"]


def test_a_query_of_zeros_scores_nothing(store: StackroomVectorStore) -> None:
    found = query(store, query_embedding=[0.0] * DIM)
    assert found.similarities == [0.0, 0.0, 0.0]


def test_a_vector_of_zeros_scores_nothing(store: StackroomVectorStore) -> None:
    store.add([node("zero", "nothing", embedding=[0.0] * DIM)])
    found = query(store, query_embedding=vector_of("lamp"), similarity_top_k=9)
    assert dict(zip(found.ids or [], found.similarities or [], strict=True))["zero"] == 0.0


def test_equal_scores_go_to_the_older(library: Path) -> None:
    store = StackroomVectorStore(library)
    for name in ("c", "a", "b"):
        store.add([node(name, "the same", name)])
    assert query(store, query_embedding=vector_of("the same")).ids == ["c", "a", "b"]


def test_fields_that_other_engines_use_are_ignored(store: StackroomVectorStore) -> None:
    vector = vector_of("lamp")
    plain = query(store, query_embedding=vector)
    assert query(store, query_embedding=vector, output_fields=["x"], embedding_field="y").ids == plain.ids


@pytest.mark.parametrize("mode", [Mode.TEXT_SEARCH, Mode.SPARSE])
def test_words(store: StackroomVectorStore, mode: Mode) -> None:
    found = query(store, query_str="village dawn", mode=mode, similarity_top_k=9)
    assert set(found.ids or []) == {"bread", "dawn"}
    assert all(score > 0 for score in found.similarities or [])
    assert len(query(store, query_str="village dawn", mode=mode, sparse_top_k=1).ids or []) == 1
    with pytest.raises(ValueError, match="needs query_str"):
        query(store, query_embedding=vector_of("x"), mode=mode)


class TestHybrid:
    words = "village dawn"

    def ask(self, store: StackroomVectorStore, text: str = "tower light", **fields: Any) -> VectorStoreQueryResult:
        fields = {"query_str": self.words, "query_embedding": vector_of(text), "mode": Mode.HYBRID, **fields}
        return query(store, **fields)

    def test_alpha_one_is_vectors(self, store: StackroomVectorStore) -> None:
        assert self.ask(store, alpha=1.0) == query(store, query_embedding=vector_of("tower light"))

    def test_alpha_zero_is_words_and_needs_no_vector(self, store: StackroomVectorStore) -> None:
        expected = query(store, query_str=self.words, mode=Mode.TEXT_SEARCH)
        assert self.ask(store, alpha=0.0, query_embedding=None) == expected

    def test_between_is_linear_in_scaled_scores(self, store: StackroomVectorStore) -> None:
        vector = query(store, query_embedding=vector_of("tower light"), similarity_top_k=5)
        words = query(store, query_str=self.words, mode=Mode.TEXT_SEARCH, similarity_top_k=5)
        expected = dict.fromkeys(TEXTS, 0.0)
        for leg, weight in ((vector, 0.7), (words, 0.3)):
            scores = np.array(leg.similarities)
            for name, score in zip(leg.ids or [], (scores - scores.min()) / (scores.max() - scores.min()), strict=True):
                expected[name] += weight * score
        found = self.ask(store, alpha=0.7, similarity_top_k=5)
        assert dict(zip(found.ids or [], found.similarities or [], strict=True)) == pytest.approx(expected)
        assert found.similarities == sorted(found.similarities or [], reverse=True)

    def test_without_alpha_ranks_are_fused(self, store: StackroomVectorStore) -> None:
        found = self.ask(store, similarity_top_k=5)
        vector = query(store, query_embedding=vector_of("tower light"), similarity_top_k=5).ids or []
        words = query(store, query_str=self.words, mode=Mode.TEXT_SEARCH, similarity_top_k=5).ids or []
        expected = {name: sum(1 / (61 + leg.index(name)) for leg in (vector, words) if name in leg) for name in TEXTS}
        assert dict(zip(found.ids or [], found.similarities or [], strict=True)) == pytest.approx(expected)

    def test_depths(self, store: StackroomVectorStore) -> None:
        assert len(self.ask(store, similarity_top_k=5, hybrid_top_k=2).ids or []) == 2
        found = self.ask(store, similarity_top_k=1, sparse_top_k=1, hybrid_top_k=9)
        assert len(found.ids or []) == 2

    def test_alpha_out_of_range(self, store: StackroomVectorStore) -> None:
        with pytest.raises(ValueError, match="alpha"):
            self.ask(store, alpha=1.5)


class Backwards(BaseNodePostprocessor):
    """A reranker that finds the last the best."""

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        assert query_bundle is not None
        return [NodeWithScore(node=item.node, score=float(i)) for i, item in enumerate(reversed(nodes))]


def test_semantic_hybrid_reranks_where_it_can(store: StackroomVectorStore, library: Path) -> None:
    fields = {"query_str": "village dawn", "query_embedding": vector_of("tower light")}
    plain = query(store, mode=Mode.HYBRID, **fields)
    assert query(store, mode=Mode.SEMANTIC_HYBRID, **fields).ids == plain.ids
    reranking = StackroomVectorStore(library, reranker=Backwards())
    found = query(reranking, mode=Mode.SEMANTIC_HYBRID, **fields)
    assert found.ids == list(reversed(plain.ids or []))
    assert found.similarities == [0.0, 1.0, 2.0]


class TestDiversity:
    @pytest.fixture
    def store(self, library: Path) -> StackroomVectorStore:
        store = StackroomVectorStore(library)
        store.add([
            node("near", "", embedding=[1.0, 0.0, 0.0]),
            node("twin", "", embedding=[0.999, 0.02, 0.0]),
            node("other", "", embedding=[0.7, 0.0, 0.7]),
            node("far", "", embedding=[0.0, 1.0, 0.0]),
        ])  # fmt: skip
        return store

    def ask(self, store: StackroomVectorStore, **fields: Any) -> VectorStoreQueryResult:
        fields = {"similarity_top_k": 2, "mode": Mode.MMR, "query_embedding": [1.0, 0.01, 0.1], **fields}
        return query(store, **fields)

    def test_a_twin_makes_way(self, store: StackroomVectorStore) -> None:
        assert query(store, query_embedding=[1.0, 0.01, 0.1], similarity_top_k=2).ids == ["near", "twin"]
        assert self.ask(store, mmr_threshold=0.5).ids == ["near", "other"]
        assert self.ask(store).ids == ["near", "other"]

    def test_the_threshold_of_the_call_counts_before_that_of_the_query(self, store: StackroomVectorStore) -> None:
        assert self.ask(store, mmr_threshold=0.5, options={"mmr_threshold": 1.0}).ids == ["near", "twin"]
        assert self.ask(store, mmr_threshold=0.0).ids == ["near", "far"]

    def test_how_many_candidates(self, store: StackroomVectorStore) -> None:
        assert self.ask(store, options={"mmr_prefetch_k": 2}).ids == ["near", "twin"]
        assert self.ask(store, options={"mmr_prefetch_factor": 1.0}).ids == ["near", "twin"]

    def test_similarities_are_cosines(self, store: StackroomVectorStore) -> None:
        plain = query(store, query_embedding=[1.0, 0.01, 0.1], similarity_top_k=4)
        scores = dict(zip(plain.ids or [], plain.similarities or [], strict=True))
        found = self.ask(store, similarity_top_k=4)
        assert found.similarities == [scores[name] for name in found.ids or []]
        assert len(found.ids or []) == 4


@pytest.mark.parametrize("mode", [Mode.SVM, Mode.LOGISTIC_REGRESSION, Mode.LINEAR_REGRESSION])
def test_learner_modes_are_an_error_that_says_so(store: StackroomVectorStore, mode: Mode) -> None:
    with pytest.raises(ValueError, match=f"no query mode '{mode.value}'"):
        query(store, query_embedding=vector_of("lamp"), mode=mode)
