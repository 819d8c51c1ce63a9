"""What a Markdown file says above its text is typed, so that filters compare numbers as numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from reader_support import given, read
from stackroom import Index
from stackroom.ingest.readers.markdown import MarkdownReader
from support import write_files

FRONT = """---
title: 1984
year: 2023
rating: 4.5 # of five
big: 1e3
negative: -7
draft: false
published: True
date: 2024-02-03
isbn: "9780141036144"
zip: 01234
serial: 12345678901234567890
version: '1.10'
nothing: null
empty:
yes_no: yes
tags: [novel, "war, and peace", 3, true]
people:
  - Winston
  - 'Julia'
  - 101
note: >
  two
  lines
url: https://example.org/#part
---

# Heading

Text.
"""


def test_values_have_their_types(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.md": FRONT})
    reading = MarkdownReader().read(tmp_path / "a.md")
    assert reading.title == "1984"
    assert reading.metadata == {
        "year": 2023, "rating": 4.5, "big": 1000.0, "negative": -7, "draft": False, "published": True, "date": "2024-02-03",
        "isbn": "9780141036144", "zip": "01234", "serial": "12345678901234567890", "version": "1.10", "yes_no": "yes",
        "tags": ["novel", "war, and peace", 3, True], "people": ["Winston", "Julia", 101], "note": "two lines",
        "url": "https://example.org/#part",
    }  # fmt: skip
    assert isinstance(reading.metadata["year"], int)
    assert reading.metadata["draft"] is False


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("year >= 2020", True), ("year < 2020", False), ("year == 2023", True), ("rating > 4", True), ("draft == false", True),
        ("tags any [\"novel\"]", True), ("date >= 2024-01-01", True), ("isbn == \"9780141036144\"", True),
    ],
)  # fmt: skip
def test_filters_meet_them(index: Index, folder: Path, where: str, found: bool) -> None:
    write_files(folder, {"a.md": FRONT})
    index.add(folder)
    assert bool(index.search("text", where=where)) is found


def test_what_is_odd_is_text(tmp_path: Path) -> None:
    for value in ("1_000", "0x1f", ".inf", "1e999", "--5", "1.2.3", '"a', "[a", "- b", "٣"):
        write_files(tmp_path, {"a.md": f"---\nx: 1\nkey: {value}\n---\ntext\n"})
        assert MarkdownReader().read(tmp_path / "a.md").metadata["key"] == value


def test_front_matter_in_toml(tmp_path: Path) -> None:
    text = (
        '+++\ntitle = "Harbours"\ndate = 2024-03-05T10:00:00Z\ndraft = true\nweight = 3\nauthors = ["Ada", "Bob"]\n'
        '"an odd.name" = 1\n[taxonomies]\ntags = ["sea", "stone"]\n[extra]\ndeep = 1\n+++\n# H\ntext\n'
    )
    reading, (section,) = read(given(tmp_path, "a.md", text))
    assert (reading.title, section.text) == ("Harbours", "# H\ntext\n")
    assert reading.metadata == {
        "date": "2024-03-05T10:00:00+00:00", "draft": True, "weight": 3, "authors": ["Ada", "Bob"], "tags": ["sea", "stone"],
    }  # fmt: skip
    broken = "+++\nno toml at all\n+++\ntext\n"
    assert "".join(section.text for section in read(given(tmp_path, "b.md", broken))[1]) == broken
