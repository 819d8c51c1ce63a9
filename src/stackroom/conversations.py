"""Conversations as a library keeps them: questions, answers, and which passages were shown, by their ids and places.

Each is an attachment of the library, so that verification, repair, backup and purge treat it as all else. The text of passages is not kept; but an
answer may repeat it. So a purge deletes every conversation that was shown a passage which is gone.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from stackroom.backend import Backend
from stackroom.errors import DamagedError, NotFoundError

PREFIX = "conversation/"


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what came of it; `outcome` as in `chat.Answer`. `asked_at` is ISO 8601 in UTC.

    `passages` are those that were shown, number 1 first: `chunk_id`, `title`, `path` and `page` (or None).
    """

    question: str
    answer: str
    outcome: str
    model: str | None
    asked_at: str
    passages: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """`title` is its first question."""

    id: str
    title: str
    turns: tuple[Turn, ...]


def conversations(backend: Backend) -> list[Conversation]:
    """All of them, the one that was begun last first. Raises DamagedError."""
    with backend.view() as view:
        found = [_loaded(name, data) for name, data in view.attachments(PREFIX)]
    return sorted(found, key=lambda one: one.turns[0].asked_at, reverse=True)


def conversation(backend: Backend, conversation_id: str) -> Conversation:
    """Raises NotFoundError, DamagedError."""
    with backend.view() as view:
        data = view.attachment(PREFIX + conversation_id)
    if data is None:
        raise _unknown(conversation_id)
    return _loaded(PREFIX + conversation_id, data)


def new_id() -> str:
    return str(uuid.uuid4())


def add_turn(backend: Backend, conversation_id: str | None, turn: Turn, *, create: bool = False) -> str:
    """Put it at the end of this conversation, or of a new one (None); returns the conversation's id. With `create` an id may be a new one.

    It takes one commit, and waits for no ingest. Raises NotFoundError, ReadOnlyError, BusyError, StorageError.
    """
    with backend.commit() as commit:
        turns: list[Turn] = []
        if conversation_id is not None:
            try:
                turns += conversation(backend, conversation_id).turns
            except NotFoundError:
                if not create:
                    raise
        known = conversation_id or new_id()
        told = {"version": 1, "turns": [asdict(one) for one in (*turns, turn)]}
        # Escapes hold whatever a question may be made of.
        commit.attach(PREFIX + known, json.dumps(told, separators=(",", ":")).encode())
    return known


def delete(backend: Backend, conversation_ids: Sequence[str]) -> None:
    """Raises NotFoundError where there is none of that id; then nothing is deleted."""
    with backend.commit() as commit:
        for conversation_id in dict.fromkeys(conversation_ids):
            if not commit.detach(PREFIX + conversation_id):
                raise _unknown(conversation_id)


def delete_of_removed(backend: Backend) -> int:
    """Delete those that were shown a passage which is not there any more; returns how many."""
    with backend.view() as view:
        gone = []
        for name, data in view.attachments(PREFIX):
            shown = [passage["chunk_id"] for turn in _loaded(name, data).turns for passage in turn.passages]
            if None in view.chunk_keys(shown):
                gone.append(name)
    if gone:
        with backend.commit() as commit:
            for name in gone:
                commit.detach(name)
    return len(gone)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _loaded(name: str, data: bytes) -> Conversation:
    conversation_id = name.removeprefix(PREFIX)
    try:
        turns = tuple(_turn(told) for told in json.loads(data)["turns"])
        return Conversation(conversation_id, turns[0].question, turns)
    except (ValueError, TypeError, LookupError, RecursionError):
        raise DamagedError(
            f"The conversation {conversation_id!r} can't be read: it is not as it was kept.",
            hint=f"Delete it: stackroom chat --delete {conversation_id}",
            actual=conversation_id,
        ) from None


_TEXTS = ("question", "answer", "outcome", "asked_at")
_SHOWN = ("chunk_id", "title", "path")


def _turn(told: dict[str, Any]) -> Turn:
    """Raises TypeError, LookupError where it is none."""
    _check(told["passages"], list)
    passages = tuple(
        {**{name: _check(one[name], str) for name in _SHOWN}, "page": _check(one["page"], int | None)}
        for one in told["passages"]
    )
    texts = {name: _check(told[name], str) for name in _TEXTS}
    return Turn(**texts, model=_check(told["model"], str | None), passages=passages)


def _check(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value


def _unknown(conversation_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no conversation {conversation_id!r}.",
        hint="See what there is: stackroom chat --list",
        actual=conversation_id,
    )
