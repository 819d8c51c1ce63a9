"""Text in pictures (OCR): pages of a PDF that hold none, and picture files. Asked for, never by itself; in the parser process."""

from __future__ import annotations

MARK = "+ocr:"
VERSION = 2
"""Raised when the same picture would give other text."""

MOST_PAGES = 5_000
"""Of one file: hours of work, and beyond them none that anybody means."""

KINDS = frozenset({"pdf", "picture"})
"""Types of sources whose pages may be pictures."""


def with_mark(reader: str) -> str:
    """How a reading is noted whose pages without text were looked at."""
    return f"{reader}{MARK}{VERSION}"


def without_mark(reader: str) -> str:
    return reader.partition(MARK)[0]


def is_marked(reader: str) -> bool:
    """Whether its pages without text were looked at, by this version or an older one."""
    return MARK in reader
