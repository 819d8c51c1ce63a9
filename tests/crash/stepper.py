"""Does one change again and again, each time in a fork that kills itself one step later than the one before."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from old_index import OldIndex
from stackroom import migration
from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.migration import reading
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio
from stackroom.storage.store import LocalStore
from support import WordEmbedder, chunks


def before(library: Path) -> None:
    store = LocalStore(library)
    for name in ("a", "b", "c"):
        with store.commit() as commit:
            source = commit.put_source(SourceRecord(name=name))
            document = commit.put_document(DocumentRecord(name, source, metadata={"name": name}))
            commit.add_chunks(
                document, chunks([f"old {name} {i}" for i in range(4)] + [f"kept {name}"], seed=ord(name))
            )
    with store.commit() as commit:
        commit.remove_chunks([2, 3])
    store.close()


def create(library: Path) -> None:
    LocalStore(library).close()


def commit(library: Path) -> None:
    store = LocalStore(library)
    with store.commit() as change:
        source = change.put_source(SourceRecord(name="d"))
        document = change.put_document(DocumentRecord("d", source, metadata={"name": "d"}))
        change.add_chunks(document, chunks([f"new {i}" for i in range(6)], seed=9))
        change.remove_chunks([1, 6])
        with_b = store_source(store, "b")
        change.set_active([with_b], False)
        change.remove_source(with_b)
    store.close()


def store_source(store: LocalStore, name: str) -> int:
    with store.view() as view:
        found = view.source(name)
        assert found is not None
        return found.key


def compact(library: Path) -> None:
    store = LocalStore(library)
    # Something visible at the end, so that before and after can be told apart.
    store.compact(progress=silent, cancel=CancelToken())
    with store.commit() as change:
        change.set_active(None, False)
    store.close()


def reembed(library: Path) -> None:
    store = LocalStore(library)
    new = WordEmbedder("new", dim=8)
    store.reembed(new.identity, new.embed_passages, progress=silent, cancel=CancelToken())
    with store.commit() as change:
        change.set_active(None, False)
    store.close()


def migrate(old: Path) -> None:
    reading.BATCH = 8
    migration.migrate(old)


CHANGES: dict[str, Callable[[Path], None]] = {
    "create": create,
    "commit": commit,
    "compact": compact,
    "reembed": reembed,
    "migrate": migrate,
}


def killed_at(step: int) -> None:
    """From now on, count what touches the disk, and die at the given count."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            count()
            return function(*args, **named)

        return call

    for name in ("write_at", "sync_file", "sync_directory"):
        setattr(fsio, name, counted(getattr(fsio, name)))
    for name in ("rename", "unlink"):
        setattr(Path, name, counted(getattr(Path, name)))
        setattr(os, name, counted(getattr(os, name)))
    execute = Connection.execute
    Connection.execute = lambda self, *args, **named: (  # type: ignore[method-assign]
        count() if str(args[0]).split()[0] != "SELECT" else None,
        execute(self, *args, **named),
    )[1]


def main(work: str, name: str) -> None:
    start = Path(work) / "before"
    if name == "migrate":
        OldIndex(chunks=24, documents=5).write(start)
    elif name != "create":
        before(start)
    signals: list[int] = []
    while not signals or signals[-1]:
        step = len(signals) + 1
        library = Path(work) / f"{name}{step}"
        if name != "create":
            shutil.copytree(start, library)
        child = os.fork()
        if child == 0:
            killed_at(step)
            CHANGES[name](library)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        signals.append(status)
    print(json.dumps({"steps": len(signals), "signals": signals}))


if __name__ == "__main__":
    main(*sys.argv[1:])
