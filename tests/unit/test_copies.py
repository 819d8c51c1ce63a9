"""A local copy that answers while its engine is away, and what it says of itself. No engine is there: nothing listens at these addresses."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

import stackroom
from engine_servers import answering
from stackroom.cli.main import cli, main
from stackroom.conversations import conversations
from stackroom.copied import RECORD
from stackroom.errors import (
    DamagedError,
    EngineAwayError,
    EngineAwayWarning,
    MissingExtraError,
    NoCopyWarning,
    UnavailableError,
    UnfinishedTransferWarning,
    UsageError,
)
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore
from stackroom.transfer import transfer
from stackroom.types import Chunk, Document
from support import WordEmbedder

DOCUMENTS = [Document("one", "one.txt", chunks=[Chunk("The lighthouse of Pharos."), Chunk("It burned.")])]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What stands for the engine's library while the copy is made."""
    with stackroom.open(tmp_path / "home", embedder=WordEmbedder()) as index:
        index.add_documents(DOCUMENTS)
    return tmp_path / "home"


def pull(home: Path, copy: Path, away_url: str, cancel: CancelToken | None = None) -> None:
    origin, target = LocalStore(home, mode="r"), LocalStore(copy)
    transfer(
        origin, target, names=(away_url, str(copy)), copy_of=away_url, progress=silent, cancel=cancel or CancelToken()
    )
    origin.close()
    target.close()


@pytest.fixture
def copy(home: Path, tmp_path: Path, away_url: str) -> Path:
    pull(home, tmp_path / "copy", away_url)
    return tmp_path / "copy"


def opened(away_url: str, copy: Path | None, **options: object) -> stackroom.Index:
    with pytest.warns(EngineAwayWarning, match=r"is not there: .* Answered from the copy"):
        return stackroom.open(away_url, copy=copy, embedder=WordEmbedder(), **options)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def test_it_answers_and_says_so(away_url: str, copy: Path, home: Path) -> None:
    with stackroom.open(home, mode="r") as index, index.backend.view() as view:
        version = view.version
    with opened(away_url, copy) as index:
        assert index.search("lighthouse")[0].text == "The lighthouse of Pharos."
        fallback = index.fallback
        assert fallback is not None
        assert (fallback.url, fallback.folder, fallback.version) == (away_url, str(copy), version)
        assert not fallback.unfinished
        assert index.path is None
        assert (index.stats().library, index.stats().fallback) == (away_url, fallback)
        assert index.verify().ok
    with stackroom.open(copy, mode="r") as index:
        assert (index.fallback, index.stats().fallback) == (None, None)


@pytest.mark.parametrize(
    "write",
    [
        lambda index: index.add_documents(DOCUMENTS),
        lambda index: index.add(__file__),
        lambda index: index.remove(["one.txt"]),
        lambda index: index.remove(["one.txt"], purge=True),
        lambda index: index.remove_documents(["one"]),
        lambda index: index.set_active(None, False),
        lambda index: index.save_set("mine", ["one.txt"]),
        lambda index: index.set_candidates(None),
        lambda index: index.rebuild(),
        lambda index: index.rebuild(embedder=WordEmbedder(name="other")),
        lambda index: index.discard_former(),
        lambda index: index.compact(),
        lambda index: index.compact(purge=True),
        lambda index: index.repair(),
    ],
)
def test_every_write_is_refused_in_the_engines_name(away_url: str, copy: Path, write) -> None:
    before = {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file() and "db-" not in path.name}
    with opened(away_url, copy, mode="a") as index:
        with pytest.raises(UnavailableError, match=r"away .* is for reading: nothing was written") as caught:
            write(index)
        assert caught.value.path == away_url
        assert str(copy) in caught.value.message
        assert index.search("lighthouse")
    after = {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file() and "db-" not in path.name}
    assert after == before


def test_without_a_copy_the_engine_is_away(away_url: str, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineAwayError, match="is not there"):
        stackroom.open(away_url)
    # A library that is to be made anew is made on the engine, or not at all.
    with pytest.raises(EngineAwayError, match="is not there"):
        stackroom.open(away_url, mode="x", copy=copy)
    monkeypatch.setenv("STACKROOM_COPY", str(copy))
    with opened(away_url, None) as index:
        assert index.fallback is not None
    # A library in a folder needs none, whatever the environment says of others.
    stackroom.open(copy, mode="r").close()
    with pytest.raises(UsageError, match="in a folder"):
        stackroom.open(copy, mode="r", copy=copy)


