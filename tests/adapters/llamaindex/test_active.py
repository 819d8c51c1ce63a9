"""The active set: queries that keep to it, by the store's option or by their own."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from llama_index.core import VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import Document, QueryBundle
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from llamaindex_support import WordEmbedding, node, vector_of
from stackroom.adapters.llamaindex import StackroomVectorStore, storage_context


@pytest.mark.parametrize(
    "mode", [VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.HYBRID]
)
def test_queries_keep_to_the_active_sources(library: Path, mode: VectorStoreQueryMode) -> None:
    store = StackroomVectorStore(library, active=True)
    store.add([node("a", "the rain", "A"), node("b", "the sun", "B"), node("c", "the wind", "C")])
    query = VectorStoreQuery(query_embedding=vector_of("the"), query_str="the", similarity_top_k=9, mode=mode)

    def found(**options: bool) -> set[str]:
        return set(store.query(query, **options).ids or [])

    assert found() == {"a", "b", "c"}
    store.client.set_active(["B"], False)
    assert found() == {"a", "c"}
    assert found(active=False) == {"a", "b", "c"}
    store.client.set_active(None, False)
    assert found() == set()
    store.client.set_active(["B"], True)
    assert found() == {"b"}
    assert store.query(query, active=True).ids == StackroomVectorStore(library).query(query, active=True).ids == ["b"]


def test_the_option_is_part_of_the_store(library: Path) -> None:
    store = StackroomVectorStore(library, active=True)
    assert StackroomVectorStore.from_dict(store.to_dict()).active
    assert pickle.loads(pickle.dumps(store)).active  # noqa: S301
    assert not StackroomVectorStore(library).active


@pytest.mark.parametrize("stores_text", [True, False], ids=["self-contained", "parity"])
def test_a_retriever_keeps_to_the_active_sources(library: Path, stores_text: bool) -> None:
    """In both profiles: by the context's option, and by the retriever's own."""
    documents = [Document(text=f"the {word}", id_=word) for word in ("rain", "sun", "wind")]
    everywhere = storage_context(library, stores_text=stores_text)
    index = VectorStoreIndex.from_documents(documents, storage_context=everywhere, embed_model=WordEmbedding())
    everywhere.vector_store.client.set_active(["rain"], False)
    query = QueryBundle("the rain", embedding=vector_of("the rain"))

    def found(index: VectorStoreIndex, **options: object) -> set[str]:
        retriever = index.as_retriever(similarity_top_k=9, **options)
        return {hit.node.ref_doc_id or "" for hit in retriever.retrieve(query)}

    assert found(index) == {"rain", "sun", "wind"}
    assert found(index, vector_store_kwargs={"active": True}) == {"sun", "wind"}
    narrow = storage_context(library, stores_text=stores_text, active=True)
    again = load_index_from_storage(narrow, embed_model=WordEmbedding())
    assert isinstance(again, VectorStoreIndex)
    assert found(again) == {"sun", "wind"}
    assert found(again, vector_store_kwargs={"active": False}) == {"rain", "sun", "wind"}
