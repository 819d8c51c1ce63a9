"""A library whose model nobody named: who says that it is theirs must be right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stackroom
from old_index import OldIndex
from stackroom import Chunk, Document, migration
from stackroom.errors import EmbedderMismatchError, UsageError
from support import DIM, WordEmbedder, chunks, write_files

TEXTS = [f"passage {number} about subject{number}" for number in range(30)]


@pytest.fixture
def unnamed(library: Path) -> Path:
    """Vectors of WordEmbedder, which the library is not told."""
    model = WordEmbedder()
    with stackroom.open(library) as index:
        index.add_documents([Document("d", chunks=[Chunk(text, embedding=model.embed_query(text)) for text in TEXTS])])
    return library


def name_of(library: Path) -> str:
    with stackroom.open(library, mode="r") as index:
        embedder = index.stats().embedder
    assert embedder is not None
    return embedder.name


def test_the_right_model_is_believed_and_remembered(unnamed: Path) -> None:
    model = WordEmbedder()
    with stackroom.open(unnamed, embedder=model) as index:
        assert model.embedded == []  # opening costs nothing
        assert index.search("subject7", mode="vector", k=1)[0].text == TEXTS[7]
        checked = len(model.embedded)
        assert 0 < checked <= 8
        index.search("subject8", mode="vector")
        assert len(model.embedded) == checked
    assert name_of(unnamed) == "words"
    with pytest.raises(EmbedderMismatchError):
        stackroom.open(unnamed, embedder=WordEmbedder("other"))


def test_a_revision_alone_says_not_which_model_it_is_of(library: Path) -> None:
    class Mine(WordEmbedder):
        def __init__(self, name: str, model: str = "") -> None:
            super().__init__(name)
            self.identity = replace(self.identity, model=model, revision="1")

    with stackroom.open(library, embedder=Mine("mine")) as index:
        index.add_documents([Document("d", text="words")])
    with pytest.raises(EmbedderMismatchError, match="'mine'"):
        stackroom.open(library, embedder=Mine("other"))
    with stackroom.open(library.with_name("pinned"), embedder=Mine("mine", "weights")) as index:
        index.add_documents([Document("d", text="words")])
    stackroom.open(library.with_name("pinned"), embedder=Mine("what it is called here", "weights")).close()


def test_a_reader_may_use_it_and_changes_nothing(unnamed: Path) -> None:
    with stackroom.open(unnamed, mode="r", embedder=WordEmbedder()) as index:
        assert index.search("subject7", mode="vector", k=1)[0].text == TEXTS[7]
    assert name_of(unnamed) == ""


def test_another_model_of_the_same_length_is_refused_everywhere(unnamed: Path, folder: Path) -> None:
    class Other(WordEmbedder):
        def embed_query(self, text: str):  # type: ignore[no-untyped-def]
            return np.ascontiguousarray(super().embed_query(text)[::-1])

    write_files(folder, {"a.txt": "alpha"})
    with stackroom.open(unnamed, embedder=Other("other")) as index:
        for attempt in (
            lambda: index.search("subject7", mode="vector"),
            lambda: index.search("subject7"),
            lambda: index.add(folder),
            lambda: index.add_documents([Document("e", text="text")]),
            lambda: index.add_documents([Document("e", chunks=chunks(["text"]))]),
        ):
            with pytest.raises(EmbedderMismatchError, match=r"likeness is -?0\.\d\d") as caught:
                attempt()
            assert "rebuild" in (caught.value.hint or "")
        assert index.search("subject7", mode="text", k=1)[0].text == TEXTS[7]
        # The way out that changes the vectors stays open.
        index.rebuild(embedder=Other("other"))
        assert index.search("subject7", mode="vector", k=1)[0].text == TEXTS[7]
    assert name_of(unnamed) == "other"


def test_vectors_without_text_can_not_contradict(library: Path) -> None:
    with stackroom.open(library) as index:
        index.add_documents([Document("d", chunks=[Chunk("", embedding=np.ones(DIM, np.float32))])])
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([Document("e", text="text")])
    assert name_of(library) == "words"


@pytest.mark.parametrize("right", [True, False])
def test_a_migrated_library_knows_what_was_embedded(tmp_path: Path, right: bool) -> None:
    """LlamaIndex gives its model the metadata above the text."""
    from stackroom.migration.probe import with_metadata

    model = WordEmbedder(dim=8)
    old = OldIndex(dim=8)
    for node in old.ids:
        body = old.nodes[node]["__data__"]
        told = with_metadata(body, body["text"], body["metadata"])
        old.embeddings[node] = [float(value) for value in model.embed_query(told if right else told[::-1])]
    migration.migrate(old.write(tmp_path / "old"))
    with stackroom.open(tmp_path / "old", embedder=model) as index:
        if right:
            index.search("subject", mode="vector")
            assert index.stats().embedder == model.identity
        else:
            with pytest.raises(EmbedderMismatchError):
                index.search("subject", mode="vector")


def test_an_identity_of_another_kind_is_told_at_once(library: Path) -> None:
    class Bad(WordEmbedder):
        def __init__(self) -> None:
            super().__init__()
            self.identity = "my-model"  # type: ignore[assignment]

    with pytest.raises(UsageError, match=r"'my-model', and not an EmbedderIdentity.*stackroom\.EmbedderIdentity\("):
        stackroom.open(library, embedder=Bad())
