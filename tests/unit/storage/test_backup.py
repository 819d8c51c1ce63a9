"""Backups: one state, whole, beside other backups, writers and compactions, and never over what somebody wrote."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import DamagedError, DiskFullError, ReadOnlyError, StorageError, UsageError
from stackroom.progress import CancelToken, Progress, ProgressEvent, silent
from stackroom.reports import Backup, Verification
from stackroom.storage.catalogue import branches, sums
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from stackroom.storage.upkeep import backup, check, compaction
from stackroom.types import Chunk
from support import chunks, unit_rows

WORDS = "first second third other"


def put(store: LocalStore, name: str, texts: list[str]) -> None:
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name=name))
        commit.add_chunks(commit.put_document(DocumentRecord(name, source)), chunks(texts, seed=len(name)))


def save(
    store: LocalStore,
    folder: Path,
    *,
    refresh: bool = True,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> bool:
    """Whether it was not cancelled."""
    return not store.backup(folder, refresh=refresh, progress=progress, cancel=cancel or CancelToken()).cancelled


def held(folder: Path, mode: str = "r") -> set[str]:
    """What the library there finds, once it was verified."""
    copy = LocalStore(folder, mode=mode)
    try:
        assert copy.verify(progress=silent, cancel=CancelToken()).ok
        with copy.view() as view:
            keys = view.matching(WORDS, 1_000, Scope())[0].keys.tolist()
            return {passage.text for passage in view.passages(keys)}
    finally:
        copy.close()


def beside(folder: Path) -> set[str]:
    """What backups left beside a target."""
    return {path.name for path in folder.parent.glob(f".{folder.name}.backup.*")}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "safe" / "copy"


@pytest.mark.parametrize("mode", ["r", "a"])
def test_a_copy_opens_like_any_library(store: LocalStore, target: Path, mode: str) -> None:
    put(store, "a", ["first"])
    assert save(store, target, refresh=False)
    assert {path.name for path in target.iterdir()} == {layout.CATALOGUE, layout.VECTORS}
    assert held(target, mode) == {"first"}
    assert beside(target) == set()


def test_a_backup_of_this_commit_is_left_alone(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    made = target.stat().st_ino
    for refresh in (True, False):
        done = store.backup(target, refresh=refresh, progress=silent, cancel=CancelToken())
        assert (done.copied, done.cancelled) == (False, False)
    assert target.stat().st_ino == made
    put(store, "bb", ["second"])
    with pytest.raises(UsageError, match=r"earlier backup.*--refresh"):
        save(store, target, refresh=False)
    assert store.backup(target, refresh=True, progress=silent, cancel=CancelToken()).copied
    assert held(target) == {"first", "second"}


def test_an_empty_library_and_one_without_commit_ids_are_refreshed(store: LocalStore, target: Path) -> None:
    assert save(store, target)
    put(store, "a", ["first"])
    with store.exclusive() as writer:
        writer.connection.execute("DELETE FROM settings WHERE name = 'commit_id'")
        sums.put(writer.connection)
    assert save(store, target)
    assert save(store, target)
    put(store, "bb", ["second"])
    assert save(store, target)
    assert held(target) == {"first", "second"}


def test_backups_to_one_folder_take_turns(store: LocalStore, target: Path) -> None:
    for turn in range(6):
        put(store, f"source {turn}", ["first"] if turn == 0 else [f"other {turn}"])
        failed: list[BaseException] = []
        together = threading.Barrier(3)

        def run(failed: list[BaseException] = failed, together: threading.Barrier = together) -> None:
            other = LocalStore(store.path)
            try:
                together.wait()
                assert save(other, target)
            except BaseException as error:
                failed.append(error)
            finally:
                other.close()

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert held(target) == {"first", *(f"other {number}" for number in range(1, turn + 1))}
        assert beside(target) == set()


def test_waiting_for_another_backup_can_be_cancelled(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    cancel = CancelToken()
    cancel.cancel()
    with backup._alone(target, CancelToken()):
        assert not save(store, target, cancel=cancel)
    assert not target.exists()


def test_when_the_new_one_can_not_be_put_there_the_old_one_stays(
    store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", ["first"])
    save(store, target)
    put(store, "bb", ["second"])
    rename = os.rename

    def failing(old: Path, new: Path) -> None:
        if ".tmp-" in str(old):
            raise OSError(errno.EIO, "Input/output error", str(old), None, str(new))
        rename(old, new)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(StorageError) as caught:
        save(store, target)
    assert Path(str(caught.value.path)) == target.resolve()
    monkeypatch.undo()
    assert held(target) == {"first"}
    assert beside(target) == set()
    assert save(store, target)
    assert held(target) == {"first", "second"}


def test_what_a_run_that_died_left_is_put_right(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    target.rename(target.with_name(".copy.backup.gone"))
    target.with_name(".copy.backup.tmp-abcd1234").mkdir()
    other = target.with_name(".copy.backup.tmp-of-mine")
    other.mkdir()
    cancel = CancelToken()
    cancel.cancel()
    put(store, "bb", ["second"])
    assert not save(store, target, cancel=cancel)
    assert held(target) == {"first"}
    assert beside(target) == {other.name}

    shutil.copytree(target, target.with_name(".copy.backup.gone"))
    assert save(store, target)
    assert held(target) == {"first", "second"}
    assert beside(target) == {other.name}


def test_the_only_backup_outlives_an_empty_folder_in_its_place(
    store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", ["first"])
    save(store, target)
    gone = target.with_name(".copy.backup.gone")
    target.rename(gone)
    target.mkdir()

    def failing(old: Path, new: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(StorageError):
        save(store, target)
    monkeypatch.undo()
    assert held(gone) == {"first"}
    assert save(store, target)
    assert beside(target) == set()


def test_a_backup_that_was_written_to_is_never_replaced(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    copy = LocalStore(target)
    put(copy, "bb", ["other"])
    copy.close()
    # As many commits in both, which once was taken for the same state.
    put(store, "bb", ["second"])
    with pytest.raises(UsageError, match="was changed since it was made"):
        save(store, target)
    assert held(target) == {"first", "other"}


def test_a_backup_that_is_written_to_during_the_copy_is_not_replaced(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    put(store, "bb", ["second"])
    written: list[ProgressEvent] = []

    def write(event: ProgressEvent) -> None:
        if not written:
            copy = LocalStore(target)
            put(copy, "ccc", ["other"])
            copy.close()
        written.append(event)

    with pytest.raises(UsageError, match="was changed since it was made"):
        save(store, target, progress=write)
    assert held(target) == {"first", "other"}
    assert beside(target) == set()


def lose(store: LocalStore) -> Path:
    """The library's folder goes away, and so does who had it open."""
    store.close()
    shutil.rmtree(store.path)
    return store.path


