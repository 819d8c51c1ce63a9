"""Rows and keys find each other, whether the catalogue is asked or a table in memory."""

from __future__ import annotations

import numpy as np
import pytest

from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.errors import DamagedError
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.store import LocalStore
from stackroom.storage.vectors import row_map, spaces
from stackroom.storage.vectors.row_map import RowMap
from support import chunks


@pytest.fixture
def scattered(store: LocalStore) -> LocalStore:
    """Twelve documents of eight passages, of which some lost passages, and two are gone."""
    keys: list[list[int]] = []
    for number in range(12):
        with store.commit() as commit:
            source = commit.put_source(SourceRecord(name=f"source {number}"))
            document = commit.put_document(DocumentRecord(f"document {number}", source))
            keys.append(list(commit.add_chunks(document, chunks([f"text {number}"] * 8, seed=number))))
    with store.commit() as commit:
        commit.discard([*keys[3], keys[5][0], keys[5][4], keys[7][7], *keys[11]])
    return store


@pytest.mark.parametrize("loaded", [False, True])
def test_both_ways_agree_with_the_vectors(scattered: LocalStore, monkeypatch: pytest.MonkeyPatch, loaded: bool) -> None:
    monkeypatch.setattr(row_map, "_LOADED_IN_A_LOOKUP", 1_000_000 if loaded else 0)
    with scattered.view() as view:
        space = spaces.serving(view.connection)
        assert space is not None
        asked = RowMap(space.key)
        keys = np.random.default_rng(1).permutation(view.live_keys())
        rows = asked.rows_of_keys(view.connection, keys)
        assert (asked._table is not None) is loaded
        assert view.mapped(space).rows[rows].tobytes() == view.vectors(keys.tolist()).tobytes()
        assert asked.keys_of_rows(view.connection, rows).tolist() == keys.tolist()
        gone = np.array([0, int(keys.max()) + 1, 10**9], dtype=np.int64)
        assert asked.rows_of_keys(view.connection, gone).tolist() == [-1, -1, -1]
        some = KeySet.from_keys(keys[:20])
        held = asked.rows_of(view.connection, some).keys().tolist()
        assert held == sorted(asked.rows_of_keys(view.connection, some.keys()).tolist())


@pytest.mark.parametrize("copied_apart", [0, 2000])
def test_marked_keys_have_the_rows_that_their_ranges_have(
    scattered: LocalStore, monkeypatch: pytest.MonkeyPatch, copied_apart: int
) -> None:
    monkeypatch.setattr(row_map, "_LOADED_IN_A_LOOKUP", 1_000_000)
    monkeypatch.setattr(row_map, "_COPIED_APART", copied_apart)
    with scattered.view() as view:
        asked = RowMap(1)
        live = view.live_keys()
        for some in (live[::2], live[5:70:3], np.array([0, 2, 10**4], dtype=np.int64), np.array([10**5, 10**5 + 2])):
            marks = np.zeros(int(some.max()) + 1, dtype=np.bool_)
            marks[some] = True
            marked = KeySet.from_marks(marks, 0)
            assert marked.is_marked is bool(np.count_nonzero(np.diff(some) > 1) * 128 > len(marks))
            rows = asked.rows_of(view.connection, marked)
            assert rows == asked.rows_of(view.connection, KeySet.from_keys(some))
            assert asked._table is not None


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("row", [24, 10**6])
def test_a_row_of_nobody_is_damage(
    scattered: LocalStore, monkeypatch: pytest.MonkeyPatch, loaded: bool, row: int
) -> None:
    monkeypatch.setattr(row_map, "_LOADED_IN_A_LOOKUP", 1_000_000 if loaded else 0)
    with scattered.view() as view, pytest.raises(DamagedError, match=f"Row {row} belongs to no passage"):
        RowMap(1).keys_of_rows(view.connection, np.array([1, row], dtype=np.int64))


def test_a_version_that_is_asked_little_loads_nothing(scattered: LocalStore) -> None:
    asked = RowMap(1)
    with scattered.view() as view:
        asked.keys_of_rows(view.connection, np.array([1], dtype=np.int64))
        assert asked._table is None
        asked.keys_of_rows(view.connection, np.array([1], dtype=np.int64))
        assert asked._table is not None


def test_an_empty_space_has_no_rows(store: LocalStore) -> None:
    with store.view() as view:
        assert RowMap(1).rows_of_keys(view.connection, np.array([1, 2], dtype=np.int64)).tolist() == [-1, -1]
        with pytest.raises(DamagedError):
            RowMap(1).keys_of_rows(view.connection, np.array([0], dtype=np.int64))


def test_ranges_within_an_extent_and_beyond_give_the_same_rows(scattered: LocalStore) -> None:
    with scattered.view() as view:
        space = spaces.serving(view.connection)
        assert space is not None
        asked = RowMap(space.key)
        asked.keys_of_rows(view.connection, np.array([1], dtype=np.int64))
        asked.keys_of_rows(view.connection, np.array([1], dtype=np.int64))
        table = asked._table
        assert table is not None
        # Twelve commits that follow each other, with gaps where passages are gone.
        assert len(table.n) < 12
        live = KeySet.from_keys(view.live_keys())
        for wanted in (live, KeySet(np.array([[1, 90]])), KeySet(np.array([[3, 6], [20, 50]])), KeySet.empty()):
            rows = table.rows_of(wanted).keys()
            assert rows.tolist() == sorted(asked.rows_of_keys(view.connection, wanted.intersection(live).keys()))


def test_a_document_key_from_long_ago_does_not_keep_the_table_away(scattered: LocalStore) -> None:
    with scattered.exclusive() as writer:
        writer.connection.execute("UPDATE documents SET document_key = 1000000 WHERE document_key = 1")
    asked = RowMap(1)
    with scattered.view() as view:
        asked.keys_of_rows(view.connection, np.array([1, 2], dtype=np.int64))
        assert asked._table is not None
