"""From answers to kept conversations, and back to what a model is told of them."""

from __future__ import annotations

from stackroom import conversations
from stackroom.chat.answering import Answer
from stackroom.conversations import Conversation, Turn
from stackroom.index import Index
from stackroom.protocols import Message


def keep(index: Index, answer: Answer, conversation_id: str | None = None, *, create: bool = False) -> str:
    """Keep an answer at the end of a conversation, or of a new one (None); returns the conversation's id. With `create` an id may be a new one.

    Raises NotFoundError, ReadOnlyError, BusyError, StorageError.
    """
    shown = tuple(
        {"chunk_id": hit.chunk_id, "title": hit.document.title, "path": hit.document.path, "page": hit.place.page}
        for hit in answer.passages
    )
    turn = Turn(answer.question, answer.text, answer.outcome, answer.model, conversations.now(), shown)
    return conversations.add_turn(index.backend, conversation_id, turn, create=create)


def history(conversation: Conversation) -> list[Message]:
    """Its questions and answers, for `Question.history`; questions without an answer are left out."""
    said: list[Message] = []
    for turn in conversation.turns:
        if turn.answer and turn.outcome in ("answered", "uncited", "stopped"):
            said += [Message("user", turn.question), Message("assistant", turn.answer)]
    return said
