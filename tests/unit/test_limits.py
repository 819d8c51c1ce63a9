"""Values of any length: what is too much is refused in words, before anything is written, and what is taken comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import stackroom
from stackroom import Chunk, Document, Index
from stackroom.errors import InvalidFilterError, NotFoundError, StackroomError, UsageError
from stackroom.ingest.embedders.onnx import shipped
from stackroom.storage.catalogue import codec, database
from support import WordEmbedder

LONG = 2_000_000


def document(**given: Any) -> Document:
    chunk = {"text": "a passage", "embedding": np.eye(1, 16, dtype=np.float32)[0], **given.pop("chunk", {})}
    return Document(**{"document_id": "d", "source": "s", "chunks": [Chunk(**chunk)], **given})


@pytest.fixture
def filled(index: Index) -> Index:
    index.add_documents([document(metadata={"n": 1})])
    return index


@pytest.mark.parametrize("name", ["k", "context", "per_document"])
@pytest.mark.parametrize("value", [2**31, 2**63, 10**30, -1, "5", 1.5])
def test_numbers_of_a_search_have_a_range(filled: Index, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"{name} must not be"):
        filled.search("passage", mode="text", **{name: value})  # type: ignore[arg-type]


def test_all_there_is_may_be_asked_for(filled: Index) -> None:
    assert len(filled.search("passage", k=2**31 - 1, context=2**31 - 1, per_document=2**31 - 1)) == 1


@pytest.mark.parametrize(
    "query",
    [
        "x" * LONG,
        "passage " * 20_000,
        '"a passage" ' * 10_000,
        "pass* " * 20_000,
        "passage " + "-no " * 20_000,
        " ".join(f"w{n}" for n in range(20_000)),
        '"' + "passage " * 20_000,
    ],
    ids=["one word", "many", "phrases", "prefixes", "excluded", "different", "an open quote"],
)
def test_a_query_may_be_of_any_length(filled: Index, query: str) -> None:
    for mode in ("text", "hybrid"):
        assert len(filled.search(query, mode=mode)) <= 1  # type: ignore[arg-type]


def test_a_text_of_megabytes_is_embedded_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which no model reads more than a page."""
    model = shipped()
    read: list[int] = []
    real = type(model.tokenizer).ids
    monkeypatch.setattr(
        type(model.tokenizer), "ids", lambda self, text, limit: read.append(len(text)) or real(self, text, limit)
    )
    start = "passage " * 10_000
    assert np.array_equal(model.embed_query(start), model.embed_query(start * 100))
    assert max(read) <= 200_000


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"key": "n", "op": "==", "value": 1}
    for _ in range(depth):
        found = {"and": [found]}
    return found


@pytest.mark.parametrize(
    "where",
    [
        nested(2_000),
        nested(100_000),
        {"or": [{"key": "n", "op": "==", "value": n} for n in range(20_000)]},
        "n in " + "[" * 100_000,
        "n == " + "{" * 100_000,
    ],
    ids=["deep", "very deep", "wide", "brackets", "braces"],
)
def test_a_filter_that_is_too_much_is_refused(filled: Index, where: Any) -> None:
    with pytest.raises(InvalidFilterError) as caught:
        filled.search("passage", mode="text", where=where)
    assert len(str(caught.value)) < 3_000


@pytest.mark.parametrize("value", ["x" * LONG, 2**70, float("nan"), float("inf"), 10**400])
def test_a_filter_may_have_values_that_nothing_has(filled: Index, value: Any) -> None:
    for op in ("==", ">", "in"):
        wanted = [value] if op == "in" else value
        assert filled.search("passage", mode="text", where={"key": "n", "op": op, "value": wanted}) == []


@pytest.mark.parametrize("name", ["x" * LONG, "*" + "x" * LONG, "[a" * 10_000, "*a" * 20_000])
def test_a_source_that_is_called_like_nothing_is_not_found_soon(filled: Index, name: str) -> None:
    """A pattern of megabytes took a minute to be made a regular expression."""
    for ask in (lambda: filled.search("passage", sources=[name]), lambda: filled.get(name), lambda: filled.find(name)):
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert len(caught.value.message) < 3_000
        assert "No source is called" in caught.value.message


