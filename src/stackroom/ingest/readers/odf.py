"""OpenDocument: texts under their headings, spreadsheets by sheet and row, presentations by slide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackroom.errors import EncryptedError, NoTextError, ReadError
from stackroom.ingest.readers.common import hidden, limits, markup, tables
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.limits import Expansion, SafeArchive, clean
from stackroom.ingest.readers.common.markup import attribute, local, named
from stackroom.protocols import Reading, Section

_MIME = b"application/vnd.oasis.opendocument."
_KINDS = {"text": "odt", "spreadsheet": "ods", "presentation": "odp"}
_LARGEST_FLAT = 64 * 1024 * 1024
_LAST_ROW = 1_048_576

# What is not read with the text around it: what was deleted, comments, listings of headings that come anyway.
_UNSEEN = frozenset(
    [
        "tracked-changes",
        "annotation",
        "annotation-end",
        "table-of-content",
        "illustration-index",
        "table-index",
        "alphabetical-index",
        "note-citation",
        "sequence-decls",
        "forms",
        "binary-data",
        "desc",
        "title",
        "ruby-text",
        "bookmark-ref",
    ]
)
_REPEATED = frozenset({"page-number", "date-time", "footer", "header"})


class OdfReader:
    name = "odf"
    version = 3
    suffixes: tuple[str, ...] = (".odt", ".ods", ".odp", ".ott", ".ots", ".otp", ".fodt", ".fods", ".fodp")

    def accepts(self, path: Path, head: bytes) -> bool:
        if head.startswith(b"PK"):
            found = head[:200].partition(_MIME)[2]
            return found.startswith(tuple(kind.encode() for kind in _KINDS)) or path.suffix.lower() in self.suffixes
        return b"<office:document" in head and _MIME in head

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, NoTextError, ReadError."""
        content, meta, size = _parts(path)
        body = next(named(content, "body"), None)
        kinds = {} if body is None else {local(node): node for node in body}
        kind = next((name for name in _KINDS if name in kinds), None)
        if kind is None:
            raise ReadError(f"{path} has no text, no sheets and no slides.", hint="Get a fresh copy.", path=path)
        gone = _remove_unseen(content)
        expansion = Expansion(path, size)
        found = []
        for section in _READ[kind](kinds[kind], path):
            expansion.took(len(section.text))
            found.append(section)
        if gone:
            found = [replace(first, hidden=gone) for first in found[:1] or [Section("")]] + found[1:]
        if not any(section.text.strip() for section in found):
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        title, facts = _facts(meta)
        if kind == "presentation":
            facts["pages"] = len(found)
        return Reading(_KINDS[kind], found, title, facts)


def _parts(path: Path) -> tuple[Any, Any, int]:
    """The trees of content and description, and how large they are."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            data = file.read(_LARGEST_FLAT + 1)
            if len(data) > _LARGEST_FLAT:
                raise ReadError(f"{path} is too large for one file of markup.", hint="Save it as .odt.", path=path)
            root = markup.parse(data, path)
            return root, root, len(data)
    with SafeArchive(path) as archive:
        if "META-INF/manifest.xml" in archive.names:
            manifest = markup.parse(archive.read("META-INF/manifest.xml"), path, recover=True)
            if next(named(manifest, "encryption-data"), None) is not None:
                raise EncryptedError(
                    f"{path} needs a password.", hint="Save a copy without one, and add that.", path=path
                )
        data = archive.read("content.xml")
        meta = archive.read("meta.xml") if "meta.xml" in archive.names else b"<none/>"
        return markup.parse(data, path), markup.parse(meta or b"<none/>", path, recover=True), len(data)


def _remove_unseen(content: Any) -> int:
    """Take out what the file's own styles do not show, and hidden sections and fields; returns how many characters that was."""
    unseen = {
        attribute(style, "name")
        for style in named(content, "style")
        if any(attribute(rules, "display") == "none" for rules in style if local(rules) == "text-properties")
    }
    count = 0
    for node in list(content.iter()):
        name = local(node)
        gone = (
            (name in ("span", "p", "h") and attribute(node, "style-name") in unseen)
            or (name == "section" and attribute(node, "display") == "none")
            or (name in ("hidden-text", "hidden-paragraph") and attribute(node, "is-hidden") == "true")
        )
        if gone:
            count += hidden.remove(node.getparent() if name == "hidden-paragraph" else node)
    return count


def _facts(meta: Any) -> tuple[str | None, dict[str, Any]]:
    root = next(named(meta, "meta"), None)
    if root is None:
        return None, {}
    facts: dict[str, Any] = {}
    for ours, theirs in (
        ("author", "creator"), ("author", "initial-creator"), ("subject", "subject"), ("language", "language"),
        ("created", "creation-date"),
    ):  # fmt: skip
        text = markup.first_text(root, theirs)
        if text and ours not in facts:
            facts[ours] = text[:10] if ours == "created" else text
    if keywords := ", ".join(clean("".join(node.itertext())).strip() for node in markup.named(root, "keyword")):
        facts["keywords"] = keywords
    return markup.first_text(root, "title") or None, facts


def _text_document(body: Any, path: Path) -> Iterator[Section]:
    headings = HeadingPath()
    held: list[str] = []
    for block in _blocks(body):
        name = local(block)
        if name == "table":
            held += [tables.text(row for _, row in _rows(block, path)), "\n"]
            continue
        text = _text(block).strip()
        if not text:
            continue
        if name == "h":
            if held:
                yield Section("".join(held), headings.path)
            held = []
            level = attribute(block, "outline-level")
            headings.enter(int(level) if level.isdecimal() and level.isascii() else 1, text)
        listed = name == "p" and _in_list(block)
        held.append(f"- {text}\n" if listed else f"{text}\n\n")
    if held:
        yield Section("".join(held), headings.path)


