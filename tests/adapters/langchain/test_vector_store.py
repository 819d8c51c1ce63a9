"""The vector store's writes and reads, and how it is made."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import apsw
import numpy as np
import pytest
from langchain_core.documents import Document

import stackroom
from langchain_support import DIM, Table, WordEmbeddings, document, ids, vector_of
from stackroom.adapters.langchain import StackroomEmbeddings, StackroomVectorStore
from stackroom.errors import DimensionMismatchError, EmbedderMismatchError, NotFoundError, UsageError
from stackroom.types import EmbedderIdentity
from support import WordEmbedder


@pytest.fixture
def store(library: Path) -> Iterator[StackroomVectorStore]:
    made = StackroomVectorStore(library, WordEmbeddings())
    yield made
    assert made.index.verify().ok


METADATA = {"a": [1, {"b": None}], "é": "ü", "n": None, "f": 0.5, "t": True, "": "", "nested": {"x": {"y": [[]]}}}


@pytest.mark.parametrize("source", [None, "notes/today.md", 5, ""])
def test_documents_come_back_as_they_were(store: StackroomVectorStore, source: object) -> None:
    metadata = {**METADATA, "page": 3, "page_label": "iv", "title": "T"} | (
        {} if source is None else {"source": source}
    )
    given = document("one text", "x", **metadata)
    before = copy.deepcopy(given)
    assert store.add_documents([given]) == ["x"]
    assert given == before
    assert store.get_by_ids(["x"]) == [before]
    assert store.similarity_search("one text", k=1) == [before]
    assert list(store.get_by_ids(["x"])[0].metadata) == list(metadata)


def test_what_a_repair_had_lost_is_whole_once_it_is_given_again(store: StackroomVectorStore) -> None:
    given = document("one text", "x", source="notes")
    store.add_documents([given])
    assert store.index.path is not None
    with contextlib.closing(apsw.Connection(str(store.index.path / "catalogue.db"))) as connection:
        connection.execute("UPDATE chunks SET text = zeroblob(30)")
    store.index.repair()
    assert [source.state for source in store.index.sources()] == ["partial"]
    store.add_documents([given])
    (source,) = store.index.sources()
    assert (source.error, source.state) == (None, "indexed")


def test_a_change_to_what_was_found_changes_nothing(store: StackroomVectorStore) -> None:
    store.add_documents([document("text", "x", a=[1])])
    store.get_by_ids(["x"])[0].metadata["a"].append(2)
    assert store.get_by_ids(["x"])[0].metadata == {"a": [1]}


def test_tuples_come_back_as_lists(store: StackroomVectorStore) -> None:
    store.add_texts(["a"], [{"points": ((1, 2), (3, 4))}], ids=["x"])
    assert store.get_by_ids(["x"])[0].metadata == {"points": [[1, 2], [3, 4]]}


def test_pages_of_one_source_are_one_document(store: StackroomVectorStore) -> None:
    store.add_texts(
        ["one", "two", "three"], [{"source": "book.pdf", "page": n, "title": "Book"} for n in range(2)] + [{}]
    )
    listed = {source.path: (source.title, source.chunks, source.type) for source in store.index.sources()}
    assert listed["book.pdf"] == ("Book", 2, "record")
    assert len(listed) == 2
    assert [passage.place.page for passage in store.index.get("book.pdf")] == [1, 2]


def test_texts_without_ids_get_new_ones(store: StackroomVectorStore) -> None:
    made = store.add_texts(iter(["one", "two"]))
    assert len({str(uuid.UUID(one)) for one in made}) == 2
    assert {item.page_content for item in store.get_by_ids(made)} == {"one", "two"}
    mixed = store.add_documents([document("three", "mine"), document("four"), document("five", "")])
    assert mixed[0] == "mine"
    assert all(mixed)
    assert len(set(mixed)) == 3
    assert store.add_documents([document("six", "own")], ids=["given"]) == ["given"]
    assert not store.get_by_ids(["own"])


def test_an_id_that_is_a_number_becomes_text(store: StackroomVectorStore) -> None:
    assert store.add_texts(["one"], ids=[7]) == ["7"]  # type: ignore[list-item]
    assert ids(StackroomVectorStore(store.index, WordEmbeddings()).get_by_ids(["7"])) == ["7"]


@pytest.mark.parametrize(
    "odd", ["0192f0c4-5d6e-7a8b-9c0d-1e2f3a4b5c6d", "a" * 5000, "mit Ümlaut", "\x00", "\ud800", "%_'\"", " "]
)
def test_ids_of_any_kind_are_kept(store: StackroomVectorStore, odd: str) -> None:
    assert store.add_texts(["one"], ids=[odd]) == [odd]
    assert ids(store.get_by_ids([odd, "other"])) == [odd]
    store.delete([odd])
    assert store.get_by_ids([odd]) == []


@pytest.mark.parametrize("wrong", [[], ["a"], ["a", "b", "c"]])
def test_ids_and_metadata_of_another_length_are_refused(store: StackroomVectorStore, wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="2 texts"):
        store.add_texts(["one", "two"], ids=wrong)
    with pytest.raises(ValueError, match="2 texts"):
        store.add_documents([document("one"), document("two")], ids=wrong)
    with pytest.raises(ValueError, match="2 texts"):
        store.add_texts(["one", "two"], [{} for _ in wrong])
    assert store.index.stats().chunks == 0
    assert store.embeddings.embedded == []  # type: ignore[union-attr]


def test_what_is_no_json_is_refused_before_anything_is_embedded(store: StackroomVectorStore) -> None:
    for value in (object(), {1}, {1: "a"}, b"a", np.int64(1), [{"deep": uuid.uuid4()}]):
        with pytest.raises(UsageError, match="where"):
            store.add_texts(["one", "two"], [{}, {"where": value}])
    for call in (
        lambda: store.add_texts("one text"),  # type: ignore[arg-type]
        lambda: store.add_texts([Document(page_content="x")]),  # type: ignore[list-item]
        lambda: store.add_documents(["one"]),  # type: ignore[list-item]
        lambda: store.add_texts(["one"], ["meta"]),  # type: ignore[list-item]
        lambda: store.add_texts(["one"], ids=[1.5]),  # type: ignore[list-item]
        lambda: store.add_texts(["one"], metadata=[{}]),
    ):
        with pytest.raises(UsageError):
            call()
    assert store.embeddings.embedded == []  # type: ignore[union-attr]


def test_adding_nothing_does_nothing(store: StackroomVectorStore) -> None:
    with store.index.backend.view() as view:
        before = view.version
    assert store.add_texts([]) == store.add_documents([]) == store.add_embeddings([]) == []
    assert store.delete([]) is True
    with store.index.backend.view() as view:
        assert view.version == before


def test_the_same_id_replaces_text_vector_and_metadata(store: StackroomVectorStore) -> None:
    store.add_documents([document("cats purr", "x", source="a", old=1), document("dogs bark", "y", source="a")])
    store.add_documents([document("ships sail", "x", source="a", new=2)])
    assert store.index.stats().chunks == 2
    assert store.get_by_ids(["x"]) == [document("ships sail", "x", source="a", new=2)]
    assert ids(store.similarity_search("ships sail", k=1)) == ["x"]
    assert store.similarity_search("cats purr", mode="text") == []
    assert store.similarity_search("ships", filter={"old": 1}) == []


def test_the_same_id_from_another_source_leaves_nothing_behind(store: StackroomVectorStore) -> None:
    store.add_documents([document("one", "x", source="before"), document("two", "y", source="both")])
    store.add_documents([document("one", "x", source="after"), document("two", "y", source="both", n=1)])
    assert sorted(source.path for source in store.index.sources()) == ["after", "both"]
    store.add_documents([document("one", "x"), document("three", "z", source="after")])
    assert sorted(source.path for source in store.index.sources()) == ["after", "both", "x"]


def test_of_an_id_that_stands_twice_the_last_one_counts(store: StackroomVectorStore) -> None:
    assert store.add_texts(["old", "other", "new"], ids=["x", "y", "x"]) == ["x", "y", "x"]
    assert store.index.stats().chunks == 2
    assert store.get_by_ids(["x"])[0].page_content == "new"


def test_delete_is_silent_about_what_is_not_there(store: StackroomVectorStore) -> None:
    store.add_texts(["one", "two", "three"], [{"source": "a"}, {"source": "a"}, {"n": 1}], ids=["1", "2", "3"])
    assert store.delete(["1", "missing", "1"]) is True
    assert ids(store.get_by_ids(["3", "missing", "2", "1", "2"])) == ["3", "2"]
    assert store.delete(["2"]) is True
    assert [source.path for source in store.index.sources()] == ["3"]
    assert store.delete(["None", ""]) is True
    assert store.index.stats().chunks == 1


def test_delete_of_everything_is_refused(store: StackroomVectorStore) -> None:
    store.add_texts(["one"], ids=["1"])
    for call in (store.delete, lambda: store.delete(ids=None), lambda: store.delete(filter={})):
        with pytest.raises(ValueError, match="everything"):
            call()
    with pytest.raises(UsageError):
        store.delete("1")  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        store.delete(["1"], namespace="a")
    assert store.index.stats().chunks == 1


def test_delete_by_filter(store: StackroomVectorStore) -> None:
    store.add_texts(["one", "two", "three"], [{"n": 1}, {"n": 2}, {"n": 2}], ids=["1", "2", "3"])
    store.delete(["1", "2"], filter={"n": 2})
    assert ids(store.get_by_ids(["1", "2", "3"])) == ["1", "3"]
    store.delete(filter={"n": {"$gte": 1}})
    assert store.index.stats().chunks == 0
    assert store.similarity_search("one") == []


def test_everything_deleted_and_added_again(store: StackroomVectorStore) -> None:
    made = store.add_texts(["one", "two"])
    store.delete(made)
    assert store.similarity_search("one", k=3) == store.similarity_search("one", mode="hybrid") == []
    assert store.max_marginal_relevance_search("one") == []
    store.add_texts(["one"], ids=["1"])
    assert ids(store.similarity_search("one", k=3)) == ["1"]


def test_from_texts_and_documents(library: Path) -> None:
    store = StackroomVectorStore.from_texts(
        ["one", "two"], WordEmbeddings(), [{"n": 1}, {"n": 2}], ids=["1", "2"], library=library
    )
    assert ids(store.get_by_ids(["1", "2"])) == ["1", "2"]
    same = StackroomVectorStore.from_documents(
        [document("three", "3"), document("four")], WordEmbeddings(), library=library, mode="hybrid"
    )
    assert same.index is store.index
    assert store.index.stats().chunks == 4
    assert ids(same.get_by_ids(["3"])) == ["3"]
    with pytest.raises(ValueError, match="library"):
        StackroomVectorStore.from_texts(["one"], WordEmbeddings())


async def test_from_texts_and_documents_async(library: Path) -> None:
    await StackroomVectorStore.afrom_texts(["one"], WordEmbeddings(), ids=["1"], library=library)
    store = await StackroomVectorStore.afrom_documents([document("two", "2")], WordEmbeddings(), library=library)
    assert ids(await store.aget_by_ids(["2", "1"])) == ["2", "1"]


def test_vectors_of_any_kind_are_taken(store: StackroomVectorStore) -> None:
    row = np.array(vector_of("one"), dtype=np.float64)
    frozen = row.astype(np.float32)
    frozen.setflags(write=False)
    strided = np.stack([row, row], axis=1)[:, 0]
    kinds = [row, frozen, strided, row.tolist(), tuple(row)]
    made = store.add_embeddings([("one", kind) for kind in kinds], ids=[str(n) for n in range(len(kinds))])
    stored = store.index.vectors(made)
    assert all(np.array_equal(other, stored[0]) for other in stored)
    for kind in kinds:
        assert len(store.similarity_search_by_vector(kind, k=9)) == len(kinds)  # type: ignore[arg-type]


def test_vectors_that_are_none_are_refused(store: StackroomVectorStore) -> None:
    good = vector_of("one")
    store.add_embeddings([("one", good)])
    for wrong in ([np.nan] * DIM, [np.inf] * DIM, [1e300] * DIM, [], [[1.0] * DIM], "text", None):
        with pytest.raises(ValueError, match=r"embedding|Embedding"):
            store.add_embeddings([("two", good), ("bad", wrong)])  # type: ignore[list-item]
        with pytest.raises(ValueError, match=r"embedding|Embedding"):
            store.similarity_search_by_vector(wrong)  # type: ignore[arg-type]
    with pytest.raises(DimensionMismatchError):
        store.add_embeddings([("two", good), ("bad", [1.0, 2.0])])
    with pytest.raises(DimensionMismatchError):
        store.similarity_search_by_vector([1.0, 2.0])
    assert store.index.stats().chunks == 1


def test_a_model_that_loses_texts_is_named(library: Path) -> None:
    class Lossy(WordEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return super().embed_documents(texts)[1:]

    with pytest.raises(UsageError, match="1 vectors of 2 texts"):
        StackroomVectorStore(library, Lossy()).add_texts(["one", "two"])


def test_a_failing_model_leaves_nothing(library: Path) -> None:
    with pytest.raises(KeyError):
        StackroomVectorStore(library, Table({"one": [1.0]})).add_texts(["one", "two"])
    assert StackroomVectorStore(library, Table({})).index.stats().chunks == 0


def test_a_store_is_pickled_by_its_path(store: StackroomVectorStore) -> None:
    store.add_texts(["one"], ids=["1"])
    again = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert again.index is store.index
    assert ids(again.similarity_search("one")) == ["1"]
    assert ids(copy.deepcopy(store).similarity_search("one")) == ["1"]
    with stackroom.open(store.index.path.parent / "other") as other:  # type: ignore[union-attr]
        assert pickle.loads(pickle.dumps(StackroomVectorStore(other, mode="text"))).similarity_search("one") == []  # noqa: S301


def test_a_library_is_there_after_the_program(library: Path) -> None:
    StackroomVectorStore.from_texts(["one"], WordEmbeddings(), [{"n": 1}], ids=["1"], library=library)
    with stackroom.open(library) as index:
        assert [hit.chunk_id for hit in index.search("one", mode="text")] == ["1"]
    assert ids(StackroomVectorStore.from_existing(library, WordEmbeddings()).similarity_search("one")) == ["1"]
    with pytest.raises(NotFoundError):
        StackroomVectorStore.from_existing(library.parent / "missing", WordEmbeddings())


def test_stores_over_one_library_share_it(library: Path, store: StackroomVectorStore) -> None:
    other = StackroomVectorStore(f"{library.parent}/./{library.name}/", WordEmbeddings())
    other.add_texts(["one"], ids=["1"])
    assert other.index is store.index
    assert ids(store.similarity_search("one")) == ["1"]


def test_what_is_no_store_is_refused(library: Path) -> None:
    with pytest.raises(UsageError, match="embedding model"):
        StackroomVectorStore(library, "minilm")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="mode"):
        StackroomVectorStore(library, WordEmbeddings(), mode="fuzzy")  # type: ignore[arg-type]
    assert not library.exists()


def test_a_declared_model_is_the_librarys(library: Path) -> None:
    words = StackroomEmbeddings(WordEmbedder())
    StackroomVectorStore(library, words).add_texts(["one"], ids=["1"])
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        assert [hit.chunk_id for hit in index.search("one", mode="vector")] == ["1"]
    other = EmbedderIdentity(name="other", dim=words.stackroom_identity.dim)
    with pytest.raises(EmbedderMismatchError):
        StackroomVectorStore(library, WordEmbeddings(), identity=other)
    assert StackroomVectorStore(library, WordEmbeddings(), identity=words.stackroom_identity).embeddings is not None


def test_another_model_of_the_same_dimension_is_found_out(library: Path) -> None:
    StackroomVectorStore(library, StackroomEmbeddings(WordEmbedder(dim=DIM))).add_texts(["one cat", "two dogs"])
    StackroomVectorStore(library, WordEmbeddings()).add_texts(["the same model, undeclared"])

    class Other(WordEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector_of(f"{text[::-1]}!") for text in texts]

    other = StackroomVectorStore(library, Other())
    for _ in range(2):
        with pytest.raises(EmbedderMismatchError, match="other vectors"):
            other.add_texts(["three"])
        with pytest.raises(EmbedderMismatchError, match="other vectors"):
            other.similarity_search("three")
    assert len(other.similarity_search("cat", mode="text")) == 1


def test_a_model_that_nobody_named_is_asked_for(library: Path) -> None:
    StackroomVectorStore(library, WordEmbeddings()).add_texts(["one"], ids=["1"])
    store = StackroomVectorStore(library)
    assert store.embeddings is None
    with pytest.raises(EmbedderMismatchError):
        store.similarity_search("one")
    assert ids(store.similarity_search("one", mode="text")) == ["1"]
    assert ids(store.as_retriever(search_type="text").invoke("one")) == ["1"]


def test_a_batch_is_seen_whole_or_not_at_all(store: StackroomVectorStore) -> None:
    done = threading.Event()
    seen: set[int] = set()

    def look() -> None:
        while not done.is_set():
            seen.add(len(store.similarity_search("cat", k=1000)))

    reader = threading.Thread(target=look)
    reader.start()
    writers = [
        threading.Thread(target=store.add_texts, args=([f"cat {part} {n}" for n in range(20)],)) for part in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert seen <= {0, 20, 40, 60}
    assert len(store.similarity_search("cat", k=1000)) == 60
