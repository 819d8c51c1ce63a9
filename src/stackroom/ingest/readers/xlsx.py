"""XLSX: sheet by sheet, a row a line of `Header: value` pairs. Read as a stream, whatever size a sheet says it has.

openpyxl and not calamine, which is ten times as fast and makes room for every cell between the first and the last: one
that stands in the last row and column ends its process.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from stackroom._optional import require
from stackroom.errors import EncryptedError, NoTextError, ReadError, UnsupportedFormatError
from stackroom.ingest.readers.common import limits, tables
from stackroom.ingest.readers.common.limits import OLE, Expansion, SafeArchive, clean, names_in
from stackroom.protocols import Reading, Section

_STRICT = b"http://purl.oclc.org/ooxml/"
_LAST_ROW = 1_048_576
_MERGED = re.compile(rb'mergeCell [^<>]{0,40}?ref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"')
_LONGEST_MERGED = 80
_MOST_SPANS = 10_000
_BLOCK = 256 * 1024


class XlsxReader:
    name = "xlsx"
    version = 3
    suffixes: tuple[str, ...] = (".xlsx", ".xlsm", ".xltx", ".xltm")

    def accepts(self, path: Path, head: bytes) -> bool:
        named = path.suffix.lower() in self.suffixes
        if named and head.startswith((b"PK", OLE)):
            return True
        return any(name.lower() == "xl/workbook.xml" for name in names_in(path, head))

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, NoTextError, ReadError."""
        openpyxl = require("openpyxl", extra="documents")
        with path.open("rb") as file:
            if file.read(8) == OLE:
                raise EncryptedError(
                    f"{path} needs a password (or is an old .xls).", hint="Save it as .xlsx without one.", path=path
                )
        with SafeArchive(path) as archive:
            size = archive.check_markup()
            book = next((name for name in archive.names if name.lower() == "xl/workbook.xml"), None)
            if book is not None and _STRICT in archive.read(book):
                raise UnsupportedFormatError(
                    f"{path} is in the strict form of Open XML, which openpyxl does not read.",
                    hint="Save it as an ordinary Excel workbook.",
                    path=path,
                )
        # As an open file: of a name, openpyxl would want one of its suffixes.
        file = path.open("rb")
        try:
            workbook = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            properties = workbook.properties
            names = [sheet.title for sheet in workbook.worksheets]
        except Exception as error:  # openpyxl raises KeyError, ValueError, TypeError, expat's errors and more
            file.close()
            raise _broken(path, error) from error
        title = clean(properties.title or "").strip() or None
        return Reading("xlsx", _sections(workbook, file, path, size), title, {**_facts(properties), "sheets": names})


def _broken(path: Path, error: Exception) -> ReadError:
    return ReadError(f"{path} is a broken workbook: {error}.", hint="Get a fresh copy.", path=path)


def _facts(properties: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for ours, theirs in (
        ("author", "creator"),
        ("subject", "subject"),
        ("keywords", "keywords"),
        ("language", "language"),
    ):
        value = clean(getattr(properties, theirs, None) or "").strip()
        if value and value != "openpyxl":
            facts[ours] = value
    if properties.created is not None and "author" in facts:
        facts["created"] = properties.created.date().isoformat()
    return facts


def _sections(book: Any, file: IO[bytes], path: Path, size: int) -> Iterator[Section]:
    expansion = Expansion(path, size)
    characters = 0
    cells = [0]
    with file:
        for sheet in book.worksheets:
            # What the sheet says of its own size is not believed.
            sheet.reset_dimensions()
            rows = tables.carried(_rows(sheet, path, cells), _spans(book, sheet))
            for section in tables.sections(rows, (clean(sheet.title),)):
                expansion.took(len(section.text))
                characters += len(section.text)
                yield section
    if not characters:
        raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)


def _spans(book: Any, sheet: Any) -> dict[tuple[int, int], int]:
    """Cells that are merged over several rows: where they begin, and their last row. They stand behind all cells, which openpyxl reads as a stream."""
    spans: dict[tuple[int, int], int] = {}
    tail = b""
    try:
        with book._archive.open(sheet._worksheet_path) as part:
            while block := part.read(_BLOCK):
                data = tail + block
                for column, first, last in _MERGED.findall(data):
                    if first != last and len(spans) < _MOST_SPANS:
                        spans[int(first), _index(column)] = int(last)
                tail = data[-_LONGEST_MERGED:]
    except Exception:  # a part that can't be read: its rows will say so
        return {}
    return spans


def _index(column: bytes) -> int:
    """A column's number from 0, of its letters."""
    number = 0
    for letter in column:
        number = number * 26 + letter - 64
    return number - 1


def _rows(sheet: Any, path: Path, cells: list[int]) -> Iterator[tables.Row]:
    try:
        for number, row in enumerate(sheet.iter_rows(), start=1):
            # Empty cells count a tenth: a row may say that it is as wide as a sheet can be.
            cells[0] += 1 + len(row) // 10
            found = [""] * len(row)
            for at, cell in enumerate(row):
                if cell.value is not None:
                    cells[0] += 1
                    found[at] = _text(cell.value, cell)
            if cells[0] > limits.CELLS or number > _LAST_ROW:
                raise ReadError(
                    f"{path} has too many cells ({clean(sheet.title)}, row {number}).", hint="Split it.", path=path
                )
            yield number, found
    except ReadError:
        raise
    except Exception as error:  # as above, while the sheet is read
        raise _broken(path, error) from error


def _text(value: Any, cell: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        if "%" in (cell.number_format or ""):
            return tables.number_text(round(value * 100, 10)) + "%"
        return tables.number_text(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "seconds")
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(abs(round(value.total_seconds())), 60)
        sign = "-" if value.total_seconds() < 0 else ""
        return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return str(value)
