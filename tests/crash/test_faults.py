"""What the machine may refuse: handles, memory, permissions, media, locks, network drives. Each says so, and the library is intact."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import apsw
import pytest
import shim
from campaign import Asked
from shim import Action

from stackroom.errors import BusyError, DamagedError, ReadOnlyError, StackroomError, StorageError
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue import database
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.store import LocalStore
from stackroom.types import Source
from support import chunks

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits and owners are POSIX's")

HERE = Path(__file__).parent


def python(code: str, *arguments: object, environment: Mapping[str, str] = os.environ) -> subprocess.Popen[str]:
    """A program of its own that can use what the tests use; its answer is a line of JSON."""
    paths = os.pathsep.join(str(path) for path in (HERE, HERE.parent))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join([paths, os.environ.get("PYTHONPATH", "")])},
    )


def told(process: subprocess.Popen[str]) -> object:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def filled(library: Path) -> None:
    from stackroom.backend import DocumentRecord, SourceRecord

    with contextlib.closing(LocalStore(library)) as store, store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="one"))))
        commit.add_chunks(document, chunks(["first", "second"]))


def intact(library: Path) -> None:
    with contextlib.closing(LocalStore(library)) as store:
        assert store.verify(progress=silent, cancel=CancelToken()).damage == ()
        with store.view() as view:
            assert [source.path for source in view.listing()] == ["one"]
        with store.commit() as commit:
            commit.set_active(None, True)


def listing(store: LocalStore) -> tuple[Source, ...]:
    with store.view() as view:
        return tuple(view.listing())


LIMITED = """
    import json, resource, sys
    from pathlib import Path
    import numpy, apsw, zstandard
    from stackroom.backend import DocumentRecord, SourceRecord
    from stackroom.errors import StackroomError
    from stackroom.storage import snapshot, writer
    from stackroom.storage.store import LocalStore
    from stackroom.storage.upkeep import maintenance
    from support import chunks

    store = LocalStore(Path(sys.argv[1]))
    given = chunks(["word " * int(sys.argv[3])])
    kind = getattr(resource, sys.argv[2])
    errors = []

    def attempt():
        with store.view() as view:
            view.listing()
        with store.commit() as commit:
            document = commit.put_document(DocumentRecord("new", commit.put_source(SourceRecord(name="new"))))
            commit.add_chunks(document, given)
            raise KeyboardInterrupt

    soft, hard = resource.getrlimit(kind)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() if "AS" in sys.argv[2] else 0
    for more in json.loads(sys.argv[4]):
        limit = used + more
        resource.setrlimit(kind, (limit, hard))
        try:
            attempt()
        except KeyboardInterrupt:
            errors.append(None)
        except StackroomError as error:
            errors.append([type(error).__name__, str(error)])
        except MemoryError:
            errors.append(["MemoryError", ""])
        resource.setrlimit(kind, (soft, hard))
    with store.commit() as commit:
        commit.set_active(None, True)
    store.close()
    print(json.dumps(errors))
"""


def test_file_handles_run_out(library: Path) -> None:
    """Whatever the limit: an error that names it, and the same process goes on once there are handles again."""
    filled(library)
    errors = told(python(LIMITED, library, "RLIMIT_NOFILE", 3, json.dumps([*range(3, 16), 100])))
    assert isinstance(errors, list)
    assert errors[-1] is None
    refused = [error for error in errors if error is not None]
    assert refused
    for kind, message in refused:
        assert kind == "StorageError", message
        assert "open" in message
    intact(library)


def test_memory_runs_out(library: Path) -> None:
    """An error or Python's own MemoryError; nothing is committed, and the same process goes on."""
    filled(library)
    limits = [megabytes << 20 for megabytes in (0, 4, 16, 64, 1000)]
    errors = told(python(LIMITED, library, "RLIMIT_AS", 2_000_000, json.dumps(limits)))
    assert isinstance(errors, list)
    assert errors[0] is not None
    assert errors[-1] is None
    intact(library)


