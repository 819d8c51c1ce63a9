"""The table of docs/formats.md: for every reader a real file, with the place of a passage of it, and broken twins of the file.

ZIM files are made by their tests (test_reader_zim.py), and pictures are read where they are recognised (test_recognition.py). Hostile
twins are in test_hostile_files.py.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from reader_support import FILES, survives
from stackroom.errors import ReadError
from stackroom.ingest.readers import READERS, reader_for
from stackroom.ingest.splitter import TokenSplitter
from stackroom.protocols import Reading
from stackroom.types import Place

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "samples"
BOOK = ("9.10. Backup", "9.10.2. Restoring Machines without Backups")
# What `unit` counts lies in a passage that `holds` it.
MATRIX: list[tuple[str, Path, str, dict[str, Any]]] = [
    ("pdf", SAMPLES / "debian/packaging-tutorial.pdf", "One of the two most common package formats",
     {"page": 6, "page_label": "6", "section": ("Introduction", "Debian packages")}),
    ("pdf", FILES / "pdf/arabic.pdf", "كارولينا", {"page": 1}),
    ("epub", SAMPLES / "debian/developers-reference.epub", "more in-depth discussion of Debian key",
     {"section": ("Debian Developer's Duties", "3. Debian Developer's Duties", "3.2. Administrative Duties", "3.2.2. Maintaining your public key")}),
    ("mobi", FILES / "mobi/backup.azw3", "Desktop computers, which are not bac", {"section": BOOK}),
    ("mobi", FILES / "mobi/backup.mobi", "Desktop computers, which are not bac", {"section": BOOK[1:]}),
    ("docx", SAMPLES / "sqlite/when-to-use.docx", "SQLite is not directly comparable", {"section": ("Appropriate Uses For SQLite",)}),
    ("xlsx", FILES / "xlsx/vodafone.xlsx", "Topic: Quarterly revenue", {"unit": "row", "holds": 3}),
    ("pptx", FILES / "pptx/sample-presentation.pptx", "sub-sub-bullet", {"page": 2, "section": ("This is the first content slide",)}),
    ("odt", FILES / "odf/testNPEOpenDocument.odt", "castellano", {"section": ("Práctica de GnuPG",)}),
    ("ods", FILES / "odf/test-columnar.ods", "This is row 7 of 10", {"unit": "row", "holds": 9}),
    ("odp", FILES / "odf/LibreOfficeImpress_odp_1.3.odp", "example Impress file", {"page": 1, "section": ("This is",)}),
    ("rtf", FILES / "markup/testRTFVarious.rtf", "Number bullet 2", {"page": None, "section": ()}),
    ("mbox", FILES / "mail/complex.mbox", "hadoop.apache.org", {"section": ()}),
    ("eml", FILES / "mail/pdf-attached.eml", "Testing Incremental", {"page": 1, "section": ("testPDF_incrementalUpdates.pdf",)}),
    ("ipynb", FILES / "data/test_notebook.ipynb", "print(42)", {"unit": "cell", "first": 3, "last": 5}),
    ("code", FILES / "code/testJAVA.java", "println", {"unit": "line", "holds": 11, "section": ("HelloWorld", "main")}),
    ("json", FILES / "data/arbitrary-records.json", "Pruning Shears", {"unit": "record", "holds": 3}),
    ("jsonl", FILES / "data/simple.ndjson", "third thought", {"unit": "record", "holds": 6}),
    ("xml", FILES / "data/factbook.xml", "Ottawa", {"unit": "record", "holds": 2}),
    ("srt", FILES / "subtitles/test_subrip.srt", "On peut écrire", {"unit": "second", "holds": 80}),
    ("vtt", FILES / "subtitles/testWebVTT.vtt", "favourite TV", {"unit": "second", "holds": 15}),
    ("html", SAMPLES / "handbook/backup.html", "Backing Up with rsync", {"section": ("9.10. Backup", "9.10.1. Backing Up with rsync")}),
    ("markdown", SAMPLES / "sqlite/write-ahead-log.md", "the extra operation of", {"section": ("1. Overview",)}),
    ("rst", FILES / "markup/README.rst", "You can get an example", {"section": ("Example Docs", "XBRL 10-K")}),
    ("org", FILES / "markup/README.org", "You can get an example", {"section": ("Example Docs", "XBRL 10-K")}),
    ("latex", FILES / "markup/libhttplib2.tex", "own caching implementation",
     {"section": ("httplib2 A comprehensive HTTP client library.", "Cache Objects")}),
    ("csv", FILES / "csv/iowa-electricity.csv", "year: 2009-01-01; source: Nuclear Energy", {"unit": "row", "holds": 27}),
    ("text", SAMPLES / "sqlite/faq.txt", "AUTOINCREMENT", {"page": None, "section": ()}),
]  # fmt: skip
ELSEWHERE = {"zim", "picture"}
EXTRAS = {"mobi"}

every_file = pytest.mark.parametrize(
    ("kind", "path", "words", "place"), MATRIX, ids=[f"{kind} {path.name}" for kind, path, _, _ in MATRIX]
)


def needs(kind: str) -> None:
    if kind in EXTRAS and importlib.util.find_spec(kind) is None:
        pytest.skip(f"the extra {kind} is not installed")


def places_of(reading: Reading, words: str) -> list[Place]:
    """Of the passages with these words."""
    found = []
    for document in [reading] if reading.documents is None else reading.documents:
        sections = list(document.sections)
        text = "".join(section.text for section in sections)
        for chunk in TokenSplitter(None, 60, 0).split(sections):
            assert chunk.text == text[chunk.place.start : chunk.place.end]
            if words in chunk.text:
                found.append(chunk.place)
    return found


@every_file
def test_a_passage_of_a_real_file_has_its_place(kind: str, path: Path, words: str, place: dict[str, Any]) -> None:
    needs(kind)
    reading = reader_for(path).read(path)
    assert reading.type == kind
    found = places_of(reading, words)[0]
    wanted = {name: value for name, value in place.items() if name != "holds"}
    assert {name: getattr(found, name) for name in wanted} == wanted
    if holds := place.get("holds"):
        assert found.first is not None
        assert found.last is not None
        assert found.first <= holds <= found.last


@every_file
def test_broken_twins_are_read_or_told(
    kind: str, path: Path, words: str, place: dict[str, Any], tmp_path: Path
) -> None:
    del words, place
    needs(kind)
    if kind != "mbox":
        survives(path.read_bytes(), tmp_path / path.name)
        return
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[len(whole) // 2 :], whole.replace(b"\n", b"\n\xff", 50)):
        twin = tmp_path / path.name
        twin.write_bytes(content)
        try:
            for document in reader_for(twin).read(twin).documents or ():
                list(document.sections)
        except ReadError as error:
            assert str(twin) in error.message


def test_no_reader_is_left_out() -> None:
    here = {reader_for(path).name for _, path, _, _ in MATRIX}
    assert here | ELSEWHERE == {reader.name for reader in READERS}


def test_the_table_in_the_docs_names_every_suffix_and_tests_that_there_are() -> None:
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.endswith(".py` |")]
    suffixes = {suffix for row in rows for suffix in re.findall(r"`(\.\w+)`", row.split("|")[2])}
    for reader in READERS:
        assert suffixes.issuperset(reader.suffixes) or reader.name == "code", reader.name
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)`", row.split("|")[-2])
        assert named, row
        for name in named:
            assert (Path(__file__).parent / name).is_file(), name
