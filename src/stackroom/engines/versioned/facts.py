"""Metadata as numbers, and a filter as a condition on them, with the meaning that `filters.matches` has.

Each distinct value of a field has a number and stands once in the library, as a record. A chunk carries the numbers of its values in an
array. So a filter is decided by its own comparison on the distinct values of its field, as in the local store, and the database is asked
which chunks carry one of those that hold. What is equal to a text or a number is known without looking at values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from stackroom import filters
from stackroom.engines.versioned.asking import Asking
from stackroom.engines.versioned.conditions import EVERYTHING, All, Among, Either, Not, among
from stackroom.engines.versioned.conditions import Condition as OnRows
from stackroom.engines.versioned.records import to_value
from stackroom.engines.versioned.tables import VALUE, number
from stackroom.filters import Condition, Filter, Group
from stackroom.storage.catalogue.records import RESERVED
from stackroom.storage.derived import Derived, Remembered

KINDS = ("text", "number", "bool", "list", "object", "null")

_REMEMBERED = 100
"""Fields of filters whose values in a version are remembered."""

_OWN_DOCUMENT_ID = "metadata.document_id"
"""The field of a chunk's own key `document_id`, which is its document's id otherwise."""


def effective(of_document: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a chunk is filtered by: its own values hide those of its document."""
    mine = {(_OWN_DOCUMENT_ID if name == "document_id" else name): value for name, value in own.items()}
    return {**of_document, **mine}


def numbers(facts: Mapping[str, Any]) -> tuple[list[int], dict[int, tuple[str, Any]]]:
    """What a chunk carries, and the values that it names: `(field, value)` by number."""
    carried: dict[int, None] = {}
    values: dict[int, tuple[str, Any]] = {}
    for name, value in facts.items():
        carried[_kind(name, _kind_of(value))] = None
        if value is None:
            continue
        carried[_there(name)] = None
        known = _value(name, value)
        carried[known] = None
        values[known] = name, value
    return list(carried), values


def field(name: str) -> int:
    """The number by which the values of a field are found."""
    return number("field", name)


def _there(name: str) -> int:
    return number("there", name)


def _kind(name: str, kind: str) -> int:
    return number("kind", name, kind)


def _value(name: str, value: Any) -> int:
    return number("value", name, _canonical(value))


def carries_kind(name: str, kind: str) -> OnRows:
    return Among("facts", (_kind(name, kind),))


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "number"
    return "object" if isinstance(value, Mapping) else "list"


def _canonical(value: Any) -> str:
    """The same text for what Python holds for equal: true is 1, and 1 is 1.0."""
    if isinstance(value, str):
        return "s" + json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return f"n{int(value)}"
    if isinstance(value, int | float):
        return f"n{value + 0}"
    if isinstance(value, Mapping):
        items = sorted((str(name), _canonical(item)) for name, item in value.items())
        return "{" + ",".join(f"{json.dumps(name)}:{item}" for name, item in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return "null"


def condition(asking: Asking, derived: Derived, where: Filter) -> OnRows:
    """The condition on chunks."""
    return _part(asking, derived, filters.rename_keys(where, RESERVED))


def _part(asking: Asking, derived: Derived, where: Filter) -> OnRows:
    if isinstance(where, Condition):
        return _leaf(asking, derived, where)
    return _group(asking, derived, where)


def _group(asking: Asking, derived: Derived, group: Group) -> OnRows:
    if not group.filters:
        return EVERYTHING
    parts = tuple(_part(asking, derived, part) for part in group.filters)
    if group.conjunction == "and":
        return All(parts)
    return Not(Either(parts)) if group.conjunction == "not" else Either(parts)


def _leaf(asking: Asking, derived: Derived, leaf: Condition) -> OnRows:
    if leaf.op in ("!=", "nin"):
        return Not(_leaf(asking, derived, Condition(leaf.key, "==" if leaf.op == "!=" else "in", leaf.value)))
    if leaf.op == "==" and _is_plain(leaf.value):
        return among("facts", [_value(leaf.key, leaf.value)])
    if leaf.op == "in" and isinstance(leaf.value, tuple) and all(map(_is_plain, leaf.value)):
        return among("facts", [_value(leaf.key, value) for value in leaf.value])
    known = derived.get("values", _fields)
    values = known.get_or(leaf.key, lambda: _values(asking, leaf.key))
    there = Among("facts", (_there(leaf.key),))
    holding = [known for known, value in values.items() if filters.holds(leaf, value)]
    found: OnRows
    if len(holding) == len(values) and values:
        found = there
    elif 2 * len(holding) > len(values):
        found = All((there, Not(among("facts", values.keys() - set(holding)))))
    else:
        found = among("facts", holding)
    return Either((found, Not(there))) if filters.holds_when_missing(leaf) else found


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, int | float) and not (isinstance(value, float) and math.isnan(value))
    )


def _fields() -> Remembered[str, dict[int, Any]]:
    return Remembered(_REMEMBERED)


def _values(asking: Asking, name: str) -> dict[int, Any]:
    """The distinct values of a field, by number. Some may be of chunks that are gone: nothing carries them."""
    found = {}
    for row in asking.records(VALUE, Among("name", (field(name),))):
        its_name, value = to_value(row)
        if its_name == name:
            found[int(row["owner"])] = value
    return found
