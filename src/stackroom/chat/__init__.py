"""Questions answered from a library's passages by a chat model, with citations that are checked."""

from __future__ import annotations

from stackroom.chat.answering import (
    Answer,
    Citations,
    Done,
    Event,
    Passages,
    Question,
    Text,
    answer,
    answer_json,
    event_json,
)
from stackroom.chat.citations import Citation, Quote, citations, quotes
from stackroom.chat.keeping import history, keep
from stackroom.chat.models import NAMED, FoundModel, destination, found, resolve

__all__ = [
    "NAMED",
    "Answer",
    "Citation",
    "Citations",
    "Done",
    "Event",
    "FoundModel",
    "Passages",
    "Question",
    "Quote",
    "Text",
    "answer",
    "answer_json",
    "citations",
    "destination",
    "event_json",
    "found",
    "history",
    "keep",
    "quotes",
    "resolve",
]
