"""HTML: a section for each heading, its path from the headings above; scripts, styles and navigation left out."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common import hidden
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.limits import HEADING, clean
from stackroom.ingest.readers.plaintext import guess_encoding, looks_like_text
from stackroom.protocols import Reading, Section

_LARGEST = 256 * 1024 * 1024
_BETWEEN = " | "
"""What stands between cells."""
_AGAIN = 1_000_000
"""Characters that a page may say again, of cells that are merged over rows."""
_LONGEST_CELL = 200
"""Characters of a cell that is said again: a longer one is no name of its rows."""
_REACHING = 500
"""Cells of a table that reach down at once."""
_LOOKED_AT = 300
"""Nodes below a heading or a cell whose text is looked up: they may be nested in each other, and without text, to any depth."""
_MOST_ROWS = 65_534
"""Rows that a cell may span (HTML Standard)."""

_SKIPPED = frozenset({"script", "style", "nav", "noscript", "template", "head", "svg", "iframe", "button", "select"})
_BLOCKS = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "main",
        "aside",
        "header",
        "footer",
        "ul",
        "ol",
        "dl",
        "table",
        "tr",
        "blockquote",
        "pre",
        "figure",
        "figcaption",
        "form",
        "fieldset",
        "address",
        "hr",
        "details",
        "summary",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "body",
        "html",
        "dt",
        "dd",
        "center",
        "legend",
        "caption",
        "menu",
        "dialog",
        "hgroup",
        "search",
        "option",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_MARKER = re.compile(rb"<(?:!doctype html|html|head|body|title)[\s>]")
_WHOLE_PAGE = (b"<!doctype html", b"<html", b"<?xml")
_TEXT_SUFFIXES = frozenset({".md", ".markdown", ".mdown", ".mkd", ".txt", ".text"})
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9_.:-]+)""")
# What browsers take these names for (WHATWG Encoding Standard): each is a superset of what the name says.
_AS_BROWSERS_DO = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "iso8859-11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
# Python decodes these, browsers refuse them: whatever a page says, it was not written in them.
_NOT_FOR_PAGES = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "utf-7"})
_FACTS = {
    "author": "author", "description": "description", "keywords": "keywords", "date": "date", "article:author": "author",
    "article:published_time": "date", "og:description": "description", "dc.creator": "author", "dc.date": "date",
    "dc.language": "language", "dcterms.creator": "author", "dcterms.date": "date", "dcterms.created": "date",
}  # fmt: skip
"""What a page says of itself, by the names in use for it; its own word comes before those of others."""
_SPACE = re.compile(r"[ \t\n\r\f\u00a0]+")
_XHTML = re.compile(r"<\?xml|www\.w3\.org/1999/xhtml", re.IGNORECASE)
_SELF_CLOSED = re.compile(
    r"<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)\b)([A-Za-z][\w:-]*)(\s[^<>]*?)?/>"
)


class HtmlReader:
    name = "html"
    version = 3
    suffixes: tuple[str, ...] = (".html", ".htm", ".xhtml")

    def accepts(self, path: Path, head: bytes) -> bool:
        if not looks_like_text(head):
            return False
        start = head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower().replace(b"\x00", b"")
        suffix = path.suffix.lower()
        if suffix in _TEXT_SUFFIXES and not start.startswith(_WHOLE_PAGE):
            # Markdown may begin with a tag and speak of others.
            return False
        marked = _MARKER.search(start[:1500]) is not None
        return (marked and start.startswith(b"<")) or (suffix in self.suffixes and b"<" in head)

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        try:
            if path.stat().st_size > _LARGEST:
                raise ReadError(f"{path} is too large for one page of HTML.", hint="Split it.", path=path)
            data = path.read_bytes()
        except OSError as error:
            raise ReadError(
                f"{path} can't be read: {error.strerror}.", hint="Check its permissions.", path=path
            ) from error
        tree = parse(decode(data))
        metadata = _metadata(tree)
        title = metadata.pop("title", None)
        found = list(sections(tree.body or tree.root))
        if not any(section.text.strip() for section in found):
            raise NoTextError(
                f"{path} holds no text.", hint="Perhaps a script makes it: save the page as it is shown.", path=path
            )
        return Reading("html", found, title, metadata)