@pytest.mark.parametrize(
    "given",
    [
        {"document_id": "i" * LONG},
        {"source": "s" * LONG},
        {"title": "t" * LONG},
        {"metadata": {"m": "m" * LONG}},
        {"metadata": {"m" * LONG: 1}},
        {"metadata": {f"m{n}": n for n in range(3_000)}},
        {"metadata": {"m": list(range(100_000))}},
        {"metadata": {"m": 2**70}},
        {"chunk": {"chunk_id": "c" * LONG}},
        {"chunk": {"text": "one-line " * (10_000_000 // 9)}},
        {"chunk": {"metadata": {"m": "m" * LONG}}},
    ],
    ids=lambda given: "-".join(given),
)
def test_long_values_come_back_as_they_were(index: Index, given: dict[str, Any]) -> None:
    added = document(**given)
    index.add_documents([added])
    (source,) = index.sources()
    (passage,) = index.get(source.id)
    assert source.path == added.source
    assert passage.document_id == added.document_id
    assert passage.text == added.chunks[0].text
    assert added.chunks[0].chunk_id in (None, passage.chunk_id)
    hit = index.search(np.eye(1, 16, dtype=np.float32)[0])[0]
    assert {**added.metadata, **added.chunks[0].metadata}.items() <= {**hit.document.metadata, **hit.metadata}.items()
    assert index.verify().ok


def deep() -> dict[str, Any]:
    outer: dict[str, Any] = {}
    inner = outer
    for _ in range(100_000):
        inner["a"] = {}
        inner = inner["a"]
    return outer


@pytest.mark.parametrize(
    "given",
    [{"metadata": {"m": 10**5000}}, {"metadata": {"m": {1, 2}}}, {"chunk": {"metadata": {"m": object()}}}],
    ids=["digits", "a set", "an object"],
)
def test_metadata_that_is_no_json_is_refused(filled: Index, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="can't be stored as JSON"):
        filled.add_documents([document(**given)])
    assert filled.stats().documents == 1


def test_metadata_that_is_nested_without_end_is_refused(filled: Index) -> None:
    with pytest.raises(UsageError, match="can't be stored as JSON"):
        filled.add_documents([document(metadata=deep())])


@pytest.mark.parametrize("what", ["text", "metadata"])
def test_what_could_not_be_read_again_is_not_written(filled: Index, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored value that claims to be larger is taken for a stranger's bomb."""
    monkeypatch.setattr(codec, "LARGEST", 1_000_000)
    long = "word " * 250_000
    given: dict[str, Any] = {"chunk": {"text": long} if what == "text" else {"metadata": {"m": long}}}
    with pytest.raises(UsageError, match="longer than"):
        filled.add_documents([document(document_id="long", **given)])
    assert filled.stats().documents == 1
    assert filled.verify().ok


@pytest.mark.parametrize("given", [{"document_id": "i" * LONG}, {"title": "t" * LONG}, {"source": "s" * LONG}])
def test_what_the_catalogue_can_not_hold_is_refused(
    library: Path, embedder: WordEmbedder, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database.LIMITS, apsw.SQLITE_LIMIT_LENGTH, LONG // 2)
    with stackroom.open(library, embedder=embedder) as index:
        index.add_documents([document()])
        with pytest.raises(UsageError, match="longer than the catalogue can hold"):
            index.add_documents([document(**{"document_id": "e", **given})])
        index.add_documents([document(document_id="f")])
        assert index.stats().documents == 2
        assert index.verify().ok


def test_an_error_is_as_long_as_can_be_read(filled: Index) -> None:
    calls: list[Callable[[], object]] = [
        lambda: filled.search("a", collection="c" * LONG),
        lambda: filled.read("c" * LONG),
        lambda: filled.vectors(["c" * LONG]),
        lambda: filled.search("a", mode="m" * LONG),  # type: ignore[arg-type]
        lambda: filled.add("/" + "p" * LONG),
        lambda: filled.remove(["r" * LONG]),
    ]
    for call in calls:
        with pytest.raises(StackroomError) as caught:
            call()
        assert len(caught.value.message) < 3_000
        assert len(str(caught.value)) < 4_000
