"""ask, over HTTP: an answer as it is written, in server-sent events; and the chat models that there are."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread

from stackroom import chat
from stackroom.errors import MissingExtraError, StackroomError
from stackroom.forms import error_form, plain
from stackroom.progress import CancelToken
from stackroom.protocols import ChatModel, Message
from stackroom.web.endpoint import Endpoint, Given, flag, or_null, record, several, text, whole
from stackroom.web.workspace import Workspace

BODY = record(
    {"question": text("What is asked.", minLength=1, maxLength=10_000)},
    {
        "model": text("ollama:MODEL, openai:MODEL or openai:MODEL@URL; that of STACKROOM_CHAT_MODEL.", maxLength=1000),
        "history": several(
            record({"role": text("", enum=["user", "assistant"]), "text": text("", maxLength=100_000)}),
            "The conversation before, the oldest first.",
            default=[],
            maxItems=100,
        ),
        "sources": several(text("", minLength=1, maxLength=4096), "Only in these.", default=[], maxItems=10_000),
        "where": several(
            text("", minLength=1, maxLength=4096), "Filters, which must all hold.", default=[], maxItems=100
        ),
        "active": flag("Only in active sources."),
        "k": whole("How many passages are looked for.", minimum=1, maximum=50, default=8),
        "collection": text("Only in this collection.", default="default", minLength=1, maxLength=4096),
    },
)


def begun(workspace: Workspace, given: Given) -> AsyncIterator[str]:
    """The events of an answer. Raises what is wrong with the question before the first one."""
    model = chat.resolve(given["model"] or None)
    question = chat.Question(
        given["question"],
        sources=given["sources"] or None,
        where=given["where"] or None,
        active=given["active"],
        collection=given["collection"],
        k=given["k"],
        history=[Message(turn["role"], turn["text"]) for turn in given["history"]],
    )
    cancel = CancelToken()
    events = chat.answer(workspace.library.index(), question, model=model, cancel=cancel)
    return _told(workspace, events, model, cancel)


async def _told(workspace: Workspace, events: Any, model: ChatModel | None, cancel: CancelToken) -> AsyncIterator[str]:
    """Who leaves ends the answer: the model is told to stop."""
    try:
        while not workspace.closing.is_set():
            event = await anyio.to_thread.run_sync(next, events, None, abandon_on_cancel=True)
            if event is None:
                return
            told = plain(chat.event_json(event))
            if told["event"] == "passages":
                told["model"] = None if model is None else model.name
                told["sent_to"] = None if model is None else chat.destination(model)
            yield f"event: {told['event']}\ndata: {json.dumps(told)}\n\n"
    except StackroomError as error:
        yield f"event: error\ndata: {json.dumps(error_form(error))}\n\n"
    finally:
        cancel.cancel()


def models(workspace: Workspace, given: Given) -> object:
    del workspace, given
    named = os.environ.get(chat.NAMED) or None
    model = chat.resolve(named)
    try:
        there = chat.found()
    except MissingExtraError:
        # Without it no model can be asked, which asking one says.
        there = []
    return plain({"models": there, "named": named, "sent_to": None if model is None else chat.destination(model)})


ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/models",
        "models",
        "The chat models of servers on this machine, and the one that STACKROOM_CHAT_MODEL names.",
        models,
        record(
            {
                "models": several(record({"name": text(""), "program": text("")}), ""),
                "named": or_null(text("Used where a question names none.")),
                "sent_to": or_null(text("Where the texts of that one go, if it is on another machine.")),
            }
        ),
    )
]
