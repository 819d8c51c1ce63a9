"""XLSX: sheets and rows with their header."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import openpyxl
import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of, unzipped, zipped
from stackroom.errors import EncryptedError, NoTextError, UnsupportedFormatError
from stackroom.ingest.readers.common import limits

REAL = FILES / "xlsx"


def test_a_real_workbook_gives_its_sheets() -> None:
    reading, sections = read(REAL / "test.xlsx")
    assert reading.type == "xlsx"
    assert reading.metadata["sheets"] == ["Sheet1", "09060124-b5e7-4717-9d07-3c046eb"]
    assert [section.headings for section in sections] == [("Sheet1",), ("09060124-b5e7-4717-9d07-3c046eb",)]
    place = chunk_with(REAL / "test.xlsx", "affc7dad-52dc-4b98-9b5d-51e65d8a8ad0").place
    assert (place.unit, place.section) == ("row", ("09060124-b5e7-4717-9d07-3c046eb",))
    sheet = openpyxl.load_workbook(REAL / "test.xlsx").worksheets[1]
    row = next(n for n, cells in enumerate(sheet.values, start=1) if "affc7dad-52dc-4b98-9b5d-51e65d8a8ad0" in cells)
    assert place.first is not None
    assert place.last is not None
    assert place.first <= row <= place.last


def test_a_report_with_a_title_above_its_table() -> None:
    text = text_of(REAL / "vodafone.xlsx")
    assert text.startswith("Financial performance\nTopic | Period | Page\n")
    assert "Topic: Quarterly revenue; Period: Nine quarters to 30 June 2023; Page: 1\n" in text
    assert chunk_with(REAL / "vodafone.xlsx", "Topic: Quarterly revenue").place.first == 3


def test_facts_and_numbers_as_they_are_shown() -> None:
    reading, sections = read(REAL / "testEXCEL.xlsx")
    assert reading.title == "Simple Excel document"
    assert reading.metadata["author"] == "Keith Bennett"
    assert reading.metadata["created"] == "2007-10-01"
    assert "14 | 196\n" in sections[0].text
    text = text_of(REAL / "test-columnar.xlsx")
    assert "Percent Done: 10%" in text
    assert "date: 1960-01-02" in text


def test_kinds_of_values(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["kind", "value"])
    for row in (
        ["truth", True],
        ["half", 0.5],
        ["whole", 3.0],
        ["small", 0.1 + 0.2],
        ["lines", "a\nb"],
        ["none", None],
        ["big", 12345678901],
    ):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    assert text_of(tmp_path / "a.xlsx") == (
        "kind | value\nkind: truth; value: TRUE\nkind: half; value: 0.5\nkind: whole; value: 3\nkind: small; value: 0.3\n"
        "kind: lines; value: a b\nnone\nkind: big; value: 12345678901\n"
    )  # fmt: skip


def test_known_by_its_content(tmp_path: Path) -> None:
    for name in ("a.zip", "a.docx.bak", "a"):
        assert read(given(tmp_path, name, (REAL / "test.xlsx").read_bytes()))[0].type == "xlsx"
    fails(given(tmp_path, "b.zip", zipped({"readme.txt": "hello " * 50})), UnsupportedFormatError)


# Broken and hostile


def test_a_password() -> None:
    fails(REAL / "testEXCEL_protected_passtika.xlsx", EncryptedError, "password")


def test_the_strict_form_is_told_and_not_taken_for_empty() -> None:
    fails(REAL / "testEXCEL.strict.xlsx", UnsupportedFormatError, "strict")


def test_damaged_workbooks(tmp_path: Path) -> None:
    survives((REAL / "test.xlsx").read_bytes(), tmp_path / "a.xlsx")
    fails(given(tmp_path, "b.xlsx", zipped({"xl/workbook.xml": "no xml"})))
    assert read(given(tmp_path, "c.xlsx", "only words"))[0].type == "text"


@pytest.mark.parametrize(
    "part", ["[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"]
)
@pytest.mark.parametrize("content", [b"", b"<a", b"\x00\x01"])
def test_broken_parts(tmp_path: Path, part: str, content: bytes) -> None:
    parts = unzipped(REAL / "test.xlsx")
    parts[part] = content
    fails(given(tmp_path, "a.xlsx", zipped(parts)))


def test_an_empty_workbook(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    fails(tmp_path / "a.xlsx", NoTextError)


def with_sheet(xml: str) -> bytes:
    parts = unzipped(REAL / "test.xlsx")
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    parts["xl/worksheets/sheet1.xml"] = f'<worksheet xmlns="{space}">{xml}</worksheet>'
    return zipped(parts)


def test_a_sheet_that_says_it_is_as_large_as_can_be(tmp_path: Path) -> None:
    cells = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    path = given(tmp_path, "a.xlsx", with_sheet(f'<dimension ref="A1:XFD1048576"/><sheetData>{cells}</sheetData>'))
    sections = read(path)[1]
    assert sections[0].text == "1\n2\n"
    assert [mark[1] for mark in sections[0].marks] == [1, 1_048_576]


def test_a_row_beyond_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CELLS", 100_000)
    row = '<row r="99999999999"><c r="A99999999999"><v>1</v></c></row>'
    fails(given(tmp_path, "a.xlsx", with_sheet(f"<sheetData>{row}</sheetData>")), words="too many cells")


def test_many_wide_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CELLS", 100_000)
    rows = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 1000))
    fails(given(tmp_path, "a.xlsx", with_sheet(f"<sheetData>{rows}</sheetData>")), words="too many cells")


def test_one_long_text_in_many_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 2)
    parts = unzipped(REAL / "test.xlsx")
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{space}"><si><t>{"long text " * 3000}</t></si></sst>'
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, 200))
    parts["xl/worksheets/sheet1.xml"] = f'<worksheet xmlns="{space}"><sheetData>{rows}</sheetData></worksheet>'
    fails(given(tmp_path, "a.xlsx", zipped(parts)), words="far more text")


def test_entities_are_refused(tmp_path: Path) -> None:
    parts = unzipped(REAL / "test.xlsx")
    laughs = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    sheet = parts["xl/worksheets/sheet1.xml"]
    assert isinstance(sheet, bytes)
    parts["xl/worksheets/sheet1.xml"] = laughs.encode() + sheet.partition(b"?>")[2]
    fails(given(tmp_path, "a.xlsx", zipped(parts)), words="entities")


def test_a_part_that_unpacks_to_too_much(tmp_path: Path) -> None:
    parts = unzipped(REAL / "test.xlsx")
    parts["xl/worksheets/sheet1.xml"] = b" " * 20_000_000
    fails(given(tmp_path, "a.xlsx", zipped(parts)), words="far more")


def test_merged_cells_and_durations(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ["Orders of the mill"],
        ["Customer", "Time", "Amount"],
        ["Smith", timedelta(hours=30, minutes=5), 10],
        [None, timedelta(minutes=-90), 20],
        [None, None, None],
        ["Jones", None, 30],
    ):
        sheet.append(row)
    sheet.merge_cells("A1:C1")
    sheet.merge_cells("A3:A5")
    book.save(tmp_path / "a.xlsx")
    assert text_of(tmp_path / "a.xlsx") == (
        "Orders of the mill\nCustomer | Time | Amount\nCustomer: Smith; Time: 30:05:00; Amount: 10\n"
        "Customer: Smith; Time: -1:30:00; Amount: 20\nCustomer: Jones; Amount: 30\n"
    )
    assert [mark[1] for mark in read(tmp_path / "a.xlsx")[1][0].marks] == [1, 2, 3, 4, 6]