def test_a_copy_that_sqlite_opened_for_reading_for_want_of_handles_is_no_medium(
    store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutHandles(backup.Connection):
        def readonly(self, name: str) -> bool:
            return True

    put(store, "a", ["first"])
    monkeypatch.setattr(backup, "Connection", WithoutHandles)
    with pytest.raises(StorageError, match="can't be opened") as caught:
        save(store, target)
    assert not isinstance(caught.value, ReadOnlyError)
    assert "too many files" in (caught.value.hint or "")


def test_a_backup_is_made_anew_after_a_purge(store: LocalStore, target: Path) -> None:
    """What was purged was still in the backup, of which it was said that it is the newest."""
    put(store, "a", ["confidential"])
    put(store, "bb", ["second"])
    with store.view() as view:
        gone = view.source("a").key
    with store.commit() as commit:
        commit.remove_source(gone)
    # What is compacted before needs no commit of a purge's compaction.
    store.compact(progress=silent, cancel=CancelToken())
    save(store, target)
    store.purge(progress=silent, cancel=CancelToken())
    assert store.backup(target, refresh=True, progress=silent, cancel=CancelToken()).copied
    assert not store.backup(target, refresh=True, progress=silent, cancel=CancelToken()).copied


def test_an_older_state_of_a_library_takes_no_newer_backups_place(store: LocalStore, target: Path) -> None:
    """As where the wrong backup was restored, and the next refresh replaced the only copy of what came after it."""
    old = target.with_name("old")
    put(store, "a", ["first"])
    save(store, old)
    put(store, "bb", ["second"])
    save(store, target)
    library = lose(store)
    with contextlib.closing(LocalStore(old, mode="r")) as kept:
        assert save(kept, library)
    with contextlib.closing(LocalStore(library)) as restored:
        for refresh in (True, False):
            with pytest.raises(UsageError, match="holds a later state of this library") as caught:
                save(restored, target, refresh=refresh)
            assert caught.value.message == (
                f"{target} holds a later state of this library than {library}: "
                "2 documents after 2 commits there, 1 document after 1 commit here."
            )
            assert f"move {library} away, then: stackroom --library {target} backup {library}" in str(caught.value.hint)
    assert held(target) == {"first", "second"}
    assert beside(target) == set()
    shutil.rmtree(library)
    with contextlib.closing(LocalStore(target, mode="r")) as kept:
        assert save(kept, library)
    assert held(library) == {"first", "second"}


def test_a_copy_of_as_many_commits_that_are_others_is_not_replaced(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    store.close()
    other = target.with_name("another")
    shutil.copytree(store.path, other)
    with contextlib.closing(LocalStore(other)) as parted:
        put(parted, "bb", ["other"])
        save(parted, target)
    with contextlib.closing(LocalStore(store.path)) as library:
        put(library, "bb", ["second"])
        with pytest.raises(
            UsageError, match=r"is no earlier state of .*, and each holds what the other does not"
        ) as caught:
            save(library, target)
        assert "Choose another folder" in str(caught.value.hint)
    assert held(target) == {"first", "other"}


def restored(backup: Path, library: Path) -> LocalStore:
    """The library, brought back from a backup as it is advised."""
    with contextlib.closing(LocalStore(backup, mode="r")) as kept:
        assert save(kept, library)
    return LocalStore(library)


def test_a_library_that_went_on_from_an_older_backup_replaces_none_of_what_it_lost(
    store: LocalStore, target: Path
) -> None:
    """Then it has more commits than the newer backup, and not those."""
    old, older = target.with_name("old"), target.with_name("older")
    put(store, "a", ["first"])
    save(store, older)
    put(store, "bb", ["second"])
    save(store, old)
    put(store, "ccc", ["third"])
    save(store, target)
    with contextlib.closing(restored(old, lose(store))) as library:
        for number in range(3):
            put(library, f"other {number}", [f"other {number}"])
        with pytest.raises(UsageError, match="is no earlier state"):
            save(library, target)
        assert held(target) == {"first", "second", "third"}
        # What it has in common with them, and what came since, is its own.
        assert save(library, older)
        assert save(library, old)
        put(library, "another", ["other 3"])
        assert save(library, old)
    assert held(old) == {"first", "second", *(f"other {number}" for number in range(4))}
    # And the other way round: to the library that the newer one brings back, it is a stranger's.
    with contextlib.closing(restored(target, lose(library))) as library:
        for number in range(9):
            put(library, f"later {number}", [f"other {number}"])
        with pytest.raises(UsageError, match="is no earlier state"):
            save(library, old)
        assert save(library, target)


def test_a_library_that_was_brought_back_again_and_again_knows_its_backups(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    library = store
    for number in range(3):
        library = restored(target, lose(library))
        put(library, f"source {number}", [f"other {number}"])
        assert save(library, target)
    library.close()
    assert held(target) == {"first", "other 0", "other 1", "other 2"}


def refreshed(store: LocalStore, folder: Path) -> Backup:
    return store.backup(folder, refresh=True, progress=silent, cancel=CancelToken())


def spoil_last(store: LocalStore) -> None:
    with store.exclusive() as writer:
        writer.connection.execute("UPDATE chunks SET text = zeroblob(30) WHERE key = (SELECT max(key) FROM chunks)")
    assert store.repair(dry_run=False, progress=silent, cancel=CancelToken()).damage


def test_a_library_that_has_lost_passages_replaces_no_backup_that_has_them(store: LocalStore, target: Path) -> None:
    """A nightly backup took from it what the repair had said to be in it."""
    put(store, "a", ["first"])
    put(store, "bb", ["second"])
    save(store, target)
    spoil_last(store)
    with pytest.raises(DamagedError, match="lost passages of bb, and the earlier backup") as caught:
        save(store, target)
    assert "list --failed" in caught.value.hint
    with contextlib.closing(LocalStore(target, mode="r")) as kept, kept.view() as view:
        assert len(view.live_keys()) == 2
    assert refreshed(store, target.with_name("another")).copied
    put(store, "c", ["third"])
    assert refreshed(store, target.with_name("another")).copied
    with store.view() as view:
        lost = view.source("bb").key
    with store.commit() as commit:
        commit.remove_source(lost)
    assert refreshed(store, target).copied


def test_a_backup_that_a_disk_has_changed_is_made_anew(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first", "second", "third"])
    save(store, target)
    file = next(path for path in layout.vectors(target).iterdir() if not path.name.endswith("norms"))
    data = bytearray(file.read_bytes())
    data[layout.VECTOR_HEADER + 5] ^= 0x40
    file.write_bytes(data)
    assert not store.backup(target, refresh=False, progress=silent, cancel=CancelToken()).copied
    assert (done := refreshed(store, target)).copied
    assert done.compared
    with contextlib.closing(LocalStore(target, mode="r")) as copy:
        assert copy.verify(progress=silent, cancel=CancelToken()).ok
    again = refreshed(store, target)
    assert (again.copied, again.compared) == (False, True)


def test_a_repair_keeps_where_a_library_went_on_from(store: LocalStore, target: Path) -> None:
    old = target.with_name("old")
    put(store, "a", ["first"])
    save(store, old)
    put(store, "bb", ["second"])
    save(store, target)
    with contextlib.closing(restored(old, lose(store))) as library:
        for number in range(3):
            put(library, f"other {number}", [f"other {number}"])
        with library.exclusive() as writer:
            writer.connection.execute("UPDATE chunks SET text = zeroblob(30) WHERE key = (SELECT max(key) FROM chunks)")
        assert library.repair(dry_run=False, progress=silent, cancel=CancelToken()).damage
        with pytest.raises(UsageError, match="is no earlier state"):
            save(library, target)
        assert save(library, old)


@pytest.mark.parametrize("stored", [None, "text", 7, b"too short", bytes(25)])
def test_a_damaged_note_of_branches_is_none(store: LocalStore, target: Path, stored: object) -> None:
    put(store, "a", ["first"])
    save(store, target)
    with contextlib.closing(LocalStore(target)) as copy:
        if stored is not None:
            with copy.exclusive() as writer:
                writer.connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (branches.NAME, stored))
        put(copy, "bb", ["second"])
        with copy.view() as view:
            ((number, commit_id),) = branches.read(
                view.connection.value("SELECT value FROM settings WHERE name = ?", (branches.NAME,))
            )
            assert (number, commit_id) == (
                2,
                view.connection.value("SELECT value FROM settings WHERE name = 'commit_id'"),
            )


def test_what_was_added_last_is_said_of_both(store: LocalStore, target: Path) -> None:
    for name, at in (("a", "2026-01-02T03:04:05+00:00"), ("bb", "2026-02-03T04:05:06+00:00")):
        with store.commit() as commit:
            commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name, indexed_at=at))))
        save(store, target.with_name(name))
    with (
        contextlib.closing(LocalStore(target.with_name("a"), mode="r")) as older,
        pytest.raises(UsageError) as caught,
    ):
        save(older, target.with_name("bb"))
    assert caught.value.message.endswith(
        ": 2 documents after 2 commits (the last read at 2026-02-03 04:05 UTC) there, "
        "1 document after 1 commit (the last read at 2026-01-02 03:04 UTC) here."
    )


