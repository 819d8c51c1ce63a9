"""Compiles shim.c, and speaks to it in the process that it was loaded into."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from enum import IntEnum, IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
LOADED = "STACKROOM_TEST_SHIM"


class Call(IntFlag):
    """Kinds of system calls, as shim.c has them."""

    WRITE = 1
    SYNC = 2
    SIZE = 4
    MAKE = 8
    RENAME = 16
    UNLINK = 32
    OPEN = 64
    OPEN_TO_WRITE = 128
    READ = 256
    MAP = 512
    LOCK = 1024


CHANGING = Call.WRITE | Call.SYNC | Call.SIZE | Call.MAKE | Call.RENAME | Call.UNLINK


class Action(IntEnum):
    """What is done at the chosen call. HALFWAY: half of a write is done first. FROM_HERE and FAIL_HALFWAY: all later calls fail too."""

    NOTHING = 0
    KILL = 1
    KILL_HALFWAY = 2
    FAIL = 3
    FAIL_FROM_HERE = 4
    FAIL_HALFWAY = 5


def why_not() -> str | None:
    """Why there can be no shim here; None where there can."""
    if not sys.platform.startswith("linux"):
        return "system calls are watched on Linux only"
    if shutil.which("cc") is None:
        return "there is no C compiler"
    return None


def compiled() -> Path:
    """The library, compiled once for each state of its source."""
    source = SOURCE.read_bytes()
    # Only its owner may write to what is loaded into a process.
    folder = Path(tempfile.gettempdir()) / f"stackroom-shim-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(folder)
    library = folder / f"{hashlib.blake2b(source, digest_size=8).hexdigest()}.so"
    if not library.exists():
        # A campaign asks for it from several threads at once, and several campaigns may begin together.
        with tempfile.TemporaryDirectory(dir=folder) as own:
            made = Path(own) / library.name
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"], check=True)
            made.replace(library)
    return library


def environment() -> dict[str, str]:
    """The variables with which a process is under the shim."""
    library = str(compiled())
    return {**os.environ, "LD_PRELOAD": library, LOADED: library, "OMP_NUM_THREADS": "1"}


class Shim:
    """The one that was loaded into this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ[LOADED])
        self._library.shim_counted.restype = ctypes.c_long

    def watch(self, folder: Path, journal: int = -1) -> None:
        """Calls on what is below `folder` count from now on, and are written to the journal where there is one."""
        self._library.shim_watch(os.fsencode(folder), journal)

    def plan(self, kinds: Call, nth: int, action: Action, error: int = 0) -> None:
        """Count the calls of these kinds from 0; do it at the nth."""
        self._library.shim_plan(int(kinds), ctypes.c_long(nth), int(action), error)

    def rest(self) -> None:
        self.plan(Call(0), 0, Action.NOTHING)

    @property
    def counted(self) -> int:
        return int(self._library.shim_counted())

    def mark(self, number: int) -> None:
        self._library.shim_mark(number)

    def jump(self, seed: int) -> None:
        """The clock jumps at every look at it; 0: no more."""
        self._library.shim_jump(ctypes.c_long(seed))
