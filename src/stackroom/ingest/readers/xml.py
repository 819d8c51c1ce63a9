"""XML: records where it holds records (feeds, exports), else its text, under its titles."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from html import escape
from html.entities import html5
from itertools import islice
from pathlib import Path
from typing import Any

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers import html
from stackroom.ingest.readers.common import markup, tables
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.limits import HEADING, clean
from stackroom.ingest.readers.common.marked import LONG, Marked
from stackroom.ingest.readers.common.markup import local
from stackroom.ingest.readers.common.records import record_text
from stackroom.ingest.readers.plaintext import looks_like_text
from stackroom.protocols import Reading, Section

_LARGEST = 128 * 1024 * 1024
_ROOT = re.compile(rb"<(?![?!])([^\s/>]+)([^>]*)")
_DECLARED = re.compile(rb"""([ \t\r\n]*<\?xml\s[^>?]{0,100}?encoding\s*=\s*["'])([A-Za-z][\w.:-]{0,40})(?=["'])""")
_NAMED = re.compile(rb"&[A-Za-z][A-Za-z0-9]{1,30};")
_XML_NAMES = frozenset({"amp;", "lt;", "gt;", "quot;", "apos;"})
_XML_ID = re.compile(rb"""\sxml:id\s*=\s*(?:"[^"<]*"|'[^'<]*')""")
_FACTS = {
    "author": "author", "creator": "author", "managingEditor": "author", "date": "date", "pubDate": "date", "updated": "date",
    "language": "language",
}  # fmt: skip
_HEADS = frozenset({"channel", "head", "header", "info", "metadata"})
_LOOKED_AT = 50
_LONGEST_FACT = 300
_LONG_RECORD = 1000
"""Characters of a record that has several passages, each of which is to say whose it is: an article of a wiki."""
_TITLES = frozenset({"title", "head", "heading", "caption"})
_AS_WRITTEN = frozenset({"programlisting", "screen", "literallayout", "pre", "verbatim"})
_TABLES = frozenset({"table", "informaltable"})
_MARKUP = re.compile(r"</?(?:p|div|br|a|b|i|em|strong|ul|ol|li|img|span|h[1-6]|table)\b[^>]*>", re.IGNORECASE)


class XmlReader:
    name = "xml"
    version = 5
    suffixes: tuple[str, ...] = (".xml", ".rss", ".atom")
    asked_only = True

    def accepts(self, path: Path, head: bytes) -> bool:
        if not looks_like_text(head):
            return False
        start = head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").replace(b"\x00", b"")
        if not start.startswith(b"<?xml") and not (path.suffix.lower() in self.suffixes and start.startswith(b"<")):
            return False
        root = _ROOT.search(start)
        if root is None:
            return path.suffix.lower() in self.suffixes
        name = root[1].rpartition(b":")[2].lower()
        return name not in (b"html", b"svg") and b"www.w3.org/1999/xhtml" not in root[2]

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        if path.stat().st_size > _LARGEST:
            raise ReadError(f"{path} is too large for one document of XML.", hint="Split it.", path=path)
        data = path.read_bytes()
        try:
            root = markup.parse(data, path)
        except ReadError:
            mended = _mended(data)
            if mended == data:
                raise
            root = markup.parse(mended, path)
        around = _around_records(root)
        found = list(_document(root) if around is None else _records(around, path))
        if not any(section.text.strip() for section in found):
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        return Reading("xml", found, _title(root), _facts(root))


def _mended(data: bytes) -> bytes:
    """The same in UTF-8, where it says that it is in an encoding which the parser does not know and Python does; with the characters
    that HTML has names for in place of those names, which feeds are full of; and without marks for other programs."""
    declared = _DECLARED.match(data)
    if declared is not None:
        with contextlib.suppress(LookupError, UnicodeError):
            name = declared[2].decode("ascii")
            "".encode(name)  # refuses what is no text encoding ("base64")
            data = declared[1] + b"utf-8" + data[declared.end() :].decode(name).encode()
    data = _NAMED.sub(_character, data)
    return _XML_ID.sub(b"", data)


def _character(name: re.Match[bytes]) -> bytes:
    text = name[0][1:].decode()
    known = text not in _XML_NAMES and html5.get(text)
    return escape(known).encode() if known else name[0]


def _title(root: Any) -> str | None:
    """The first title that is not deep within: a feed's, a book's."""
    for node in markup.named(root, "title"):
        if sum(1 for _ in node.iterancestors()) <= 4:
            return " ".join(clean("".join(node.itertext())).split())[:300] or None
    return None


def _facts(root: Any) -> dict[str, str]:
    """What a file says of itself, right below its root or in its head: a feed's author, not that of a piece in it."""
    facts: dict[str, str] = {}
    language = markup.attribute(root, "lang")
    first = _elements(root)[:_LOOKED_AT]
    heads = [node for node in first if local(node) in _HEADS]
    for node in (child for level in (first, *map(_elements, heads)) for child in level[:_LOOKED_AT]):
        if (name := _FACTS.get(local(node))) and name not in facts:
            between = "" if _is_mixed(node) else " "  # a first name and a last name are two words
            said = " ".join(clean(between.join(islice(node.itertext(), _LOOKED_AT))).split())[:_LONGEST_FACT]
            if said:
                facts[name] = said
    if language:
        facts.setdefault("language", language)
    return facts


def _elements(node: Any) -> list[Any]:
    return [child for child in node if local(child)]


def _is_mixed(node: Any) -> bool:
    """Whether text stands beside elements, as in prose."""
    children = _elements(node)
    return bool(children) and bool((node.text or "").strip() or any((child.tail or "").strip() for child in children))


def _around_records(root: Any) -> Any | None:
    """The element whose children are records: one name again and again, none of them prose; down to the third level."""
    level = [root]
    for _ in range(3):
        for node in level:
            counts = Counter(local(child) for child in _elements(node))
            name, times = next(iter(counts.most_common(1)), ("", 0))
            if times < 2 or _is_mixed(node):
                continue
            records = [child for child in _elements(node) if local(child) == name][:20]
            if all(_elements(child) or child.attrib for child in records) and not any(
                _is_mixed(inner) for child in records for inner in child.iter()
            ):
                return node if name not in ("section", "chapter", "part", "para", "p", "div", "sect1") else None
        level = [child for node in level for child in _elements(node)][:20]
    return None


def _records(around: Any, path: Path) -> Iterator[Section]:
    children = _elements(around)
    name = Counter(local(child) for child in children).most_common(1)[0][0]
    about = [child for child in children if local(child) != name]
    if text := record_text([_value(child) for child in about], path):
        yield Section(text)
    held = Marked("record")
    for number, child in enumerate((child for child in children if local(child) == name), start=1):
        text = record_text(_value(child)[name], path)
        title = markup.first_text(child, "title")[:HEADING] if len(text) > _LONG_RECORD else ""
        if title and held.size:
            yield held.take()
        held.add(text, number)
        if title or held.size > LONG:
            yield held.take((title,) if title else ())
    if held.size:
        yield held.take()


def _value(node: Any) -> dict[str, Any]:
    """An element as nested values; markup that stands in it as text is read as a page."""
    inner: list[Any] = [{str(key).rpartition("}")[2]: str(value)} for key, value in node.attrib.items()]
    inner += [_value(child) for child in _elements(node)]
    text = (node.text or "").strip()
    if _MARKUP.search(text):
        tree = html.parse(text)
        text = "".join(section.text for section in html.sections(tree.body or tree.root)).strip()
    if not inner:
        return {local(node): text}
    return {local(node): [text, *inner] if text else inner}


def _document(root: Any) -> Iterator[Section]:
    """Paragraphs in order; an element with a title is a section."""
    path = HeadingPath()
    held = Marked()
    # (element, how deep)
    pending = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        if not local(node):
            continue
        children = _elements(node)
        name = local(node)
        as_written = name in _AS_WRITTEN
        table = _table(node) if name in _TABLES else ""
        if children and not (table or as_written or _is_mixed(node)):
            pending.extend((child, depth + 1) for child in reversed(children))
            continue
        text = table or clean("".join(node.itertext()))
        text = text.strip("\n").rstrip() if table or as_written else " ".join(text.split())
        if not text:
            continue
        if name in _TITLES:
            if held.size:
                yield held.take(path.path)
            path.enter(depth, text)
        held.add(text + "\n\n")
        if held.size > LONG:
            yield held.take(path.path)
    if held.size:
        yield held.take(path.path)


def _table(node: Any) -> str:
    """A table of DocBook, TEI or HTML: its title on a line, and its rows; "" where it has none."""
    rows = [
        [" ".join("".join(cell.itertext()).split()) for cell in _elements(row)]
        for row in markup.named(node, "row", "tr")
    ]
    titles = [
        " ".join(clean("".join(child.itertext())).split()) for child in _elements(node) if local(child) in _TITLES
    ]
    return "".join(f"{title}\n" for title in titles if title) + tables.text(rows) if rows else ""
