"""Conversations that the library keeps: which there are, what was said, and away with them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stackroom import chat, conversations
from stackroom.forms import plain
from stackroom.web.endpoint import Endpoint, Given, flag, or_null, record, several, text, whole
from stackroom.web.workspace import Workspace

if TYPE_CHECKING:
    from stackroom.backend import View
    from stackroom.conversations import Turn


def listed(workspace: Workspace, given: Given) -> object:
    del given
    found = conversations.conversations(workspace.library.index().backend)
    return plain(
        {
            "conversations": [
                {"id": one.id, "title": one.title, "turns": len(one.turns), "begun_at": one.turns[0].asked_at}
                for one in found
            ]
        }
    )


def shown(workspace: Workspace, given: Given) -> object:
    backend = workspace.library.index().backend
    found = conversations.conversation(backend, given["conversation_id"])
    sources = {source.path: source.id for source in workspace.sources()}
    with backend.view() as view:
        turns = [_turn(view, turn, sources) for turn in found.turns]
    return plain({"id": found.id, "title": found.title, "turns": turns})


def _turn(view: View, turn: Turn, sources: dict[str, str]) -> dict[str, Any]:
    """A turn as it was said, with what it cites as it is now."""
    keys = view.chunk_keys([one["chunk_id"] for one in turn.passages])
    known = [key for key in keys if key is not None]
    found = view.passages(known) if known else []
    texts = {passage.chunk_id: passage.text for passage in found}
    facts = {passage.chunk_id: dict(passage.metadata) for passage in found}
    passages = [
        {
            "number": number,
            **{name: one[name] for name in ("chunk_id", "title", "path", "page")},
            "text": texts.get(one["chunk_id"]),
            "metadata": facts.get(one["chunk_id"], {}),
            "source_id": sources.get(one["path"]),
        }
        for number, one in enumerate(turn.passages, start=1)
    ]
    quotes: list[dict[str, Any]] = []
    if len(texts) == len({one["chunk_id"] for one in turn.passages}):
        # With one of them gone nobody can say any more what stood in it.
        quotes = [asdict(one) for one in chat.quotes(turn.answer, [texts[one["chunk_id"]] for one in turn.passages])]
    cited = [asdict(one) for one in chat.citations(turn.answer, len(passages))]
    told = {name: getattr(turn, name) for name in ("question", "answer", "outcome", "model", "asked_at")}
    return {**told, "passages": passages, "citations": cited, "quotes": quotes}


def delete(workspace: Workspace, given: Given) -> object:
    ids = list(dict.fromkeys(given["conversations"]))
    conversations.delete(workspace.library.index().backend, ids)
    return {"deleted": len(ids)}


_ID = text("A conversation's id.", minLength=1, maxLength=4096)
_CITED = record({"number": whole(""), "start": whole(""), "end": whole(""), "exists": flag("", None)})
_QUOTED = record(
    {
        "text": text(""),
        "start": whole(""),
        "end": whole(""),
        "numbers": several(whole(""), ""),
        "found": flag("", None),
    }
)
_SHOWN = record(
    {
        "number": whole("What cites it."),
        "chunk_id": text(""),
        "title": text(""),
        "path": text(""),
        "page": or_null(whole("")),
        "text": or_null(text("null: it was changed or removed since.")),
        "metadata": {"type": "object", "additionalProperties": True},
        "source_id": or_null(text("Its source, where that is still there.")),
    }
)
_TURN = record(
    {
        "question": text(""),
        "answer": text(""),
        "outcome": text("As ask has it."),
        "model": or_null(text("")),
        "asked_at": text("UTC."),
        "passages": several(_SHOWN, "What was shown."),
        "citations": several(_CITED, "Where the answer cites them, in code points."),
        "quotes": several(_QUOTED, "Quoted words, looked for in the passages where all of these are still there."),
    }
)

ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/conversations",
        "conversations",
        "The conversations that the library keeps, the one that was begun last first.",
        listed,
        record(
            {
                "conversations": several(
                    record(
                        {"id": text(""), "title": text("The first question."), "turns": whole(""), "begun_at": text("")}
                    ),
                    "",
                )
            }
        ),
        errors=(409,),
    ),
    Endpoint(
        "GET",
        "/api/conversations/{conversation_id}",
        "conversation",
        "What was said, and what it cites as that is now.",
        shown,
        record({"id": text(""), "title": text(""), "turns": several(_TURN, "The first one first.")}),
        path_names={"conversation_id": _ID},
        errors=(404, 409),
    ),
    Endpoint(
        "POST",
        "/api/conversations/delete",
        "deleteConversations",
        "Delete conversations. What they said may stay in the library's files until it is purged.",
        delete,
        record({"deleted": whole("How many.")}),
        body=record({"conversations": several(_ID, "", minItems=1, maxItems=10_000)}),
        errors=(404, 409),
    ),
]
