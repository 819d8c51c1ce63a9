"""Tables of HTML: rows on lines, and a cell that is merged over several rows said in each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, given, read, survives, text_of
from stackroom.ingest.readers import html
from stackroom.ingest.readers.common import hidden

REAL = FILES / "html/gin-builtin-opclasses.html"


def lines(tmp_path: Path, table: str) -> list[str]:
    text = text_of(given(tmp_path, "a.html", f"<!doctype html><body>{table}"))
    return [line for told in text.splitlines() if (line := " ".join(told.removesuffix(" | ").split()))]


def test_a_real_table_says_to_what_each_row_belongs() -> None:
    text = text_of(REAL)
    assert "array_ops | && (anyarray,anyarray) | \narray_ops | @> (anyarray,anyarray) | \n" in text
    assert "jsonb_ops | ?| (jsonb,text[]) | \n" in text
    assert text.count("jsonb_path_ops | ") == 3
    place = chunk_with(REAL, "tsvector_ops | @@@ (tsvector,tsquery)").place
    assert place.section == ("70.2. Built-in Operator Classes",)


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        # In the middle, at the end, and two side by side.
        ("<tr><td>1<td rowspan=2>b<td>2<tr><td>3<td>4", ["1 | b | 2", "3 | b | 4"]),
        ("<tr><td>1<td rowspan=3>b<tr><td>2<tr><td>3<tr><td>4<td>5", ["1 | b", "2 | b", "3 | b", "4 | 5"]),
        ("<tr><td rowspan=2>a<td rowspan=3>b<td>1<tr><td>2<tr><td>3<td>4", ["a | b | 1", "a | b | 2", "3 | b | 4"]),
        # Over columns: said once, and what follows stands where it should.
        ("<tr><td colspan=2>a<td rowspan=2>b<tr><td>1<td>2", ["a | b", "1 | 2 | b"]),
        ("<tr><td rowspan=2 colspan=2>a<td>1<tr><td>2", ["a | 1", "a | 2"]),
        # A header of two rows.
        ("<thead><tr><th rowspan=2>Name<th colspan=2>Size<tr><th>w<th>h<tbody><tr><td>x<td>1<td>2",
         ["Name | Size", "Name | w | h", "x | 1 | 2"]),
        # To the end of its group, and no further.
        ("<tbody><tr><td rowspan=0>a<td>1<tr><td>2<tbody><tr><td>3<td>4", ["a | 1", "a | 2", "3 | 4"]),
        # A table within a cell is one for itself.
        ("<tr><td rowspan=2>a<td><table><tr><td>x<tr><td>y</table><tr><td>2", ["a", "x", "y", "a | 2"]),
        # Lines within a cell, and what is hidden, are no reason to say anything else.
        ("<tr><td rowspan=2>a<br>b<p>c<td>1<tr><td>2", ["a", "b", "c", "| 1", "a b c | 2"]),
        ("<tr><td rowspan=2>a<i hidden>no</i><td>1<tr><td>2", ["a | 1", "a | 2"]),
        # A row without cells of its own says nothing; nonsense means one.
        ("<tr><td rowspan=3>a<td>1<tr><tr><td>3", ["a | 1", "a | 3"]),
        ("<tr><td rowspan=many>a<td rowspan=-2>b<tr><td>c", ["a | b", "c"]),
    ],
)  # fmt: skip
def test_cells_that_are_merged(tmp_path: Path, table: str, wanted: list[str]) -> None:
    assert lines(tmp_path, f"<table>{table}</table><p>after") == [*wanted, "after"]


def test_a_long_cell_is_said_once(tmp_path: Path) -> None:
    long = "word " * 60
    told = lines(tmp_path, f"<table><tr><td rowspan=2>{long}<td>1<tr><td>2</table>")
    assert told == [f"{long}| 1", "2"]


def test_a_page_says_only_so_much_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "_AGAIN", 50)
    rows = "<tr><td>1" * 1000
    told = lines(tmp_path, f"<table><tr><td rowspan=1001>again<td>0{rows}</table>")
    assert told[1] == "again | 1"
    assert sum("again" in line for line in told) == 7
    assert len(told) == 1001


def test_hostile_tables_cost_no_more_than_themselves(tmp_path: Path) -> None:
    """Each cell of a first row of thousands reaches down to the last of thousands of rows."""
    cells = f"<td rowspan=65534>{'x' * 190}" * 2000
    page = f"<table><tr>{cells}{'<tr><td>y' * 20_000}</table>"
    path = given(tmp_path, "a.html", f"<!doctype html><body>{page}")
    _, sections = read(path)
    assert sum(len(section.text) for section in sections) < len(page) + html._AGAIN + 1000


def test_a_cell_before_the_first_row_is_one(tmp_path: Path) -> None:
    """No page has one by the rules of HTML; those of MathML let `td` stand in a caption."""
    told = lines(tmp_path, "<table><caption><math><td>x</math></caption><tr><td rowspan=2>a<td>1<tr><td>2</table>")
    assert told == ["x", "a | 1", "a | 2"]


@pytest.mark.parametrize("nested", ["<table><tr><td rowspan=2>", "<div><h1>"])
def test_cells_and_headings_within_each_other_are_not_looked_through_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: str
) -> None:
    looked_at = 0
    hides = hidden.hides

    def counted(node: object) -> bool:
        nonlocal looked_at
        looked_at += 1
        return hides(node)

    monkeypatch.setattr(hidden, "hides", counted)
    monkeypatch.setattr(html, "_LOOKED_AT", 20)
    deep = 500
    text_of(given(tmp_path, "a.html", f"<!doctype html><body>words{nested * deep}"))
    assert looked_at < deep * 30


def test_broken_twins_of_a_real_table(tmp_path: Path) -> None:
    survives(REAL.read_bytes(), tmp_path / "a.html")
