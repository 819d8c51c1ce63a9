"""What `repair` brings back, what it can't, and what it says of both."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import harm_campaign as campaign
import library as made
import look
import pytest
from click.testing import CliRunner
from harm_campaign import Bench
from places import norms_file, pages, row_file, spoil, sql, value

import stackroom
from stackroom.cli.main import cli
from stackroom.errors import BusyError, DamagedError, FormatVersionError, StorageError
from stackroom.storage.disk import fsio, layout
from stackroom.storage.disk.lock import FileLock
from stackroom.storage.vectors import vector_file
from support import write_files

Harmed = Callable[..., Path]

OF_A_FILE = "SELECT min(key) FROM chunks WHERE document_key = (SELECT document_key FROM documents JOIN sources USING(source_key) WHERE is_file LIMIT 1)"
OF_A_RECORD = "SELECT min(key) FROM chunks JOIN documents USING(document_key) WHERE document_id = 'record2'"


def repaired(path: Path, **named: Any) -> stackroom.Repair:
    with campaign.shrunken():
        return stackroom.repair(path, embedder=named.pop("embedder", None) or made.embedder(), **named)


def as_before(bench: Bench, path: Path) -> list[str]:
    """The questions that are answered otherwise than before the harm."""
    died, told, said = campaign.in_a_fork(lambda: look.look(path, bench.sources, bench.documents))
    assert not died, said
    assert told["verify"] == ["is", []]
    told["status"][1][5] = bench.states[0]["status"][1][5]  # dead rows
    return campaign._differing(told, bench.states[0])


def spoil_text(path: Path, which: str) -> None:
    sql(path, f"UPDATE chunks SET text = zeroblob(30) WHERE key = ({which})")


def spoil_row(path: Path, row: int) -> None:
    spoil(row_file(path, 1), layout.VECTOR_HEADER + row * made.DIM * 4 + 5, b"\xff")


def test_a_sound_library_is_left_alone(harmed: Harmed) -> None:
    path = harmed(lambda copy: None)
    before = value(path, "SELECT value FROM settings WHERE name = 'commits'")
    done = repaired(path)
    assert done == stackroom.Repair()
    assert value(path, "SELECT value FROM settings WHERE name = 'commits'") == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda copy: sql(copy, "DELETE FROM words WHERE rowid IN (SELECT key FROM chunks LIMIT 10)"),
        lambda copy: sql(copy, "UPDATE words_data SET block = zeroblob(90) WHERE id > 10"),
        lambda copy: sql(copy, "DELETE FROM words_config"),
        lambda copy: sql(copy, "DELETE FROM runs WHERE document_key = 13"),
        lambda copy: sql(copy, "DELETE FROM field_values", "DELETE FROM postings"),
        lambda copy: sql(copy, "UPDATE spaces SET identity = replace(identity, 'words-', 'wordr-')"),
        lambda copy: norms_file(copy).unlink(),
        lambda copy: spoil(norms_file(copy), 40, b"\x00\x00\x00\x00"),
        lambda copy: spoil(row_file(copy, 1), 0, b"nothing"),
        lambda copy: spoil(layout.catalogue(copy), 0, bytes(100)),
        lambda copy: spoil(layout.catalogue(copy), 0, bytes(layout.PAGE_SIZE)),
        lambda copy: [path.write_bytes(b"nothing") for path in layout.sketches(copy).iterdir()],
    ],
    ids=[
        "words",
        "words-data",
        "words-format",
        "runs",
        "filters",
        "model",
        "norms",
        "a-norm",
        "row-header",
        "header",
        "first-page",
        "sketches",
    ],
)
def test_what_is_derived_comes_back_without_a_model(bench: Bench, harmed: Harmed, harm: Callable[[Path], Any]) -> None:
    path = harmed(harm)
    done = repaired(path)
    assert done.damage
    assert done.ok
    assert (done.embedded, done.reread) == (0, 0)
    assert as_before(bench, path) == []


def test_a_damaged_vector_is_embedded_alone(bench: Bench, harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_row(copy, 4))
    model = made.embedder()
    done = repaired(path, embedder=model)
    assert done.ok
    assert done.embedded == len(model.embedded) == 1
    assert as_before(bench, path) == []
    assert list(path.glob("damaged.0001/vectors/*"))


def test_without_its_model_the_documents_are_named_and_wait(bench: Bench, harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_row(copy, 4))
    with campaign.shrunken():
        done = stackroom.repair(path)
    assert not done.ok
    assert [one.document_id for one in done.waiting if one.structure == "vectors"] != [None]
    assert "open(..., embedder=...)" in done.waiting[0].message
    with stackroom.open(path, mode="r") as index:
        assert [one.structure for one in index.verify().damage] == ["repair"]
        assert index.search("harbour", mode="text")
    again = repaired(path)
    assert again.ok
    assert again.embedded == 1
    assert as_before(bench, path) == []


def test_lost_passages_are_read_again_from_their_file(bench: Bench, harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_text(copy, OF_A_FILE))
    before = bench.states[0]
    model = made.embedder()
    done = repaired(path, embedder=model)
    assert done.ok
    assert done.reread == 1
    assert len(model.embedded) == 1
    differing = as_before(bench, path)
    assert all(name.startswith(("get", "read", "text", "list", "vector", "exact", "within")) for name in differing)
    with stackroom.open(path, mode="r", embedder=model) as index:
        texts = {passage.text for source in index.sources() for passage in index.get(source.id)}
    assert texts == {
        held[1] for name, told in before.items() if name.startswith("get ") and told[0] == "is" for held in told[1]
    }


def test_a_file_that_has_changed_is_not_read_in_its_place(bench: Bench, harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_text(copy, OF_A_FILE))
    name = value(path, "SELECT name FROM sources WHERE is_file ORDER BY source_key LIMIT 1")
    file = Path(str(name))
    before = file.read_bytes()
    try:
        file.write_text("something else")
        done = repaired(path)
    finally:
        file.write_bytes(before)
    assert not done.ok
    assert "has changed" in done.waiting[0].message
    assert done.lost[0].structure == "chunks"
    assert repaired(path).reread == 1


def test_a_changed_file_that_was_added_since_waits_no_more(harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_text(copy, OF_A_FILE))
    file = Path(str(value(path, "SELECT name FROM sources WHERE is_file ORDER BY source_key LIMIT 1")))
    before = file.read_bytes()
    try:
        file.write_text("something else about lanterns")
        assert repaired(path).waiting
        with stackroom.open(path, embedder=made.embedder()) as index:
            assert [one.source for one in index.verify().incomplete] == [str(file)]
            index.add(file)
            found = index.verify()
            assert (found.ok, found.incomplete) == (True, ())
        assert repaired(path).ok
        with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
            assert index.verify().ok
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("gone", ["moved", "renamed in the catalogue", "no name at all"])
def test_a_record_that_is_damaged_of_a_file_that_is_gone_keeps_no_other_waiting(harmed: Harmed, gone: str) -> None:
    first, second = (
        f"(SELECT source_key FROM sources WHERE is_file ORDER BY source_key LIMIT 1 OFFSET {n})" for n in (0, 1)
    )
    names = {"moved": "name", "renamed in the catalogue": "name || 'x'", "no name at all": "name || char(0)"}
    path = harmed(
        lambda copy: sql(
            copy,
            f"UPDATE sources SET title = title || 'x', name = {names[gone]} WHERE source_key = {first}",
            f"UPDATE sources SET title = title || 'x' WHERE source_key = {second}",
        )
    )
    file = Path(
        str(value(path, f"SELECT name FROM sources WHERE source_key = {first}")).removesuffix("\0").removesuffix("x")
    )
    beside = file.with_name(file.name + ".moved")
    file.rename(beside)
    try:
        planned = repaired(path, dry_run=True)
        done = repaired(path)
    finally:
        beside.rename(file)
    assert [len(found.waiting) for found in (planned, done)] == [1, 1]
    assert (planned.reread, done.reread) == (1, 1)
    assert "can't be read again" in done.waiting[0].message
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        found = index.verify()
    assert found.ok
    assert len(found.incomplete) == 1


def test_what_a_reader_of_the_callers_had_read_is_not_read_by_another(harmed: Harmed) -> None:
    path = harmed(
        lambda copy: sql(copy, f"UPDATE chunks SET text = zeroblob(30) WHERE key = ({OF_A_FILE})"),
    )
    which = "(SELECT source_key FROM sources WHERE is_file ORDER BY source_key LIMIT 1)"
    with stackroom.open(path, embedder=made.embedder()) as index:
        with index.backend.view() as view:
            record = next(one for one in view.each_source() if one.is_file)
        with index.backend.commit() as commit:
            commit.put_source(replace(record, recipe="shouting:1 " + record.recipe.partition(" ")[2]))
    planned, done = repaired(path, dry_run=True), repaired(path)
    assert (planned.reread, done.reread) == (0, 0)
    assert "'shouting' had read it, a reader of your own" in planned.waiting[0].message
    assert planned.waiting == done.waiting
    with stackroom.open(path, embedder=made.embedder()) as index:
        assert index.add(record.name).failures[0].reason.startswith("It was read by 'shouting'")
    assert str(value(path, f"SELECT recipe FROM sources WHERE source_key = {which}")).startswith("shouting")


def test_a_dry_run_says_what_an_earlier_repair_left(harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_text(copy, OF_A_FILE))
    file = Path(str(value(path, "SELECT name FROM sources WHERE is_file ORDER BY source_key LIMIT 1")))
    beside = file.with_name("elsewhere")
    file.rename(beside)
    try:
        first = repaired(path)
        planned = repaired(path, dry_run=True)
        assert planned.waiting == first.waiting
    finally:
        beside.rename(file)
    planned = repaired(path, dry_run=True)
    assert (planned.reread, planned.to_read) == (1, (str(file),))
    shown = CliRunner().invoke(cli, ["--library", str(path), "repair", "--dry-run"], standalone_mode=False)
    assert shown.return_value == DamagedError.exit_code
    assert "To do it: " in shown.stderr
    assert repaired(path).reread == 1


@pytest.mark.parametrize("name", ["format_version", "commits"])
def test_a_dry_run_of_strange_settings_says_what_the_run_does(harmed: Harmed, name: str) -> None:
    path = harmed(
        lambda copy: (spoil_row(copy, 1), sql(copy, f"UPDATE settings SET value = 'many' WHERE name = '{name}'"))
    )
    planned, done = repaired(path, dry_run=True), repaired(path)
    assert planned.damage == done.damage
    assert (planned.embedded, planned.waiting) == (done.embedded, done.waiting) == (1, ())


def test_what_another_program_had_read_is_not_read_by_itself(harmed: Harmed) -> None:
    path = harmed(lambda copy: None)
    with stackroom.open(path, embedder=made.embedder()) as index:
        with index.backend.view() as view:
            record = next(record for record in view.each_source() if record.is_file)
        with index.backend.commit() as commit:
            commit.put_source(replace(record, recipe="imported:other"))
    spoil_text(path, OF_A_FILE)
    done = repaired(path)
    assert "stackroom rebuild" in done.waiting[0].message
    with stackroom.open(path, embedder=made.embedder()) as index:
        index.rebuild([record.name])
    assert repaired(path).ok


def test_a_passage_that_no_file_has_is_lost_and_named(harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_text(copy, OF_A_RECORD))
    done = repaired(path)
    assert [(one.structure, one.document_id, one.source) for one in done.lost] == [
        ("chunks", "record2", "record source 2")
    ]
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        assert index.verify().ok
        assert len(index.get("record source 2")) == 3


def test_a_record_that_its_indexes_know_comes_back_whole(bench: Bench, harmed: Harmed) -> None:
    """The row alone is hit, as on one page of many: the id still stands in its index, and the checksum says that it is the right one."""

    def harm(copy: Path) -> None:
        data = layout.catalogue(copy).read_bytes()
        (found,) = re.finditer(rb'record2.{1,3}\{"number":2', data, re.DOTALL)
        spoil(layout.catalogue(copy), found.start(), b"recorX")

    path = harmed(harm)
    done = repaired(path)
    assert done.damage
    assert done.ok
    assert as_before(bench, path) == []


def test_vectors_of_a_collection_of_its_own_can_not_come_back(harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil(row_file(copy, 2), layout.VECTOR_HEADER + 3, b"\xff"))
    done = repaired(path)
    assert [one.structure for one in done.lost] == ["vectors"]
    assert done.lost[0].document_id == "record5"


def test_what_was_damaged_is_kept_until_it_is_deleted(harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_text(copy, OF_A_RECORD))
    damaged = layout.catalogue(path).read_bytes()
    done = repaired(path)
    assert done.aside == str(path / "damaged.0001")
    assert layout.catalogue(path / "damaged.0001").read_bytes() == damaged
    with stackroom.open(path, embedder=made.embedder()) as index:
        index.compact()
        assert (path / "damaged.0001").exists()
        index.compact(purge=True)
    assert not (path / "damaged.0001").exists()


def test_a_dry_run_changes_nothing(harmed: Harmed) -> None:
    path = harmed(lambda copy: (spoil_text(copy, OF_A_FILE), spoil_row(copy, 4)))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and "lock" not in file.name}
    done = repaired(path, dry_run=True)
    assert done.damage
    assert (done.reread, done.embedded, done.ok) == (1, 1, True)
    after = {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and "lock" not in file.name}
    assert {name: data for name, data in after.items() if not name.name.endswith(("-shm", "-wal"))} == before


def test_an_open_index_goes_on_with_what_was_repaired(bench: Bench, harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_row(copy, 4))
    with (
        stackroom.open(path, embedder=made.embedder()) as beside,
        stackroom.open(path, embedder=made.embedder()) as index,
    ):
        assert beside.search("harbour", mode="text")
        with beside.backend.commit() as commit:
            commit.attach("before", b"1")
        assert index.repair().ok
        with beside.backend.commit() as commit:
            commit.attach("after", b"1")
        with index.backend.view() as view:
            assert {"before", "after"} <= {name for name, _ in view.attachments()}
        assert beside.verify().ok
        assert index.verify().ok
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index, index.backend.view() as view:
        assert {"before", "after"} <= {name for name, _ in view.attachments()}


def test_commits_that_are_in_the_wal_are_not_lost(bench: Bench, harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_row(copy, 4), wal=True)
    assert repaired(path).ok
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        assert [passage.text[:4] for passage in index.get("late2")] == ["late"] * 3


def test_half_a_catalogue_says_what_it_still_knows(harmed: Harmed) -> None:
    path = harmed(lambda copy: None)
    catalogue = layout.catalogue(path)
    with catalogue.open("rb+") as file:
        file.truncate(catalogue.stat().st_size // 2)
    done = repaired(path)
    assert done.lost
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        assert all(one.structure == "repair" for one in index.verify().damage)
        assert len(index.sources()) == 16


def without_pages_of(*names: str) -> Callable[[Path], None]:
    """Nothing can be read of these tables and indexes."""

    def harm(library: Path) -> None:
        for name, offsets in pages(library).items():
            if name in names:
                for offset in offsets:
                    spoil(layout.catalogue(library), offset, bytes(layout.PAGE_SIZE))

    return harm


def names_in(library: Path) -> set[str]:
    with stackroom.open(library, mode="r", embedder=made.embedder()) as index:
        return {source.path for source in index.sources()}


def test_documents_are_named_whose_passages_nothing_tells_of(bench: Bench, harmed: Harmed) -> None:
    """Each of them was emptied, and not a word was said of it."""
    path = harmed(without_pages_of("chunks", "chunks_by_document", "runs"))
    names = names_in(bench.made.closed)
    done = repaired(path)
    assert {one.source for one in done.waiting} == {name for name in names if not name.startswith("/")}
    assert {one.source for one in done.lost if one.structure == "chunks"} == {one.source for one in done.waiting}
    assert done.reread == sum(name.startswith("/") for name in names)
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        assert {one.source for one in index.verify().incomplete} == {one.source for one in done.waiting}


def test_a_document_whose_passages_are_listed_nowhere_and_there_is_not_named(harmed: Harmed) -> None:
    """Two lists can't be read, and the passages can."""
    assert repaired(harmed(without_pages_of("chunks_by_document", "runs"))).ok


