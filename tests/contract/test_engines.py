"""An engine as a user meets it: by its URL, in the terminal, and when its server dies."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import stackroom
from engine_servers import Server, answering, server_of
from stackroom.cli.main import cli
from stackroom.engines import ENGINES, open_engine
from stackroom.errors import (
    BusyError,
    EngineAwayError,
    EngineAwayWarning,
    NotALibraryError,
    NotFoundError,
    ReadOnlyError,
    UnavailableError,
    UsageError,
)
from stackroom.types import Chunk, Document
from support import WordEmbedder, unit_rows

pytestmark = pytest.mark.engines

NAMES = {"chroma": "Chroma", "milvus": "Milvus", "postgresql": "PostgreSQL", "qdrant": "Qdrant"}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(engine: str) -> str:
    base = os.environ[f"STACKROOM_TEST_{engine.upper()}"]
    return f"{base}{'&' if '?' in base else '?'}library={uuid.uuid4().hex}"


@pytest.fixture
def server(engine: str) -> Iterator[Server]:
    with server_of(engine) as started:
        yield started


DOCUMENTS = [
    Document(
        "one", "one.txt", metadata={"year": 1999}, chunks=[Chunk("The lighthouse of Pharos."), Chunk("It burned.")]
    ),
    Document("two", "two.txt", metadata={"year": 2010}, chunks=[Chunk("Rotate the logs every week.")]),
]


def hits(index: stackroom.Index, *arguments: object, **options: object) -> list[tuple]:
    return [
        (hit.text, pytest.approx(hit.score, abs=1e-6), hit.document.path) for hit in index.search(*arguments, **options)
    ]


def test_an_index_on_it_is_like_any_other(engine: str, url: str, tmp_path: Path) -> None:
    with (
        stackroom.open(url, embedder=WordEmbedder()) as index,
        stackroom.open(tmp_path / "local", embedder=WordEmbedder()) as local,
    ):
        for one in (index, local):
            assert one.add_documents(DOCUMENTS).added == 2
        for options in (
            {}, {"mode": "vector"}, {"mode": "text"}, {"where": "year > 2000"}, {"sources": ["one*"]}, {"exact": True},
            {"per_document": 1}, {"active": True},
        ):  # fmt: skip
            assert hits(index, "lighthouse logs", **options) == hits(local, "lighthouse logs", **options)
        assert index.set_active(["one.txt"], False) == 1
        assert [hit.document.id for hit in index.search("lighthouse", active=True)] == ["two"]
        assert [passage.text for passage in index.get("one.txt")] == ["The lighthouse of Pharos.", "It burned."]
        assert index.path is None
        assert index.stats().engine.startswith(f"{NAMES[engine]} ")
        index.remove(["two.txt"])
        assert index.stats().chunks == 2
        with pytest.raises(UsageError, match="compact"):
            index.compact()
        # Not by the extra that the model would need, nor by what to do on another engine.
        for change in ({"embedder": "fastembed:nothing"}, {"back": True}):
            with pytest.raises(UsageError, match="reembed"):
                index.rebuild(**change)
    with stackroom.open(url, mode="r", embedder=WordEmbedder()) as index:
        assert len(index.sources()) == 1
        with pytest.raises(ReadOnlyError):
            index.remove(["one.txt"])


def test_files_are_added_and_updated(url: str, folder: Path) -> None:
    (folder / "a.txt").write_text("Pharos had a lighthouse.")
    (folder / "b.txt").write_text("Logs are rotated.")
    with stackroom.open(url, embedder=WordEmbedder()) as index:
        assert index.add(folder).added == 2
        assert index.add(folder).unchanged == 2
        (folder / "a.txt").write_text("Pharos had a tower.")
        (folder / "b.txt").unlink()
        report = index.add(folder, prune=True, confirm=lambda gone, total: True)
        assert (report.updated, report.removed) == (1, 1)
        assert [hit.text for hit in index.search("tower")] == ["Pharos had a tower."]


def test_the_terminal_takes_its_url(engine: str, url: str, tmp_path: Path) -> None:
    with stackroom.open(tmp_path / "local") as index:
        rows = unit_rows(3)
        chunks = [Chunk(f"passage {i} of the lighthouse", embedding=row) for i, row in enumerate(rows)]
        index.add_documents([Document("d", "d.txt", chunks=chunks)])
    run = CliRunner().invoke
    local = ["--library", str(tmp_path / "local")]
    sent = run(cli, [*local, "push", url])
    assert sent.exit_code == 0, sent.output
    assert "1 document sent with 3 passages" in sent.stderr
    assert "Proven: 3 passages and 3 vectors are the same" in sent.stderr
    assert json.loads(run(cli, [*local, "--json", "push", url, "--since-last"]).stdout)["unchanged"] == 1
    found = run(cli, ["--library", url, "--json", "search", "--mode", "text", "lighthouse"])
    assert [hit["text"] for hit in json.loads(found.stdout)["hits"]] == [chunk.text for chunk in chunks]
    status = run(cli, ["--library", url, "status"])
    assert status.exit_code == 0, status.output
    assert NAMES[engine] in status.stdout
    assert "d.txt" in run(cli, ["--library", url, "list"]).stdout
    told = run(cli, ["--library", url, "active", "none"])
    assert "0 of 1 sources are active" in told.stderr
    for words in (["active", "none"], ["compact"]):
        nowhere = run(cli, ["--library", f"{url}2", *words])
        assert isinstance(nowhere.exception, NotFoundError)
    refused = run(cli, ["--library", str(tmp_path / "nothing"), "pull", f"{url}2"])
    assert isinstance(refused.exception, NotFoundError)
    assert not (tmp_path / "nothing").exists()
    refused = run(cli, ["--library", url, "verify"])
    assert isinstance(refused.exception, UsageError)
    back = run(cli, ["--library", str(tmp_path / "back"), "pull", url])
    assert back.exit_code == 0, back.output
    with stackroom.open(tmp_path / "back") as index:
        assert index.vectors([hit.chunk_id for hit in index.search(rows[1], k=1)]).tobytes() == rows[1].tobytes()
        assert index.verify().ok


SPEAKERS = {"chroma": "milvus", "milvus": "chroma", "qdrant": "milvus"}


@pytest.mark.parametrize("tls", ["", "&tls=true"])
@pytest.mark.parametrize("engine", SPEAKERS)
def test_another_server_at_its_port_is_not_taken_for_one_that_is_away(engine: str, tls: str, tmp_path: Path) -> None:
    """So that a copy does not answer for a mistyped port."""
    port = os.environ[f"STACKROOM_TEST_{SPEAKERS[engine].upper()}"].rpartition(":")[2].partition("/")[0]
    url = f"{engine}://127.0.0.1:{port}?library=a{tls}"
    with pytest.raises(UnavailableError, match=f"does not answer as {NAMES[engine]} does") as caught:
        stackroom.open(url, copy=tmp_path)
    assert not isinstance(caught.value, EngineAwayError)
    assert url in caught.value.message
    assert "Correct the URL" in caught.value.hint


STRANGE = [(404, "no such page"), *((200, said) for said in ("", "null", "[]", "{}", "<html>", '{"result": null}'))]


@pytest.mark.parametrize(("code", "said"), STRANGE)
@pytest.mark.parametrize("engine", ["chroma", "qdrant"])
def test_any_server_of_http_is_none_of_these(engine: str, code: int, said: str, tmp_path: Path) -> None:
    with (
        answering(code, said) as port,
        pytest.raises(UnavailableError, match=f"does not answer as {NAMES[engine]} does") as caught,
    ):
        stackroom.open(f"{engine}://127.0.0.1:{port}", copy=tmp_path)
    assert not isinstance(caught.value, EngineAwayError)


def test_modes_say_what_is_there(url: str) -> None:
    with pytest.raises(NotFoundError, match="push"):
        stackroom.open(url, mode="r")
    stackroom.open(url, mode="x").close()
    with pytest.raises(NotALibraryError):
        stackroom.open(url, mode="x")
    for name in ("", "a b", 'x"; DROP SCHEMA public', "x" * 41):
        with pytest.raises(UsageError):
            stackroom.open(url.partition("library=")[0] + f"library={name}")


def test_libraries_are_apart(url: str) -> None:
    with stackroom.open(url, embedder=WordEmbedder()) as one, stackroom.open(f"{url}2", embedder=WordEmbedder()) as two:
        one.add_documents(DOCUMENTS)
        assert two.search("lighthouse") == []


def test_one_writes_at_a_time(url: str) -> None:
    one, two = open_engine(url), open_engine(url)
    with one.commit(), pytest.raises(BusyError, match="is writing"), two.commit(wait=0.1):
        pass
    with one.lease("add"), pytest.raises(BusyError, match="stackroom add"), two.lease("add"):
        pass
    one.close()
    two.close()


def test_a_server_killed_in_the_middle_of_a_push_loses_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stackroom.transfer import sending

    monkeypatch.setattr(sending, "_CHUNKS", 20)
    rows = unit_rows(400)
    with stackroom.open(tmp_path / "local") as index:
        index.add_documents(
            Document(f"d{n}", f"s{n}", chunks=[Chunk(f"p{n} {i}", embedding=rows[n * 4 + i]) for i in range(4)])
            for n in range(100)
        )

        # Killed, and not started again: a clear error, once waiting was in vain.
        def kill(event) -> None:
            if event.stage == "send" and event.done >= 100 and server.lives:
                server.kill()

        with monkeypatch.context() as patched:
            patched.setattr("stackroom.transfer._DELAYS", (0.05, 0.05))
            with pytest.raises(EngineAwayError, match="is not there"):
                index.push(server.url, progress=kill)
        server.start()
        with contextlib.closing(open_engine(server.url)) as store, store.view() as view:
            arrived = len(view.live_keys())
            assert arrived >= 100
            assert arrived % 20 == 0

        # Killed and started again while the push waits: it goes on by itself.
        killed = threading.Event()

        def kill_again(event) -> None:
            if event.stage == "send" and event.done >= 200 and not killed.is_set():
                server.kill()
                killed.set()
                threading.Timer(0.3, server.start).start()

        report = index.push(server.url, progress=kill_again)
        assert killed.is_set()
        assert report.repeated >= 1
        assert report.proof.ok
        assert report.added == 100 - arrived // 4
        assert report.proof.vectors == 400


def test_a_server_killed_in_the_middle_of_the_proof_is_waited_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was an error at once, and the server was back a second later."""
    monkeypatch.setattr("stackroom.transfer.proof._BATCH", 20)
    with stackroom.open(tmp_path / "local") as index:
        chunks = [Chunk(f"p {n}", embedding=row) for n, row in enumerate(unit_rows(100))]
        index.add_documents([Document("d", chunks=chunks)])
        index.push(server.url)
        killed = threading.Event()

        def kill(event) -> None:
            if event.stage == "verify" and not killed.is_set():
                server.kill()
                killed.set()
                threading.Timer(0.3, server.start).start()

        report = index.push(server.url, progress=kill)
        assert killed.is_set()
        assert report.repeated >= 1
        assert (report.proof.ok, report.proof.vectors) == (True, 100)


