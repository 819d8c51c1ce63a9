"""The splitter at its limits: nothing visible lost, lines without spaces, streams, CJK, overlap, and places."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stackroom.ingest.embedders import resolve
from stackroom.ingest.splitter import TokenSplitter, splitter_for
from stackroom.protocols import Section, Tokenizer
from stackroom.types import Chunk

# Letters, marks and spaces of many scripts; the weird ones are those that regular expressions and str.strip() disagree on.
odd = st.text(
    st.sampled_from(
        "aZ9 .!?…\n\t\r\x1c\x85\xa0\u200b\u2028\u3000_-'\"»)]。！？」ー中字かなカ한ไय़।؟۔\u0301\U0001f600\ufffd\u202e"
    ),
    max_size=150,
)
pieces = odd | st.text(max_size=60) | st.sampled_from(["Mr. X. ", "e.g. it. ", "w" * 90, "漢" * 90, " " * 90, "\n" * 9])
documents = st.lists(
    st.builds(
        Section,
        pieces,
        st.lists(st.sampled_from("ABC"), max_size=3).map(tuple),
        st.none() | st.integers(1, 9),
        st.none() | st.sampled_from(["i", "A-1"]),
    ),
    max_size=8,
)


def split(splitter: TokenSplitter, sections: list[Section]) -> list[Chunk]:
    """The chunks, after a look at what holds for every document."""
    text = "".join(section.text for section in sections)
    chunks = list(splitter.split(sections))
    for chunk in chunks:
        assert chunk.text == text[chunk.place.start : chunk.place.end] != ""
        assert chunk.text == chunk.text.strip()
    for one, two in pairwise(chunks):
        assert one.place.start < two.place.start
        assert one.place.end < two.place.end
    return chunks


def missed(text: str, chunks: list[Chunk]) -> str:
    """The characters that no chunk holds."""
    covered = bytearray(len(text))
    for chunk in chunks:
        covered[chunk.place.start : chunk.place.end] = b"\1" * len(chunk.text)
    return "".join(character for character, seen in zip(text, covered, strict=True) if not seen)


@settings(max_examples=500)
@given(documents, st.integers(1, 40), st.integers(0, 10))
def test_every_character_that_is_no_space_is_in_a_chunk(sections: list[Section], limit: int, overlap: int) -> None:
    splitter = TokenSplitter(None, limit, overlap)
    chunks = split(splitter, sections)
    text = "".join(section.text for section in sections)
    assert missed(text, chunks).strip() == ""
    assert all(len(splitter.token_starts(chunk.text)) <= limit for chunk in chunks)


@settings(max_examples=300)
@given(documents, st.integers(5, 40), st.integers(0, 10))
@example([Section("9? 9?！9?", ("A", "A", "A")), Section("99999", ("A", "A", "A"))], 6, 3)
def test_a_place_tells_the_pages_and_headings_that_its_text_is_from(
    sections: list[Section], limit: int, overlap: int
) -> None:
    owners = [section for section in sections for _ in section.text]
    for chunk in split(TokenSplitter(None, limit, overlap), sections):
        place = chunk.place
        own = owners[place.start : place.end]
        assert (place.page, place.page_label) == (own[0].page, own[0].page_label)
        assert place.page_end == (own[-1].page if own[-1].page is not None else own[0].page)
        assert place.section in {section.headings for section in own}


@settings(max_examples=300)
@given(documents, st.integers(5, 40), st.integers(0, 20))
def test_chunks_share_no_more_than_they_may(sections: list[Section], limit: int, overlap: int) -> None:
    splitter = TokenSplitter(None, limit, overlap)
    text = "".join(section.text for section in sections)
    for one, two in pairwise(split(splitter, sections)):
        if two.place.start < one.place.end:
            assert len(splitter.token_starts(text[two.place.start : one.place.end])) <= min(overlap, limit // 2)


def test_without_overlap_no_character_comes_twice() -> None:
    text = "".join(f"Sentence number {n} has some words. " for n in range(60))
    chunks = split(TokenSplitter(None, 30, 0), [Section(text)])
    assert len(chunks) > 5
    assert sum(len(chunk.text) for chunk in chunks) + len(missed(text, chunks)) == len(text)


def test_a_short_last_sentence_is_shared_and_a_long_one_is_not() -> None:
    long, short = "word " * 20 + "ends. ", "Tiny one. "

    def shared(text: str) -> list[str]:
        chunks = split(TokenSplitter(None, 30, 6), [Section(text)])
        assert len(chunks) == 2
        return [text[two.place.start : one.place.end] for one, two in pairwise(chunks)]

    assert shared(long + short + long) == ["Tiny one."]
    assert shared(short + long + long) == [""]


# Lines that have no place to cut


@pytest.mark.parametrize(
    ("line", "longest"),
    [("abcd" * 75_000, 400), ("漢字仮名" * 75_000, 100), ("x1-" * 100_000, 200)],
    ids=["letters", "CJK", "mixed"],
)
def test_one_line_of_300_000_characters_without_a_space(line: str, longest: int) -> None:
    chunks = split(TokenSplitter(None, 100, 12), [Section(line)])
    assert missed(line, chunks) == ""
    assert max(len(chunk.text) for chunk in chunks) <= longest


def test_a_run_of_marks_is_cut() -> None:
    """A short one: the expression that finds sentences takes time by the square of its length."""
    for mark in ".!…。-_":
        chunks = split(TokenSplitter(None, 100, 12), [Section(mark * 2000)])
        assert missed(mark * 2000, chunks) == ""
        assert max(len(chunk.text) for chunk in chunks) == 100


@pytest.mark.parametrize("line", ["漢字仮名" * 75_000, "ab,cd." * 50_000], ids=["CJK", "marks"])
def test_such_a_line_in_the_models_own_tokens(line: str) -> None:
    embedder = resolve("minilm")
    assert embedder.tokenizer is not None
    chunks = split(splitter_for(embedder), [Section(line)])
    assert missed(line, chunks) == ""
    assert max(len(embedder.tokenizer.spans(chunk.text)) for chunk in chunks) <= 254


@pytest.mark.parametrize("line", ["abcd" * 75_000, "ภาษาไทยเป็นภาษาที่มีระดับเสียง" * 500], ids=["letters", "Thai"])
def test_a_word_without_end_is_cut_in_the_models_own_tokens_too(line: str) -> None:
    chunks = split(splitter_for(resolve("minilm")), [Section(line)])
    assert max(len(chunk.text) for chunk in chunks) <= 254 * 20


def test_a_chunk_cut_inside_a_word_is_no_longer_than_the_model_reads() -> None:
    embedder = resolve("minilm")
    assert embedder.tokenizer is not None
    text = base64.b64encode(random.Random(2).randbytes(60_000)).decode()
    chunks = split(splitter_for(embedder), [Section(text)])
    assert max(len(embedder.tokenizer.spans(chunk.text)) for chunk in chunks) <= 254


class CharacterPairs:
    """A tokenizer whose tokens are pairs of characters, spaces and all."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(start, min(start + 2, len(text))) for start in range(0, len(text), 2)]


