"""Thousands of harms, chosen by a seed: one file of a library is spoiled, and another process looks at it. `make test-corruption RUNS=5000 SEED=1`.

Run number I of a seed is the same run wherever it is done: `--only I` repeats it, `--keep` leaves the harmed library.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import os
import pkgutil
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import harms
import library as made
import look
from harms import Harm

import small_worlds
from small_worlds import Sizes

_PATIENCE = 60
"""Seconds after which a look hangs."""
_MEMORY = 1 << 30
"""Bytes of address space that a look may take beyond what the process has."""


def working_folder() -> str | None:
    """Memory, where there is some: nothing here depends on a real disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def in_a_fork(work: Callable[[], Any], *, limited: bool = True) -> small_worlds.Ended:
    """As of small_worlds, in a small one, with a limit on memory."""

    def small() -> Any:
        if limited:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            most = pages * resource.getpagesize() + _MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        Sizes().set()
        return work()

    return small_worlds.in_a_fork(small, patience=_PATIENCE)


def _import_all() -> None:
    """What is imported at its first use would be imported by every fork."""
    importlib.import_module("faiss")
    for package in ("storage", "ingest", "search", "migration"):
        home = importlib.import_module(f"stackroom.{package}")
        for module in pkgutil.walk_packages(home.__path__, f"{home.__name__}."):
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(module.name)


class Bench:
    """The library, made once, and everything that may be seen of it."""

    def __init__(self, root: Path, *, repairing: float = 0.5) -> None:
        self.repairing = repairing
        _import_all()
        self.root = root
        with shrunken():
            self.made = made.make(root)
        steps = self.made.steps
        ids = [look.reference(step) for step in (*steps, self.made.stranger, self.made.older)]
        self.sources = sorted({name for sources, _ in ids for name in sources})
        self.documents = sorted({name for _, documents in ids for name in documents})
        seen = [self._look(step) for step in (*steps, self.made.stranger, self.made.older)]
        self.states = seen[: len(steps)]
        self.known = _passages(seen)
        self.targets = {path: harms.targets(path) for path in (self.made.closed, self.made.wal)}

    def _look(self, path: Path) -> look.Seen:
        died, seen, said = in_a_fork(lambda: look.look(path, self.sources, self.documents))
        # A source of another state is not found; nothing else may go wrong in a sound library.
        wrong = [(name, told) for name, told in (seen or {}).items() if told[0] != "is" and told[1] != "NotFoundError"]
        if died or wrong or seen["verify"] != ["is", []]:
            raise RuntimeError(f"{path}: {died} {wrong[:1]} {seen and seen['verify']} {said}")
        return dict(seen)

    def copied(self, copy: Path, harm: Callable[[Path], object], *, wal: bool = False) -> Path:
        """A harmed copy, as a test wants it."""
        shutil.copytree(self.made.wal if wal else self.made.closed, copy)
        harm(copy)
        return copy

    def run(self, chance: random.Random) -> tuple[Harm, look.Seen, list[str]]:
        """Harm a copy, look at it, and judge what was seen."""
        base = chance.choice((self.made.closed, self.made.wal))
        copy = self.root / "run"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(base, copy)
        harm = harms.choose(chance, copy, self.targets[base], [self.made.stranger, self.made.older])
        write = chance.random() < 0.3
        ended = in_a_fork(lambda: look.look(copy, self.sources, self.documents, write=write))
        seen = ended.told
        if ended.died or seen is None:
            return harm, {}, [f"the process died: {ended.why}"]
        states = self.states if base == self.made.wal else self.states[:1]
        problems = judge(seen, states, self.known)
        if not write and chance.random() < self.repairing:
            ended = in_a_fork(lambda: look.mended(copy, self.sources, self.documents))
            mended = ended.told
            if ended.died or mended is None:
                return harm, seen, [*problems, f"repair: the process died: {ended.why}"]
            problems += [f"after a repair: {problem}" for problem in judge_repair(mended, states, self.known)]
            seen["repair"] = mended["repair"]
        return harm, seen, problems


_NO_PASSAGES = ("open", "status", "list", "kept", "verify", "write", "repair", "ok", "again")


def _passages(seen: Sequence[look.Seen]) -> dict[str, set[tuple[Any, ...]]]:
    """Every passage that was ever right, by its id: text, document, place and metadata."""
    known: dict[str, set[tuple[Any, ...]]] = collections.defaultdict(set)
    for state in seen:
        for held in _every_passage(state):
            known[held[0]].add(tuple(held))
    return known


def _every_passage(seen: look.Seen) -> Iterator[list[Any]]:
    for name, told in seen.items():
        if told[0] != "is" or name in _NO_PASSAGES or told[1] is None:
            continue
        if name.startswith("read "):
            yield from (held[1:6] for held in told[1][2])
        else:
            yield from (held[:5] for held in told[1])


def judge(seen: look.Seen, states: Sequence[look.Seen], known: dict[str, set[tuple[Any, ...]]]) -> list[str]:
    """What must not be. An answer that differs from what was right is a fault where it tells a wrong text, or `verify` names nothing."""
    problems = []
    for name, told in seen.items():
        if told[0] == "foreign":
            problems.append(f"{name}: an exception of another kind: {told[1]}")
        elif told[0] == "error" and told[1] in ("UsageError", "InvalidFilterError", "DimensionMismatchError"):
            problems.append(f"{name}: the caller is blamed: {told[1]}: {told[2]}")
        elif told[0] == "error" and not told[3]:
            problems.append(f"{name}: names nothing: {told[1]}: {told[2]}")
    problems += [f"wrong passage: {held}" for held in _every_passage(seen) if tuple(held) not in known[held[0]]]
    verified = seen.get("verify", ["error"])
    if verified[0] == "is" and not verified[1]:
        differing = min((_differing(seen, state) for state in states), key=len)
        problems += [f"silent: {name}: {str(seen[name])[:600]}" for name in differing[:3]]
    return problems


