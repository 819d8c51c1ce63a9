"""Files that can be read only in part: what is good of them is kept, and the report names them and says what is missing."""

from __future__ import annotations

import io
import json
from email.message import EmailMessage
from pathlib import Path

import pypdfium2
import pytest
from click.testing import CliRunner

from reader_support import FILES, chunk_with, fails, given, read
from stackroom import Chunk, Document
from stackroom.cli.main import cli
from stackroom.errors import ScannedError
from stackroom.index import Index
from stackroom.ingest.readers import json_records
from stackroom.ingest.readers.common import limits
from stackroom.reports import Note

TABLES = FILES / "pdf/spanning-cells.pdf"
LINES = (FILES / "data/simple.ndjson").read_text(encoding="utf-8").splitlines()


def partly_blank(samples: Path) -> bytes:
    """Two slides of the samples with an empty page between them."""
    held = io.BytesIO()
    with (
        pypdfium2.PdfDocument(samples / "debian/packaging-tutorial.pdf") as slides,
        pypdfium2.PdfDocument(FILES / "blank.pdf") as blank,
    ):
        document = pypdfium2.PdfDocument.new()
        document.import_pages(slides, [4])
        document.import_pages(blank)
        document.import_pages(slides, [5])
        document.save(held)
    return held.getvalue()


