"""A filter as a condition of SQL over jsonb, with the meaning that `filters.matches` has.

What SQL says alike is said in SQL. The rest (text without regard to case, lists compared with lists, numbers beyond 2**53, values
of several kinds) is decided by the filter's own comparison on the distinct values of the field, as the local store does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stackroom import filters
from stackroom.engines.postgresql.asking import JOINED, Asking
from stackroom.engines.postgresql.values import dump_value, is_plain, load_value, pack
from stackroom.filters import Condition, Filter, Group
from stackroom.storage.catalogue.records import RESERVED

Part = tuple[str, tuple[Any, ...]]

_EXACT = 2**53
"""Whole numbers up to here are floats as well, so that SQL compares them as Python does."""

_OF_DOCUMENTS = frozenset({"document_id"})
_OF_CHUNKS = {"metadata.document_id": "document_id"}


def condition(asking: Asking, where: Filter) -> Part:
    """The condition and its values, over chunks (`c`), documents (`d`) and sources (`s`)."""
    return _part(asking, filters.rename_keys(where, RESERVED))


def _part(asking: Asking, where: Filter) -> Part:
    if isinstance(where, Condition):
        return _leaf(asking, where)
    return _group(asking, where)


def _group(asking: Asking, group: Group) -> Part:
    if not group.filters:
        return "true", ()
    parts = [_part(asking, part) for part in group.filters]
    word = " AND " if group.conjunction == "and" else " OR "
    joined = word.join(f"({text})" for text, _ in parts)
    values = tuple(value for _, given in parts for value in given)
    return (f"NOT ({joined})" if group.conjunction == "not" else joined), values


def _leaf(asking: Asking, leaf: Condition) -> Part:
    """True or false for every chunk, never null: a field that is missing, or null, is decided by the operator."""
    if leaf.op in ("!=", "nin"):
        text, values = _leaf(asking, Condition(leaf.key, "==" if leaf.op == "!=" else "in", leaf.value))
        return f"NOT ({text})", values
    value, own = _value_of(leaf.key)
    said = _said(leaf)
    if said is None:
        said = _decided(asking, leaf, value, own)
    test, given = said
    missing = "true" if filters.holds_when_missing(leaf) else "false"
    # The value is looked up once, and null where there is none.
    return (
        f"(SELECT CASE WHEN v IS NULL OR jsonb_typeof(v) = 'null' THEN {missing} ELSE ({test}) END FROM (SELECT {value} AS v) one)",
        (*given, *own),
    )


def _value_of(key: str) -> Part:
    """The value that counts: the chunk's own hides its document's."""
    if key in _OF_DOCUMENTS:
        return "d.facts -> %s", (pack(key),)
    if key in _OF_CHUNKS:
        return "c.own -> %s", (pack(_OF_CHUNKS[key]),)
    name = pack(key)
    return "CASE WHEN c.own ? %s THEN c.own -> %s ELSE d.facts -> %s END", (name, name, name)


def _said(leaf: Condition) -> Part | None:
    """A test of the value `v` in SQL; None where SQL does not say the same."""
    op, value = leaf.op, leaf.value
    items = value if isinstance(value, tuple) else (value,)
    if op == "is_empty":
        return """v = '""'::jsonb OR v = '[]'::jsonb""", ()
    if not all(map(_is_simple, items)):
        return None
    if op == "==" and not isinstance(value, tuple):
        return _equals("v", [value])
    if op == "in":
        if isinstance(value, str):
            return "jsonb_typeof(v) = 'string' AND position(v #>> '{}' IN %s) > 0", (pack(value),)
        return _equals("v", items)
    if op in (">", ">=", "<", "<=") and not isinstance(value, tuple):
        return _ordered(op, value)
    if op == "text_match":
        return (
            ("jsonb_typeof(v) = 'string' AND position(%s IN v #>> '{}') > 0", (pack(value),))
            if isinstance(value, str)
            else ("false", ())
        )
    if op == "contains" and not isinstance(value, tuple):
        return _contains(value)
    if op in ("any", "all") and items and len({isinstance(item, str) for item in items}) == 1:
        parts = [_contains(item) for item in items]
        joined = (" OR " if op == "any" else " AND ").join(f"({text})" for text, _ in parts)
        return joined, tuple(one for _, given in parts for one in given)
    return None


def _is_simple(value: Any) -> bool:
    if isinstance(value, str):
        return is_plain(value)
    return isinstance(value, int | float) and -_EXACT < value < _EXACT


def _equals(column: str, values: Sequence[Any]) -> Part:
    """Python's equality: true is 1, and 1 is 1.0."""
    wanted = [like for value in values for like in _alike(value)]
    return f"{column} = ANY(%s::jsonb[])", (wanted,)


def _alike(value: Any) -> list[str]:
    if isinstance(value, str) or value not in (0, 1):
        return [dump_value(value)]
    return ["1", "true"] if value == 1 else ["0", "false"]


def _ordered(op: str, value: Any) -> Part:
    if isinstance(value, str):
        return f"jsonb_typeof(v) = 'string' AND (v #>> '{{}}') COLLATE \"C\" {op} %s", (value,)
    number = """CASE jsonb_typeof(v) WHEN 'number' THEN (v #>> '{}')::numeric
                WHEN 'boolean' THEN (v #>> '{}')::boolean::int::numeric END"""
    # As Python writes it, which is what JSON has of it: a parameter would come as a float of its own rounding.
    return f"coalesce({number} {op} %s::numeric, false)", (repr(value + 0),)


def _contains(value: Any) -> Part:
    if isinstance(value, str):
        text = pack(value)
        return (
            """CASE jsonb_typeof(v) WHEN 'string' THEN position(%s IN v #>> '{}') > 0
               WHEN 'array' THEN EXISTS(SELECT 1 FROM jsonb_array_elements(v) e WHERE e = to_jsonb(%s::text))
               WHEN 'object' THEN v ? %s ELSE false END""",
            (text, text, text),
        )
    test, given = _equals("e", [value])
    return (
        f"""CASE jsonb_typeof(v) WHEN 'array' THEN EXISTS(SELECT 1 FROM jsonb_array_elements(v) e WHERE {test})
            ELSE false END""",
        given,
    )


def _decided(asking: Asking, leaf: Condition, value: str, own: tuple[Any, ...]) -> Part:
    """Those of the field's distinct values that hold, by the filter's own comparison."""
    rows = asking.rows(f"SELECT DISTINCT ({value})::text FROM {JOINED}", own)
    kept = [text for (text,) in rows if text is not None and filters.holds(leaf, load_value(text))]
    return "v = ANY(%s::jsonb[])", (kept,)
