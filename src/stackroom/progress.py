"""How a long run tells what it does, and how it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One step of a run.

    `stage` is what is going on ("scan", "index", "embed", "copy", ...); `done` and `total` count its unit of work
    (`total` None while unknown); `rate` is units a second, `seconds_left` an estimate; `current` names the
    source in hand.
    """

    stage: str
    done: int = 0
    total: int | None = None
    chunks: int = 0
    failed: int = 0
    rate: float | None = None
    seconds_left: float | None = None
    current: str | None = None


Progress = Callable[[ProgressEvent], None]
"""Called from the thread that runs the work; it should return at once."""


def silent(event: ProgressEvent) -> None:
    """The Progress that shows nothing."""


class CancelToken:
    """Set from any thread or signal handler; the run stops within a second, and what is committed stays."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake up at once when cancelled; returns whether it was."""
        return self._event.wait(seconds)


class Stopped(Exception):
    """The token was set where there is nothing to return; caught by the run that was given the token."""
