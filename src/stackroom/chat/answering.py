"""A question to an answer: passages first, then text as it is written, then what of it could be checked."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stackroom.chat import prompt
from stackroom.chat.citations import Citation, Quote, citations, quotes
from stackroom.errors import UnavailableError, UsageError
from stackroom.progress import CancelToken
from stackroom.protocols import ChatModel, Message
from stackroom.search.copies import different

if TYPE_CHECKING:
    from stackroom.index import Index
    from stackroom.types import Hit, Mode

BUDGET = 3000
"""Tokens of passages. With the conversation, the rules and the answer this stays within 6,000."""
_MOST_ANSWER = 1024
_MOST_REWRITTEN = 96
LEAST_PASSAGES = 100
"""Below this many in the collection a score says too little: a word that half of them hold weighs nothing, and nothing stands out among a few."""


_LEAST_KNOWN, _FOREIGN, _KNOWN = 0.2, 0.06, 0.075


def least_score(weight: float) -> float:
    """The best hybrid score that a question whose answer is in the documents should reach, where meaning weighs `weight` beside words.

    Meaning always finds something near: the best of some hundred or thousand passages stands out by three or four deviations whatever is
    asked, and `weight` of that is in the score. The weight also says how well the model knows the language (search/familiarity.py): where it
    does, meaning and words of an answer add up to more than that, and where it does not, they may not. Measured
    (docs/benchmarks/asking.md): of questions that the documents answer in their own language at most one in a hundred is below.
    """
    near = 0.035 + 1.1 * min(weight, _FOREIGN)
    known = min(max((weight - _FOREIGN) / (_KNOWN - _FOREIGN), 0.0), 1.0)
    return near + known * (_LEAST_KNOWN - near)


Outcome = Literal["answered", "uncited", "not_in_documents", "quoted", "stopped"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and where: `sources`, `where`, `active`, `set_name`, `collection` and `mode` as in `Index.search`.

    `k` different passages are looked for, those that fit into `budget` tokens are given to the model. `history` is the conversation before.
    """

    text: str
    sources: Sequence[str] | None = None
    where: Any = None
    active: bool = False
    set_name: str | None = None
    collection: str = "default"
    mode: Mode | None = None
    k: int = 8
    budget: int = BUDGET
    history: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class Passages:
    """The first event. Hit number n (from 1) is what `[n]` cites. `query` is what was searched: the question, or a follow-up rewritten.

    `reason` says why meaning was not searched, where that is so.
    """

    hits: tuple[Hit, ...]
    query: str
    mode: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    piece: str


