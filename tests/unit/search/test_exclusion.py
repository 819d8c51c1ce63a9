"""-word excludes, and words in quotes must stand as they are, in whatever way is searched."""

from __future__ import annotations

import pytest

from stackroom import Chunk, Document, Index
from stackroom.errors import UsageError
from stackroom.search.unmatched import unheld
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
    assert texts(filled, "loudly -cats", mode) == {"dogs bark loudly", "commit with amend"}
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


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text", None])
def test_what_is_quoted_must_stand_in_every_mode(filled: Index, mode: Mode | None) -> None:
    assert texts(filled, '"hunt mice"', mode) == {"cats hunt mice"}
    assert texts(filled, '"mice hunt"', mode) == set()
    assert texts(filled, '"zebra quantum yoghurt" cats', mode) == set()
    # Words beside it order what holds it; a stem stands as it is found.
    assert texts(filled, '"cats" dogs bark', mode) == {"cats purr", "cats hunt mice", "dogs hunt cats"}
    assert texts(filled, '"cat" "hunt" -mice', mode) == {"dogs hunt cats"}
    assert texts(filled, '"hunt" loudly', mode, k=1) < {"cats hunt mice", "dogs hunt cats"}
    # A mark behind a number is one of inches, and the end of a line that nobody began quotes nothing.
    assert "cats purr" in texts(filled, 'cats 7" single 12" long', mode)
    assert "cats purr" in texts(filled, 'cats "purr', mode)


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text", None])
def test_exclusions_alone_ask_for_nothing(filled: Index, mode: Mode | None) -> None:
    for query in ("-cats", '-"hunt mice" -dogs'):
        with pytest.raises(UsageError, match="says only what must not occur"):
            filled.search(query, mode=mode)


def test_quoted_words_that_stand_nowhere_are_named(filled: Index) -> None:
    with filled.backend.view() as view:
        assert unheld(view, 'cats "hunt mice"') == []
        assert unheld(view, "zebra") == []
        assert unheld(view, '"Zebra  quantum" "cats" "yoghurt"') == [
            'No passage has "Zebra quantum".',
            'No passage has "yoghurt".',
        ]
        assert unheld(view, '"purr" "dogs"') == ['No passage has all of: "purr", "dogs".']
