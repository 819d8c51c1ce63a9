"""ask and chat: answers with citations, in the terminal; without a model the best passages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from stackroom.cli.commands.search import also, nothing, where_text
from stackroom.cli.session import Session, Worded, asking, cancellable, count, safe
from stackroom.types import RECOGNISED

if TYPE_CHECKING:
    from stackroom.chat import Answer
    from stackroom.index import Index
    from stackroom.progress import CancelToken
    from stackroom.protocols import ChatModel
    from stackroom.types import Hit

_EXCERPT = 400
_HELP = "Commands: /new begins anew, /sources shows the passages, /model NAME takes another model, /quit ends. Ctrl-C stops an answer."


def _scope(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that ask and chat share."""
    for option in (
        click.option("--set", "set_name", metavar="NAME", help="Only from the sources of this set."),
        click.option("--active", is_flag=True, help="Only from active sources."),
        click.option(
            "--where", multiple=True, metavar="EXPR", help='Only where metadata fits: "year >= 2020" (repeatable: and).'
        ),
        click.option(
            "--in", "sources", multiple=True, metavar="NAME", help="Only from this source: title, path or glob."
        ),
        click.option(
            "-k", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="How many passages."
        ),
        click.option(
            "--model",
            metavar="NAME",
            help="ollama:MODEL, openai:MODEL or openai:MODEL@URL (else STACKROOM_CHAT_MODEL; else passages are quoted).",
        ),
    ):
        command = option(command)
    return command


@click.command("ask", cls=Worded, help="Answer a question from the documents, with citations that are checked.")
@click.argument("question", nargs=-1, required=True)
@_scope
@click.pass_obj
def ask_command(session: Session, /, question: tuple[str, ...], model: str | None, **scope: Any) -> int:
    from stackroom.chat import answer_json, resolve

    text = " ".join(question)
    if not text.strip():
        raise click.UsageError("The question is empty.")
    chosen = resolve(model)
    with session.open(mode="r") as index, cancellable() as cancel:
        _tell_where(session, chosen)
        said = _answered(session, index, text, chosen, cancel, scope)
        if session.as_json:
            session.print_json(answer_json(said), index)
    return 130 if said.outcome == "stopped" else 0


@click.command("chat", help=f"Ask one question after another; the conversation is kept in the library. {_HELP}")
@_scope
@click.option("--list", "listing", is_flag=True, help="List the conversations that are kept.")
@click.option("--go-on", metavar="ID", help="Go on with this conversation.")
@click.option("--delete", "deleted", multiple=True, metavar="ID", help="Delete this conversation (repeatable).")
@click.option("--forget", is_flag=True, help="Keep nothing of what is said.")
@click.pass_obj
def chat_command(
    session: Session,
    /,
    model: str | None,
    listing: bool,
    go_on: str | None,
    deleted: tuple[str, ...],
    forget: bool,
    **scope: Any,
) -> int:
    from stackroom import conversations
    from stackroom.chat import resolve

    if listing or deleted:
        with session.open(mode="a" if deleted else "r", existing=True) as index:
            if deleted:
                conversations.delete(index.backend, deleted)
                session.say(f"Deleted: {count(len(deleted), 'conversation')}.")
            if listing:
                _list(session, conversations.conversations(index.backend))
        return 0
    chosen = resolve(model)
    with session.open(mode="r" if forget else "a", existing=True) as index:
        _tell_where(session, chosen)
        if index.fallback is not None and not forget:
            session.say("Nothing of this conversation is kept: a copy is for reading.")
            forget = True
        _Talk(session, index, chosen, scope, go_on, forget=forget).run()
    return 0


def _list(session: Session, kept: list[Any]) -> None:
    if session.as_json:
        listed = [
            {"id": one.id, "title": one.title, "turns": len(one.turns), "begun_at": one.turns[0].asked_at}
            for one in kept
        ]
        session.print_json({"conversations": listed})
        return
    for one in kept:
        title = safe(one.title, keep_newlines=False)[:60]
        click.echo(
            f"{safe(one.id, keep_newlines=False)}  {one.turns[0].asked_at[:16]}  {count(len(one.turns), 'question'):>12}  {title}"
        )


