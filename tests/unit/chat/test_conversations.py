"""Conversations are kept, found again, and gone when they are deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import stackroom
from chat_support import chat_server, library
from stackroom import Index, conversations
from stackroom.chat import Answer, Done, Question, answer, history, keep, resolve
from stackroom.errors import DamagedError, NotFoundError, ReadOnlyError

ASKED = "Who built the Lighthouse of Pharos?"
SAID = "Zanzibar said Sostratus did [1]."


def answered(index: Index, question: str | Question = ASKED) -> Answer:
    with chat_server([SAID]) as server:
        *_, done = answer(index, question, model=resolve(server.name))
    assert isinstance(done, Done)
    return done.answer


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_conversation_is_kept_in_the_library(tmp_path: Path) -> None:
    with library(tmp_path / "library") as index:
        first = keep(index, answered(index))
        assert keep(index, answered(index, "Which tower of Pharos was it?\ud800"), first) == first
        other = keep(index, answered(index))
        assert index.verify().ok
    with stackroom.open(tmp_path / "library", mode="r") as index:
        assert {one.id for one in conversations.conversations(index.backend)} == {first, other}
        found = conversations.conversation(index.backend, first)
        assert [turn.question for turn in found.turns] == [ASKED, "Which tower of Pharos was it?\ud800"]
        assert found.turns[0].passages[0] == {
            "chunk_id": "lighthouse.txt#1",
            "title": "lighthouse.txt",
            "path": "lighthouse.txt",
            "page": 1,
        }
        assert [message.role for message in history(found)] == ["user", "assistant"] * 2


def test_keeping_waits_for_no_ingest_and_refuses_where_nothing_may_be_written(tmp_path: Path) -> None:
    with library(tmp_path / "library") as index:
        said = answered(index)
        with index.backend.lease("add"), stackroom.open(tmp_path / "library") as other:
            keep(other, said)
        with stackroom.open(tmp_path / "library", mode="r") as reading, pytest.raises(ReadOnlyError):
            keep(reading, said)


def test_a_deleted_conversation_is_gone_and_after_a_purge_from_every_file(tmp_path: Path) -> None:
    with library(tmp_path / "library") as index:
        kept = keep(index, answered(index))
        conversations.delete(index.backend, [kept])
        assert conversations.conversations(index.backend) == []
        for call in (
            lambda: conversations.conversation(index.backend, kept),
            lambda: keep(index, answered(index), kept),
        ):
            with pytest.raises(NotFoundError):
                call()
        with pytest.raises(NotFoundError):
            conversations.delete(index.backend, [kept])
        index.compact(purge=True)
    assert b"Zanzibar" not in everything(tmp_path / "library")


def test_a_purge_deletes_what_was_shown_the_purged_and_nothing_else(tmp_path: Path) -> None:
    with library(tmp_path / "library") as index:
        about_pharos = keep(index, answered(index, Question(ASKED, sources=["lighthouse.txt"])))
        about_bread = keep(index, answered(index, Question("How does sourdough bread rise?", sources=["bread.txt"])))
        index.remove(["lighthouse.txt"])
        assert len(conversations.conversations(index.backend)) == 2
        index.compact(purge=True)
        assert [one.id for one in conversations.conversations(index.backend)] == [about_bread]
        assert about_pharos != about_bread


def test_a_conversation_survives_a_backup_and_a_repair(tmp_path: Path) -> None:
    with library(tmp_path / "library") as index:
        kept = keep(index, answered(index))
        index.backup(tmp_path / "copy")
    with stackroom.open(tmp_path / "copy") as copy:
        assert conversations.conversation(copy.backend, kept).turns[0].answer == SAID
    stackroom.repair(tmp_path / "copy")
    with stackroom.open(tmp_path / "copy") as copy:
        assert conversations.conversation(copy.backend, kept).turns[0].answer == SAID


SHOWN = {"chunk_id": "bread.txt#1", "title": "bread.txt", "path": "bread.txt", "page": None}
TURN = {"question": ASKED, "answer": SAID, "outcome": "answered", "model": None, "asked_at": "2026-11-27T08:00:00+00:00", "passages": [SHOWN]}  # fmt: skip


def written(index: Index, told: Any) -> str:
    with index.backend.commit() as commit:
        commit.attach("conversation/harmed", told if isinstance(told, bytes) else json.dumps(told).encode())
    return "harmed"


def turns(**changed: Any) -> dict[str, Any]:
    return {"version": 1, "turns": [{**TURN, **changed}]}


def lacking(name: str) -> dict[str, Any]:
    return {"version": 1, "turns": [{key: value for key, value in TURN.items() if key != name}]}


HARMED: list[Any] = [
    b"\xff\x00 no text",
    b"[" * 100_000,
    {},
    [],
    None,
    {"turns": {}},
    {"turns": []},
    {"turns": ["hello"]},
    *(lacking(name) for name in TURN),
    turns(question=7),
    turns(model=["small"]),
    turns(asked_at=None),
    turns(passages={"1": SHOWN}),
    turns(passages=["bread.txt#1"]),
    turns(passages=[{**SHOWN, "chunk_id": 4}]),
    turns(passages=[{**SHOWN, "page": "four"}]),
    turns(passages=[{"chunk_id": "bread.txt#1"}]),
]


def test_a_conversation_that_is_no_conversation_is_damage_and_can_be_deleted(tmp_path: Path) -> None:
    with library(tmp_path / "library") as index:
        said = answered(index)
        for told in HARMED:
            harmed = written(index, told)
            for call in (
                lambda: conversations.conversation(index.backend, "harmed"),
                lambda: conversations.conversations(index.backend),
                lambda: keep(index, said, "harmed"),
                lambda: index.compact(purge=True),
            ):
                with pytest.raises(DamagedError, match="harmed") as caught:
                    call()
                assert caught.value.hint == "Delete it: stackroom chat --delete harmed", told
            conversations.delete(index.backend, [harmed])
            assert conversations.conversations(index.backend) == []


def test_a_conversation_of_a_newer_version_may_say_more(tmp_path: Path) -> None:
    with library(tmp_path / "library") as index:
        harmed = written(index, turns(mood="calm", passages=[{**SHOWN, "score": 0.5}]))
        (turn,) = conversations.conversation(index.backend, harmed).turns
        assert (turn.question, turn.passages) == (ASKED, (SHOWN,))
