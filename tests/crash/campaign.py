"""Thousands of interruptions, chosen by a seed: kills, power cuts and faults, over every scenario. `make test-crash RUNS=5000 SEED=1`.

Run number I of a seed is the same run wherever it is done: `--only I` repeats it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import shim
from shim import CHANGING, Action, Call

FAULTS = ("full", "quota", "broken", "unreadable", "handles", "read-only", "memory", "locks")
SCENARIOS = (
    "create", "first", "commit", "lengths", "active", "many", "add", "update", "remove", "compact", "compact-sketched",
    "purge", "reembed", "sketch", "backup", "backup-again", "export", "migrate", "roll-back", "discard", "reclaim",
    "repair", "go-back", "discard-former",
)  # fmt: skip
KINDS = {"kill": 35, "cut": 40, "fault": 25}


def working_folder() -> str | None:
    """Memory, where there is some: nothing here depends on a real disk, and its syncs are what takes the time."""
    shared = "/dev/shm"
    return shared if os.access(shared, os.W_OK) else None


class Asked:
    """A harness in a process of its own."""

    def __init__(self) -> None:
        environment = shim.environment()
        if (folder := working_folder()) is not None:
            environment["STACKROOM_TEST_WORK"] = folder
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("harness.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._counts: dict[tuple[str, str], int] = {}

    def ask(self, method: str, scenario: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, scenario, *arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the harness ended with {self._process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and answer.get("broken"):
            raise RuntimeError(answer["problems"][0])
        return answer

    def count(self, scenario: str, what: str) -> int:
        """How many calls of a kind, or entries of the journal, there are to choose from."""
        if (scenario, what) not in self._counts:
            if what == "cut":
                found = self.ask("record", scenario)
            else:
                found = self.ask("count", scenario, int(CHANGING if what == "kill" else fault_kinds(what)))
            self._counts[scenario, what] = found
        return self._counts[scenario, what]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()


def fault_kinds(name: str) -> Call:
    """As harness.py has them, which this process can't import: it is not under the shim."""
    return {
        "full": Call.WRITE | Call.MAKE | Call.SYNC,
        "quota": Call.WRITE | Call.MAKE,
        "broken": CHANGING,
        "unreadable": Call.READ,
        "handles": Call.OPEN,
        "read-only": Call.OPEN_TO_WRITE | Call.MAKE | Call.RENAME | Call.UNLINK | Call.WRITE | Call.SIZE,
        "memory": Call.MAP,
        "locks": Call.LOCK,
    }[name]


def interrupt(asked: Asked, scenario: str, kind: str, chance: random.Random) -> tuple[str, dict[str, Any]]:
    """One run: what it was, and what was found."""
    seed = chance.randrange(1 << 30)
    if kind == "kill":
        nth = chance.randint(1, asked.count(scenario, "kill"))
        halfway = chance.random() < 0.4
        return f"kill at call {nth}{', half done' if halfway else ''}", asked.ask("kill", scenario, nth, halfway, seed)
    if kind == "cut":
        at = chance.randint(0, asked.count(scenario, "cut"))
        return f"power cut after entry {at}, seed {seed}", asked.ask("cut", scenario, at, seed)
    fault = chance.choice(FAULTS)
    nth = chance.randint(1, max(1, asked.count(scenario, fault)))
    action = chance.choice((Action.FAIL, Action.FAIL_FROM_HERE, Action.FAIL_HALFWAY))
    return f"fault {fault!r} at call {nth}, {action.name}", asked.ask("fault", scenario, fault, nth, action, seed)


@dataclass
class Tally:
    """What was done, and what was found."""

    done: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    told: collections.Counter[str] = field(default_factory=collections.Counter)
    found: list[str] = field(default_factory=list)
    missed: int = 0

    def table(self) -> str:
        scenarios = sorted({scenario for scenario, _ in self.done}, key=SCENARIOS.index)
        rows = [f"{'scenario':<18}{'kills':>8}{'cuts':>8}{'faults':>8}"]
        rows += [f"{name:<18}" + "".join(f"{self.done[name, kind]:>8}" for kind in KINDS) for name in scenarios]
        total = [sum(n for (_, of), n in self.done.items() if of == kind) for kind in KINDS]
        return "\n".join([*rows, f"{'all':<18}" + "".join(f"{n:>8}" for n in total)])


def runs(
    seed: int, wanted: Sequence[int], scenarios: Sequence[str], kinds: Sequence[str]
) -> Iterator[tuple[int, str, str, random.Random]]:
    for number in wanted:
        chance = random.Random(f"{seed} {number}")
        scenario = SCENARIOS[number % len(SCENARIOS)]
        kind = chance.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        if scenario in scenarios and kind in kinds:
            yield number, scenario, kind, chance


def campaign(
    seed: int,
    wanted: Sequence[int],
    scenarios: Sequence[str] = SCENARIOS,
    kinds: Sequence[str] = tuple(KINDS),
    *,
    jobs: int = 2,
    say: Callable[[str], None] = lambda said: None,
) -> Tally:
    """Do these runs of a seed, each process its own scenarios."""
    tally = Tally()
    guard = threading.Lock()
    failed: list[BaseException] = []

    def work(mine: Sequence[str]) -> None:
        with contextlib.closing(Asked()) as asked:
            for number, scenario, kind, chance in runs(seed, wanted, mine, kinds):
                what, answer = interrupt(asked, scenario, kind, chance)
                with guard:
                    tally.done[scenario, kind] += 1
                    tally.missed += bool(answer.get("missed"))
                    if answer.get("raised"):
                        tally.told[answer["raised"].partition(":")[0]] += 1
                    found = [f"run {number}: {scenario}: {what}: {problem}" for problem in answer["problems"]]
                    tally.found += found
                    for one in found:
                        say(one)
                    if sum(tally.done.values()) % 500 == 0:
                        say(f"{sum(tally.done.values())} runs")

    def guarded(mine: Sequence[str]) -> None:
        try:
            work(mine)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(scenarios[at::jobs],)) for at in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, nargs="*", help="the numbers of the runs to repeat")
    parser.add_argument("--scenarios", nargs="*", default=SCENARIOS, choices=SCENARIOS)
    parser.add_argument("--kinds", nargs="*", default=tuple(KINDS), choices=tuple(KINDS))
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if (reason := shim.why_not()) is not None:
        print(f"Nothing was done: {reason}.")
        return 1
    print(f"seed {given.seed}, {given.runs if given.only is None else len(given.only)} runs", flush=True)
    started = time.monotonic()
    tally = campaign(
        given.seed,
        given.only if given.only is not None else range(given.runs),
        given.scenarios,
        given.kinds,
        jobs=given.jobs,
        say=lambda said: print(said, flush=True),
    )
    print(tally.table())
    print(
        f"{time.monotonic() - started:.0f} s; {tally.missed} ended before they were reached; errors told: {dict(tally.told.most_common())}"
    )
    print(f"{len(tally.found)} problems")
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
