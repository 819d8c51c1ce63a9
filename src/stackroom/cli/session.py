"""What every verb shares: which library, how to answer, and what an error looks like."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from stackroom.errors import (
    EngineAwayWarning,
    NoCopyWarning,
    OldFilesChangedWarning,
    StackroomError,
    UnfinishedTransferWarning,
)
from stackroom.forms import error_form, fallback_form, plain, plain_error
from stackroom.progress import CancelToken

if TYPE_CHECKING:
    from stackroom.index import Index


# What a terminal obeys (C0, C1), what turns text around, and what is half a character.
_HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Tags: a second alphabet that no terminal shows.
_UNSEEN = re.compile("[\U000e0000-\U000e007f]")


_TOLD = (OldFilesChangedWarning, EngineAwayWarning, NoCopyWarning, UnfinishedTransferWarning)
"""What opening warns of, for a person to read."""


@dataclass(frozen=True, slots=True)
class Session:
    """The global options."""

    library: str | None
    as_json: bool
    quiet: bool
    copy: str | None = None

    def open(
        self, *, mode: Any = "a", embedder: str | None = None, quiet: bool = False, existing: bool = False
    ) -> Index:
        """`quiet`: what the library says of itself is told by the caller. `existing`: a library that is not there is not made."""
        from stackroom.opening import opened

        with warnings.catch_warnings(record=True) as caught:
            for kind in _TOLD:
                warnings.simplefilter("always", kind)
            index = opened(self.library, "w" if existing and mode == "a" else mode, embedder, copy=self.copy)
        for warning in caught:
            if issubclass(warning.category, EngineAwayWarning) or (
                issubclass(warning.category, UnfinishedTransferWarning) and not quiet
            ):
                self.beware(str(warning.message))
            elif issubclass(warning.category, _TOLD):
                if not quiet or issubclass(warning.category, NoCopyWarning):
                    self.say(safe(f"Beware: {warning.message}"))
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return index

    def command(self, *words: str) -> str:
        """A command for a person to run next, with the same library, quoted for a shell."""
        library = ("--library", self.library) if self.library else ()
        copy = ("--copy", self.copy) if self.copy else ()
        return shlex.join(["stackroom", *library, *copy, *words])

    def beware(self, message: str) -> None:
        """Who wants no messages wants no stale answers, nor a part of them, that say nothing of it either; JSON says it itself."""
        if not self.as_json:
            click.echo(safe(f"Beware: {message}"), err=True)

    def say(self, message: str) -> None:
        """A message for a person, on standard error. It may name files, whose names may hold anything."""
        if not self.quiet and not self.as_json:
            click.echo(safe(message), err=True)

    def print_json(self, value: object, index: Index | None = None) -> None:
        """What `index` answered, where that is given: a copy that stood in says so."""
        form = plain(value)
        if index is not None:
            form |= fallback_form(index.fallback)
        text = json.dumps(form, ensure_ascii=not _utf8(), indent=None)
        # JSON itself escapes only what stands before the space.
        click.echo(_HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def working(index: Index) -> dict[str, object] | None:
    """What another process does to the library at this moment that takes long: `pid`, `purpose` and `since`; None where none does."""
    if index.path is None:
        return None
    from stackroom.storage.disk import layout
    from stackroom.storage.disk.lock import FileLock

    holder = FileLock(index.path / layout.INGEST_LOCK).living_holder()
    return None if holder is None else {name: holder.get(name) for name in ("pid", "purpose", "since")}


def filling(index: Index) -> str | None:
    """That another process fills the library at this moment, and how far it is; None where none does."""
    holder = working(index)
    if holder is None:
        return None
    stats = index.stats()
    so_far = f"{count(stats.sources, 'source')} with {count(stats.chunks, 'passage')}"
    return f"It is being filled at this moment (process {holder['pid']}, {holder['purpose']}): {so_far} so far."


def _utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def count(number: int, noun: str) -> str:
    """As a person says it: 1 passage, 2 passages."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_EXCLUDING = re.compile(r"-(?!k\d)[^\W\d_].+", re.DOTALL)


class Worded(click.Command):
    """A command that is given words. `-word` excludes one, and is taken for options where nothing says that these are over."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(itertools.takewhile(lambda arg: arg != "--", args))
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            word = next(filter(_EXCLUDING.fullmatch, given), None)
            if word is None:
                raise
            raise click.UsageError(
                f"{error.format_message()}\nTo exclude a word, put -- before all of them: "
                f"stackroom {ctx.info_name} -- WORDS {shlex.quote(word)}",
                ctx,
            ) from error


@contextlib.contextmanager
def cancellable() -> Iterator[CancelToken]:
    """A token that Ctrl-C or SIGTERM sets; a second Ctrl-C ends the process at once."""
    cancel = CancelToken()

    def stop(number: int, frame: object) -> None:
        del number, frame
        if cancel.cancelled:
            raise KeyboardInterrupt
        cancel.cancel()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """While a question waits for its answer, Ctrl-C means no: it is not taken as a wish to stop at the next occasion."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def fail(error: Exception, *, as_json: bool) -> int:
    """Tell an error on standard error; returns the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):  # a question that was answered by no, or by Ctrl-C
        click.echo("Stopped; nothing was changed.", err=True)
        return 130
    if isinstance(error, click.ClickException):
        if as_json:
            _print_error("UsageError", error.format_message(), "See: stackroom --help")
        else:
            # What a shell made of a glob may be in it.
            held = io.StringIO()
            error.show(held)
            click.echo(safe(held.getvalue()), err=True, nl=False)
        return error.exit_code
    if isinstance(error, StackroomError):
        if as_json:
            click.echo(json.dumps(error_form(error)), err=True)
        else:
            click.echo(safe(error.message), err=True)
            if error.hint:
                click.echo(safe(error.hint), err=True)
        return error.exit_code
    if os.environ.get("STACKROOM_DEBUG"):
        traceback.print_exc()
    message = f"{type(error).__name__}: {error}"
    hint = "This is a fault of Stackroom. Run it again with STACKROOM_DEBUG=1 and report what it prints."
    if as_json:
        _print_error("InternalError", message, hint)
    else:
        click.echo(f"Something went wrong: {safe(message)}\n{hint}", err=True)
    return 1


def _print_error(kind: str, message: str, hint: str | None) -> None:
    click.echo(json.dumps(plain_error(kind, message, hint)), err=True)


def safe(text: str, *, keep_newlines: bool = True) -> str:
    """Text from a document or a file's name, made safe for a terminal: control characters become visible or vanish."""
    text = text.replace("\t", " ")
    if not keep_newlines:
        text = text.replace("\n", " ")
    return _HARMFUL.sub("\N{REPLACEMENT CHARACTER}", _UNSEEN.sub("", text))