@dataclass(frozen=True, slots=True)
class Citations:
    """What the whole answer cites and quotes, checked."""

    citations: tuple[Citation, ...]
    quotes: tuple[Quote, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """`outcome` is "answered" (with a citation of a passage that exists), "uncited" (none of its citations does, or it has none),
    "not_in_documents" (`decided_by` says by whom: "search", or the "model", which was shown the passages), "quoted" (there is no
    model: the passages are the answer) or "stopped".
    """

    question: str
    query: str
    text: str
    outcome: Outcome
    model: str | None = None
    decided_by: Literal["search", "model"] | None = None
    passages: tuple[Hit, ...] = ()
    citations: tuple[Citation, ...] = ()
    quotes: tuple[Quote, ...] = ()
    copies: tuple[tuple[Hit, ...], ...] = ()
    """For each of the passages, the other places where the same text was found."""


@dataclass(frozen=True, slots=True)
class Done:
    """The last event."""

    answer: Answer


Event = Passages | Text | Citations | Done


def answer(
    index: Index,
    question: str | Question,
    *,
    model: ChatModel | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Passages, then Text in pieces, then Citations, then Done. Without a model: Passages and Done, whose outcome is "quoted".

    Closing the iterator, or setting `cancel`, ends the model's answer at once. Where a text is not in the documents there may be no
    Text. Raises UsageError, UnavailableError (the model does not answer, or broke off), and what `Index.search` raises.
    """
    asked = Question(question) if isinstance(question, str) else question
    if not asked.text.strip():
        raise UsageError("The question is empty.", hint="Ask something.")
    if asked.budget < 200:
        raise UsageError(f"A budget of {asked.budget} tokens holds no passage.", hint="Give 200 or more.")
    return _answer(index, asked, model, cancel or CancelToken())


def _answer(index: Index, asked: Question, model: ChatModel | None, cancel: CancelToken) -> Iterator[Event]:
    query = asked.text if model is None or not asked.history else _rewritten(asked, model, cancel)
    mode, reason = index.resolve_mode(asked.mode, collection=asked.collection)

    def search(k: int) -> list[Hit]:
        return index.search(
            query,
            k=k,
            mode=mode,
            where=asked.where,
            sources=asked.sources,
            active=asked.active,
            set_name=asked.set_name,
            collection=asked.collection,
            explain=True,
        )

    found = different(search(asked.k), asked.k, search)
    shown = tuple(prompt.packed([one.hit for one in found], asked.budget))
    copies = {one.hit.chunk_id: one.copies for one in found}
    yield Passages(shown, query, mode, reason)
    told = _Told(
        asked.text, query, None if model is None else model.name, shown, tuple(copies[hit.chunk_id] for hit in shown)
    )
    if cancel.cancelled:
        yield Done(told.answer("stopped"))
    elif not shown or (mode == "hybrid" and _is_below(index, asked.collection, shown[0])):
        yield Done(told.answer("not_in_documents", decided_by="search"))
    elif model is None:
        yield Done(told.answer("quoted"))
    else:
        yield from _written(told, model, asked, cancel)


def _is_below(index: Index, collection: str, best: Hit) -> bool:
    """Whether the best hit of a hybrid search is what any question would find."""
    weight = 0.0 if best.explain is None else best.explain.weights.get("vector", 0.0)
    if best.score >= least_score(weight):
        return False
    return any(one.name == collection and one.chunks >= LEAST_PASSAGES for one in index.collections())


def _rewritten(asked: Question, model: ChatModel, cancel: CancelToken) -> str:
    messages = prompt.rewriting(asked.text, asked.history, asked.budget)
    said = ""
    with contextlib.closing(_pieces(model, messages, cancel, _MOST_REWRITTEN)) as pieces:
        for piece in pieces:
            said += piece
            if "\n" in said.strip():
                break
    return prompt.rewritten(said, asked.text)


def _written(told: _Told, model: ChatModel, asked: Question, cancel: CancelToken) -> Iterator[Event]:
    messages = prompt.asked(asked.text, told.hits, asked.history, asked.budget)
    held = ""
    with contextlib.closing(_pieces(model, messages, cancel, _MOST_ANSWER)) as pieces:
        for piece in pieces:
            told.text += piece
            held += piece
            # A refusal is shown as what it is, and not letter by letter.
            if not prompt.may_become_refusal(told.text) and not prompt.is_refusal(told.text):
                yield Text(held)
                held = ""
    if cancel.cancelled:
        if held:
            yield Text(held)
        yield told.checked()
        yield Done(told.answer("stopped"))
    elif prompt.is_refusal(told.text):
        yield Done(told.answer("not_in_documents", decided_by="model"))
    elif not told.text.strip():
        raise UnavailableError(f"The model {model.name} answered nothing.", hint="Ask again, or name another model.")
    else:
        if held:
            yield Text(held)
        yield told.checked()
        yield Done(told.answer("answered" if any(one.exists for one in told.citations) else "uncited"))


def _pieces(
    model: ChatModel, messages: Sequence[Message], cancel: CancelToken, most: int
) -> Generator[str, None, None]:
    """The model's pieces without what it thinks to itself first; errors that are not ours become UnavailableError."""
    try:
        yield from _without_thoughts(model.stream(messages, cancel=cancel, max_tokens=most))
    except (UnavailableError, UsageError, GeneratorExit):
        raise
    except Exception as error:  # an application's own model may raise anything
        raise UnavailableError(
            f"The model {model.name} failed ({type(error).__name__}: {error}).", hint="Ask again."
        ) from error


_THINKS, _THOUGHT = "<think>", "</think>"


def _without_thoughts(pieces: Iterator[str]) -> Iterator[str]:
    """Some servers pass on what a model thinks, between <think> and </think> at the beginning."""
    held: str | None = ""
    for piece in pieces:
        if held is None:
            yield piece
            continue
        held += piece
        begun = held.lstrip()
        if _THINKS.startswith(begun[: len(_THINKS)]):
            if _THOUGHT not in held:
                continue
            held = held.partition(_THOUGHT)[2]
        rest, held = held, None
        if rest:
            yield rest
    if held and not held.lstrip().startswith(_THINKS):
        yield held


@dataclass(slots=True)
class _Told:
    question: str
    query: str
    model: str | None
    hits: tuple[Hit, ...]
    copies: tuple[tuple[Hit, ...], ...]
    text: str = ""
    citations: tuple[Citation, ...] = ()
    quotes: tuple[Quote, ...] = field(default=())

    def checked(self) -> Citations:
        self.citations = tuple(citations(self.text, len(self.hits)))
        self.quotes = tuple(quotes(self.text, [hit.text for hit in self.hits]))
        return Citations(self.citations, self.quotes)

    def answer(self, outcome: Outcome, *, decided_by: Literal["search", "model"] | None = None) -> Answer:
        return Answer(
            self.question, self.query, self.text, outcome, self.model, decided_by, self.hits, self.citations, self.quotes, self.copies
        )  # fmt: skip


def event_json(event: Event) -> dict[str, Any]:
    """An event as every face gives it: `{"event": "passages" | "text" | "citations" | "done", ...}`. Passages are numbered from 1."""
    if isinstance(event, Passages):
        told = {"query": event.query, "mode": event.mode, "reason": event.reason}
        return {"event": "passages", **told, "passages": _numbered(event.hits)}
    if isinstance(event, Text):
        return {"event": "text", "text": event.piece}
    if isinstance(event, Citations):
        return {"event": "citations", **_checked_json(event.citations, event.quotes)}
    return {"event": "done", **answer_json(event.answer, passages=False)}


def answer_json(answer: Answer, *, passages: bool = True) -> dict[str, Any]:
    """An answer as JSON; with its passages."""
    told: dict[str, Any] = {
        "question": answer.question,
        "query": answer.query,
        "answer": answer.text,
        "outcome": answer.outcome,
        "decided_by": answer.decided_by,
        "model": answer.model,
        **_checked_json(answer.citations, answer.quotes),
    }
    return {**told, "passages": _numbered(answer.passages)} if passages else told


def _checked_json(cited: Sequence[Citation], quoted: Sequence[Quote]) -> dict[str, Any]:
    return {
        "citations": [asdict(one) for one in cited],
        "quotes": [{**asdict(one), "numbers": list(one.numbers)} for one in quoted],
    }


def _numbered(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    listed = []
    for number, hit in enumerate(hits, start=1):
        place = asdict(hit.place)
        place["section"] = list(hit.place.section) or None
        document = {**asdict(hit.document), "metadata": dict(hit.document.metadata)}
        listed.append(
            {
                "number": number,
                "score": hit.score,
                "chunk_id": hit.chunk_id,
                "text": hit.text,
                "metadata": dict(hit.metadata),
                "document": document,
                "place": place,
            }
        )
    return listed
