"""Columns of a printed page: where the gutters between columns of prose are, and whether a file draws across them.

Tables are not cut: the lines of prose are wide, nearly all of one width, and follow each other at one distance.
"""

from __future__ import annotations

import math
import re
import statistics
from bisect import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from stackroom.ingest.readers.common.hyphens import MARK

_BINS = 256
"""Strips of a page, in which text is counted."""

_ACROSS = 0.4
"""Of the lines, at most so many cross a gutter: a title, an abstract, a figure."""

_FEWEST = 4
"""Lines of a column, at least."""

_PROSE = 8.0
"""A line of prose is at least so many times as wide as it is high; the cells of a table are not."""

_FULL = 0.7
_MOSTLY = 0.6
"""Most lines of prose fill their column; the cells of a table are as long as what they say."""

_NARROWEST = 0.5
"""A column's width, of the widest beside it: notes in a margin are narrower."""

_WIDEST = 0.6
"""A gutter's width, of the columns beside it: the cells of a table stand further apart."""

_FREE = 0.6
"""Heights of a line: a strip as wide may be a gutter."""

_SPACE = 0.9
"""Heights of a line: what is nearer than that is the next word; spaces of a typewriter are wide."""

_NEAR = 0.04
"""Of a page's width: gutters that are no further apart are the same."""

_APART = 1.4
"""Distances of lines, above which a line is a head or a foot of the page."""

_BROKEN = re.compile(r"(?<=[^\W\d_])-$")


class Box(NamedTuple):
    """What is drawn in one piece, a word or a line, in points; y grows upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def goes_on(self, box: Box) -> bool:
        """Whether a box stands in the same line, no further away than the next word."""
        height = max(self.top - self.bottom, box.top - box.bottom)
        beside = min(self.top, box.top) > max(self.bottom, box.bottom)
        return beside and -height < max(box.left - self.right, self.left - box.right) < _SPACE * height

    def with_(self, box: Box) -> Box:
        return Box(
            min(self.left, box.left), min(self.bottom, box.bottom), max(self.right, box.right), max(self.top, box.top)
        )


class Layout(NamedTuple):
    """Where a page is cut: into bands from top to bottom, and those that nothing crosses into columns."""

    cuts: list[float]
    """x of each gutter, from left to right."""
    edges: list[float]
    """-y of the top and the bottom of each line across the columns, from the top of the page to its bottom."""
    leftwards: bool
    """Columns are read from right to left."""

    def cell(self, box: Box) -> tuple[int, int]:
        """The band and the column of what is drawn there; cells are read in their order."""
        band = bisect(self.edges, -(box.bottom + box.top) / 2)
        if band % 2:
            return band, 0
        column = bisect(self.cuts, (box.left + box.right) / 2)
        return band, len(self.cuts) - column if self.leftwards else column


def gutters(sides: Sequence[tuple[float, float, float, float]], *, leftwards: bool = False) -> list[float]:
    """The x of each gutter of a page whose boxes, in the order in which they are drawn, mix its columns; none where they don't."""
    if len(sides) < 2 * _FEWEST:
        return []
    cuts = _free_strips(sides)
    if not cuts:
        return []
    boxes = [Box(*side) for side in sides]
    lines = _in_lines(boxes)
    columns: list[list[Box]] = [[] for _ in range(len(cuts) + 1)]
    for line in lines:
        if not _is_across(line, cuts):
            columns[bisect(cuts, line.left)].append(line)
    if not _are_columns(columns):
        return []
    found = layout(boxes, cuts, leftwards=leftwards)
    fewest = min(len(_rows(column)) for column in columns)
    return cuts if _are_mixed([found.cell(line) for line in lines], fewest) else []


def layout(boxes: Sequence[Box], cuts: list[float], *, leftwards: bool = False) -> Layout:
    """How to read a page with these gutters, which are found anew where its boxes say more exactly where they are."""
    strips = _free_strips(boxes)
    reach = _NEAR * (max(box.right for box in boxes) - min(box.left for box in boxes))
    cuts = [
        min((strip for strip in strips if abs(strip - cut) < reach), key=lambda strip: abs(strip - cut), default=cut)
        for cut in cuts
    ]
    lines = _in_lines(boxes)
    across = [line for line in lines if _is_across(line, cuts)]
    return Layout(cuts, _edges([*across, *_heads_and_feet(lines)]), leftwards)


def _is_across(line: Box, cuts: list[float]) -> bool:
    return bisect(cuts, line.left) != bisect(cuts, line.right)


