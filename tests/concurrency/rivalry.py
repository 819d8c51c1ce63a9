"""Readers and writers in threads and processes, and the terminal, on one library for a while; then the logs are checked.

A seed names what is tried, not how the machine interleaves it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import isolation
import rival

from stackroom.errors import StackroomError
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore

HERE = Path(__file__).parent

TEAMS = (
    ("write", "write", "read"),
    ("write", "read", "read", "upkeep"),
    ("read", "read", "reopen", "read"),
)
"""The roles of each process's threads."""

TERMINAL = (
    ("list",),
    ("status",),
    ("search", "--mode", "text", "stamped"),
    ("active", "off", "terminal"),
    ("active", "on", "terminal"),
    ("verify",),
)


def run(
    work: Path, *, seconds: float, seed: int, teams: Sequence[Sequence[str]] = TEAMS, fault: str | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of all processes, and what is wrong with them or with the library they leave."""
    library = work / "library"
    LocalStore(library).close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent)))}
    options = ["--seconds", str(seconds), *(("--fault", fault) if fault else ())]
    logs = [work / f"{at}.jsonl" for at in range(len(teams))]
    processes = [
        subprocess.Popen(
            [sys.executable, HERE / "rival.py", library, log, "--seed", f"{seed} {at}", "--roles", *roles, *options],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for at, (log, roles) in enumerate(zip(logs, teams, strict=True))
    ]
    said = list(_terminal(library, processes)) if fault is None else []
    found = []
    for process in processes:
        _, err = process.communicate()
        if process.returncode or err:
            found.append(f"a worker ended with {process.returncode}: {err}")
    events = [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    found += isolation.problems(events) + said
    try:
        found += _left(library, events)
    except StackroomError as error:
        found.append(f"the library that is left: {error}")
    return events, found


def _terminal(library: Path, beside: Sequence[subprocess.Popen[str]]) -> Iterator[str]:
    """Commands of the terminal while the others work: each ends well, or says that it is busy or finds nothing."""
    at = 0
    while any(process.poll() is None for process in beside):
        command = TERMINAL[at % len(TERMINAL)]
        at += 1
        done = subprocess.run(
            [sys.executable, "-m", "stackroom", "--library", library, "--json", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 3, 4) or "Traceback" in done.stderr:
            yield f"stackroom {' '.join(command)} ended with {done.returncode}: {done.stderr}"


def _left(library: Path, events: Sequence[dict[str, Any]]) -> list[str]:
    """The library is whole, shows the last commit, and has folded in its log."""
    found = []
    commits = sorted((event for event in events if event["kind"] == "commit"), key=lambda event: event["version"])
    now = time.monotonic()
    with contextlib.closing(LocalStore(library)) as store:
        damage = store.verify(progress=silent, cancel=CancelToken()).damage
        found += [f"damage: {one}" for one in damage]
        with store.view() as view:
            last = {
                "kind": "view",
                "began": now,
                "ended": now,
                "version": view.version,
                "saw": rival.seen(view, rival.random.Random(0)),
            }
    found += isolation.problems([*commits, last])
    if (library / "catalogue.db-wal").exists():
        found.append("the log is still there when all have closed")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--fault", choices=rival.FAULTS, help="put this into the code: it must be found")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as work:
        events, found = run(Path(work), seconds=given.seconds, seed=given.seed, fault=given.fault)
    print(dict(Counter(event.get("change") or event.get("type") or event["kind"] for event in events)))
    for problem in found[:20]:
        print(problem[:300], problem[300:][-900:], sep="")
    print(f"{len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
