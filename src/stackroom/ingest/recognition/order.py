"""Lines of a page in the order in which they are read: column by column, with what stands across the columns in its place."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence

from stackroom.ingest.recognition.engine import Line

_PROSE = 8.0
"""A line of a column is at least so many times as wide as it is high; the cells of a table are not."""

_FEWEST = 4
"""Lines of a column, at least."""

_PARAGRAPH = 0.6
"""Heights of a line between two of them, above which a paragraph ends."""

_BROKEN = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zà-öø-ÿ])")


def text_of(lines: Sequence[Line]) -> str:
    """The page's text: a line's end where there is one, a blank line between paragraphs; words broken at a line's end are mended."""
    parts: list[str] = []
    for block in _blocks(sorted(lines, key=lambda line: (line.top, line.left))):
        bottom: float | None = None
        for row in _rows(block):
            if bottom is not None:
                height = row[0].bottom - row[0].top
                parts.append("\n\n" if row[0].top - bottom > _PARAGRAPH * height else "\n")
            parts.append(" ".join(line.text for line in row))
            bottom = max(line.bottom for line in row)
        parts.append("\n\n")
    return _BROKEN.sub("", "".join(parts).strip())


def _blocks(lines: list[Line]) -> Iterator[list[Line]]:
    """Runs of lines that are read from top to bottom."""
    gutter = _gutter(lines)
    if gutter is None:
        if lines:
            yield lines
        return
    pending: list[Line] = []
    for line in lines:
        if line.left < gutter < line.right:
            yield from _columns(pending, gutter)
            yield [line]
            pending = []
        else:
            pending.append(line)
    yield from _columns(pending, gutter)


def _columns(lines: list[Line], gutter: float) -> Iterator[list[Line]]:
    for side in ([line for line in lines if line.right <= gutter], [line for line in lines if line.left >= gutter]):
        yield from _blocks(side)


def _gutter(lines: Sequence[Line]) -> float | None:
    """Where two columns of prose meet: between the lines that begin furthest apart, crossed by few."""
    if len(lines) < 2 * _FEWEST:
        return None
    best: tuple[int, float] | None = None
    for at in {line.left for line in lines}:
        right = [line for line in lines if line.left >= at]
        left = [line for line in lines if line.right <= at]
        across = len(lines) - len(right) - len(left)
        if min(len(right), len(left)) < _FEWEST or not (_is_prose(right) and _is_prose(left)):
            continue
        if across * 4 > len(lines) or (best is not None and across >= best[0]):
            continue
        best = across, (max(line.right for line in left) + at) / 2
    return None if best is None else best[1]


def _is_prose(lines: Sequence[Line]) -> bool:
    return statistics.median((line.right - line.left) / max(line.bottom - line.top, 1) for line in lines) >= _PROSE


def _rows(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Pieces that stand beside each other, from left to right."""
    row: list[Line] = []
    for line in lines:
        if row:
            top, bottom = min(one.top for one in row), max(one.bottom for one in row)
            if 2 * (min(bottom, line.bottom) - max(top, line.top)) < min(bottom - top, line.bottom - line.top):
                yield sorted(row)
                row = []
        row.append(line)
    if row:
        yield sorted(row)
