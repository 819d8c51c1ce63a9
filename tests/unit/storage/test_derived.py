"""What snapshots derive and share: right for each version, and made once for all readers of the newest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.storage.catalogue import collections
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.snapshot import Shared
from stackroom.storage.store import LocalStore
from support import chunks


def put(store: LocalStore, name: str, texts: list[str], collection: str = "default") -> None:
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
        commit.add_chunks(document, chunks(texts, seed=len(name)), collection=collection)


def test_snapshots_of_the_newest_version_share_what_they_derive() -> None:
    shared = Shared(Path("library"))
    assert shared.derived.of(1).get("name", lambda: "made") == "made"
    assert shared.derived.of(1).get("name", lambda: "made again") == "made"
    assert shared.derived.of(2).get("name", lambda: "of the next") == "of the next"


def test_a_late_reader_of_an_older_version_leaves_the_newer_alone() -> None:
    shared = Shared(Path("library"))
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
