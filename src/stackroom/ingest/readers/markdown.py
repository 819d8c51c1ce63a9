"""Markdown: a section for each heading, its path from the headings above."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import date, time
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.limits import HEADING
from stackroom.ingest.readers.plaintext import encoding_of, looks_like_text, sections
from stackroom.protocols import Reading, Section

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NO_PARAGRAPH = re.compile(r"(?: {4}|\t| {0,3}(?:[-+*>]|\d{1,9}[.)])(?:[ \t]|$))")
"""Items, quotations and code: a line of dashes below one is a rule, and makes no title of it."""
_ATTRIBUTES = re.compile(r"[ \t]*\{[#.:][^{}]*\}$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_FRONT = re.compile(r"---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_TOML = re.compile(r"\+\+\+[ \t]*\n(.*?\n)\+\+\+[ \t]*(?:\n|$)", re.DOTALL)
_PAIR = re.compile(r"([A-Za-z_][\w -]*):(?:\s+(.*))?$")
_NAME = re.compile(r"[A-Za-z_][\w -]*")
_INLINE = re.compile(r"\[(.*)\](?:\s+#.*)?$")
_ITEM = re.compile(r"""(?:"[^"]*"|'[^']*'|[^,"'])+""")
_QUOTED = re.compile(r"""(["'])(.*)\1(?:\s+#.*)?$""")
_COMMENT = re.compile(r"\s+#.*$")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9]\d*)$", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$", re.ASCII)
_EXACT = 2**53
"""Longer integers are names, and no number that JSON carries safely."""
_FENCE_END = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(?<!\w)(_{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)|(\*{1,3})(?=\S)(.+?)(?<=\S)\3|(`+)(.+?)\5")


class MarkdownReader:
    name = "markdown"
    version = 4
    suffixes: tuple[str, ...] = (".md", ".markdown", ".mdown", ".mkd")

    def accepts(self, path: Path, head: bytes) -> bool:
        return path.suffix.lower() in self.suffixes and looks_like_text(head)

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        blocks = (section.text for section in sections(path, encoding_of(path)))
        # A title is looked for in the first blocks only: the file may be of any length.
        head = list(islice(blocks, 2))
        if front := _FRONT.match(head[0]):
            metadata = _front_matter(front[1])
        elif front := _TOML.match(head[0]):
            metadata = _front_matter_in_toml(front[1])
        else:
            metadata = None
        # What does not begin with `key:` is text between two rules.
        start = front.end() if front and metadata is not None else 0
        metadata = metadata or {}
        title = metadata.pop("title", None)
        title = title if isinstance(title, str) else _first_heading("".join(head), start)
        return Reading("markdown", _by_heading(chain(head, blocks), start), title, metadata)


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    pending = ""
    for block in blocks:
        *whole, pending = (pending + block).split("\n")
        for line in whole:
            yield line + "\n"
    if pending:
        yield pending


class Headings:
    """Tells a text's headings, line by line; what stands in a block of code is none."""

    def __init__(self) -> None:
        self._fence: str | None = None
        self._before = ""

    def of(self, line: str) -> tuple[int, str, bool] | None:
        """The heading that this line makes: its level, its words, and whether they stand in the line before."""
        line = line.rstrip("\n")
        before, self._before = self._before, line
        fence = self._fence
        opening = _FENCE.match(line) if fence is None else _FENCE_END.match(line)
        if opening and (fence is None or (opening[1][0] == fence[0] and len(opening[1]) >= len(fence))):
            self._fence = None if fence is not None else opening[1]
        if self._fence is not None or opening:
            return None
        if heading := _ATX.match(line):
            return (len(heading[1]), _plain(heading[2]), False) if heading[2] else None
        underline = _SETEXT.match(line)
        if underline and before.strip() and not _ATX.match(before) and not _NO_PARAGRAPH.match(before):
            return 1 if underline[1][0] == "=" else 2, _plain(before), True
        return None


def _by_heading(blocks: Iterable[str], front: int) -> Iterator[Section]:
    """Sections that begin at a heading, from the offset `front` on. The text is unchanged."""
    path = HeadingPath()
    headings = Headings()
    held: list[str] = []
    size = 0
    offset = 0
    for line in _lines(blocks):
        offset += len(line)
        if offset <= front:
            continue
        if heading := headings.of(line):
            level, title, underlined = heading
            begun = [held.pop()] if underlined and held else []
            if held:
                yield Section("".join(held), path.path)
            held, size = begun, sum(map(len, begun))
            path.enter(level, title)
        held.append(line)
        size += len(line)
        if size > 100_000:
            yield Section("".join(held), path.path)
            held, size = [], 0
    if held:
        yield Section("".join(held), path.path)


def _plain(heading: str) -> str:
    """A heading without its links, emphasis and code marks."""
    heading = _LINK.sub(r"\1", _ATTRIBUTES.sub("", heading[:HEADING].rstrip()))
    for _ in range(2):  # emphasis within emphasis
        heading = _EMPHASIS.sub(lambda found: found[2] or found[4] or found[6], heading)
    return heading.strip()


def _first_heading(text: str, front: int) -> str | None:
    return next((section.headings[0] for section in _by_heading([text], front) if section.headings), None)


def _front_matter(text: str) -> dict[str, Any] | None:
    """The simple part of YAML: `key: value`, `[a, b]`, lists of `- item`, and blocks after `|`. None where it is no such thing.

    Values are numbers, booleans or text as YAML 1.2 has them, so that filters compare numbers as numbers; dates stay text, ISO 8601.
    """
    metadata: dict[str, Any] = {}
    key, block = "", False
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if not lines or not _PAIR.match(lines[0]):
        return None
    for line in lines:
        item = re.match(r"\s+-\s+(.*)|-\s+(.*)", line)
        if block and line[0].isspace():
            metadata[key] = f"{metadata[key]} {line.strip()}".strip()
        elif item and isinstance(metadata.get(key), list):
            metadata[key].append(_scalar(item[1] or item[2]))
        elif pair := _PAIR.match(line):
            key, value = pair[1].strip().lower(), (pair[2] or "").strip()
            block = value in ("|", ">", "|-", ">-")
            if inline := _INLINE.match(value):
                metadata[key] = [_scalar(part) for part in _ITEM.findall(inline[1]) if part.strip()]
            elif block:
                metadata[key] = ""
            elif not value or value.startswith("#"):
                metadata[key] = []
            else:
                # A title is a text, also where it looks like a number.
                metadata[key] = _text(value)[0] if key == "title" else _scalar(value)
    return {name: value for name, value in metadata.items() if value is not None and value not in ([], "")}


def _front_matter_in_toml(text: str) -> dict[str, Any] | None:
    """The front matter of Hugo and Zola (which keeps tags in a table of their own): what is a value, or a list of them. None where it is no TOML."""
    import tomllib

    try:
        said = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    taxonomies = said.get("taxonomies")
    metadata: dict[str, Any] = {}
    for name, value in {**said, **(taxonomies if isinstance(taxonomies, dict) else {})}.items():
        if not _NAME.fullmatch(name):
            continue
        if isinstance(value, list):
            metadata[name.lower()] = [found for item in value if (found := _of_toml(item)) is not None]
        else:
            metadata[name.lower()] = _of_toml(value)
    return {name: value for name, value in metadata.items() if value is not None and value not in ([], "")}


def _of_toml(value: Any) -> Any:
    """A value as filters know it; None for a table."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return value if abs(value) < _EXACT else str(value)
    return value if isinstance(value, str) else None


def _text(value: str) -> tuple[str, bool]:
    """A value without its quotes or its comment, and whether it was quoted."""
    value = value.strip()
    quoted = _QUOTED.match(value)
    return (quoted[2], True) if quoted else (_COMMENT.sub("", value), False)


def _scalar(value: str) -> Any:
    """A value as YAML 1.2 types it; what is quoted, or begins with zeros, is text."""
    text, quoted = _text(value)
    if quoted:
        return text
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if text in ("~", "null", "Null", "NULL"):
        return None
    if _INTEGER.match(text):
        number = int(text) if len(text) < 18 else _EXACT
        return number if abs(number) < _EXACT else text
    if _NUMBER.match(text):
        found = float(text)
        return found if math.isfinite(found) else text
    return text
