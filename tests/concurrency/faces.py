"""The page, an agent and the terminal on one library for a while, and whether what each of them was told can be true.

Each file belongs to one face, which alone changes it: it writes a new stamp into it and adds it, removes it, or switches it. So at any moment
a file has the state of the last change that had ended, or of one that had begun; and an answer shows each file in one such state, whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx

PARTS = 3
OWNERS = {"page": ("page-a.txt", "page-b.txt"), "terminal": ("terminal-a.txt", "terminal-b.txt")}
_ALL = 50
_LONG = "This passage is long enough to stand alone, and nothing in it matters. " * 14


class State(NamedTuple):
    """Of a file: the stamp that it was added with (None: it is not there), and whether it is searched."""

    stamp: int | None
    active: bool


class Change(NamedTuple):
    name: str
    began: float
    ended: float
    state: State


class Answer(NamedTuple):
    """What a face was told of the files that it was asked for: by name, the stamps of its passages."""

    face: str
    began: float
    ended: float
    active: bool
    stamps: dict[str, list[int]]


def text(name: str, stamp: int) -> str:
    return "\n\n".join(f"Stamped {stamp} part {part} of {name}. {_LONG}" for part in range(PARTS))


def problems(changes: Sequence[Change], answers: Sequence[Answer]) -> list[str]:
    """What can't be true, a sentence each."""
    found = []
    names = sorted({change.name for change in changes} | {name for answer in answers for name in answer.stamps})
    for name in names:
        mine = sorted((change for change in changes if change.name == name), key=lambda change: change.began)
        for answer in answers:
            allowed = _allowed(mine, answer)
            shown = answer.stamps.get(name, [])
            if not any(sorted(shown) == _passages(state, active=answer.active) for state in allowed):
                found.append(f"the {answer.face} was told {shown} of {name}, whose state was one of {allowed}")
    return found


def _allowed(changes: Sequence[Change], answer: Answer) -> list[State]:
    states = [State(None, True)]
    for change in changes:
        if change.ended <= answer.began:
            states = [change.state]
        elif change.began <= answer.ended:
            states.append(change.state)
    return states


def _passages(state: State, *, active: bool) -> list[int]:
    return [] if state.stamp is None or (active and not state.active) else [state.stamp] * PARTS


@dataclass
class Library:
    path: Path
    folder: Path


class Log:
    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.answers: list[Answer] = []
        self.wrong: list[str] = []
        self.busy = 0


class Face:
    """One way in. `add`, `remove` and `switch` return False where the library was busy, and nothing was changed."""

    name: str

    def search(self, active: bool) -> list[tuple[str, str]]:
        """Path and text of every passage."""
        raise NotImplementedError

    def add(self, path: Path) -> bool:
        raise NotImplementedError

    def remove(self, path: Path) -> bool:
        raise NotImplementedError

    def switch(self, path: Path, on: bool) -> bool:
        raise NotImplementedError


