"""What is derived from one version of a library, and kept until the next commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Derived:
    """Values derived from one version of the library, each made when it is first asked for."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[], T]) -> T:
        if name not in self._values:
            self._values[name] = make()
        return cast(T, self._values[name])
