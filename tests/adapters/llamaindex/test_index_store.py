"""The index store: an index costs by what changed in it, and several share a library."""

from __future__ import annotations

from pathlib import Path

import pytest
from llama_index.core import VectorStoreIndex, load_index_from_storage
from llama_index.core.data_structs.data_structs import IndexGraph, IndexList, IndexStruct, KeywordTable

from llamaindex_support import WordEmbedding, ids, node, random_nodes
from stackroom.adapters.llamaindex import StackroomIndexStore, storage_context


def kept_bytes(library: Path) -> int:
    """What the index store has in the catalogue."""
    with StackroomIndexStore(library)._shared.index.backend.view() as view:
        connection = view.connection  # type: ignore[attr-defined]
        return int(
            connection.value("SELECT coalesce(sum(length(data)), 0) FROM attachments")
            + 24 * connection.value("SELECT count(*) FROM collection_members")
        )


@pytest.mark.parametrize(
    ("nodes", "inserts"), [(2_000, 40), pytest.param(100_000, 1_000, marks=pytest.mark.slow)], ids=["small", "large"]
)
@pytest.mark.parametrize("indexes", [1, 2])
def test_an_insert_costs_by_what_is_inserted(
    nodes: int, inserts: int, indexes: int, library: Path, embed_model: WordEmbedding
) -> None:
    context = storage_context(library)
    made = [
        VectorStoreIndex(random_nodes(nodes), storage_context=context, embed_model=embed_model) for _ in range(indexes)
    ]
    before = kept_bytes(library)
    for n in range(inserts):
        made[n % indexes].insert_nodes([node(f"new {n}", "words")])
    assert kept_bytes(library) - before < 1_000 * inserts
    assert made[0].vector_store.client.verify().ok


def test_an_index_over_everything_stays_when_it_was_written_to(library: Path, embed_model: WordEmbedding) -> None:
    storage_context(library).vector_store.add([node("a", "words", "A")])
    whole = load_index_from_storage(storage_context(library), embed_model=embed_model)
    whole.insert_nodes([node("b", "words", "B")])
    own = VectorStoreIndex([node("c", "words", "C")], storage_context=storage_context(library), embed_model=embed_model)
    with pytest.raises(ValueError, match="specify index_id"):
        load_index_from_storage(storage_context(library), embed_model=embed_model)
    found = {
        name: sorted(
            ids(
                load_index_from_storage(storage_context(library), index_id=name, embed_model=embed_model)
                .as_retriever(similarity_top_k=9)
                .retrieve("words")
            )
        )
        for name in (whole.index_id, own.index_id)
    }
    assert found == {whole.index_id: ["a", "b"], own.index_id: ["c"]}


def test_two_indexes_are_loaded_by_their_ids(library: Path, embed_model: WordEmbedding) -> None:
    context = storage_context(library)
    for name in "ab":
        index = VectorStoreIndex([node(f"{name}1", "words", name)], storage_context=context, embed_model=embed_model)
        index.set_index_id(name)
    context = storage_context(library)
    with pytest.raises(ValueError, match="specify index_id"):
        load_index_from_storage(context, embed_model=embed_model)
    for name in "ab":
        index = load_index_from_storage(context, index_id=name, embed_model=embed_model)
        assert ids(index.as_retriever().retrieve("words")) == [f"{name}1"]
    context.index_store.delete_index_struct("a")
    assert [struct.index_id for struct in context.index_store.index_structs()] == ["b"]


@pytest.mark.parametrize(
    "struct",
    [
        IndexList(index_id="i", nodes=["a", "b"], summary="short"),
        IndexGraph(index_id="i", all_nodes={0: "a"}, root_nodes={0: "a"}, node_id_to_children_ids={"a": []}),
        KeywordTable(index_id="i", table={"word": {"a", "b"}}),
    ],
    ids=lambda struct: type(struct).__name__,
)
async def test_structs_of_other_kinds_come_back(struct: IndexStruct, library: Path) -> None:
    store = StackroomIndexStore(library)
    await store.async_add_index_struct(struct)
    assert await store.aget_index_struct("i") == struct
    assert store.get_index_struct() == struct
    await store.adelete_index_struct("i")
    assert await store.async_index_structs() == []