def decode(data: bytes) -> str:
    """By byte order mark, as UTF-8 if all of it is, by the page's own word, or by statistics."""
    guessed = guess_encoding(data, whole=True)
    declared = _XML_ENCODING.search(data[:4096]) or _CHARSET.search(data[:4096])
    if not guessed.startswith("utf-") and declared:
        guessed = _charset(declared[1].decode("ascii", "replace"))
    return data.decode(guessed, "replace")


def _charset(declared: str) -> str:
    """What a page says it is written in, unless Python knows no such thing, or knows it as something else than text."""
    try:
        known = codecs.lookup(declared)
        "".encode(declared)  # refuses what is no text encoding ("base64"), and "undefined"
    except (LookupError, UnicodeError):
        return "cp1252"
    return "cp1252" if known.name in _NOT_FOR_PAGES else _AS_BROWSERS_DO.get(known.name, known.name)


def parse(text: str) -> Any:
    """The tree of a page; what XHTML closes in one tag is closed in two, since HTML would leave it open."""
    lexbor = require("selectolax.lexbor", extra="documents")
    text = clean(text)
    if _XHTML.search(text[:2000]):
        text = _SELF_CLOSED.sub(r"<\1\2></\1>", text)
    return lexbor.LexborHTMLParser(text)


def _metadata(tree: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    title = tree.css_first("title")
    if title is not None and title.text().strip():
        found["title"] = " ".join(title.text().split())
    language = tree.css_first("html")
    if language is not None and language.attributes.get("lang"):
        found["language"] = language.attributes["lang"]
    for node in tree.css("meta[name], meta[property]"):
        said = (node.attributes.get("name") or node.attributes.get("property") or "").lower()
        content = (node.attributes.get("content") or "").strip()
        if (name := _FACTS.get(said)) and content:
            if said == name:
                found[name] = content
            else:
                found.setdefault(name, content)
    return found


def sections(root: Any, above: tuple[str, ...] = ()) -> Iterator[Section]:
    """The visible text below a node, a section for each heading; walked without recursion, however deep it is."""
    path = HeadingPath(above)
    writer = _Writer()
    gone = 0
    # (node, leaving): a block is visited twice, to write the line's end after it
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        node, leaving = pending.pop()
        tag = node.tag
        if leaving:
            writer.leave(tag)
            continue
        if tag == "-text":
            writer.text(node.text_content or "")
            continue
        if _is_skipped(node):
            continue
        if hidden.hides(node):
            gone += len((node.text(deep=True) or "").strip())
            continue
        if tag in _HEADINGS:
            if writer.has_text:
                yield Section(writer.take(), path.path, hidden=gone)
                gone = 0
            path.enter(_HEADINGS[tag], _short_text(node))
        writer.enter(tag, node)
        pending.append((node, True))
        children = []
        child = node.child
        while child is not None:
            children.append((child, False))
            child = child.next
        pending.extend(reversed(children))
    if writer.has_text or gone:
        yield Section(writer.take() if writer.has_text else "", path.path, hidden=gone)


def _is_skipped(node: Any) -> bool:
    tag = node.tag
    # A node that lexbor made of a broken page may have no name.
    return not tag or tag in _SKIPPED or tag.startswith("-")


def _short_text(node: Any) -> str:
    """The text of a heading or a cell, as far as a heading is long: one around a whole page is looked at once, not once for each within it."""
    parts: list[str] = []
    size = looked_at = 0
    pending = [node]
    while pending and size < HEADING and looked_at < _LOOKED_AT:
        inner = pending.pop()
        looked_at += 1
        if inner.tag == "-text":
            parts.append(inner.text_content or "")
            size += len(parts[-1])
        elif not _is_skipped(inner) and not hidden.hides(inner):
            if inner.tag in _BLOCKS or inner.tag in ("br", "li"):
                parts.append(" ")
            children: list[Any] = []
            child = inner.child
            while child is not None and len(children) < _LOOKED_AT:
                children.append(child)
                child = child.next
            pending.extend(reversed(children))
    return "".join(parts)


class _Table:
    """Where the cells of a table stand, so that one that is merged over several rows is said in each of them."""

    def __init__(self) -> None:
        self._row = self._column = 0
        self._held: dict[int, tuple[int, int, str]] = {}
        """by its column: the last row of a cell that reaches down, how many columns it has, and its text"""
        self._begun: dict[int, tuple[int, int, str]] = {}

    def enter(self, tag: str, node: Any) -> list[str]:
        """What reaches in from above before this cell; nothing where it is none."""
        if tag == "tr":
            self._row, self._column, self._begun = self._row + 1, 0, {}
        elif tag in ("thead", "tbody", "tfoot"):
            self._held = {}
        if tag not in ("td", "th"):
            return []
        above = []
        while (text := self._from_above(self._column)) is not None:
            above.append(text)
        wide = _span(node, "colspan")
        rows = _span(node, "rowspan")
        if rows != 1 and len(self._held) + len(self._begun) < _REACHING:
            text = " ".join(_short_text(node).split())
            last = self._row + (rows or _MOST_ROWS) - 1
            self._begun[self._column] = last, wide, text if len(text) <= _LONGEST_CELL else ""
        self._column += max(wide, 1)
        return above

    def leave_row(self) -> list[str]:
        """What reaches in from above behind the row's last cell; nothing where it has none of its own."""
        above = []
        for column in sorted(self._held) if self._column else ():
            if column >= self._column and (text := self._from_above(column)) is not None:
                above.append(text)
        self._held |= self._begun
        self._begun = {}
        return above

    def forget(self) -> None:
        self._held, self._begun = {}, {}

    def _from_above(self, column: int) -> str | None:
        if column not in self._held:
            return None
        last, wide, text = self._held[column]
        if last < self._row:
            del self._held[column]
            return None
        self._column = column + max(wide, 1)
        return text


def _span(node: Any, name: str) -> int:
    said = node.attributes.get(name) or ""
    return min(int(said), _MOST_ROWS) if said.isdecimal() and len(said) < 10 else 1


class _Writer:
    """Collects visible text: blocks on lines of their own, white space folded, but for what is preformatted."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._preformatted = 0
        self._tables: list[_Table] = []
        self._again = _AGAIN
        self.has_text = False

    def text(self, text: str) -> None:
        if not self._preformatted:
            text = _SPACE.sub(" ", text)
            if self._at_line_start():
                text = text.lstrip(" ")
        if text:
            self._parts.append(text)
            self.has_text = self.has_text or not text.isspace()

    def enter(self, tag: str, node: Any) -> None:
        if tag == "pre":
            self._preformatted += 1
        elif tag == "table":
            self._tables.append(_Table())
        elif self._tables:
            self._say_again(self._tables[-1].enter(tag, node))
        if tag == "br":
            self._parts.append("\n")
        elif tag == "li":
            self._line()
            self._parts.append("- ")
        elif tag in _BLOCKS:
            self._line()

    def leave(self, tag: str) -> None:
        if tag == "pre":
            self._preformatted -= 1
        elif tag == "table" and self._tables:
            self._tables.pop()
        elif tag == "tr" and self._tables:
            self._say_again(self._tables[-1].leave_row())
        if tag in ("td", "th"):
            self._parts.append(_BETWEEN)
        elif tag in _BLOCKS or tag == "li":
            self._line()
            if tag in _HEADINGS or tag in ("p", "pre", "table", "ul", "ol", "blockquote"):
                self._blank_line()

    def _say_again(self, cells: list[str]) -> None:
        """Cells of the rows above that reach into this one, as long as a page has not said too much again."""
        for cell in cells:
            self._again -= len(cell) + len(_BETWEEN)
            if cell and self._again > 0:
                self._parts.append(cell + _BETWEEN)
        if self._again <= 0:
            for table in self._tables:
                table.forget()

    def _at_line_start(self) -> bool:
        return not self._parts or self._parts[-1].endswith(("\n", "- ", " "))

    def _line(self) -> None:
        if self._parts and not self._parts[-1].endswith("\n"):
            self._parts.append("\n")

    def _blank_line(self) -> None:
        if self._parts[-2:] != ["\n", "\n"] and self._parts:
            self._parts.append("\n")

    def take(self) -> str:
        text, self._parts, self.has_text = "".join(self._parts), [], False
        return text if text.endswith("\n") else text + "\n"
