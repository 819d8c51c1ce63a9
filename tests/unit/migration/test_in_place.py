"""The switch: an application that pointed at an old folder yesterday opens it today, and can go back."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stackroom
from old_index import OldIndex, contents
from stackroom import CancelToken, Inventory, ProgressEvent, migration
from stackroom.errors import (
    BusyError,
    DamagedError,
    DiskFullError,
    EmbedderMismatchError,
    MigrationError,
    MigrationNeeded,
    NotALibraryError,
    NotFoundError,
    NoVectorsWarning,
    OldFilesChangedWarning,
    ReadOnlyError,
    StorageError,
    UnknownStoreError,
    UsageError,
)
from stackroom.migration import judging, others, reading, run, survey, switch
from stackroom.storage.store import LocalStore
from stackroom.storage.words import word_files
from support import WordEmbedder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return OldIndex().write(tmp_path / "unified_index")


def old_files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {name: found for name, found in contents(folder).items() if not name.startswith("stackroom/")}


def test_opening_an_old_index_asks_first(old: Path) -> None:
    with pytest.raises(MigrationNeeded) as caught:
        stackroom.open(old)
    found = caught.value.inventory
    assert isinstance(found, Inventory)
    assert (found.chunks, found.documents) == (6, 2)
    assert "stackroom migrate" in str(caught.value)


def test_auto_migrates_and_opens(old: Path) -> None:
    before = old_files(old)
    with stackroom.open(old, migrate="auto") as index:
        assert index.stats().chunks == 6
    assert old_files(old) == before
    with stackroom.open(old) as index:
        assert index.stats().chunks == 6


def test_opening_can_be_watched_and_stopped(old: Path) -> None:
    cancel = CancelToken()
    stages: list[str] = []

    def watch(event: ProgressEvent) -> None:
        stages.append(event.stage)
        cancel.cancel()

    with pytest.raises(MigrationNeeded, match=r"was stopped\. The next one goes on") as caught:
        stackroom.open(old, migrate="auto", progress=watch, cancel=cancel)
    assert caught.value.inventory is None
    assert stages == ["migrate"]
    with stackroom.open(old, migrate="auto") as index:
        assert index.stats().chunks == 6


def test_never_takes_it_for_no_library(old: Path) -> None:
    with pytest.raises(NotALibraryError):
        stackroom.open(old, migrate="never")


def test_reading_only_does_not_migrate(old: Path) -> None:
    with pytest.raises(MigrationNeeded):
        stackroom.open(old, mode="r", migrate="auto")


def test_a_folder_of_something_else_is_no_library_as_before(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(NotALibraryError):
        stackroom.open(tmp_path)
    with pytest.raises(UnknownStoreError, match="Looked for: a LlamaIndex folder"):
        migration.migrate(tmp_path)
    with pytest.raises(NotFoundError):
        migration.migrate(tmp_path / "nothing")


def test_a_second_run_does_nothing_and_says_so(old: Path) -> None:
    first = migration.migrate(old)
    before = old_files(old)
    second = migration.migrate(old)
    assert not first.already
    assert second.already
    assert second.chunks == first.chunks
    assert old_files(old) == before


def test_an_old_index_that_changed_since_is_not_taken_for_done(old: Path) -> None:
    migration.migrate(old)
    (old / "graph_store.json").write_text('{"graph_dict": {"a": []}}')
    with pytest.raises(UsageError, match="changed since"):
        migration.migrate(old)
    with pytest.raises(UsageError, match="changed since"):
        migration.discard_old(old)


def test_an_old_folder_that_the_system_refuses_to_list_is_told(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migration.migrate(old)
    before = old_files(old)

    def refused(folder: Path) -> Any:
        raise OSError(errno.EMFILE, "Too many open files", str(folder))

    with monkeypatch.context() as changed:
        changed.setattr(Path, "iterdir", refused)
        with pytest.raises(StorageError, match="Too many open files"):
            migration.discard_old(old)
        with pytest.raises(StorageError, match="Too many open files"):
            migration.migrate(old, library=old.parent / "another")
    assert old_files(old) == before
    assert migration.discard_old(old)


def test_opening_what_the_old_program_wrote_to_since_warns(old: Path, recwarn: pytest.WarningsRecorder) -> None:
    migration.migrate(old)
    stackroom.open(old).close()
    assert not recwarn.list
    (old / "docstore.json").write_text("{}")
    with pytest.warns(OldFilesChangedWarning, match=r"docstore.json was written after .* stackroom migrate"):
        stackroom.open(old).close()
    for path in old.glob("*.json"):
        path.unlink()
    recwarn.clear()
    stackroom.open(old).close()
    (old / "stackroom" / "migration-report.json").write_text("broken")
    stackroom.open(old).close()
    assert not recwarn.list


def test_a_library_elsewhere_is_not_told_to_roll_back(old: Path, tmp_path: Path) -> None:
    migration.migrate(old, library=tmp_path / "new")
    (old / "graph_store.json").write_text('{"graph_dict": {"a": []}}')
    with pytest.raises(UsageError, match=r"changed since.*--library NEW") as caught:
        migration.migrate(old, library=tmp_path / "new")
    assert "roll-back" not in str(caught.value)


def test_an_index_that_was_always_empty_becomes_an_empty_library(tmp_path: Path) -> None:
    old = OldIndex(chunks=0).write(tmp_path / "old")
    with pytest.raises(MigrationNeeded) as caught:
        stackroom.open(old)
    assert caught.value.inventory is not None
    assert caught.value.inventory.chunks == 0
    with stackroom.open(old, migrate="auto", embedder=WordEmbedder()) as index:
        assert index.stats().chunks == 0
        index.add_documents([stackroom.Document("new", text="Rotate the logs every week.")])
        assert index.search("rotate logs")[0].text.startswith("Rotate")
    assert migration.migrate(old).already


def test_an_index_of_which_all_is_left_out_is_refused_either_way(tmp_path: Path) -> None:
    made = OldIndex()
    made.nodes.clear()
    old = made.write(tmp_path / "old")
    for attempt in (migration.inventory, migration.migrate):
        with pytest.raises(UnknownStoreError, match="6 x a vector without text"):
            attempt(old)
    assert not (old / "stackroom").exists()


def test_an_empty_file_is_called_empty(old: Path) -> None:
    (old / "docstore.json").write_text("")
    with pytest.raises(DamagedError, match=r"docstore\.json is not whole: it is empty\."):
        migration.migrate(old)


def test_an_inventory_that_was_stopped_says_so(old: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    assert migration.inventory(old, cancel=cancel).cancelled
    assert not migration.inventory(old).cancelled


def test_the_report_lies_in_the_library(old: Path) -> None:
    report = migration.migrate(old)
    path = old / "stackroom" / "migration-report.json"
    told = json.loads(path.read_text())
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told["chunks"] == report.chunks == 6
    assert told["proof"]["vectors"] == 6
    assert told["proof"]["source_unchanged"]


def test_rolling_back_leaves_the_old_folder_as_it_was(old: Path) -> None:
    before = contents(old)
    migration.migrate(old)
    assert migration.roll_back(old)
    assert contents(old) == before
    with pytest.raises(NotFoundError, match="not migrated"):
        migration.roll_back(old)


@pytest.mark.parametrize("spoil", ["one is gone", "all are gone", "one was written"])
def test_what_only_the_library_has_is_not_rolled_back(old: Path, spoil: str) -> None:
    migration.migrate(old)
    if spoil == "one is gone":
        (old / "docstore.json").unlink()
    elif spoil == "all are gone":
        migration.discard_old(old)
    else:
        (old / "default__vector_store.json").write_text("{}")
    with pytest.raises(UsageError, match=r"may be all that is left.* export"):
        migration.roll_back(old, confirm=lambda new: True)
    with stackroom.open(old / "stackroom") as index:
        assert index.stats().chunks == 6


def test_old_files_that_were_written_anew_with_the_same_content_are_as_they_were(old: Path) -> None:
    migration.migrate(old)
    for path in old.glob("*.json"):
        path.write_bytes(path.read_bytes())
        os.utime(path, (1, 1))
    assert migration.migrate(old).already
    assert migration.roll_back(old)


def test_a_folder_that_was_moved_with_its_library_can_go_back(old: Path) -> None:
    migration.migrate(old)
    moved = old.rename(old.with_name("moved"))
    assert migration.migrate(moved).already
    assert migration.roll_back(moved)


def test_a_library_that_no_migration_made_is_not_rolled_back(tmp_path: Path) -> None:
    stackroom.open(tmp_path / "stackroom").close()
    with pytest.raises(NotFoundError, match="not migrated"):
        migration.roll_back(tmp_path, confirm=lambda new: True)


def test_what_was_left_out_is_not_discarded_unless_it_is_said(tmp_path: Path) -> None:
    made = OldIndex()
    made.listed = {"alpha": {node: node for node in made.ids[:4]}, "beta": {node: node for node in made.ids[4:]}}
    old = made.write(tmp_path / "old")
    assert migration.migrate(old, index_id="alpha").left_out
    with pytest.raises(UsageError, match=r"index alpha does not list .*beta.*even_what_was_left_out"):
        migration.discard_old(old)
    assert (old / "docstore.json").exists()
    assert migration.discard_old(old, even_what_was_left_out=True)


@pytest.mark.parametrize("keep", [False, True])
def test_orphans_that_were_left_out_are_not_discarded_unless_it_is_said(tmp_path: Path, keep: bool) -> None:
    made = OldIndex()
    del made.nodes["node-2"]
    old = made.write(tmp_path / "old")
    report = migration.migrate(old, keep_orphans=keep)
    assert report.left_out == (() if keep else ("1 x a vector without text",))
    if keep:
        assert migration.discard_old(old)
    else:
        with pytest.raises(UsageError, match="1 x a vector without text"):
            migration.discard_old(old)


def test_vectors_that_were_set_aside_go_out_again_and_can_be_discarded(tmp_path: Path) -> None:
    made = OldIndex()
    made.embeddings["node-1"] = [float("nan"), 1.0, 2.0, 3.0]
    made.embeddings["node-2"] = [1.0, 2.0]
    old = made.write(tmp_path / "old")
    assert migration.migrate(old).left_out == ()
    assert migration.discard_old(old)
    with stackroom.open(old) as index:
        index.export(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "default__vector_store.json").read_text())["embedding_dict"]
    assert told["node-2"] == [1.0, 2.0]
    assert np.isnan(told["node-1"][0])


def test_the_migration_of_another_index_is_not_taken_for_this_one(old: Path, tmp_path: Path) -> None:
    other = OldIndex(chunks=2).write(tmp_path / "other")
    migration.migrate(old, library=tmp_path / "new")
    assert migration.migrate(old, library=tmp_path / "new").already
    assert migration.migrate(old, library=tmp_path / "new", format="llamaindex").already
    with pytest.raises(UsageError, match=f"holds the migration of {old}"):
        migration.migrate(other, library=tmp_path / "new")
    for choice in ({"index_id": "the-index"}, {"keep_orphans": True}, {"metric": "l2"}, {"format": "llamaindex-faiss"}):
        with pytest.raises(UsageError, match=f"holds the migration of {old} with {next(iter(choice))}="):
            migration.migrate(old, library=tmp_path / "new", **choice)


def test_rolling_back_asks_about_what_was_added_since(old: Path) -> None:
    with stackroom.open(old, migrate="auto") as index:
        vector = np.ones(4, dtype=np.float32)
        index.add_documents(
            [stackroom.Document("new", chunks=[stackroom.Chunk("New text.", embedding=vector)], title="New")]
        )
    with pytest.raises(UsageError, match="1 sources were added"):
        migration.roll_back(old)
    asked: list[str] = []
    assert not migration.roll_back(old, confirm=lambda new: asked.extend(source.path for source in new) or False)
    assert asked == ["new"]
    assert (old / "stackroom").is_dir()
    assert migration.roll_back(old, confirm=lambda new: True)
    assert not (old / "stackroom").exists()


def test_rolling_back_removes_what_a_stopped_run_had_written(old: Path) -> None:
    before = contents(old)
    cancel = CancelToken()
    migration.migrate(old, progress=lambda event: cancel.cancel(), cancel=cancel)
    assert (old / ".stackroom.tmp").exists()
    assert migration.roll_back(old)
    assert contents(old) == before
    with LocalStore(old / ".stackroom.tmp").lease("migrate"), pytest.raises(BusyError):
        migration.roll_back(old)


def test_a_part_of_an_index_points_to_its_folder(old: Path) -> None:
    with pytest.raises(UnknownStoreError, match=f"Give the folder: stackroom migrate {old}$"):
        migration.migrate(old / "docstore.json")


GOLDEN = Path(__file__).parents[2] / "compat" / "golden"


def of_langchain() -> Path:
    return next(path for path in sorted(GOLDEN.glob("langchain-*/written")) if (path / "index.faiss").exists())


@pytest.mark.parametrize("missing", ["index.faiss", "index.pkl"])
def test_half_an_index_says_which_file_is_missing(missing: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(of_langchain(), tmp_path / "half"))
    (folder / missing).unlink()
    other = next(folder.iterdir())
    said = f"half an index: {other.name} without {missing}"
    for try_it in (migration.migrate, migration.inventory):
        for path in (folder, other):
            with pytest.raises(UnknownStoreError, match=said):
                try_it(path)
    with pytest.raises(NotALibraryError, match=said):
        stackroom.open(folder, migrate="auto")
    assert list(folder.iterdir()) == [other]


def test_a_pickle_of_something_else_is_no_half(tmp_path: Path) -> None:
    (tmp_path / "index.pkl").write_bytes(pickle.dumps({"frame": [1, 2]}))
    with pytest.raises(UnknownStoreError, match="no index that Stackroom knows"):
        migration.migrate(tmp_path)
    with pytest.raises(NotALibraryError, match="not empty"):
        stackroom.open(tmp_path)
    whole = Path(shutil.copytree(of_langchain(), tmp_path / "whole"))
    with pytest.raises(UnknownStoreError, match="is a part of an index"):
        migration.migrate(whole / "index.pkl")


def test_faiss_without_its_docstore_says_so(tmp_path: Path) -> None:
    written = GOLDEN / "llamaindex-faiss-flat-l2" / "written"
    folder = Path(shutil.copytree(written, tmp_path / "half"))
    (folder / "docstore.json").unlink()
    with pytest.raises(UnknownStoreError, match=r"default__vector_store\.json without docstore\.json"):
        migration.migrate(folder)


@pytest.mark.parametrize("name", ["index.faiss", "index.pkl"])
def test_a_file_of_langchain_that_breaks_off_is_said_to(name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(of_langchain(), tmp_path / "cut"))
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedError, match=rf"{name}.* breaks off.* Restore the file from a backup"):
        migration.migrate(folder)


def test_a_pickle_that_names_a_program_is_refused_however_it_ends(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(of_langchain(), tmp_path / "evil"))
    for end in (b"", b"\n", b"langchain"):
        (folder / "index.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR." + end)
        with pytest.raises(DamagedError, match=r"refused: it names os\.system"):
            migration.migrate(folder)


def test_what_makes_searches_quick_is_made_for_a_library_and_never_makes_one(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_files, "LEAST", 1)
    monkeypatch.setattr(word_files, "WORTH", 1)
    report = migration.migrate(old, sketch=False)
    made = Path(report.library) / "sketches"
    assert not made.exists()
    cancel = CancelToken()
    cancel.cancel()
    migration.make_quick(old, cancel=cancel)
    assert not list(made.glob("*"))
    migration.make_quick(old)
    assert len(list(made.glob("words*"))) == 1
    assert migration.roll_back(old)
    before = contents(old)
    for gone in (report.library, old, tmp_path / "nowhere"):
        with pytest.raises((NotFoundError, NotALibraryError)):
            migration.make_quick(gone)
    assert contents(old) == before
    assert not (tmp_path / "nowhere").exists()


def test_two_indexes_of_one_format_are_told_by_their_files(tmp_path: Path) -> None:
    written = of_langchain()
    folder = tmp_path / "with space"
    folder.mkdir()
    for name in ("a", "b"):
        for suffix in ("faiss", "pkl"):
            shutil.copy(written / f"index.{suffix}", folder / f"{name}.{suffix}")
    with pytest.raises(UsageError, match=r"stackroom migrate '.*with space/a\.faiss' or .*b\.faiss'"):
        migration.migrate(folder)
    shutil.copytree(OldIndex().write(tmp_path / "llama"), folder, dirs_exist_ok=True)
    (folder / "b.faiss").unlink()
    with pytest.raises(UsageError, match=r"--from langchain-faiss or --from llamaindex \(format"):
        migration.migrate(folder)


def test_an_old_file_that_can_not_be_read_is_not_said_to_need_writing(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(self: Path, *arguments: Any, **more: Any) -> Any:
        if self.name == "docstore.json":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"docstore.json can't be read: Permission denied\. Check"):
        migration.migrate(old)


def test_a_dry_run_says_where_nothing_can_be_written(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert migration.inventory(old).target_writable
    monkeypatch.setattr(os, "access", lambda path, mode: path != old)
    assert not migration.inventory(old).target_writable


def test_vectors_in_collections_are_proven_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = OldIndex()
    made.embeddings["node-1"] = [0.1] * 10
    del made.nodes["node-2"]
    report = migration.migrate(made.write(tmp_path / "old"), split_dims=True, keep_orphans=True)
    assert report.proof is not None
    assert (report.proof.vectors, report.proof.collections) == (5, 1)
    rules = {anomaly.kind: anomaly.rule for anomaly in report.anomalies}
    assert rules["another dimension"] == "The text is kept, and the vector in a collection."
    assert rules["a vector without text"].startswith("Kept")
    monkeypatch.setattr(others.Digests, "agrees", lambda self, at, item: len(item) != 10)
    with pytest.raises(MigrationError, match=r"node-1 in collection default-10 differs"):
        migration.migrate(tmp_path / "old", library=tmp_path / "new", split_dims=True)


def test_rolling_back_waits_for_nobody(old: Path) -> None:
    migration.migrate(old)
    with LocalStore(old / "stackroom").lease("add"), pytest.raises(BusyError):
        migration.roll_back(old)


def test_discarding_frees_the_old_files_and_the_library_stays(old: Path) -> None:
    total = sum(len(data) for data, _ in old_files(old).values())
    migration.migrate(old)
    assert migration.discard_old(old) == total
    assert [path.name for path in old.iterdir()] == ["stackroom"]
    with stackroom.open(old) as index:
        assert index.stats().chunks == 6
        index.export(old.parent / "export")
    assert migration.migrate(old).already
    assert migration.migrate(old.parent / "export").chunks == 6
    with pytest.raises(NotFoundError):
        migration.discard_old(old)


def test_a_single_file_gets_its_library_beside_it(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "compat" / "golden" / "llamaindex-0.5.27" / "written" / "index.json"
    old = tmp_path / "index.json"
    shutil.copy(golden, old)
    with stackroom.open(old, migrate="auto") as index:
        assert index.stats().chunks == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "index.json.stackroom"]
    assert migration.roll_back(old)
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_a_target_that_is_not_empty_is_refused(old: Path, tmp_path: Path) -> None:
    target = tmp_path / "library"
    target.mkdir()
    (target / "something").write_text("else")
    with pytest.raises(UsageError, match="not empty"):
        migration.migrate(old, library=target)
    (target / "something").unlink()
    assert migration.migrate(old, library=target).chunks == 6


def test_another_library_in_the_target_is_refused(old: Path, tmp_path: Path) -> None:
    stackroom.open(tmp_path / "library").close()
    with pytest.raises(UsageError, match="holds a library already"):
        migration.migrate(old, library=tmp_path / "library")


@pytest.mark.parametrize("large", [False, True])
def test_an_index_that_is_not_there_is_an_error(old: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    monkeypatch.setattr(run, "WORTH_IT", 0 if large else 1 << 40)
    for call in (migration.inventory, migration.migrate):
        with pytest.raises(UsageError, match=r"no index 'alpha': there are the-index.*index_id"):
            call(old, index_id="alpha")
    assert sorted(path.suffix for path in old.iterdir()) == [".json"] * 4


def test_a_dry_run_counts_only_what_would_be_taken(tmp_path: Path) -> None:
    made = OldIndex()
    made.listed = {"alpha": {node: node for node in made.ids[:2]}, "beta": {node: node for node in made.ids[2:]}}
    found = migration.inventory(made.write(tmp_path / "old"), index_id="alpha")
    assert (found.chunks, found.vectors, found.documents, found.dimensions) == (2, 2, 1, {"default:4": 2})
    assert found.indexes == ("alpha", "beta")


@pytest.mark.parametrize(
    ("passages", "megabytes", "seconds"),
    [(2_404, 67, 2.8), (25_000, 692, 13.2), (100_000, 2_768, 46.3), (240_385, 6_655, 108.1)],
)
def test_the_estimate_is_near_what_was_measured(passages: int, megabytes: int, seconds: float) -> None:
    alone = 1 if (os.cpu_count() or 1) > 1 else 2
    assert survey._seconds(passages, megabytes * 1_000_000) == pytest.approx(seconds * alone, rel=0.3)


def test_a_dry_run_that_is_stopped_while_the_old_store_is_opened_ends_at_once(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = CancelToken()
    released = threading.Event()
    opened = survey.open_old

    def slow(path: Path, format: str | None) -> Any:
        cancel.cancel()
        released.wait(30)
        return opened(path, format)

    monkeypatch.setattr(survey, "open_old", slow)
    found = migration.inventory(old, cancel=cancel)
    released.set()
    assert (found.chunks, found.format) == (0, "")


@pytest.mark.parametrize("stage", ["open", "model", "migrate", "verify"])
def test_a_large_migration_stops_wherever_it_is(old: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    monkeypatch.setattr(run, "WORTH_IT", 0)
    cancel = CancelToken()
    if stage == "open":
        cancel.cancel()
    elif stage == "model":
        released = threading.Event()
        monkeypatch.setattr(run, "_model", lambda *arguments: (cancel.cancel(), released.wait(30)))
    report = migration.migrate(
        old, cancel=cancel, progress=lambda event: cancel.cancel() if event.stage == stage else None
    )
    if stage == "model":
        released.set()
        monkeypatch.undo()
    assert report.cancelled
    assert not (old / "stackroom").exists()
    assert migration.migrate(old).chunks == 6


def test_two_formats_in_one_folder_ask_which(old: Path) -> None:
    golden = Path(__file__).parents[2] / "compat" / "golden" / "llamaindex-faiss-beside" / "written" / "faiss_index"
    shutil.copy(golden, old / "faiss_index")
    with pytest.raises(
        UsageError, match=r"there are llamaindex, llamaindex-faiss.* --from llamaindex or --from llamaindex-faiss"
    ):
        migration.migrate(old)
    assert migration.migrate(old, format="llamaindex").chunks == 6


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_and_can_go_elsewhere(old: Path, tmp_path: Path) -> None:
    old.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(ReadOnlyError):
            migration.migrate(old)
        assert migration.migrate(old, library=tmp_path / "library").chunks == 6
    finally:
        old.chmod(stat.S_IRWXU)


def test_read_only_media_are_refused_and_can_go_elsewhere(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root sees it: the file system itself says no."""
    make = Path.mkdir

    def refuse(self: Path, *arguments: int, **more: bool) -> None:
        if old in self.parents:
            raise OSError(30, "Read-only file system", str(self))
        make(self, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ReadOnlyError, match=r"Read-only.*--library NEW"):
        migration.migrate(old)
    assert migration.migrate(old, library=tmp_path / "library").chunks == 6


