"""Documents that an application hands over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stackroom
from stackroom import Chunk, Document, Index
from stackroom.errors import DimensionMismatchError, NotFoundError, UsageError
from stackroom.ingest import documents
from stackroom.storage.upkeep.background import Background
from stackroom.storage.words import word_files
from stackroom.types import Place
from support import DIM, WordEmbedder, chunks, unit_rows


def test_vectors_of_any_model_are_taken_without_one(library: Path) -> None:
    row = np.ones(8, np.float32) / np.float32(np.sqrt(8))
    with stackroom.open(library) as index:
        index.add_documents([Document("d", chunks=[Chunk("a passage", "c", embedding=row)])])
        assert index.search(row)[0].chunk_id == "c"
        assert index.vectors(["c"]).tobytes() == row.tobytes()
        assert index.search("passage")[0].chunk_id == "c"
        with pytest.raises(UsageError, match="which model"):
            index.search("passage", mode="vector")
        assert index.stats().embedder is not None
        assert index.stats().embedder.name == ""


def test_vectors_of_a_named_model_are_remembered_as_its_own(library: Path) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([Document("d", chunks=[Chunk("a passage", embedding=unit_rows(1)[0])])])
        assert index.stats().embedder == WordEmbedder().identity
    with pytest.raises(stackroom.errors.EmbedderMismatchError):
        stackroom.open(library, embedder=WordEmbedder("other"))


def test_upserts_keep_what_did_not_change(index: Index, embedder: WordEmbedder) -> None:
    index.add_documents([Document("d", source="s", chunks=[Chunk("one"), Chunk("two"), Chunk("three")])])
    before = {passage.text: passage.chunk_id for passage in index.get("s")}
    report = index.add_documents(
        [Document("d", source="s", title="T", chunks=[Chunk("zero"), Chunk("three"), Chunk("one")])]
    )
    assert (report.updated, report.embedded, report.reused) == (1, 1, 2)
    assert embedder.embedded == ["one", "two", "three", "zero"]
    assert [passage.text for passage in index.get("s")] == ["zero", "three", "one"]
    after = {passage.text: passage.chunk_id for passage in index.get("s")}
    assert (after["one"], after["three"]) == (before["one"], before["three"])
    assert index.sources()[0].documents == 1
    assert index.verify().ok


def test_the_callers_ids_places_and_metadata_stay(index: Index) -> None:
    place = Place(3, 9, 2, 2, "ii", ("A",))
    chunk = Chunk("text", "my-id", {"k": [1, 2]}, place)
    index.add_documents([Document("my-doc", source="my-source", title="Mine", metadata={"year": 1999}, chunks=[chunk])])
    (hit,) = index.search("text", where="year == 1999")
    assert (hit.chunk_id, hit.place, hit.metadata) == ("my-id", place, {"k": [1, 2]})
    assert (hit.document.id, hit.document.title, hit.document.path, hit.document.metadata) == (
        "my-doc",
        "Mine",
        "my-source",
        {"year": 1999},
    )


def test_text_is_split_and_long_documents_are_taken_in_parts(index: Index) -> None:
    text = "\n\n".join(f"word{n} lorem ipsum dolor sit amet consectetur adipiscing elit sed." for n in range(1500))
    index.add_documents(Document(name, text=text) for name in ("a", "b"))
    passages = index.get("a")
    assert len(passages) > 512
    assert all(text[passage.place.start : passage.place.end] == passage.text for passage in passages)
    assert index.stats().chunks == 2 * len(passages)
    assert index.verify().ok


def test_several_documents_of_one_source(index: Index) -> None:
    index.add_documents([Document(f"page-{n}", source="book.pdf", text=f"page number{n}") for n in range(3)])
    (source,) = index.sources()
    assert (source.documents, source.chunks) == (3, 3)
    assert [passage.text for passage in index.get("book.pdf")] == ["page number0", "page number1", "page number2"]
    assert index.remove(["book.pdf"]).chunks == 3
    assert index.sources() == []


def test_wrong_calls_are_told(index: Index) -> None:
    with pytest.raises(UsageError, match=r"stackroom\.Document"):
        index.add_documents(["text"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="JSON"):
        index.add_documents([Document("d", metadata={"x": object()}, text="t")])
    index.add_documents([Document("d", text="t")])
    with pytest.raises(DimensionMismatchError):
        index.add_documents([Document("e", chunks=[Chunk("x", embedding=np.ones(3, np.float32))])])
    with pytest.raises(DimensionMismatchError):
        index.search(np.ones(3, np.float32))
    with pytest.raises(UsageError):
        index.search(np.full(DIM, np.nan, np.float32))
    with pytest.raises(UsageError):
        index.search("x", mode="fuzzy")  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        index.search("x", k=-1)
    with pytest.raises(NotFoundError):
        index.get("nothing")
    with pytest.raises(NotFoundError):
        index.vectors(["nothing"])
    assert index.search("x", k=0) == []
    assert [source.path for source in index.sources()] == ["d"]


def test_an_empty_library_answers(index: Index) -> None:
    for mode in ("hybrid", "vector", "text", None):
        assert index.search("anything", mode=mode) == []
    assert index.sources() == []
    assert index.stats().chunks == 0
    assert index.verify().ok
    assert index.compact().rows_dropped == 0


def test_documents_are_removed_by_their_ids(index: Index) -> None:
    index.add_documents([Document(f"page-{n}", source="book.pdf", text=f"page number{n}") for n in range(3)])
    index.add_documents([Document("note", text="a note"), Document("empty", source="other")])
    report = index.remove_documents(["page-1", "note", "page-1"])
    assert (report.removed, report.chunks) == (2, 2)
    assert [passage.text for passage in index.get("book.pdf")] == ["page number0", "page number2"]
    assert {source.path for source in index.sources()} == {"book.pdf", "other"}
    with pytest.raises(NotFoundError, match=r"no document 'book\.pdf'"):
        index.remove_documents(["page-0", "book.pdf"])
    assert len(index.get("book.pdf")) == 2
    assert index.remove_documents("page-0").removed == 1
    index.remove_documents(["page-2"], purge=True)
    index.remove_documents(["empty"])
    assert index.stats().documents == 0
    assert index.verify().ok


def test_one_source_needs_no_list(index: Index) -> None:
    index.add_documents([Document("note", text="a note")])
    assert index.remove("note").removed == 1


def test_whoever_adds_many_and_closes_leaves_quick_searches(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_MANY", 20)
    monkeypatch.setattr(word_files, "LEAST", 10)
    monkeypatch.setattr(word_files, "WORTH", 10)
    monkeypatch.setattr(Background, "start", lambda *arguments: None)
    for n, made in ((19, False), (20, True)):
        with stackroom.open(library / str(n)) as index:
            index.add_documents([Document("d", chunks=chunks([f"text {i}" for i in range(n)]))])
        assert (library / str(n) / "sketches").is_dir() is made