AS_NOBODY = """
    import json, os, sys
    from pathlib import Path
    from stackroom.errors import StackroomError
    from stackroom.storage.store import LocalStore
    import stackroom, stackroom.index, stackroom.storage.snapshot, stackroom.storage.upkeep.maintenance, stackroom.storage.writer

    os.setgid(65534)
    os.setuid(65534)
    answers = []
    for mode in ("r", "a", "w"):
        try:
            with stackroom.open(Path(sys.argv[1]), mode="r" if mode == "r" else "a") as index:
                found = len(index.sources())
                if mode == "w":
                    index.set_active(None, True)
                answers.append(found)
        except StackroomError as error:
            answers.append([type(error).__name__, str(error)])
    print(json.dumps(answers))
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that another user can come to; pytest's own are closed to others again whenever a process of it starts."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_library_of_somebody_else_is_read_and_not_written(reachable: Path) -> None:
    library = reachable / "library"
    filled(library)
    for path in (library, *library.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    read, opened, written = told(python(AS_NOBODY, library))  # type: ignore[misc]
    assert read == 1
    assert opened == 1
    assert written[0] == "ReadOnlyError"
    assert str(library) in written[1]
    intact(library)


def test_a_folder_that_can_not_be_entered(reachable: Path) -> None:
    library = reachable / "library"
    filled(library)
    os.chmod(library, 0o700)
    for kind, message in told(python(AS_NOBODY, library)):  # type: ignore[attr-defined]
        assert kind == "ReadOnlyError"
        assert str(library) in message
    intact(library)


def test_a_read_only_mount(tmp_path: Path) -> None:
    disk, library = tmp_path / "disk", tmp_path / "disk" / "library"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        filled(library)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with contextlib.closing(LocalStore(library, mode="r")) as store, store.view() as view:
            assert [source.path for source in view.listing()] == ["one"]
        with contextlib.closing(LocalStore(library)) as store:
            with pytest.raises(ReadOnlyError, match="Read-only file system"), store.commit():
                pass
            with store.view() as view:
                assert len(view.listing()) == 1
        with pytest.raises(ReadOnlyError, match="Read-only file system"):
            LocalStore(disk / "new")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        intact(library)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_medium_that_can_be_written_again_is_read_as_it_is(tmp_path: Path) -> None:
    """What read it as unchangeable saw no commit any more, its own included."""
    disk, library = tmp_path / "disk", tmp_path / "disk" / "library"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        filled(library)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with contextlib.closing(LocalStore(library)) as store:
            assert [source.active for source in listing(store)] == [True]
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            with store.commit() as commit:
                commit.set_active(None, False)
            assert [source.active for source in listing(store)] == [False]
        intact(library)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


READING_AS_NOBODY = """
    import json, os, sys
    from pathlib import Path
    from stackroom.storage.store import LocalStore
    import stackroom.storage.snapshot

    os.setgid(65534)
    os.setuid(65534)
    store, seen = LocalStore(Path(sys.argv[1]), mode="r"), []
    for _ in range(3):
        with store.view() as view:
            seen.append([source.active for source in view.listing()])
        print("seen", flush=True)
        sys.stdin.readline()
    print(json.dumps(seen))
"""


def test_who_may_only_read_sees_what_its_owner_commits(reachable: Path) -> None:
    """Nobody writes when it is opened, so that it is read as unchangeable; then its owner does, and closes it."""
    library = reachable / "library"
    filled(library)
    for path in (library, *library.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    reader = python(READING_AS_NOBODY, library)
    assert reader.stdin is not None
    assert reader.stdout is not None
    for active in (False, True):
        assert reader.stdout.readline() == "seen\n"
        with contextlib.closing(LocalStore(library)) as store, store.commit() as commit:
            commit.set_active(None, active)
        reader.stdin.write("\n")
        reader.stdin.flush()
    assert told(reader) == [[True], [False], [True]]
    intact(library)


def test_what_changes_while_it_is_read_as_unchangeable_is_no_damage(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(library)
    monkeypatch.setattr(database, "open_reader", lambda path: database._open_immutable(path, layout.catalogue(path)))
    with contextlib.closing(LocalStore(library, mode="r")) as reader:
        with pytest.raises(BusyError, match="somebody else wrote"), reader.view():
            with contextlib.closing(LocalStore(library)) as store, store.commit() as commit:
                commit.set_active(None, False)
            raise DamagedError("two states of a page do not fit together")
        assert [source.active for source in listing(reader)] == [False]


HOLDER = """
    import sys, time
    from pathlib import Path
    from stackroom.storage.store import LocalStore

    store = LocalStore(Path(sys.argv[1]))
    with store.lease("add"), store.commit() as commit:
        commit.set_active(None, False)
        print("held", flush=True)
        time.sleep(600)
