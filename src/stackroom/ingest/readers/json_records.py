"""JSON and JSONL: records, each `name: value` pairs under its number; an object by its members."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common.limits import clean
from stackroom.ingest.readers.common.marked import LONG, Marked
from stackroom.ingest.readers.common.records import record_text
from stackroom.ingest.readers.notebook import load_json
from stackroom.ingest.readers.plaintext import looks_like_text
from stackroom.protocols import Reading, Section

_LONGEST_LINE = 64 * 1024 * 1024
_BEGINS = re.compile(rb'[\s\xef\xbb\xbf]*(?:\{\s*"(?:[^"\\\n]|\\.)*"\s*:|\[\s*\{\s*")')
_LINES = (".jsonl", ".ndjson", ".jsonlines")
_PROSE = frozenset({".md", ".markdown", ".mdown", ".mkd", ".html", ".htm", ".tex", ".org", ".rst"})


_FACTS = frozenset({"title", "author", "date", "created", "language", "lang", "keywords", "description"})


class JsonReader:
    name = "json"
    version = 2
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
            first = next(_values(path), None)
            if first is None:
                raise NoTextError(f"{path} holds no records.", hint="Nothing to do.", path=path)
            return Reading("jsonl", _numbered(_values(path), path))
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


def _values(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not line:
                continue
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ReadError(f"{path}: line {number} is no JSON ({error}).", hint="Mend it.", path=path) from error


def _numbered(values: Iterator[Any], path: Path, headings: tuple[str, ...] = ()) -> Iterator[Section]:
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
        yield from _numbered(iter(value), path)
        return
    if not isinstance(value, dict):
        yield Section(record_text(value, path))
        return
    plain = {name: inner for name, inner in value.items() if not isinstance(inner, dict) and not _is_table(inner)}
    if plain:
        yield Section(record_text(plain, path))
    for name, inner in value.items():
        if _is_table(inner):
            yield from _numbered(iter(inner), path, (clean(name),))
        elif isinstance(inner, dict):
            text = record_text({name: inner}, path)
            yield from chain([Section(text, (clean(name),))] if text else [])


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(inner, dict) for inner in value)
