"""PDF: page by page with pypdfium2; a file that it can't open is tried with pdf-oxide, which salvages broken ones."""

from __future__ import annotations

import contextlib
import ctypes
import math
import re
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import EncryptedError, ReadError, ScannedError
from stackroom.ingest.readers.common import columns, hyphens, limits, running_heads
from stackroom.ingest.readers.common.limits import Expansion, clean
from stackroom.protocols import Reading, Section

# The dots between a title and its page in a table of contents: a hundred tokens that say nothing.
_LEADERS = re.compile(r"[ \t]?(?:\.[ \t]?){5,}")

_LETTER = re.compile(r"[^\W\d_]")
_LEFTWARDS = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
"""Of Hebrew, Arabic, Syriac: what is written from right to left."""

_SPACES = frozenset(code for code in range(0x3001) if chr(code).isspace())

_FIGURE = re.compile(r"\d")
_FIGURES = 0.5
"""Digits for each letter, above which a page is a table."""

_READABLE = 1.0
"""Points: smaller letters are for no reader."""

_PLACEHOLDERS = frozenset({"untitled", "anonymous", "unspecified"})
"""What programs write where nobody has said a title, an author, a subject."""

_LONGEST_LANGUAGE = 64
"""Characters of a code such as en-GB."""


class PdfReader:
    name = "pdf"
    version = 7
    suffixes: tuple[str, ...] = (".pdf",)

    def accepts(self, path: Path, head: bytes) -> bool:
        start = head[:1024]
        if start.lstrip(b"\xef\xbb\xbf \t\r\n\x00").startswith(b"%PDF-"):
            return True
        # Some programs put a line of their own in front.
        return path.suffix.lower() in self.suffixes and b"%PDF-" in start

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, ScannedError, ReadError."""
        pdfium = require("pypdfium2", extra="documents")
        try:
            document = pdfium.PdfDocument(path)
            pages = len(document)
        except pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise EncryptedError(
                    f"{path} needs a password.", hint="Save a copy without one, and add that.", path=path
                ) from error
            return _salvage(path, str(error).rstrip(". "))
        if not pages:
            return _salvage(path, "it has no pages")
        info = document.get_metadata_dict(skip_empty=True)
        metadata: dict[str, Any] = {"pages": pages}
        for ours, theirs in (
            ("author", "Author"),
            ("subject", "Subject"),
            ("keywords", "Keywords"),
            ("created", "CreationDate"),
        ):
            value = clean(str(info.get(theirs, ""))).strip()
            if value and value.strip("()").lower() not in _PLACEHOLDERS:
                metadata[ours] = _date(value) if ours == "created" else value
        if language := _language(document):
            metadata["language"] = language
        title = clean(str(info.get("Title", ""))).strip()
        if title.strip("()").lower() in _PLACEHOLDERS:
            title = ""
        return Reading("pdf", _pages(document, pages, path), title or None, metadata)


def _language(document: Any) -> str:
    """What the file says that it is written in; "" where it says nothing, or pdfium is too old to ask."""
    raw = require("pypdfium2.raw", extra="documents")
    if not hasattr(raw, "FPDFCatalog_GetLanguage"):
        return ""
    held = (ctypes.c_ushort * _LONGEST_LANGUAGE)()
    size = raw.FPDFCatalog_GetLanguage(document, held, ctypes.sizeof(held))
    if not 2 < size <= ctypes.sizeof(held):
        return ""
    return clean(bytes(held)[: size - 2].decode("utf-16-le", "replace")).strip()


def _pages(document: Any, pages: int, path: Path) -> Iterator[Section]:
    """One section a page, read as it is asked for; a page that can't be read is a page without text."""
    read_to = min(pages, limits.PAGES)
    headings = _outline(document, read_to)
    characters = 0
    expansion = Expansion(path, path.stat().st_size)
    gone: deque[int] = deque()

    def read() -> Iterator[str]:
        for index in range(read_to):
            text, unseen = _page_text(document, index)
            expansion.took(len(text) + unseen)
            gone.append(unseen)
            yield text

    texts = running_heads.without(map(clean, hyphens.mended(read())))
    for index, text in enumerate(texts):
        characters += len(text.strip())
        try:
            label = document.get_page_label(index) or None
        except Exception:  # a broken label tree is no reason to lose the page
            label = None
        yield Section(
            text + "\n" if text else "",
            headings.get(index, ()),
            index + 1,
            label,
            hidden=gone.popleft(),
            incomplete=_unread(pages),
        )
    if not characters:
        raise ScannedError(
            f"{path} seems to be a scan: it holds no text on {_looked_at(pages)}.",
            hint="Add it again with --ocr, to have its text recognised.",
            path=path,
            pages=pages,
        )


