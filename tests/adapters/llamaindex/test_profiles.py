"""What a VectorStoreIndex does differs with `stores_text`; both ways must find everything, and cost nothing that grows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import IndexNode, TextNode

import stackroom
from llamaindex_support import WordEmbedding, ids, node
from stackroom.adapters.llamaindex import StackroomEmbedding, StackroomVectorStore, storage_context
from stackroom.storage.snapshot import Snapshot
from support import write_files

DOCUMENTS = [
    Document(text=f"Harbour master {name} keeps the log of {place}", id_=name, metadata={"place": place})
    for name, place in (("ann", "Rye"), ("bob", "Ware"), ("cid", "Deal"))
]


@pytest.fixture(autouse=True)
def model() -> WordEmbedding:
    Settings.embed_model = made = WordEmbedding()
    # Sentences are found here: earlier releases ask NLTK, which would download its data.
    sentences = re.compile(r"[^.]+\.?").findall
    Settings.transformations = [SentenceSplitter(chunk_size=64, chunk_overlap=0, chunking_tokenizer_fn=sentences)]
    return made


def build(library: Path, *, stores_text: bool) -> tuple[VectorStoreIndex, StorageContext]:
    storage = storage_context(library, stores_text=stores_text)
    return VectorStoreIndex.from_documents(DOCUMENTS, storage_context=storage), storage


def texts(index: Any, question: str = "harbour master log", **options: Any) -> list[str]:
    found = index.as_retriever(similarity_top_k=9, **options).retrieve(question)
    return sorted(item.node.get_content() for item in found)


def test_parity_lists_the_nodes_and_keeps_their_bodies_once(library: Path) -> None:
    index, storage = build(library, stores_text=False)
    assert sorted(index.index_struct.nodes_dict) == sorted(storage.docstore.docs)
    assert sorted(index.ref_doc_info) == ["ann", "bob", "cid"]
    assert len(index.index_struct.nodes_dict) == 3
    with storage.vector_store.client.backend.view() as view:
        assert not list(view.attachments("docstore/"))
    with pytest.raises(ValueError, match="does not store text"):
        VectorStoreIndex.from_vector_store(storage.vector_store)


def test_self_contained_lists_none(library: Path) -> None:
    index, _ = build(library, stores_text=True)
    assert index.index_struct.nodes_dict == {}
    with pytest.raises(NotImplementedError):
        _ = index.ref_doc_info
    alone = VectorStoreIndex.from_vector_store(StackroomVectorStore(library))
    assert texts(alone) == texts(index) == sorted(item.text for item in DOCUMENTS)


@pytest.mark.parametrize("stores_text", [True, False])
def test_an_index_node_hides_no_text_node(library: Path, stores_text: bool) -> None:
    """Of a self-contained store's index LlamaIndex lists only index and image nodes, and asks for just these."""
    storage = storage_context(library, stores_text=stores_text)
    nodes = [
        TextNode(text="harbour log"),
        IndexNode(text="harbour of another index", index_id="other"),
        TextNode(text="log of the master"),
    ]
    index = VectorStoreIndex(nodes, storage_context=storage)
    expected = sorted(item.text for item in nodes)
    assert texts(index) == expected
    index.insert_nodes([TextNode(text="a fourth harbour")])
    assert texts(index) == sorted([*expected, "a fourth harbour"])
    again = load_index_from_storage(storage_context(library, stores_text=stores_text))
    assert texts(again) == sorted([*expected, "a fourth harbour"])


