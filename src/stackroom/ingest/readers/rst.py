"""reStructuredText: a section for each title. The text is left as it is.

Not by docutils, which knows no directive of Sphinx, and drops what stands in one that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stackroom.errors import NoTextError
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.marked import LONG
from stackroom.ingest.readers.plaintext import lines, looks_like_text
from stackroom.protocols import Reading, Section

_ADORNMENT = re.compile(r"([!-/:-@[-`{-~])\1{2,}[ \t]*$")
_FIELD = re.compile(r":([A-Za-z][\w -]{0,40}):[ \t]+(.*?)[ \t]*$")
_FACTS = frozenset(["author", "authors", "date", "language", "lang", "tags", "keywords", "description"])
_ROLE = re.compile(r":[\w:+.-]+:`([^`]*?)(?:\s*<[^<>`]*>)?`|(`{1,2}|\*{1,2})(?=\S)(.+?)(?<=\S)\2_{0,2}")


class RstReader:
    name = "rst"
    version = 2
    suffixes: tuple[str, ...] = (".rst", ".rest")

    def accepts(self, path: Path, head: bytes) -> bool:
        return path.suffix.lower() in self.suffixes and looks_like_text(head)

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        text = lines(path)
        head = list(islice(text, 200))
        if not any(line.strip() for line in head):
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        title = next((section.headings[0] for section in _by_title(head) if section.headings), None)
        return Reading("rst", _by_title(chain(head, text)), title, _facts(head))


def _facts(head: Iterable[str]) -> dict[str, Any]:
    """The fields at the top of a document, beside nothing but its title."""
    facts: dict[str, Any] = {}
    for line in head:
        if (field := _FIELD.match(line)) and field[2]:
            if (name := field[1].lower()) in _FACTS:
                facts.setdefault(name, field[2])
        elif facts and line.strip():
            break
    return facts


def _by_title(text: Iterable[str]) -> Iterator[Section]:
    """Sections that begin at a title; which marks mean which level, a document says by using them."""
    path = HeadingPath()
    levels: list[tuple[str, bool]] = []
    held: list[str] = []
    size = 0
    for line in text:
        held.append(line)
        size += len(line)
        taken = _title_lines(held)
        if taken:
            title = held[-2].strip()
            before, held = held[:-taken], held[-taken:]
            if any(part.strip() for part in before):
                yield Section("".join(before), path.path)
            else:
                held = before + held
            style = (line[0], taken == 3)
            if style not in levels:
                levels.append(style)
            path.enter(levels.index(style) + 1, _plain(title))
            size = sum(map(len, held))
        elif size > LONG and not line.strip():
            yield Section("".join(held), path.path)
            held, size = [], 0
    if held:
        yield Section("".join(held), path.path)


def _title_lines(held: list[str]) -> int:
    """How many of the last lines are a title with its marks: 0, 2 or 3."""
    if len(held) < 2 or not _ADORNMENT.match(held[-1]):
        return 0
    title, marks = held[-2].rstrip(), held[-1].rstrip()
    if not title.strip() or _ADORNMENT.match(title) or len(marks) < min(len(title.strip()), 200):
        return 0
    above = held[-3].rstrip() if len(held) > 2 else ""
    if above == marks:
        return 3
    return 2 if not above.strip() and not title[0].isspace() and len(marks) > 2 else 0


def _plain(title: str) -> str:
    return _ROLE.sub(lambda found: found[1] or found[3], title).replace("\\", "")
