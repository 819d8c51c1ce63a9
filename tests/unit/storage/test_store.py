"""The local store and its surroundings: full disks, other processes, forks, read-only media, purges."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import BusyError, DiskFullError, ReadOnlyError, StorageError
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.disk import fsio, layout
from stackroom.storage.store import LocalStore
from stackroom.storage.vectors import vector_file
from stackroom.types import Chunk
from support import chunks, unit_rows

QUERY = unit_rows(1, seed=3)[0]


def put(store: LocalStore, name: str, texts: list[str]) -> None:
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name=name))
        commit.add_chunks(commit.put_document(DocumentRecord(name, source)), chunks(texts, seed=len(name)))


def texts(store: LocalStore, query: str) -> list[str]:
    with store.view() as view:
        return [passage.text for passage in view.passages(view.matching(query, 10, Scope())[0].keys.tolist())]


def healthy(store: LocalStore) -> bool:
    return store.verify(progress=silent, cancel=CancelToken()).ok


def test_interrupted_as_soon_as_it_has_begun_a_commit_leaves_nothing_in_the_way(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_self: Codec) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Codec, "follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(store, "a", ["first"])
    monkeypatch.undo()
    other = LocalStore(library)
    put(other, "b", ["second"])
    other.close()
    put(store, "c", ["third"])
    assert len(texts(store, "first second third")) == 2


def test_a_full_disk_under_the_vectors_loses_nothing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", ["first"])

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fsio, "write_at", full)
    with pytest.raises(DiskFullError, match="Nothing that was committed is lost"):
        put(store, "b", ["second"])
    monkeypatch.undo()
    assert texts(store, "first second") == ["first"]
    put(store, "b", ["second"])
    assert len(texts(store, "first second")) == 2
    assert healthy(store)


def test_a_full_disk_under_the_catalogue_loses_nothing(store: LocalStore) -> None:
    put(store, "a", ["first"])
    with store.exclusive() as writer:
        pages = writer.connection.value("PRAGMA page_count")
        writer.connection.rows(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(DiskFullError):
        put(store, "b", [f"second {os.urandom(4000).hex()}" for _ in range(20)])
    with store.exclusive() as writer:
        writer.connection.rows("PRAGMA max_page_count = 1000000")
    assert texts(store, "first second") == ["first"]
    put(store, "b", ["second"])
    assert healthy(store)


@pytest.mark.parametrize("ahead", [False, True])
def test_after_a_failed_sync_the_writer_is_dead_until_reopened(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    put(store, "a", ["first"])
    if ahead:
        monkeypatch.setattr(vector_file, "_WORTH_A_THREAD", 1)

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fsio, "sync_file", broken)
    with pytest.raises(StorageError, match="Check the disk"):
        put(store, "b", ["second"])
    monkeypatch.undo()
    with pytest.raises(StorageError, match="open the library again"):
        put(store, "c", ["third"])
    assert texts(store, "first") == ["first"]
    store.close()
    again = LocalStore(library)
    put(again, "b", ["second"])
    assert healthy(again)
    again.close()


def test_rows_are_synced_beside_other_work_and_those_that_came_since_by_the_commit(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_file, "_WORTH_A_THREAD", 1)
    begun, go_on = threading.Event(), threading.Event()
    synced: list[tuple[threading.Thread, int]] = []
    sync_file = fsio.sync_file

    def slow(descriptor: int) -> None:
        length = os.fstat(descriptor).st_size
        if not begun.is_set():
            begun.set()
            go_on.wait(30)
        sync_file(descriptor)
        synced.append((threading.current_thread(), length))

    put(store, "a", ["first"])
    monkeypatch.setattr(fsio, "sync_file", slow)
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name="b"))
        document = commit.put_document(DocumentRecord("b", source))
        commit.add_chunks(document, chunks(["second"], seed=2))
        assert begun.wait(30)
        commit.add_chunks(document, chunks(["third"], seed=3), position=1)
        go_on.set()
    (one, before), (two, after) = synced
    assert one is not threading.current_thread()
    assert two is threading.current_thread()
    assert after > before
    synced.clear()
    with store.commit() as commit:
        commit.add_chunks(document, chunks(["fourth"], seed=4), position=2)
    assert [thread is threading.current_thread() for thread, _ in synced] == [False]
    assert texts(store, "first second third fourth") == ["first", "second", "third", "fourth"]
    assert healthy(store)


def test_where_no_thread_is_to_be_had_the_commit_syncs_its_rows(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_file, "_WORTH_A_THREAD", 1)

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    synced: list[int] = []
    put(store, "a", ["first"])
    monkeypatch.setattr(threading.Thread, "start", none_left)
    monkeypatch.setattr(fsio, "sync_file", synced.append)
    put(store, "b", ["second"])
    monkeypatch.undo()
    assert len(synced) == 1
    assert healthy(store)


HOLDER = """
import sys
from pathlib import Path
from stackroom.storage.store import LocalStore
store = LocalStore(Path(sys.argv[1]))
with getattr(store, sys.argv[2])(*sys.argv[3:]):
    print('held', flush=True)
    sys.stdin.read()
