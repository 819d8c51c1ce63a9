"""CSV and TSV, as a stream: a row is a line of `Header: value` pairs, under its number in the file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common import limits, tables
from stackroom.ingest.readers.common.limits import Expansion
from stackroom.ingest.readers.plaintext import FALLBACK, decoded_head, encoding_of, looks_like_text
from stackroom.protocols import Reading, Section

_LONGEST_LINE = 4 * 1024 * 1024
_SAMPLE_CHARACTERS = 64 * 1024
_DELIMITERS = ",;\t|^~"
# In a text that is only called text, a table must be plain: so many rows of one width, and nothing else.
_SURE_ROWS = 4
_SURE_COLUMNS = 3
_SHORT_CELL = 60
_GUESSED = frozenset({".txt", ".text", ".asc", ".dat", ""})


class CsvReader:
    name = "csv"
    version = 3
    suffixes: tuple[str, ...] = (".csv", ".tsv", ".tab")

    def accepts(self, path: Path, head: bytes) -> bool:
        suffix = path.suffix.lower()
        if suffix in self.suffixes:
            return looks_like_text(head, zeros=True)
        return suffix in _GUESSED and looks_like_text(head) and _surely_a_table(head)

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        encoding = encoding_of(path, zeros=True)
        with path.open(encoding=encoding, errors=_errors(encoding), newline="") as file:
            sample = file.read(_SAMPLE_CHARACTERS)
        delimiter, skipped = _dialect(sample, path.suffix.lower())
        rows = _rows(path, encoding, delimiter, skipped)
        return Reading("csv", _told(tables.sections(rows), path))


def _told(found: Iterable[Section], path: Path) -> Iterator[Section]:
    """The sections, and an error where there is none."""
    expansion = Expansion(path, path.stat().st_size)
    characters = 0
    for section in found:
        expansion.took(len(section.text))
        characters += len(section.text)
        yield section
    if not characters:
        raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)


def _rows(path: Path, encoding: str, delimiter: str, skipped: int) -> Iterator[tables.Row]:
    # A cell may be as long as a line; the module's own limit is for the whole process.
    csv.field_size_limit(_LONGEST_LINE)
    cells = 0
    try:
        with path.open(encoding=encoding, errors=_errors(encoding), newline="") as file:
            reader = csv.reader(_lines(file, path), delimiter=delimiter)
            for number, row in enumerate(reader, start=1):
                cells += len(row)
                if len(row) > limits.COLUMNS or cells > limits.CELLS:
                    raise ReadError(f"{path} has too many cells (row {number}).", hint="Split it.", path=path)
                if number > skipped:
                    yield number, row
    except csv.Error as error:
        raise ReadError(
            f"{path} is a broken table after row {reader.line_num}: {error}.",
            hint="A quotation mark that is never closed is the usual cause.",
            path=path,
        ) from error
    except OSError as error:
        raise ReadError(f"{path} can't be read: {error.strerror}.", hint="Check the disk.", path=path) from error


def _lines(file: Iterable[str], path: Path) -> Iterator[str]:
    """The file's lines, as they are: a line end within quotation marks belongs to its cell."""
    readline = file.readline  # type: ignore[attr-defined]
    while line := readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ReadError(f"{path} has a line that is too long for a row.", hint="Is it a table?", path=path)
        yield line.replace("\x00", "")


def _errors(encoding: str) -> str:
    return FALLBACK if encoding.startswith("utf-8") else "replace"


def _dialect(sample: str, suffix: str) -> tuple[str, int]:
    """The delimiter, and how many rows only speak of it (Excel's `sep=;`)."""
    first = sample.partition("\n")[0].strip().strip('"')
    if first.lower().startswith("sep=") and len(first) == 5:
        return first[4], 1
    best, score = "\t" if suffix in (".tsv", ".tab") else ",", 0.0
    for delimiter in _DELIMITERS:
        widths = _widths(sample, delimiter)
        width, count = next(iter(Counter(width for width in widths if width > 1).most_common(1)), (0, 0))
        share = count / max(len(widths), 1)
        # That most rows are equally wide says more than that they are wide.
        found = share + min(width, 20) / 100 + (0.5 if delimiter == best and width > 1 else 0.0)
        if width > 1 and found > score:
            best, score = delimiter, found
    return best, 0


def _widths(sample: str, delimiter: str) -> list[int]:
    """How many cells each row has that is whole in the sample; what is no table in this dialect has none."""
    widths = []
    try:
        for row in csv.reader(sample.splitlines(keepends=True), delimiter=delimiter):
            if row:
                widths.append(len(row))
    except csv.Error:
        return []
    return widths[:-1] if len(widths) > 1 and not sample.endswith("\n") else widths


def _surely_a_table(head: bytes) -> bool:
    """Whether a text that has no suffix of a table is one: all of its first rows have the same, and several, short cells."""
    sample = decoded_head(head)
    whole = sample[: sample.rfind("\n") + 1]
    for delimiter in "\t;,":
        try:
            rows = [row for row in csv.reader(whole.splitlines(keepends=True), delimiter=delimiter) if row]
        except csv.Error:
            continue
        if len(rows) < _SURE_ROWS or len(rows[0]) < _SURE_COLUMNS or len({len(row) for row in rows}) > 1:
            continue
        cells = [cell.strip() for row in rows for cell in row]
        short = sum(len(cell) <= _SHORT_CELL for cell in cells)
        # Prose has commas too, but words with spaces between them all.
        if (
            short == len(cells)
            and all(cell.strip() for cell in rows[0])
            and sum(" " in cell for cell in cells) * 2 < len(cells)
        ):
            return True
    return False
