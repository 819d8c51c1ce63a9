"""What is said of a filter that leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from stackroom import Chunk, Document, Index
from stackroom.filters import Condition, any_of, as_filter, none_of, parse
from stackroom.search import unmatched as explaining
from stackroom.search.unmatched import unmatched


@pytest.fixture
def filled(index: Index) -> Index:
    index.add_documents(
        Document(f"d{n}", metadata={"kind": kind, "year": 2000 + n, "tags": ["red", kind]}, chunks=[Chunk(f"text {n}", metadata={"part": f"of {n}"})])
        for n, kind in enumerate(["pdf", "pdf", "html", "md, old"])
    )  # fmt: skip
    return index


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (["kind == PDF"], ["No passage has kind == PDF. kind has: pdf, html, \"md, old\"."]),
        (["kind == htm"], ["No passage has kind == htm. kind has: html, pdf, \"md, old\"."]),
        (['kind in ["HTML"]'], ['No passage has kind in ["HTML"]. kind has: html, pdf, "md, old".']),
        (['tags any ["Red"]'], ['No passage has tags any ["Red"]. tags has: red, pdf, html, "md, old".']),
        (['year == "2001"'], ['No passage has year == "2001". year has: 2001, 2003, 2002, 2000.']),
        (["part == of"], ["No passage has part == of. part has: of 3, of 2, of 1, of 0."]),
        (["year > 2030"], ["No passage has year > 2030."]),
        (["kidn == pdf", "kind == pdf"], ["No document has 'kidn'. Is it 'kind'?"]),
        (["kind == PDF", "year > 2030"], ["No passage has kind == PDF. kind has: pdf, html, \"md, old\".", "No passage has year > 2030."]),
        (["kind == pdf", "year == 2003"], ["No passage has all of: kind == pdf, year == 2003."]),
        (any_of(parse("year > 2030"), parse("year < 1990")), ["No passage has year > 2030.", "No passage has year < 1990."]),
        ([any_of(parse("kind == PDF"), parse("kind == pdf")), "year > 2030"], ["No passage has year > 2030."]),
        (none_of(parse("year > 1990")), ["Every passage has one of: year > 1990."]),
        (["kind == pdf"], []),
    ],
)  # fmt: skip
def test_the_part_that_no_passage_meets_is_named(filled: Index, where: Any, said: list[str]) -> None:
    with filled.backend.view() as view:
        assert unmatched(view, as_filter(where)) == said


def test_many_values_are_not_all_told(index: Index) -> None:
    index.add_documents(Document(f"d{n}", metadata={"n": f"number {n}"}, chunks=[Chunk("x")]) for n in range(30))
    with index.backend.view() as view:
        (said,) = unmatched(view, as_filter("n == Number 17"))
    assert said.startswith("No passage has n == Number 17. n has: number 17, ")
    assert said.count("number") == 8
    assert said.endswith(", ...")


def test_as_many_values_as_are_looked_at_are_all_of_them(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_LOOKED_AT", 4)
    index.add_documents(Document(f"d{n}", metadata={"n": f"number {n}"}, chunks=[Chunk("x")]) for n in range(4))
    with index.backend.view() as view:
        (said,) = unmatched(view, as_filter("n == five"))
        assert sorted(said.removeprefix("No passage has n == five. n has: ").removesuffix(".").split(", ")) == [
            f"number {n}" for n in range(4)
        ]
    index.add_documents([Document("d4", metadata={"n": "number 4"}, chunks=[Chunk("x")])])
    with index.backend.view() as view:
        (said,) = unmatched(view, as_filter("n == five"))
    assert said.endswith(", ...")


def test_a_filter_of_thousands_says_some_of_its_parts_and_compares_some_of_its_values(
    filled: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0
    original = explaining.difflib.get_close_matches

    def get_close_matches(*asked: Any, **how: Any) -> list[str]:
        nonlocal compared
        compared += 1
        return original(*asked, **how)

    monkeypatch.setattr(explaining.difflib, "get_close_matches", get_close_matches)
    values = [f"none {n}" for n in range(3000)]
    with filled.backend.view() as view:
        (said,) = unmatched(view, Condition("kind", "in", ["PDF", *values]))
        assert said.endswith('kind has: pdf, html, "md, old".')
        assert compared == 8
        told = unmatched(view, any_of(*(Condition("kind", "==", value) for value in values)))
    assert told[0].startswith("No passage has kind == none 0. ")
    assert (len(told), told[8]) == (9, "Nor is there one for others of its parts.")
    assert compared == 16


def test_values_are_told_on_one_line_and_long_ones_are_not_parsed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(explaining, "parse", lambda text: (parsed.append(text), parse(text))[1])
    values = ["two\nlines", "gap" + " " * 100 + "gap"]
    index.add_documents(Document(n, metadata={"n": n}, chunks=[Chunk("x")]) for n in values)
    with index.backend.view() as view:
        (said,) = unmatched(view, as_filter("n == none"))
    assert '"two\\nlines"' in said
    assert "\n" not in said
    assert parsed == ["key == none"]


def test_a_damaged_library_still_says_which_part_is_not_met(filled: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled.backend.view() as view:
        monkeypatch.setattr(type(view), "document_of", lambda *_: {})
        assert unmatched(view, as_filter("kind == PDF")) == ["No passage has kind == PDF."]
