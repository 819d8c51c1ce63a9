"""The pages without text of a reading, recognised one after the other as the reading goes by."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stackroom._optional import require
from stackroom.errors import ReadError, ScannedError
from stackroom.ingest.readers import picture
from stackroom.ingest.readers.common import running_heads
from stackroom.ingest.readers.common.limits import clean
from stackroom.ingest.recognition import MOST_PAGES, engine, order
from stackroom.protocols import Section

if TYPE_CHECKING:
    from stackroom.ingest.recognition.engine import Picture

_POINTS_PER_INCH = 72
_DOTS_PER_INCH = 150
_LONGEST_SIDE = 2_000
"""Pixels; what is larger is shrunk by the recogniser in any case."""


def recognised(sections: Iterable[Section], path: Path, kind: str, heard: Callable[[int], None]) -> Iterator[Section]:
    """The sections, with text in place of pages that held none; `heard` is told the number of each page that was looked at.

    Running heads and feet of what was recognised are said once, and so some pages are looked at before the first is handed on.
    Raises what the reading raises, but for ScannedError where text was recognised; ReadError, MissingExtraError.
    """
    waiting: deque[Section] = deque()

    def texts() -> Iterator[str]:
        for section in _looked_at(sections, path, kind, heard):
            waiting.append(section)
            yield section.text

    for text in running_heads.without(texts()):
        section = waiting.popleft()
        # What was printed went through it already.
        yield replace(section, text=text) if section.recognised else section


def _looked_at(sections: Iterable[Section], path: Path, kind: str, heard: Callable[[int], None]) -> Iterator[Section]:
    found = looked = 0
    try:
        for section in sections:
            if section.page is None or section.text.strip():
                yield section
                continue
            looked += 1
            if looked > MOST_PAGES:
                raise ReadError(
                    f"{path} has more than {MOST_PAGES:,} pages to recognise.", hint="Split the file.", path=path
                )
            text = text_of_page(path, kind, section.page)
            heard(section.page)
            found += bool(text)
            yield replace(section, text=text and text + "\n", recognised=bool(text))
    except ScannedError as error:
        if not found:
            raise ScannedError(
                f"{path} is {'a picture' if kind == 'picture' else 'a scan'}, and no text was recognised in it.",
                hint="Its language may not be one of those that are known: docs/formats.md lists them.",
                path=path,
                pages=error.pages,
            ) from error


def text_of_page(path: Path, kind: str, page: int) -> str:
    """What is written on a page (from 1); "" where it is blank, or can't be drawn."""
    drawn = picture.frame(path, page, _LONGEST_SIDE) if kind == "picture" else _drawn(path, page)
    return "" if drawn is None else clean(order.text_of(engine.lines_in(drawn)))


def seconds_a_page(sections: Iterable[Section], path: Path, kind: str) -> float:
    """How long the first page without text takes, the engine's start left out; 0 where there is none."""
    engine.start()
    for section in sections:
        if section.page is not None and not section.text.strip():
            begun = time.monotonic()
            text_of_page(path, kind, section.page)
            return time.monotonic() - begun
    return 0.0


def _drawn(path: Path, page: int) -> Picture | None:
    """A page of a PDF as it looks, None where nothing is on it. One document a page: pdfium keeps what it has unpacked."""
    pdfium = require("pypdfium2", extra="documents")
    try:
        with pdfium.PdfDocument(path) as document:
            sheet = document[page - 1]
            width, height = sheet.get_size()
            if next(iter(sheet.get_objects(max_depth=1)), None) is None or min(width, height) <= 0:
                return None
            scale = min(_DOTS_PER_INCH / _POINTS_PER_INCH, _LONGEST_SIDE / max(width, height))
            drawn: Picture = sheet.render(scale=scale, rev_byteorder=True).to_numpy()[:, :, :3].copy()
            return drawn
    except pdfium.PdfiumError:
        return None
