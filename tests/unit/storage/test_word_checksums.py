"""Checksums of the full-text index: whatever is done to it, they are those of what it holds."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import pytest

import stackroom
from stackroom.errors import DamagedError
from stackroom.storage.catalogue import tables
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import checksums, fulltext
from support import WordEmbedder, write_files


def text(number: int) -> str:
    return " ".join(f"word{number * step % 97}" for step in range(1, 30))


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    connection = Connection(str(tmp_path / "catalogue.db"))
    tables.create(connection)
    return connection


def add(connection: Connection, first: int, end: int) -> None:
    with connection:
        fulltext.add(connection, ((key, text(key)) for key in range(first, end)))
        checksums.put(connection)


def sums(connection: Connection) -> list[tuple[object, ...]]:
    return connection.rows("SELECT * FROM word_sums ORDER BY part, id")


def test_they_follow_what_is_added_removed_and_merged(connection: Connection) -> None:
    assert checksums.differing(connection) == 0
    for first in range(1, 900, 90):
        add(connection, first, first + 90)
        assert checksums.differing(connection) == 0
    with connection:
        fulltext.remove(connection, range(50, 700))
        checksums.put(connection)
    assert checksums.differing(connection) == 0
    while True:
        with connection:
            if fulltext.merge(connection, 4) < 2:
                break
        assert checksums.differing(connection) == 0
    with connection:
        fulltext.optimize(connection)
    assert checksums.differing(connection) == 0
    # Nothing is left of what is gone.
    there = connection.value("SELECT count(*) FROM words_data")
    assert connection.value("SELECT count(*) FROM word_sums WHERE part = 'pages'") == there


def test_a_transaction_that_is_undone_leaves_them_as_they_were(connection: Connection) -> None:
    add(connection, 1, 100)
    before = sums(connection)
    with pytest.raises(ZeroDivisionError), connection:
        fulltext.add(connection, [(200, "gone")])
        fulltext.remove(connection, [5])
        checksums.put(connection)
        raise ZeroDivisionError
    assert sums(connection) == before
    assert checksums.differing(connection) == 0
    add(connection, 100, 120)
    assert checksums.differing(connection) == 0


def test_without_words_nothing_is_written(connection: Connection) -> None:
    add(connection, 1, 5)
    changes = connection.total_changes()
    checksums.put(connection)
    assert connection.total_changes() == changes


@pytest.mark.parametrize("part", ["pages", "segments", "sizes", "settings"])
def test_each_kind_of_part_is_compared(connection: Connection, part: str) -> None:
    add(connection, 1, 200)
    connection.execute(
        "UPDATE word_sums SET checksum = checksum + 1 WHERE part = ?1 AND id = (SELECT max(id) FROM word_sums WHERE part = ?1)",
        (part,),
    )
    assert checksums.differing(connection) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE words_config SET v = 5 WHERE k = 'crisismerge'",
        "INSERT INTO words_config VALUES('rank', 'bm25(9)')",
        "UPDATE words_idx SET term = CAST(term AS TEXT)",
    ],
)
def test_what_fts5_was_told_and_where_words_are_is_compared(connection: Connection, change: str) -> None:
    add(connection, 1, 200)
    connection.execute(change)
    assert checksums.differing(connection) == 1


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE word_sums(x)", "CREATE INDEX word_sums ON sources(name)", "CREATE TABLE word_sums(part, id)"],
)
def test_a_table_of_a_stranger_is_damage_which_a_repair_mends(tmp_path: Path, statement: str) -> None:
    folder = tmp_path / "in"
    write_files(folder, {"a.txt": "harbour lantern", "b.txt": "orchard granite"})
    with stackroom.open(tmp_path / "library", embedder=WordEmbedder()) as index:
        index.add(folder)
    with contextlib.closing(apsw.Connection(str(tmp_path / "library" / "catalogue.db"))) as strange:
        strange.execute(f"DROP TABLE word_sums; {statement}")
    with stackroom.open(tmp_path / "library", embedder=WordEmbedder()) as index:
        assert [found.structure for found in index.verify().damage] == ["full text"]
        with pytest.raises(DamagedError, match="word_sums"):
            index.remove([str(folder / "a.txt")])
        index.repair()
        assert index.verify().ok
        index.remove([str(folder / "a.txt")])


def test_a_library_without_them_gets_them_with_its_next_commit(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_files(folder, {"a.txt": "harbour lantern", "b.txt": "orchard granite"})
    with stackroom.open(tmp_path / "library", embedder=WordEmbedder()) as index:
        index.add(folder)
    with contextlib.closing(apsw.Connection(str(tmp_path / "library" / "catalogue.db"))) as older:
        older.execute("DROP TABLE word_sums")
    with stackroom.open(tmp_path / "library", embedder=WordEmbedder()) as index:
        assert index.verify().ok
        index.remove([str(folder / "a.txt")])
        assert index.verify().ok
    with contextlib.closing(Connection(str(tmp_path / "library" / "catalogue.db"))) as now:
        assert len(sums(now)) > 3
        assert checksums.differing(now) == 0