class Terminal(Face):
    name = "terminal"

    def __init__(self, library: Library) -> None:
        self._library = library

    def _run(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "stackroom", "--library", str(self._library.path), "--json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 4:
            return None
        if done.returncode:
            raise RuntimeError(f"stackroom {arguments}: {done.returncode} {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def search(self, active: bool) -> list[tuple[str, str]]:
        options = ("--active",) if active else ()
        found = self._run("search", "-k", str(_ALL), "--mode", "text", *options, "stamped")
        return [(hit["document"]["path"], hit["text"]) for hit in found["hits"]]

    def add(self, path: Path) -> bool:
        return self._run("add", str(path)) is not None

    def remove(self, path: Path) -> bool:
        return self._run("remove", "--yes", str(path)) is not None

    def switch(self, path: Path, on: bool) -> bool:
        return self._run("active", "on" if on else "off", str(path)) is not None


class Page(Face):
    name = "page"

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _ask(self, method: str, path: str, **given: Any) -> Any:
        answer = self._client.request(method, path, **given)
        if answer.status_code in (409, 423, 503):
            return None
        if answer.status_code >= 300:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
        return answer.json()

    def search(self, active: bool) -> list[tuple[str, str]]:
        query = {"q": "stamped", "k": _ALL, "mode": "text", "active": str(active).lower()}
        found = self._ask("GET", "/api/search", params=query)
        return [(hit["document"]["path"], hit["text"]) for hit in found["hits"]]

    def add(self, path: Path) -> bool:
        told = self._ask("POST", "/api/add", json={"paths": [str(path)]})
        while told is not None and told["job"]["state"] in ("queued", "waiting", "running"):
            time.sleep(0.02)
            told = self._ask("GET", f"/api/jobs/{told['job']['id']}")
        if told is not None and told["job"]["state"] != "done":
            raise RuntimeError(f"the page's job: {told}")
        return told is not None

    def remove(self, path: Path) -> bool:
        return self._ask("POST", "/api/remove", json={"sources": [str(path)]}) is not None

    def switch(self, path: Path, on: bool) -> bool:
        return self._ask("POST", "/api/active", json={"sources": [str(path)], "active": on}) is not None


def change(face: Face, library: Library, log: Log, chance: random.Random, until: float) -> None:
    """Change this face's files, one after the other."""
    states = {name: State(None, True) for name in OWNERS[face.name]}
    stamp = changed = 0
    # On a busy machine the time may be over before the first change is.
    while time.monotonic() < until or not changed:
        name = chance.choice(sorted(states))
        path, state = library.folder / name, states[name]
        kind = "add" if state.stamp is None else chance.choices(["add", "remove", "switch"], [4, 1, 3])[0]
        if kind == "add":
            stamp += 1
            path.write_text(text(name, stamp), encoding="utf-8")
        began = time.monotonic()
        if kind == "add":
            done, after = face.add(path), State(stamp, state.active)
        elif kind == "remove":
            done, after = face.remove(path), State(None, True)
        else:
            done, after = face.switch(path, not state.active), State(state.stamp, not state.active)
        if done:
            states[name] = after
            changed += 1
            log.changes.append(Change(name, began, time.monotonic(), after))
        else:
            log.busy += 1


def look(face: Face, log: Log, chance: random.Random, until: float) -> None:
    while time.monotonic() < until:
        active = chance.random() < 0.5
        began = time.monotonic()
        found = face.search(active)
        log.answers.append(_answer(face.name, began, active, found))


def _answer(face: str, began: float, active: bool, found: Sequence[tuple[str, str]]) -> Answer:
    stamps: dict[str, list[int]] = {}
    for path, said in found:
        stamps.setdefault(Path(path).name, []).append(int(said.split()[1]))
    return Answer(face, began, time.monotonic(), active, stamps)


async def ask(library: Library, log: Log, chance: random.Random, ready: Callable[[], float]) -> None:
    """An agent, by `stackroom mcp`: it searches, reads and lists until the time that `ready` gives."""
    from mcp import Client, StdioServerParameters

    async def call(tool: str, /, **given: Any) -> Any:
        result = await client.call_tool(tool, given)
        if result.is_error:
            return None
        return result.structured_content

    server = StdioServerParameters(
        command=sys.executable, args=["-m", "stackroom", "--library", str(library.path), "mcp"]
    )
    async with Client(server) as client:
        await client.list_tools()
        until = ready()
        while time.monotonic() < until:
            active = chance.random() < 0.5
            began = time.monotonic()
            found = await call("search", query="stamped", k=_ALL, active=active)
            if found is None:
                raise RuntimeError("the agent's search failed")
            log.answers.append(_answer("agent", began, active, [(hit["path"], hit["text"]) for hit in found["hits"]]))
            if found["hits"]:
                hit = chance.choice(found["hits"])
                # It may be gone by now; another text under the same id is never right.
                passage = await call("read", chunk_id=hit["chunk_id"], context=1)
                if passage is not None and passage["text"] != hit["text"] and passage["path"] != hit["path"]:
                    log.wrong.append(f"the agent read {passage['path']} under an id of {hit['path']}")
            listed = await call("list_documents")
            if listed is None or listed["total"] > sum(map(len, OWNERS.values())):
                log.wrong.append(f"the agent was told of {listed}")


@contextlib.contextmanager
def page(library: Library) -> Iterator[Page]:
    command = [sys.executable, "-m", "stackroom", "--library", str(library.path), "ui", "--no-open", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            base, _, token = process.stdout.readline().strip().partition("/?token=")
            with httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=120) as client:
                yield Page(client)
        finally:
            process.terminate()


def run(work: Path, *, seconds: float, seed: int) -> tuple[Log, list[str]]:
    """What was done and told, and what is wrong with it."""
    library = Library(work / "library", work / "files")
    library.folder.mkdir()
    log = Log()
    with page(library) as opened:
        terminal = Terminal(library)
        # The agent's program is the slowest to start: the time begins with it.
        began = threading.Barrier(2, timeout=120)

        def ready() -> float:
            began.wait()
            return time.monotonic() + seconds

        def chance(name: str) -> random.Random:
            return random.Random(f"{seed} {name}")

        def guarded(work: Callable[[], Any]) -> None:
            try:
                work()
            except Exception:
                log.wrong.append(traceback.format_exc())
                began.abort()

        agent = threading.Thread(target=guarded, args=(lambda: asyncio.run(ask(library, log, chance("agent"), ready)),))
        agent.start()
        until = ready()
        works: list[Callable[[], Any]] = [
            lambda: change(opened, library, log, chance("page"), until),
            lambda: change(terminal, library, log, chance("terminal"), until),
            lambda: look(opened, log, chance("page looks"), until),
            lambda: look(terminal, log, chance("terminal looks"), until),
        ]
        threads = [threading.Thread(target=guarded, args=(one,)) for one in works]
        for thread in threads:
            thread.start()
        for thread in (*threads, agent):
            thread.join()
        # When all is quiet every face tells the same.
        for face in (opened, terminal):
            began = time.monotonic()
            log.answers.append(_answer(face.name, began, False, face.search(active=False)))
    return log, [*log.wrong, *problems(log.changes, log.answers)]