def test_too_little_space_is_told_before_anything_is_written(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)
    monkeypatch.setattr(survey, "free", lambda target: 1000)
    with pytest.raises(DiskFullError, match="are free"):
        migration.migrate(old)
    assert contents(old) == before


def test_a_source_that_changes_during_the_run_is_not_believed(old: Path) -> None:
    def spoil(event: ProgressEvent) -> None:
        if event.stage == "verify":
            path = old / "graph_store.json"
            path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(MigrationError, match="old files changed"):
        migration.migrate(old, progress=spoil)
    assert not (old / "stackroom").exists()
    assert not any(path.name.startswith(".stackroom") for path in old.iterdir())
    assert migration.migrate(old).chunks == 6


def test_what_arrives_wrong_is_not_activated(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that loses a bit on the way is found by the proof."""
    right = judging.single

    def wrong(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        row = right(values)
        row[0] = np.nextafter(row[0], np.float32(2))
        return row

    monkeypatch.setattr(judging, "single", wrong)
    with pytest.raises(MigrationError, match=r"not what json\.loads reads"):
        migration.migrate(old)
    assert not (old / "stackroom").exists()


def test_a_stopped_run_is_continued(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 2)
    cancel = CancelToken()

    def stop(event: ProgressEvent) -> None:
        if event.stage == "migrate" and event.done >= 2:
            cancel.cancel()

    report = migration.migrate(old, progress=stop, cancel=cancel)
    assert report.cancelled
    assert not (old / "stackroom").exists()
    staged = LocalStore(old / ".stackroom.tmp", mode="r")
    with staged.view() as view:
        kept = view.live_keys()
    staged.close()
    assert len(kept) == 2

    finished = migration.migrate(old)
    assert finished.chunks == 6
    assert finished.proof is not None
    assert finished.proof.ok
    with stackroom.open(old) as index:
        assert index.verify().ok
        assert [passage.text for source in index.sources() for passage in index.get(source.id)] == [
            f"Text of node-{n}, about subject {n}." for n in range(6)
        ]


def test_what_another_old_index_left_in_staging_is_not_continued(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 2)
    cancel = CancelToken()
    migration.migrate(old, progress=lambda event: cancel.cancel(), cancel=cancel)
    shutil.rmtree(old / ".stackroom.tmp" / "vectors")
    changed = OldIndex(chunks=8)
    changed.write(old)
    assert migration.migrate(old).chunks == 8


def test_a_second_process_is_told_who_migrates(old: Path) -> None:
    staging = switch.staging_of(switch.target_of(old, None))
    with LocalStore(staging).lease("migrate"), pytest.raises(BusyError):
        migration.migrate(old)


def test_an_old_application_still_reads_the_old_files(old: Path) -> None:
    migration.migrate(old)
    program = Path(__file__).parents[2] / "compat" / "open_in_llamaindex.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), str(old)], capture_output=True, text=True, check=True
    )
    assert len(json.loads(done.stdout.splitlines()[-1])["nodes"]) == 6


def test_the_first_add_embeds_nothing_that_has_not_changed(tmp_path: Path, folder: Path) -> None:
    embedder = WordEmbedder(dim=4)
    old = OldIndex()
    for number in range(2):
        path = folder / f"doc-{number}.txt"
        path.write_text("".join(f"Text of node-{n}, about subject {n}. " for n in range(number * 3, number * 3 + 3)))
        for node in (node for node, document in old.owner.items() if document == f"doc-{number}"):
            body = old.nodes[node]["__data__"]
            for about in (body["metadata"], body["relationships"]["1"]["metadata"]):
                about |= {"file_path": str(path), "file_size": path.stat().st_size}
            old.embeddings[node] = [float(value) for value in embedder.embed_query(body["text"])]
    written = old.write(tmp_path / "old")
    embedder.embedded.clear()

    with stackroom.open(written, embedder=embedder, migrate="auto") as index:
        assert index.stats().embedder == embedder.identity
        embedder.embedded.clear()
        report = index.add(folder)
        assert (report.unchanged, report.added, report.embedded) == (2, 0, 0)
        assert embedder.embedded == []

        (folder / "doc-0.txt").write_text("Something else altogether, this time.")
        report = index.add(folder)
        assert (report.unchanged, report.updated) == (1, 1)
        assert index.search("something else altogether", k=1)[0].document.path == str(folder / "doc-0.txt")


def test_a_file_that_changed_after_it_was_indexed_is_read_again(tmp_path: Path, folder: Path) -> None:
    embedder = WordEmbedder(dim=4)
    old = OldIndex(chunks=2, documents=1)
    path = folder / "doc-0.txt"
    path.write_text("Longer than it was when it was indexed.")
    for body in (entry["__data__"] for entry in old.nodes.values()):
        for about in (body["metadata"], body["relationships"]["1"]["metadata"]):
            about |= {"file_path": str(path), "file_size": 3}
        old.embeddings[body["id_"]] = [float(value) for value in embedder.embed_query(body["text"])]
    with stackroom.open(old.write(tmp_path / "old"), embedder=embedder, migrate="auto") as index:
        assert index.add(folder).updated == 1


def test_an_unnamed_model_of_the_same_length_is_not_taken_for_the_shipped_one(tmp_path: Path, folder: Path) -> None:
    (folder / "new.txt").write_text("A new file that would have to be embedded.")
    old = OldIndex(dim=384).write(tmp_path / "old")
    with stackroom.open(old, migrate="auto") as index, pytest.raises(EmbedderMismatchError, match="does not say which"):
        index.add(folder)


def test_scores_can_be_kept_as_they_were(tmp_path: Path) -> None:
    old = OldIndex()
    old.embeddings["node-0"] = [3.0, 0.0, 0.0, 0.0]
    old.embeddings["node-1"] = [1.0, 0.5, 0.0, 0.0]
    report = migration.migrate(old.write(tmp_path / "old"), metric="l2")
    assert report.proof is not None
    assert report.proof.queries == 6
    query = np.array([1, 0, 0, 0], dtype=np.float32)
    with stackroom.open(tmp_path / "old") as index:
        hits = {hit.chunk_id: hit.score for hit in index.search(query)}
    assert hits["node-1"] == pytest.approx(-0.25)
    assert hits["node-0"] == pytest.approx(-4.0)


def test_a_store_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "chroma.sqlite3").write_bytes(b"SQLite format 3\x00")
    with pytest.raises(UnknownStoreError, match="Chroma's"):
        migration.migrate(tmp_path)


def test_a_folder_with_one_file_is_as_good_as_the_file(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "compat" / "golden" / "llamaindex-0.5.27" / "written"
    shutil.copytree(golden, tmp_path / "old")
    with stackroom.open(tmp_path / "old", migrate="auto") as index:
        assert index.stats().chunks == 9
    assert (tmp_path / "old" / "stackroom").is_dir()


def test_json_namespaces_beside_faiss_are_of_the_same_index(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "compat" / "golden"
    shutil.copytree(golden / "llamaindex-faiss-flat-ip" / "written", tmp_path / "old")
    images = golden / "llamaindex-0.14.25-namespaces" / "written" / "image__vector_store.json"
    shutil.copy(images, tmp_path / "old")
    found = migration.inventory(tmp_path / "old")
    assert (found.format, found.dimensions) == ("llamaindex-faiss", {"default:4": 10, "image:3": 2})
    with stackroom.open(tmp_path / "old", migrate="auto") as index:
        chunk_id, vector = next(iter(json.loads(images.read_text())["embedding_dict"].items()))
        query = np.array(vector, dtype=np.float32)
        assert index.search(query, k=1, collection="image")[0].chunk_id == chunk_id


@pytest.mark.parametrize("content", ["", " ", "null", "[]", "3"])
def test_a_vector_store_that_is_no_object_is_damage(old: Path, content: str) -> None:
    (old / "default__vector_store.json").write_text(content)
    with pytest.raises(DamagedError, match="default__vector_store"):
        migration.migrate(old)
    assert not (old / "stackroom").exists()


def test_texts_that_come_without_vectors_are_told_of(old: Path) -> None:
    (old / "default__vector_store.json").unlink()
    with (
        pytest.warns(NoVectorsWarning, match="None of the 6 passages"),
        stackroom.open(old, migrate="auto") as index,
    ):
        assert index.stats().needs_embedding == 6
