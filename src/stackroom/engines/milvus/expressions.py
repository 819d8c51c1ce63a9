"""Conditions as Milvus's expressions."""

from __future__ import annotations

from stackroom.engines.versioned.conditions import All, Among, Condition, Either, Not, Within
from stackroom.engines.versioned.tables import ARRAYS


def expression(condition: Condition) -> str:
    match condition:
        case Among(field, numbers) if field in ARRAYS:
            if len(numbers) == 1:
                return f"array_contains({field}, {numbers[0]})"
            return f"array_contains_any({field}, {list(numbers)})"
        case Among(field, numbers):
            return f"{field} == {numbers[0]}" if len(numbers) == 1 else f"{field} in {list(numbers)}"
        case Within(field, least, below):
            bounds = [] if least is None else [f"{field} >= {least}"]
            return " and ".join(bounds if below is None else [*bounds, f"{field} < {below}"])
        case All(parts):
            return " and ".join(f"({expression(part)})" for part in parts) or "id >= 0"
        case Either(parts):
            return " or ".join(f"({expression(part)})" for part in parts) or "id < 0"
        case Not(part):
            return f"not ({expression(part)})"
