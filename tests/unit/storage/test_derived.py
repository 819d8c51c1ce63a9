"""What snapshots derive and share: right for each version, and made once for all readers of the newest."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import DamagedError, NotFoundError
from stackroom.progress import CancelToken, silent
from stackroom.storage import shared as sharing
from stackroom.storage.catalogue import codec, collections, records
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.derived import Remembered
from stackroom.storage.disk import layout
from stackroom.storage.shared import Shared
from stackroom.storage.store import LocalStore
from stackroom.storage.vectors import vector_file
from support import chunks, unit_rows


def put(store: LocalStore, name: str, texts: list[str], collection: str = "default") -> list[int]:
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
        return commit.add_chunks(document, chunks(texts, seed=len(name)), collection=collection)


def test_snapshots_of_the_newest_version_share_what_they_derive() -> None:
    shared = Shared(Path("library"), (0, 0))
    assert shared.derived.of(1).get("name", lambda: "made") == "made"
    assert shared.derived.of(1).get("name", lambda: "made again") == "made"
    assert shared.derived.of(2).get("name", lambda: "of the next") == "of the next"


def test_a_late_reader_of_an_older_version_leaves_the_newer_alone() -> None:
    shared = Shared(Path("library"), (0, 0))
    held = shared.derived.of(1)
    shared.derived.of(2)
    held.get("name", lambda: "old")
    shared.derived.of(1).get("name", lambda: "old")
    assert shared.derived.of(2).get("name", lambda: "new") == "new"
    assert shared.derived.of(2).get("name", lambda: "made again") == "new"


def test_an_open_view_keeps_its_collections_while_a_newer_one_reads(store: LocalStore) -> None:
    put(store, "a", ["first"], "notes")
    with store.view() as older:
        put(store, "b", ["second"], "notes")
        with store.view() as newer:
            assert len(newer.members("notes")) == 2
            assert len(older.members("notes")) == 1
        with store.view() as newest:
            assert len(newest.members("notes")) == 2


def test_only_the_first_query_after_a_commit_reads_where_chunks_live(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    homes = collections.homes
    monkeypatch.setattr(collections, "homes", lambda connection: reads.append(1) or homes(connection))

    def counts() -> list[int]:
        with store.view() as view:
            return [len(view.select(Scope(collection=name))) for name in ("default", "notes", "more")]

    put(store, "a", ["one", "two"])
    put(store, "b", ["three"], "notes")
    put(store, "c", ["four", "five", "six"], "more")
    put(store, "d", ["seven"], "notes")
    assert counts() == counts() == [2, 2, 3]
    assert len(reads) == 1
    put(store, "e", ["eight"], "notes")
    assert counts() == counts() == [2, 3, 3]
    assert len(reads) == 2


@pytest.mark.parametrize("keys", [[], [5], [1, 2, 3, 7], [7, 1, 3, 2], [1, 1, 2], [3, 3]])
def test_keys_in_any_order_make_the_same_set(keys: list[int]) -> None:
    assert KeySet.from_keys(np.array(keys, dtype=np.int64)).keys().tolist() == sorted(set(keys))


def test_another_library_of_the_same_version_shares_nothing() -> None:
    shared = Shared(Path("library"), (0, 0))
    assert shared.derived.of(1, b"one").get("name", lambda: "made") == "made"
    assert shared.derived.of(1, b"other").get("name", lambda: "of the other") == "of the other"


def test_a_library_that_is_replaced_during_a_search_is_seen_by_the_next(store: LocalStore, library: Path) -> None:
    put(store, "a", ["first", "second"])
    other = LocalStore(library.parent / "other")
    put(other, "b", ["only"])
    other.close()
    everything = Scope()
    with store.view() as before:
        assert len(before.select(everything)) == 2
        # As a repaired one is put in its place: no connection to the old one is idle.
        for beside in ("-wal", "-shm"):
            library.joinpath(layout.CATALOGUE + beside).unlink()
        (library.parent / "other" / layout.CATALOGUE).replace(library / layout.CATALOGUE)
        shutil.copytree(layout.vectors(library.parent / "other"), layout.vectors(library), dirs_exist_ok=True)
        with store.view() as after:
            assert len(after.select(everything)) == 1
            assert after.chunk_ids() != before.chunk_ids()


def test_collections_with_vectors_of_their_own_stay_mapped(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = vector_file.open_map
    monkeypatch.setattr(sharing, "open_map", lambda path, **named: opened.append(path.name) or original(path, **named))
    keys = put(store, "a", ["first", "second"])
    for name in ("one", "two"):
        with store.commit() as commit:
            commit.enlist(name, keys)
            rows = unit_rows(len(keys), seed=len(name))
            commit.add_vectors(name, list(zip(keys, rows, strict=True)))
    for _ in range(3):
        for name in ("one", "two"):
            with store.view() as view:
                assert len(view.nearest(unit_rows(1)[0], 1, Scope(collection=name)).keys) == 1
    assert len(opened) == len(set(opened)) == 3


def with_vectors_of_its_own(store: LocalStore) -> list[int]:
    keys = put(store, "a", ["first", "second", "third"], "own")
    with store.commit() as commit:
        commit.add_vectors("own", list(zip(keys, unit_rows(3, dim=8), strict=True)))
    return keys


def test_a_view_that_was_open_before_a_compaction_finds_the_vectors_of_collections(
    store: LocalStore, library: Path
) -> None:
    """The file was mapped at the first question to it, and was gone by then: damage was told where there was none."""
    keys = with_vectors_of_its_own(store)
    with store.commit() as commit:
        commit.remove_chunks(keys[:1])
    with contextlib.closing(LocalStore(library)) as other, other.view() as view:
        store.compact(progress=silent, cancel=CancelToken())
        found = view.nearest(unit_rows(3, dim=8)[2], 5, Scope(collection="own"))
        assert found.keys.tolist()[0] == keys[2]
        assert sorted(found.keys.tolist()) == keys[1:]


def test_lost_vectors_of_a_collection_are_told_who_asks_for_them_and_nobody_else(
    store: LocalStore, library: Path
) -> None:
    with_vectors_of_its_own(store)
    put(store, "beside", ["of all"])
    (library / "vectors" / "2.0001").unlink()
    with contextlib.closing(LocalStore(library)) as other, other.view() as view:
        assert len(view.nearest(unit_rows(1)[0], 5, Scope()).keys) == 1
        with pytest.raises(DamagedError, match=r"2\.0001 is missing"):
            view.nearest(unit_rows(1, dim=8)[0], 5, Scope(collection="own"))


def test_a_hit_s_document_is_read_once_a_version(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", ["first"])
    put(store, "b", ["second"])
    read: list[str] = []
    checksum = codec.record_checksum
    monkeypatch.setattr(codec, "record_checksum", lambda *fields: read.append(fields[0]) or checksum(*fields))

    def asked(*names: str) -> list[str]:
        with store.view() as view:
            return [f"{source.name} {document.title}" for document, source in view.document_of(names).values()]

    assert asked("a") == ["a "]
    once = len(read)
    assert once == 2
    assert asked("a") == ["a "]
    assert len(read) == once
    assert asked("b", "a") == ["b ", "a "]
    assert len(read) == 2 * once
    with store.commit() as commit:
        commit.put_document(DocumentRecord("a", commit.put_source(SourceRecord(name="a")), title="New"))
    assert asked("a") == ["a New"]


def test_long_metadata_is_not_kept(store: LocalStore) -> None:
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        commit.put_document(DocumentRecord("long", source, metadata={"text": "x" * 5000}))
        commit.put_document(DocumentRecord("short", source, metadata={"text": "x"}))
    known: Remembered[str, records.Owner] = Remembered(10)
    with store.view() as view:
        found = records.with_sources(view.connection, ["long", "short", "none"], known)
    assert list(found) == ["long", "short"]
    assert known.get("long") is None
    assert known.get("short") is not None


def test_what_is_remembered_stays_few() -> None:
    known: Remembered[int, int] = Remembered(3)
    for number in range(10):
        known.put(number, number)
        known.put(number, number)
        assert known.get(number) == number
    assert [number for number in range(10) if known.get(number) is not None] == [9]


def test_a_source_that_is_gone_is_not_found_by_its_name(store: LocalStore) -> None:
    put(store, "old", ["first"])

    def found(name: str) -> int:
        with store.view() as view:
            return len(view.select(Scope(sources=(name,))))

    assert found("old") == found("old") == 1
    with store.commit() as commit:
        commit.remove_source(1)
    put(store, "new", ["second", "third"])
    assert found("new") == 2
    with pytest.raises(NotFoundError):
        found("old")


def test_a_relative_name_means_what_it_does_in_the_folder_of_the_moment(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, texts in (("one", ["first"]), ("two", ["second", "third"])):
        (tmp_path / folder).mkdir()
        put(store, str(tmp_path / folder / "notes.md"), texts)
    for folder, expected in (("one", 1), ("two", 2), ("one", 1)):
        monkeypatch.chdir(tmp_path / folder)
        with store.view() as view:
            assert len(view.select(Scope(sources=("notes.md",)))) == expected


def test_what_is_not_remembered_is_made_once() -> None:
    made: list[str] = []
    known: Remembered[str, int] = Remembered(2)
    assert [known.get_or(key, lambda key=key: made.append(key) or len(made)) for key in "abab"] == [1, 2, 1, 2]
    assert known.get_or("c", lambda: 0) == 0
    assert known.get_or("c", lambda: 1) == 0
