"""Nested values as text: each value under the names that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackroom.errors import ReadError
from stackroom.ingest.readers.common.limits import NESTING, clean
from stackroom.ingest.readers.common.tables import number_text

_ONE_LINE = 200


def record_text(value: Any, path: Path) -> str:
    """A record as `name: value` pairs: on one line where it is short, else a line each. Raises ReadError (too deep)."""
    pairs = [f"{name}: {text}" if name else text for name, text in pairs_of(value, path)]
    if sum(map(len, pairs)) <= _ONE_LINE and not any("\n" in pair for pair in pairs):
        return "; ".join(pairs) + "\n" if pairs else ""
    return "\n".join(pairs) + "\n\n"


def pairs_of(value: Any, path: Path, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every value with its path: `author.name`. Lists of plain values are one; those of objects repeat the name."""
    if depth > NESTING:
        raise ReadError(f"{path} has values more than {NESTING} levels deep.", hint="Is it a document?", path=path)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from pairs_of(inner, path, f"{name}.{clean(key)}" if name else clean(key), depth + 1)
    elif isinstance(value, list):
        if all(not isinstance(inner, dict | list) for inner in value):
            text = ", ".join(filter(None, map(scalar_text, value)))
            if text:
                yield name, text
            return
        for inner in value:
            yield from pairs_of(inner, path, name, depth + 1)
    elif text := scalar_text(value):
        yield name, text


def scalar_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    return clean(str(value)).strip()
