"""OpenDocument: texts, sheets and slides."""

from __future__ import annotations

from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of, unzipped, zipped
from stackroom.errors import EncryptedError, NoTextError
from stackroom.ingest.readers.common import limits

REAL = FILES / "odf"


def test_a_real_text_gives_its_headings_lists_notes_and_boxes() -> None:
    reading, sections = read(REAL / "testODFwithOOo3.odt")
    assert (reading.type, reading.title, reading.metadata["author"]) == ("odt", "Apache Tika", "Bart Hanssens")
    assert sections[0].headings == ("Apache Tika Test Document",)
    text = sections[0].text
    assert "a rather [This is of course a simple footnote] difficult test document" in text
    assert "- First item\n- Second item\n" in text
    assert "A rectangle" in text
    place = chunk_with(REAL / "testNPEOpenDocument.odt", "castellano").place
    assert place.section == ("Práctica de GnuPG",)


def test_tables_within_a_text_keep_their_header() -> None:
    assert "Header row: Leader; Mon: Sarah; Wed: Mark; Fri: Ryan\n" in text_of(REAL / "fake.odt")


def test_a_real_spreadsheet_gives_sheets_and_rows() -> None:
    reading, sections = read(REAL / "test-columnar.ods")
    assert (reading.type, sections[0].headings, sections[0].unit) == ("ods", ("testing",), "row")
    assert (
        "Record Number: 0; Square of the Record Number: 0; Description of the Row: This is row 0 of 10;"
        in sections[0].text
    )
    place = chunk_with(REAL / "test-columnar.ods", "This is row 7 of 10").place
    assert place.first is not None
    assert place.last is not None
    assert place.first <= 9 <= place.last


def test_a_real_presentation_gives_slides() -> None:
    reading, sections = read(REAL / "LibreOfficeImpress_odp_1.3.odp")
    assert (reading.type, reading.metadata["pages"]) == ("odp", 2)
    assert [(section.page, section.headings, section.text) for section in sections] == [
        (1, ("This is",), "This is\n\nAn example Impress file\n\n"), (2, (), ""),
    ]  # fmt: skip


def test_a_flat_file_and_no_pictures_as_text() -> None:
    reading, sections = read(REAL / "testODTMacro.fodt")
    assert reading.type == "odt"
    assert sections[0].text.startswith("Hello dear user,\n\n")
    assert len(sections[0].text) < 200


def test_known_by_its_content(tmp_path: Path) -> None:
    for name, kind in (("fake.odt", "odt"), ("test-columnar.ods", "ods"), ("testODTMacro.fodt", "odt")):
        assert read(given(tmp_path, "a.bin", (REAL / name).read_bytes()))[0].type == kind


def content(body: str, head: str = "") -> bytes:
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table", "draw", "presentation")
    )
    return zipped({
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": f"{head}<office:document-content {spaces}><office:body>{body}</office:body></office:document-content>",
    })  # fmt: skip


def test_what_was_deleted_and_comments_are_not_read(tmp_path: Path) -> None:
    body = (
        "<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes><text:p>kept"
        "<office:annotation><text:p>comment</text:p></office:annotation> on<text:s text:c='2'/>here</text:p></office:text>"
    )
    assert text_of(given(tmp_path, "a.odt", content(body))) == "kept on  here\n\n"


def test_notes_of_a_slide_and_no_footers(tmp_path: Path) -> None:
    frame = '<draw:frame presentation:class="{}"><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>'
    notes = (
        f"<presentation:notes>{frame.format('notes', 'Say it.')}{frame.format('page-number', '9')}</presentation:notes>"
    )
    body = f"<office:presentation><draw:page>{frame.format('outline', 'One')}{frame.format('title', 'Top')}{frame.format('footer', 'F')}{notes}</draw:page></office:presentation>"
    (section,) = read(given(tmp_path, "a.odp", content(body)))[1]
    assert (section.headings, section.text) == (("Top",), "Top\n\nOne\n\nNotes: Say it.\n\n")