def _looked_at(pages: int) -> str:
    if pages > limits.PAGES:
        return f"the first {limits.PAGES:,} of its {pages:,} pages, which are all that is read"
    return "its page" if pages == 1 else f"any of its {pages:,} pages"


def _unread(pages: int) -> str:
    """What is said of a file with more pages than are read."""
    if pages <= limits.PAGES:
        return ""
    return f"Of its {pages:,} pages the first {limits.PAGES:,} were added. Split the file, and add the rest."


def _page_text(document: Any, index: int) -> tuple[str, int]:
    """A page's text, and how many characters of it are not seen: those are left out."""
    gone = 0
    try:
        page = document[index]
        gone = _remove_unseen(page)
        text_page = page.get_textpage()
        text = text_page.get_text_range()
        with contextlib.suppress(Exception):  # as it is drawn, the text is worth more than none
            text = _in_reading_order(text_page, text)
        text_page.close()
        page.close()
    except Exception:  # pdfium raises its own errors, and UnicodeDecodeError
        return "", gone
    text = _LEADERS.sub(" ... ", text)
    return text, gone


def _in_reading_order(page: Any, text: str) -> str:
    """`text` as pdfium gives it, in the order in which it is drawn; where that mixes columns, column by column."""
    leftwards = _is_leftwards(text)
    gutters = columns.gutters(_boxes(page), leftwards=leftwards)
    if not gutters or _is_table(text):
        return text
    # One box may hold words of several columns: look closer.
    pieces = _pieces(page)
    layout = columns.layout([box for box, _, _ in pieces], gutters, leftwards=leftwards)
    runs = []
    for cell, run in groupby(pieces, lambda piece: layout.cell(piece[0])):
        held = list(run)
        runs.append((cell, held[0][1], held[-1][2]))
    return columns.joined(page.get_text_range(start, end - start) for _, start, end in sorted(runs))


def _is_leftwards(text: str) -> bool:
    return bool(_LEFTWARDS.search(text)) and 2 * len(_LEFTWARDS.findall(text)) > len(_LETTER.findall(text))


def _is_table(text: str) -> bool:
    return len(_FIGURE.findall(text)) > _FIGURES * len(_LETTER.findall(text))


def _boxes(page: Any) -> list[tuple[float, float, float, float]]:
    """Where the page's text is drawn, piece by piece, in the order of its characters: left side, bottom, right side, top."""
    raw = require("pypdfium2.raw", extra="documents")
    rect, text = raw.FPDFText_GetRect, page.raw
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    boxes = []
    for at in range(raw.FPDFText_CountRects(text, 0, -1)):
        rect(text, at, left, top, right, bottom)
        boxes.append((left.value, bottom.value, right.value, top.value))
    return boxes


def _pieces(page: Any) -> list[tuple[columns.Box, int, int]]:
    """The page's text in pieces without a gap: each with its first character and the one after its last."""
    raw = require("pypdfium2.raw", extra="documents")
    letter, place, text = raw.FPDFText_GetUnicode, raw.FPDFText_GetCharBox, page.raw
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    pieces: list[tuple[columns.Box, int, int]] = []
    for index in range(raw.FPDFText_CountChars(text)):
        if letter(text, index) in _SPACES:
            continue
        place(text, index, left, right, bottom, top)
        box = columns.Box(left.value, bottom.value, right.value, top.value)
        if pieces and pieces[-1][0].goes_on(box):
            whole, start, _ = pieces[-1]
            pieces[-1] = whole.with_(box), start, index + 1
        else:
            pieces.append((box, index, index + 1))
    return pieces


