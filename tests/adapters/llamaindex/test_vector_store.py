"""The vector store's writes and reads, in both profiles: what LlamaIndex's own store does, and what it should."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from llama_index.core.schema import ImageNode, IndexNode, TextNode
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters, VectorStoreQuery

import stackroom
from llamaindex_support import DIM, ids, node, random_nodes, vector_of
from stackroom.adapters.llamaindex import (
    StackroomDocumentStore,
    StackroomEmbedding,
    StackroomVectorStore,
    storage_context,
)
from stackroom.errors import DimensionMismatchError, EmbedderMismatchError, UsageError
from stackroom.types import EmbedderIdentity


@pytest.fixture(params=[True, False], ids=["self-contained", "parity"])
def store(request: pytest.FixtureRequest, library: Path) -> Iterator[StackroomVectorStore]:
    made = StackroomVectorStore(library, stores_text=request.param)
    yield made
    assert made.client.verify().ok


def ask(store: StackroomVectorStore, text: str, k: int = 10, **query: object) -> list[str]:
    found = store.query(VectorStoreQuery(query_embedding=vector_of(text), similarity_top_k=k, **query))  # type: ignore[arg-type]
    return list(found.ids or [])


def only(key: str, value: object) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])  # type: ignore[arg-type]


def test_what_it_says_of_itself(store: StackroomVectorStore) -> None:
    assert store.is_embedding_query
    assert isinstance(store.client, stackroom.Index)
    assert store.class_name() == "StackroomVectorStore"
    again = StackroomVectorStore.from_dict(store.to_dict())
    assert (again.stores_text, again.client) == (store.stores_text, store.client)


def test_nodes_come_back_as_they_were(store: StackroomVectorStore) -> None:
    given = [
        TextNode(id_="text", text="plain", metadata={"a": [1, {"b": None}], "é": "ü"}, embedding=vector_of("plain"),
                 excluded_embed_metadata_keys=["a"], text_template="{content}|{metadata_str}", start_char_idx=3, end_char_idx=8),
        ImageNode(id_="image", text="a picture", image_url="https://example.com/a.png", embedding=vector_of("a picture")),
        IndexNode(id_="index", text="see there", index_id="other", embedding=vector_of("see there")),
    ]  # fmt: skip
    assert store.add(given) == ["text", "image", "index"]
    found = store.get_nodes(["index", "text", "image"])
    assert ids(found) == ["index", "text", "image"]
    by_id = {item.node_id: item for item in found}
    for item in given:
        expected = item.model_copy(update={"embedding": None})
        assert type(by_id[item.node_id]) is type(item)
        assert by_id[item.node_id].to_dict() == expected.to_dict()


def test_vectors_come_back_bit_for_bit(store: StackroomVectorStore) -> None:
    row = np.random.default_rng(1).standard_normal(DIM)
    store.add([node("a", "one", embedding=row.tolist())])
    assert np.array(store.get("a"), dtype=np.float32).tobytes() == row.astype(np.float32).tobytes()
    with pytest.raises(KeyError):
        store.get("b")


@pytest.mark.parametrize(
    "embedding",
    [
        np.arange(DIM, dtype=np.float64),
        np.arange(2 * DIM, dtype=np.float32)[::2],
        np.arange(DIM, dtype=np.float32)[::-1],
        np.arange(DIM),
    ],
    ids=["float64", "not contiguous", "backwards", "integers"],
)
def test_any_array_is_an_embedding(store: StackroomVectorStore, embedding: np.ndarray) -> None:
    embedding.setflags(write=False)
    made = node("a", "one")
    object.__setattr__(made, "embedding", embedding)
    store.add([made])
    assert store.get("a") == [float(value) for value in embedding]


def test_the_same_id_again_replaces_text_vector_and_metadata(store: StackroomVectorStore) -> None:
    store.add([node("a", "harbour", metadata={"year": 1})])
    store.add([node("a", "mountain", metadata={"year": 2})])
    assert store.client.stats().chunks == 1
    assert ask(store, "mountain") == ["a"]
    (found,) = store.get_nodes(["a"])
    assert (found.get_content(), found.metadata) == ("mountain", {"year": 2})
    assert store.get_nodes(filters=only("year", 1)) == []
    words = VectorStoreQuery(query_str="harbour", mode="text_search", similarity_top_k=5)
    assert store.query(words).ids == []


def test_the_last_of_an_id_counts_within_one_call(store: StackroomVectorStore) -> None:
    assert store.add([node("a", "first"), node("b", "other"), node("a", "second")]) == ["a", "b", "a"]
    assert sorted(ids(store.get_nodes(limit=9))) == ["a", "b"]
    assert store.get_nodes(["a"])[0].get_content() == "second"


def test_a_node_that_moves_to_another_document_leaves_nothing_behind(store: StackroomVectorStore) -> None:
    store.add([node("a", "one", "A")])
    store.add([node("a", "one", "B")])
    assert [source.title or source.path for source in store.client.sources()] == ["B"]
    store.delete("A")
    assert ask(store, "one") == ["a"]


def test_a_node_needs_an_embedding(store: StackroomVectorStore, tmp_path: Path) -> None:
    bare = TextNode(id_="a", text="only words")
    with pytest.raises(ValueError, match="has no embedding"):
        store.add([bare])
    words = StackroomVectorStore(tmp_path / "words", text_only=True)
    words.add([bare])
    found = words.query(VectorStoreQuery(query_str="words", mode="text_search", similarity_top_k=3))
    assert found.ids == ["a"]


def test_wrong_vectors_are_refused_and_nothing_of_the_batch_stays(store: StackroomVectorStore) -> None:
    store.add([node("a", "one")])
    with pytest.raises(DimensionMismatchError, match=f"3 dimensions, the library's have {DIM}"):
        store.add([node("b", "two"), node("c", "three", embedding=[1.0, 2.0, 3.0])])
    with pytest.raises(ValueError, match="finite"):
        store.add([node("d", "four", embedding=[float("nan")] * DIM)])
    assert ids(store.get_nodes(limit=9)) == ["a"]


def test_metadata_that_is_no_json_is_refused(store: StackroomVectorStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.add([node("a", "one", metadata={"when": {1, 2}})])


def test_deleting_a_document(store: StackroomVectorStore) -> None:
    store.add([node("a", "one", "A"), node("b", "two", "B"), node("c", "three", None)])
    store.delete("A")
    store.delete("missing")
    assert sorted(ids(store.get_nodes(limit=9))) == ["b", "c"]


@pytest.mark.parametrize("nothing", [None, "None", ""])
def test_no_document_deletes_nothing(store: StackroomVectorStore, nothing: str | None) -> None:
    store.add([node("a", "one", None), node("b", "two")])
    store.delete(nothing)  # type: ignore[arg-type]
    assert len(store.get_nodes(limit=9)) == 2


def test_deleting_nodes_by_ids_and_filters(store: StackroomVectorStore) -> None:
    store.add(random_nodes(12))
    store.delete_nodes([])
    store.delete_nodes(["n0", "n1", "missing"], only("even", 1))
    assert len(store.get_nodes(limit=99)) == 11  # True == 1, as in Python
    store.delete_nodes(["n1"])
    store.delete_nodes(filters=only("tag", "t2"))
    assert set(ids(store.get_nodes(limit=99))) == {"n3", "n4", "n6", "n7", "n9", "n10"}


@pytest.mark.parametrize("nothing", [None, MetadataFilters(filters=[])])
def test_what_says_nothing_does_not_mean_everything(
    store: StackroomVectorStore, nothing: MetadataFilters | None
) -> None:
    store.add([node("a", "one")])
    with pytest.raises(UsageError, match=r"clear\(\)"):
        store.delete_nodes(filters=nothing)
    with pytest.raises(UsageError, match="limit"):
        store.get_nodes(filters=nothing)
    assert len(store.get_nodes(limit=9)) == 1


def test_clear(store: StackroomVectorStore) -> None:
    store.clear()
    store.add(random_nodes(7))
    store.clear()
    assert store.client.stats().chunks == store.client.stats().sources == 0
    assert ask(store, "passage") == []
    store.add([node("a", "one")])
    assert ask(store, "one") == ["a"]


def test_get_nodes_answers_in_the_order_asked(store: StackroomVectorStore) -> None:
    store.add(random_nodes(6))
    assert ids(store.get_nodes(["n5", "missing", "n0", "n5"])) == ["n5", "n0", "n5"]
    assert ids(store.get_nodes(["n5", "n0"], only("tag", "t0"))) == ["n0"]
    assert len(store.get_nodes(limit=2)) == 2
    assert store.get_nodes([]) == []


def test_all_rows_deleted(store: StackroomVectorStore) -> None:
    store.add(random_nodes(5))
    store.delete_nodes([f"n{i}" for i in range(5)])
    assert ask(store, "passage", k=5) == []


def test_ids_of_any_kind(store: StackroomVectorStore) -> None:
    names = ["é/ü?#", "x" * 10_000, "0", " ", "550e8400-e29b-41d4-a716-446655440000", "a'b\"c"]
    store.add([node(name, f"text {i}", name) for i, name in enumerate(names)])
    assert ids(store.get_nodes(names)) == names
    for name in names:
        store.delete(name)
    assert store.client.stats().chunks == 0
    with pytest.raises(ValueError, match="no id"):
        store.add([node("", "one")])


def test_the_async_twins_do_the_same_and_let_the_loop_run(store: StackroomVectorStore) -> None:
    async def run() -> None:
        threads: set[int] = set()
        real = store.add

        def add(*arguments: object, **options: object) -> list[str]:
            threads.add(threading.get_ident())
            return real(*arguments, **options)  # type: ignore[arg-type]

        object.__setattr__(store, "add", add)
        await store.async_add(random_nodes(6))
        assert threads
        assert threading.get_ident() not in threads
        assert ids(await store.aget_nodes(["n1"])) == ["n1"]
        found = await store.aquery(VectorStoreQuery(query_embedding=store.get("n3"), similarity_top_k=1))
        assert found.ids == ["n3"]
        await store.adelete("doc1")
        await store.adelete_nodes(["n0"])
        assert set(ids(await store.aget_nodes(limit=9))) == {"n5", "n2", "n3", "n4"}
        await store.aclear()
        assert store.client.stats().chunks == 0

    asyncio.run(run())


def test_no_reader_sees_half_a_batch(store: StackroomVectorStore) -> None:
    done = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(len(ask(store, "passage", k=100)))

    reader = threading.Thread(target=read)
    reader.start()
    for batch in range(8):
        store.add([node(f"{batch}-{i}", f"passage {batch} {i}", f"doc{batch}") for i in range(10)])
    done.set()
    reader.join()
    assert all(count % 10 == 0 for count in seen)


def test_pickled_by_path(store: StackroomVectorStore) -> None:
    store.add([node("a", "one")])
    again = pickle.loads(pickle.dumps(store))  # noqa: S301 - what an application may do with its own objects
    assert (again.stores_text, ask(again, "one")) == (store.stores_text, ["a"])


def test_persist_is_a_backup_elsewhere_and_nothing_at_home(
    store: StackroomVectorStore, tmp_path: Path, library: Path
) -> None:
    store.add([node("a", "one")])
    store.persist(str(library / "default__vector_store.json"))
    assert not (library / "default__vector_store.json").exists()
    copy = tmp_path / "copy"
    for text in ("two", "three"):
        store.add([node(text, text)])
        store.persist(str(copy / "default__vector_store.json"))
    assert not (copy / "default__vector_store.json").exists()
    backup = StackroomVectorStore.from_persist_dir(str(copy))
    assert ids(backup.get_nodes(limit=9)) == ["a", "two", "three"]
    assert backup.client.verify().ok


def test_a_library_that_is_no_local_file_is_refused(store: StackroomVectorStore) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    with pytest.raises(ValueError, match="Back it up to a local folder"):
        store.persist("somewhere/vector_store.json", MemoryFileSystem())


def test_a_collection_of_its_own(store: StackroomVectorStore, library: Path) -> None:
    """An image store beside the text store: another model, another dimension, some of the same nodes."""
    images = StackroomVectorStore(library, collection="image")
    store.add([node("a", "one", "A"), node("b", "two", "A")])
    images.add(
        [
            ImageNode(id_="picture", text="", image_url="x.png", embedding=[1.0, 0.0]),
            node("a", "one", "A", embedding=[0.0, 1.0]),
        ]
    )
    assert ask(store, "one") == ["a", "b"]
    assert images.query(VectorStoreQuery(query_embedding=[1.0, 0.1], similarity_top_k=5)).ids == ["picture", "a"]
    images.delete_nodes(["picture"])
    assert ids(images.get_nodes(limit=9)) == ["a"]
    images.add([node("a", "new text", "A", {"v": 2}, embedding=[1.0, 1.0])])
    (again,) = store.get_nodes(["a"])
    assert (again.get_content(), again.metadata) == ("new text", {"v": 2})
    assert store.get("a") == pytest.approx(vector_of("one"), abs=1e-6)
    images.clear()
    assert images.get_nodes(limit=9) == []
    assert sorted(ids(store.get_nodes(limit=9))) == ["a", "b"]


def test_stores_of_one_process_share_one_library(store: StackroomVectorStore, library: Path) -> None:
    other = StackroomVectorStore(str(library))
    assert other.client is store.client
    assert StackroomDocumentStore(store.client).docs == {}


def test_the_filter_that_keeps_one_of_many(store: StackroomVectorStore) -> None:
    store.add(random_nodes(500))
    far = MetadataFilters(filters=[MetadataFilter(key="i", value=417, operator=FilterOperator.EQ)])
    assert ask(store, "nothing alike", k=1, filters=far) == ["n417"]


def test_vectors_of_another_model_do_not_enter_a_library_that_names_one(library: Path) -> None:
    named = storage_context(library, embed_model="minilm")
    assert isinstance(named.vector_store, StackroomVectorStore)
    own = StackroomEmbedding()
    nodes = [TextNode(id_="own", text="cats hunt mice", embedding=own.get_text_embedding("cats hunt mice"))]
    named.vector_store.add(nodes)
    unnamed = StackroomVectorStore(library)
    rows = np.random.default_rng(5).standard_normal((2, 384))
    others = [TextNode(id_=f"other{i}", text="bread rises", embedding=row.tolist()) for i, row in enumerate(rows)]
    with pytest.raises(EmbedderMismatchError, match="likeness"):
        unnamed.add(others)
    assert [item.node_id for item in unnamed.get_nodes(limit=9)] == ["own"]
    same = TextNode(id_="same", text="bread rises", embedding=own.get_text_embedding("bread rises"))
    unnamed.add([same])
    assert len(unnamed.get_nodes(limit=9)) == 2


def test_the_first_vectors_of_a_new_library_are_the_named_models(library: Path) -> None:
    store = StackroomVectorStore(library, embed_model=StackroomEmbedding())
    row = np.random.default_rng(5).standard_normal(384).tolist()
    with pytest.raises(EmbedderMismatchError, match="likeness"):
        store.add([TextNode(id_="a", text="cats hunt mice", embedding=row)])
    assert store.client.stats().chunks == 0


def test_a_model_that_is_not_the_librarys_is_refused_at_once(library: Path) -> None:
    StackroomVectorStore(library, stores_text=True).add([node("a", "text")])
    with pytest.raises(EmbedderMismatchError):
        storage_context(library, embed_model=StackroomEmbedding())
    with pytest.raises(EmbedderMismatchError):
        storage_context(library, identity=EmbedderIdentity(name="other", dim=7))
