"""Conditions on rows, which each database says in its own words. They hold numbers alone: no text of a user ever stands in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Among:
    """The field is one of these numbers, in ascending order, at least one; of a field that holds several, one of them is."""

    field: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """A field of one number is `least` or more, and less than `below`; None: no bound. At least one is there."""

    field: str
    least: int | None = None
    below: int | None = None


@dataclass(frozen=True, slots=True)
class All:
    """Every one of these holds; of none, each row meets it."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """One of these holds; of none, no row meets it."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold. Every row has every field, so that one or the other is true."""

    part: Condition


Condition = Among | Within | All | Either | Not

EVERYTHING = All()
NOTHING = Either()


def among(field: str, numbers: Iterable[int]) -> Condition:
    """That a field is one of these numbers, whatever their order; of none, `NOTHING`."""
    wanted = tuple(sorted(set(map(int, numbers))))
    return Among(field, wanted) if wanted else NOTHING


def both(*parts: Condition) -> Condition:
    """That every one of these holds, without those that always do."""
    needed = tuple(part for part in parts if part != EVERYTHING)
    return needed[0] if len(needed) == 1 else All(needed)
