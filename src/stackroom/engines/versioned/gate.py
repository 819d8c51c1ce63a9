"""One writer at a time, and a commit in one step: by a name that one asker alone can change.

A database without transactions has one thing that it decides for one asker alone: to change a name only if it still is the one that is asked
for (`Database.rename`). So a gate is a name that says all there is to know. After its prefix, `format_1_at_`, that is

    VERSION_COMMIT_ATTEMPT_free                                     nobody writes
    VERSION_COMMIT_ATTEMPT_held_BEAT_MACHINE_PROCESS_NONCE_WORDS    the attempt is under way, and this is its holder's BEATth sign of life

COMMIT is a random name of the version: a library that was dropped and made anew, or restored, may come to the same number with other rows.
The versions and attempts of a gate, as it goes from one name to the next:

    0_0_free --take--> 0_1_held --publish-------------> 1_1_free        attempt 1 is the current version
    1_1_free --take--> 1_2_held --release, unused-----> 1_1_free        nothing was written: the number is given again
    1_1_free --take--> 1_2_held --release, used-------> 1_2_free        rows may have been written under 2: never again
    1_2_free --take--> 1_3_held --beat--> 1_3_held ...                  every ten seconds
                       1_3_held --take, by another----> 1_4_held        the holder is dead, or was taken for it

Who holds it gives a sign of life every ten seconds. Where none was seen for a minute, or where the holder was a process of this machine
that has ended, the next one takes it over, under the next number; the one before can't publish any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stackroom.engines.versioned.database import AbsentError, Database
from stackroom.errors import BusyError, StackroomError

_BEATS = 10.0
"""Seconds between two signs of life."""
_SILENT = 60.0
"""A holder that gave none for so long is taken for dead."""
_SURE = 30.0
"""A holder that could give none for so long writes no more."""
_LOOKS = 0.05
"""Seconds between two looks at a gate that somebody holds."""

_AGAIN = 3
"""Times that names are looked through until there is no such gate."""

_NO_COMMIT = 12 * "0"
"""Of version 0, which is empty."""

_STATE = re.compile(
    r"(?P<version>\d+)_(?P<commit>[0-9a-f]{12})_(?P<attempt>\d+)_"
    r"(?:free|held_(?P<beat>\d+)_(?P<machine>[0-9a-f]{8})_(?P<pid>\d+)_(?P<nonce>[0-9a-f]{12})_(?P<words>\w*))"
)

_CAN_ASK = os.name != "nt"
"""Whether the signal 0 asks if a process is there; on Windows it is Ctrl+C."""

_held: set[str] = set()
"""The nonces of what this process holds."""


def _machine() -> str:
    """Tells machines, and containers on one, apart, as far as a process's number means something there."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=4).hexdigest()


_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""On Linux the one that goes on in sleep, on macOS the other; Windows has neither, and its only one does."""


def clock() -> float:
    """Seconds of a clock that goes on while the machine sleeps, as those of the others do."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Mark(NamedTuple):
    """What a gate's name says."""

    name: str
    version: int
    commit: str
    """what tells the version apart from others of this number"""
    attempt: int
    holder: dict[str, str] | None

    @classmethod
    def of(cls, name: str, said: re.Match[str]) -> Mark:
        found = {key: value for key, value in said.groupdict().items() if value is not None}
        version, attempt = int(found.pop("version")), int(found.pop("attempt"))
        return cls(name, version, found.pop("commit"), attempt, found or None)

    @property
    def who(self) -> str:
        found = self.holder or {}
        return f"{found.get('words', '').replace('_', ' ').strip() or 'A client'} (process {found.get('pid', '?')})"


