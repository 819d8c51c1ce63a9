"""DOCX: paragraphs and tables in order, under the headings that their styles make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import EncryptedError, NoTextError, ReadError
from stackroom.ingest.readers.headings import HeadingPath
from stackroom.ingest.readers.limits import SafeArchive, clean
from stackroom.protocols import Reading, Section

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)


class DocxReader:
    name = "docx"
    version = 1
    suffixes: tuple[str, ...] = (".docx",)

    def accepts(self, path: Path, head: bytes) -> bool:
        named = path.suffix.lower() in self.suffixes
        return (named and head.startswith((b"PK", _OLE))) or (head.startswith(b"PK") and b"word/" in head)

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, NoTextError, ReadError."""
        docx = require("docx", extra="documents")
        with path.open("rb") as file:
            if file.read(8) == _OLE:
                raise EncryptedError(
                    f"{path} needs a password (or is an old .doc).", hint="Save it as .docx without one.", path=path
                )
        with SafeArchive(path) as archive:
            # Within limits before python-docx unpacks it all, pictures included.
            for name in archive.names:
                archive.read(name)
        try:
            document = docx.Document(str(path))
            found = list(_sections(document))
            properties = document.core_properties
        except Exception as error:  # python-docx raises KeyError, ValueError, lxml errors and more
            raise ReadError(f"{path} is a broken DOCX: {error}.", hint="Get a fresh copy.", path=path) from error
        if not any(section.text.strip() for section in found):
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        return Reading("docx", found, clean(properties.title or "").strip() or None, _facts(properties))


def _facts(properties: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name in ("author", "subject", "keywords", "language"):
        value = clean(getattr(properties, name, "") or "").strip()
        if value:
            facts[name] = value
    if properties.created is not None:
        facts["created"] = properties.created.date().isoformat()
    return facts


def _sections(document: Any) -> Iterator[Section]:
    path = HeadingPath()
    held: list[str] = []
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            held += [" | ".join(_cells(row)) + "\n" for row in block.rows]
            held.append("\n")
            continue
        text = clean(block.text).strip()
        style = (block.style.name if block.style is not None else "") or ""
        heading = _HEADING.match(style)
        level = int(heading[1]) if heading else 1 if style == "Title" else 0
        if level and text:
            if held:
                yield Section("".join(held), path.path)
            held = []
            path.enter(level, text)
        if text:
            held.append(("- " if style.startswith("List") else "") + text + "\n")
            if not style.startswith("List"):
                held.append("\n")
    if held:
        yield Section("".join(held), path.path)


def _cells(row: Any) -> list[str]:
    """A row's texts; a merged cell, which python-docx gives once for each column, only once."""
    texts: list[str] = []
    before = None
    for cell in row.cells:
        if cell._tc is not before:
            texts.append(" ".join(_words(cell)))
        before = cell._tc
    return texts


def _words(cell: Any) -> Iterator[str]:
    """The words of a cell, those of tables inside it too."""
    for block in cell.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                yield from _cells(row)
        else:
            yield from clean(block.text).split()
