"""Questions over HTTP: events as they come, what is wrong said at once, and a reader who leaves ends the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_support import BREAK, STALL, ChatServer, chat_server
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
    filled.post("/api/sets", {"name": "pets", "sources": ["cats.txt"]})
    kept = ask(filled, "planet", set="pets")
    assert {passage["document"]["title"] for passage in kept[0][1]["passages"]} == {"cats.txt"}
    told = ask(filled, "planet", set="nobody")
    assert told[-1][1]["error"]["type"] == "NotFoundError"
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


def kept(asker: Asker) -> list[Any]:
    found: list[Any] = asker.get("/api/conversations")["conversations"]
    return found


def test_a_conversation_is_kept_in_the_library_where_that_is_asked_for(filled: Asker) -> None:
    with chat_server(["A cat [1]."], ["What does a cat hunt?"], ["Mice [1]."]) as server:
        ask(filled, "Which animal purrs?", model=server.name)
        assert kept(filled) == []
        server.script.insert(0, ["A cat [1]."])
        told = ask(filled, "Which animal purrs?", model=server.name, keep=True)
        known = told[0][1]["conversation"]
        assert told[-1][1]["not_kept"] is None
        ask(filled, "And what does it hunt?", model=server.name, keep=True, conversation=known)
        assert "A cat" in server.told(-2), "the conversation is the history"
    (one,) = kept(filled)
    assert (one["id"], one["title"], one["turns"]) == (known, "Which animal purrs?", 2)
    shown = filled.get(f"/api/conversations/{known}")
    assert [turn["question"] for turn in shown["turns"]] == ["Which animal purrs?", "And what does it hunt?"]
    assert shown["turns"][0]["citations"] == [{"number": 1, "start": 6, "end": 9, "exists": True}]
    assert "purrs" in shown["turns"][0]["passages"][0]["text"]
    assert filled.post("/api/conversations/delete", {"conversations": [known, known]}) == {"deleted": 1}
    assert kept(filled) == []
    filled.get(f"/api/conversations/{known}", 404)
    filled.post("/api/conversations/delete", {"conversations": [known]}, 404)
    for wrong in ("", "../x", "a" * 65, "\n"):
        filled.post("/api/ask", {"question": "a", "conversation": wrong}, 400)


def test_what_an_answer_cites_may_be_edited_or_removed_since(filled: Asker, folder: Path) -> None:
    edited = folder / "whales.txt"
    edited.write_text("A whale is a large animal that sings under the ice.")
    filled.added(folder)
    with chat_server(['A whale, which "sings under the ice" [1].']) as server:
        told = ask(filled, "Which animal sings under the ice?", model=server.name, keep=True)
    known = told[0][1]["conversation"]
    (turn,) = filled.get(f"/api/conversations/{known}")["turns"]
    assert turn["passages"][0]["text"] == edited.read_text()
    assert turn["quotes"][0]["found"] is True
    edited.write_text("A whale is an animal of which nothing is said any more.")
    filled.added(folder)
    (turn,) = filled.get(f"/api/conversations/{known}")["turns"]
    first = turn["passages"][0]
    assert (first["text"], first["path"], turn["quotes"]) == (None, str(edited), [])
    assert "nothing is said any more" in filled.page("/read", source=first["source_id"])
    assert "search again" in filled.page("/read", 404, chunk=first["chunk_id"])
    filled.post("/api/remove", {"sources": [first["source_id"]]})
    (turn,) = filled.get(f"/api/conversations/{known}")["turns"]
    assert (turn["passages"][0]["text"], turn["passages"][0]["source_id"]) == (None, None)


async def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came(filled: Asker) -> None:
    with chat_server(["It purrs ", STALL]) as server:
        given = given_body({"question": "Which animal purrs?", "model": server.name, "keep": True}, asking.BODY)
        events: Any = asking.begun(filled.workspace, given)
        await anext(events)
        await anext(events)
        await events.aclose()
        assert await asyncio.to_thread(server.left.wait, 30)
    (one,) = kept(filled)
    (turn,) = filled.get(f"/api/conversations/{one['id']}")["turns"]
    assert (turn["answer"], turn["outcome"]) == ("It purrs ", "stopped")


def test_a_server_that_breaks_off_is_told_after_what_it_said(filled: Asker) -> None:
    with chat_server(["It purrs ", BREAK]) as server:
        told = ask(filled, "Which animal purrs?", model=server.name, keep=True)
    assert [name for name, _ in told] == ["passages", "text", "error"]
    assert "broke off" in told[-1][1]["error"]["message"]
    assert kept(filled)[0]["turns"] == 1
