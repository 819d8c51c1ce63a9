"""ask, over HTTP: an answer as it is written, in server-sent events; and the chat models that there are."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from stackroom import chat, conversations
from stackroom.errors import MissingExtraError, NotFoundError, StackroomError
from stackroom.forms import error_form, fallback_form, plain
from stackroom.progress import CancelToken
from stackroom.protocols import ChatModel, Message
from stackroom.web.endpoint import Endpoint, Given, flag, or_null, record, several, text, whole
from stackroom.web.workspace import Workspace

if TYPE_CHECKING:
    from stackroom.index import Index
    from stackroom.types import Hit

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
        "set": text("Only in the sources of this set.", minLength=1, maxLength=200),
        "k": whole("How many passages are looked for.", minimum=1, maximum=50, default=8),
        "collection": text("Only in this collection.", default="default", minLength=1, maxLength=4096),
        "keep": flag("Keep question and answer in the library, at the end of the conversation."),
        "conversation": text(
            "The id of the conversation that this goes on with, which is the history where none is given. A new one where there is none.",
            minLength=1,
            maxLength=64,
            pattern="^[0-9A-Za-z-]+$",
        ),
    },
)


@dataclass
class _Talk:
    """One question on its way: what is kept of it, and where."""

    index: Index
    model: ChatModel | None
    question: str
    conversation: str | None
    query: str = ""
    text: str = ""
    hits: tuple[Hit, ...] = ()
    done: bool = False

    def heard(self, event: chat.Event) -> None:
        if isinstance(event, chat.Passages):
            self.query, self.hits = event.query, event.hits
        elif isinstance(event, chat.Text):
            self.text += event.piece

    def keep(self, answer: chat.Answer) -> str | None:
        """Returns why it could not be kept."""
        self.done = True
        if self.conversation is None:
            return None
        try:
            chat.keep(self.index, answer, self.conversation, create=True)
        except StackroomError as error:
            return str(error)
        return None

    def stopped(self) -> None:
        """Whoever asked has gone in the middle of the answer, which is how the page stops one."""
        if not self.done and self.text:
            name = None if self.model is None else self.model.name
            self.keep(chat.Answer(self.question, self.query, self.text, "stopped", name, passages=self.hits))


def begun(workspace: Workspace, given: Given) -> AsyncIterator[str]:
    """The events of an answer. Raises what is wrong with the question before the first one."""
    model = chat.resolve(given["model"] or None)
    index = workspace.library.index()
    history = [Message(turn["role"], turn["text"]) for turn in given["history"]]
    if given["conversation"] and not history:
        with contextlib.suppress(NotFoundError):
            history = chat.history(conversations.conversation(index.backend, given["conversation"]))
    question = chat.Question(
        given["question"],
        sources=given["sources"] or None,
        where=given["where"] or None,
        active=given["active"],
        set_name=given["set"],
        collection=given["collection"],
        k=given["k"],
        history=history,
    )
    cancel = CancelToken()
    kept = (given["conversation"] or conversations.new_id()) if given["keep"] else None
    talk = _Talk(index, model, given["question"], kept)
    return _told(workspace, chat.answer(index, question, model=model, cancel=cancel), talk, cancel)


async def _told(workspace: Workspace, events: Any, talk: _Talk, cancel: CancelToken) -> AsyncIterator[str]:
    """Who leaves ends the answer: the model is told to stop."""
    model = talk.model
    try:
        while not workspace.closing.is_set():
            event = await anyio.to_thread.run_sync(next, events, None, abandon_on_cancel=True)
            if event is None:
                return
            talk.heard(event)
            told = plain(chat.event_json(event))
            if told["event"] == "passages":
                told["model"] = None if model is None else model.name
                told["sent_to"] = None if model is None else chat.destination(model)
                told["conversation"] = talk.conversation
            elif isinstance(event, chat.Done):
                told |= fallback_form(talk.index.fallback)
                told["not_kept"] = await anyio.to_thread.run_sync(talk.keep, event.answer)
            yield f"event: {told['event']}\ndata: {json.dumps(told)}\n\n"
    except StackroomError as error:
        yield f"event: error\ndata: {json.dumps(error_form(error))}\n\n"
    finally:
        cancel.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(talk.stopped)


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
