"""Damage is told in words: which file is hit, and what is wrong with it, each thing once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harm_campaign as campaign
import library as made
import pytest
from click.testing import CliRunner
from places import loosely, row_file, spoil, sql

import stackroom
from stackroom.cli.main import cli
from stackroom.reports import Damage
from stackroom.storage.catalogue import waiting
from stackroom.storage.disk import layout
from stackroom.storage.disk.lock import FileLock

Harmed = Callable[..., Path]

_RAW = re.compile(
    r"bytes-like|unsupported operand|concat|has no len|not supported between|invalid literal|expected a|NoneType|recursion|'(int|str|bytes)'"
)
"""What Python says of a value of another kind."""


def verified(path: Path) -> tuple[Damage, ...]:
    with campaign.shrunken(), stackroom.open(path, mode="r", embedder=made.embedder()) as index:
        return index.verify().damage


@pytest.mark.parametrize(
    ("table", "change", "structure"),
    [
        ("runs", "first_key = 'text'", "runs"),
        ("runs", "n = x'0011'", "runs"),
        ("extents", "first_row = 'text' WHERE first_row = 0", "vectors"),
        ("extents", "n = 'text'", "vectors"),
        ("extents", "checksums = 7", "vectors"),
        ("dead_rows", "first_row = 'text' WHERE first_row = (SELECT max(first_row) FROM dead_rows)", "vectors"),
        ("words_data", "block = 'text' WHERE id = (SELECT max(id) FROM words_data)", "full text"),
        ("words_data", "block = 7 WHERE id = (SELECT max(id) FROM words_data)", "full text"),
        ("postings", "block = 'text' WHERE value_key = 3", "metadata"),
        ("postings", "members = 7", "metadata"),
        ("sources", "source_id = 7 WHERE source_key = 3", "sources"),
        ("settings", f"value = '{'[' * 100_000}' WHERE name = 'sums'", "catalogue"),
    ],
)
def test_values_of_another_kind_are_told_in_words(harmed: Harmed, table: str, change: str, structure: str) -> None:
    found = verified(harmed(lambda copy: loosely(copy, table, f"UPDATE {table} SET {change}")))
    assert structure in {one.structure for one in found}
    assert [one for one in found if _RAW.search(one.message)] == []
    assert {one.file for one in found} == {"catalogue.db"}
    reasons = [one.message for one in found if one.document_id is None and "the same reason" not in one.message]
    assert len(set(reasons)) == len(reasons)


def test_an_error_that_reading_meets_is_told_in_words_too(harmed: Harmed) -> None:
    path = harmed(lambda copy: loosely(copy, "runs", "UPDATE runs SET first_key = 'text'"))
    with (
        stackroom.open(path, mode="r", embedder=made.embedder()) as index,
        pytest.raises(stackroom.errors.DamagedError) as caught,
    ):
        index.search("harbour", mode="text")
    assert not _RAW.search(caught.value.message)


def test_what_keeps_several_parts_from_being_read_is_told_once(harmed: Harmed) -> None:
    path = harmed(lambda copy: sql(copy, "DROP TABLE runs"))
    said = [one.message for one in verified(path)]
    assert len([message for message in said if "no such table: runs" in message]) == 1


def test_a_vector_file_is_named_as_one(harmed: Harmed) -> None:
    path = harmed(lambda copy: None)
    gone = row_file(path, 1)
    gone.unlink()
    with campaign.shrunken():
        (found,) = stackroom.repair(path, embedder=made.embedder(), dry_run=True).damage
    assert (found.structure, found.file) == ("vectors", f"vectors/{gone.name}")
    assert "is missing" in found.message


def test_a_vector_names_its_file(harmed: Harmed) -> None:
    path = harmed(lambda copy: spoil(row_file(copy, 1), layout.VECTOR_HEADER, b"\x00\x00\x80\x42"))
    name = f"vectors/{row_file(path, 1).name}"
    found = verified(path)
    assert {one.file for one in found} == {name, f"{name}.norms"}
    shown = CliRunner().invoke(cli, ["--library", str(path), "verify"]).stderr
    assert f"  {name}: The vector of the passage with key" in shown
    assert "  catalogue.db (chunks): " not in shown


def test_the_command_names_the_file_of_each_damage(harmed: Harmed) -> None:
    path = harmed(lambda copy: sql(copy, "UPDATE chunks SET text = zeroblob(30) WHERE key = 97"))
    for verb in ("verify", "repair"):
        shown = CliRunner().invoke(cli, ["--library", str(path), verb]).stderr
        assert "  catalogue.db (chunks): The passage with key 97 is not what was written. (record source 0" in shown


@pytest.mark.parametrize("value", ["[" * 100_000, '{"embed": [Infinity], "read": []}', 7, b"\xff"])
def test_a_list_of_what_waits_that_is_none_says_nothing(value: Any) -> None:
    assert waiting.parsed(value) == stackroom.backend.Waiting()


@pytest.mark.parametrize("pid", [True, False, 0, -1, "1", None, 1 << 80])
def test_a_lock_whose_holder_is_no_process_asks_the_system_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: Any
) -> None:
    path = tmp_path / "ingest.lock"
    path.write_bytes(b" " + json.dumps({"pid": pid, "purpose": "add"}).encode())
    asked: list[int] = []
    monkeypatch.setattr("os.kill", lambda number, signal: asked.append(number))
    assert FileLock(path).living_holder() == {"pid": pid, "purpose": "add"}
    assert asked in ([], [1 << 80])
