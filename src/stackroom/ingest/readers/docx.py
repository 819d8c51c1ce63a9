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
                archive.read(name, ratio=name.endswith((".xml", ".rels")))
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
    from docx.text.paragraph import Paragraph

    path = HeadingPath()
    held: list[str] = []
    for element in _blocks(document.element.body):
        if _name(element) == "tbl":
            held += [" | ".join(row) + "\n" for row in _rows(element)]
            held.append("\n")
            continue
        text = _text(element)
        style = (getattr(Paragraph(element, document).style, "name", "") or "") if text else ""
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
    notes = "".join(note + "\n\n" for note in _notes(document))
    if notes:
        yield Section(notes)


def _name(element: Any) -> str:
    """An element's name without its namespace; comments and the like have none."""
    return str(element.tag).rpartition("}")[2] if isinstance(element.tag, str) else ""


def _blocks(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those within content controls and insertions too."""
    for child in parent:
        name = _name(child)
        if name in ("p", "tbl"):
            yield child
        elif name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"):
            yield from _blocks(child)


# What was deleted or moved away, what formats, and the second copy of a drawing for programs that can't draw it.
_UNSEEN = frozenset({"del", "moveFrom", "Fallback", "pPr", "rPr", "instrText", "delText", "sdtPr", "tblPr"})
_MARKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def _text(element: Any) -> str:
    return clean("".join(_visible(element))).strip()


def _visible(element: Any) -> Iterator[str]:
    """The text of an element as it is read: hyperlinks, insertions, content controls and text boxes included."""
    for child in element:
        name = _name(child)
        if name == "t":
            yield child.text or ""
        elif name in _MARKS:
            yield _MARKS[name]
        elif name not in _UNSEEN:
            yield from _visible(child)
            if name == "p":  # of a text box
                yield "\n"


def _rows(table: Any) -> Iterator[list[str]]:
    """Each row's texts; a merged cell is one element, and what it continues from above is empty."""
    for row in _within(table, "tr"):
        yield [" ".join(_text(cell).split()) for cell in _within(row, "tc")]


def _within(parent: Any, wanted: str) -> Iterator[Any]:
    for child in parent:
        name = _name(child)
        if name == wanted:
            yield child
        elif name in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _within(child, wanted)


def _notes(document: Any) -> Iterator[str]:
    """Footnotes and endnotes, which are parts of their own."""
    import lxml.etree

    for relation in document.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes")) and not relation.is_external:
            parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True)
            for note in lxml.etree.fromstring(relation.target_part.blob, parser):
                text = " ".join(filter(None, map(_text, _blocks(note))))
                if text:
                    yield text
