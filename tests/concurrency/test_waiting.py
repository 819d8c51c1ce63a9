"""Who waits for whom, shown without a clock: one of two stands still for good, and the other one goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import BusyError, ClosedError, StackroomError
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue import database, sql
from stackroom.storage.disk import fsio, layout
from stackroom.storage.store import LocalStore
from stackroom.storage.upkeep import compaction, maintenance
from support import chunks

pytestmark = pytest.mark.skipif(os.name == "nt", reason="stopped with POSIX's signals")

TESTS = str(Path(__file__).parents[1])
QUERY = np.eye(1, 16, dtype=np.float32)[0]

COMMITTING = """
    with store.lease("add"), store.commit() as commit:
        put(commit, "unfinished")
        stand()
"""
READING = """
    with store.view() as view:
        stand()
        print(len(view.listing()), flush=True)
"""
INGESTING = """
    with store.lease("add"):
        stand()
"""
LEAVING = """
    with store.commit() as commit:
        put(commit, "begun")
        child = os.fork()
        if child == 0:
            PART
        else:
            os.waitpid(child, 0)
            beside = LocalStore(store.path)
            with beside.view() as view:
                assert [source.path for source in view.listing()] == ["first"]
            try:
                with beside._writer_lock.hold(wait=0.05):
                    raise AssertionError("the lock is gone")
            except BusyError:
                put(commit, "ended")
    print("committed", flush=True)
"""


def put(store: LocalStore, name: str, size: int = 0) -> None:
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
        commit.add_chunks(document, chunks([f"word {name} {os.urandom(size).hex()}"]))


def process(library: Path, body: str) -> subprocess.Popen[str]:
    """One that opens the library, does this, and stands still at `stand()`."""
    code = """
        import contextlib, os, signal, sys
        from pathlib import Path
        from stackroom.backend import DocumentRecord, SourceRecord
        from stackroom.errors import BusyError
        from stackroom.storage.store import LocalStore
        from support import chunks

        def put(commit, name):
            document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
            commit.add_chunks(document, chunks(["word " + name]))

        def stand():
            print("standing", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)

        store = LocalStore(Path(sys.argv[1]))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code) + textwrap.dedent(body), library],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": TESTS},
    )