def test_any_tokenizer_will_do() -> None:
    tokenizer = CharacterPairs()
    assert isinstance(tokenizer, Tokenizer)
    text = "One sentence here. Another one there. " * 40
    chunks = split(TokenSplitter(tokenizer, 30, 4), [Section(text)])
    assert missed(text, chunks).strip() == ""
    # Retokenised alone, a chunk may begin in the middle of a pair.
    assert max(len(tokenizer.spans(chunk.text)) for chunk in chunks) <= 31


# Where chunks end


def test_cjk_is_cut_after_its_own_full_stops() -> None:
    text = "これは最初の文章です。" * 3 + "「引用された文です。」" * 3 + "次の質問ですか？" * 3
    chunks = split(TokenSplitter(None, 25, 0), [Section(text)])
    assert len(chunks) > 3
    assert all(chunk.text.endswith(("。", "。」", "？")) for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks) == text


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("یہ ایک جملہ ہے۔ " * 20, "۔"),
        ("यह एक वाक्य है। " * 20, "।"),
        ("هل هذا سؤال؟ " * 20, "؟"),
        ("ရန်ကုန်သည် မြို့ဖြစ်သည်။ " * 20, "။"),
        ("ភ្នំពេញជារាជធានី។ " * 20, "។"),
        ("提案手法は有効である．" * 20, "．"),
    ],
    ids=["Urdu", "Hindi", "Arabic", "Burmese", "Khmer", "Japanese"],
)
def test_other_scripts_are_cut_after_their_own_marks(text: str, mark: str) -> None:
    chunks = split(TokenSplitter(None, 25, 0), [Section(text)])
    assert len(chunks) > 3
    assert all(chunk.text.endswith(mark) for chunk in chunks)


def test_a_wide_point_within_a_number_is_no_end() -> None:
    text = "圧力は１０．５である．" * 20
    chunks = split(TokenSplitter(None, 25, 0), [Section(text)])
    assert len(chunks) > 3
    assert all(chunk.text.endswith("る．") for chunk in chunks)


def test_an_abbreviation_is_no_end() -> None:
    text = "We met Dr. Smith and Prof. Jones, cf. p. 12, at noon. " * 12
    chunks = split(TokenSplitter(None, 40, 0), [Section(text)])
    assert len(chunks) > 4
    assert all(chunk.text.endswith("noon.") for chunk in chunks)


def test_a_sentence_ends_after_its_closing_quotes() -> None:
    text = 'He said "this is so." She said (that it is not.) ' * 10
    chunks = split(TokenSplitter(None, 16, 0), [Section(text)])
    assert all(chunk.text.endswith(('so."', "not.)")) for chunk in chunks)


