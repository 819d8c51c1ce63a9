"""JSON and JSONL: records, each `name: value` pairs under its number; an object by its members."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common.limits import clean
from stackroom.ingest.readers.common.marked import LONG, Marked
from stackroom.ingest.readers.common.records import record_text
from stackroom.ingest.readers.notebook import load_json
from stackroom.ingest.readers.plaintext import looks_like_text
from stackroom.protocols import Reading, Section

_LONGEST_LINE = 64 * 1024 * 1024
_NAMED = 5
_BEGINS = re.compile(rb'[\s\xef\xbb\xbf]*(?:\{\s*"(?:[^"\\\n]|\\.)*"\s*:|\[\s*\{\s*")')
_LINES = (".jsonl", ".ndjson", ".jsonlines")
_PROSE = frozenset({".md", ".markdown", ".mdown", ".mkd", ".html", ".htm", ".tex", ".org", ".rst"})


_FACTS = frozenset({"title", "author", "date", "created", "language", "lang", "keywords", "description"})


class JsonReader:
    name = "json"
    version = 3
    suffixes: tuple[str, ...] = (".json", *_LINES, ".geojson")
    asked_only = True

    def accepts(self, path: Path, head: bytes) -> bool:
        suffix = path.suffix.lower()
        if not looks_like_text(head) or suffix in _PROSE:
            return False
        return _BEGINS.match(head) is not None or (suffix in self.suffixes and head.lstrip()[:1] in (b"{", b"["))

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        if path.suffix.lower() in _LINES or _has_many_values(path):
            lines = _Lines(path)
            if not any(record is not None for record in lines):
                if lines.broken:
                    raise ReadError(f"{path}: {lines.first}.", hint="Mend it.", path=path)
                raise NoTextError(f"{path} holds no records.", hint="Nothing to do.", path=path)
            return Reading("jsonl", _of_lines(path))
        value = load_json(path)
        found = list(_of_value(value, path))
        if not any(section.text.strip() for section in found):
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        said = {name: clean(text).strip() for name, text in _members(value) if name in _FACTS and isinstance(text, str)}
        title = said.pop("title", None) or None
        return Reading("json", found, title, {name: text for name, text in said.items() if text})


def _members(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _has_many_values(path: Path) -> bool:
    """Whether each line is a value of its own, whatever the file is called."""
    with path.open("rb") as file:
        lines = [file.readline(_LONGEST_LINE).strip() for _ in range(2)]
    if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return False
    try:
        return all(isinstance(json.loads(line), dict) for line in lines)
    except (ValueError, RecursionError):
        return False


class _Lines:
    """The text of each record of a file, None for a line that can't be read: those are counted, and the first are named."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records = 0
        self.broken: list[int] = []
        """numbers of the first lines that can't be read"""
        self.count = 0
        self.first = ""

    def __iter__(self) -> Iterator[str | None]:
        with self._path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                line = line.removeprefix(b"\xef\xbb\xbf").strip()
                if not line:
                    continue
                try:
                    yield record_text(json.loads(line), self._path)
                except (ValueError, RecursionError, ReadError) as error:
                    self._failed(number, error)
                    yield None
                else:
                    self.records += 1

    def _failed(self, number: int, error: Exception) -> None:
        self.count += 1
        if len(self.broken) < _NAMED:
            self.broken.append(number)
        if not self.first:
            said = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else f"{error}"
            self.first = f"line {number} can't be read ({said.removeprefix(str(self._path)).strip(' .')})"

    @property
    def told(self) -> str:
        """What was left out; "" where nothing was."""
        if not self.count:
            return ""
        if self.count == 1:
            return f"{self.first[0].upper()}{self.first[1:]}, and was left out."
        others = ", ".join(map(str, self.broken[1:])) + (" and others" if self.count > len(self.broken) else "")
        return f"{self.count:,} lines were left out: {self.first}, nor can {others}."


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that is too long its beginning alone, which is no JSON."""
    while line := file.readline(_LONGEST_LINE):
        rest = line
        while len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE)
        yield line


def _of_lines(path: Path) -> Iterator[Section]:
    """Records by their numbers, in which a broken line counts. Raises ReadError where most of the lines are broken."""
    lines = _Lines(path)
    held = Marked("record")
    for number, text in enumerate(lines, start=1):
        held.add(text or "", number)
        if held.size > LONG:
            yield held.take()
    if lines.count > lines.records:
        raise ReadError(f"{path}: most lines are no JSON, {lines.first}.", hint="Is it another format?", path=path)
    if held.size or lines.count:
        yield replace(held.take(), incomplete=lines.told)


def _numbered(values: Iterable[Any], path: Path, headings: tuple[str, ...] = ()) -> Iterator[Section]:
    held = Marked("record")
    for number, value in enumerate(values, start=1):
        held.add(record_text(value, path), number)
        if held.size > LONG:
            yield held.take(headings)
    if held.size:
        yield held.take(headings)


def _of_value(value: Any, path: Path) -> Iterator[Section]:
    """A list is records; an object its members: plain ones together, lists of objects as records under their name."""
    if isinstance(value, list):
        yield from _numbered(value, path)
        return
    if not isinstance(value, dict):
        yield Section(record_text(value, path))
        return
    plain = {name: inner for name, inner in value.items() if not isinstance(inner, dict) and not _is_table(inner)}
    if plain:
        yield Section(record_text(plain, path))
    for name, inner in value.items():
        if _is_table(inner):
            yield from _numbered(inner, path, (clean(name),))
        elif isinstance(inner, dict):
            text = record_text({name: inner}, path)
            yield from chain([Section(text, (clean(name),))] if text else [])


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(inner, dict) for inner in value)