def test_sources_are_named_whose_documents_nothing_tells_of(bench: Bench, harmed: Harmed) -> None:
    lists = ("documents", "sqlite_autoindex_documents_1", "documents_by_source")
    path = harmed(without_pages_of(*lists, "chunks", "chunks_by_document", "runs", "extents"))
    names = names_in(bench.made.closed)
    done = repaired(path)
    assert {one.source for one in done.waiting} == {name for name in names if not name.startswith("/")}
    assert done.reread == sum(name.startswith("/") for name in names)


def test_sources_of_which_nothing_is_left_are_told(harmed: Harmed) -> None:
    path = harmed(without_pages_of("sources", "sqlite_autoindex_sources_1", "sqlite_autoindex_sources_2"))
    assert ("sources", "Others, of which nothing tells any more.") in [
        (one.structure, one.message) for one in repaired(path).lost
    ]


EMPTY = ("attachments", "sqlite_autoindex_attachments_1", "originals", "collection_members", "collections", "sets")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A library of two files, and nothing else."""
    write_files(tmp_path / "files", {"a.txt": "harbour lantern", "b.txt": "orchard granite"})
    with stackroom.open(tmp_path / "plain", embedder=made.embedder()) as index:
        index.add(tmp_path / "files")
    return tmp_path / "plain"


@pytest.mark.parametrize("tables", [*((name,) for name in EMPTY), EMPTY, ("set_members",)], ids="+".join)
def test_what_never_was_is_not_lost(plain: Path, tables: tuple[str, ...]) -> None:
    """Nothing can be read of tables that held nothing, or nothing but what every library has."""
    without_pages_of(*tables)(plain)
    done = repaired(plain)
    assert (done.lost, done.waiting) == ((), ())
    assert done.damage


def test_sources_that_were_not_active_are_lost(plain: Path) -> None:
    with stackroom.open(plain, embedder=made.embedder()) as index:
        index.set_active(["a.txt"], False)
    without_pages_of("set_members")(plain)
    assert [one.structure for one in repaired(plain).lost] == ["sets"]


def test_a_library_that_its_backups_no_longer_know_says_so(plain: Path) -> None:
    """It said that everything is there again, and each backup was refused ever after."""
    without_pages_of("settings", "sqlite_autoindex_settings_1")(plain)
    (lost,) = repaired(plain).lost
    assert lost.message.startswith("By what its backups know it: the next one is made in a new folder")
    with stackroom.open(plain, embedder=made.embedder()) as index:
        assert index.verify().ok
        assert index.backup(plain.with_name("backup")).copied


def test_attachments_that_were_there_are_lost_and_those_that_may_have_been_are_told(plain: Path) -> None:
    """A library of before says nothing of how many there were."""
    with stackroom.open(plain, embedder=made.embedder()) as index, index.backend.commit() as commit:
        commit.attach("something", b"unread " * 200)
    older = plain.with_name("older")
    shutil.copytree(plain, older)
    sql(older, "DELETE FROM settings WHERE name = 'attachments'")
    sql(older, "UPDATE settings SET value = json_remove(value, '$.settings') WHERE name = 'sums'")
    for path in (plain, older):
        without_pages_of("attachments", "sqlite_autoindex_attachments_1")(path)
    assert [one.message for one in repaired(plain).lost] == ["Of 1 attachments 1 is gone."]
    assert repaired(plain).ok
    done = repaired(older)
    assert done.ok
    assert any("Whether anything was carried along from another program can't be told" in one for one in done.restored)


def test_nothing_at_all_is_an_error_and_leaves_what_there_is(harmed: Harmed) -> None:
    path = harmed(lambda copy: layout.catalogue(copy).write_bytes(b"\xa5" * 50_000))
    before = layout.catalogue(path).read_bytes()
    with pytest.raises(DamagedError, match="Nothing can be read"):
        repaired(path)
    assert layout.catalogue(path).read_bytes() == before
    layout.catalogue(path).unlink()
    with pytest.raises(DamagedError, match="catalogue of the library"):
        repaired(path)


def test_a_library_of_a_newer_release_is_not_repaired(harmed: Harmed) -> None:
    path = harmed(lambda copy: sql(copy, "UPDATE settings SET value = 99 WHERE name = 'format_version'"))
    with pytest.raises(FormatVersionError):
        repaired(path)


def test_one_at_a_time(harmed: Harmed, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.storage.upkeep import repair

    monkeypatch.setattr(repair, "_WAIT", 0.01)
    path = harmed(lambda copy: spoil_row(copy, 4))
    with FileLock(path / layout.WRITER_LOCK).hold(wait=1), pytest.raises(BusyError):
        repaired(path)


def test_the_command_says_what_it_did(harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil_text(copy, OF_A_RECORD))
    asked = CliRunner().invoke(cli, ["--library", str(path), "repair", "--dry-run"], standalone_mode=False)
    assert asked.return_value == DamagedError.exit_code
    told = CliRunner().invoke(cli, ["--library", str(path), "--json", "repair"], standalone_mode=False)
    assert told.return_value == 1
    report = json.loads(told.stdout)
    assert report["ok"] is False
    assert report["lost"][0]["document_id"] == "record2"
    assert Path(report["aside"]).is_dir()
    again = CliRunner().invoke(cli, ["--library", str(path), "repair"], standalone_mode=False)
    assert again.return_value == 1
    assert "record source 2 can't be read again: it came without a file" in again.stderr


def test_a_name_that_no_checksum_covers_is_told_as_doubtful(harmed: Harmed) -> None:
    """The table says one thing, its index another, and nobody knows which."""

    def harm(copy: Path) -> None:
        at = layout.catalogue(copy).read_bytes().index(b"something")
        spoil(layout.catalogue(copy), at, b"somethong")

    done = repaired(harmed(harm))
    assert [one.structure for one in done.lost] == ["attachments"]


def test_small_tables_that_are_not_what_was_written_are_told(harmed: Harmed) -> None:
    path = harmed(lambda copy: sql(copy, "UPDATE collection_members SET n = n + 3"))
    done = repaired(path)
    assert [(one.structure, "collection_members" in one.message) for one in done.lost] == [("catalogue", True)]
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        assert index.verify().ok


def test_a_sketch_whose_name_is_none_is_forgotten(harmed: Harmed) -> None:
    path = harmed(lambda copy: sql(copy, "UPDATE sketches SET file = 'a' || char(0) || 'b'"))
    done = repaired(path)
    assert [one.structure for one in done.damage] == ["sketches"]
    assert done.ok
    assert done.aside is None


def test_what_the_system_refuses_to_read_is_not_taken_for_lost(harmed: Harmed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full table of open files, say: tomorrow it is there."""
    path = harmed(lambda copy: spoil_text(copy, OF_A_RECORD))
    before = layout.catalogue(path).read_bytes()

    def refused(*_: Any, **__: Any) -> Any:
        raise fsio.refusal(errno.EMFILE, path, "Too many open files")

    monkeypatch.setattr(vector_file, "_map", refused)
    with pytest.raises(StorageError, match="Too many open files"):
        repaired(path)
    assert layout.catalogue(path).read_bytes() == before
    assert not list(path.glob("damaged*")) + list(path.glob("catalogue.db.new*"))


