"""The process that reads ahead: the same comes of it, whichever side reads."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import stackroom
from old_index import OldIndex, contents
from stackroom import CancelToken, migration
from stackroom.errors import DamagedError, MigrationError
from stackroom.migration import reader_process, reading, run
from stackroom.migration.judging import Choices
from stackroom.storage.store import LocalStore


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WORTH_IT", 0)
    monkeypatch.setattr(run.os, "cpu_count", lambda: 2)


def spoiled() -> OldIndex:
    """One with something of everything."""
    old = OldIndex(chunks=9, documents=3)
    old.nodes["node-0"]["__data__"]["text"] = "Ä lone \ud800 surrogate."
    old.nodes["node-1"]["__data__"]["metadata"] |= {"nested": {"a": [1, None, 10**30]}, "page_label": "iv"}
    old.embeddings["node-2"][0] = float("nan")
    old.embeddings["node-3"] = [1.0, 0.0]
    del old.nodes["node-4"]
    del old.embeddings["node-5"]
    return old


@pytest.mark.usefixtures("remote")
def test_a_remote_reading_is_as_good_as_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = spoiled().write(tmp_path / "old")
    far = migration.migrate(folder, library=tmp_path / "far", split_dims=True)
    monkeypatch.setattr(run, "WORTH_IT", 10**12)
    near = migration.migrate(folder, library=tmp_path / "near", split_dims=True)

    assert far.proof == near.proof
    assert far.proof is not None
    assert far.proof.ok
    assert far.proof.queries > 0
    assert far.anomalies == near.anomalies
    with stackroom.open(tmp_path / "far", mode="r") as one, stackroom.open(tmp_path / "near", mode="r") as other:
        for index, name in ((one, "far"), (other, "near")):
            index.export(tmp_path / f"export {name}")
    assert {name: data for name, (data, _) in contents(tmp_path / "export far").items()} == {
        name: data for name, (data, _) in contents(tmp_path / "export near").items()
    }


@pytest.mark.usefixtures("remote")
def test_its_errors_are_ours(tmp_path: Path) -> None:
    folder = OldIndex().write(tmp_path / "old")
    reading_ = reader_process.RemoteReading(folder, None, Choices())
    assert [batch.seen for batch in reading_.batches()] == [6]
    reading_.close()

    path = folder / "docstore.json"
    path.write_bytes(path.read_bytes()[:-30])
    reading_ = reader_process.RemoteReading(folder, None, Choices())
    with pytest.raises(DamagedError, match=r"docstore\.json is not whole") as caught:
        list(reading_.batches())
    assert isinstance(caught.value.actual, int)
    reading_.close()


def test_a_reader_that_is_killed_ends_the_migration_with_an_error(tmp_path: Path) -> None:
    reading_ = reader_process.RemoteReading(OldIndex().write(tmp_path / "old"), None, Choices())
    reading_._process.kill()
    with pytest.raises(MigrationError, match="ended"):
        list(reading_.batches())
    reading_.close()


@pytest.mark.usefixtures("remote")
def test_cancelling_ends_it(tmp_path: Path) -> None:
    folder = OldIndex(chunks=reading.BATCH * 4, documents=4).write(tmp_path / "old")
    cancel = CancelToken()
    report = migration.migrate(folder, progress=lambda event: cancel.cancel(), cancel=cancel)
    assert report.cancelled
    assert migration.migrate(folder).chunks == reading.BATCH * 4


@pytest.mark.usefixtures("remote")
def test_a_migration_that_is_killed_takes_its_reader_along_and_is_continued(tmp_path: Path) -> None:
    folder = OldIndex(chunks=reading.BATCH * 3, documents=4).write(tmp_path / "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    reader = int(done.stdout)
    deadline = time.monotonic() + 30
    while _is_alive(reader) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(reader)
    with LocalStore(folder / ".stackroom.tmp", mode="r").view() as view:
        assert len(view.live_keys()) == reading.BATCH

    report = migration.migrate(folder)
    assert report.chunks == reading.BATCH * 3
    assert report.proof is not None
    assert report.proof.ok
    with stackroom.open(folder) as index:
        assert index.verify().ok


KILLED = """
import os, signal, sys
from pathlib import Path
from stackroom import migration
from stackroom.migration import run

run.WORTH_IT = 0
run.os.cpu_count = lambda: 2

def stop(event):
    if event.stage == "migrate":
        print(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[0], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

migration.migrate(sys.argv[1], progress=stop)
"""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_arrives_wrong_is_seen_by_the_reading_process(tmp_path: Path) -> None:
    """It reads back the first half of texts and vectors, against the digests that it alone has."""
    old = OldIndex()
    folder = old.write(tmp_path / "old")
    migration.migrate(folder, library=tmp_path / "right")
    old.nodes["node-0"]["__data__"]["text"] = "Not what it was."
    old.embeddings["node-1"][0] += 1e-6
    migration.migrate(old.write(tmp_path / "other"), library=tmp_path / "wrong")

    for library, differences in (("right", 0), ("wrong", 2)):
        ahead = reader_process.RemoteReading(folder, None, Choices())
        assert [batch.seen for batch in ahead.batches()] == [6]
        assert dict(ahead.attachments()).keys() == {"index/the-index", "file/graph_store.json"}
        assert (ahead.evidence.texts.first, ahead.evidence.texts.end) == (3, 6)
        assert len(ahead.compare(tmp_path / library).result()) == differences
        ahead.close()
