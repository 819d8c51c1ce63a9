"""Interrupts scenarios at a system call, or cuts the power, and looks at what is left. One process, started under the shim.

Each run is a fork, so that imports are paid for once: one that acts (and is killed, or meets an error), one that looks.
Requests come as lines of JSON on standard input, and answers go the same way: see `Harness.run`.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import scenarios
from power import Disk, Entry, read_journal
from scenarios import SCENARIOS, Run, Scenario
from shim import CHANGING, Action, Call, Shim

import small_worlds
from stackroom.errors import (
    BusyError,
    DamagedError,
    DiskFullError,
    ReadOnlyError,
    StackroomError,
    StorageError,
    UsageError,
)
from stackroom.progress import CancelToken, silent
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore

_PATIENCE = 120
"""Seconds after which a run hangs."""

FAULTS: dict[str, tuple[Call, int]] = {
    "full": (Call.WRITE | Call.MAKE | Call.SYNC, errno.ENOSPC),
    "quota": (Call.WRITE | Call.MAKE, errno.EDQUOT),
    "broken": (CHANGING, errno.EIO),
    "unreadable": (Call.READ, errno.EIO),
    "handles": (Call.OPEN, errno.EMFILE),
    "read-only": (Call.OPEN_TO_WRITE | Call.MAKE | Call.RENAME | Call.UNLINK | Call.WRITE | Call.SIZE, errno.EROFS),
    "memory": (Call.MAP, errno.ENOMEM),
    "locks": (Call.LOCK, errno.ENOLCK),
}
"""The calls that fail, and how."""

_EXPECTED: dict[str, tuple[type[StackroomError], ...]] = {
    "full": (DiskFullError,),
    "quota": (DiskFullError,),
    "broken": (StorageError,),
    # An old backup that can't be read is none, and is not replaced.
    "unreadable": (StorageError, DamagedError, UsageError),
    "handles": (StorageError,),
    "read-only": (ReadOnlyError,),
    "memory": (StorageError,),
    "locks": (StorageError, BusyError),
}
_WRONG: dict[str, tuple[type[StackroomError], ...]] = {
    "broken": (DiskFullError, ReadOnlyError),
    "unreadable": (DiskFullError, ReadOnlyError),
    "handles": (DiskFullError, ReadOnlyError),
    "memory": (DiskFullError, ReadOnlyError),
    "locks": (DiskFullError, ReadOnlyError),
}
"""Errors whose hint would send the user the wrong way."""


def in_a_fork(work: Callable[[], Any]) -> small_worlds.Ended:
    """As of small_worlds; an exception's text is in `problems`."""

    def told() -> Any:
        try:
            return work()
        except BaseException:
            return {"problems": [traceback.format_exc(limit=-6)]}

    return small_worlds.in_a_fork(told, patience=_PATIENCE)


