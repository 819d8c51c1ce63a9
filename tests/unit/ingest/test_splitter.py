"""Chunks with exact places, whatever the text."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from stackroom.ingest.embedders import resolve
from stackroom.ingest.splitter import TokenSplitter, splitter_for
from stackroom.protocols import Section

pieces = st.text(st.sampled_from("ab .\n\n。!?é中文字ก\U0001f600-_\t"), max_size=120) | st.sampled_from(
    ["One. Two. Three.", "word " * 80, "x" * 300, "漢字" * 70, "\n\n\n", "e.g. this. Dr. Who."]
)
headings = st.lists(st.sampled_from(["A", "B", "C"]), max_size=2).map(tuple)
documents = st.lists(
    st.builds(Section, pieces, headings, st.none() | st.integers(1, 4)), max_size=8
)  # fmt: skip


def tokens(splitter: TokenSplitter, text: str) -> int:
    return len(splitter.token_starts(text))


@settings(max_examples=400)
@given(documents, st.integers(5, 40), st.integers(0, 8))
def test_chunks_are_exact_short_and_complete(sections: list[Section], limit: int, overlap: int) -> None:
    splitter = TokenSplitter(None, limit, overlap)
    text = "".join(section.text for section in sections)
    covered = [False] * len(text)
    before = -1
    for chunk in splitter.split(sections):
        start, end = chunk.place.start, chunk.place.end
        assert start is not None
        assert end is not None
        assert text[start:end] == chunk.text == chunk.text.strip() != ""
        assert start > before
        before = start
        assert tokens(splitter, chunk.text) <= limit
        covered[start:end] = [True] * (end - start)
    missed = {character for character, seen in zip(text, covered, strict=True) if not seen}
    # What no chunk holds has no token in it: white space, and marks that stand alone.
    assert not any(character.isalnum() for character in missed)


def test_a_new_chapter_begins_a_chunk() -> None:
    chunks = list(
        TokenSplitter(None, 40, 5).split(
            [Section("One is here. " * 3, ("One",)), Section("Two is here. " * 3, ("Two",))]
        )
    )
    assert [chunk.place.section for chunk in chunks] == [("One",), ("Two",)]


def test_pages_are_no_borders_and_are_told() -> None:
    sections = [Section("first half of a sentence ", (), 3, "iii"), Section("and its second half.", (), 4, "iv")]
    (chunk,) = TokenSplitter(None, 40, 5).split(sections)
    assert (chunk.place.page, chunk.place.page_end, chunk.place.page_label) == (3, 4, "iii")
    assert chunk.text == "first half of a sentence and its second half."


def test_a_joined_chunk_is_named_by_what_gives_most_of_it() -> None:
    sections = [Section("Logs\n\n", ("Logs",)), Section("Rotation\n\nMany words about rotation.", ("Logs", "Rotation"))]
    (chunk,) = TokenSplitter(None, 40, 5).split(sections)
    assert chunk.place.section == ("Logs", "Rotation")


def test_sentences_are_kept_whole_and_shared() -> None:
    text = " ".join(f"Sentence number {n} has some words." for n in range(12))
    chunks = list(TokenSplitter(None, 40, 12).split([Section(text)]))
    assert all(chunk.text.startswith("Sentence") and chunk.text.endswith("words.") for chunk in chunks)
    for one, two in pairwise(chunks):
        assert two.place.start < one.place.end


def test_the_models_own_tokens_count() -> None:
    embedder = resolve("minilm")
    splitter = splitter_for(embedder)
    assert (splitter.max_tokens, splitter.overlap) == (254, 31)
    text = "Antidisestablishmentarianism is rotated by logrotate. " * 200
    chunks = list(splitter.split([Section(text)]))
    assert embedder.tokenizer is not None
    lengths = [len(embedder.tokenizer.spans(chunk.text)) for chunk in chunks]
    assert max(lengths) <= 254
    assert min(lengths[:-1]) > 127


def test_one_line_of_a_megabyte_is_cut() -> None:
    chunks = list(TokenSplitter(None, 100, 10).split([Section("abcd" * 250_000)]))
    assert sum(len(chunk.text) for chunk in chunks) == 1_000_000
    assert max(len(chunk.text) for chunk in chunks) <= 400


@settings(max_examples=200)
@given(st.lists(st.text("ab .?\n-", max_size=60), min_size=1, max_size=30), st.integers(5, 40), st.integers(0, 8))
def test_marked_chunks_tell_what_they_hold(lines: list[str], limit: int, overlap: int) -> None:
    lines = [line.replace("\n", " ") + "\n" for line in lines]
    starts = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    half = len(lines) // 2
    sections = [
        Section("".join(part), (), unit="row", marks=[(starts[first + n] - starts[first], first + n + 1, first + n + 1) for n in range(len(part))])
        for first, part in ((0, lines[:half]), (half, lines[half:]))
    ]  # fmt: skip
    splitter = TokenSplitter(None, limit, overlap)
    text = "".join(lines)
    for chunk in splitter.split(sections):
        place = chunk.place
        assert place.start is not None
        assert place.end is not None
        assert place.first is not None
        assert place.last is not None
        assert text[place.start : place.end] == chunk.text
        assert tokens(splitter, chunk.text) <= limit
        assert place.unit == "row"
        first, last = int(place.first), int(place.last)
        assert starts[first - 1] <= place.start < starts[first]
        assert starts[last - 1] < place.end <= starts[last]
        if all(tokens(splitter, line) <= limit for line in lines):
            # Rows are whole, but for the white space around them.
            assert not text[starts[first - 1] : place.start].strip()
            assert not text[place.end : starts[last]].strip()


def test_a_sentence_within_a_row_is_no_border_unless_the_row_is_too_long() -> None:
    rows = ["Name: A. Smith. Works: Yes.\n"] * 4
    section = Section("".join(rows), unit="row", marks=[(n * len(rows[0]), n + 2, n + 2) for n in range(4)])
    chunks = list(TokenSplitter(None, 30, 8).split([section]))
    assert [(chunk.place.first, chunk.place.last) for chunk in chunks] == [(2, 3), (4, 5)]
    long = Section("One is here. " * 20, unit="row", marks=[(0, 7, 7)])
    assert {(chunk.place.first, chunk.place.last) for chunk in TokenSplitter(None, 30, 8).split([long])} == {(7, 7)}


def test_pages_without_marks_count_nothing() -> None:
    (chunk,) = TokenSplitter(None, 30, 8).split([Section("words")])
    assert (chunk.place.unit, chunk.place.first, chunk.place.last) == (None, None, None)