def test_a_blank_line_ends_a_passage_and_a_single_one_only_if_it_must() -> None:
    paragraphs = "\n\n".join("line one of it\nline two of it\nline three of it" for _ in range(10))
    chunks = split(TokenSplitter(None, 30, 0), [Section(paragraphs)])
    assert all(chunk.text.startswith("line one") and chunk.text.endswith("three of it") for chunk in chunks)
    listing = "\n".join(f"entry {n}" for n in range(200))
    for chunk in split(TokenSplitter(None, 30, 0), [Section(listing)]):
        assert chunk.text.startswith("entry")
        assert chunk.text.splitlines() == [line for line in listing.splitlines() if line in chunk.text.splitlines()]


# Headings and pages


def test_every_long_section_begins_a_chunk() -> None:
    sections = [
        Section(f"Heading {n}\n\n" + f"Some words about {n}. " * 6, ("Chapter", f"Heading {n}")) for n in range(6)
    ]
    chunks = split(TokenSplitter(None, 60, 8), sections)
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [f"Heading {n}" for n in range(6)]
    assert [chunk.place.section for chunk in chunks] == [("Chapter", f"Heading {n}") for n in range(6)]


def test_nothing_is_shared_across_a_heading() -> None:
    sections = [Section("One is here. " * 9, ("One",)), Section("Two is here. " * 9, ("Two",))]
    chunks = split(TokenSplitter(None, 20, 8), sections)
    assert {("One" in chunk.text, "Two" in chunk.text) for chunk in chunks} == {(True, False), (False, True)}


def test_a_short_section_joins_the_next_of_its_chapter_but_of_no_other() -> None:
    def run(first: tuple[str, ...], second: tuple[str, ...]) -> list[str]:
        sections = [Section("Title\n\n", first), Section("Text below it. " * 4, second)]
        return [chunk.text.split()[0] for chunk in split(TokenSplitter(None, 60, 0), sections)]

    assert run(("A",), ("A", "B")) == ["Title"]
    assert run(("A", "B"), ("A", "C")) == ["Title"]
    assert run(("A",), ("B",)) == ["Title", "Text"]
    assert run((), ("B",)) == ["Title", "Text"]


def test_pages_without_text_move_the_numbers_but_are_in_no_chunk() -> None:
    sections = [
        Section("", (), 1, "i"),
        Section("First page. " * 3, (), 2, "ii"),
        Section("", (), 3, "iii"),
        Section("Last page. " * 3, (), 4, "1"),
        Section("", (), 5, "2"),
    ]
    (chunk,) = split(TokenSplitter(None, 60, 0), sections)
    assert (chunk.place.page, chunk.place.page_end, chunk.place.page_label) == (2, 4, "ii")


def test_a_chunk_on_one_page_ends_there() -> None:
    sections = [Section("Words that fill this page. " * 8, (), page, f"p{page}") for page in range(1, 5)]
    chunks = split(TokenSplitter(None, 30, 0), sections)
    assert chunks[0].place.page == chunks[0].place.page_end == 1
    assert chunks[-1].place.page == chunks[-1].place.page_end == 4
    assert all(chunk.place.page <= chunk.place.page_end <= chunk.place.page + 1 for chunk in chunks)


def test_what_has_no_pages_has_none() -> None:
    (chunk,) = split(TokenSplitter(None, 30, 0), [Section("Some words.")])
    assert (chunk.place.page, chunk.place.page_end, chunk.place.page_label) == (None, None, None)


# Streams, and what has no text


@pytest.mark.parametrize(
    "sections", [[], [Section("")], [Section(" \n\t\n")], [Section("", (), 1), Section("\n", ("A",), 2)]]
)
def test_no_text_is_no_chunk(sections: list[Section]) -> None:
    assert split(TokenSplitter(None, 30, 4), sections) == []


def test_sections_are_taken_as_chunks_are_asked_for() -> None:
    taken = 0

    def endless() -> Iterator[Section]:
        nonlocal taken
        while True:
            taken += 1
            yield Section(f"Sentence number {taken} has some words in it. ")

    chunks = TokenSplitter(None, 30, 4).split(endless())
    for n in range(1, 50):
        next(chunks)
        assert taken <= 6 * n


def test_where_sections_are_cut_makes_no_difference() -> None:
    """One heading, one page: the same chunks from one block or from many."""
    text = "".join(f"Sentence number {n} has some words.\n" for n in range(400))
    lines = [Section(line) for line in text.splitlines(keepends=True)]
    assert split(TokenSplitter(None, 40, 8), lines) == split(TokenSplitter(None, 40, 8), [Section(text)])


def test_a_long_section_is_seamless() -> None:
    """Longer than the part that is tokenized at once."""
    sentences = [f"Sentence number {n} has some words." for n in range(12_000)]
    text = " ".join(sentences)
    assert len(text) > 400_000
    chunks = split(TokenSplitter(None, 40, 0), [Section(text)])
    assert missed(text, chunks).strip() == ""
    assert all(chunk.text.startswith("Sentence") and chunk.text.endswith("words.") for chunk in chunks)


def test_a_recipe_is_another_when_the_chunks_are() -> None:
    recipes = {TokenSplitter(None, limit, overlap).recipe for limit in (10, 20) for overlap in (0, 5)}
    assert len(recipes) == 4
    assert TokenSplitter(None, 10, 5).recipe == TokenSplitter(None, 10, 5).recipe
