"""What somebody is told who fears for a library: by every verb that meets it damaged, by `repair`, and by `backup`."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import stackroom
from stackroom.cli.main import main
from stackroom.errors import DamagedError, NotALibraryError, ReadOnlyError
from stackroom.storage.disk import layout
from support import write_files

TEXTS = ["cats purr at night", "dogs bark at night", "logs rotate weekly"]


class Told(NamedTuple):
    code: int
    stdout: str
    stderr: str


def run(library: Path, *arguments: str | Path) -> Told:
    """As the terminal does it: what went wrong is said on standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["--library", str(library), *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return Told(ended.value.code, out.getvalue(), err.getvalue())


@pytest.fixture
def filled(library: Path, folder: Path) -> Path:
    write_files(folder, {f"{number}.txt": text for number, text in enumerate(TEXTS)})
    with stackroom.open(library) as index:
        index.add(folder)
    return library


# Without a catalogue


@pytest.fixture
def orphaned(filled: Path) -> Path:
    for name in (layout.CATALOGUE, layout.WAL, f"{layout.CATALOGUE}-shm"):
        (filled / name).unlink(missing_ok=True)
    return filled


@pytest.mark.parametrize(
    "verb",
    [
        ["search", "cats"],
        ["list"],
        ["show", "1"],
        ["active", "all"],
        ["set"],
        ["status"],
        ["verify"],
        ["repair"],
        ["repair", "--dry-run"],
        ["compact"],
        ["rebuild"],
        ["remove", "x"],
        ["backup", "elsewhere"],
        ["export", "elsewhere"],
        ["ask", "cats"],
        ["chat"],
        ["add", "."],
        ["measure"],
    ],
    ids=" ".join,
)
def test_every_verb_says_that_the_catalogue_is_missing(orphaned: Path, verb: list[str]) -> None:
    before = sorted(orphaned.rglob("*"))
    done = run(orphaned, *verb)
    assert done.code == DamagedError.exit_code
    assert f"The catalogue of the library {orphaned} is missing" in done.stderr
    assert "backup" in done.stderr
    assert "Make one" not in done.stderr
    assert sorted(orphaned.rglob("*")) == before


@pytest.mark.parametrize("mode", ["r", "a", "x"])
def test_no_new_catalogue_is_made_beside_vectors_of_a_lost_one(orphaned: Path, mode: str) -> None:
    with pytest.raises(DamagedError, match="is missing") as caught:
        stackroom.open(orphaned, mode=mode)  # type: ignore[arg-type]
    assert caught.value.path == str(layout.catalogue(orphaned))
    assert not layout.catalogue(orphaned).exists()


def test_the_catalogue_that_a_repair_put_aside_is_named(orphaned: Path) -> None:
    aside = orphaned / "damaged.0001"
    aside.mkdir()
    (aside / layout.CATALOGUE).write_bytes(b"something")
    shutil.rmtree(orphaned / layout.VECTORS)
    assert f"{aside / layout.CATALOGUE}" in run(orphaned, "status").stderr


def test_what_a_creation_left_is_no_lost_library(library: Path) -> None:
    (library / layout.VECTORS).mkdir(parents=True)
    (library / layout.WRITER_LOCK).touch()
    with pytest.raises(NotALibraryError, match="nothing to repair"):
        stackroom.repair(library)
    with stackroom.open(library) as index:
        assert index.stats().chunks == 0


def test_a_folder_of_somebody_elses_vectors_is_no_lost_library(library: Path) -> None:
    write_files(library, {"vectors/cat.svg": "<svg/>", "damaged.0001/note.txt": "mine"})
    with pytest.raises(NotALibraryError, match="is no Stackroom library"):
        stackroom.open(library)


def test_its_backup_brings_it_back(filled: Path, tmp_path: Path) -> None:
    """By the very command that is advised."""
    copy = tmp_path / "a backup"
    assert run(filled, "backup", copy).code == 0
    layout.catalogue(filled).unlink()
    said = run(filled, "status").stderr
    assert f"stackroom --library BACKUP backup {shlex.quote(os.fspath(filled))}" in said
    os.rename(filled, tmp_path / "lost")
    assert run(copy, "backup", filled).code == 0
    assert run(filled, "verify").code == 0


# Where nothing can be written


@pytest.mark.parametrize("how", [[], ["--dry-run"]], ids=["repair", "dry run"])
def test_a_repair_where_nothing_can_be_written_says_what_to_do(
    filled: Path, how: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever runs the tests may be allowed everything.
    def refused(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("stackroom.storage.disk.lock.os.open", refused)
    done = run(filled, "repair", *how)
    assert done.code == ReadOnlyError.exit_code
    assert f"Copy the whole folder {filled} to where you may write, and repair the copy" in done.stderr
    assert "stackroom --library COPY repair" in done.stderr
    assert "open the library read-only" not in done.stderr
