"""Conditions as Qdrant's filters."""

from __future__ import annotations

from qdrant_client import models

from stackroom.engines.versioned.conditions import All, Among, Condition, Either, Not, Within

_NONE = models.FieldCondition(key="born", match=models.MatchAny(any=[-1]))
"""What no row meets."""


def filter_of(condition: Condition) -> models.Filter:
    found = _part(condition)
    return found if isinstance(found, models.Filter) else models.Filter(must=[found])


def _part(condition: Condition) -> models.Condition:
    match condition:
        case Among("id", numbers):
            return models.HasIdCondition(has_id=list(numbers))
        case Among(field, numbers):
            return models.FieldCondition(key=field, match=models.MatchAny(any=list(numbers)))
        case Within(field, least, below):
            return models.FieldCondition(key=field, range=models.Range(gte=least, lt=below))
        case All(parts):
            return models.Filter(must=[_part(part) for part in parts])
        case Either(parts):
            return models.Filter(should=[_part(part) for part in parts]) if parts else _NONE
        case Not(part):
            return models.Filter(must_not=[_part(part)])
