"""DOCX: paragraphs and tables in order, under the headings that their styles make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import EncryptedError, NoTextError, ReadError
from stackroom.ingest.readers.common import hidden
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.limits import OLE, SafeArchive, clean
from stackroom.protocols import Reading, Section

_TINY = 2
"""Half points: a letter of one point is a third of a millimetre high."""
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)


class DocxReader:
    name = "docx"
    version = 3
    suffixes: tuple[str, ...] = (".docx",)

    def accepts(self, path: Path, head: bytes) -> bool:
        named = path.suffix.lower() in self.suffixes
        return (named and head.startswith((b"PK", OLE))) or (head.startswith(b"PK") and b"word/" in head)

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, NoTextError, ReadError."""
        docx = require("docx", extra="documents")
        with path.open("rb") as file:
            if file.read(8) == OLE:
                raise EncryptedError(
                    f"{path} needs a password (or is an old .doc).", hint="Save it as .docx without one.", path=path
                )
        with SafeArchive(path) as archive:
            # Within limits before python-docx unpacks it all, pictures included.
            archive.check_markup()
        try:
            document = docx.Document(str(path))
            unseen = _unseen_styles(document)
            gone = _remove_unseen(document.element.body, unseen)
            found = list(_sections(document, unseen))
            properties = document.core_properties
        except Exception as error:  # python-docx raises KeyError, ValueError, lxml errors and more
            raise ReadError(f"{path} is a broken DOCX: {error}.", hint="Get a fresh copy.", path=path) from error
        if gone:
            found = [replace(first, hidden=first.hidden + gone) for first in found[:1] or [Section("")]] + found[1:]
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


def _unseen_styles(document: Any) -> frozenset[str]:
    """The styles that hide their text, themselves or by the style that they are based on."""
    styles = {_value(style, "styleId"): style for style in document.styles.element if _name(style) == "style"}

    def hides(name: str, left: int = 10) -> bool:
        style = styles.get(name)
        if style is None or not left:
            return False
        own = [_is_on(mark) for rules in style if _name(rules) == "rPr" for mark in rules if _name(mark) == "vanish"]
        based = next((_value(child, "val") for child in style if _name(child) == "basedOn"), "")
        return own[-1] if own else hides(based, left - 1)

    return frozenset(name for name in styles if hides(name))


def _remove_unseen(root: Any, unseen: frozenset[str]) -> int:
    """Take out the runs that Word does not show (hidden, or of a hidden style, or of a point at most); returns their characters."""
    count = 0
    for run in [node for node in root.iter() if _name(node) == "r"]:
        rules = {_name(rule): rule for part in run if _name(part) == "rPr" for rule in part}
        size = _value(rules["sz"], "val") if "sz" in rules else ""
        tiny = size.isascii() and size.isdecimal() and int(size[:9]) <= _TINY
        if "vanish" in rules:
            gone = _is_on(rules["vanish"])
        else:
            gone = "rStyle" in rules and _value(rules["rStyle"], "val") in unseen
        if (gone or tiny or _paragraph_style(run) in unseen) and run.getparent() is not None:
            count += len("".join(_visible(run)))
            hidden.remove(run)
    return count


def _paragraph_style(run: Any) -> str:
    paragraph = next((node for node in run.iterancestors() if _name(node) == "p"), None)
    for rules in () if paragraph is None else paragraph[:1]:
        if _name(rules) == "pPr":
            return next((_value(rule, "val") for rule in rules if _name(rule) == "pStyle"), "")
    return ""


def _value(node: Any, name: str) -> str:
    return next((str(value) for key, value in node.attrib.items() if str(key).rpartition("}")[2] == name), "")


def _is_on(mark: Any) -> bool:
    return _value(mark, "val").lower() not in ("0", "false", "off")


def _sections(document: Any, unseen: frozenset[str]) -> Iterator[Section]:
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
    notes = list(_notes(document, unseen))
    if notes:
        yield Section("".join(note + "\n\n" for note, _ in notes), hidden=sum(gone for _, gone in notes))


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
    """Each row's texts; a cell that is merged over several rows is said in each, unless it begins in the first, which may be a header."""
    above: dict[int, str] = {}
    for number, row in enumerate(_within(table, "tr")):
        texts, column, held = [], 0, {}
        for cell in _within(row, "tc"):
            rules = {_name(rule): rule for part in cell if _name(part) == "tcPr" for rule in part}
            text = " ".join(_text(cell).split())
            if (merged := rules.get("vMerge")) is not None:
                text = text if _value(merged, "val") == "restart" else above.get(column, text)
                held[column] = text if number else ""
            texts.append(text)
            span = _value(rules["gridSpan"], "val") if "gridSpan" in rules else ""
            column += int(span[:4]) if span.isdecimal() else 1
        above = held
        yield texts


def _within(parent: Any, wanted: str) -> Iterator[Any]:
    for child in parent:
        name = _name(child)
        if name == wanted:
            yield child
        elif name in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _within(child, wanted)


def _notes(document: Any, unseen: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Footnotes and endnotes, which are parts of their own, and how many characters each hides."""
    import lxml.etree

    for relation in document.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes")) and not relation.is_external:
            parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True)
            for note in lxml.etree.fromstring(relation.target_part.blob, parser):
                gone = _remove_unseen(note, unseen)
                text = " ".join(filter(None, map(_text, _blocks(note))))
                if text or gone:
                    yield text, gone
