"""A library from a stranger is data: opened, read or written to, it runs nothing, and touches no file outside of itself."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import apsw
import pytest

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import DamagedError, ReadOnlyError, StackroomError
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue import database
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from support import chunks, unit_rows

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links as POSIX has them")


@pytest.fixture
def theirs(library: Path) -> Path:
    with contextlib.closing(LocalStore(library)) as store:
        put(store, "first")
    return library


def put(store: LocalStore, name: str) -> None:
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
        commit.add_chunks(document, chunks([f"word {name}", "other"]))


def spoil(library: Path, *statements: str) -> None:
    """With the rights of whoever sends it: SQLite's own checks of a schema are off."""
    connection = apsw.Connection(str(layout.catalogue(library)))
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    connection.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def everything(library: Path) -> None:
    """All that somebody may do with it."""
    with contextlib.closing(LocalStore(library)) as store:
        put(store, "mine")
        store.compact(progress=silent, cancel=CancelToken())
        with store.view() as view:
            view.matching("word", 9, Scope())
            view.nearest(unit_rows(1)[0], 9, Scope())
            view.listing()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON chunks BEGIN DELETE FROM sources; END",
        "CREATE TRIGGER evil AFTER UPDATE ON settings BEGIN SELECT raise(ABORT, 'no'); END",
        "CREATE VIEW evil AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "ALTER TABLE sources ADD COLUMN evil ANY GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL",
        "CREATE VIRTUAL TABLE evil USING fts4(x)",
    ],
)
@pytest.mark.parametrize("mode", ["r", "a"])
def test_what_runs_in_a_catalogue_is_refused(theirs: Path, statement: str, mode: str) -> None:
    spoil(theirs, statement)
    with pytest.raises(DamagedError, match="no part of a library"):
        LocalStore(theirs, mode=mode)


@pytest.mark.parametrize("table", ["settings", "sources", "chunks", "spaces"])
def test_a_view_in_the_place_of_a_table_is_refused(theirs: Path, table: str) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS name, i AS value FROM n"
    spoil(theirs, f"ALTER TABLE {table} RENAME TO old", f"CREATE VIEW {table} AS {endless}")
    with pytest.raises(DamagedError):
        LocalStore(theirs)


@pytest.mark.parametrize("name", ["../../victim", "ABSOLUTE", "..", "", "a/b", ".hidden"])
def test_a_vector_file_elsewhere_is_refused(theirs: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious " * 5000)
    spoil(theirs, f"UPDATE spaces SET rows = 1, file = '{name if name != 'ABSOLUTE' else victim}'")
    with pytest.raises(DamagedError, match="vector file"):
        everything(theirs)
    assert victim.read_bytes() == b"precious " * 5000


@pytest.mark.parametrize(
    "link",
    ["vectors", "vectors/1.0001", "vectors/1.0001.norms", "writer.lock", "ingest.lock", "sketches", "sketch.lock"],
)
def test_nothing_is_written_or_removed_through_a_link(theirs: Path, tmp_path: Path, link: str) -> None:
    place = theirs / link
    victim = tmp_path / "victim"
    if place.is_dir() or link == "sketches":
        victim.mkdir()
        (victim / "precious").write_bytes(b"precious " * 5000)
        for inside in place.iterdir() if place.is_dir() else ():
            inside.rename(victim / inside.name)
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()
        kept = {path.name: path.read_bytes() for path in victim.iterdir()}
    else:
        victim.write_bytes((place.read_bytes() if place.exists() else b"") + b"precious " * 5000)
        place.unlink(missing_ok=True)
        kept = {"": victim.read_bytes()}
    place.symlink_to(victim)
    # Harmless, or refused; both are right.
    with contextlib.suppress(StackroomError):
        everything(theirs)
    with contextlib.suppress(StackroomError), contextlib.closing(LocalStore(theirs)) as store:
        with store.commit() as commit:
            source = commit.put_source(SourceRecord(name="long"))
            commit.add_chunks(commit.put_document(DocumentRecord("long", source)), chunks(["long"]))
        with store.lease("add"):
            pass
    left = {path.name: path.read_bytes() for path in victim.iterdir()} if victim.is_dir() else {"": victim.read_bytes()}
    assert {name: left.get(name) for name in kept} == kept


def test_a_repair_writes_and_removes_nothing_through_a_link(theirs: Path, tmp_path: Path) -> None:
    """Its new vector files would be made there, and what nobody knows removed."""
    spoil(theirs, "UPDATE chunks SET checksum = checksum + 1")
    victim = tmp_path / "victim"
    (theirs / "vectors").rename(victim)
    (victim / "7.0001").write_bytes(b"precious " * 5000)
    kept = {path.name: path.read_bytes() for path in victim.iterdir()}
    (theirs / "vectors").symlink_to(victim)
    with contextlib.closing(LocalStore.damaged(theirs)) as store, pytest.raises(ReadOnlyError, match="is a link"):
        store.repair(dry_run=False, progress=silent, cancel=CancelToken())
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == kept


@pytest.mark.parametrize("name", ["vectors/1.0001", "ingest.lock"])
def test_a_pipe_keeps_nobody_waiting(theirs: Path, name: str) -> None:
    (theirs / name).unlink(missing_ok=True)
    os.mkfifo(theirs / name)
    with contextlib.suppress(StackroomError):
        everything(theirs)


def test_the_catalogue_is_opened_defensively(theirs: Path) -> None:
    with contextlib.closing(LocalStore(theirs)) as store:
        put(store, "second")
        with store.view() as view, store.exclusive() as writer:
            for connection in (view.connection, writer.connection):
                assert defences(connection) == {
                    "trusted_schema": 0,
                    "cell_size_check": 1,
                    "mmap_size": 0,
                    "defensive": 1,
                    "triggers": 0,
                    "views": 0,
                    "extensions": 0,
                }
                for limit, most in database.LIMITS.items():
                    assert connection.limit(limit) == most
                with pytest.raises(apsw.Error):
                    connection.load_extension("evil")
                with pytest.raises(apsw.TooBigError):
                    connection.execute(f"SELECT '{'x' * 2_000_000}'")


def defences(connection: Connection) -> dict[str, int]:
    return {
        **{name: connection.value(f"PRAGMA {name}") for name in ("trusted_schema", "cell_size_check", "mmap_size")},
        "defensive": connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, -1),
        "triggers": connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, -1),
        "views": connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, -1),
        "extensions": connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, -1),
    }
