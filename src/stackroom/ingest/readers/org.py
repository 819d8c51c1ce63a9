"""Org: a section for each headline; drawers and settings are left out, everything else is left as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stackroom.errors import NoTextError
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.marked import LONG, Marked
from stackroom.ingest.readers.plaintext import decoded_head, lines, looks_like_text
from stackroom.protocols import Reading, Section

_HEADLINE = re.compile(r"(\*+)[ \t]+(.+?)[ \t]*$")
_STATE = re.compile(r"^(?:TODO|DONE|NEXT|WAITING|CANCELLED|COMMENT)[ \t]+|\[#[A-Z0-9]\][ \t]*|[ \t]+:[\w@#%:]+:$")
_SETTING = re.compile(r"[ \t]*#\+(\w+):[ \t]*(.*?)[ \t]*$")
_DRAWER = re.compile(r"[ \t]*:(?!END:)[\w-]+:[ \t]*$", re.IGNORECASE)
_DRAWER_END = re.compile(r"[ \t]*:END:[ \t]*$", re.IGNORECASE)
_PLAN = re.compile(r"[ \t]*(?:(?:SCHEDULED|DEADLINE|CLOSED):[ \t]*[<\[][^<>\[\]]*[>\]][ \t]*)+$")
_LINK = re.compile(r"\[\[[^\[\]]*\]\[([^\[\]]*)\]\]")
_FACTS = ("author", "date", "language", "description", "keywords")
_LONGEST_DRAWER = 200


class OrgReader:
    name = "org"
    version = 2
    suffixes: tuple[str, ...] = (".org",)

    def accepts(self, path: Path, head: bytes) -> bool:
        if path.suffix.lower() in self.suffixes:
            return looks_like_text(head)
        return (
            path.suffix.lower() in (".txt", "") and looks_like_text(head) and "\n#+TITLE:" in "\n" + decoded_head(head)
        )

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        text = lines(path)
        head = list(islice(text, 100))
        settings: dict[str, Any] = {}
        for line in head:
            if (setting := _SETTING.match(line)) and setting[2]:
                settings.setdefault(setting[1].lower(), setting[2])
        facts: dict[str, Any] = {name: settings[name] for name in _FACTS if name in settings}
        if tags := [tag for tag in settings.get("filetags", "").split(":") if tag.strip()]:
            facts["tags"] = tags
        sections = _by_headline(chain(head, text))
        first = next((section for section in sections if section.text.strip()), None)
        if first is None:
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        title = settings.get("title") or (first.headings[0] if first.headings else None)
        return Reading("org", chain([first], sections), title, facts)


def _by_headline(text: Iterable[str]) -> Iterator[Section]:
    path = HeadingPath()
    held = Marked()
    drawer = 0
    for line in text:
        headline = _HEADLINE.match(line)
        if headline:
            if held.size:
                yield held.take(path.path)
            drawer = 0
            path.enter(len(headline[1]), _plain(headline[2]))
        elif drawer:
            drawer = 0 if _DRAWER_END.match(line) or drawer > _LONGEST_DRAWER else drawer + 1
            continue
        elif _DRAWER.match(line):
            drawer = 1
            continue
        elif _SETTING.match(line) or line.startswith("# ") or _PLAN.match(line):
            continue
        held.add(_LINK.sub(r"\1", line))
        if held.size > LONG:
            yield held.take(path.path)
    if held.size:
        yield held.take(path.path)


def _plain(headline: str) -> str:
    for _ in range(3):
        headline = _STATE.sub("", headline)
    return _LINK.sub(r"\1", headline).strip()
