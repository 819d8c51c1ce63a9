"""What a forked child inherits and can't use: locks that nobody releases, threads that are not there, and SQLite's memory of locks it has not.

A child that is forked (gunicorn with `--preload`, multiprocessing's "fork") goes on with a copy of the memory of one thread. The others are gone,
whatever they held.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

_PATIENCE_SECONDS = 2.0
"""How long a fork waits for calls of other threads: a view may last, and a child can do without most of them."""


def in_children(act: Callable[[], None]) -> None:
    """Have this done in every forked child, before anything else there. What is registered first is done first."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=act)


class _Kept:
    """Things that have to be told, as long as they live."""

    def __init__(self) -> None:
        self._things: weakref.WeakSet[Any] = weakref.WeakSet()
        in_children(self._tell)

    def add(self, thing: Any) -> None:
        self._things.add(thing)

    def _tell(self) -> None:
        for thing in list(self._things):
            thing.begin_anew()


_kept = _Kept()


def tell_in_children(thing: Any) -> None:
    """Call `thing.begin_anew()` in every forked child, as long as it lives: for locks and threads of an object."""
    _kept.add(thing)


class Gate:
    """Lets a fork wait for the calls of other threads, and new calls for the fork: SQLite's own locks are free then."""

    def __init__(self) -> None:
        self.begin_anew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._close, after_in_parent=self._open, after_in_child=self.begin_anew)

    def begin_anew(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        self._forks = 0

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """For a block in which this thread uses connections."""
        me, changed = threading.get_ident(), self._changed
        with changed:
            while self._forks and me not in self._inside:
                changed.wait()
            self._inside[me] = self._inside.get(me, 0) + 1
        try:
            yield
        finally:
            # A child that was forked within the block has a gate of its own.
            if changed is self._changed:
                with changed:
                    self._inside[me] -= 1
                    if not self._inside[me]:
                        del self._inside[me]
                    changed.notify_all()

    def _close(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._inside.keys() - {me}, _PATIENCE_SECONDS)

    def _open(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()
