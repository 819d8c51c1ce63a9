"""The two locks of a library, both the kernel's: it releases them when their holder dies.

The writer lock is held for one commit; the ingest lease for a whole `add` or `rebuild`. A lock file's content says
who holds it, for the message that a second one gets; the lock itself does not depend on the content.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from stackroom._forking import in_children
from stackroom.errors import BusyError, ReadOnlyError
from stackroom.storage.disk import fsio

_POLL_SECONDS = 0.005

_held: set[int] = set()
"""Descriptors of locks that this process has or waits for"""


def _let_go() -> None:
    """In a forked child: a lock lives as long as any copy of its descriptor, and its parent may be killed."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


in_children(_let_go)

# Where the holder's name is written: past the byte that Windows locks, so that others can read it.
_NAME_OFFSET = 1

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        # flock, not fcntl's record locks: those of a process vanish when it closes any descriptor of the file.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """An exclusive lock between processes, and between the threads of this one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.Lock()
        self._descriptor: int | None = None

    @contextlib.contextmanager
    def hold(self, purpose: str = "", *, wait: float, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock for the block; BusyError when it can't be had within `wait` seconds."""
        deadline = time.monotonic() + wait
        if not self._thread.acquire(timeout=max(wait, 0)):
            raise self._busy()
        try:
            try:
                with fsio.translated(self.path):
                    descriptor = os.open(
                        self.path, os.O_RDWR | os.O_CREAT | fsio.NO_LINK | getattr(os, "O_CLOEXEC", 0), 0o600
                    )
            except ReadOnlyError as error:
                raise self._unwritable(error.__cause__) from error.__cause__
            pid = os.getpid()
            _held.add(descriptor)
            self._descriptor = descriptor
            try:
                while not self._taken(descriptor):
                    if time.monotonic() >= deadline:
                        raise self._busy()
                    if waiting is not None:
                        waiting()
                    time.sleep(_POLL_SECONDS)
                if purpose:
                    self._sign(descriptor, purpose)
                try:
                    yield
                finally:
                    # A child that was forked meanwhile would give up its parent's.
                    if os.getpid() == pid:
                        if purpose:
                            with contextlib.suppress(OSError):
                                os.ftruncate(descriptor, 0)
                        _unlock(descriptor)
            finally:
                if os.getpid() == pid:
                    self._descriptor = None
                    _held.discard(descriptor)
                    os.close(descriptor)
        finally:
            self._thread.release()

    def in_place(self) -> bool:
        """Whether the file that is held is still the one that others will find: a holder before may have removed it."""
        try:
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _taken(self, descriptor: int) -> bool:
        with fsio.translated(self.path):
            return _try_lock(descriptor)

    def _sign(self, descriptor: int, purpose: str) -> None:
        name = {"pid": os.getpid(), "purpose": purpose, "since": datetime.now(UTC).isoformat(timespec="seconds")}
        with contextlib.suppress(OSError):  # a full disk must not keep anyone from the lock
            os.ftruncate(descriptor, 0)
            fsio.write_at(descriptor, b" " + json.dumps(name).encode(), 0)

    def holder(self) -> dict[str, object] | None:
        """What the present holder wrote about itself, if anything."""
        try:
            with fsio.open_regular(self.path) as file:
                file.seek(_NAME_OFFSET)
                found = json.loads(file.read(4096))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def living_holder(self) -> dict[str, object] | None:
        """The same, but for what a process wrote that is gone: only where it was killed does that stay."""
        found = self.holder()
        pid = found.get("pid") if found else None
        if type(pid) is int and pid > 0 and sys.platform != "win32":
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return None
            except (OSError, OverflowError):
                pass  # somebody else's
        return found

    def _unwritable(self, cause: BaseException | None) -> ReadOnlyError:
        """That a lock can't be taken is how a library says that it can't be written, which is what its user needs to know."""
        why = cause.strerror if isinstance(cause, OSError) else cause
        return ReadOnlyError(
            f"The library {self.path.parent} can't be written: {why}.",
            hint=f"It can be read as it is. To change it, check its medium and its permissions ({self.path.name}), "
            "or copy the whole folder to where you may write.",
            path=self.path.parent,
        )

    def _busy(self) -> BusyError:
        holder = self.holder()
        who = (
            f"process {holder.get('pid')} ({holder.get('purpose')}, since {holder.get('since')})"
            if holder
            else "another process or thread"
        )
        return BusyError(
            f"The library is in use by {who}.",
            hint="Wait for it to finish, or stop it, then run the same command again.",
            path=self.path,
            actual=holder,
        )