class Gate:
    """`prefix` is the beginning of its name, up to its version."""

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix
        self._seen = ("", 0.0)

    def look(self) -> Mark | None:
        """None where there is no such gate."""
        for left in reversed(range(_AGAIN)):
            marks = self._marks()
            if marks:
                return max(marks, key=lambda mark: (mark.version, mark.attempt))
            if left:
                # A server that lists names may miss one that is just changing.
                time.sleep(_LOOKS / 2)
        return None

    def _marks(self) -> list[Mark]:
        names = [name for name in self._database.names() if name.startswith(self._prefix)]
        found = [(name, _STATE.fullmatch(name, len(self._prefix))) for name in names]
        return [Mark.of(name, said) for name, said in found if said]

    def create(self) -> None:
        """Have it, free, at version 0, unless it is there; somebody else may make it meanwhile."""
        if self.look() is not None:
            return
        made = f"{self._prefix}0_{_NO_COMMIT}_0_free"
        try:
            self._database.put_name(made)
        except StackroomError:
            if self.look() is None:
                raise
        there = {mark.name for mark in self._marks()}
        if made in there and len(there) > 1:
            # Theirs had gone on to another name; a second gate would let a second writer in.
            with contextlib.suppress(AbsentError):
                self._database.drop_name(made)

    def take(self, words: str, *, wait: float) -> Hold:
        """Raises BusyError that says who has it."""
        end, url = clock() + wait, self._database.url
        while True:
            mark = self.look()
            if mark is None:
                raise AbsentError(f"There is no library at {url} any more.", path=url)
            if mark.holder is None or self._is_dead(mark):
                hold = self._try(mark, words)
                if hold is not None:
                    return hold
            if clock() >= end:
                raise BusyError(
                    f"{mark.who} is writing to {url}.",
                    hint="Wait until it is done, then try again.",
                    path=url,
                    actual=mark.who,
                )
            time.sleep(_LOOKS)

    def _is_dead(self, mark: Mark) -> bool:
        """Gone, as far as that can be told, or silent: another process may have its number by now."""
        found = mark.holder or {}
        if found["machine"] == _machine():
            pid = int(found["pid"])
            if found["nonce"] not in _held if pid == os.getpid() else not _lives(pid):
                return True
        # By this clock alone: no two machines' agree.
        if self._seen[0] != mark.name:
            self._seen = mark.name, clock()
        return clock() - self._seen[1] > _SILENT

    def _try(self, mark: Mark, words: str) -> Hold | None:
        nonce = uuid.uuid4().hex[:12]
        # Names are of letters of ASCII alone.
        said = re.sub(r"\W+", "_", f"{platform.node()}_{words}", flags=re.ASCII)[:60]
        hold = Hold(self, mark, f"{_machine()}_{os.getpid()}_{nonce}_{said}", nonce)
        _held.add(nonce)
        try:
            self.rename(mark.name, hold.name)
        except StackroomError as error:
            # The answer may have been lost, and not the name.
            now = None
            with contextlib.suppress(StackroomError):
                now = self.look()
            if now is None or now.name != hold.name:
                _held.discard(nonce)
                if isinstance(error, AbsentError):
                    return None
                raise
        hold.begin()
        return hold

    def rename(self, old: str, new: str) -> None:
        self._database.rename(old, new)

    def named(self, rest: str) -> str:
        return self._prefix + rest


class Hold:
    """A gate that is held. `before` is what it was, and `attempt` the number that a commit brings."""

    def __init__(self, gate: Gate, before: Mark, holder: str, nonce: str) -> None:
        self._gate = gate
        self.before = before
        self.attempt = before.attempt + 1
        self._holder = holder
        self._nonce = nonce
        self._beat = 0
        self._alive = clock()
        self._guard = threading.Lock()
        self._over = threading.Event()

    @property
    def name(self) -> str:
        return self._gate.named(f"{self._version}_{self.attempt}_held_{self._beat}_{self._holder}")

    @property
    def _version(self) -> str:
        return f"{self.before.version}_{self.before.commit}"

    def begin(self) -> None:
        self._alive = clock()
        threading.Thread(target=self._live, daemon=True).start()

    def _live(self) -> None:
        while not self._over.wait(_BEATS):
            with self._guard:
                if self._over.is_set():
                    return
                old = self.name
                self._beat += 1
                try:
                    self._gate.rename(old, self.name)
                    self._alive = clock()
                except StackroomError:
                    now = None
                    with contextlib.suppress(StackroomError):
                        now = self._gate.look()
                    if now is not None and now.name == self.name:
                        self._alive = clock()
                    else:
                        self._beat -= 1

    def check(self) -> None:
        """Raises BusyError where another may have taken it over."""
        if clock() - self._alive > _SURE:
            raise BusyError("The server did not answer for so long that another may write now.", hint="Try again.")

    def publish(self, came_to_nothing: Callable[[Mark], bool]) -> None:
        """Make this attempt the current version, and leave. Raises BusyError where it was taken over, UnavailableError.

        `came_to_nothing`: whether a later version names this attempt among those that never became one.
        """

        def is_in(now: Mark) -> bool:
            return now.version == self.attempt or (now.version > self.attempt and not came_to_nothing(now))

        self._leave(f"{self.attempt}_{self._nonce}_{self.attempt}_free", is_in)

    def release(self, *, used: bool) -> None:
        """Leave without a new version. `used`: something may have been written under this number, and it is not given again."""
        self._leave(f"{self._version}_{self.attempt if used else self.attempt - 1}_free", lambda _: False)

    def _leave(self, rest: str, is_done: Callable[[Mark], bool]) -> None:
        with self._guard:
            self._over.set()
            try:
                self._rename_to(self._gate.named(rest), is_done)
            finally:
                # Not before: to other threads a gate with this process's number and a nonce that it does not know is a dead one's.
                _held.discard(self._nonce)

    def _rename_to(self, wanted: str, is_done: Callable[[Mark], bool]) -> None:
        try:
            self._gate.rename(self.name, wanted)
        except StackroomError as error:
            # The answer may have been lost, and not the name; the next one may have it by now.
            now = self._gate.look()
            if now is not None and (now.name == wanted or is_done(now)):
                return
            if not isinstance(error, AbsentError):
                raise
            if now is not None and self._is_mine(now) and now.name != self.name:
                # A sign of life was given, and its answer lost.
                self._beat = int((now.holder or {})["beat"])
                self._rename_to(wanted, is_done)
                return
            raise BusyError(
                "Another client took this one for dead, and writes now.",
                hint="Look whether the change is there, and try again.",
            ) from None

    def _is_mine(self, now: Mark) -> bool:
        return now.holder is not None and now.holder["nonce"] == self._nonce


def _lives(pid: int) -> bool:
    """As far as can be told."""
    if not _CAN_ASK:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
