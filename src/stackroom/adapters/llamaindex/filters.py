"""LlamaIndex's metadata filters as Stackroom's, whose meaning is the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from stackroom import filters
from stackroom.adapters.llamaindex.nodes import NODE_TYPE
from stackroom.errors import InvalidFilterError
from stackroom.filters import Condition, Filter, Group

_TEXT_NODE = {NODE_TYPE: "TextNode"}
_ORDERED = (">", ">=", "<", "<=")


def to_filter(given: MetadataFilters | None) -> Filter | None:
    """The filter, None where it keeps everything. Raises InvalidFilterError, which is a ValueError."""
    if given is None or not given.filters:
        return None
    parts = tuple(part for part in map(_part, given.filters) if part is not None)
    conjunction: Any = given.condition.value if given.condition is not None else "and"
    return filters.as_filter(Group(conjunction, parts))


def _part(given: MetadataFilter | MetadataFilters) -> Filter | None:
    if isinstance(given, MetadataFilters):
        return to_filter(given)
    operator: Any = getattr(given.operator, "value", given.operator)
    value: Any = tuple(given.value) if isinstance(given.value, list) else given.value
    condition = Condition(given.key, operator, value)
    return _of_node_type(condition) if given.key == NODE_TYPE else condition


def _of_node_type(condition: Condition) -> Filter:
    """A passage that says no class is a TextNode."""
    unsaid = Condition(NODE_TYPE, "is_empty")
    if filters.matches(condition, _TEXT_NODE):
        return Group("or", (unsaid, condition))
    return Group("and", (Group("not", (unsaid,)), condition))


def check(given: Filter | None, kinds: Callable[[str], frozenset[str]], *, strict: bool) -> None:
    """Warn of conditions that compare values of kinds which have no order or no parts; with `strict`, raise InvalidFilterError.

    LlamaIndex's own store raises TypeError there; here such passages do not match. `kinds` says of which kinds a field's values are.
    """
    for condition in _conditions(given):
        found = kinds(condition.key) - {"null"}
        wrong = found - _comparable(condition)
        if wrong:
            message = f"{condition.key!r} holds {' and '.join(sorted(wrong))}, which {condition.op!r} can't compare with {condition.value!r}"
            if strict:
                raise InvalidFilterError(f"{message}.", hint="Filter by another key, or leave strict_filters out.")
            warnings.warn(f"{message}: such nodes do not match.", stacklevel=4)


_ALL = frozenset({"text", "number", "bool", "list", "object", "null", "long"})


def _comparable(condition: Condition) -> frozenset[str]:
    if condition.op in _ORDERED:
        number = isinstance(condition.value, int | float)
        return frozenset({"number", "bool", "long"}) if number else frozenset({"text", "long"})
    if condition.op in ("text_match", "text_match_insensitive"):
        return frozenset({"text", "long"})
    if condition.op == "contains":
        return frozenset({"text", "list", "long"})
    return _ALL


def _conditions(given: Filter | None) -> list[Condition]:
    if given is None:
        return []
    if isinstance(given, Condition):
        return [given]
    return [condition for part in given.filters for condition in _conditions(part)]