@contextlib.contextmanager
def standing(library: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    child = process(library, body)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "standing\n"
        os.waitpid(child.pid, os.WUNTRACED)
        yield child
    finally:
        child.kill()
        child.communicate()


def terminal(library: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stackroom", "--library", library, "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def wal(library: Path) -> int:
    return fsio.size_of(library / layout.WAL)


def test_readers_go_on_while_a_writer_stands_in_its_commit(store: LocalStore, library: Path) -> None:
    put(store, "first")
    with standing(library, COMMITTING):
        for reader in (store, LocalStore(library), LocalStore(library, mode="r")):
            with reader.view() as view:
                assert [source.path for source in view.listing()] == ["first"]
                assert len(view.matching("word", 9, Scope())[0].keys) == 1
                assert len(view.nearest(QUERY, 9, Scope(active=True)).keys) == 1
        found = json.loads(terminal(library, "search", "--mode", "text", "word").stdout)
        assert len(found["hits"] if isinstance(found, dict) else found) == 1
        with pytest.raises(BusyError), store.commit(wait=0.05):
            pass
    put(store, "second")


def test_writers_go_on_while_a_reader_stands_in_its_view(store: LocalStore, library: Path) -> None:
    """What it needs is kept, and given back by the next commits after its end."""
    put(store, "first")
    with standing(library, READING) as reader:
        for n in range(40):
            put(store, f"s{n}", size=500_000)
        held = wal(library)
        assert held > 20_000_000
        assert store.stats().bytes["catalogue"] > held
        store.compact(progress=silent, cancel=CancelToken())
        other = LocalStore(library)
        put(other, "last")
        other.close()
        reader.send_signal(signal.SIGCONT)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "1\n"
        reader.wait()
    for n in range(9):
        put(store, f"more{n}")
    assert wal(library) <= database._WAL_KEPT
    store.close()
    assert wal(library) == 0


def test_closing_waits_for_no_reader(store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 600_000)
    put(store, "first")
    other = LocalStore(library)
    with store.view():
        put(other, "second")
        closing = threading.Thread(target=other.close, daemon=True)
        closing.start()
        closing.join(60)
        assert not closing.is_alive()


def test_closing_lets_a_commit_of_another_thread_end(store: LocalStore, library: Path) -> None:
    begun, closed = threading.Event(), threading.Event()
    met: list[BaseException] = []

    def add() -> None:
        try:
            with store.commit() as commit:
                document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
                begun.set()
                assert closed.wait(60)
                commit.add_chunks(document, chunks(["late"]))
            put(store, "never")
        except BaseException as error:
            met.append(error)

    adding = threading.Thread(target=add)
    adding.start()
    assert begun.wait(60)
    store.close()
    closed.set()
    adding.join(60)
    assert [type(error) for error in met] == [ClosedError]
    assert wal(library) == 0
    with LocalStore(library, mode="r").view() as view:
        assert [source.name for source in view.each_source()] == ["s"]
        assert view.passages(view.live_keys().tolist())[0].text == "late"


def test_closing_leaves_the_writer_to_a_commit_that_begins(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look whether the store is open and its first use of the connection, closing took that away from it."""
    put(store, "first")
    refused = threading.Event()
    replaced = LocalStore._let_go_of_replaced

    def look(self: LocalStore, *, writing: bool = False) -> None:
        replaced(self, writing=writing)
        if writing and threading.current_thread() is adding:
            closing.start()
            closing.join(60)
            assert refused.is_set()

    def close() -> None:
        store.close()
        refused.set()

    met: list[BaseException] = []

    def add() -> None:
        try:
            put(store, "late")
        except BaseException as error:
            met.append(error)

    monkeypatch.setattr(LocalStore, "_let_go_of_replaced", look)
    adding, closing = threading.Thread(target=add), threading.Thread(target=close)
    adding.start()
    adding.join(60)
    assert [type(error) for error in met] == [ClosedError]
    with LocalStore(library, mode="r").view() as view:
        assert [source.name for source in view.each_source()] == ["first"]


def test_a_library_that_is_replaced_while_a_writer_opens_it_is_the_one_that_is_written(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its commits went to a file that has no name any more, and said that they were durable."""
    put(store, "first")
    assert store.backup(library.with_name("backup"), refresh=False, progress=silent, cancel=CancelToken()).copied
    opened = database.open_writer

    def replaced(folder: Path) -> sql.Connection:
        connection = opened(folder)
        if library.with_name("backup").exists():
            folder.rename(library.with_name("gone"))
            library.with_name("backup").rename(folder)
        return connection

    monkeypatch.setattr(database, "open_writer", replaced)
    with contextlib.closing(LocalStore(library)) as other:
        with contextlib.suppress(StackroomError):
            put(other, "too late for the old one")
        put(other, "second")
    with LocalStore(library, mode="r").view() as view:
        assert "second" in [source.name for source in view.each_source()]


def test_the_log_does_not_grow_while_views_overlap(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment some view is open, as in a busy server: without an end to them the log would never be begun anew."""
    monkeypatch.setattr(maintenance, "_WAL_BYTES", 500_000)
    monkeypatch.setattr(maintenance, "_WAL_TOO_LONG", 500_000)
    monkeypatch.setattr(maintenance, "_DRAIN_SECONDS", 60.0)
    put(store, "first")
    stop = threading.Event()

    def read() -> None:
        held = contextlib.ExitStack()
        held.enter_context(store.view())
        while not stop.wait(0.02):
            following = contextlib.ExitStack()
            following.enter_context(store.view())
            held.close()
            held = following
        held.close()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for n in range(80):
            put(store, f"s{n}", size=50_000)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    # Two or three MB are written between two looks at it, and 23 altogether.
    assert wal(library) < 10_000_000


def test_a_purge_beside_an_older_view_says_that_it_is_not_done(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_READERS_SECONDS", 0.05)
    put(store, "hushdocument")
    put(store, "public")
    other = LocalStore(library)
    with other.view() as view:
        key = view.source("hushdocument")
        assert key is not None
        with store.commit() as commit:
            commit.remove_source(key.key)
        with pytest.raises(BusyError, match=r"traces.*compact --purge"):
            store.purge(progress=silent, cancel=CancelToken())
    store.purge(progress=silent, cancel=CancelToken())
    assert b"hushdocument" not in b"".join(path.read_bytes() for path in library.rglob("*") if path.is_file())
    other.close()


def test_switches_and_removals_go_on_during_a_long_add(store: LocalStore, library: Path, folder: Path) -> None:
    put(store, "first")
    put(store, "second")
    (folder / "a.txt").write_text("A file.", encoding="utf-8")
    with standing(library, INGESTING) as ingest:
        assert terminal(library, "active", "off", "first").returncode == 0
        assert terminal(library, "remove", "second", "--yes").returncode == 0
        with store.view() as view:
            assert [(source.path, source.active) for source in view.listing()] == [("first", False)]
        refused = terminal(library, "add", str(folder))
        assert refused.returncode == BusyError.exit_code
        assert f"process {ingest.pid} (add" in refused.stderr


@pytest.mark.parametrize("leaving", ["raise SystemExit(7)", "pass"])
def test_a_child_that_is_forked_in_a_commit_takes_no_part_in_it(store: LocalStore, library: Path, leaving: str) -> None:
    """Neither its exception nor its end of the block touches the parent's transaction."""
    put(store, "first")
    child = process(library, LEAVING.replace("PART", leaving))
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "committed\n"), err
    with store.view() as view:
        assert [source.path for source in view.listing()] == ["begun", "ended", "first"]
        assert len(view.matching("word", 9, Scope())[0].keys) == 3
    put(store, "after")
    assert store.verify(progress=silent, cancel=CancelToken()).damage == ()