def test_only_backups_are_replaced(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    copy = LocalStore(target)
    with copy.exclusive() as writer:
        writer.connection.execute("DELETE FROM settings WHERE name = 'backup_of'")
        sums.put(writer.connection)
    copy.close()
    put(store, "bb", ["second"])
    with pytest.raises(UsageError, match="no backup") as caught:
        save(store, target)
    assert f"move {target} away, then: stackroom --library {store.path} backup {target}" in str(caught.value.hint)
    LocalStore(target.with_name("another")).close()
    target.with_name("file").write_text("mine")
    target.with_name("folder").mkdir()
    (target.with_name("folder") / "file").write_text("mine")
    shutil.copytree(target, target.with_name("broken"))
    layout.catalogue(target.with_name("broken")).write_bytes(b"broken")
    for name, what in {
        "another": "holds another library",
        "file": "is a file, and a backup is a folder",
        "folder": "is not empty",
        "broken": "holds a library that can't be read",
    }.items():
        for refresh in (True, False):
            with pytest.raises(UsageError, match=f"{name} {what}") as caught:
                save(store, target.with_name(name), refresh=refresh)
            assert "another" in str(caught.value.hint)
    assert held(target) == {"first"}


def test_the_library_and_what_is_in_or_around_it_is_no_target(store: LocalStore, tmp_path: Path) -> None:
    put(store, "a", ["first"])
    (tmp_path / "link").symlink_to(store.path, target_is_directory=True)
    before = sorted(store.path.rglob("*"))
    for folder in (store.path, tmp_path / "link"):
        with pytest.raises(UsageError, match=f"{store.path} is the library itself"):
            save(store, folder)
    for folder in (store.path / "in" / "it", store.path.parent, tmp_path / "link" / "in"):
        with pytest.raises(UsageError, match="within each other"):
            save(store, folder)
    assert sorted(store.path.rglob("*")) == before
    assert held(store.path) == {"first"}


def test_the_root_of_the_file_system_is_no_target(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="within each other"):
        save(store, Path(tmp_path.anchor))


def test_a_link_is_followed(store: LocalStore, target: Path, tmp_path: Path) -> None:
    target.mkdir(parents=True)
    (tmp_path / "link").symlink_to(target, target_is_directory=True)
    for name, text in (("a", "first"), ("bb", "second")):
        put(store, name, [text])
        assert save(store, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert held(target) == {"first", "second"}


def test_a_link_to_what_is_not_there_is_no_target(store: LocalStore, target: Path, tmp_path: Path) -> None:
    """Its medium may not be mounted, and what would be made there is on no medium of its own."""
    put(store, "a", ["first"])
    (tmp_path / "link").symlink_to(target, target_is_directory=True)
    for folder in (tmp_path / "link", tmp_path / "link" / "in" / "it"):
        with pytest.raises(UsageError, match=f"{tmp_path / 'link'} is a link to {target}, which is not there"):
            save(store, folder)
    assert not target.parent.exists()


def test_what_a_run_that_died_left_behind_a_link_is_put_right(store: LocalStore, target: Path, tmp_path: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    (tmp_path / "link").symlink_to(target, target_is_directory=True)
    target.rename(target.with_name(".copy.backup.gone"))
    put(store, "bb", ["second"])
    assert save(store, tmp_path / "link")
    assert held(target) == {"first", "second"}
    assert beside(target) == set()


def test_a_compaction_meanwhile_lets_it_begin_again(
    store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", ["first"])
    put(store, "bb", ["second"])
    original, compacted = backup._copy_start, []

    def compacting(*args: object) -> None:
        if not compacted:
            with store.view() as view:
                source = view.source("a")
            assert source is not None
            with store.commit() as commit:
                commit.remove_source(source.key)
            compacted.append(store.compact(progress=silent, cancel=CancelToken()))
            assert compacted[0].rows_dropped == 1
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "_copy_start", compacting)
    # It waits for this thread's own view, ten seconds long.
    monkeypatch.setattr(compaction, "_shrink", lambda *args: None)
    assert save(store, target)
    assert held(target) == {"second"}


def test_a_vector_file_that_stays_away_is_damage(
    store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", ["first"])
    original = backup._copy_start

    def missing(source: Path, *args: object) -> None:
        original(source.with_name("away"), *args)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "_copy_start", missing)
    with pytest.raises(DamagedError, match="away is missing"):
        save(store, target)
    assert not target.exists()
    assert beside(target) == set()


def test_a_short_file_is_damage(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"12345")
    with pytest.raises(DamagedError) as caught:
        backup._copy_start(tmp_path / "short", tmp_path / "new", 9, silent, CancelToken())
    assert (caught.value.expected, caught.value.actual) == (9, 5)
    assert "short" in str(caught.value.path)


def test_a_copy_that_does_not_open_replaces_nothing(
    store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", ["first"])
    save(store, target)
    put(store, "bb", ["second"])
    original = backup._copy_start

    def spoiling(source: Path, new: Path, *args: object) -> None:
        original(source, new, *args)  # type: ignore[arg-type]
        new.write_bytes(b"")

    monkeypatch.setattr(backup, "_copy_start", spoiling)
    with pytest.raises(StorageError, match="can't be read back"):
        save(store, target)
    assert held(target) == {"first"}
    assert beside(target) == set()


def test_a_damaged_library_takes_no_good_backups_place(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    assert save(store, target)
    put(store, "b", ["second"])
    (rows,) = (path for path in layout.vectors(store.path).iterdir() if path.suffix != ".norms")
    with rows.open("rb+") as file:
        file.seek(layout.VECTOR_HEADER + 3)
        file.write(b"\x7f")
    with pytest.raises(DamagedError, match=r"earlier backup .* was kept") as caught:
        save(store, target)
    assert rows.name in caught.value.message
    assert "verify" in (caught.value.hint or "")
    assert held(target) == {"first"}
    assert beside(target) == set()
    # Where there is no other one, a copy of what there is is better than none.
    assert save(store, target.with_name("another"))


HARMS = {
    "settings": "INSERT INTO settings VALUES('candidates', 7)",
    "spaces": "UPDATE spaces SET identity = identity || ' '",
    "collections": "UPDATE collections SET name = 'defaulu'",
    "sets": "UPDATE sets SET joins = 0",
    "sqlite_sequence": "UPDATE sqlite_sequence SET seq = seq + 64",
    "sums": "UPDATE settings SET value = '{' WHERE name = 'sums'",
}


@pytest.mark.parametrize("table", HARMS)
def test_a_copy_of_a_damaged_small_table_is_not_signed_as_a_good_one(
    store: LocalStore, target: Path, table: str
) -> None:
    put(store, "a", ["first"])
    assert save(store, target)
    put(store, "b", ["second"])
    with store.exclusive() as writer:
        writer.connection.execute(HARMS[table])
    with pytest.raises(DamagedError, match=r"earlier backup .* was kept"):
        save(store, target)
    assert held(target) == {"first"}
    # A first copy has the damage, and says so.
    another = target.with_name("another")
    assert save(store, another)
    with contextlib.closing(LocalStore(another, mode="r")) as copy:
        found = copy.verify(progress=silent, cancel=CancelToken()).damage
    assert any((table if table != "sums" else "checksums") in one.message for one in found)


def test_a_refresh_that_is_cancelled_as_it_is_compared_leaves_the_old_one(
    store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", ["first"])
    assert save(store, target)
    put(store, "b", ["second"])
    cancel = CancelToken()
    comparing = check.verify

    def stopped(*arguments: Any, **named: Any) -> Verification:
        cancel.cancel()
        return comparing(*arguments, **named)

    monkeypatch.setattr(check, "verify", stopped)
    assert not save(store, target, cancel=cancel)
    monkeypatch.undo()
    assert held(target) == {"first"}
    assert beside(target) == set()


def test_a_cancelled_refresh_leaves_the_old_one(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    save(store, target)
    put(store, "bb", ["second"])
    for last in (1, 2):
        cancel, seen = CancelToken(), []

        def cancelling(
            event: ProgressEvent, cancel: CancelToken = cancel, seen: list[int] = seen, last: int = last
        ) -> None:
            seen.append(1)
            if len(seen) == last:
                cancel.cancel()

        assert not save(store, target, progress=cancelling, cancel=cancel)
        assert held(target) == {"first"}
        assert beside(target) == set()


def test_a_backup_beside_a_writer_is_one_commit(store: LocalStore, target: Path) -> None:
    put(store, "a", ["first"])
    done = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        number = 0
        try:
            while not done.is_set():
                number += 1
                put(store, f"source {number}", [f"other {number} {i}" for i in range(3)])
        except BaseException as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert save(store, target)
            assert (len(held(target)) - 1) % 3 == 0
    finally:
        done.set()
        writer.join()
    assert failed == []


def test_norms_come_along(store: LocalStore, target: Path) -> None:
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name="a"))
        document = commit.put_document(DocumentRecord("a", source))
        commit.add_chunks(document, [Chunk("first", embedding=np.float32(3) * unit_rows(1)[0])])
    assert save(store, target)
    assert held(target) == {"first"}
    assert list(layout.vectors(target).glob("*.norms"))


def test_a_target_that_refuses_is_named(store: LocalStore, target: Path) -> None:
    target.parent.write_text("a file")
    with pytest.raises(StorageError) as caught:
        save(store, target)
    assert str(target.resolve()) in str(caught.value)
    target.parent.unlink()
    target.with_name(".copy.backup.lock").mkdir(parents=True)
    with pytest.raises(StorageError) as caught:
        save(store, target)
    assert str(target.resolve()) in str(caught.value)


def test_a_target_without_space_is_named(store: LocalStore, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", ["first"])

    class Full(backup.Connection):
        def backup(self, *args: object) -> object:  # type: ignore[override]
            raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(backup, "Connection", Full)
    with pytest.raises(DiskFullError) as caught:
        save(store, target)
    assert str(target.resolve()) in str(caught.value)
    assert beside(target) == set()


def copied(folder: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", str(folder), str(target)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="copied as on Unix")
@pytest.mark.parametrize("closed", [True, False])
def test_a_plain_copy_of_an_idle_library_is_one(store: LocalStore, library: Path, tmp_path: Path, closed: bool) -> None:
    """Also while it is open, with its last commits in the log and nowhere else: nobody writes meanwhile."""
    for name in ("first", "second"):
        put(store, name, [name])
    if closed:
        store.close()
    else:
        assert (library / layout.WAL).stat().st_size
    copied(library, tmp_path / "copy")
    assert held(tmp_path / "copy", "a") == {"first", "second"}
    other = LocalStore(tmp_path / "copy")
    put(other, "third", ["third"])
    other.close()
    assert held(tmp_path / "copy") == {"first", "second", "third"}
    assert held(library) == {"first", "second"}


@pytest.mark.skipif(os.name == "nt", reason="copied as on Unix")
def test_a_backup_takes_the_place_of_a_library_that_is_lost(store: LocalStore, library: Path, target: Path) -> None:
    """Restoring is copying, and the backup stays one: who has the library open sees what is there now."""
    put(store, "first", ["first"])
    assert save(store, target)
    put(store, "second", ["second"])
    shutil.rmtree(library)
    copied(target, library)
    with store.view() as view:
        assert [source.path for source in view.listing()] == ["first"]
    put(store, "third", ["third"])
    store.close()
    assert held(library) == {"first", "third"}
    assert held(target) == {"first"}
