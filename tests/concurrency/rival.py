"""A process that works on a library for a while, with a thread for each of its roles, and writes down all that it did and saw.

What is stored is known from what was committed: GROUPS groups of SIZE sources, one document each. A commit stamps all documents of a
group anew (text, metadata and vectors say with what), removes a group, or switches it; its stamp is the number that the commit gets.
Each line of the log is one event, with the times of CLOCK_MONOTONIC, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import BusyError, StackroomError
from stackroom.filters import parse
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue import records
from stackroom.storage.disk.lock import FileLock
from stackroom.storage.snapshot import Snapshot
from stackroom.storage.store import LocalStore
from stackroom.storage.writer import LocalCommit
from stackroom.types import Chunk

GROUPS = 6
SIZE = 4
PARTS = 2
DIM = 16
ALL = 10_000


def vector(group: int, member: int, part: int, stamp: int) -> NDArray[np.float32]:
    made = np.random.default_rng((group, member, part, stamp)).standard_normal(DIM)
    return (made / np.linalg.norm(made)).astype(np.float32)


def text(group: int, member: int, part: int, stamp: int) -> str:
    # Some of it does not compress: what was replaced takes room in the log.
    noise = np.random.default_rng((stamp, member)).bytes(100).hex()
    return f"stamped {stamp} group{group} member{member} part{part} {noise}"


def name(group: int, member: int) -> str:
    return f"g{group}-m{member}"


class Log:
    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._guard = threading.Lock()

    def write(self, **event: Any) -> None:
        with self._guard:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()


class Worker:
    def __init__(self, store: LocalStore, log: Log, chance: random.Random, end: float, backups: Path) -> None:
        self.store, self.log, self.chance, self.end, self.backups = store, log, chance, end, backups

    def run(self, role: str) -> None:
        work: Callable[[], None] = getattr(self, role)
        while time.monotonic() < self.end:
            try:
                work()
            except StackroomError as error:
                self.log.write(kind="error", role=role, type=type(error).__name__, said=str(error))
            except Exception:
                self.log.write(kind="error", role=role, type="foreign", said=traceback.format_exc())

    # What writes.

    def write(self) -> None:
        group = self.chance.randrange(GROUPS)
        change = self.chance.choices(["stamp", "remove", "active", "metadata"], [6, 1, 3, 2])[0]
        flag = self.chance.random() < 0.5
        began = time.monotonic()
        with self.store.commit(wait=60.0) as commit:
            connection = commit._connection
            number = connection.value("SELECT value FROM settings WHERE name = 'commits'") + 1
            there = [records.source_by_name(connection, name(group, member)) for member in range(SIZE)]
            keys = [record.key for record in there if record is not None]
            if change == "stamp":
                self._stamp(commit, group, number)
            elif change == "remove":
                for key in keys:
                    commit.remove_source(key)
            elif change == "active":
                commit.set_active(keys, flag)
            else:
                for member, key in enumerate(keys):
                    known = records.document_by_id(connection, name(group, member))
                    assert known is not None
                    commit.put_document(
                        DocumentRecord(known.document_id, key, metadata={**known.metadata, "touched": number})
                    )
        self.log.write(
            kind="commit",
            began=began,
            ended=time.monotonic(),
            version=number,
            change=change,
            group=group,
            flag=flag,
        )

    def _stamp(self, commit: LocalCommit, group: int, number: int) -> None:
        for member in range(SIZE):
            source = commit.put_source(SourceRecord(name=name(group, member)))
            document = commit.put_document(
                DocumentRecord(name(group, member), source, metadata={"group": group, "stamp": number})
            )
            commit.add_chunks(
                document,
                [
                    Chunk(
                        text(group, member, part, number),
                        f"{name(group, member)}-{part}",
                        {"of": number},
                        embedding=vector(group, member, part, number),
                    )
                    for part in range(PARTS)
                ],
            )

    def upkeep(self) -> None:
        time.sleep(0.05)
        with contextlib.suppress(BusyError):
            getattr(self, self.chance.choice(["_compact", "_verify", "_backup", "_sketch"]))()

    def _compact(self) -> None:
        self.store.compact(progress=silent, cancel=CancelToken())

    def _sketch(self) -> None:
        self.store.maintain()

    def _verify(self) -> None:
        found = self.store.verify(progress=silent, cancel=CancelToken())
        if found.damage:
            self.log.write(kind="error", role="verify", type="damage", said=str(found.damage))

    def _backup(self) -> None:
        target = self.backups / f"{self.chance.getrandbits(64):016x}"
        began = time.monotonic()
        self.store.backup(target, refresh=False, progress=silent, cancel=CancelToken())
        ended = time.monotonic()
        with contextlib.closing(LocalStore(target, mode="r")) as copy, copy.view() as view:
            self.log.write(kind="view", began=began, ended=ended, version=view.version, saw=seen(view, self.chance))
        shutil.rmtree(target)

    # What reads.

    def read(self) -> None:
        began = time.monotonic()
        with self.store.view() as view:
            ended = time.monotonic()
            saw = [seen(view, self.chance)]
            if self.chance.random() < 0.2:
                time.sleep(self.chance.random() * 0.3)
                saw.append(seen(view, self.chance))
            version = view.version
        for one in saw:
            self.log.write(kind="view", began=began, ended=ended, version=version, saw=one)

    def reopen(self) -> None:
        """As the command line does it: open, look, close."""
        began = time.monotonic()
        with contextlib.closing(LocalStore(self.store.path)) as other, other.view() as view:
            self.log.write(
                kind="view", began=began, ended=time.monotonic(), version=view.version, saw=seen(view, self.chance)
            )
        time.sleep(0.02)


def seen(view: Snapshot, chance: random.Random) -> dict[str, Any]:
    """What a view shows, asked in every way there is: for each group its stamps and switches, and what else is not as it must be."""
    wrong: list[str] = []
    stamps: dict[int, list[int]] = {}
    touched: dict[int, list[int]] = {}
    active: dict[int, list[bool]] = {}
    keys: dict[int, list[int]] = {}
    for source in view.listing():
        if source.path[0] != "g":
            continue
        group, member = (int(part[1:]) for part in source.path.split("-"))
        active.setdefault(group, []).append(source.active)
        document = view.document(source.path)
        if document is None:
            wrong.append(f"{source.path} has no document")
            continue
        stamp = document.metadata["stamp"]
        stamps.setdefault(group, []).append(stamp)
        touched.setdefault(group, []).append(document.metadata.get("touched", 0))
        found = list(view.chunks(document.key, vectors=True))
        keys.setdefault(group, []).extend(item.key for item in found)
        wanted = [text(group, member, part, stamp) for part in range(PARTS)]
        if [item.chunk.text for item in found] != wanted:
            wrong.append(f"{source.path} of stamp {stamp} has the texts {[item.chunk.text for item in found]}")
        for part, item in enumerate(found):
            if not np.array_equal(item.chunk.embedding, vector(group, member, part, stamp)):
                wrong.append(f"the vector of {item.chunk.chunk_id} is not that of stamp {stamp}")
    everything = sorted(key for listed in keys.values() for key in listed)
    lit = sorted(key for group, listed in keys.items() if all(active[group]) for key in listed)
    query = vector(0, 0, 0, 0)

    def same(what: str, got: Any, expected: list[int]) -> None:
        if sorted(np.asarray(got).tolist()) != expected:
            wrong.append(f"{what}: {sorted(np.asarray(got).tolist())} instead of {expected}")

    same("words", view.matching("stamped", ALL, Scope())[0].keys, everything)
    same("vectors", view.nearest(query, ALL, Scope()).keys, everything)
    same("active words", view.matching("stamped", ALL, Scope(active=True))[0].keys, lit)
    same("active vectors", view.nearest(query, ALL, Scope(active=True)).keys, lit)
    if keys:
        group = chance.choice(sorted(keys))
        member, part, stamp = chance.randrange(SIZE), chance.randrange(PARTS), stamps[group][0]
        mine = sorted(keys[group])
        same("a filter", view.nearest(query, ALL, Scope(where=parse(f"group == {group}"))).keys, mine)
        same("a filter on chunks", view.matching("stamped", ALL, Scope(where=parse(f"of == {stamp}")))[0].keys, mine)
        same("a word", view.matching(f"group{group}", ALL, Scope())[0].keys, mine)
        best = view.nearest(vector(group, member, part, stamp), 1, Scope()).keys.tolist()
        same("the nearest", best, [key for key in view.chunk_keys([f"{name(group, member)}-{part}"]) if key])
        passages = view.passages(mine)
        if {passage.metadata.get("of") for passage in passages} != {stamp}:
            wrong.append(f"the chunks of group {group} are not of stamp {stamp}")
    return {"stamps": stamps, "touched": touched, "active": active, "wrong": wrong}


# Faults to put into the code, each of which the checker must find.


def _no_transaction() -> None:
    """Each question of a view sees the newest commit of its own."""

    @contextlib.contextmanager
    def reading(self: LocalStore) -> Iterator[Any]:
        with self._reader() as reader:
            yield reader

    LocalStore._reading = reading  # type: ignore[method-assign]


def _two_transactions() -> None:
    """What a commit has changed so far is visible before it ends."""
    remember = LocalCommit.put_source

    def put_source(self: LocalCommit, record: SourceRecord) -> int:
        if record.name.endswith("m2"):
            self._connection.execute("COMMIT")
            time.sleep(0.005)
            self._connection.execute("BEGIN IMMEDIATE")
        return remember(self, record)

    LocalCommit.put_source = put_source  # type: ignore[method-assign]


def _no_lock() -> None:
    """The writer lock keeps nobody out."""

    @contextlib.contextmanager
    def hold(self: FileLock, purpose: str = "", *, wait: float, waiting: Any = None) -> Iterator[None]:
        yield

    FileLock.hold = hold  # type: ignore[method-assign, assignment]


def _old_views() -> None:
    """A connection's transaction is left open, and the next view gets it as it is."""

    @contextlib.contextmanager
    def reading(self: LocalStore) -> Iterator[Any]:
        with self._reader() as reader:
            if not reader.connection.in_transaction:
                reader.connection.execute("BEGIN")
            yield reader

    LocalStore._reading = reading  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "no-transaction": _no_transaction,
    "two-transactions": _two_transactions,
    "no-lock": _no_lock,
    "old-views": _old_views,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--roles", nargs="+", required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--fault", choices=FAULTS)
    given = parser.parse_args()
    if given.fault:
        FAULTS[given.fault]()
    backups = given.log.parent / f"backups-{given.log.stem}"
    backups.mkdir()
    log = Log(given.log)
    end = time.monotonic() + given.seconds
    with contextlib.closing(LocalStore(given.library)) as store:
        threads = [
            threading.Thread(
                target=Worker(store, log, random.Random(f"{given.seed} {at}"), end, backups).run, args=(role,)
            )
            for at, role in enumerate(given.roles)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    log.write(kind="end")


if __name__ == "__main__":
    main()
