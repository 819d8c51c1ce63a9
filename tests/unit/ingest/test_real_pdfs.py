"""Real PDFs with tables, and in Arabic: what stands in a row is on one line, and what is written from the right reads from the right."""

from __future__ import annotations

from pathlib import Path

from reader_support import FILES, chunk_with, read, survives, text_of
from stackroom.index import Index

TABLES, ARABIC = FILES / "pdf/spanning-cells.pdf", FILES / "pdf/arabic.pdf"


def test_a_row_of_a_table_is_a_line() -> None:
    lines = [line.strip() for line in text_of(TABLES).splitlines()]
    assert "Volume servers in: 2007 2008 2009 2010 2011" in lines
    assert lines.count("Server closets 1,505 1,580 1,643 1,673 1,689") == 1
    # Above the rows is the cell that spans them.
    assert lines[lines.index("Best practice scenario") + 2] == "Server closets 1,456 1,439 1,386 1,296 1,326"
    place = chunk_with(TABLES, "Enterprise-class data centers 1,465").place
    assert (place.page, place.page_end) == (1, 1)


def test_arabic_is_read_from_the_right() -> None:
    """A table of two columns, made by Google Docs: the right one first, with words and numbers of the Latin script as they are read."""
    lines = text_of(ARABIC).splitlines()
    assert "من اين انت؟ انا من ولاية كارولينا الشمال" in lines
    assert "عندي 47 قطط 1234" in lines
    assert "اسمي Jeremy في الانجليزية هل انت شباك؟" in lines
    assert "Jeremy is جرمي in Arabic" in lines
    place = chunk_with(ARABIC, "كارولينا").place
    assert (place.page, place.page_end) == (1, 1)


def test_arabic_is_found_by_its_words(index: Index, folder: Path) -> None:
    (folder / "a.pdf").write_bytes(ARABIC.read_bytes())
    assert index.add(folder).added == 1
    # With the article, and without vowel signs.
    (hit,) = index.search("كارولينا الانجليزية", mode="text", k=5)
    assert (hit.document.path, hit.place.page) == (str(folder / "a.pdf"), 1)


def test_broken_twins(tmp_path: Path) -> None:
    for path in (TABLES, ARABIC):
        survives(path.read_bytes(), tmp_path / path.name)
    assert read(TABLES)[0].type == "pdf"