def cut() -> bytes:
    """A real page of tables, and the half of its file."""
    whole = TABLES.read_bytes()
    return whole[: len(whole) // 2]


def add(library: Path, *paths: Path | str) -> str:
    return CliRunner().invoke(cli, ["--library", str(library), "add", *map(str, paths)]).stderr


# JSONL


def test_a_broken_line_in_the_middle_costs_that_line(tmp_path: Path) -> None:
    lines = [*LINES[:3], LINES[3][: len(LINES[3]) // 2], *LINES[4:]]
    path = given(tmp_path, "a.jsonl", "\n".join(lines))
    _, sections = read(path)
    (said,) = filter(None, (section.incomplete for section in sections))
    assert said.startswith("Line 4 can't be read (Unterminated string")
    assert said.endswith(", and was left out.")
    # The records behind it keep their numbers.
    wanted = json.loads(LINES[4])["text"]
    place = chunk_with(path, wanted, limit=200).place
    assert place.last is not None
    assert place.last >= 5
    whole = chunk_with(given(tmp_path, "whole.jsonl", "\n".join(LINES)), wanted, limit=200).place
    assert place.last == whole.last
    assert json.loads(LINES[3])["text"] not in "".join(section.text for section in sections)


def test_many_broken_lines_are_counted_and_the_first_named(tmp_path: Path) -> None:
    broken = [{2: "{", 4: '{"a": "\xff'.encode("latin-1"), 6: '{"a":' * 300 + "1" + "}" * 300}.get(number, "nothing") if number in (2, 4, 6, 8, 10, 12) else f'{{"a": {number}}}' for number in range(1, 20)]  # fmt: skip
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in broken)
    _, sections = read(given(tmp_path, "a.jsonl", content))
    assert "".join(section.text for section in sections).split() == [
        word for number in range(1, 20) if number not in (2, 4, 6, 8, 10, 12) for word in ("a:", str(number))
    ]
    assert sections[-1].incomplete == (
        "6 lines were left out: line 2 can't be read (Expecting property name enclosed in double quotes, column 2), nor can 4, 6, 8, 10 and others."
    )


def test_what_is_mostly_broken_is_another_format(tmp_path: Path) -> None:
    fails(
        given(tmp_path, "a.jsonl", '{"a": 1}\n{"a": \n'.replace("1}\n", "1}\nx\n")),
        words="most lines are no JSON, line 2",
    )
    fails(given(tmp_path, "b.jsonl", "{\n"), words="line 1 can't be read")
    assert read(given(tmp_path, "c.jsonl", '{"a": 1}\n{"a": \n'))[1][0].text == "a: 1\n"


def test_a_line_without_end_is_one_broken_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_records, "_LONGEST_LINE", 64)
    _, sections = read(given(tmp_path, "a.jsonl", '{"a": 1}\n{"a": "' + "word " * 40 + '"}\n{"a": 3}\n'))
    assert [section.text for section in sections] == ["a: 1\na: 3\n"]
    assert sections[0].incomplete.startswith("Line 2 can't be read")
    assert [mark[1] for mark in sections[0].marks] == [1, 3]


# In the report


def test_a_pdf_that_is_cut_off_is_added_and_told(index: Index, folder: Path) -> None:
    path = given(folder, "cut.pdf", cut())
    report = index.add(folder)
    assert (report.added, report.failed) == (1, 0)
    (note,) = report.notes
    assert note.path == str(path)
    assert note.reason == (
        "It is a broken PDF: only what could be saved of its text was added (1 page was found). Get a fresh copy."
    )
    (hit, *_) = index.search("servers", k=1, where={"key": "incomplete", "op": "contains", "value": "broken PDF"})
    assert hit.document.metadata["incomplete"] == note.reason
    # It has not changed, and was not read again.
    assert index.add(folder).notes == ()
    path.write_bytes(TABLES.read_bytes())
    assert index.add(folder).notes == ()
    (hit, *_) = index.search("servers", k=1)
    assert "incomplete" not in hit.document.metadata


def test_an_attachment_that_is_cut_off_is_named(index: Index, folder: Path) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = "Slides", "a@example.org"
    message.set_content("See the slides.")
    message.add_attachment(cut(), maintype="application", subtype="pdf", filename="slides.pdf")
    given(folder, "a.eml", message.as_bytes())
    given(folder, "b.mbox", b"From a@example.org Sat Jan  3 01:05:34 1996\n" + message.as_bytes())
    report = index.add(folder)
    assert [(Path(note.path).name, note.reason[:31]) for note in report.notes] == [
        ("a.eml", "slides.pdf: It is a broken PDF:"),
        ("b.mbox", "slides.pdf: It is a broken PDF:"),
    ]
    hits = index.search("slides", k=20, per_document=1)
    assert {hit.document.metadata["incomplete"][:10] for hit in hits} == {"slides.pdf"}


def test_a_second_file_of_the_same_content_is_named_too(index: Index, folder: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        given(folder, name, '{"a": "one"}\n{"a": \n')
    report = index.add(folder, also=["json"])
    assert (report.embedded, report.added) == (1, 2)
    assert {(Path(note.path).name, note.kind) for note in report.notes} == {("a.jsonl", "incomplete"), ("b.jsonl", "incomplete")}  # fmt: skip


def test_pages_without_text_name_their_file(index: Index, folder: Path, samples: Path) -> None:
    path = given(folder, "a.pdf", partly_blank(samples))
    report = index.add(folder)
    assert report.pages_without_text == 1
    assert report.notes == (Note(str(path), "1 of its 3 pages without text.", "pages_without_text"),)


def test_a_line_that_is_left_out_is_in_the_report(index: Index, folder: Path) -> None:
    path = given(folder, "a.jsonl", '{"a": "one"}\n{"a": \n{"a": "three"}\n')
    report = index.add(path)
    assert report.added == 1
    assert report.notes == (Note(str(path), "Line 2 can't be read (Expecting value, column 6), and was left out.", "incomplete"),)  # fmt: skip
    assert [hit.text.strip() for hit in index.search("three", k=1, mode="text")] == ["a: one\na: three"]


# On the command line


def test_the_command_line_names_the_first_of_them(library: Path, folder: Path, samples: Path) -> None:
    for number in range(7):
        given(folder, f"{number}.pdf", partly_blank(samples) + b"%" * number)
    given(folder, "cut.pdf", cut())
    said = add(library, folder)
    lines = said.splitlines()
    at = next(number for number, line in enumerate(lines) if "without text" in line)
    assert lines[at].startswith("7 pages without text (pictures, or scans; --ocr recognises")
    assert lines[at + 1 : at + 3] == [f"  {folder / '0.pdf'}", "          1 of its 3 pages without text."]
    assert "  ... and 2 more; --json names them all." in lines
    at = lines.index("Not all could be read of:")
    assert lines[at + 1] == f"  {folder / 'cut.pdf'}"
    assert "only what could be saved of its text was added" in lines[at + 2]
    shown = CliRunner().invoke(cli, ["--library", str(library), "search", "--in", str(folder / "cut.pdf"), "servers"])
    assert "It is a broken PDF" in shown.stdout


def test_all_of_them_are_found_by_one_filter(library: Path, folder: Path) -> None:
    given(folder, "cut.pdf", cut())
    given(folder, "a.jsonl", '{"a": "servers"}\n{"a": \n')
    given(folder, "whole.txt", "servers")
    add(library, folder, folder / "a.jsonl")
    wanted = ["--json", "search", "--where", 'incomplete > ""', "--mode", "text", "servers"]
    found = json.loads(CliRunner().invoke(cli, ["--library", str(library), *wanted]).stdout)
    assert {Path(hit["document"]["path"]).name for hit in found["hits"]} == {"cut.pdf", "a.jsonl"}


def test_json_has_them_all(library: Path, folder: Path, samples: Path) -> None:
    path = given(folder, "a.pdf", partly_blank(samples))
    given(folder, "b.txt", "words")
    result = CliRunner().invoke(cli, ["--library", str(library), "--json", "add", str(folder)])
    report = json.loads(result.stdout)
    assert report["notes"] == [
        {"path": str(path), "reason": "1 of its 3 pages without text.", "kind": "pages_without_text"}
    ]
    assert (report["pages_without_text"], report["added"], result.exit_code) == (1, 2, 0)


def test_what_a_file_says_of_itself_is_not_taken_for_what_was_found_in_reading_it(index: Index, folder: Path) -> None:
    said = "incomplete: true\nhidden_characters: 7\nrecognised_pages: 2\n"
    given(folder, "a.md", f"---\n{said}---\nalpha beta\n")
    records = given(folder, "b.jsonl", '{"text": "alpha gamma", "incomplete": "yes"}\n')
    report = index.add([folder, records])
    assert (report.failed, report.notes) == (0, ())
    (hit,) = index.search("alpha", k=2, where="metadata.incomplete == true")
    names = ("incomplete", "hidden_characters", "recognised_pages")
    assert not set(names) & set(hit.document.metadata)
    assert [hit.document.metadata[f"metadata.{name}"] for name in names] == [True, 7, 2]
    assert not index.search("alpha", where="incomplete contains y")
    assert (index.stats().hiding, index.stats().recognised) == (0, 0)
    index.add_documents(
        [Document("own", metadata={"incomplete": True, "hidden_characters": True}, chunks=[Chunk("delta")])]
    )
    shown = CliRunner().invoke(cli, ["--library", str(index.path), "search", "--mode", "text", "alpha delta"]).stdout
    assert shown.count("alpha") == 2
    assert "delta" in shown
    assert "True" not in shown
    assert "hides" not in shown


# Pages


def test_of_a_pdf_with_too_many_pages_the_first_are_read(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGES", 7)
    reading, sections = read(samples / "debian/packaging-tutorial.pdf")
    assert [section.page for section in sections] == list(range(1, 8))
    assert {section.incomplete for section in sections} == {
        f"Of its {reading.metadata['pages']} pages the first 7 were added. Split the file, and add the rest."
    }


def test_of_a_broken_pdf_with_too_many_pages_that_is_said_too(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (samples / "debian/packaging-tutorial.pdf").read_bytes()
    path = given(tmp_path, "cut.pdf", whole[: len(whole) * 3 // 4])
    monkeypatch.setattr(limits, "PAGES", 2)
    reading, sections = read(path)
    pages = reading.metadata["pages"]
    assert pages > 2
    assert [section.page for section in sections] == [1, 2]
    assert {section.incomplete for section in sections} == {
        f"It is a broken PDF: only what could be saved of its text was added ({pages} pages were found). Get a fresh copy. "
        f"Of its {pages} pages the first 2 were added. Split the file, and add the rest."
    }


def test_a_scan_is_not_said_to_be_one_on_pages_that_nobody_read(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages behind the limit may hold text."""
    held = io.BytesIO()
    with (
        pypdfium2.PdfDocument(FILES / "blank.pdf") as blank,
        pypdfium2.PdfDocument(samples / "debian/packaging-tutorial.pdf") as slides,
    ):
        document = pypdfium2.PdfDocument.new()
        document.import_pages(blank)
        document.import_pages(blank)
        document.import_pages(slides, [4])
        document.save(held)
    path = given(tmp_path, "long.pdf", held.getvalue())
    monkeypatch.setattr(limits, "PAGES", 2)
    fails(path, ScannedError, words="it holds no text on the first 2 of its 3 pages, which are all that is read.")