# Broken and hostile


def test_a_password() -> None:
    fails(REAL / "testODTEncrypted.odt", EncryptedError, "password")


def test_damaged_documents(tmp_path: Path) -> None:
    for name in ("fake.odt", "test-columnar.ods", "testODTMacro.fodt"):
        survives((REAL / name).read_bytes(), tmp_path / name)
    parts = unzipped(REAL / "fake.odt")
    for broken in (b"", b"<a", b"\x00", None):
        parts["content.xml"] = broken or b""
        if broken is None:
            del parts["content.xml"]
        fails(given(tmp_path, "a.odt", zipped(parts)))
    assert read(given(tmp_path, "b.odt", "only words"))[0].type == "text"
    fails(given(tmp_path, "c.odt", content("<office:text/>")), NoTextError)
    fails(given(tmp_path, "d.odt", content("<office:drawing/>")), words="no text, no sheets")


def table(rows: str) -> bytes:
    return content(f'<office:spreadsheet><table:table table:name="S">{rows}</table:table></office:spreadsheet>')


CELL = "<table:table-cell{}><text:p>x</text:p></table:table-cell>"


def test_a_sheet_that_says_it_has_sixteen_million_rows(tmp_path: Path) -> None:
    empty = '<table:table-row table:number-rows-repeated="16000000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    rows = f"<table:table-row>{CELL.format('')}</table:table-row>" + empty
    (section,) = read(given(tmp_path, "a.ods", table(rows)))[1]
    assert (section.text, section.marks) == ("x\n", [(0, 1, 1)])


def test_rows_and_cells_that_repeat_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CELLS", 100_000)
    many = '<table:table-row table:number-rows-repeated="1000000">' + CELL.format("") + "</table:table-row>"
    fails(given(tmp_path, "a.ods", table(many)), words="too many cells")
    wide = "<table:table-row>" + CELL.format(' table:number-columns-repeated="99999999"') + "</table:table-row>"
    fails(given(tmp_path, "b.ods", table(wide)), words="too many cells")


def test_entities_neither_grow_nor_reach_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    outside = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret.txt">]>'
    text = content("<office:text><text:p>words &e;</text:p></office:text>", outside)
    assert text_of(given(tmp_path, "a.odt", text)) == "words\n\n"
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(12))
    text = content("<office:text><text:p>&l11;</text:p></office:text>", f"<!DOCTYPE x [{laughs}]>")
    fails(given(tmp_path, "b.odt", text), words="broken")


def test_endless_depth(tmp_path: Path) -> None:
    deep = "<text:section>" * 5000 + "<text:p>x</text:p>" + "</text:section>" * 5000
    fails(given(tmp_path, "a.odt", content(f"<office:text>{deep}</office:text>")), words="broken")


def test_a_part_that_unpacks_to_too_much(tmp_path: Path) -> None:
    fails(given(tmp_path, "a.odt", content(" " * 20_000_000)), words="far more")


def test_a_cell_that_is_merged_over_rows_is_said_in_each(tmp_path: Path) -> None:
    def row(*cells: str) -> str:
        return f"<table:table-row>{''.join(cells)}</table:table-row>"

    def cell(text: str, more: str = "") -> str:
        return f"<table:table-cell{more}><text:p>{text}</text:p></table:table-cell>"

    rows = [
        row(cell("Item"), cell("Cost")),
        row(cell("Chain", ' table:number-rows-spanned="2"'), cell("5")),
        row("<table:covered-table-cell/>", cell("6")),
        row(cell("Rope"), cell("7")),
    ]
    path = given(tmp_path, "a.ods", table("".join(rows)))
    assert text_of(path) == "Item | Cost\nItem: Chain; Cost: 5\nItem: Chain; Cost: 6\nItem: Rope; Cost: 7\n"