def test_a_text_that_is_another_passages_is_not_taken_over(harmed: Harmed) -> None:
    other = "SELECT max(text) FROM chunks WHERE document_key = 12"
    path = harmed(lambda copy: sql(copy, f"UPDATE chunks SET text = ({other}) WHERE key = ({OF_A_RECORD})"))
    done = repaired(path)
    assert [(one.structure, one.document_id) for one in done.lost] == [("chunks", "record2")]
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        assert [passage.text[:8] for passage in index.get("record source 2")] == ["record 2"] * 3


def break_cell(library: Path, table: str, nth: int) -> None:
    """Let the nth row of a small table lie beyond its page: SQLite can't read it, and finds those before and behind it."""
    page = value(library, f"SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")
    assert isinstance(page, int)
    spoil(layout.catalogue(library), (page - 1) * layout.PAGE_SIZE + 8 + 2 * nth, b"\xff\xf0")


@pytest.mark.parametrize(
    ("table", "nth"),
    [("collections", 1), ("collections", 2), ("set_members", 7), ("sets", 0), ("collection_members", 1)],
)
def test_a_row_of_a_small_table_that_is_gone_is_named_or_found(
    bench: Bench, harmed: Harmed, table: str, nth: int
) -> None:
    """Where its checksum could not be computed the table was taken for whole."""
    path = harmed(lambda copy: break_cell(copy, table, nth))
    report = repaired(path)
    assert as_before(bench, path) == [] or not report.ok


