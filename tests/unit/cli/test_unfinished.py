"""A file whose reading was interrupted: every verb that shows the library says that the rest of it is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import stackroom
from stackroom.backend import SourceRecord
from stackroom.cli.main import cli
from stackroom.progress import CancelToken, ProgressEvent
from support import WordEmbedder, write_files


@pytest.fixture
def interrupted(library: Path, folder: Path) -> Path:
    """A library with a short file, and with the beginning of a long one."""
    write_files(
        folder,
        {
            "a.txt": "cats purr",
            "long.txt": "\n\n".join(
                [*(f"w{n}. " + "lorem ipsum dolor sit amet " * 3 for n in range(1200)), "zanzibar"]
            ),
        },
    )
    cancel = CancelToken()

    def progress(event: ProgressEvent) -> None:
        if event.chunks >= 600:
            cancel.cancel()

    with stackroom.open(library, embedder=WordEmbedder()) as index:
        assert index.add(folder, progress=progress, cancel=cancel).cancelled
        assert index.stats().unfinished == 1
    return library


def run(library: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--library", str(library), *words])


def test_list_marks_it_and_says_what_goes_on(interrupted: Path) -> None:
    assert [line[0] for line in sorted(run(interrupted, "list").stdout.splitlines())] == ["*", "~"]
    shown = run(interrupted, "list", "--failed").stdout
    assert "long.txt" in shown
    assert "a.txt" not in shown
    assert "not read to its end" in shown
    assert "next add" in shown
    assert "not read to its end" in run(interrupted, "show", "long.txt").stderr


def test_status_and_verify_name_it(interrupted: Path) -> None:
    assert "1 source not read to the end; see: " in run(interrupted, "status").stdout
    assert json.loads(run(interrupted, "--json", "status").stdout)["unfinished"] == 1
    found = run(interrupted, "verify")
    assert (found.exit_code, "1 source is incomplete:" in found.stderr) == (0, True)
    assert "long.txt: It was not read to its end; the next add of it goes on." in found.stderr


def test_a_search_that_finds_nothing_says_that_something_is_unread(interrupted: Path) -> None:
    found = run(interrupted, "search", "--mode", "text", "zanzibar")
    assert "1 source not read to the end yet" in found.stderr


def test_a_record_is_to_be_given_again(library: Path) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index, index.backend.commit() as commit:
        commit.put_source(SourceRecord("note", type="record", state="partial"))
    assert "it is to be given again" in run(library, "list", "--failed").stdout
    assert "note: It was not stored to its end; give it again." in run(library, "verify").stderr


def test_nothing_is_said_once_it_was_read(interrupted: Path, folder: Path) -> None:
    with stackroom.open(interrupted, embedder=WordEmbedder()) as index:
        index.add(folder)
        assert (index.stats().unfinished, index.verify().incomplete) == (0, ())
    assert "~" not in "".join(line[0] for line in run(interrupted, "list").stdout.splitlines())
    assert "No file failed" in run(interrupted, "list", "--failed").stderr
    assert "unfinished" not in run(interrupted, "status").stdout
