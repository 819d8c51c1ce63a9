"""Jupyter notebooks: cells in order under the headings of their Markdown, with what they printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.limits import MEMBER_BYTES, clean
from stackroom.ingest.readers.common.marked import Marked
from stackroom.ingest.readers.markdown import Headings
from stackroom.ingest.readers.plaintext import looks_like_text
from stackroom.protocols import Reading, Section

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST_OUTPUT = 20_000


class NotebookReader:
    name = "ipynb"
    version = 3
    suffixes: tuple[str, ...] = (".ipynb",)

    def accepts(self, path: Path, head: bytes) -> bool:
        if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or not looks_like_text(head):
            return False
        return path.suffix.lower() in self.suffixes or (b'"cells"' in head and b'"cell_type"' in head)

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        notebook = load_json(path)
        cells = notebook.get("cells") if isinstance(notebook, dict) else None
        if cells is None and isinstance(notebook, dict):  # up to version 3 of the format
            cells = [cell for sheet in _list(notebook.get("worksheets")) for cell in _list(_get(sheet, "cells"))]
        found = list(_sections(_list(cells)))
        if not any(section.text.strip() for section in found):
            raise NoTextError(f"{path} has no cells with text.", hint="Is it a notebook?", path=path)
        about = _get(notebook, "metadata")
        title = _get(about, "title")
        language = _get(_get(about, "kernelspec"), "language") or _get(_get(about, "language_info"), "name")
        facts: dict[str, Any] = {"language": clean(language)} if isinstance(language, str) and language else {}
        names = [_get(author, "name") for author in _list(_get(about, "authors"))]
        if authors := ", ".join(clean(name) for name in names if isinstance(name, str)):
            facts["author"] = authors
        first = next((section.headings[0] for section in found if section.headings), None)
        return Reading(
            "ipynb",
            found,
            clean(title) if isinstance(title, str) and title else first,
            facts,
        )


def load_json(path: Path) -> Any:
    """A file of JSON, within limits. Raises ReadError."""
    if path.stat().st_size > MEMBER_BYTES:
        raise ReadError(f"{path} is too large for one value of JSON.", hint="Split it into lines (JSONL).", path=path)
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ReadError(f"{path} has values within values without end.", hint="Get a fresh copy.", path=path) from error
    except ValueError as error:
        raise ReadError(f"{path} is broken JSON: {error}.", hint="Get a fresh copy.", path=path) from error


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    """Notebooks keep text as a string, or as a list of lines."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return clean(_COLOUR.sub("", value)) if isinstance(value, str) else ""


def _sections(cells: list[Any]) -> Iterator[Section]:
    path = HeadingPath()
    held = Marked("cell")
    for number, cell in enumerate(cells, start=1):
        kind, source = _get(cell, "cell_type"), _text(_get(cell, "source") or _get(cell, "input")).strip()
        if kind == "code":
            printed = "".join(map(_output, _list(_get(cell, "outputs"))))
            held.add(f"{source}\n\n{printed}" if source or printed else "", number)
            continue
        if kind == "heading":  # up to version 3
            source = f"{'#' * min(int(_get(cell, 'level') or 1), 6)} {source}"
        start = 0
        for at, level, title in _headings(source) if kind != "raw" else ():
            held.add(source[start:at], number)
            if held.size:
                yield held.take(path.path)
            path.enter(level, title)
            start = at
        held.add(source[start:] + "\n\n" if source[start:].strip() else "", number)
    if held.size:
        yield held.take(path.path)


def _headings(source: str) -> Iterator[tuple[int, int, str]]:
    """Where a Markdown cell's headings begin, their levels, and their words."""
    headings = Headings()
    at = before = 0
    for line in source.splitlines(keepends=True):
        if heading := headings.of(line):
            level, title, underlined = heading
            yield before if underlined else at, level, title
        before, at = at, at + len(line)


def _output(output: Any) -> str:
    """What a cell printed or gave as text; pictures and pages are left out."""
    data = _get(output, "data")
    if _get(output, "output_type") in ("error", "pyerr"):
        text = f"{_text(_get(output, 'ename'))}: {_text(_get(output, 'evalue'))}"
    else:
        text = _text(_get(output, "text")) or _text(_get(data, "text/plain"))
    text = text.strip()
    if not text or (text.startswith("<") and text.endswith(">") and "\n" not in text):
        # "<Figure size 640x480 with 1 Axes>", "<IPython.core.display.Markdown object>": what is seen is another form of it.
        text = _text(_get(data, "text/markdown")).strip()
    return f"{text[:_LONGEST_OUTPUT]}\n\n" if text else ""
