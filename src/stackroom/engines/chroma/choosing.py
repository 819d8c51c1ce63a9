"""Which rows meet a condition: the server is asked for few enough, and the client decides.

For a condition Chroma lists all records that meet each of its parts, those of all libraries on the server: a range that most rows meet costs
more than to read all of a table's ids. So it is asked for rows by `id`, `key`, `name`, `document_key` and the like, where a condition names some, and for
all of a table otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from stackroom.engines.chroma.rows import LOOKED_UP, Columns, fields_of
from stackroom.engines.versioned.conditions import All, Among, Condition, Either, Not, Within
from stackroom.engines.versioned.tables import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 1_000
"""Numbers by which the server is asked. For more of them it takes longer than for all ids of a table of 25,000 rows."""
TELLING = ("id", "key", "name")
"""Fields of which a number stands in few rows."""

Leaf = Among | Within
Known = Mapping[Leaf, "NDArray[np.int64]"]
"""The ids of the rows that meet those parts of a condition that their numbers don't tell. What most rows meet is known by those that don't (`others`)."""


def unknown(table: str, condition: Condition) -> Iterator[Leaf]:
    """The parts of a condition that a row's numbers don't tell: of `died`, and of arrays."""
    if isinstance(condition, Among | Within):
        if condition.field not in fields_of(table):
            yield condition
    elif isinstance(condition, Not):
        yield from unknown(table, condition.part)
    else:
        for part in condition.parts:
            yield from unknown(table, part)


def others(leaf: Leaf) -> bool:
    """Whether rows are known that don't meet it: those that somebody has removed are few."""
    return isinstance(leaf, Within) and leaf.field == "died" and leaf.least is not None


def meets(rows: Columns, condition: Condition, known: Known) -> NDArray[np.bool_]:
    """For each row, whether it meets the condition."""
    if isinstance(condition, Not):
        return ~meets(rows, condition.part, known)
    if isinstance(condition, All | Either):
        found = np.full(len(rows), isinstance(condition, All))
        for part in condition.parts:
            one = meets(rows, part, known)
            found = found & one if isinstance(condition, All) else found | one
        return found
    if condition in known:
        return np.isin(rows.column("id"), known[condition], invert=others(condition))
    return met(rows.column(condition.field), condition)


def met(column: NDArray[np.int64], leaf: Leaf) -> NDArray[np.bool_]:
    """For each of these numbers, whether it is as one part of a condition wants it."""
    if isinstance(leaf, Among):
        return np.isin(column, np.array(leaf.numbers, dtype=np.int64))
    found = np.ones(len(column), dtype=bool)
    if leaf.least is not None:
        found &= column >= leaf.least
    if leaf.below is not None:
        found &= column < leaf.below
    return found


Few = tuple[str, frozenset[int]]
"""A field that is looked up, and numbers of it."""


def few(table: str, condition: Condition, known: Known) -> Few | None:
    """Numbers of one field, one of which every row has that meets the condition; None where no field has so few."""
    if isinstance(condition, Among | Within) and condition in known:
        ids = known[condition]
        return None if others(condition) or len(ids) > MOST else ("id", frozenset(ids.tolist()))
    if isinstance(condition, Among):
        fits = condition.field in LOOKED_UP[kind_of(table)] and len(condition.numbers) <= MOST
        return (condition.field, frozenset(condition.numbers)) if fits else None
    if isinstance(condition, All):
        found = [one for one in (few(table, part, known) for part in condition.parts) if one is not None]
        return min(found, key=lambda one: (one[0] not in TELLING, len(one[1])), default=None)
    if isinstance(condition, Either):
        return _together([few(table, part, known) for part in condition.parts])
    return None


def _together(parts: list[Few | None]) -> Few | None:
    """What rows have that meet one of several parts."""
    there = [part for part in parts if part is not None]
    if len(there) < len(parts) or len({field for field, _ in there}) > 1:
        return None
    numbers = frozenset[int]().union(*(part for _, part in there))
    return (there[0][0] if there else "id", numbers) if len(numbers) <= MOST else None