"""


def test_a_killed_lock_holder_blocks_nobody(library: Path) -> None:
    """It holds the ingest lease and the writer lock, in the middle of a commit."""
    filled(library)
    holder = python(HOLDER, library)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with contextlib.closing(LocalStore(library)) as store:
        with pytest.raises(BusyError, match=rf"process {holder.pid} \(add"), store.lease("add"):
            pass
        with pytest.raises(BusyError), store.commit(wait=0.05):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        with store.lease("add"), store.commit(wait=5.0) as commit:
            commit.set_active(None, True)
    with contextlib.closing(LocalStore(library, mode="r")) as store, store.view() as view:
        assert [source.active for source in view.listing()] == [True]
    intact(library)


def test_an_index_of_the_log_that_could_not_be_written_is_opened_anew(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process has one, and where a reader of ours opened it read-only the next write failed. Found by seed 932 (run 405), after a repair."""
    filled(library)
    holder = python(HOLDER, library)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    def read_only(path: Path) -> Connection:
        uri = f"{layout.catalogue(path).as_uri()}?readonly_shm=1"
        return Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)

    with monkeypatch.context() as patched:
        patched.setattr(database, "open_reader", read_only)
        store = LocalStore(library)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with contextlib.closing(store), store.commit() as commit:
        commit.set_active(None, True)
    intact(library)


MOUNTS = r"""22 27 0:21 / / rw - ext4 /dev/sda rw
30 22 0:40 / /mnt/nas rw - nfs4 nas:/export rw
31 22 0:41 / /mnt/two\040words rw - cifs //nas/share rw
32 22 0:42 / /mnt/back\134slash rw - fuse.sshfs nas: rw
33 30 0:43 / /mnt/nas/local rw - ext4 /dev/sdb rw
34 22 0:44 / /mnt/usb rw - fuseblk /dev/sdc rw
"""


def test_network_drives_are_told_from_local_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **named: MOUNTS)
    kinds = {
        "/home/me/library": None,
        "/mnt/nas/library": "nfs4",
        "/mnt/nas/local/library": None,
        "/mnt/nas2/library": None,
        "/mnt/two words/library": "cifs",
        "/mnt/back\\slash": "fuse.sshfs",
        "/mnt/usb/library": None,
    }
    assert {path: fsio.network_file_system(Path(path)) for path in kinds} == kinds
    monkeypatch.setenv(fsio.NETWORK_ALLOWED, "allow")
    assert fsio.network_file_system(Path("/mnt/nas/library")) is None


