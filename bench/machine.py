"""The machine that a figure was measured on, named in every report, and the log of figures that keeps to one machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import apsw

import stackroom


def describe() -> str:
    """One line: date, processor, cores, memory, Python, SQLite, Stackroom."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{date.today().isoformat()}, {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}, Stackroom {stackroom.__version__}"
    )


def kept(log: Path) -> list[dict[str, Any]]:
    """The lines of `log` (JSON, each with the `machine` it was measured on) that are of this processor. Figures of two are never on one page."""
    if not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    here = [line for line in lines if f", {_processor()}, {os.cpu_count()} cores, " in line.get("machine", "")]
    if len(here) < len(lines):
        print(f"{len(lines) - len(here)} lines of {log} are of another machine, and are dropped.", file=sys.stderr)
    return here


def described(lines: list[dict[str, Any]]) -> str:
    """What the lines say of their machine; several days where they were measured on several."""
    return "; ".join(dict.fromkeys(line["machine"] for line in lines))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def anonymous() -> float:
    """RssAnon of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