def test_asking_for_all_nodes_of_an_index_looks_none_of_them_up(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, _ = build(library, stores_text=False)
    retriever = index.as_retriever(similarity_top_k=9)
    asked: list[int] = []
    real = Snapshot.chunk_keys
    monkeypatch.setattr(Snapshot, "chunk_keys", lambda self, names: asked.append(len(names)) or real(self, names))
    found: list[list[int]] = []
    query = StackroomVectorStore.query

    def watched(self: StackroomVectorStore, *arguments: Any, **options: Any) -> Any:
        # Some releases ask the docstore for each hit afterwards: that is theirs.
        asked.clear()
        result = query(self, *arguments, **options)
        found.append(list(asked))
        return result

    monkeypatch.setattr(StackroomVectorStore, "query", watched)
    for _ in range(3):
        assert len(retriever.retrieve("harbour")) == 3
    assert found == [[], [], []]
    index.insert(Document(text="A late harbour", id_="dot"))
    assert len(index.as_retriever(similarity_top_k=9).retrieve("harbour")) == 4


def test_a_library_that_files_made_is_an_index(library: Path, folder: Path) -> None:
    """Vectors of `stackroom add`, questions by LlamaIndex, with the same model."""
    write_files(
        folder,
        {"a.md": "# Harbours\n\nThe harbour master keeps a log of every ship.", "b.txt": "Bread is baked before dawn."},
    )
    with stackroom.open(library) as made:
        made.add(folder)
    Settings.embed_model = StackroomEmbedding()
    for stores_text in (True, False):
        index = load_index_from_storage(storage_context(library, stores_text=stores_text))
        (first, *_) = index.as_retriever(similarity_top_k=2).retrieve("Who writes down which ships come?")
        assert "harbour master" in first.node.get_content()
        assert first.node.metadata["file_path"] == str(folder / "a.md")
        assert first.node.ref_doc_id
        index.insert(Document(text="Gulls follow every ship", id_="gulls"))
        assert texts(index, "gulls")[0]
        index.delete_ref_doc("gulls", delete_from_docstore=True)


def test_a_library_that_llamaindex_made_is_a_library(library: Path) -> None:
    Settings.embed_model = StackroomEmbedding()
    storage = storage_context(library, embed_model=Settings.embed_model)
    index = VectorStoreIndex.from_documents(DOCUMENTS, storage_context=storage)
    del index, storage
    with stackroom.open(library) as opened:
        assert opened.stats().embedder is not None
        assert opened.stats().embedder.name == "minilm"
        (hit, *_) = opened.search("harbour master of Deal", k=1)
        assert hit.document.id == "cid"
        assert hit.metadata == {} or hit.metadata.get("place") == "Deal"
        assert [source.title or source.path for source in opened.sources()] == ["ann", "bob", "cid"]
        opened.set_active(["bob"], False)
        assert all(found.document.id != "bob" for found in opened.search("harbour", active=True))
        assert opened.verify().ok


def test_a_document_that_is_cut_off_in_the_middle_is_inserted_again(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index dies between two batches of one document: what is there must not look whole to the next refresh."""
    long = Document(text=" ".join(f"Sentence {i} about harbour {i}." for i in range(200)), id_="long")
    storage = storage_context(library)
    real = StackroomVectorStore.add
    calls: list[int] = []

    def add(self: StackroomVectorStore, nodes: Any, **options: Any) -> list[str]:
        calls.append(len(nodes))
        if len(calls) > 1:
            raise RuntimeError("the power went")
        return real(self, nodes, **options)

    monkeypatch.setattr(StackroomVectorStore, "add", add)
    with pytest.raises(RuntimeError):
        VectorStoreIndex.from_documents([long], storage_context=storage, insert_batch_size=4)
    monkeypatch.setattr(StackroomVectorStore, "add", real)
    storage.docstore._shared.waiting.clear()
    index = load_index_from_storage(storage_context(library))
    assert index.refresh_ref_docs([long]) == [True]
    found = index.vector_store.get_nodes(limit=9999)
    assert len({item.get_content() for item in found}) == len(found)
    assert index.refresh_ref_docs([long]) == [False]


def test_two_indexes_in_one_library_keep_apart(library: Path) -> None:
    storage = storage_context(library)
    one = VectorStoreIndex([node("a", "harbour of Rye")], storage_context=storage)
    two = VectorStoreIndex([node("b", "harbour of Ware", "B")], storage_context=storage)
    assert (texts(one), texts(two)) == (["harbour of Rye"], ["harbour of Ware"])
    one.insert_nodes([node("c", "harbour of Deal", "C")])
    assert (texts(one), texts(two)) == (["harbour of Deal", "harbour of Rye"], ["harbour of Ware"])
    names = (one.index_id, two.index_id)
    del one, two
    fresh = storage_context(library)
    with pytest.raises(ValueError, match="got 2"):
        load_index_from_storage(fresh)
    assert [texts(load_index_from_storage(fresh, index_id=name)) for name in names] == [
        ["harbour of Deal", "harbour of Rye"], ["harbour of Ware"],
    ]  # fmt: skip


def test_words_are_found_in_what_llamaindex_added(library: Path) -> None:
    index, storage = build(library, stores_text=False)
    hybrid = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=1, alpha=0.0)
    assert "Deal" in hybrid.retrieve("Deal")[0].node.get_content()
    assert ids(storage.vector_store.get_nodes(limit=1))


def test_an_empty_index_finds_nothing_of_the_others(library: Path) -> None:
    storage = storage_context(library)
    VectorStoreIndex([node("a", "harbour of Rye")], storage_context=storage)
    two = VectorStoreIndex([node("b", "harbour of Ware", "B")], storage_context=storage)
    two.delete_ref_doc("B", delete_from_docstore=True)
    assert texts(two) == []
    assert texts(VectorStoreIndex.from_documents([], storage_context=storage)) == []


def test_a_run_that_failed_is_mended_by_the_next_refresh(library: Path) -> None:
    """The model's service fails in the middle; the application goes on in the same process."""

    class Failing(WordEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            if "Deal" in text:
                raise ConnectionError("no network")
            return super()._get_text_embedding(text)

    with pytest.raises(ConnectionError):
        VectorStoreIndex.from_documents(
            DOCUMENTS, storage_context=storage_context(library), embed_model=Failing(), insert_batch_size=1
        )
    index = load_index_from_storage(storage_context(library))
    assert index.refresh_ref_docs(DOCUMENTS) == [False, False, True]
    assert texts(index) == sorted(item.text for item in DOCUMENTS)


def test_a_retriever_sees_what_came_after_it(library: Path) -> None:
    index, _ = build(library, stores_text=False)
    retriever = index.as_retriever(similarity_top_k=9)
    for i in range(2):
        index.insert(Document(text=f"Late harbour {i}", id_=f"late{i}"))
        assert len(retriever.retrieve("harbour")) == 4 + i
    index.delete_ref_doc("late0", delete_from_docstore=True)
    assert len(retriever.retrieve("harbour")) == 4


def test_a_folder_that_was_deleted_and_made_again_is_a_new_library(library: Path) -> None:
    _, old = build(library, stores_text=False)
    shutil.rmtree(library)
    index = VectorStoreIndex.from_documents(DOCUMENTS[:1], storage_context=storage_context(library))
    assert texts(index) == [DOCUMENTS[0].text]
    assert old.vector_store.client is not index.vector_store.client


def test_a_library_has_one_index_by_either_of_its_paths(tmp_path: Path) -> None:
    folder = tmp_path / "storage"
    VectorStoreIndex.from_documents(DOCUMENTS).storage_context.persist(folder)
    migrated = StackroomVectorStore(folder)
    assert StackroomVectorStore(folder / "stackroom").client is migrated.client