class Harness:
    """Everything about one scenario in one working folder."""

    def __init__(self, name: str, work: Path) -> None:
        self.name = name
        self.scenario: Scenario = SCENARIOS[name]
        self.before = work / f"{name}.before"
        self.root = work / "run"
        self.journal = work / f"{name}.journal"
        self._call(lambda: self._prepare())
        self.states: list[Any] = self._call(self._states)["states"]
        self._entries: list[Entry] | None = None

    def _call(self, work: Callable[[], Any]) -> Any:
        killed, answer, said = in_a_fork(work)
        if killed or (isinstance(answer, dict) and answer.get("problems")):
            raise RuntimeError(f"{self.name}: {killed} {answer} {said}")
        return answer

    def _prepare(self) -> None:
        # Under the name that it will have, since sources are known by their paths.
        scenarios.prepare(self.name, self.root)
        shutil.copytree(self.root, self.before)

    def _restart(self) -> None:
        if self.root.exists():
            shutil.rmtree(self.root)
        shutil.copytree(self.before, self.root)

    def _states(self) -> Any:
        """What there is to be seen after each step of a run that nothing interrupts; the first is what was before."""
        self._restart()
        states = [self.scenario.see(self.root)]
        run = Run(self.root, lambda: states.append(self.scenario.see(self.root)))
        with _each_commit(run):
            self.scenario.act(run)
        return {"states": states}

    def _act(self, plan: tuple[Call, int, Action, int], marked: Callable[[], None]) -> Run:
        shim = Shim()
        shim.watch(self.root / self.scenario.watched)
        run = Run(self.root, marked)
        with _each_commit(run):
            shim.plan(*plan)
            try:
                self.scenario.act(run)
            finally:
                run.counted = shim.counted
                shim.rest()
        return run

    def count(self, kinds: Call) -> int:
        """How many calls of these kinds a run makes."""
        self._restart()
        return int(self._call(lambda: {"n": self._act((kinds, 0, Action.NOTHING, 0), lambda: None).counted})["n"])

    def kill(self, nth: int, halfway: bool, seed: int) -> dict[str, Any]:
        """Kill the process at its nth call that changes the disk."""
        self._restart()
        readable, writable = os.pipe()
        action = Action.KILL_HALFWAY if halfway else Action.KILL
        killed, answer, said = in_a_fork(
            lambda: self._act((CHANGING, nth, action, 0), lambda: os.write(writable, b".")) and {}
        )
        os.close(writable)
        with os.fdopen(readable, "rb") as pipe:
            marks = len(pipe.read())
        if not killed and not answer:
            # One call less than when they were counted: it came to its end.
            return {"problems": [], "missed": True}
        if killed != signal.SIGKILL:
            return {"problems": [f"not killed: {killed} {answer} {said}"]}
        return self._look(marks, seed, power=False)

    def record(self) -> int:
        """Keep the journal of a run; how many entries it has."""
        self._restart()

        def work() -> Any:
            descriptor = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            os.dup2(descriptor, 900)
            shim = Shim()
            shim.watch(self.root / self.scenario.watched, 900)
            run = Run(self.root, lambda: shim.mark(0))
            with _each_commit(run):
                self.scenario.act(run)

        self._call(work)
        self._entries = read_journal(self.journal)
        return len(self._entries)

    def cut(self, at: int, seed: int) -> dict[str, Any]:
        """Cut the power after that many entries of the journal."""
        if self._entries is None:
            self.record()
        assert self._entries is not None
        disk = Disk(self.root, self.before)
        for entry in self._entries[:at]:
            disk.do(entry)
        if self.root.exists():
            shutil.rmtree(self.root)
        disk.cut(random.Random(seed), self.root)
        return self._look(disk.marks, seed, power=True)

    def fault(self, name: str, nth: int, action: Action, seed: int) -> dict[str, Any]:
        """Have a call fail; the process goes on, and says what it was told."""
        self._restart()
        kinds, error = FAULTS[name]

        def work() -> dict[str, Any]:
            return self._meet(name, (kinds, nth, action, error))

        ended = in_a_fork(work)
        answer = ended.told
        if ended.died or answer is None:
            return {"problems": [f"died of {ended.why}"]}
        looked = self._look(answer["marks"], seed, power=False, finished=answer["raised"] is None)
        return {**looked, "problems": answer["problems"] + looked["problems"], "raised": answer["raised"]}

    def clock(self, seed: int) -> dict[str, Any]:
        """Do it while the clock jumps."""
        self._restart()

        def work() -> Any:
            shim = Shim()
            shim.jump(seed)
            try:
                self.scenario.act(Run(self.root, lambda: None))
            finally:
                shim.jump(0)

        killed, answer, said = in_a_fork(work)
        if killed or answer:
            return {"problems": [f"{killed} {answer} {said}"]}
        return self._look(0, seed, power=False, finished=True)

    def twice(self, first: int, second: int, seed: int) -> dict[str, Any]:
        """Beside a process that reads, one writer is killed at a sync, and the next one at any call; then the power goes.

        The reader keeps SQLite's index of the WAL alive, which knows nothing of a commit whose writer died before it said so; the
        WAL itself may hold that commit whole, and whoever opens the library after everybody has gone finds it there.
        """
        self._restart()
        reading, told = os.pipe()
        reader = os.fork()
        if reader == 0:
            store = LocalStore(self.root / self.scenario.library, mode="r")
            with store.view() as view:
                view.listing()
            os.write(told, b".")
            signal.pause()
        os.read(reading, 1)
        plans = ((Call.SYNC, first), (CHANGING, second))
        for name, (kinds, nth) in zip(("one", "two"), plans, strict=True):

            def write(name: str = name, kinds: Call = kinds, nth: int = nth) -> None:
                shim = Shim()
                shim.watch(self.root / self.scenario.watched)
                run = Run(self.root, lambda: None)
                with run.store() as store:
                    shim.plan(kinds, nth, Action.KILL)
                    scenarios.put(store, name, scenarios.texts("new", 4, seed=len(name) + nth))

            in_a_fork(write)
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
        library = self.root / self.scenario.library

        def look() -> Any:
            return {"problems": [*_sound(library, False), *_next_commit(library)]}

        return dict(in_a_fork(look).told)

    def _meet(self, name: str, plan: tuple[Call, int, Action, int]) -> dict[str, Any]:
        """Act, judge the error, and go on in the same process with what was open."""
        problems: list[str] = []
        sys.unraisablehook = lambda args: problems.append(f"in passing: {args.exc_value!r}")
        marks = 0

        def marked() -> None:
            nonlocal marks
            marks += 1

        shim = Shim()
        shim.watch(self.root / self.scenario.watched)
        run = Run(self.root, marked)
        raised: str | None = None
        with _each_commit(run):
            shim.plan(*plan)
            try:
                self.scenario.act(run)
            except StackroomError as error:
                shim.rest()
                raised = f"{type(error).__name__}: {error.message}"
                problems += _judged(name, error, self.root)
            except Exception as error:
                shim.rest()
                raised = repr(error)
                problems.append(f"foreign: {error!r}\n{''.join(traceback.format_exception(error)[-6:])}")
            finally:
                shim.rest()
        for store in run.opened:
            problems += _goes_on(store)
        return {"problems": problems, "marks": marks, "raised": raised}

    def _look(self, marks: int, seed: int, *, power: bool, finished: bool = False) -> dict[str, Any]:
        ended = in_a_fork(lambda: {"problems": list(self._problems(marks, seed, power, finished))})
        if ended.died:
            return {"problems": [f"looking at it died of {ended.why}"]}
        return dict(ended.told)

    def _problems(self, marks: int, seed: int, power: bool, finished: bool) -> Iterator[str]:
        chance = random.Random(seed)
        library = self.root / self.scenario.library
        allowed = self.states[-1:] if finished else self.states[marks : marks + 2]
        if chance.random() < 0.5:
            # As an application opens it, which may fold the WAL in; else the first look is a reader's.
            with contextlib.suppress(StackroomError), contextlib.closing(LocalStore(library, mode="w")):
                pass
        found = self.scenario.see(self.root)
        if found not in allowed:
            yield f"neither before nor after: {_differs(found, allowed)}"
            return
        if found == scenarios.DAMAGED:
            self.scenario.act(Run(self.root, lambda: None))
            found, allowed = self.scenario.see(self.root), self.states[-1:]
            if found not in allowed:
                yield f"a second run leads elsewhere: {_differs(found, allowed)}"
                return
        blank = found is None or found[0] is None
        if found is not None and layout.is_library(library):
            yield from _sound(library, power)
            yield from _next_commit(library)
            found_again = self.scenario.see(self.root)
            # The first commit with vectors says how long they are, and that stays.
            if found_again not in allowed and not blank:
                yield f"changed by the next commit: {_differs(found_again, allowed)}"
        if self.scenario.again and chance.random() < 0.5:
            run = Run(self.root, lambda: None)
            self.scenario.act(run)
            end = self.scenario.see(self.root)
            if end != self.states[-1] and not blank:
                yield f"a second run leads elsewhere: {_differs(end, self.states[-1:])}"
            if layout.is_library(library):
                yield from _sound(library, power)
                yield from _next_commit(library)
        if layout.is_library(library) and chance.random() < 0.3:
            yield from _nothing_left(library)