def _free_strips(boxes: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """The middle of each upright strip that few lines cross."""
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    start, end = min(lefts), max(rights)
    if not (end - start > 1 and math.isfinite(sum(lefts) + sum(bottoms) + sum(rights) + sum(tops))):
        return []
    scale = _BINS / (end - start)
    steps = [0] * (_BINS + 2)
    for left, right in zip(lefts, rights, strict=True):
        steps[int((left - start) * scale)] += 1
        steps[int((right - start) * scale) + 1] -= 1
    covered = list(accumulate(steps[:_BINS]))
    most = _ACROSS * sorted(covered)[_BINS * 3 // 4]
    if min(covered[_BINS // 8 : -_BINS // 8]) > most:
        return []
    # Dots and dashes are boxes too: three of four are as high as a word, or lower.
    height = sorted(top - bottom for _, bottom, _, top in boxes)[len(boxes) * 3 // 4]
    cuts = []
    free: list[int] = []
    for at, lines in enumerate([*covered, _BINS * len(boxes)]):
        if lines <= most:
            free.append(at)
        elif free:
            least = min(covered[one] for one in free) + most / 8
            first, last = _longest([one for one in free if covered[one] <= least])
            if (last + 1 - first) / scale >= _FREE * height and first and last < _BINS - 1:
                cuts.append(start + (first + last + 1) / 2 / scale)
            free = []
    return cuts


def _longest(numbers: list[int]) -> tuple[int, int]:
    """The first and the last of the longest run of numbers one after the other."""
    first = last = numbers[0]
    found = (first, last)
    for number in numbers[1:]:
        first = first if number == last + 1 else number
        last = number
        if last - first > found[1] - found[0]:
            found = (first, last)
    return found


def _in_lines(boxes: Sequence[Box]) -> list[Box]:
    """Words that are drawn one after the other in a line, as one box; no gutter is as narrow as a space."""
    lines: list[Box] = []
    for box in boxes:
        if lines and lines[-1].goes_on(box):
            lines[-1] = lines[-1].with_(box)
        else:
            lines.append(box)
    return lines


def _are_columns(columns: list[list[Box]]) -> bool:
    if min(map(len, columns)) < _FEWEST:
        return False
    sides = [(min(box.left for box in column), max(box.right for box in column)) for column in columns]
    widths = [right - left for left, right in sides]
    if min(widths) < _NARROWEST * max(widths):
        return False
    if any(after[0] - before[1] > _WIDEST * min(widths) for before, after in pairwise(sides)):
        return False
    return all(map(_is_prose, columns, widths))


def _is_prose(column: list[Box], width: float) -> bool:
    lines = _rows(column)
    if len(lines) < _FEWEST:
        return False
    full = sum(line.right - line.left >= _FULL * width for line in lines)
    if full < _MOSTLY * len(lines):
        return False
    if statistics.median((line.right - line.left) / max(line.top - line.bottom, 1) for line in lines) < _PROSE:
        return False
    distances = [above.bottom - below.bottom for above, below in pairwise(lines)]
    usual = statistics.median(distances)
    return sum(abs(distance - usual) < 0.25 * usual for distance in distances) >= _MOSTLY * len(distances)


def _rows(boxes: Sequence[Box]) -> list[Box]:
    """Lines from top to bottom, each with what stands beside it."""
    rows: list[Box] = []
    for box in sorted(boxes, key=lambda box: -(box.bottom + box.top)):
        if rows and 2 * rows[-1].bottom < box.bottom + box.top:
            rows[-1] = rows[-1].with_(box)
        else:
            rows.append(box)
    return rows


def _heads_and_feet(boxes: Sequence[Box]) -> list[Box]:
    """The first and the last line of a page, where they stand apart from the others: they are read across the columns."""
    rows = _rows(boxes)
    if len(rows) < _FEWEST:
        return []
    usual = statistics.median(above.bottom - below.bottom for above, below in pairwise(rows))
    edges = ((rows[0], rows[0].bottom - rows[1].bottom), (rows[-1], rows[-2].bottom - rows[-1].bottom))
    return [row for row, distance in edges if distance > _APART * usual]


def _edges(across: list[Box]) -> list[float]:
    edges: list[float] = []
    for box in sorted(across, key=lambda box: -box.top):
        if edges and -box.top < edges[-1]:
            edges[-1] = max(edges[-1], -box.bottom)
        else:
            edges += [-box.top, -box.bottom]
    return edges


def _are_mixed(cells: list[tuple[int, int]], lines: int) -> bool:
    """Whether cells, as they are drawn, go back to an earlier column line after line, or go through a band backwards only."""
    back = sum(column < before for (_, before), (_, column) in pairwise(cells))
    within = [now < then for then, now in pairwise(cells) if then[0] == now[0] and then != now]
    return back >= lines / 2 or (bool(within) and all(within))


def joined(parts: Iterable[str]) -> str:
    """The texts of cells and of their lines, one below the other; a word that a line's end breaks has its mark."""
    lines: list[str] = []
    for part in filter(None, map(str.strip, parts)):
        if lines and part[0].islower():
            lines[-1] = _BROKEN.sub(MARK, lines[-1])
        lines.append(part)
    return "\r\n".join(lines)