"""


def holding(library: Path, *what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(library), *what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_locks_hold_between_processes_and_die_with_their_holder(store: LocalStore, library: Path) -> None:
    put(store, "a", ["first"])
    lease = holding(library, "lease", "add books")
    with pytest.raises(BusyError, match=f"process {lease.pid} .*add books"), store.lease("add"):
        pass
    put(store, "b", ["second"])
    commit = holding(library, "commit")
    with pytest.raises(BusyError), store.commit(wait=0.05):
        pass
    assert texts(store, "first") == ["first"]
    for process in (lease, commit):
        process.kill()
        process.communicate()
    put(store, "c", ["third"])
    with store.lease("add"):
        pass
    assert healthy(store)


FORKER = """
import os, sys
from pathlib import Path
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk

def put(name):
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
        commit.add_chunks(document, [Chunk('word ' + name)])

def count():
    with store.view() as view:
        return len(view.matching('word', 10, Scope())[0].keys)

store = LocalStore(Path(sys.argv[1]))
put('parent')
with store.view() as view:
    child = os.fork()
    if child == 0:
        put('child')
        os._exit(count())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert len(view.matching('word', 10, Scope())[0].keys) == 1
put('again')
print(count())
"""


def test_a_forked_child_opens_its_own_connections(library: Path) -> None:
    """In a process of its own: the tests' process has threads, and those do not survive a fork."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKER, str(library)], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", "3\n")
    store = LocalStore(library)
    assert healthy(store)
    store.close()


def test_many_threads_read_while_one_writes(store: LocalStore) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                with store.view() as view:
                    keys = view.nearest(QUERY, 1000, Scope()).keys
                    assert len(keys) == len(view.live_keys())
                    view.passages(keys[:3].tolist())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(15):
        put(store, f"s{n}", [f"text {n} {i}" for i in range(20)])
        if n % 5 == 4:
            with store.view() as view:
                key = view.source(f"s{n}").key
            with store.commit() as commit:
                commit.remove_source(key)
            store.compact(progress=silent, cancel=CancelToken())
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert healthy(store)


def test_the_last_close_leaves_one_file_and_the_vectors(store: LocalStore, library: Path) -> None:
    put(store, "a", ["first"])
    store.close()
    assert sorted(path.name for path in library.iterdir()) == ["catalogue.db", "vectors", "writer.lock"]
    assert (library / "catalogue.db").stat().st_mode & 0o777 == 0o600


