"""-word excludes, in whatever way is searched."""

from __future__ import annotations

import pytest

from stackroom import Chunk, Document, Index
from stackroom.storage.words.tokenizer import without_excluded
from stackroom.types import Mode
from support import WordEmbedder

TEXTS = ["cats purr", "cats hunt mice", "dogs hunt cats", "dogs bark loudly", "commit with amend"]


@pytest.fixture
def filled(index: Index) -> Index:
    index.add_documents([Document(f"d{n}", chunks=[Chunk(text)]) for n, text in enumerate(TEXTS)])
    return index


def texts(index: Index, query: str, mode: Mode | None, **options: int) -> set[str]:
    return {hit.text for hit in index.search(query, mode=mode, **options)}  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text", None])
def test_excluded_words_exclude_in_every_mode(filled: Index, mode: Mode | None) -> None:
    assert "dogs hunt cats" in texts(filled, "cats hunt", mode)
    found = texts(filled, "cats hunt -dogs", mode)
    assert {"cats purr", "cats hunt mice"} <= found
    assert not any("dogs" in text for text in found)
    # A stem and a phrase are excluded as they are found.
    assert not any("dogs" in text for text in texts(filled, "cats -dog", mode))
    assert "cats hunt mice" not in texts(filled, 'cats -"hunt mice"', mode)
    assert "dogs hunt cats" in texts(filled, 'cats -"hunt mice"', mode)


@pytest.mark.parametrize("mode", ["hybrid", "vector"])
def test_what_is_left_fills_the_hits(filled: Index, mode: Mode) -> None:
    assert texts(filled, "cats -purr -dogs", mode, k=1) == {"cats hunt mice"}
    assert texts(filled, "-cats", mode) == {"dogs bark loudly", "commit with amend"}
    everything = " ".join(f"-{word}" for text in TEXTS for word in text.split())
    assert texts(filled, f"cats {everything}", mode) == set()


@pytest.mark.parametrize("mode", ["hybrid", "text"])
def test_the_name_of_an_option_excludes_nothing(filled: Index, mode: Mode) -> None:
    assert "commit with amend" in texts(filled, "commit --amend", mode)


def test_the_model_is_asked_for_what_is_wanted(filled: Index, embedder: WordEmbedder) -> None:
    asked: list[str] = []
    embed = embedder.embed_query
    embedder.embed_query = lambda text: (asked.append(text), embed(text))[1]  # type: ignore[method-assign]
    filled.search("cats  hunt -dogs")
    filled.search("cats  hunt")
    assert asked == ["cats hunt", "cats  hunt"]
    assert without_excluded('cats -"hunt mice" well-known - x') == "cats well-known - x"