def test_a_collection_is_found_by_the_index_of_names(bench: Bench, harmed: Harmed) -> None:
    path = harmed(lambda copy: break_cell(copy, "collections", 2))
    repaired(path)
    assert "listed" not in as_before(bench, path)


def others_claimed(path: Path) -> None:
    """A run of one document's keys, as long as if the next document's passages were its own."""
    sql(
        path,
        "UPDATE runs SET n = n + 4 WHERE document_key = (SELECT document_key FROM documents WHERE document_id = 'record0')",
    )


def of_another_document(path: Path) -> None:
    """Passages, and their index, of one document that say another: the keys that documents have say otherwise."""
    sql(path, f"UPDATE chunks SET document_key = document_key - 1 WHERE key = ({OF_A_RECORD})")


def test_a_run_that_claims_another_documents_passages_takes_none(bench: Bench, harmed: Harmed) -> None:
    """What is flipped in one place, three others know."""
    path = harmed(others_claimed)
    done = repaired(path)
    assert [one.structure for one in done.damage][:1] == ["runs"]
    assert done.ok
    assert as_before(bench, path) == []


def test_whose_a_passage_is_is_told_where_nobody_knows(harmed: Harmed) -> None:
    path = harmed(of_another_document)
    done = repaired(path)
    assert not done.ok
    assert [one.message[:9] for one in done.lost] == ["Whose the"]
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        assert index.verify().ok


def test_a_collection_whose_record_is_lost_keeps_vectors_of_its_own(bench: Bench, harmed: Harmed) -> None:
    """The index has its name, and no other vectors are without a collection."""
    path = harmed(lambda copy: break_cell(copy, "collections", 1))
    repaired(path)
    assert not {"beside", "listed", "apart"} & set(as_before(bench, path))


def test_a_models_record_of_megabytes_is_no_flipped_bit(harmed: Harmed) -> None:
    """Looking for the bit in what a stranger wrote would take days."""
    path = harmed(lambda copy: sql(copy, "UPDATE spaces SET identity = printf('%.*c', 2000000, 'x')"))
    assert any(one.structure == "spaces" for one in repaired(path).lost)