def test_copied_to_read_only_media_it_opens(store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite refuses to open a WAL database where it may write nothing; simulated, since root may write anywhere."""
    put(store, "a", ["first"])
    store.close()
    import apsw

    from stackroom.storage.catalogue import database
    from stackroom.storage.catalogue.sql import Connection

    class OnReadOnlyMedia(Connection):
        def __init__(self, name: str, **named: int) -> None:
            super().__init__(name, **named)
            self._immutable = "immutable=1" in name

        def execute(self, *args: object, **named: object) -> object:  # type: ignore[override]
            if not self._immutable:
                raise apsw.CantOpenError("unable to open database file")
            return super().execute(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "Connection", OnReadOnlyMedia)
    monkeypatch.setattr(database, "_may_write", lambda path: False)
    reader = LocalStore(library, mode="r")
    assert texts(reader, "first") == ["first"]
    reader.close()
    (library / layout.WAL).write_bytes(b"left over")
    with pytest.raises(ReadOnlyError, match=r"catalogue\.db-wal"):
        LocalStore(library, mode="r")


def test_a_network_drive_is_refused_for_writing(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsio, "network_file_system", lambda path: "nfs4")
    with pytest.raises(ReadOnlyError, match="nfs4"):
        LocalStore(library)
    assert not library.exists()


def test_purged_text_is_in_no_file(store: LocalStore, library: Path) -> None:
    """Words, metadata, names and vectors of what was purged; the rest stays, also what a dictionary was trained on."""
    secret = [f"classified{i} wording number {i} of the secret report " * 5 for i in range(300)]
    plain = [f"ordinary sentence number {i} of the public report " * 5 for i in range(300)]
    rows = unit_rows(300, seed=42)
    from stackroom.types import Chunk

    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name="topsecretfile", title="Hush"))
        document = commit.put_document(DocumentRecord("hushdocument", source, metadata={"codename": "bluebird"}))
        commit.add_chunks(
            document,
            [
                Chunk(text, embedding=row, metadata={"agent": f"smith{i}"})
                for i, (text, row) in enumerate(zip(secret, rows, strict=True))
            ],
        )
    put(store, "public", plain)
    with store.commit() as commit:
        commit.set_active(None, True)
    with store.exclusive() as writer:
        assert writer.connection.value("SELECT count(*) FROM dictionaries") > 0
    with store.commit() as commit:
        commit.remove_source(source)
    store.purge(progress=silent, cancel=CancelToken())
    store.close()
    content = b"".join(path.read_bytes() for path in library.rglob("*") if path.is_file())
    for trace in (
        b"classified",
        b"topsecretfile",
        b"Hush",
        b"hushdocument",
        b"bluebird",
        b"codename",
        b"smith7",
        b"secret",
    ):
        assert trace not in content
    assert not any(row.tobytes() in content for row in rows)
    again = LocalStore(library)
    assert texts(again, "ordinary")
    assert healthy(again)
    again.close()


def test_vectors_beyond_what_float32_can_multiply_are_scored_all_the_same(store: LocalStore) -> None:
    rows = np.array([[3e38, 0, 0], [0, 3e38, 1e38], [1e-38, 0, 0]], dtype=np.float32)
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        keys = commit.add_chunks(document, [Chunk(str(n), embedding=row) for n, row in enumerate(rows)])
    with store.view() as view:
        found = view.nearest(np.array([3e38, 3e38, 0], dtype=np.float32), 3, Scope())
        # The first and the last point the same way; ties go to the older.
        assert found.keys.tolist() == [keys[0], keys[2], keys[1]]
        np.testing.assert_allclose(found.scores[:2], 2**-0.5, rtol=1e-6)


def test_a_row_that_a_flipped_bit_made_endless_weighs_no_more_than_another(store: LocalStore, library: Path) -> None:
    put(store, "a", [f"text {number}" for number in range(40)])
    with store.view() as view:
        before = view.background(QUERY)
    (rows,) = (path for path in layout.vectors(library).iterdir() if path.suffix != ".norms")
    store.close()
    with rows.open("rb+") as file:
        file.seek(layout.VECTOR_HEADER + 3)
        file.write(b"\x7e")
    again = LocalStore(library, mode="r")
    with again.view() as view:
        mean, deviation = view.background(QUERY)
        assert abs(mean - before[0]) < 0.1
        assert deviation < 2 * before[1]
    again.close()
