"""The document store: LlamaIndex's own semantics, without what is lost in its own store."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore

import stackroom
from llamaindex_support import WordEmbedding, ids, node, vector_of
from stackroom.adapters.llamaindex import StackroomDocumentStore, StackroomVectorStore, storage_context
from stackroom.errors import UsageError


class Recipe(TextNode):
    """A class of nodes that LlamaIndex does not know."""

    minutes: int = 0

    @classmethod
    def class_name(cls) -> str:
        return "Recipe"


EVERY_KIND: list[BaseNode] = [
    TextNode(id_="text", text="plain \ud800 text", metadata={"a": [1, {"b": None}]}, excluded_llm_metadata_keys=["a"]),
    ImageNode(id_="image", text="a picture", image_url="https://example.com/a.png"),
    IndexNode(id_="index", text="see there", index_id="other"),
    Document(id_="document", text="whole", metadata={"title": "Whole"}),
    Node(id_="node", text_resource=MediaResource(text="of several media"), image_resource=MediaResource(data=b"aGk=")),
    Recipe(id_="recipe", text="Stir.", minutes=5),
]


def unembedded(item: BaseNode) -> dict[str, Any]:
    return item.model_copy(update={"embedding": None}).to_dict()


@pytest.mark.parametrize("item", EVERY_KIND, ids=lambda item: item.node_id)
@pytest.mark.parametrize("passage", [True, False], ids=["passage", "kept"])
def test_a_node_of_every_kind_comes_back_as_it_was(
    item: BaseNode, passage: bool, docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    if passage:
        vectors.add([item.model_copy(update={"embedding": vector_of("x")})])
    docstore.add_documents([item])
    found = docstore.get_document(item.node_id)
    assert found is not None
    assert type(found) is type(item)
    assert found.to_dict() == item.to_dict()
    assert docstore.get_document_hash(item.node_id) == item.hash


def test_a_node_of_a_class_that_is_not_here_is_a_plain_one(docstore: StackroomDocumentStore) -> None:
    class Passing(TextNode):
        @classmethod
        def class_name(cls) -> str:
            return "Passing"

    docstore.add_documents([Passing(id_="p", text="words")])
    del Passing
    import gc

    gc.collect()
    found = docstore.get_document("p")
    assert found is not None
    assert found.get_content() == "words"


def test_one_node_at_a_time_that_the_library_has_costs_no_commit(
    docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    given = [node(f"n{i}", f"text {i}") for i in range(20)]
    vectors.add(given)
    before = version(docstore)
    for item in given:
        docstore.add_documents([item.model_copy(update={"embedding": None})])
    assert version(docstore) == before


def version(docstore: StackroomDocumentStore) -> int:
    with docstore._shared.index.backend.view() as view:
        return view.version


def test_many_nodes_are_one_commit(docstore: StackroomDocumentStore) -> None:
    before = version(docstore)
    docstore.add_documents([node(f"n{i}", f"text {i}") for i in range(50)], batch_size=7)
    assert version(docstore) == before + 1
    assert len(docstore.docs) == 50


def test_an_id_that_exists_is_refused_where_no_update_is_allowed(docstore: StackroomDocumentStore) -> None:
    docstore.add_documents([TextNode(id_="x", text="one")])
    message = "node_id x already exists. Set allow_update to True to overwrite."
    with pytest.raises(ValueError, match=message):
        docstore.add_documents([TextNode(id_="x", text="two")], allow_update=False)
    assert docstore.get_node("x").get_content() == "one"


def test_what_is_missing_is_an_error_or_none(docstore: StackroomDocumentStore) -> None:
    for ask in (docstore.get_document, docstore.delete_document, docstore.get_node):
        with pytest.raises(ValueError, match="x not found"):
            ask("x")
    with pytest.raises(ValueError, match="ref_doc_id x not found"):
        docstore.delete_ref_doc("x")
    assert docstore.get_document("x", raise_error=False) is None
    docstore.delete_document("x", raise_error=False)
    docstore.delete_ref_doc("x", raise_error=False)
    assert not docstore.document_exists("x")
    assert docstore.get_ref_doc_info("x") is None
    assert docstore.get_document_hash("x") is None


def test_nodes_come_in_the_order_asked_and_as_often(
    docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    vectors.add([node(name, name) for name in "abc"])
    docstore.add_documents([TextNode(id_="kept", text="kept")])
    assert ids(docstore.get_nodes(["c", "kept", "a", "c"])) == ["c", "kept", "a", "c"]
    assert ids(docstore.get_nodes(["c", "gone", "a"], raise_error=False)) == ["c", "a"]
    with pytest.raises(ValueError, match="gone not found"):
        docstore.get_nodes(["c", "gone"])
    assert {n: item.node_id for n, item in docstore.get_node_dict({0: "b", 1: "a"}).items()} == {0: "b", 1: "a"}


def test_docs_is_a_mapping_that_reads_when_it_is_asked(
    docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    vectors.add([node(f"n{i}", f"text {i}") for i in range(600)])
    docstore.add_documents([TextNode(id_="kept", text="beside")])
    docs = docstore.docs
    assert len(docs) == len(docs.items()) == len(docs.values()) == 601
    assert "n5" in docs
    assert "n601" not in docs
    assert 5 not in docs  # type: ignore[comparison-overlap]
    assert docs["n5"].get_content() == "text 5"
    assert docs.get("gone") is None
    with pytest.raises(KeyError):
        docs["gone"]
    assert list(docs) == list(docs.keys()) == [*(f"n{i}" for i in range(600)), "kept"]
    # as BM25Retriever and a user's own script take them
    assert [item.node_id for item in docs.values()] == list(docs)
    assert all(name == item.node_id for name, item in docs.items())
    assert dict(docs)["n599"].get_content() == "text 599"


def test_docs_show_what_is_there_now(docstore: StackroomDocumentStore) -> None:
    docs = docstore.docs
    assert dict(docs) == {}
    docstore.add_documents([TextNode(id_="a", text="one")])
    for name in docs:
        assert docs[name].get_content() == "one"
        break
    docstore.add_documents([TextNode(id_="a", text="two")])
    assert docs["a"].get_content() == "two"


def test_documents_with_equal_hashes_are_all_told(docstore: StackroomDocumentStore) -> None:
    docstore.add_documents([Document(id_="a", text="same"), Document(id_="b", text="same")])
    docstore.set_document_hash("c", Document(text="same").hash)
    told = docstore.get_all_document_hashes()
    assert set(told.values()) == {"a", "b", "c"}
    assert set(told) == {Document(text="same").hash}
    assert told[Document(text="same").hash] in {"a", "b", "c"}


def test_hashes_tell_neither_passages_nor_what_others_added(
    docstore: StackroomDocumentStore, vectors: StackroomVectorStore, library: Path
) -> None:
    vectors.client.add_documents([stackroom.Document(chunks=[stackroom.Chunk("text", embedding=vector_of("text"))])])
    whole = Document(id_="A", text="one")
    given = node("a", "one")
    given.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="A", hash=whole.hash)
    vectors.add([given])
    docstore.add_documents([given])
    other = node("e", "elsewhere")
    other.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="E", hash="e" * 64)
    StackroomVectorStore(library, collection="notes").add([other])
    assert docstore.get_all_document_hashes() == {whole.hash: "A"}
    assert docstore.get_document_hash("E") == "e" * 64


def test_a_hash_keeps_the_document_of_its_node(docstore: StackroomDocumentStore) -> None:
    docstore.add_documents([node("a1", "one"), node("a2", "two")])
    docstore.set_document_hash("a1", "h")
    assert docstore.get_document_hash("a1") == "h"
    docstore.delete_document("a1")
    info = docstore.get_ref_doc_info("A")
    assert info is not None
    assert info.node_ids == ["a2"]


async def test_async_deletion_updates_the_list_of_nodes(docstore: StackroomDocumentStore) -> None:
    await docstore.async_add_documents([node("a1", "one"), node("a2", "two")])
    await docstore.adelete_document("a1")
    info = await docstore.aget_ref_doc_info("A")
    assert info is not None
    assert info.node_ids == ["a2"]


@pytest.mark.parametrize("passages", [True, False], ids=["passages", "kept"])
def test_a_document_goes_with_its_last_node(
    passages: bool, docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    given = [node("a1", "one", metadata={"k": 1}), node("a2", "two"), node("b1", "three", "B")]
    if passages:
        vectors.add(given)
    docstore.add_documents([*given, Document(id_="A", text="one two")])
    docstore.set_document_hash("A", "h")
    docstore.delete_document("a1")
    info = docstore.get_ref_doc_info("A")
    assert info is not None
    assert (info.node_ids, info.metadata) == (["a2"], {"k": 1})
    docstore.delete_document("a2")
    assert not docstore.ref_doc_exists("A")
    assert docstore.get_document_hash("A") is None
    assert not docstore.document_exists("A")
    assert docstore.ref_doc_exists("B")


@pytest.mark.parametrize("passages", [True, False], ids=["passages", "kept"])
def test_deleting_a_document_leaves_nothing_of_it(
    passages: bool, docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    given = [node("a1", "one"), node("a2", "two"), node("b1", "three", "B")]
    if passages:
        vectors.add(given)
    docstore.add_documents([*given, Document(id_="A", text="one two")])
    docstore.set_document_hash("A", "h")
    docstore.delete_ref_doc("A")
    assert list(docstore.docs) == ["b1"]
    assert set(docstore.get_all_ref_doc_info() or ()) == {"B"}
    assert docstore.get_document_hash("A") is None
    assert "A" not in docstore.get_all_document_hashes().values()
    with pytest.raises(ValueError, match="A not found"):
        docstore.delete_ref_doc("A")


def test_the_hash_of_a_document_goes_with_its_vectors(
    docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    docstore.set_document_hash("A", "h")
    vectors.add([node("a1", "one")])
    assert docstore.get_document_hash("A") == "h"
    vectors.delete("A")
    assert docstore.get_document_hash("A") is None


def test_namespaces_see_nothing_of_each_other(docstore: StackroomDocumentStore, library: Path) -> None:
    names = ["a", "a/4:data", "index", "file", "kv/kv", "docstore/", "", "日本"]
    stores = [StackroomDocumentStore(library, namespace=name) for name in names]
    for name, store in zip(names, stores, strict=True):
        store.add_documents([TextNode(id_="same", text=name), TextNode(id_="4:data/x", text=name)])
        store.set_document_hash("same", f"hash of {name}")
    for name, store in zip(names, stores, strict=True):
        assert {key: item.get_content() for key, item in store.docs.items()} == {"same": name, "4:data/x": name}
        assert store.get_document_hash("same") == f"hash of {name}"
    assert not docstore.docs
    assert docstore.get_all_document_hashes() == {}
    stores[0].delete_document("same")
    assert stores[1].document_exists("same")


def test_a_hash_of_nothing_waits_for_persist(docstore: StackroomDocumentStore, library: Path) -> None:
    docstore.set_document_hashes({"a": "1", "b": "2"})
    assert docstore.get_document_hash("a") == "1"
    assert version(docstore) == 0
    docstore.persist(str(library / "docstore.json"))
    assert version(docstore) == 1
    with pytest.raises(ValueError, match="c not found"):
        docstore.delete_document("c")
    docstore.delete_document("a")
    assert docstore.get_all_document_hashes() == {"2": "b"}
    assert not (library / "docstore.json").exists()


def test_a_document_without_its_text_has_a_hash(docstore: StackroomDocumentStore) -> None:
    docstore.add_documents([Document(id_="a", text="words")], store_text=False)
    assert not docstore.document_exists("a")
    assert docstore.get_document_hash("a") == Document(text="words").hash


def test_what_is_no_json_is_refused_and_nothing_is_written(docstore: StackroomDocumentStore) -> None:
    bad = TextNode(id_="bad", text="x", metadata={"k": object()})
    with pytest.raises(UsageError):
        docstore.add_documents([TextNode(id_="good", text="y"), bad])
    assert not docstore.docs


def test_it_is_pickled_by_its_path(docstore: StackroomDocumentStore, library: Path) -> None:
    other = StackroomDocumentStore(library, namespace="other")
    other.add_documents([TextNode(id_="x", text="words")])
    again = pickle.loads(pickle.dumps(other))  # noqa: S301
    assert again.get_node("x").get_content() == "words"
    assert not pickle.loads(pickle.dumps(docstore)).docs  # noqa: S301


def test_it_is_found_by_the_paths_that_llamaindex_uses(docstore: StackroomDocumentStore, library: Path) -> None:
    docstore.add_documents([TextNode(id_="x", text="words")])
    for made in (
        StackroomDocumentStore.from_persist_dir(str(library)),
        StackroomDocumentStore.from_persist_path(str(library / "docstore.json")),
    ):
        assert made.document_exists("x")


def test_a_changed_text_is_what_the_docstore_says(
    docstore: StackroomDocumentStore, vectors: StackroomVectorStore
) -> None:
    vectors.add([node("a", "the old words", metadata={"k": 1})])
    docstore.add_documents([TextNode(id_="a", text="new words", metadata={"k": 2})])
    assert docstore.get_node("a").get_content() == "new words"
    assert docstore.get_node("a").metadata == {"k": 2}
    vectors.add([node("a", "newest words")])
    assert docstore.get_node("a").get_content() == "newest words"


async def test_async_twins_say_the_same_as_llamaindexs_own(docstore: StackroomDocumentStore) -> None:
    given = [node("a1", "one", metadata={"k": 1}), node("a2", "two"), TextNode(id_="t", text="alone")]
    told: list[list[Any]] = []
    for store in (docstore, SimpleDocumentStore()):
        await store.async_add_documents(given)
        await store.aset_document_hash("A", "h")
        await store.aset_document_hashes({"B": "i"})
        infos = await store.aget_all_ref_doc_info()
        assert infos is not None
        found = [
            ids(await store.aget_nodes(["a2", "a1", "a2"])),
            unembedded(await store.aget_document("t")),  # type: ignore[arg-type]
            await store.adocument_exists("a1"),
            await store.aref_doc_exists("A"),
            await store.aget_document_hash("A"),
            await store.aget_document_hash("a1"),
            {name: info.to_dict() for name, info in infos.items()},
            (await store.aget_all_document_hashes())["i"],
        ]
        await store.adelete_ref_doc("A")
        told.append([*found, list(store.docs), await store.aget_document("a1", raise_error=False)])
    assert told[0] == told[1]


async def test_async_calls_leave_the_loop_free(docstore: StackroomDocumentStore) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await docstore.async_add_documents([TextNode(id_=str(i), text="words") for i in range(200)])
    ticking.cancel()
    assert ticks > 1


def test_deleting_what_is_not_there_forgets_nothing(library: Path) -> None:
    store, simple = StackroomDocumentStore(library), SimpleDocumentStore()
    for one in (store, simple):
        one.set_document_hash("d", "hash")
        one.delete_ref_doc("d", raise_error=False)
        assert one.get_document_hash("d") == "hash"


def test_a_hash_that_waits_goes_with_the_last_node_of_its_document(library: Path) -> None:
    """A run that was given up told the hash of the next version; then its nodes were deleted."""
    old, new = Document(text="the first version", id_="d"), Document(text="the second version", id_="d")
    for context in (storage_context(library), StorageContext.from_defaults()):
        index = VectorStoreIndex.from_documents([old], storage_context=context, embed_model=WordEmbedding())
        context.docstore.set_document_hash("d", new.hash)
        info = context.docstore.get_ref_doc_info("d")
        assert info is not None
        index.delete_nodes(info.node_ids, delete_from_docstore=True)
        assert index.refresh_ref_docs([new]) == [True]
        assert [found.text for found in index.as_retriever().retrieve("version")] == ["the second version"]
