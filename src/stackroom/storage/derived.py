"""What is derived from one version of a library, and kept until the next commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class Derived:
    """Values derived from one version of the library, each made when it is first asked for."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[], T]) -> T:
        if name not in self._values:
            self._values[name] = make()
        return cast(T, self._values[name])


class Remembered(Generic[K, V]):
    """At most `most` values by their keys; where more come, what was there is forgotten. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def get_or(self, key: K, make: Callable[[], V]) -> V:
        """What is remembered of the key, or else made, and remembered."""
        known = self.get(key)
        if known is None:
            known = make()
            self.put(key, known)
        return known

    def put(self, key: K, value: V) -> None:
        if len(self._values) >= self._most and key not in self._values:
            # Another one, so that no thread looks into what is being emptied.
            self._values = {}
        self._values[key] = value


class Newest:
    """What was derived from the newest version that was looked at. Threads may share it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        # One tuple, assigned at once: no thread sees a version beside the values of another.
        self._kept: tuple[int, bytes, Derived] = (-1, b"", Derived())

    def of(self, version: int, commit_id: bytes = b"") -> Derived:
        """Forgotten with the next commit. A library that was put in the place of another may have the same version, and has another commit."""
        newest, its_id, derived = self._kept
        if (version, commit_id) == (newest, its_id):
            return derived
        derived = Derived()
        # A snapshot older than the newest keeps what it derives to itself.
        if version >= newest:
            self._kept = version, commit_id, derived
        return derived
