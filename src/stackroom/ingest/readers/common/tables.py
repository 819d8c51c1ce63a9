"""Tables as text: a row is a line of `Header: value` pairs, so that a passage from anywhere in a table says what it means.

Measured with the model that is shipped, on two real tables: see docs/formats.md.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from stackroom.ingest.readers.common.limits import clean
from stackroom.ingest.readers.common.marked import LONG, Marked
from stackroom.protocols import Section

_AHEAD = 12
_LONGEST_NAME = 120
_NUMBER = re.compile(r"[-+(]?[\s$€£¥]*\d[\d\s.,'’/:%-]*(?:e[-+]?\d+)?[\s%€$)]*", re.IGNORECASE)

Row = tuple[int, Sequence[str]]
"""A row's number, as the program that made the table counts it, and its cells as text."""


def sections(rows: Iterable[Row], headings: tuple[str, ...] = (), page: int | None = None) -> Iterator[Section]:
    """Rows as marked sections. `rows` may be of any length; empty ones are left out."""
    held = Marked("row")
    for number, line in _lines(rows):
        held.add(line, number)
        if held.size > LONG:
            yield held.take(headings, page)
    if held.size:
        yield held.take(headings, page)


def text(rows: Iterable[Sequence[str]]) -> str:
    """A small table within a text: the same lines, without numbers."""
    return "".join(line for _, line in _lines(enumerate(rows, start=1)))


def carried(rows: Iterable[Row], spans: Mapping[tuple[int, int], int]) -> Iterator[Row]:
    """The rows, where a cell that is merged over several (`(row, column from 0) -> last row`) is said in each; but not a header's, of the first row."""
    held: dict[int, tuple[int, str]] = {}
    for number, cells in rows:
        row = list(cells)
        if spans and number > 1:
            for at, cell in enumerate(row):
                if cell and (last := spans.get((number, at), 0)) > number:
                    held[at] = last, cell
        for at, (last, cell) in list(held.items()):
            if number > last:
                del held[at]
            elif any(row):
                row += [""] * (at + 1 - len(row))
                row[at] = row[at] or cell
        yield number, row


def _lines(rows: Iterable[Row]) -> Iterator[tuple[int, str]]:
    """Each row that holds something as a line. A header is looked for at the beginning, and after every empty row."""
    header: list[str] = []
    begins, gap = True, False
    for (number, row), ahead in _with_ahead(_folded(rows)):
        filled = _filled(row)
        if not filled:
            begins, gap = True, True
            continue
        if begins and filled > 1:
            begins = False
            if _is_header(row, ahead, sure=not gap):
                header = row
                yield number, _bare(row)
                continue
            if gap and len(row) > len(header):
                header = []
        yield number, _named(header, row) if header and filled > 1 else _bare(row)


def _folded(rows: Iterable[Row]) -> Iterator[tuple[int, list[str]]]:
    """Cells on one line each, without the empty ones at a row's end."""
    for number, cells in rows:
        row = [" ".join(clean(cell).split()) if cell else "" for cell in cells]
        while row and not row[-1]:
            row.pop()
        yield number, row


def _with_ahead(
    rows: Iterator[tuple[int, list[str]]],
) -> Iterator[tuple[tuple[int, list[str]], list[list[str]]]]:
    """Every row with the few that follow it."""
    waiting: deque[tuple[int, list[str]]] = deque()
    for row in rows:
        waiting.append(row)
        if len(waiting) > _AHEAD:
            first = waiting.popleft()
            yield first, [cells for _, cells in waiting]
    while waiting:
        first = waiting.popleft()
        yield first, [cells for _, cells in waiting]


def _filled(row: Sequence[str]) -> int:
    return sum(cell != "" for cell in row)


def _is_header(row: Sequence[str], ahead: Sequence[Sequence[str]], *, sure: bool) -> bool:
    """Whether this row names the columns of those that follow: names of its own, none a number, for most of the columns.

    A table's first row is believed; one after an empty row must have numbers below it (`sure` False).
    """
    below = []
    for following in ahead:
        if not _filled(following):
            break
        below.append(following)
    names = [cell for cell in row if cell]
    if not below or len(set(names)) < len(names) or any(len(name) > _LONGEST_NAME for name in names):
        return False
    if any(is_number(name) for name in names) and not _are_years(row):
        return False
    widths = sorted(_filled(following) for following in below)
    if len(names) * 2 < widths[len(widths) // 2]:
        return False
    return sure or any(is_number(cell) for following in below for cell in following)


def _are_years(row: Sequence[str]) -> bool:
    """Whether it names a column of names, and then years at equal distances: "Country, 2019, 2020, 2021"."""
    years = [int(cell) for cell in row[1:] if re.fullmatch(r"1\d{3}|20\d\d", cell, re.ASCII)]
    if len(years) < 2 or len(years) < len(row) - 1 or is_number(row[0]):
        return False
    steps = {after - before for before, after in pairwise(years)}
    return len(steps) == 1 and 0 not in steps and (len(years) > 2 or steps <= {1, -1})


def is_number(cell: str) -> bool:
    """Numbers, dates, times, percentages and sums of money."""
    return _NUMBER.fullmatch(cell) is not None


def _bare(row: Sequence[str]) -> str:
    return " | ".join(cell for cell in row if cell) + "\n"


def _named(header: Sequence[str], row: Sequence[str]) -> str:
    pairs = []
    for at, cell in enumerate(row):
        if cell:
            name = header[at].rstrip(": ") if at < len(header) else ""
            pairs.append(f"{name}: {cell}" if name else cell)
    return "; ".join(pairs) + "\n"


def number_text(value: int | float) -> str:
    """A number as it was typed: 3 for 3.0, and no digits that only binary fractions have."""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
