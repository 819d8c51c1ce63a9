"""The process that reads ahead: the same comes of it, whichever side reads."""

from __future__ import annotations

from pathlib import Path

import pytest

import stackroom
from old_index import OldIndex, contents
from stackroom import CancelToken, migration
from stackroom.errors import DamagedError, MigrationError
from stackroom.migration import reader_process, reading, run
from stackroom.migration.reading import Choices


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
