"""Filters as LangChain's stores take them, `{"year": {"$gte": 2020}}`, as Stackroom's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stackroom import filters
from stackroom.errors import InvalidFilterError
from stackroom.filters import Condition, Filter, Group, all_of, any_of, none_of

_MOST_DEPTH = 50

_NAMES = {name: f"metadata.{name}" for name in ("document_id", "doc_id", "ref_doc_id")}
"""Keys that mean a document's id elsewhere; in LangChain they are the user's own."""


def to_filter(given: Mapping[str, Any]) -> Filter | None:
    """The filter of a dict; None where it is empty and keeps everything. Raises InvalidFilterError, which is a ValueError."""
    return filters.as_filter(_all(given, 0)) if given else None


def _all(given: Any, depth: int) -> Filter:
    """Every entry of a dict must hold."""
    if not isinstance(given, Mapping):
        raise InvalidFilterError(
            f"{type(given).__name__} is not a filter.", hint='Give a dict, for example {"year": {"$gte": 2020}}.'
        )
    if depth > _MOST_DEPTH:
        raise InvalidFilterError(f"A filter may be nested {_MOST_DEPTH} deep.")
    parts = [_entry(key, value, depth) for key, value in given.items()]
    return parts[0] if len(parts) == 1 else all_of(*parts)


def _entry(key: Any, value: Any, depth: int) -> Filter:
    if not isinstance(key, str):
        raise InvalidFilterError(f"A filter's key is text, not {key!r}.")
    if key in ("$and", "$or"):
        if not _is_list(value) or not value:
            raise InvalidFilterError(f"{key} needs a list of filters.", hint=f'For example: {{"{key}": [{{"a": 1}}]}}')
        return Group("and" if key == "$and" else "or", tuple(_all(part, depth + 1) for part in value))
    if key == "$not":
        return none_of(*(_all(part, depth + 1) for part in (value if _is_list(value) else [value])))
    if key.startswith("$"):
        raise _unknown(key)
    return _field(_NAMES.get(key, key), value, depth)


def _field(name: str, value: Any, depth: int) -> Filter:
    """What is asked of one key: a value, a list of values of which it is one, or operators."""
    if depth > _MOST_DEPTH:
        raise InvalidFilterError(f"A filter may be nested {_MOST_DEPTH} deep.")
    if not isinstance(value, Mapping):
        return any_of(_in(name, value), _equal(name, value)) if _is_list(value) else _equal(name, value)
    if not value:
        raise InvalidFilterError(f"There is no operator for {name!r}.", hint=_KNOWN)
    parts: list[Filter] = []
    for operator, operand in value.items():
        if operator == "$not":
            parts.append(none_of(_field(name, operand, depth + 1)))
        elif operator in _OPERATORS:
            parts.append(_OPERATORS[operator](name, operand))
        else:
            raise _unknown(operator)
    return parts[0] if len(parts) == 1 else all_of(*parts)


def _equal(name: str, value: Any) -> Filter:
    return _missing(name) if value is None else Condition(name, "==", list(value) if _is_list(value) else value)


def _in(name: str, value: Any) -> Filter:
    if not _is_list(value):
        raise InvalidFilterError(f"$in and $nin for {name!r} need a list of values.", actual=value)
    among = Condition(name, "in", [item for item in value if item is not None])
    return any_of(among, _missing(name)) if None in value else among


def _exists(name: str, value: Any) -> Filter:
    if not isinstance(value, bool):
        raise InvalidFilterError(f"$exists for {name!r} is true or false.", actual=value)
    return none_of(_missing(name)) if value else _missing(name)


def _missing(name: str) -> Filter:
    """No such key, or null. Empty text and an empty list are values here."""
    empty = any_of(Condition(name, "==", ""), Condition(name, "==", ()))
    return all_of(Condition(name, "is_empty"), none_of(empty))


def _compared(operator: filters.Operator) -> Callable[[str, Any], Filter]:
    def condition(name: str, value: Any) -> Filter:
        if value is None or _is_list(value):
            raise InvalidFilterError(f"{name!r} can't be compared with {value!r}.", hint="Give text or a number.")
        return Condition(name, operator, value)

    return condition


_OPERATORS: dict[Any, Callable[[str, Any], Filter]] = {
    "$eq": _equal,
    "$ne": lambda name, value: none_of(_equal(name, value)),
    # As LangChain's FAISS spells it.
    "$neq": lambda name, value: none_of(_equal(name, value)),
    "$gt": _compared(">"),
    "$gte": _compared(">="),
    "$lt": _compared("<"),
    "$lte": _compared("<="),
    "$in": _in,
    "$nin": lambda name, value: none_of(_in(name, value)),
    "$contains": _compared("contains"),
    "$exists": _exists,
}
_KNOWN = f"There are: {' '.join(_OPERATORS)} $and $or $not."


def _unknown(operator: Any) -> InvalidFilterError:
    return InvalidFilterError(f"{operator!r} is not an operator.", hint=_KNOWN, actual=operator)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
