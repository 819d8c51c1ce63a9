"""Stopping within a second, whatever is being waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from stackroom.progress import CancelToken, Stopped

T = TypeVar("T")

PAUSE = 0.01
"""Seconds between looks at the token."""


def stoppable(call: Callable[[], T], cancel: CancelToken) -> T:
    """Call in a thread of its own, which is left alone once cancelled: it ends by itself. Raises Stopped, and what it raises."""
    found: list[T] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    while not done.wait(PAUSE):
        if cancel.cancelled:
            raise Stopped
    if failed:
        raise failed[0]
    return found[0]
