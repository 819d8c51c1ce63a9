"""The filter tree over metadata: validated, and independent of any engine.

Operators and their meaning are LlamaIndex's (0.14), so that an application's filters keep their results: Python equality,
`!=` and `nin` match where the key is missing, `not` means that none of its filters matches. Where LlamaIndex raises
because two values can't be compared, there is no match here. `matches` is the reference that every engine is tested against.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, cast, get_args

from stackroom.errors import InvalidFilterError

Operator = Literal[
    "==", "!=", ">", ">=", "<", "<=", "in", "nin", "any", "all", "contains",
    "text_match", "text_match_insensitive", "is_empty",
]  # fmt: skip
OPERATORS: tuple[str, ...] = get_args(Operator)
Conjunction = Literal["and", "or", "not"]
Scalar = str | int | float | bool

_MOST_DEPTH = 50
_MOST_CONDITIONS = 10_000
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Condition:
    """`key OP value`. Raises InvalidFilterError when it means nothing."""

    key: str
    op: Operator
    value: Scalar | Sequence[Scalar] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.key, str):
            raise InvalidFilterError(f"A filter's key is text, not {self.key!r}.")
        if self.op not in OPERATORS:
            raise InvalidFilterError(
                f"{self.op!r} is not an operator.", hint=f"There are: {' '.join(OPERATORS)}", actual=self.op
            )
        value = self.value
        if isinstance(value, Sequence) and not isinstance(value, str):
            if not all(isinstance(item, str | int | float | bool) for item in value):
                raise InvalidFilterError(f"The list for {self.key!r} holds something else than text and numbers.")
            object.__setattr__(self, "value", tuple(value))
        elif not isinstance(value, str | int | float | bool | None):
            raise InvalidFilterError(
                f"{self.key!r} can't be compared with {type(value).__name__}.",
                hint="Use text, a number, true, false, or a list of these.",
            )
        if self.op in ("any", "all", "nin") and not isinstance(self.value, tuple):
            raise InvalidFilterError(
                f"{self.op!r} needs a list of values.", hint=f'For example: {self.key} {self.op} ["a"]'
            )
        if self.op == "in" and not isinstance(self.value, tuple | str):
            raise InvalidFilterError(
                "'in' needs a list of values, or a text.", hint=f'For example: {self.key} in ["a"]'
            )


@dataclass(frozen=True, slots=True)
class Group:
    """Filters joined: all of them, any of them, or (`not`) none of them. An empty `and` or `or` matches everything."""

    conjunction: Conjunction
    filters: tuple[Filter, ...]

    def __post_init__(self) -> None:
        if self.conjunction not in ("and", "or", "not"):
            raise InvalidFilterError(f"Filters are joined with and, or, not: {self.conjunction!r} is none of them.")
        object.__setattr__(self, "filters", tuple(self.filters))


Filter = Union[Condition, Group]  # noqa: UP007 - the alias is used before both classes exist


def all_of(*filters: Filter) -> Group:
    return Group("and", filters)


def any_of(*filters: Filter) -> Group:
    return Group("or", filters)


def none_of(*filters: Filter) -> Group:
    return Group("not", filters)


def as_filter(value: Filter | Mapping[str, Any] | str | Sequence[Any]) -> Filter:
    """A filter from what a caller may give: a filter, its dict form, an expression, or a list of these (all must hold)."""
    if isinstance(value, Condition | Group):
        return _bounded(value)
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, Mapping):
        return _bounded(from_dict(value))
    if isinstance(value, Sequence):
        return _bounded(Group("and", tuple(as_filter(item) for item in value)))
    raise InvalidFilterError(f"{type(value).__name__} is not a filter.", hint='For example: "year >= 2020"')


_EXPRESSION = re.compile(
    r"""\s*(?P<key>"(?:[^"\\]|\\.)*"|.+?)\s*
        (?P<op>==|!=|>=|<=|>|<|(?<=\s)(?:in|nin|any|all|contains|text_match_insensitive|text_match|is_empty)(?=\s|$))
        \s*(?P<value>.*?)\s*""",
    re.VERBOSE | re.DOTALL,
)


_SEVERAL = re.compile(r"\s(?:and|or|AND|OR|&&|\|\|)\s+\S+\s*(?:==|!=|>=|<=|>|<|\s(?:in|nin|contains)\s)")


def parse(expression: str) -> Condition:
    """`key OP value`, as the command line takes it; value is JSON, or a bare word taken as text."""
    found = _EXPRESSION.fullmatch(expression)
    if found is None:
        raise InvalidFilterError(
            f"{expression!r} is not of the form: key OP value.",
            hint=f"OP is one of: {' '.join(OPERATORS)}. For example: year >= 2020",
            actual=expression,
        )
    key, op, text = found["key"], found["op"], found["value"]
    if key.endswith("=") or (op in ("<", ">", "<=", ">=") and text[:1] in ("=", "<", ">")):
        raise InvalidFilterError(
            f"{expression!r} has no operator that is known here.", hint=f"OP is one of: {' '.join(OPERATORS)}."
        )
    if _SEVERAL.search(text) and text[:1] not in ('"', "[", "{"):
        raise InvalidFilterError(
            f"{expression!r} looks like several conditions, and is one.",
            hint="Give --where once for each; all of them must hold. In Python: filters.all_of(...). "
            'If this is a text, write it in quotes: "a and b == c"',
            actual=expression,
        )
    if key.startswith('"'):
        try:
            key = json.loads(key)
        except ValueError:
            raise InvalidFilterError(f"The key {key} is not valid JSON text.", actual=expression) from None
    if not text and op != "is_empty":
        raise InvalidFilterError(
            f"The value is missing after {op} (position {found.end('op')}) in {expression!r}.",
            hint='An empty text is written ""',
            actual=expression,
        )
    return Condition(key, cast(Operator, op), _parse_value(text))


def _parse_value(text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if text[0] in "=<>!":
            raise InvalidFilterError(
                f"{text!r} is no value: an operator stands twice.",
                hint='Text that begins so is written in quotes: "=x"',
            ) from None
        if text[0] in '[{"':
            raise InvalidFilterError(
                f"The value {text!r} begins like JSON and is not.", hint="Check brackets and quotes."
            ) from None
        return text


def to_dict(condition: Filter) -> dict[str, Any]:
    if isinstance(condition, Condition):
        value = list(condition.value) if isinstance(condition.value, tuple) else condition.value
        return {"key": condition.key, "op": condition.op, "value": value}
    return {condition.conjunction: [to_dict(part) for part in condition.filters]}


def from_dict(value: Mapping[str, Any], depth: int = 0) -> Filter:
    """The JSON form: {"key", "op", "value"}, or {"and" | "or" | "not": [...]}."""
    if depth > _MOST_DEPTH:
        raise InvalidFilterError(f"A filter may be nested {_MOST_DEPTH} deep.")
    if not isinstance(value, Mapping):
        raise InvalidFilterError(f"{value!r} is not a filter.")
    if "key" in value:
        return Condition(value["key"], value.get("op", "=="), value.get("value"))
    if len(value) == 1:
        ((name, parts),) = value.items()
        if name in ("and", "or", "not") and isinstance(parts, Sequence) and not isinstance(parts, str):
            return Group(cast(Conjunction, name), tuple(from_dict(part, depth + 1) for part in parts))
    raise InvalidFilterError(
        f"{dict(value)!r} is not a filter.", hint='Use {"key", "op", "value"}, or {"and": [...]}, "or", "not".'
    )


def _bounded(condition: Filter) -> Filter:
    """Refuse what would exhaust the stack or the day."""
    pending, conditions = [(condition, 0)], 0
    while pending:
        part, depth = pending.pop()
        conditions += 1
        if depth > _MOST_DEPTH or conditions > _MOST_CONDITIONS:
            raise InvalidFilterError(
                f"A filter may be nested {_MOST_DEPTH} deep and have {_MOST_CONDITIONS} conditions."
            )
        if isinstance(part, Group):
            pending += [(child, depth + 1) for child in part.filters]
    return condition


def rename_keys(condition: Filter, names: Mapping[str, str]) -> Filter:
    """The same filter with some keys called otherwise."""
    if isinstance(condition, Condition):
        return Condition(names.get(condition.key, condition.key), condition.op, condition.value)
    return Group(condition.conjunction, tuple(rename_keys(part, names) for part in condition.filters))


def matches(condition: Filter, metadata: Mapping[str, Any]) -> bool:
    """Whether metadata satisfies the filter: the reference."""
    if isinstance(condition, Condition):
        return holds(condition, metadata.get(condition.key, _MISSING))
    results = (matches(part, metadata) for part in condition.filters)
    if condition.conjunction == "and":
        return all(results)
    if condition.conjunction == "or":
        return not condition.filters or any(results)
    return not any(results)


def holds_when_missing(condition: Condition) -> bool:
    """Whether a chunk that has no such key satisfies the condition."""
    return condition.op in ("!=", "nin", "is_empty")


def holds(condition: Condition, stored: Any) -> bool:
    """Whether one stored value satisfies the condition; null counts as missing."""
    if stored is _MISSING or stored is None:
        return holds_when_missing(condition)
    try:
        return _holds(condition.op, stored, condition.value)
    except TypeError:
        return False


def _holds(op: Operator, stored: Any, value: Any) -> bool:
    if isinstance(value, tuple):
        value = list(value)
    if op == "==":
        return bool(stored == value)
    if op == "!=":
        return bool(stored != value)
    if op in (">", ">=", "<", "<="):
        return _ordered(op, stored, value)
    if op in ("in", "nin"):
        return _within(stored, value) == (op == "in")
    if op == "any":
        return any(item in stored for item in value)
    if op == "all":
        return all(item in stored for item in value)
    if op == "contains":
        return bool(value in stored)
    if op == "is_empty":
        return bool(stored == "" or stored == [])
    if not isinstance(stored, str) or not isinstance(value, str):
        return False
    return bool(value.lower() in stored.lower() if op == "text_match_insensitive" else value in stored)


def _ordered(op: str, stored: Any, value: Any) -> bool:
    if isinstance(stored, dict):
        return False
    if op == ">":
        return bool(stored > value)
    if op == ">=":
        return bool(stored >= value)
    if op == "<":
        return bool(stored < value)
    return bool(stored <= value)


def _within(stored: Any, value: Any) -> bool:
    """`in`: a value of the list, or a part of the text."""
    if isinstance(value, str):
        return isinstance(stored, str) and stored in value
    return bool(stored in value)
