"""Questions over HTTP: events as they come, what is wrong said at once, and a reader who leaves ends the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from chat_support import STALL, ChatServer, chat_server
from stackroom import chat
from stackroom.web.api import asking
from stackroom.web.endpoint import given_body
from web_support import OWN, Asker


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST", chat.NAMED):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(["It ", 'is "purrs and hunts mice"', " [1] and [9]."]) as made:
        yield made


def ask(asker: Asker, question: str, **more: Any) -> list[tuple[str, Any]]:
    answer = asker.client.post("/api/ask", json={"question": question, **more}, headers=OWN)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for part in answer.text.strip().split("\n\n"):
        name, data = part.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_an_answer_comes_in_pieces_and_is_checked(filled: Asker, server: ChatServer) -> None:
    told = ask(filled, "Which animal purrs and hunts mice?", model=server.name)
    assert [name for name, _ in told] == ["passages", "text", "text", "text", "citations", "done"]
    passages = told[0][1]
    assert passages["passages"][0]["document"]["title"] == "cats.txt"
    assert (passages["model"], passages["sent_to"]) == (server.name, None)
    checked = told[-2][1]
    assert [(one["number"], one["exists"]) for one in checked["citations"]] == [(1, True), (9, False)]
    assert checked["quotes"][0]["found"] is True
    assert told[-1][1]["outcome"] == "answered"
    assert "A cat is a small animal" in server.told()


def test_without_a_model_the_passages_are_the_answer(filled: Asker) -> None:
    told = ask(filled, "Which animal purrs?")
    assert [name for name, _ in told] == ["passages", "done"]
    assert told[-1][1]["outcome"] == "quoted"


def test_a_conversation_and_a_scope_go_along(filled: Asker, server: ChatServer) -> None:
    filled.post("/api/active", {"sources": ["cats.txt"], "active": False})
    history = [{"role": "user", "text": "What is Mars?"}, {"role": "assistant", "text": "A planet [1]."}]
    told = ask(filled, "And what colour is it?", model=server.name, history=history, active=True)
    assert "What is Mars?" in server.told(0)
    assert all(passage["document"]["title"] != "cats.txt" for passage in told[0][1]["passages"])
    only = ask(filled, "planet", sources=["Logs"])
    assert {passage["document"]["title"] for passage in only[0][1]["passages"]} <= {"Logs"}


def test_what_is_wrong_is_said_at_once_or_as_an_event(filled: Asker) -> None:
    for body in (
        {},
        {"question": " "},
        {"question": "a", "model": "nobody"},
        {"question": "a", "history": [{"role": "x"}]},
    ):
        assert filled.post("/api/ask", body, 400)["error"]["message"]
    with chat_server((500, "broken")) as broken:
        told = ask(filled, "Which animal purrs?", model=broken.name)
    assert told[-1][0] == "error"
    assert told[-1][1]["error"]["type"] == "UnavailableError"


async def test_a_reader_who_leaves_ends_the_answer(filled: Asker) -> None:
    with chat_server(["It ", STALL]) as server:
        given = given_body({"question": "Which animal purrs?", "model": server.name}, asking.BODY)
        events: Any = asking.begun(filled.workspace, given)
        assert (await anext(events)).startswith("event: passages")
        assert (await anext(events)).startswith("event: text")
        pulled = asyncio.ensure_future(events.__anext__())
        done, _ = await asyncio.wait([pulled], timeout=0.1)
        assert not done
        pulled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulled
        assert await asyncio.to_thread(server.left.wait, 30), "the server was told"


def test_models_that_there_are(filled: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "found", lambda: [chat.FoundModel("ollama:small", "Ollama")])
    listed = [{"name": "ollama:small", "program": "Ollama"}]
    assert filled.get("/api/models") == {"models": listed, "named": None, "sent_to": None}
    monkeypatch.setenv(chat.NAMED, "openai:large@https://models.example/v1")
    told = filled.get("/api/models")
    assert told["named"] == "openai:large@https://models.example/v1"
    assert "models.example" in told["sent_to"]
