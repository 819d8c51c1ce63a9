"""Removing with a way back: for some seconds removed sources are only hidden; then they are gone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stackroom.errors import NotFoundError


@dataclass(frozen=True)
class Removal:
    id: str
    source_ids: frozenset[str]
    timer: threading.Timer


class Removals:
    """`remove` is called with the ids, in a thread of its own, once the time is over, or when the page's program ends."""

    def __init__(self, remove: Callable[[Sequence[str]], None]) -> None:
        self._remove = remove
        self._waiting: dict[str, Removal] = {}
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()
        self.revision = 0

    def schedule(self, source_ids: Sequence[str], seconds: float) -> Removal:
        with self._guard:
            name = str(next(self._numbers))
            timer = threading.Timer(seconds, self._due, [name])
            timer.daemon = True
            removal = self._waiting[name] = Removal(name, frozenset(source_ids), timer)
            self.revision += 1
        timer.start()
        return removal

    def undo(self, name: str) -> Removal:
        """Raises NotFoundError where it is too late."""
        with self._guard:
            removal = self._waiting.pop(name, None)
            self.revision += 1
        if removal is None:
            raise NotFoundError(f"There is no removal {name!r} to undo.", hint="Add the files again to have them back.")
        removal.timer.cancel()
        return removal

    def hidden(self) -> frozenset[str]:
        """The ids of sources that are as good as gone."""
        with self._guard:
            return frozenset().union(*(removal.source_ids for removal in self._waiting.values()))

    def close(self) -> None:
        """Do what waits, now."""
        for name in list(self._waiting):
            self._due(name)

    def _due(self, name: str) -> None:
        with self._guard:
            removal = self._waiting.get(name)
        if removal is None:
            return
        removal.timer.cancel()
        try:
            self._remove(sorted(removal.source_ids))
        finally:
            # Hidden until it is gone: in between it would show again.
            with self._guard:
                self._waiting.pop(name, None)
                self.revision += 1