@contextlib.contextmanager
def _each_commit(run: Run) -> Iterator[None]:
    """A commit that has returned was confirmed."""
    original = LocalStore.commit

    @contextlib.contextmanager
    def commit(self: LocalStore, **named: Any) -> Iterator[Any]:
        with original(self, **named) as change:
            yield change
        run.mark()

    LocalStore.commit = commit  # type: ignore[method-assign]
    try:
        yield
    finally:
        LocalStore.commit = original  # type: ignore[method-assign]


def _judged(name: str, error: StackroomError, root: Path) -> Iterator[str]:
    """An error must be of a class that means this, name a file, and say what to do."""
    said = f"{type(error).__name__}: {error}"
    # Now and then SQLite tries another way, or cleans up, before it is asked what the system said.
    vague = any(
        words in error.message for words in ("disk I/O error", "unable to open database file", "can't be read back")
    )
    if vague and type(error) is StorageError and name in ("full", "quota", "read-only"):
        return
    # Where it can't open the WAL's index for writing, SQLite goes on with a read-only one.
    if name == "handles" and "readonly database" in error.message:
        return
    if not isinstance(error, _EXPECTED[name]) or isinstance(error, _WRONG.get(name, ())):
        yield f"a poor class: {said}"
    if str(root) not in error.message:
        yield f"names no file: {said}"
    if not error.hint:
        yield f"no hint: {said}"
    if error.path is None:
        yield f"no path: {said}"