def _blocks(root: Any) -> Iterator[Any]:
    """Headings, paragraphs and tables in order, those within lists, sections and frames too."""
    pending = list(reversed(root))
    while pending:
        node = pending.pop()
        name = local(node)
        if name in ("h", "p", "table"):
            yield node
        elif name not in _UNSEEN:
            pending.extend(reversed(node))


def _in_list(paragraph: Any) -> bool:
    parent = paragraph.getparent()
    return parent is not None and local(parent) == "list-item" and parent[0] is paragraph


def _text(root: Any) -> str:
    """The visible text of a paragraph; what stands in boxes and notes within it is on lines of its own."""
    parts: list[str] = []
    # (node, leaving): lxml keeps the text after an element with that element
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        node, leaving = pending.pop()
        name = local(node)
        if leaving:
            if name == "note":
                parts.append("]")
            if node.tail and node is not root:
                parts.append(node.tail)
            continue
        pending.append((node, True))
        if name in _UNSEEN or not name:
            continue
        if name == "s":
            count = attribute(node, "c")
            parts.append(" " * min(int(count), 100) if count.isascii() and count.isdecimal() else " ")
        elif name == "tab":
            parts.append("\t")
        elif name == "line-break" or (name in ("p", "h") and node is not root and parts and parts[-1] != " ["):
            parts.append("\n")
        elif name == "note":
            parts.append(" [")
        if node.text:
            parts.append(node.text)
        pending.extend((child, False) for child in reversed(node))
    return clean("".join(parts)).replace("\xad", "")


def _spreadsheet(body: Any, path: Path) -> Iterator[Section]:
    for table in body:
        if local(table) == "table":
            spans: dict[tuple[int, int], int] = {}
            rows = tables.carried(_rows(table, path, spans), spans)
            yield from tables.sections(rows, (clean(attribute(table, "name")),))


def _rows(table: Any, path: Path, spans: dict[tuple[int, int], int] | None = None) -> Iterator[tables.Row]:
    """A table's rows under their numbers; `spans` learns of cells that are merged over several. What is said to be repeated is, where it holds something."""
    number = cells = 0
    for row in _within(table, "table-row"):
        found: list[str] = []
        for cell in row:
            if local(cell) not in ("table-cell", "covered-table-cell"):
                continue
            # A cell may hold a table or a picture with a text of its own.
            text = "\n".join(filter(None, (_text(block) for block in _blocks(cell)))) if len(cell) else ""
            times = _times(cell, "number-columns-repeated")
            if text:
                cells += times
                if spans is not None and (tall := _times(cell, "number-rows-spanned")) > 1:
                    spans[number + 1, len(found)] = number + tall
            if cells > limits.CELLS or len(found) + times > limits.COLUMNS:
                if text:
                    raise ReadError(f"{path} has too many cells.", hint="Split it.", path=path)
                break
            found += [text] * times
        times = _times(row, "number-rows-repeated")
        filled = sum(cell != "" for cell in found)
        cells += filled * (times - 1)
        if cells > limits.CELLS:
            raise ReadError(f"{path} has too many cells.", hint="Split it.", path=path)
        # One empty row is as good as many.
        for again in range(times if filled else 1):
            if number + again < _LAST_ROW:
                yield number + again + 1, found
        number += times


def _times(node: Any, name: str) -> int:
    count = attribute(node, name)
    return max(1, int(count)) if count.isascii() and count.isdecimal() and len(count) < 10 else 1


def _within(table: Any, wanted: str) -> Iterator[Any]:
    """Rows, those in groups and headers too, but not those of a table within."""
    pending = list(reversed(table))
    while pending:
        node = pending.pop()
        name = local(node)
        if name == wanted:
            yield node
        elif name in ("table-header-rows", "table-rows", "table-row-group"):
            pending.extend(reversed(node))


def _presentation(body: Any, path: Path) -> Iterator[Section]:
    for number, page in enumerate((node for node in body if local(node) == "page"), start=1):
        title, notes = "", ""
        blocks: list[str] = []
        for shape in page:
            kind = attribute(shape, "class")
            if kind in _REPEATED:
                continue
            text = _lines(shape, path)
            if local(shape) == "notes":
                notes = text
            elif kind == "title" and not title:
                title = " ".join(text.split())
                blocks.insert(0, text)
            else:
                blocks.append(text)
        if notes:
            blocks.append(f"Notes: {notes}")
        text = "\n".join(block for block in blocks if block)
        yield Section(text + "\n" if text else "", (title,) if title else (), number)


def _lines(shape: Any, path: Path) -> str:
    lines = []
    for block in _visible(shape):
        if local(block) == "table":
            lines.append(tables.text(row for _, row in _rows(block, path)))
        elif text := _text(block).strip():
            lines.append(text + "\n")
    return "".join(lines)


def _visible(shape: Any) -> Iterable[Any]:
    """The blocks of a shape, without those that every slide's notes have."""
    if local(shape) != "notes":
        return _blocks(shape)
    return (block for frame in shape if attribute(frame, "class") not in _REPEATED for block in _blocks(frame))


_READ = {"text": _text_document, "spreadsheet": _spreadsheet, "presentation": _presentation}
