"""What somebody is told who fears for a library: by every verb that meets it damaged, by `repair`, and by `backup`."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import numpy as np
import pytest

import stackroom
from stackroom import Chunk, Document
from stackroom.cli.commands import upkeep
from stackroom.cli.commands.library import size
from stackroom.cli.main import main
from stackroom.cli.session import Session
from stackroom.errors import DamagedError, NotALibraryError, ReadOnlyError, UsageError
from stackroom.progress import CancelToken, silent
from stackroom.reports import Damage
from stackroom.storage.disk import layout
from support import WordEmbedder, write_files

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


@pytest.fixture
def file(folder: Path) -> Path:
    """A file of several passages."""
    text = "\n\n".join(
        f"Chapter {n}. " + f"The harbour has {n} lanterns and a pilot named {n * 7}. " * 60 for n in range(5)
    )
    write_files(folder, {"harbour.txt": text})
    return folder / "harbour.txt"


@pytest.fixture
def hurt(filled: Path, file: Path) -> Path:
    """One passage of that file is damaged."""
    with stackroom.open(filled) as index:
        index.add(file)
    spoil(filled)
    return filled


def spoil(library: Path) -> None:
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        connection.execute("UPDATE chunks SET text = zeroblob(30) WHERE key = (SELECT max(key) FROM chunks)")


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


@pytest.fixture
def refusing(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on: the library is filled before."""
    del filled
    # Whoever runs the tests may be allowed everything.
    opened = os.open

    def refused(path: str | Path, flags: int, *rest: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "Read-only file system", os.fspath(path))
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr("stackroom.storage.disk.lock.os.open", refused)