def judge_repair(seen: look.Seen, states: Sequence[look.Seen], known: dict[str, set[tuple[Any, ...]]]) -> list[str]:
    """A library that was repaired is sound, says nothing wrong, and is as it was unless the report says otherwise."""
    told = seen["repair"]
    if told[0] == "foreign":
        return [f"an exception of another kind: {told[1]}"]
    if told[0] == "error":
        return [] if told[1] in ("DamagedError", "NotFoundError", "FormatVersionError") else [f"{told[1]}: {told[2]}"]
    if seen["open"][0] != "is":
        return [f"it does not open: {seen['open'][:3]}"]
    problems = []
    left = (
        [found for found in seen["verify"][1] if found[0] != "repair"] if seen["verify"][0] == "is" else seen["verify"]
    )
    if left:
        problems.append(f"not sound: {left}")
    problems += [f"{name}: {told[:3]}" for name, told in seen.items() if told[0] != "is" and told[1] != "NotFoundError"]
    # What was read again has ids of its own, and so has a document whose id is gone.
    texts = {held[1:] for passages in known.values() for held in passages}
    documents = {document for _, document, *_ in texts}
    for _, text, document, *rest in _every_passage(seen):
        renamed = document not in documents and any((text, *rest) == (held[0], *held[2:]) for held in texts)
        if (text, document, *rest) not in texts and not renamed:
            problems.append(f"wrong passage: {text!r} of {document}")
    if seen["ok"] == ["is", True]:
        # A file that was written anew has no dead rows.
        counts = [{**state, "status": seen["status"]} for state in states if _alive(state) == _alive(seen)]
        differing = min((_differing(seen, state) for state in counts or states), key=len)
        problems += [f"silent: {name}: {str(seen[name])[:600]}" for name in differing[:3]]
    if seen["again"] != ["is", 0]:
        problems.append(f"a second repair finds {seen['again']}")
    return problems


def _alive(seen: look.Seen) -> list[Any]:
    """What is counted, dead rows left out."""
    counts = list(seen["status"][1])
    return counts[:5] + counts[6:]


def _differing(seen: look.Seen, state: look.Seen) -> list[str]:
    return [name for name, told in seen.items() if name in state and told[:2] != state[name][:2]]


@dataclass
class Tally:
    """What was done, and what came of it."""

    done: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    found: list[str] = field(default_factory=list)

    def table(self) -> str:
        files = sorted({file for file, _ in self.done})
        rows = [f"{'file':<30}" + "".join(f"{kind:>10}" for kind in harms.KINDS)]
        rows += [f"{file:<30}" + "".join(f"{self.done[file, kind]:>10}" for kind in harms.KINDS) for file in files]
        return "\n".join(rows)


def _outcome(seen: look.Seen) -> str:
    if not seen or seen["open"][0] != "is":
        return "did not open"
    named = seen["verify"][0] != "is" or bool(seen["verify"][1])
    errors = any(told[0] == "error" and told[1] != "NotFoundError" for told in seen.values())
    return ("named by verify" if named else "unseen") + (", some answers refused" if errors else ", all answered")


def campaign(
    bench: Bench,
    seed: int,
    wanted: Sequence[int],
    *,
    say: Callable[[str], None] = lambda said: None,
    keep: bool = False,
) -> Tally:
    tally = Tally()
    for number in wanted:
        harm, seen, problems = bench.run(random.Random(f"{seed} {number}"))
        tally.done[harm.file, harm.kind] += 1
        tally.outcomes[_outcome(seen)] += 1
        for problem in problems:
            tally.found.append(f"run {number}: {harm}: {problem}")
            say(tally.found[-1])
        if keep:
            say(f"run {number}: {harm}\n" + "\n".join(f"  {name}: {str(told)[:300]}" for name, told in seen.items()))
        if len(wanted) >= 1000 and sum(tally.done.values()) % 500 == 0:
            say(f"{sum(tally.done.values())} runs")
    return tally


@contextlib.contextmanager
def shrunken() -> Iterator[None]:
    """The sizes are as they were afterwards, for other tests of the same process."""
    before = Sizes.now()
    Sizes().set()
    try:
        yield
    finally:
        before.set()


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="stackroom-corruption-", dir=working_folder()))
    try:
        yield Bench(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _set_patience(seconds: int) -> None:
    global _PATIENCE
    _PATIENCE = seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, nargs="*", help="the numbers of the runs to repeat")
    parser.add_argument("--keep", type=Path, help="a folder for the last harmed library, with all that was seen of it")
    parser.add_argument(
        "--patience", type=int, default=_PATIENCE, help="seconds after which a look hangs: more on a busy machine"
    )
    given = parser.parse_args()
    _set_patience(given.patience)
    wanted = given.only if given.only is not None else range(given.runs)
    print(f"seed {given.seed}, {len(wanted)} runs", flush=True)
    started = time.monotonic()
    with bench() as prepared:
        tally = campaign(
            prepared, given.seed, wanted, say=lambda said: print(said, flush=True), keep=given.keep is not None
        )
        if given.keep is not None:
            shutil.copytree(prepared.root / "run", given.keep, dirs_exist_ok=True)
    print(tally.table())
    print("\n".join(f"{n:>6} {outcome}" for outcome, n in tally.outcomes.most_common()))
    print(f"{time.monotonic() - started:.0f} s; {len(tally.found)} problems")
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
