"""Whole numbers that callers give."""

from __future__ import annotations

import operator

from stackroom.errors import UsageError

_MOST = 2**31 - 1


def check_number(name: str, value: object, *, least: int = 0, most: int | None = _MOST) -> None:
    """Raises UsageError for what is no whole number within these bounds."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
        fits = least <= number and (most is None or number <= most)
    except TypeError:
        fits = False
    if not fits:
        raise UsageError(
            f"{name} must not be {value!r}.", hint=f"Give a whole number, {least} or more, below {_MOST + 1:,}."
        )