def _goes_on(store: LocalStore) -> Iterator[str]:
    """The fault is over: what was open reads, writes or says that it must be opened again, and closes."""
    try:
        if not layout.is_library(store.path):
            return
        with store.view() as view:
            view.listing()
        try:
            with store.commit() as change:
                change.attach("marker", b"1")
            with store.view() as view:
                if "marker" not in dict(view.attachments()):
                    yield "goes on, and does not see what it commits"
            with store.commit() as change:
                change.detach("marker")
        except StorageError as error:
            if "failed before" not in error.message:
                yield f"does not go on: {error}"
    except Exception as error:
        yield f"does not go on: {error!r}\n{''.join(traceback.format_exception(error)[-4:])}"
    finally:
        try:
            store.close()
        except Exception as error:
            yield f"does not close: {error!r}"


def _sound(library: Path, power: bool) -> Iterator[str]:
    """`verify` finds nothing (but derived files that a power cut spoiled), and every search agrees with what is stored."""
    with contextlib.closing(LocalStore(library, mode="r")) as store:
        damage = store.verify(progress=silent, cancel=CancelToken()).damage
    for one in damage:
        # What a repair has left to be done is known, and harms nothing.
        if not (power and one.structure == "sketches") and one.structure != "repair":
            yield f"damage: {one.structure}: {one.message}"
    for wrong in scenarios.answers(library):
        yield f"wrong answer: {wrong}"


def _next_commit(library: Path) -> Iterator[str]:
    """Add and remove something, rows included."""
    with contextlib.closing(LocalStore(library)) as store:
        before = store.stats().chunks
        with store.view() as view:
            dim = view.identity.dim if view.identity is not None else scenarios.DIM
        given = scenarios.chunks(["marker one", "marker two"], seed=999, dim=dim)
        scenarios.put(store, "marker", given)
        damage = store.verify(progress=silent, cancel=CancelToken()).damage
        yield from (
            f"damage after the next commit: {one}" for one in damage if one.structure not in ("sketches", "repair")
        )
        key = scenarios.key_of(store, "marker")
        with store.view() as view:
            held = [item.chunk for document in view.documents(key) for item in view.chunks(document.key, vectors=True)]
        if [chunk.embedding.tobytes() for chunk in held] != [chunk.embedding.tobytes() for chunk in given]:
            yield "the next commit reads back otherwise"
        with store.commit() as change:
            change.remove_source(key)
        if store.stats().chunks != before:
            yield "the next commit counts otherwise"


def _nothing_left(library: Path) -> Iterator[str]:
    """After a compaction there is no file that nobody knows."""
    with contextlib.closing(LocalStore(library)) as store:
        before = scenarios.see(library)
        store.compact(progress=silent, cancel=CancelToken())
        if scenarios.see(library) != before:
            yield "a compaction changed it"
        with store.view() as view:
            named = {row[0] for row in view.connection.rows("SELECT file FROM spaces")}
            made = {
                row[0]
                for table in ("sketches", "word_files")
                for row in view.connection.rows(f"SELECT file FROM {table}")
            }
    left = {path.name.removesuffix(".norms") for path in layout.vectors(library).iterdir()} - named
    folder = layout.sketches(library)
    left |= {path.name for path in folder.iterdir()} - made if folder.is_dir() else set()
    usual = {
        "catalogue.db",
        "vectors",
        "sketches",
        "writer.lock",
        "ingest.lock",
        "sketch.lock",
        "migration-report.json",
    }
    left |= {path.name for path in library.iterdir() if not path.name.startswith("damaged.")} - usual
    if left:
        yield f"left behind: {sorted(left)}"


def _differs(found: Any, allowed: list[Any]) -> str:
    return f"found {str(found)[:700]}\n  allowed {[str(state)[:700] for state in allowed]}"


def _import_all() -> None:
    """What is imported at its first use would be imported by every fork."""
    importlib.import_module("faiss")
    for package in ("storage", "ingest", "migration", "search"):
        home = importlib.import_module(f"stackroom.{package}")
        for module in pkgutil.walk_packages(home.__path__, f"{home.__name__}."):
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(module.name)


def serve() -> None:
    """One request a line: [method, scenario, arguments...]."""
    _import_all()
    scenarios.shrink_the_world()
    work = Path(tempfile.mkdtemp(prefix="stackroom-crash-", dir=os.environ.get("STACKROOM_TEST_WORK")))
    known: dict[str, Harness] = {}
    try:
        for line in sys.stdin:
            method, name, *arguments = json.loads(line)
            try:
                if name not in known:
                    known[name] = Harness(name, work)
                answer = getattr(known[name], method)(*arguments)
            except Exception:
                answer = {"problems": [traceback.format_exc()], "broken": True}
            print(json.dumps(answer), flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    serve()
