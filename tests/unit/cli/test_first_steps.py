"""What somebody meets who tries the command line for the first time."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import stackroom
from old_index import OldIndex
from stackroom.cli.commands import ingest
from stackroom.cli.main import cli, main
from stackroom.cli.session import Session
from stackroom.errors import NotALibraryError, NotFoundError, UsageError
from stackroom.progress import CancelToken
from stackroom.reports import Report
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from support import WordEmbedder, write_files

FILES = Path(__file__).parents[1] / "ingest" / "files"


@pytest.fixture
def run(library: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line with a library that has a model of its own."""
    monkeypatch.setattr("stackroom.cli.session.Session.open", _with_words)

    def call(*arguments: str | Path) -> Result:
        words = ["--library", str(library), *map(str, arguments)]
        return CliRunner().invoke(cli, words, standalone_mode=False)

    return call


def _with_words(session: Any, **options: Any) -> Any:
    for own in ("quiet", "existing"):
        options.pop(own, None)
    return stackroom.open(session.library, **{**options, "embedder": WordEmbedder()})


def test_what_failed_before_is_no_failure_of_this_run(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha", "empty.txt": "", "none.txt": ""})
    first = run("add", folder)
    assert (first.return_value, first.stderr.count("failed:")) == (1, 2)
    assert "1 added, 2 failed." in first.stderr
    again = run("add", folder)
    assert again.return_value == 0
    assert "1 unchanged, 2 failed before." in again.stderr
    assert "failed:" not in again.stderr
    assert "list --failed" in again.stderr
    told = json.loads(run("--json", "add", folder).stdout)
    assert (told["failed"], [failure["before"] for failure in told["failures"]]) == (2, [True, True])
    assert run("add", "--retry", folder).return_value == 1
    write_files(folder, {"other.txt": ""})
    third = run("add", folder)
    assert third.return_value == 1
    assert "other.txt is empty" in third.stderr
    assert "none.txt" not in third.stderr


def test_a_scan_names_the_option_that_reads_it(run: Callable[..., Result], folder: Path) -> None:
    (folder / "scan.pdf").write_bytes((FILES / "blank.pdf").read_bytes())
    said = run("add", folder).stderr
    assert "--ocr" in said
    assert "1 pages" not in said


def test_what_was_removed_comes_back_and_that_is_said(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha", "b.txt": "beta", "c.md": "gamma"})
    run("add", folder)
    several = run("remove", "*.txt")
    assert "2 sources" in str(several.exception)
    assert [name in several.stderr for name in ("a.txt", "b.txt", "c.md")] == [True, True, False]
    assert ".stackroomignore" in run("remove", "a.txt").stderr
    (folder / "c.md").unlink()
    assert ".stackroomignore" not in run("remove", "c.md").stderr
    (folder / ".stackroomignore").write_text("a.txt\n")
    assert "1 unchanged." in run("add", folder).stderr


def test_what_is_forgotten_with_a_source_is_said(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha", "b.txt": "beta", "c.txt": "gamma"})
    run("add", folder)
    run("set", "mine", "a.txt", "b.txt")
    run("active", "off", "b.txt")
    assert "Forgotten with that: the place in the set mine. What" in run("remove", "a.txt").stderr
    said = run("remove", "b.txt").stderr
    assert "the place in the set mine; that 1 source was switched off. What is added again is new" in said
    assert "Forgotten" not in run("remove", "c.txt").stderr
    run("add", folder)
    assert json.loads(run("--json", "status").stdout)["active_sources"] == 3
    assert run("set", "mine").stdout == ""


def test_an_empty_name_means_nothing(run: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script whose variable is empty, in a folder above the documents."""
    write_files(folder, {"a.txt": "alpha", "b.txt": "beta"})
    run("add", folder)
    monkeypatch.chdir(folder.parent)
    for verb in (["remove", "", "-y"], ["active", "off", ""], ["set", "some", ""], ["search", "--in", "", "alpha"]):
        assert isinstance(run(*verb).exception, NotFoundError), verb
    told = json.loads(run("--json", "status").stdout)
    assert (told["sources"], told["active_sources"]) == (2, 2)
    assert run("remove", ".", "-y").return_value == 0


def test_a_library_without_a_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="empty name"):
        stackroom.open("")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb",
    [
        ["remove", "x"],
        ["active", "all"],
        ["active", "on", "x"],
        ["compact"],
        ["rebuild"],
        ["set", "some", "x"],
        ["chat"],
        ["chat", "--delete", "x"],
    ],
    ids=" ".join,
)
def test_what_changes_a_library_makes_none(tmp_path: Path, verb: list[str]) -> None:
    mistyped = tmp_path / "mistyped"
    result = CliRunner().invoke(cli, ["--library", str(mistyped), *verb], standalone_mode=False)
    assert isinstance(result.exception, NotFoundError)
    assert not mistyped.exists()


@pytest.mark.parametrize(
    "mistyped",
    [
        ["nowhere.pdf"],
        ["--also", "nokind"],
        ["--reader", "nobody:reader"],
        ["--embedder", "nobody"],
        ["--watch", "nowhere"],
    ],
    ids=" ".join,
)
def test_what_can_not_be_added_makes_no_library(library: Path, folder: Path, mistyped: list[str]) -> None:
    result = CliRunner().invoke(cli, ["--library", str(library), "add", *mistyped, str(folder)], standalone_mode=False)
    assert isinstance(result.exception, NotFoundError | UsageError)
    assert not library.exists()


def test_an_index_that_is_added_is_told_from_documents(run: Callable[..., Result], folder: Path) -> None:
    old = OldIndex().write(folder / "old index")
    write_files(old, {"a.txt": "alpha"})
    added = run("add", old)
    assert f"{old} holds another program's index." in added.stderr
    assert f"stackroom migrate '{old}'\n" in added.stderr
    assert "1 added." in added.stderr
    write_files(folder / "chroma", {"chroma.sqlite3": ""})
    assert "is Chroma's, which can't be migrated yet" in run("add", folder / "chroma").stderr
    # Anybody's documents may be in a folder of this name.
    write_files(folder, {"collection/a.txt": "beta"})
    said = run("add", folder, folder / "collection" / "a.txt").stderr
    assert "migrate" not in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("serch", "'search'"), ("LIST", "'list'"), ("expot", "'export'"), ("hello", None), ("remov", None)],
)
def test_a_verb_that_is_mistyped_is_guessed(typed: str, meant: str | None) -> None:
    error = CliRunner().invoke(cli, [typed, "x"], standalone_mode=False).exception
    assert isinstance(error, click.UsageError)
    assert error.message.partition("Did you mean ")[2] == (f"{meant}?" if meant else "")


@pytest.mark.parametrize(
    ("named", "where"), [([], "/my/library"), (["--library", "a library"], "'a library'"), (["--json"], "/my/library")]
)
@pytest.mark.parametrize("typed", ["restore", "Restore"])
def test_who_wants_to_restore_a_library_is_told_how(
    named: list[str], where: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no such verb, and what is most like it takes documents away."""
    monkeypatch.setenv("STACKROOM_LIBRARY", "/my/library")
    error = CliRunner().invoke(cli, [*named, typed, "kept"], standalone_mode=False).exception
    assert isinstance(error, click.UsageError)
    assert error.message == (
        f"No such command '{typed}'. A backup is a library, and takes the place of a lost one: "
        f"move {where} away, then: stackroom --library BACKUP backup {where}"
    )


def test_a_library_on_an_engine_is_restored_by_no_move(monkeypatch: pytest.MonkeyPatch) -> None:
    for named in ([], ["-l", "qdrant://host/x"]):
        monkeypatch.setenv("STACKROOM_LIBRARY", "/my/library" if named else "qdrant://host/x")
        error = CliRunner().invoke(cli, [*named, "restore"], standalone_mode=False).exception
        assert isinstance(error, click.UsageError)
        assert error.message == "No such command 'restore'."


def test_a_folder_that_is_no_library_is_not_repaired_and_not_touched(folder: Path, tmp_path: Path) -> None:
    write_files(folder, {"a.txt": "alpha"})
    nowhere = tmp_path / "nowhere"
    for named, said in ((folder, "is no Stackroom library"), (folder / "a.txt", "is no"), (nowhere, "is not there")):
        error = CliRunner().invoke(cli, ["--library", str(named), "repair"], standalone_mode=False).exception
        assert isinstance(error, NotFoundError)
        assert f"{named} {said}" in error.message
        assert "nothing was touched" in error.message
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    assert not nowhere.exists()


def test_a_file_and_a_folder_of_documents_are_no_library(folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha"})
    for named, said in ((folder, "it is not empty"), (folder / "a.txt", "is a file")):
        error = CliRunner().invoke(cli, ["--library", str(named), "search", "x"], standalone_mode=False).exception
        assert isinstance(error, NotALibraryError)
        assert said in error.message
        assert f"--library DIR add {named}" in (error.hint or "")


def test_a_set_whose_sources_are_gone_says_that_it_is_empty(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha", "b.txt": "beta"})
    run("add", folder)
    run("set", "some", "a.txt")
    assert "empty" not in run("set", "some").stderr
    run("remove", "a.txt")
    assert "The set some is empty" in run("set", "some").stderr


def test_one_of_something_is_told_as_one(run: Callable[..., Result], folder: Path) -> None:
    lines = "\n\n".join(f"{word} " + "lorem ipsum dolor sit amet " * 3 + "." for word in ("one", "two"))
    write_files(folder, {"a.txt": lines})
    run("add", folder)
    write_files(folder, {"a.txt": lines.replace("two", "three")})
    assert "1 passage kept its vector." in run("add", folder).stderr


def test_a_library_that_is_being_filled_is_not_called_empty(
    run: Callable[..., Result], library: Path, folder: Path
) -> None:
    write_files(folder, {"a.txt": "alpha"})
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        assert "The library is empty" in run("search", "alpha").stderr
        with index.backend.lease("add ~/Documents"):
            for verb in (["search", "alpha"], ["list"]):
                said = run(*verb).stderr
                assert "empty" not in said
                assert "being filled" in said
                assert "add ~/Documents" in said
                assert "0 sources with 0 passages so far" in said
        index.add(folder)
        with index.backend.lease("add ~/Documents"):
            assert "1 source with 1 passage so far" in run("search", "--mode", "text", "beta").stderr
            assert f"working  add ~/Documents (process {os.getpid()}, since" in run("status").stdout
            assert json.loads(run("--json", "status").stdout)["working"]["purpose"] == "add ~/Documents"
    assert json.loads(run("--json", "status").stdout)["working"] is None
    assert "being filled" not in run("search", "--mode", "text", "beta").stderr


def test_a_holder_that_was_killed_fills_nothing(run: Callable[..., Result], library: Path) -> None:
    stackroom.open(library, embedder=WordEmbedder()).close()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (library / layout.INGEST_LOCK).write_text(f' {{"pid": {gone.pid}, "purpose": "add"}}')
    assert "The library is empty" in run("search", "alpha").stderr


def test_what_could_not_be_read_has_a_type_in_the_list(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"empty.txt": ""})
    run("add", folder)
    assert run("list").stdout.split()[:3] == ["!", "0", "failed"]


def test_how_to_get_answers_is_said_once(
    run: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, {"a.txt": "alpha"})
    run("add", folder)
    monkeypatch.setattr("stackroom.chat.found", list)
    assert "--model ollama:MODEL" in run("ask", "alpha").stderr
    monkeypatch.undo()
    monkeypatch.setattr("stackroom.cli.session.Session.open", _with_words)
    monkeypatch.setitem(sys.modules, "httpx", None)
    said = run("ask", "alpha").stderr
    assert "For answers: Install" not in said
    assert "Install it with: pip install 'stackroom[served]'\n" in said


@pytest.mark.parametrize("verb", ["search", "ask"])
@pytest.mark.parametrize("word", ["-bees", "-kangaroo", "-hello", "-two words"])
def test_a_word_that_is_taken_for_options_is_named(run: Callable[..., Result], verb: str, word: str) -> None:
    error = run(verb, "gardens", word).exception
    assert isinstance(error, click.UsageError)
    assert f"stackroom {verb} -- WORDS {shlex.quote(word)}" in error.message
    assert "WORDS" not in run(verb, "gardens", "-k10", "--bogus").exception.message  # type: ignore[union-attr]


def test_words_are_excluded_after_two_dashes(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "gardens and bees", "b.txt": "gardens"})
    run("add", folder)
    hits = json.loads(run("--json", "search", "--", "gardens", "-bees").stdout)["hits"]
    assert [hit["document"]["title"] for hit in hits] == ["b.txt"]
    run("set", "mine", "a.txt")
    asked = json.loads(run("--json", "ask", "--set", "mine", "gardens").stdout)
    assert [passage["document"]["title"] for passage in asked["passages"]] == ["a.txt"]


def test_a_key_that_no_document_has_is_named(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.md": "---\nyear: 2020\nauthor: Smith\n---\nalpha"})
    run("add", folder)
    said = run("search", "--where", "yaer == 2020", "--where", "Author == Smith", "alpha").stderr
    assert "No document has 'yaer'. Is it 'year'?" in said
    assert "No document has 'Author'. Is it 'author'?" in said
    said = run("search", "--where", "colour == red", "alpha").stderr
    assert "No document has 'colour'. There are: author, " in said
    assert "No document" not in run("search", "--where", "year == 2021", "--where", "type == pdf", "alpha").stderr


def test_a_value_that_no_document_has_is_named(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.md": "alpha", "b.txt": "alpha gamma"})
    run("add", folder)
    for verb in ("search", "ask"):
        said = run(verb, "--where", "type == Markdown", "alpha").stderr
        assert "No passage has type == Markdown. type has: markdown, text.\nNothing was found.\n" in said
    said = run("search", "--where", "type == text", "--mode", "text", "beta").stderr
    assert said == "Nothing was found. Other words, or fewer conditions, may help.\n"


def test_what_stands_in_two_files_is_shown_once(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha beta", "b.txt": "alpha beta", "c.txt": "gamma"})
    run("add", folder)
    shown = run("search", "--mode", "text", "beta").stdout
    assert shown.count("alpha beta") == 1
    assert f"    also: b.txt  {folder / 'b.txt'}" in shown
    assert len(json.loads(run("--json", "search", "--mode", "text", "beta").stdout)["hits"]) == 2


def test_a_score_next_to_nothing_is_not_shown_as_nothing(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha beta", "c.txt": "gamma delta"})
    run("add", folder)
    assert run("search", "--mode", "text", "alpha").stdout.split()[:2] == ["1", "<.001"]
    both = run("search", "alpha")
    assert [line.split()[1] for line in both.stdout.splitlines() if line[:2].strip()][1:] == ["0.000"]
    assert "1 of score 0:" in both.stderr


def test_whole_passages_keep_their_lines(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.py": "def alpha():\n    return 1\n"})
    run("add", folder / "a.py")
    assert "    def alpha():\n        return 1\n" in run("search", "--full", "alpha").stdout
    assert "def alpha(): return 1" in run("search", "alpha").stdout


def test_advice_is_for_the_library_that_was_named(
    library: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stackroom.open(library, embedder=WordEmbedder()).close()
    for arguments in (["--library", str(library), "show", "x"], ["show", "x", f"--library={library}"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert capsys.readouterr().err.endswith(f"stackroom --library {library} list\n")
    monkeypatch.setenv("STACKROOM_LIBRARY", str(library))
    with pytest.raises(SystemExit):
        main(["show", "x"])
    assert capsys.readouterr().err.endswith("stackroom list\n")


@pytest.mark.parametrize("query", ["", " \n"])
def test_an_empty_query_is_refused(library: Path, query: str) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index, pytest.raises(UsageError, match="query is empty"):
        index.search(query)


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_a_query_without_a_word_is_refused(run: Callable[..., Result], folder: Path, mode: str) -> None:
    write_files(folder, {"a.txt": "alpha"})
    run("add", folder)
    for query in ('""', "-", "*", "?!", "--", "-''"):
        error = run("search", "--mode", mode, "--", query).exception
        assert isinstance(error, UsageError), query
        assert "no word in the query" in error.message
    for query in ("7", "京", "and", "alpha -beta", "\N{FOX FACE}"):
        assert run("search", "--mode", mode, "--", query).exception is None, query


def test_an_answer_from_nothing_says_that_there_is_nothing(run: Callable[..., Result], library: Path) -> None:
    stackroom.open(library, embedder=WordEmbedder()).close()
    assert "The library is empty" in run("ask", "alpha").stderr


@pytest.mark.parametrize(
    ("report", "embedding", "said"),
    [
        (Report(cancelled=True), False, ["Interrupted. Nothing was finished."]),
        (Report(cancelled=True, added=2, chunks=3), False, ["2 added. 3 passages", "What was committed stays."]),
        (
            Report(cancelled=True, chunks=512),
            False,
            ["No file was finished. 512 passages", "What was committed stays."],
        ),
        (Report(cancelled=True, embedded=64), True, ["64 passages embedded anew", "What was committed stays."]),
        (Report(), False, ["Nothing to do. 0 passages"]),
    ],
)
def test_what_an_interrupted_run_says_is_true(
    report: Report, embedding: bool, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ingest._finish(Session(None, as_json=False, quiet=False), report, "again", embedding=embedding)
    told = capsys.readouterr().err
    assert [part for part in said if part not in told] == []
    assert told.count("Nothing") == sum("Nothing" in part for part in said)


def test_to_go_on_is_to_ask_for_the_same(
    run: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = CancelToken()
    cancel.cancel()
    monkeypatch.setattr(ingest, "cancellable", lambda: contextlib.nullcontext(cancel))
    given = ["--prune", "--follow-links", "--also", "code", "--also", "json", "--ignore", "drafts/"]
    assert shlex.join(["add", *given, str(folder)]) in run("add", *given, folder).stderr


def test_quoted_words_that_stand_nowhere_find_nothing_and_are_named(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha beta", "b.txt": "alpha gamma"})
    run("add", folder)
    for verb in ("search", "ask"):
        done = run(verb, '"beta alpha"')
        assert "alpha gamma" not in done.stdout
        assert 'No passage has "beta alpha".\nNothing was found.\n' in done.stderr
    assert "alpha gamma" not in run("search", '"alpha beta"').stdout
    done = run("search", "--", "-beta")
    assert "The query '-beta' says only what must not occur." in str(done.exception)


def test_copies_take_no_place_of_other_passages(run: Callable[..., Result], folder: Path) -> None:
    copies = {f"{name}.txt": "alpha beta alpha" for name in "abc"}
    write_files(folder, {**copies, "d.txt": "alpha delta", "e.txt": "alpha epsilon zeta"})
    run("add", folder)
    done = run("search", "-k", 3, "--mode", "text", "alpha")
    assert [line.split()[0] for line in done.stdout.splitlines() if line[:2].strip()] == ["1", "2", "3"]
    assert [done.stdout.count(text) for text in ("alpha beta", "alpha delta", "alpha epsilon")] == [1, 1, 1]
    assert done.stdout.count("also: ") == 2
    assert done.stderr.startswith("3 hits in ")
    found = json.loads(run("--json", "search", "-k", 3, "--mode", "text", "alpha").stdout)["hits"]
    assert [hit["text"] for hit in found] == ["alpha beta alpha"] * 3
    said = run("ask", "-k", 2, "alpha").stdout
    assert ("[1]" in said, "[2]" in said, "[3]" in said) == (True, True, False)
    assert said.count("alpha beta alpha") == 1
    assert said.count("also: ") == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["Makefile", "notes.xyz"], "2 files of other kinds left alone: 1 (no suffix), 1 .xyz. A file that is named itself is tried whatever its kind."),
        (["a.py", "b.json"], "2 files of other kinds left alone: 1 .py, 1 .json. --also code --also json takes them too."),
        (["a.png", "b.doc"], "2 files of other kinds left alone: 1 .png, 1 .doc. --also picture --ocr takes them too; a file that is named itself is tried whatever its kind."),
    ],
)  # fmt: skip
def test_what_is_left_alone_says_how_to_read_it(
    run: Callable[..., Result], folder: Path, files: list[str], said: str
) -> None:
    write_files(folder, dict.fromkeys(files, "words"))
    assert said in run("add", folder).stderr.splitlines()


def test_a_readme_needs_no_suffix(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"README": "How cats purr at night.", "copyright": "All cats reserved."})
    (folder / "NEWS").write_bytes(bytes(range(32)) * 40)
    told = json.loads(run("--json", "add", folder).stdout)
    assert (told["added"], told["failed"], told["skipped"]) == (2, 1, {})
    # Its content decides what it is.
    assert Path(told["failures"][0]["path"]).name == "NEWS"


def test_what_no_list_shows_is_named_by_add(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha", **{f"{n}.txt": "" for n in range(12)}})
    for n in range(3):
        (folder / f"z{n}.txt").symlink_to(folder / "missing")
    first = run("add", folder)
    assert "1 added, 15 failed." in first.stderr
    # None of the links is behind the pointer to the list, which has the others.
    assert all(f"failed: {folder / f'z{n}.txt'}" in first.stderr for n in range(3))
    assert "  ... and 5 more; see: stackroom" in first.stderr
    listed = run("list", "--failed").stdout
    assert listed.count("is empty") == 12
    assert "z0.txt" not in listed
    for n in range(3, 13):
        (folder / f"z{n}.txt").symlink_to(folder / "missing")
    again = run("add", folder).stderr
    assert "  ... and 3 more that no list shows; --json names them all" in again
    assert "more; see" not in again


def test_an_empty_list_of_failures_says_what_it_does_not_hold(run: Callable[..., Result], folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha"})
    (folder / "b.txt").symlink_to(folder / "missing")
    said = run("add", folder).stderr
    assert "1 added, 1 failed." in said
    assert "list --failed" not in said
    assert "each add names them" in run("list", "--failed").stderr


def test_what_needs_a_library_opens_it_once(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([stackroom.Document("one", "one.txt", text="A cat purrs.")])
    opened: list[str] = []
    prepare = LocalStore._prepare

    def counted(store: LocalStore, path: Path, mode: str) -> None:
        opened.append(mode)
        prepare(store, path, mode)

    monkeypatch.setattr(LocalStore, "_prepare", counted)
    assert CliRunner().invoke(cli, ["--library", str(library), "active", "none"]).exit_code == 0
    assert opened == ["w"]
    refused = CliRunner().invoke(cli, ["--library", str(library / "nothing"), "active", "none"])
    assert isinstance(refused.exception, NotFoundError)
    assert not (library / "nothing").exists()