def _remove_unseen(page: Any) -> int:
    """Take out of a page (as it is in memory) what is written invisibly, outside of it, or smaller than a point.

    Invisible text on a page with pictures is what a program has recognised in a scan: it stays.
    """
    raw = require("pypdfium2.raw", extra="documents")
    texts, pictures = [], False
    for at in range(raw.FPDFPage_CountObjects(page)):
        item = raw.FPDFPage_GetObject(page, at)
        kind = raw.FPDFPageObj_GetType(item)
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            texts.append(item)
        pictures = pictures or kind == raw.FPDF_PAGEOBJ_IMAGE
    left, bottom, right, top = page.get_cropbox()
    sides = [ctypes.c_float() for _ in range(4)]
    size, matrix = ctypes.c_float(), raw.FS_MATRIX()
    unseen = []
    for item in texts:
        invisible = raw.FPDFTextObj_GetTextRenderMode(item) == raw.FPDF_TEXTRENDERMODE_INVISIBLE and not pictures
        outside = False
        if raw.FPDFPageObj_GetBounds(item, *sides):
            x, y, end, above = (side.value for side in sides)
            outside = end < left or x > right or above < bottom or y > top
        tiny = (
            bool(raw.FPDFTextObj_GetFontSize(item, size))
            and bool(raw.FPDFPageObj_GetMatrix(item, matrix))
            and abs(size.value) * math.hypot(matrix.c, matrix.d) < _READABLE
        )
        if invisible or outside or tiny:
            unseen.append(item)
    if not unseen:
        return 0
    before = _characters(page)
    for item in unseen:
        if raw.FPDFPage_RemoveObject(page, item):
            raw.FPDFPageObj_Destroy(item)
    return max(before - _characters(page), 0)


def _characters(page: Any) -> int:
    text_page = page.get_textpage()
    count = len(text_page.get_text_range())
    text_page.close()
    return count


def _outline(document: Any, pages: int) -> dict[int, tuple[str, ...]]:
    """The bookmarks above each page, outermost first."""
    marks: list[tuple[int, int, str]] = []
    try:
        for mark in document.get_toc(max_depth=6):
            target = mark.get_dest()
            page = None if target is None else target.get_index()
            title = clean(mark.get_title() or "").strip()
            if page is not None and title:
                marks.append((page, mark.level, title))
    except Exception:  # bookmarks are a courtesy; a broken tree costs only them
        return {}
    found: dict[int, tuple[str, ...]] = {}
    path: list[str] = []
    position = 0
    for index in range(pages):
        while position < len(marks) and marks[position][0] <= index:
            _, level, title = marks[position]
            path = [*path[:level], title]
            position += 1
        if path:
            found[index] = tuple(path)
    return found


def _salvage(path: Path, why: str) -> Reading:
    oxide = require("pdf_oxide", extra="documents")
    try:
        document = oxide.PdfDocument(str(path))
        pages = int(document.page_count())
    except Exception as error:  # pdf-oxide raises RuntimeError, OSError and its own
        if "password" in str(error).lower() or "encrypt" in str(error).lower():
            raise EncryptedError(
                f"{path} needs a password.", hint="Save a copy without one, and add that.", path=path
            ) from error
        raise ReadError(f"{path} is a broken PDF: {why}.", hint="Get a fresh copy.", path=path) from error
    if not pages:
        raise ReadError(f"{path} is a broken PDF: {why}.", hint="Get a fresh copy.", path=path)
    return Reading("pdf", _salvaged_pages(document, pages, path), None, {"pages": pages})


def _salvaged_pages(document: Any, pages: int, path: Path) -> Iterator[Section]:
    characters = 0
    found = "1 page was" if pages == 1 else f"{pages:,} pages were"
    said = f"It is a broken PDF: only what could be saved of its text was added ({found} found). Get a fresh copy. {_unread(pages)}".rstrip()
    for index in range(min(pages, limits.PAGES)):
        try:
            text = clean(document.extract_text(index))
        except Exception:  # what is lost of a broken file is one page
            text = ""
        characters += len(text.strip())
        yield Section(text + "\n" if text else "", (), index + 1, None, incomplete=said)
    if not characters:
        raise ReadError(
            f"{path} is a broken PDF, and no text could be saved from it.", hint="Get a fresh copy.", path=path
        )


def _date(value: str) -> str:
    """A PDF date (D:20240131...) as ISO 8601; anything else as it is."""
    digits = value.removeprefix("D:")[:8]
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == 8 and digits.isdigit() else value
