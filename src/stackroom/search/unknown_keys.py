"""Keys of a filter that no document has: mistyped, as often as not."""

from __future__ import annotations

import difflib
from itertools import islice

from stackroom.backend import Scope, View
from stackroom.filters import Condition, Filter, Group, none_of

_LOOKED_AT = 1_000
"""Documents whose keys are suggested."""
_OF_ALL = ("path", "source", "title", "type")


def unknown_keys(view: View, where: Filter) -> list[str]:
    """What to say of each key under which no passage has a value: it is named, with those that are spelled like it."""
    unknown = [key for key in dict.fromkeys(_keys(where)) if not _has_values(view, key)]
    if not unknown:
        return []
    there = set(_OF_ALL).union(*(document.metadata for document in islice(view.each_document(), _LOOKED_AT)))
    return [_said(key, sorted(there - {key})) for key in unknown]


def _keys(where: Filter) -> list[str]:
    if isinstance(where, Group):
        return [key for part in where.filters for key in _keys(part)]
    return [where.key]


def _has_values(view: View, key: str) -> bool:
    return len(view.select(Scope(where=none_of(Condition(key, "is_empty"))))) > 0


def _said(key: str, there: list[str]) -> str:
    like = difflib.get_close_matches(key, there, n=3) or [name for name in there if name.lower() == key.lower()]
    if like:
        return f"No document has {key!r}. Is it {' or '.join(map(repr, like))}?"
    shown = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
    return f"No document has {key!r}. There are: {shown}."
