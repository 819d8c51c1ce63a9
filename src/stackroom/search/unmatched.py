"""Why conditions leave nothing: the parts of a filter that no passage meets and what may have been meant by them, and quoted words that stand nowhere."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from stackroom.backend import Scope, View, indexed_metadata
from stackroom.errors import DamagedError, InvalidFilterError
from stackroom.filters import Condition, Filter, none_of, parse

_LOOKED_AT = 1_000
"""Documents whose keys, and passages whose values, are suggested."""
_OF_ALL = ("path", "source", "title", "type")
_SHOWN = 8
"""Parts, and values of each; and values asked for that are compared with those: a list may hold thousands."""
_LONGEST = 60
_OF_VALUES = ("==", "in", "any", "all", "contains")
"""Operators that look for values as they are stored."""


def unmatched(view: View, where: Filter, collection: str = "default") -> list[str]:
    """What to say of each part of this filter that no passage of the collection meets; [] where some passage meets all of it."""
    among = Scope(collection=collection)
    parts = _unmet(view, replace(among, where=where))
    said = dict.fromkeys(_said(view, among, part) for part in islice(parts, _SHOWN))
    return [*said, *(["Nor is there one for others of its parts."] if next(parts, None) else [])]


def unheld(view: View, query: str, collection: str = "default") -> list[str]:
    """What to say of the quoted words of a query that no passage of the collection has; [] where some passage has all of them."""
    from stackroom.storage.words.tokenizer import parse_query

    phrases = parse_query(query).phrases

    def stand(*asked: str) -> bool:
        return bool(len(view.select(Scope(collection=collection, phrases=asked))))

    if not phrases or stand(*phrases):
        return []
    nowhere = [written for phrase, written in islice(phrases.items(), _SHOWN) if not stand(phrase)]
    if nowhere:
        return [f'No passage has "{written}".' for written in nowhere]
    together = ", ".join(f'"{written}"' for written in phrases.values())
    return [f"No passage has all of: {together}."]


def _unmet(view: View, scope: Scope) -> Iterator[Filter]:
    """The smallest parts of its filter that no passage meets; where each part is met by some, and all by none, what joins them."""
    where = scope.where
    if where is None or len(view.select(scope)):
        return
    joined = True
    if not isinstance(where, Condition) and where.conjunction != "not":
        for child in where.filters:
            for part in _unmet(view, replace(scope, where=child)):
                joined = False
                yield part
    if joined:
        yield where


def _said(view: View, among: Scope, part: Filter) -> str:
    if not isinstance(part, Condition):
        parts = ", ".join(map(_written, part.filters))
        return f"{'Every passage has one' if part.conjunction == 'not' else 'No passage has all'} of: {parts}."
    keys = view.select(replace(among, where=none_of(Condition(part.key, "is_empty"))))
    if not len(keys):
        return _unknown(view, part.key)
    said = f"No passage has {_written(part)}."
    if part.op not in _OF_VALUES:
        return said
    there = _values(view, part.key, keys[:: math.ceil(len(keys) / _LOOKED_AT)].tolist())
    asked = part.value[:_SHOWN] if isinstance(part.value, tuple) else (part.value,)
    like = {name: None for value in asked for name in difflib.get_close_matches(str(value).lower(), there, n=3)}
    shown = [there[name] for name in islice({**like, **there}, _SHOWN)]
    end = ", ..." if len(shown) < len(there) or len(keys) > _LOOKED_AT else "."
    return f"{said} {part.key} has: {', '.join(shown)}{end}" if shown else said


def _values(view: View, key: str, keys: Sequence[int]) -> dict[str, str]:
    """Values of these passages under `key`, the commonest first: in lower case, and as they are written in a filter."""
    found: Counter[str] = Counter()
    # Nobody has asked for these passages: what is damaged of them is no news here.
    with contextlib.suppress(DamagedError):
        passages = view.passages(keys)
        owners = view.document_of(list({passage.document_id for passage in passages}))
        for passage in (one for one in passages if one.document_id in owners):
            value = {**indexed_metadata(*owners[passage.document_id]), **passage.metadata}.get(key)
            found.update(map(_value, value if isinstance(value, list | tuple) else [value]))
    return {written.lower(): written for written, _ in found.most_common()}


def _written(part: Filter) -> str:
    if not isinstance(part, Condition):
        return f"{part.conjunction} ({', '.join(map(_written, part.filters))})"
    if part.op == "is_empty":
        return f"{part.key} is_empty"
    value = list(part.value) if isinstance(part.value, tuple) else part.value
    return f"{part.key} {part.op} {_value(value)}"


def _value(value: object) -> str:
    """As an expression has it: a bare word where that is read as this text, else JSON."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and len(value) <= _LONGEST and value.isprintable() and "," not in value:
        with contextlib.suppress(InvalidFilterError):
            text = value if parse(f"key == {value}").value == value else text
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _unknown(view: View, key: str) -> str:
    """Of a key under which no passage has a value: those that are spelled like it."""
    there = sorted(
        set(_OF_ALL).union(*(document.metadata for document in islice(view.each_document(), _LOOKED_AT))) - {key}
    )
    like = difflib.get_close_matches(key, there, n=3) or [name for name in there if name.lower() == key.lower()]
    if like:
        return f"No document has {key!r}. Is it {' or '.join(map(repr, like))}?"
    shown = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
    return f"No document has {key!r}. There are: {shown}."