@pytest.mark.parametrize(
    "verb",
    [
        ["add", "."],
        ["remove", "0.txt"],
        ["active", "none"],
        ["set", "x", "0.txt"],
        ["compact"],
        ["rebuild"],
        ["repair"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("refusing")
def test_every_verb_that_writes_says_of_the_library_that_it_can_not_be_written(filled: Path, verb: list[str]) -> None:
    done = run(filled, *verb)
    assert done.code == ReadOnlyError.exit_code
    said, hint = done.stderr.splitlines()[-2:]
    assert said == f"The library {filled} can't be written: Read-only file system."
    assert "opy the whole folder" in hint
    assert run(filled, "list").code == 0


@pytest.mark.parametrize("how", [[], ["--dry-run"]], ids=["repair", "dry run"])
@pytest.mark.usefixtures("refusing")
def test_a_repair_where_nothing_can_be_written_says_what_to_do(filled: Path, how: list[str]) -> None:
    done = run(filled, "repair", *how)
    assert done.code == ReadOnlyError.exit_code
    assert f"Copy the whole folder {filled} to where you may write, and repair the copy" in done.stderr
    assert "stackroom --library COPY repair" in done.stderr
    assert "open the library read-only" not in done.stderr


# A catalogue that can't be read


def test_verify_of_half_a_catalogue_says_what_could_be_compared_and_where_the_list_is(filled: Path) -> None:
    catalogue = layout.catalogue(filled)
    os.truncate(catalogue, catalogue.stat().st_size // 2)
    advised = f"stackroom --library {filled} verify"
    assert advised in run(filled, "search", "cats").stderr
    said = run(filled, "verify")
    assert said.code == DamagedError.exit_code
    assert f"The catalogue {catalogue} is damaged" in said.stderr
    assert "Nothing else could be compared: only the catalogue says what the vector files are to hold." in said.stderr
    command = f"stackroom --library {filled} repair --dry-run"
    assert f"What can be brought back, and what can't: {command}" in said.stderr
    assert "Nothing was changed" in run(filled, *command.split()[3:]).stderr


# A file that can't be read again


def test_a_repair_whose_file_is_gone_ends_with_what_to_do_and_leaves_a_whole_library(hurt: Path, file: Path) -> None:
    file.rename(file.with_suffix(".away"))
    done = run(hurt, "repair")
    assert done.code == 1
    assert f"{file} can't be read again: No such file or directory." in done.stderr
    assert f"stackroom --library {hurt} remove {file}" in done.stderr
    assert "Not everything is there again: 1 thing is lost, and 1 source was not read again." in done.stderr
    sound = run(hurt, "verify")
    assert sound.code == 0
    assert "Nothing is damaged" in sound.stderr
    assert f"1 source is incomplete:\n  {file}" in sound.stderr
    listed = run(hurt, "list", "--failed")
    assert str(file) in listed.stdout
    assert "Passages of it were lost" in listed.stdout
    assert f"stackroom --library {hurt} remove {file}" in listed.stdout
    assert f"stackroom --library {hurt} remove {file}" in run(hurt, "show", str(file)).stderr
    assert "failed" in run(hurt, "status").stdout


def test_what_is_left_of_it_serves_and_its_file_is_read_once_it_is_back(hurt: Path, file: Path) -> None:
    away = file.rename(file.with_suffix(".away"))
    stackroom.repair(hurt)
    assert "harbour" in run(hurt, "search", "--mode", "text", "harbour").stdout
    again = stackroom.repair(hurt)
    assert (again.damage, again.reread, len(again.waiting)) == ((), 0, 1)
    away.rename(file)
    assert stackroom.repair(hurt).reread == 1
    with stackroom.open(hurt) as index:
        found = index.verify()
        assert (found.ok, found.incomplete, index.stats().failed_count) == (True, (), 0)


@pytest.mark.parametrize("change", ["", " And a word more."], ids=["as it was", "changed"])
def test_an_add_reads_it_too(hurt: Path, file: Path, change: str) -> None:
    away = file.rename(file.with_suffix(".away"))
    stackroom.repair(hurt)
    away.rename(file)
    file.write_text(file.read_text() + change)
    assert "1 updated" in run(hurt, "add", file).stderr
    sound = run(hurt, "verify")
    assert (sound.code, "incomplete" in sound.stderr) == (0, False)
    assert run(hurt, "repair").code == 0


def test_what_is_advised_can_be_pasted_and_helps(hurt: Path, file: Path) -> None:
    file.rename(file.with_suffix(".away"))
    said = run(hurt, "repair").stderr
    (line,) = [line for line in said.splitlines() if "can't be read again: No such" in line]
    command = line.partition(f"stackroom --library {hurt} ")[2].split()
    assert run(hurt, *command).code == 0
    sound = run(hurt, "verify")
    assert (sound.code, "incomplete" in sound.stderr) == (0, False)
    assert run(hurt, "repair").code == 0


def test_a_file_that_no_reader_can_read_any_more_says_why(
    hurt: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise UsageError("The model is not at home.")

    monkeypatch.setattr("stackroom.ingest.pipeline.add_paths", broken)
    done = run(hurt, "repair")
    assert done.code == 1
    assert f"{file} can't be read again: The model is not at home." in done.stderr
    with stackroom.open(hurt) as index:
        (left,) = index.verify().incomplete
        assert left.source == str(file)
        assert "not at home" in left.message


def test_a_repair_that_was_stopped_before_it_read_leaves_a_library_that_says_so(hurt: Path, file: Path) -> None:
    with stackroom.open(hurt) as index:
        index.backend.repair(dry_run=False, progress=silent, cancel=CancelToken())
        assert [one.structure for one in index.verify().damage] == ["repair"]
    said = run(hurt, "verify")
    assert said.code == DamagedError.exit_code
    assert "1 source that lost passages was not read again yet" in said.stderr
    assert run(hurt, "repair").code == 0
    assert run(hurt, "verify").code == 0


# A record, which no file has


RECORDS = [*(Document(f"rec-{n}", text=f"The harbour has {n} lanterns.") for n in range(3)), Document("empty")]


@pytest.fixture
def records(library: Path) -> Path:
    """Three records with a passage each, and one that never had any; that of the last is damaged."""
    with stackroom.open(library) as index:
        index.add_documents(RECORDS)
    spoil(library)
    return library


def test_a_record_that_a_repair_emptied_is_named_by_every_verb_and_an_empty_one_is_not(records: Path) -> None:
    done = run(records, "repair")
    assert done.code == 1
    assert "rec-2 can't be read again: it came without a file. Give it again." in done.stderr
    assert "Not everything is there again: 1 thing is lost, and 1 source was not read again." in done.stderr
    sound = run(records, "verify")
    assert sound.code == 0
    assert "Nothing is damaged: 2 passages and 2 vectors checked.\n1 source is incomplete:\n  rec-2" in sound.stderr
    listed = run(records, "list", "--failed").stdout
    assert "Passages of it were lost, and it was not read again: it came without a file. Give it again." in listed
    assert f"stackroom --library {records} remove rec-2" in listed
    assert "1 (DamagedError first)" in run(records, "status").stdout
    marked = [line.split()[-1] for line in run(records, "list").stdout.splitlines() if line.startswith("!")]
    assert marked == ["rec-2"]
    again = run(records, "repair")
    assert (again.code, "rec-2" in again.stderr) == (1, True)


@pytest.mark.parametrize("how", ["given again", "removed"])
def test_a_record_that_a_repair_emptied_is_told_until_it_is_whole_or_gone(records: Path, how: str) -> None:
    stackroom.repair(records)
    with stackroom.open(records) as index:
        if how == "removed":
            index.remove(["rec-2"])
        else:
            index.add_documents([RECORDS[2]])
        found = index.verify()
        assert (found.ok, found.incomplete, index.stats().failed_count) == (True, (), 0)
    assert run(records, "repair").code == 0


def test_a_dry_run_says_of_a_record_what_the_run_does(records: Path) -> None:
    planned, done = stackroom.repair(records, dry_run=True), stackroom.repair(records)
    assert sources(planned.lost) == sources(done.lost)
    assert sources(planned.waiting) == sources(done.waiting)


# Long lists


def listed(found: list[Damage], capsys: pytest.CaptureFixture[str]) -> list[str]:
    upkeep._list(Session(library=None, as_json=False, quiet=False), "Lost", found)
    return capsys.readouterr().err.splitlines()


def test_a_loss_names_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        Damage("sources", "What was known of the source but its name.", None, "rec-0"),
        Damage("sources", "rec-1 can't be read again.", None, "rec-1"),
    ]
    assert listed(found, capsys) == [
        "Lost:",
        "  What was known of the source but its name. (rec-0)",
        "  rec-1 can't be read again.",
    ]


def test_many_of_a_kind_are_one_with_their_number_and_names_and_texts_come_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [Damage("sources", "What was known of the source but its name.", None, f"rec-{n}") for n in range(40)]
    texts = [Damage("chunks", f"The passage with key {n}.", f"d{n // 2}", f"s{n // 2}") for n in range(8)]
    assert listed([Damage("sets", "Which were not active.", None, None), *names, *texts], capsys) == [
        "Lost:",
        "  chunks: The passage with key 0. (s0, document d0)",
        "    and 7 more like it, of 4 sources: s0, s1, s2, s3",
        "  What was known of the source but its name. (rec-0)",
        "    and 39 more like it, of 40 sources: rec-0, rec-1, rec-2, rec-3, rec-4, …",
        "  sets: Which were not active.",
        "  --json names them all.",
    ]


def test_few_of_a_kind_are_all_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Damage("chunks", f"The passage with key {n}.", f"d{n}", f"s{n}") for n in range(3)]
    assert len(listed(found, capsys)) == 4


def test_of_many_kinds_some_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Damage("metadata", f"The filter index of {chr(97 + n) * 3!r} does not agree.") for n in range(25)]
    said = listed(found, capsys)
    assert (len(said), said[-1]) == (22, "  and 5 more; --json names them all.")


def test_what_sqlite_says_of_many_pages_is_said_once(library: Path) -> None:
    noise = (" ".join(map(str, np.random.default_rng(n).integers(0, 1 << 40, 1000))) for n in range(60))
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents(Document(f"d{n}", chunks=[Chunk(text)]) for n, text in enumerate(noise))
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'chunks'").fetchall()
    with layout.catalogue(library).open("r+b") as file:
        file.seek((root - 1) * layout.PAGE_SIZE)
        file.write(bytes(layout.PAGE_SIZE))
    everything = json.loads(run(library, "--json", "verify").stdout)["damage"]
    assert sum("never used" in one["message"] for one in everything) > 20
    assert run(library, "verify").stderr.count("never used") == 1
    assert run(library, "repair", "--dry-run").stderr.count("never used") == 1


# The dry run


def sources(found: tuple[Damage, ...]) -> list[tuple[str, str, str | None]]:
    return [(one.structure, one.message, one.source) for one in found]


@pytest.mark.parametrize("state", ["there", "gone", "changed"])
def test_a_dry_run_says_what_the_run_does(hurt: Path, file: Path, state: str) -> None:
    if state == "gone":
        file.unlink()
    elif state == "changed":
        file.write_text("something else")
    before = {path: path.read_bytes() for path in (layout.catalogue(hurt), *layout.vectors(hurt).iterdir())}
    said = run(hurt, "repair", "--dry-run").stderr
    planned = stackroom.repair(hurt, dry_run=True)
    assert {path: path.read_bytes() for path in before} == before
    done = stackroom.repair(hurt)
    assert sources(planned.lost) == sources(done.lost)
    assert sources(planned.waiting) == sources(done.waiting)
    assert (planned.reread, planned.embedded) == (done.reread, done.embedded)
    assert planned.ok == done.ok == (state == "there")
    assert ("Would be lost" in said, "would be read again" in said) == (state != "there", state == "there")
    assert f"Nothing was changed. To do it: stackroom --library {hurt} repair" in said
    if state == "there":
        assert f"1 file would be read again: {file}" in said
        assert "Everything would be there again." in said


def test_a_dry_run_says_what_would_be_embedded(filled: Path) -> None:
    (rows,) = (filled / layout.VECTORS).iterdir()
    rows.unlink()
    planned = stackroom.repair(filled, dry_run=True)
    assert (planned.embedded, planned.waiting, planned.ok) == (len(TEXTS), (), True)
    assert f"{len(TEXTS)} passages would be embedded again" in run(filled, "repair", "--dry-run").stderr
    assert stackroom.repair(filled).embedded == len(TEXTS)


def test_a_dry_run_says_that_the_model_is_not_at_hand(library: Path) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([Document("d", chunks=[Chunk(text) for text in TEXTS])])
    (rows,) = (library / layout.VECTORS).glob("?.????")
    rows.unlink()
    planned, done = stackroom.repair(library, dry_run=True), stackroom.repair(library)
    assert planned.embedded == done.embedded == 0
    assert not planned.ok
    assert "can't be made from its name" in planned.waiting[0].message
    assert "can't be made from its name" in done.waiting[0].message
    said = run(library, "verify")
    assert said.code == DamagedError.exit_code
    left = "3 passages wait to be embedded again by the model that made their vectors"
    assert f"{left}: stackroom --library {library} repair --embedder NAME" in said.stderr
    assert said.stderr.count("repair") == 2  # what is left, and its command
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        assert index.verify().damage[0].message == f"{left}: stackroom repair"


def test_what_a_stopped_repair_left_is_finished_by_a_plain_one_where_the_model_is_at_hand(filled: Path) -> None:
    next((filled / layout.VECTORS).iterdir()).unlink()
    with stackroom.open(filled) as index:
        index.backend.repair(dry_run=False, progress=silent, cancel=CancelToken())
    said = run(filled, "verify")
    assert said.code == DamagedError.exit_code
    assert f"made their vectors: stackroom --library {filled} repair\n" in said.stderr
    assert "--embedder" not in said.stderr
    assert run(filled, "repair").code == 0


# What a repair has put aside


def test_what_a_repair_has_put_aside_is_counted_and_told(hurt: Path) -> None:
    assert "aside" not in run(hurt, "status").stdout
    stackroom.repair(hurt)
    kept = sum(path.stat().st_size for path in (hurt / "damaged.0001").rglob("*") if path.is_file())
    with stackroom.open(hurt, mode="r") as index:
        stats = index.stats()
    assert stats.set_aside == (str(hurt / "damaged.0001"),)
    assert stats.bytes["set_aside"] == kept > 0
    assert stats.bytes["total"] == sum(size for part, size in stats.bytes.items() if part != "total")
    assert json.loads(run(hurt, "--json", "status").stdout)["bytes"]["set_aside"] == kept
    told = f"{hurt / 'damaged.0001'} ({size(kept)}) is what a repair replaced. Delete it once you miss nothing: rm -r {hurt / 'damaged.0001'}"
    assert told in run(hurt, "status").stdout
    assert told in run(hurt, "verify").stderr
    shutil.rmtree(hurt / "damaged.0001")
    assert "aside" not in run(hurt, "status").stdout
    assert "replaced" not in run(hurt, "verify").stderr


def test_folders_of_somebody_else_are_not_counted_as_put_aside(filled: Path) -> None:
    write_files(filled, {"damaged.txt": "no folder", "damaged.mine/note.txt": "mine"})
    with stackroom.open(filled, mode="r") as index:
        assert (index.stats().set_aside, index.stats().bytes["set_aside"]) == ((), 0)


# Backups


def test_a_backup_says_what_it_holds_and_how_it_brings_a_library_back(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a backup"
    said = run(filled, "backup", copy).stderr
    with stackroom.open(copy, mode="r") as index:
        total = index.stats().bytes["total"]
    assert f"{filled} is copied to {copy}: 3 documents with 3 passages, {size(total)}." in said
    assert f"It was opened there. Every byte is compared by: stackroom --library '{copy}' verify" in said
    assert (
        f"Should {filled} be lost, move away what is left of it, then: stackroom --library '{copy}' backup {filled}"
        in said
    )
    for line in said.splitlines():
        if "backup" in line and "bring the library back" in line:
            os.rename(filled, tmp_path / "lost")
            assert run(copy, *shlex.split(line.partition(f"--library '{copy}' ")[2])).code == 0
    assert run(filled, "verify").code == 0


def test_a_backup_says_the_same_as_json(filled: Path, tmp_path: Path) -> None:
    told = json.loads(run(filled, "--json", "backup", tmp_path / "copy").stdout)
    with stackroom.open(tmp_path / "copy", mode="r") as index:
        total = index.stats().bytes["total"]
    held = {"sources": 3, "documents": 3, "chunks": 3, "bytes": total}
    assert told == {"folder": str(tmp_path / "copy"), "copied": True, **held}
    told = json.loads(run(filled, "--json", "backup", tmp_path / "copy").stdout)
    assert told == {"folder": str(tmp_path / "copy"), "copied": False, **held}


def test_a_backup_that_is_what_it_was_says_so_and_the_first_one_how_to_go_on(
    filled: Path, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "a backup"
    command = f"stackroom --library {filled} backup --refresh '{copy}'"
    assert f"Bring it up to date: {command}\n" in run(filled, "backup", copy).stderr
    for refresh in ([], ["--refresh"]):
        again = run(filled, "backup", *refresh, copy)
        assert (again.code, "is copied" in again.stderr) == (0, False)
        assert (
            f"Nothing was copied: {copy} holds the newest commit of {filled} already, 3 documents with 3 passages"
            in again.stderr
        )
        assert command in again.stderr
    write_files(folder, {"more.txt": "tides turn"})
    run(filled, "add", folder)
    assert f"{filled} is copied to {copy}: 4 documents" in run(filled, *shlex.split(command)[3:]).stderr


def test_an_earlier_backup_is_replaced_by_a_command_that_can_be_pasted(
    filled: Path, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "a backup"
    run(filled, "backup", copy)
    write_files(folder, {"more.txt": "tides turn"})
    run(filled, "add", folder)
    refused = run(filled, "backup", copy)
    assert refused.code == UsageError.exit_code
    assert "refresh=" not in refused.stderr
    command = f"stackroom --library {filled} backup --refresh '{copy}'"
    assert command in refused.stderr
    assert run(filled, *shlex.split(command)[3:]).code == 0
    assert "4 documents" in run(filled, "backup", copy).stderr