def test_a_network_drive_is_read_and_not_written(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(library)
    monkeypatch.setattr(fsio, "network_file_system", lambda path: "nfs4")
    with contextlib.closing(LocalStore(library)) as store:
        with store.view() as view:
            assert len(view.listing()) == 1
        with pytest.raises(ReadOnlyError, match=r"nfs4.*STACKROOM_NETWORK_DRIVES=allow"), store.commit():
            pass
        with pytest.raises(ReadOnlyError, match="nfs4"):
            store.repair(dry_run=False, progress=silent, cancel=CancelToken())
    monkeypatch.undo()
    intact(library)


def test_new_folders_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that was made two folders deep is reached after a power cut: every folder above it was synced."""
    synced: list[Path] = []
    real = fsio.sync_directory
    monkeypatch.setattr(fsio, "sync_directory", lambda path: (synced.append(path), real(path)))
    library = tmp_path / "deep" / "er" / "library"
    LocalStore(library).close()
    assert {tmp_path, tmp_path / "deep", tmp_path / "deep" / "er", library} <= set(synced)


def test_upkeep_that_fails_does_not_take_a_commit_back(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is durable before the upkeep begins: to tell its caller that it failed would have it done twice."""
    import apsw

    from stackroom.storage.upkeep import maintenance

    filled(library)

    def full(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(maintenance, "checkpoint", full)
    monkeypatch.setattr(maintenance, "_WAL_BYTES", 0)
    with contextlib.closing(LocalStore(library)) as store:
        with store.commit() as commit:
            commit.set_active(None, False)
        with store.view() as view:
            assert [source.active for source in view.listing()] == [False]
    monkeypatch.undo()
    intact(library)


def test_everything_that_is_raised_is_ours(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that the file system does not give."""
    from stackroom.storage.disk import lock

    filled(library)

    def refuse(descriptor: int) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock, "_try_lock", refuse)
    store = LocalStore(library)
    with pytest.raises(StorageError, match=r"No locks available.*local disk") as caught, store.commit():
        pass
    assert isinstance(caught.value, StackroomError)
    assert caught.value.path == str(library / layout.WRITER_LOCK)
    store.close()


REFUSED = """
    import errno, json, shutil, sys
    from pathlib import Path
    from shim import Action, Call, Shim
    from stackroom.errors import StackroomError
    from stackroom.progress import CancelToken, silent
    from stackroom.storage.store import LocalStore

    library, shim, told, nth, reads = Path(sys.argv[1]), Shim(), [], 0, 0
    shim.watch(library.with_name("copy"))
    while nth <= reads:
        copy = Path(shutil.copytree(library, library.with_name("copy"), dirs_exist_ok=False))
        store = LocalStore.damaged(copy)
        shim.plan(Call.READ, nth, Action.FAIL, errno.EIO)
        try:
            done = store.repair(dry_run=False, progress=silent, cancel=CancelToken())
            told.append(sorted({one.structure for one in done.lost}))
        except StackroomError as error:
            told.append([type(error).__name__, str(error)])
        reads = shim.counted if nth == 0 else reads
        shim.rest()
        store.close()
        shutil.rmtree(copy)
        nth += 1
    print(json.dumps(told))
"""


def test_a_page_that_the_system_refuses_to_read_is_not_taken_for_lost(shimmed: None, library: Path) -> None:
    """SQLite calls a read that ends with an I/O error "malformed", and a repair left out what was there: each read is refused once."""
    from stackroom.backend import DocumentRecord, SourceRecord

    with contextlib.closing(LocalStore(library)) as store:
        for n in range(12):
            with store.commit() as commit:
                document = commit.put_document(DocumentRecord(f"d{n}", commit.put_source(SourceRecord(name=f"s{n}"))))
                commit.add_chunks(document, chunks([os.urandom(900).hex() for _ in range(5)], seed=n))
                commit.keep("document", [(document, b"as it came")])
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as catalogue:
        catalogue.execute("UPDATE chunks SET checksum = checksum + 1 WHERE key = 5")
    without, *each = told(python(REFUSED, library, environment=shim.environment()))  # type: ignore[misc]
    assert without == ["chunks"]
    refused = [found for found in each if found != without]
    assert refused
    for kind, message in refused:
        assert kind == "StorageError", message
        assert str(library.with_name("copy")) in message


def test_a_page_that_was_refused_is_read_the_next_time(harness: Asked) -> None:
    """Whichever read it was from which on all were refused: the writer told of damage for ever, found by seed 911."""
    for nth in range(1, harness.count("active", "unreadable") + 1):
        answer = harness.ask("fault", "active", "unreadable", nth, int(Action.FAIL_FROM_HERE), 1)
        assert answer["problems"] == [], nth