class _Talk:
    """One session of `chat`."""

    def __init__(
        self,
        session: Session,
        index: Index,
        model: ChatModel | None,
        scope: dict[str, Any],
        conversation_id: str | None,
        *,
        forget: bool,
    ) -> None:
        from stackroom import conversations
        from stackroom.chat import history

        self._session = session
        self._index = index
        self._model = model
        self._scope = scope
        self._id = conversation_id
        self._forget = forget
        self._last: Answer | None = None
        self._history = (
            [] if conversation_id is None else history(conversations.conversation(index.backend, conversation_id))
        )

    def run(self) -> None:
        if sys.stdin.isatty():
            self._session.say(_HELP)
        while True:
            try:
                with asking():
                    line = input("> " if sys.stdin.isatty() else "").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                click.echo(err=True)
                continue
            if line == "/quit":
                return
            if line.startswith("/"):
                self._command(line)
            elif line:
                self._ask(line)

    def _command(self, line: str) -> None:
        from stackroom.chat import resolve
        from stackroom.errors import UsageError

        verb, _, rest = line.partition(" ")
        if verb == "/new":
            self._id, self._history, self._last = None, [], None
        elif verb == "/sources":
            if self._last is not None:
                _print_passages(self._last)
        elif verb == "/model" and rest:
            try:
                self._model = resolve(rest.strip())
            except UsageError as error:
                click.echo(safe(str(error)), err=True)
            else:
                _tell_where(self._session, self._model)
        elif verb == "/model":
            click.echo(safe("none" if self._model is None else self._model.name))
        else:
            click.echo(_HELP, err=True)

    def _ask(self, question: str) -> None:
        from stackroom.chat import keep
        from stackroom.errors import StackroomError
        from stackroom.protocols import Message

        try:
            with cancellable() as cancel:
                said = _answered(self._session, self._index, question, self._model, cancel, self._scope, self._history)
            self._last = said
            if said.text:
                self._history += [Message("user", question), Message("assistant", said.text)]
            if not self._forget:
                self._id = keep(self._index, said, self._id)
        except StackroomError as error:
            # A model that is away for a moment does not end the conversation.
            click.echo(safe(str(error)), err=True)


def _tell_where(session: Session, model: ChatModel | None) -> None:
    """What leaves this machine leaves it with a word."""
    from stackroom.chat import destination

    elsewhere = None if model is None else destination(model)
    if elsewhere is not None:
        session.say(f"Questions and passages are sent to {elsewhere}.")


def _answered(
    session: Session,
    index: Index,
    text: str,
    model: ChatModel | None,
    cancel: CancelToken,
    scope: dict[str, Any],
    history: Any = (),
) -> Answer:
    """Shows an answer as it is written, unless it is to be JSON, and returns it."""
    from stackroom.chat import Done, Passages, Question, Text, answer

    asked = Question(
        text,
        sources=list(scope["sources"]) or None,
        where=list(scope["where"]) or None,
        active=scope["active"],
        set_name=scope["set_name"],
        k=scope["k"],
        history=tuple(history),
    )
    said: Answer | None = None
    for event in answer(index, asked, model=model, cancel=cancel):
        if isinstance(event, Passages) and event.reason is not None:
            session.say(f"{event.reason} Words alone were searched.")
        elif isinstance(event, Text) and not session.as_json:
            click.echo(safe(event.piece), nl=False)
            sys.stdout.flush()
        elif isinstance(event, Done):
            said = event.answer
    if said is None:
        raise AssertionError
    if not session.as_json:
        _print_end(session, said)
        if not said.passages:
            nothing(session, index, said.query, active=scope["active"], where=list(scope["where"]))
    return said


def _print_end(session: Session, said: Answer) -> None:
    if said.text and said.outcome != "not_in_documents":
        click.echo()
    if said.outcome == "stopped":
        session.say("Stopped.")
    if said.outcome == "not_in_documents":
        click.echo("Not in your documents." + (" The nearest passages:" if said.passages else ""))
    if said.outcome == "uncited":
        session.say("Beware: this answer cites no passage that was found. Nothing says that it is in your documents.")
    if said.outcome == "quoted":
        _suggest(session)
    if said.outcome in ("not_in_documents", "quoted"):
        _print_passages(said)
        return
    wrong = sorted({one.number for one in said.citations if not one.exists})
    if wrong:
        session.say(f"Beware: no passage has the number {', '.join(map(str, wrong))}.")
    for quote in said.quotes:
        if not quote.found:
            session.say(f"Beware: these words are not in what is cited: {quote.text!r}")
    cited = sorted({one.number for one in said.citations if one.exists})
    if cited:
        click.echo()
    for number in cited:
        click.echo(_heading(number, said.passages[number - 1]))
        _print_copies(said, number)


def _suggest(session: Session) -> None:
    """No model is taken unasked; those of this machine are named."""
    from stackroom.chat import found
    from stackroom.errors import MissingExtraError

    try:
        there = found()
    except MissingExtraError as error:
        session.say(f"No model answers: the best passages. What asks one is not installed. {error.hint}")
        return
    names = ", ".join(model.name for model in there[:5])
    way = f"There is one here: --model {names}" if names else "Name one for answers: --model ollama:MODEL"
    session.say(f"No model answers: the best passages. {way}")


def _heading(number: int, hit: Hit) -> str:
    parts = [hit.document.title, where_text(hit.place, hit.document.title)]
    if hit.metadata.get(RECOGNISED):
        parts.append("recognised in a picture")
    if hit.document.path != hit.document.title:
        parts.append(hit.document.path)
    return f"[{number}] {safe('  '.join(part for part in parts if part), keep_newlines=False)}"


def _print_passages(said: Answer) -> None:
    for number, hit in enumerate(said.passages, start=1):
        text = " ".join(hit.text.split())
        text = text if len(text) <= _EXCERPT else f"{text[:_EXCERPT].rsplit(' ', 1)[0]} ..."
        click.echo(f"{_heading(number, hit)}\n    “{safe(text, keep_newlines=False)}”")
        _print_copies(said, number)
        click.echo()


def _print_copies(said: Answer, number: int) -> None:
    for line in also(said.copies[number - 1]):
        click.echo(f"    {line}")
