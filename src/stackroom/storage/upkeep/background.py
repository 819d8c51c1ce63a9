"""Upkeep beside readers and writers, so that neither waits for it: space given back, sketches and postings files made."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from stackroom.progress import CancelToken, Progress, silent
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.upkeep import compaction, search_files
from stackroom.storage.upkeep.search_files import Work

if TYPE_CHECKING:
    from stackroom.storage.store import LocalStore


_PAUSE = 0.25
"""Seconds without a commit after which what they have left is seen to."""

_LONGEST_WAIT = 2.0
"""Seconds that commits which follow one another put it off."""


class Background:
    """Does what is due for one store: at once, or in a thread.

    None of it changes what the library holds. Whatever goes wrong with it costs speed or space and nothing else, and must hurt neither a
    commit that is durable nor a migration that is proven: so it is passed over, and the next run tries again.
    """

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._stop = threading.Event()
        self._at_once = threading.Event()
        """set where the thread is not to wait for a pause"""
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._running = False
        self._again = False
        """whether a commit came while a run was at it, which may have looked before"""

    def run(self, *, thorough: bool = False, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        """Do what is due; with `thorough` make damaged files anew as well, which costs a look at every byte."""
        if self._thread is not None:
            self._at_once.set()
            self._thread.join()

        def stopped() -> bool:
            return self._stop.is_set() or (cancel is not None and cancel.cancelled)

        with contextlib.suppress(Exception):
            if not self._store.read_only and (thorough or self._is_due()):
                _work(self._store, Work(stopped, progress), thorough=thorough)

    def start(self, connection: Connection) -> None:
        """Do it in a thread, where it is due: for a commit that is not to wait. `connection` is the one that has committed."""
        with contextlib.suppress(Exception), self._starting:
            if self._stop.is_set() or not _is_due(connection, self._store.path):
                return
            if not self._running:
                self._at_once.clear()
            if search_files.is_much(connection):
                self._at_once.set()
            if self._running:
                self._again = True
                return
            thread = threading.Thread(target=self._quietly, daemon=True)
            thread.start()
            if self._thread is None:
                # A thread that is within FAISS when the interpreter ends would take the process down with it.
                atexit.register(_end, weakref.ref(self))
            # Not before it has begun: there may be no threads left, and none can be waited for then.
            self._thread, self._running = thread, True

    def _quietly(self) -> None:
        while True:
            self._await_pause()
            with contextlib.suppress(Exception):
                _work(self._store, Work(self._stop.is_set, silent), thorough=False)
            with self._starting:
                if not self._again or self._stop.is_set():
                    self._running = False
                    return
                self._again = False

    def _await_pause(self) -> None:
        """Let commits that follow one another come first: what is made for each of them is made again with the next, and keeps the disk from it."""
        until = time.monotonic() + _LONGEST_WAIT
        while not self._at_once.wait(_PAUSE) and self._again and time.monotonic() < until:
            self._again = False
        self._at_once.clear()

    def end(self) -> None:
        """Stop, and wait until the thread has."""
        self._stop.set()
        self._at_once.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _is_due(self) -> bool:
        with self._store.view() as view:
            return _is_due(view.connection, self._store.path)


def _end(background: weakref.ref[Background]) -> None:
    found = background()
    if found is not None:
        found.end()


def _is_due(connection: Connection, library: Path) -> bool:
    return search_files.is_due(connection, library) or compaction.is_due(connection)


def _work(store: LocalStore, work: Work, *, thorough: bool) -> None:
    """One process does it at a time; another one leaves it alone. Raises BusyError, and much else."""
    with search_files.alone(store, "upkeep", wait=0.0):
        # First: what is made of a file that is rewritten is made again.
        compaction.reclaim(store, progress=work.progress, stopped=work.stopped)
        search_files.make(store, work, thorough=thorough)