def test_a_client_that_is_not_installed_is_no_engine_that_is_away(
    away_url: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise MissingExtraError("httpx is not installed.")

    monkeypatch.setattr("stackroom.engines.require", missing)
    with pytest.raises(MissingExtraError):
        stackroom.open(away_url, copy=copy)


def test_a_login_that_is_refused_is_an_error_and_no_stale_answer(copy: Path) -> None:
    with (
        answering(401, '{"message": "Unauthorized"}') as port,
        pytest.raises(UnavailableError, match="without a key") as caught,
    ):
        stackroom.open(f"chroma://127.0.0.1:{port}?library=papers", copy=copy)
    assert not isinstance(caught.value, EngineAwayError)
    assert "CHROMA_API_KEY" in (caught.value.hint or "")


def test_a_server_that_is_silent_is_away_before_long(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was waited for for five minutes."""
    monkeypatch.setattr("stackroom.engines.chroma.client._AT_FIRST", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        away_url = f"chroma://127.0.0.1:{listening.getsockname()[1]}?library=papers"
        pull(home, tmp_path / "copy", away_url)
        with opened(away_url, tmp_path / "copy") as index:
            assert index.search("lighthouse")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_its_server_is_an_engine_that_is_away(home: Path, tmp_path: Path, status: int) -> None:
    with answering(status, '{"message": "no upstream"}') as port:
        away_url = f"chroma://127.0.0.1:{port}?library=papers"
        pull(home, tmp_path / "copy", away_url)
        with opened(away_url, tmp_path / "copy") as index:
            assert index.search("lighthouse")


def test_the_same_library_may_be_written_differently(away_url: str, copy: Path) -> None:
    with opened(away_url.replace("chroma://", "Chroma://").replace("?", "/?"), copy) as index:
        assert index.fallback is not None


def test_only_a_copy_of_that_very_library_stands_in(away_url: str, copy: Path, home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a copy of .*papers") as caught:
        stackroom.open(f"{away_url}2", copy=copy)
    assert f"pull '{away_url}2'" in caught.value.hint
    with pytest.raises(UsageError, match="is no copy of it that was brought to its end"):
        stackroom.open(away_url, copy=home)
    for odd in (b"", b"{", b"[]", b'{"url": 1}'):
        with stackroom.open(home) as index, index.backend.commit() as commit:
            commit.attach(RECORD, odd)
        with pytest.raises(UsageError, match="brought to its end"):
            stackroom.open(away_url, copy=home)
    with pytest.raises(UsageError, match="there is no copy in"):
        stackroom.open(away_url, copy=tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UsageError, match="there is no copy in"):
        stackroom.open(away_url, copy=tmp_path / "other")


def test_a_pull_that_did_not_end_is_said(
    away_url: str, copy: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fallback(of: str) -> object:
        with opened(of, copy) as index:
            return index.fallback

    first = fallback(away_url)
    with stackroom.open(home, embedder=WordEmbedder()) as index:
        index.add_documents([Document("two", "two.txt", chunks=[Chunk("Newer.")])])
    with monkeypatch.context() as patched:
        cancel = CancelToken()
        patched.setattr("stackroom.transfer.prove", lambda *_, **__: cancel.cancel() or _stop())
        pull(home, copy, away_url, cancel)
    with pytest.warns(EngineAwayWarning, match="partly newer"), stackroom.open(away_url, copy=copy) as index:
        half = index.fallback
    assert half is not None
    assert half.unfinished
    assert (half.version, half.taken_at) == (first.version, first.taken_at)
    pull(home, copy, away_url)
    assert fallback(away_url).version > first.version
    assert not fallback(away_url).unfinished
    # From another library on: a copy of that one, once it is whole.
    with monkeypatch.context() as patched:
        patched.setattr("stackroom.transfer.prove", lambda *_, **__: _stop())
        pull(home, copy, f"{away_url}2")
    for one in (away_url, f"{away_url}2"):
        with pytest.raises(UsageError, match="brought to its end"):
            stackroom.open(one, copy=copy)
    pull(home, copy, f"{away_url}2")
    assert fallback(f"{away_url}2").url == f"{away_url}2"


def test_a_copy_that_was_written_to_says_so(away_url: str, copy: Path, home: Path) -> None:
    with stackroom.open(copy, embedder=WordEmbedder()) as index:
        assert index.stats().copied.said.startswith(f"of {away_url}, of 20")
        index.set_active(["one.txt"], False)
        assert index.stats().copied.changed
    with pytest.warns(EngineAwayWarning, match="UTC, changed here since"):
        fallback = stackroom.open(away_url, copy=copy)
    with fallback:
        assert fallback.fallback.changed
    assert "; changed here since" in run("--library", str(copy), "status").stdout
    assert json.loads(run("--library", str(copy), "--json", "status").stdout)["copied"]["changed"]
    pull(home, copy, away_url)
    with opened(away_url, copy) as index:
        assert not index.fallback.changed


def test_a_copy_that_was_repaired_says_so(away_url: str, copy: Path) -> None:
    with contextlib.closing(apsw.Connection(str(copy / "catalogue.db"))) as connection:
        connection.execute("UPDATE chunks SET text = zeroblob(30) WHERE position = 1")
    with stackroom.open(copy, embedder=WordEmbedder()) as index:
        assert not index.repair().ok
        assert index.stats().copied.changed


def test_a_pull_of_nothing_makes_nothing(away_url: str, tmp_path: Path) -> None:
    refused = run("--library", str(tmp_path / "new"), "pull", away_url)
    assert isinstance(refused.exception, EngineAwayError)
    refused = run("--library", str(tmp_path / "new"), "pull", "nothing://db")
    assert isinstance(refused.exception, UsageError)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", ["push", "pull"])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("me:secret@db.example/search", "That is no URL of a library on an engine."),
        ("nothing://db", "There is no engine 'nothing'."),
        ("chroma://:secret@db?library=papers", "A library's URL holds no password: others could read it."),
    ],
)
def test_a_url_that_is_none_is_told_before_anything_is_opened(tmp_path: Path, verb: str, url: str, told: str) -> None:
    """A push complained of the library that is not there, and not of what was mistyped."""
    refused = run("--library", str(tmp_path / "nothing"), verb, url)
    assert isinstance(refused.exception, UsageError)
    assert refused.exception.message == told
    assert not (tmp_path / "nothing").exists()


def test_a_pull_that_was_stopped_says_how_to_go_on(
    away_url: str, home: Path, tmp_path: Path, there: Callable[[Path], None]
) -> None:
    there(home)
    new = str(tmp_path / "new")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stackroom.transfer.prove", lambda *_, **__: _stop())
        assert "Interrupted: the next run goes on" in run("--library", new, "pull", away_url).stderr
    status = run("--library", new, "status").stdout
    assert f"a pull of {away_url} that began at 20" in status
    assert "did not finish (or goes on; sources come before their documents): run it again" in status
    for words in (("search", "--mode", "text", "lighthouse"), ("--quiet", "list")):
        told = run("--library", new, *words).stderr
        assert told.startswith(f"Beware: {new} may hold a part of what it is to hold: a pull of {away_url} that began")
    with pytest.warns(UnfinishedTransferWarning, match="may hold a part") as warned:
        stackroom.open(new).close()
    assert warned[0].filename == __file__
    assert run("--library", new, "--json", "list").stderr == ""
    whole = run("--library", new, "pull", away_url, "--since-last")
    assert (whole.exit_code, "Beware" in whole.stderr) == (0, False)
    stackroom.open(new).close()
    assert f"of {away_url}, of 20" in run("--library", new, "status").stdout


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Has engines answer by what is in a folder."""

    def answer(folder: Path) -> None:
        monkeypatch.setattr("stackroom.engines.open_engine", lambda _, mode="a": LocalStore(folder, mode=mode))

    return answer


def test_what_is_no_copy_is_told_before_it_is_needed(
    away_url: str, copy: Path, home: Path, tmp_path: Path, there: Callable[[Path], None]
) -> None:
    there(home)
    stackroom.open(away_url, copy=copy).close()
    for url, folder, why in (
        (away_url, tmp_path / "nothing", "there is no copy in"),
        (away_url, home, "is no copy of it that was brought to its end"),
        (f"{away_url}2", copy, "is a copy of chroma://.*papers. To make"),
    ):
        with pytest.warns(NoCopyWarning, match=f"nothing could stand in for it: .*{why}"):
            stackroom.open(url, copy=folder).close()
    told = run("--library", f"{away_url}2", "--copy", str(copy), "list")
    assert told.exit_code == 0
    assert "Beware: If the engine of" in told.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_library_that_was_pushed_in_part_says_so(
    away_url: str, home: Path, tmp_path: Path, there: Callable[[Path], None]
) -> None:
    there(tmp_path / "pushed")
    with stackroom.open(home) as index, pytest.MonkeyPatch.context() as patched:
        patched.setattr("stackroom.transfer.prove", lambda *_, **__: _stop())
        index.push(away_url)
    with pytest.warns(
        UnfinishedTransferWarning, match="may hold a part .* a push to this that began at 20.* run it again"
    ):
        stackroom.open(away_url).close()
    for words in (("list",), ("--quiet", "list")):
        assert f"Beware: {away_url} may hold a part" in run("--library", away_url, *words).stderr
    status = run("--library", away_url, "status")
    assert "a push to this that began at 20" in status.stdout
    assert status.stderr == ""
    told = json.loads(run("--library", away_url, "--json", "status").stdout)["copied"]
    assert (told["url"], told["taken_at"], told["begun_at"][:2]) == ("", "", "20")
    with stackroom.open(home) as index:
        assert index.push(away_url, since_last=True).proof.whole
    stackroom.open(away_url).close()


def test_a_copy_of_what_was_pushed_in_part_says_so_until_a_whole_one_is_pulled(
    away_url: str, home: Path, tmp_path: Path, there: Callable[[Path], None]
) -> None:
    there(tmp_path / "pushed")
    copy = str(tmp_path / "copy")
    with stackroom.open(home) as index:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("stackroom.transfer.prove", lambda *_, **__: _stop())
            index.push(away_url)
        part = run("--library", copy, "pull", away_url)
        assert part.exit_code == 0
        proven, beware = part.stderr.splitlines()[-2:]
        assert proven.startswith("Proven:")
        assert beware == (
            f"Beware: {away_url} may itself hold a part of what it is to hold: a push to it did not finish (or goes on). "
            f"Run that again, then: stackroom --library {copy} pull '{away_url}'"
        )
        assert run("--library", copy, "--quiet", "pull", away_url).stderr == f"{beware}\n"
        assert json.loads(run("--library", copy, "--json", "pull", away_url).stdout)["origin_unfinished"]
        assert (
            "; of a library whose push had not finished: pull it again once" in run("--library", copy, "status").stdout
        )
        with pytest.MonkeyPatch.context() as gone:
            gone.setattr("stackroom.engines.open_engine", _away)
            told = pytest.warns(EngineAwayWarning, match="of a library whose push had not finished")
            with told, stackroom.open(away_url, copy=copy) as found:
                assert found.fallback.origin_unfinished
        told = pytest.warns(UnfinishedTransferWarning, match="may itself hold a part")
        with told, stackroom.open(tmp_path / "python") as other:
            assert other.pull(away_url).origin_unfinished
        assert index.push(away_url).proof.ok
    whole = run("--library", copy, "pull", away_url)
    assert "Beware" not in whole.stderr
    assert "had not finished" not in run("--library", copy, "status").stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_what_differs_is_named_in_the_terminal(
    away_url: str,
    home: Path,
    tmp_path: Path,
    there: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    there(tmp_path / "pushed")
    assert run("--library", str(home), "push", away_url).exit_code == 0
    with stackroom.open(tmp_path / "pushed") as index:
        with index.backend.view() as view:
            document = view.document("one")
            (chunk, _) = view.chunks(document.key, vectors=True)
        with index.backend.commit() as commit:
            commit.add_chunks(document.key, [replace(chunk.chunk, text="Other words.")])
    with pytest.raises(SystemExit, match="5"):
        main([*(["--json"] if as_json else []), "--library", str(home), "push", away_url])
    told = capsys.readouterr().err
    named = f"The passage {chunk.chunk.chunk_id} of one.txt (document one) differs."
    assert (json.loads(told)["error"]["differences"][0] if as_json else named) == named
    assert named in told


def _away(url: str, mode: str = "a") -> None:
    raise EngineAwayError(f"The server of {url} is not there.")


def _stop() -> None:
    from stackroom.progress import Stopped

    raise Stopped


def test_a_damaged_word_of_what_it_is_a_copy_keeps_nothing_from_opening(copy: Path) -> None:
    with contextlib.closing(apsw.Connection(str(copy / "catalogue.db"))) as connection:
        connection.execute("UPDATE attachments SET data = zeroblob(20)")
    assert run("--library", str(copy), "list").exit_code == 0
    with stackroom.open(copy) as index:
        assert not index.verify().ok


def test_a_damaged_number_of_commits_keeps_no_copy_from_being_opened(copy: Path) -> None:
    with contextlib.closing(apsw.Connection(str(copy / "catalogue.db"))) as catalogue:
        catalogue.execute("UPDATE settings SET value = 'many' WHERE name = 'commits'")
    with stackroom.open(copy, mode="r") as index, pytest.raises(DamagedError):
        index.verify()
    assert stackroom.repair(copy, embedder=WordEmbedder()).damage


def test_of_what_it_is_a_copy_goes_nowhere_else(copy: Path, tmp_path: Path) -> None:
    origin, target = LocalStore(copy, mode="r"), LocalStore(tmp_path / "pushed")
    transfer(origin, target, names=("copy", "pushed"), progress=silent, cancel=CancelToken())
    told = target.stats().copied
    assert (told.url, told.is_proven) == ("", True)
    origin.close()
    target.close()


def test_the_terminal_says_so(away_url: str, copy: Path) -> None:
    library = ("--library", away_url, "--copy", str(copy))
    found = run(*library, "search", "--mode", "text", "lighthouse")
    assert found.exit_code == 0, found.output
    assert "lighthouse of Pharos" in found.stdout
    assert f"Answered from the copy {copy} of 20" in found.stderr
    # Like all options of the library, it may stand behind the verb.
    assert run("search", "--mode=text", "lighthouse", f"--copy={copy}", "-l", away_url).exit_code == 0
    status = run(*library, "status")
    assert f"the engine; this is the copy {copy} of 20" in status.stdout
    told = json.loads(run(*library, "--json", "status").stdout)
    assert told["library"] == away_url
    assert told["fallback"]["folder"] == str(copy)
    assert "Answered from the copy" in run(*library, "--quiet", "list").stderr
    here = ("--library", str(copy), "--json")
    assert "fallback" not in json.loads(run(*here, "search", "--mode", "text", "lighthouse").stdout)
    assert json.loads(run(*here, "status").stdout)["fallback"] is None


@pytest.mark.parametrize(
    "words",
    [
        ("search", "--mode", "text", "lighthouse"),
        ("ask", "lighthouse"),
        ("list",),
        ("show", "one.txt"),
        ("set",),
        ("verify",),
        ("measure",),
        ("export", "FOLDER"),
        ("backup", "FOLDER"),
        ("status",),
    ],
)
def test_every_command_that_reads_says_so_in_json(
    away_url: str, copy: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    words = tuple(str(tmp_path / "made") if word == "FOLDER" else word for word in words)
    done = run("--library", away_url, "--copy", str(copy), "--json", *words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["fallback"]["url"] == away_url
    assert done.stderr == ""


def test_what_is_said_of_a_backup_needs_no_copy(away_url: str, copy: Path, tmp_path: Path) -> None:
    done = run("--library", away_url, "--copy", str(copy), "backup", str(tmp_path / "made"))
    assert f"stackroom --library {tmp_path / 'made'} status" in done.stderr


def test_a_backup_of_a_copy_says_what_was_copied_and_how_to_bring_it_back(
    away_url: str, copy: Path, tmp_path: Path
) -> None:
    made = str(tmp_path / "made")
    done = run("--library", away_url, "--copy", str(copy), "backup", made)
    assert f"The copy {copy} of {away_url}, whose engine was away, is copied to {made}: 1 document" in done.stderr
    assert (
        f"Should {copy} be lost, move away what is left of it, then: stackroom --library {made} backup {copy}\n"
        in done.stderr
    )
    assert f"To bring the library back where its engine lost it: stackroom --library {made} push '{away_url}'\n" in (
        done.stderr
    )
    assert "None" not in done.stderr


def test_the_terminal_writes_nothing(away_url: str, copy: Path) -> None:
    library = ("--library", away_url, "--copy", str(copy))
    for words in (("remove", "one.txt"), ("active", "none"), ("add", __file__)):
        refused = run(*library, *words)
        assert isinstance(refused.exception, UnavailableError)
        assert "is for reading" in refused.exception.message


def test_a_conversation_goes_on_and_is_not_kept(away_url: str, copy: Path) -> None:
    said = CliRunner().invoke(cli, ["--library", away_url, "--copy", str(copy), "chat"], input="lighthouse\nburned\n")
    assert said.exit_code == 0, said.output
    assert "Nothing of this conversation is kept" in said.stderr
    assert said.stdout.count("lighthouse of Pharos") >= 1
    assert "for reading: nothing" not in said.stderr
    store = LocalStore(copy, mode="r")
    assert conversations(store) == []
    store.close()


async def test_agents_are_told(away_url: str, copy: Path) -> None:
    mcp = pytest.importorskip("mcp")
    from stackroom.mcp.serving import made

    with opened(away_url, copy) as index:
        async with mcp.Client(made(index, writes=True)) as client:
            found = (await client.call_tool("search", {"query": "lighthouse"})).structured_content
            reading = {
                "search": {"query": "lighthouse"},
                "read": {"chunk_id": found["hits"][0]["chunk_id"]},
                "list_documents": {},
                "list_sets": {},
            }
            for tool, given in reading.items():
                told = (await client.call_tool(tool, given)).structured_content
                assert told["fallback"]["folder"] == str(copy)
            refused = await client.call_tool("remove", {"documents": ["one.txt"]})
            assert refused.is_error
            assert "is for reading: nothing was written" in refused.content[0].text