def test_a_server_killed_while_it_is_searched_is_said(server: Server) -> None:
    with stackroom.open(server.url) as index:
        index.add_documents([Document("d", chunks=[Chunk("words", embedding=np.ones(4, dtype=np.float32))])])
        query = np.ones(4, dtype=np.float32)
        assert len(index.search(query)) == 1
        server.kill()
        with pytest.raises(EngineAwayError, match="is not there"):
            index.search(query)
        server.start()
        assert len(index.search(query)) == 1


def test_a_copy_answers_while_the_server_is_away(server: Server, tmp_path: Path) -> None:
    query = np.ones(4, dtype=np.float32)
    with stackroom.open(server.url) as index:
        index.add_documents([Document("d", chunks=[Chunk("words", embedding=query)])])
        with stackroom.open(tmp_path / "copy") as copy:
            assert copy.pull(server.url).proof.ok
        with index.backend.view() as view:
            version = view.version
        server.kill()
        # What was opened on the engine stays there, and says that it is away.
        with pytest.raises(EngineAwayError, match="is not there"):
            index.search(query)
        with pytest.warns(EngineAwayWarning, match=r"is not there: .* Answered from the copy"):
            fallback = stackroom.open(server.url, copy=tmp_path / "copy")
        with fallback:
            assert [hit.text for hit in fallback.search(query)] == ["words"]
            assert fallback.fallback.version == version
            assert fallback.stats().fallback == fallback.fallback
            with pytest.raises(UnavailableError, match="is for reading"):
                fallback.set_active(None, False)
            server.start()
            # And what answers from the copy goes on so.
            assert [hit.text for hit in fallback.search(query)] == ["words"]
            with pytest.raises(UnavailableError, match="is for reading"):
                fallback.set_active(None, False)
    with stackroom.open(server.url, copy=tmp_path / "copy") as index:
        assert index.fallback is None
        assert index.set_active(None, False) == 1


def test_a_server_killed_in_the_middle_of_searches_gives_answers_or_an_error(server: Server) -> None:
    rows = unit_rows(200)
    with stackroom.open(server.url) as index:
        index.add_documents([Document("d", chunks=[Chunk(f"word {n}", embedding=row) for n, row in enumerate(rows)])])
        answered = threading.Event()
        outcomes: list[object] = []

        def search() -> None:
            while True:
                try:
                    outcomes.append([hit.text for hit in index.search(rows[7], k=3, mode="vector")])
                except Exception as error:
                    outcomes.append(error)
                    return
                finally:
                    answered.set()

        searching = [threading.Thread(target=search) for _ in range(2)]
        for thread in searching:
            thread.start()
        assert answered.wait(30)
        server.kill()
        for thread in searching:
            thread.join()
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert len(errors) == 2
        assert all(isinstance(error, EngineAwayError) for error in errors), errors
        answers = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        assert answers
        assert all(answer == answers[0] and len(answer) == 3 for answer in answers)
