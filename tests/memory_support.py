"""How much memory a process holds that it can't give back: the peak of its RssAnon.

Why not VmHWM, which the kernel keeps by itself: it counts mapped pages too. A scan maps the whole vector file, and those pages are the
system's to take back at any time. There is no high-water mark of the anonymous part alone, so it is polled, every five milliseconds:
what a process holds because memory follows the corpus, it holds for longer than that.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")

_EVERY_SECONDS = 0.005


class Peak(NamedTuple):
    """In MB: of a process above what it held when it said that it was ready, of its largest child, and of all together."""

    own: float
    child: float
    together: float


def anonymous(pid: int) -> float:
    """RssAnon of one process in MB; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
    return 0.0


def family(pid: int) -> list[int]:
    """A process and what it has started, itself first."""
    with contextlib.suppress(OSError):
        started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(other for child in started for other in family(int(child)))]
    return [pid]


def peak_of(command: Sequence[str], *, waits: bool = False) -> Peak:
    """Run a Python program to its end and watch it. One that `waits` says "ready" on a line, and begins when it is given one."""
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE if waits else None, text=True
    )
    assert process.stdin is not None
    before = 0.0
    if waits:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        before = anonymous(process.pid)
    process.stdin.write("go\n")
    process.stdin.close()
    own = child = together = 0.0
    while process.poll() is None:
        held = [anonymous(pid) for pid in family(process.pid)]
        own = max(own, held[0])
        child = max([child, *held[1:]])
        together = max(together, sum(held))
        time.sleep(_EVERY_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
    assert process.returncode == 0
    return Peak(own - before, child, together)
