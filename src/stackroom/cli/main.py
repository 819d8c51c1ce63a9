"""The `stackroom` command: global options, and one file a verb, loaded when it is called."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import shlex
import sys
from typing import Any

import click

from stackroom import __version__
from stackroom.cli.session import Session, fail
from stackroom.errors import StackroomError

VERBS = {
    "add": ("ingest", "Index files and folders; run it again to pick up what is new."),
    "search": ("search", "Find passages, in words and in meaning."),
    "ask": ("ask", "Answer a question from the documents, with citations."),
    "chat": ("ask", "Ask one question after another, in the terminal."),
    "list": ("library", "Show what is in the library."),
    "show": ("library", "Print the passages of one source."),
    "active": ("library", "Choose which sources 'search --active' looks at."),
    "set": ("library", "Save lists of sources under a name, for 'search --set NAME'."),
    "remove": ("ingest", "Take sources out of the library."),
    "rebuild": ("ingest", "Read and embed again, or change the model."),
    "status": ("library", "The library in numbers."),
    "migrate": ("migration", "Bring an old index along: LlamaIndex, LangChain and others; nothing is embedded."),
    "export": ("migration", "Write the library in another program's format."),
    "verify": ("upkeep", "Check every stored byte."),
    "repair": ("upkeep", "Bring back what can be of a damaged library."),
    "compact": ("upkeep", "Give disk space back."),
    "ui": ("ui", "Open the library in your browser: search, read, and keep your documents."),
    "backup": ("upkeep", "Copy the library while it is used."),
    "push": ("transfer", "Copy the library to PostgreSQL, Milvus, Qdrant or Chroma, and prove it."),
    "pull": ("transfer", "Copy a library from an engine, and prove it."),
    "mcp": ("mcp", "Answer an agent, over the Model Context Protocol."),
    "measure": ("measure", "How fast and how exact searches of this library are."),
}

_NOTES = """\
Exit codes: 0 done; 1 some sources failed; 2 wrong usage; 3 not found; 4 busy; 5 damaged; 6 other model;
7 something is not installed; 130 interrupted (what was committed stays)."""


class _Verbs(click.Group):
    """A group whose commands are imported only when they are used: `--help` reads the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"stackroom.cli.commands.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # Which verbs there are click asks of a group that has imported them all.
            raise click.UsageError(
                error.format_message() + _instead(args[0].lower(), ctx.params["library"]), ctx
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Global options may stand after the verb as well."""
        return super().parse_args(ctx, _globals_first(args))


def _instead(typed: str, library: str | None) -> str:
    """What may have been meant by a verb that there is none of; never one that takes documents away."""
    if typed == "restore":
        from stackroom.opening import default_library
        from stackroom.storage.disk.layout import put_in_place

        if "://" in (library or os.environ.get("STACKROOM_LIBRARY", "")):
            return ""
        return (
            f" A backup is a library, and takes the place of a lost one: {put_in_place(library or default_library())}"
        )
    like = difflib.get_close_matches(typed, VERBS.keys() - {"remove"})
    return f" Did you mean {' or '.join(map(repr, like))}?" if like else ""


_FLAGS = {"--json", "--quiet", "-q"}
_LIBRARY = {"--library", "-l"}
_VALUED = {*_LIBRARY, "--copy"}


def _globals_first(args: list[str]) -> list[str]:
    """The same arguments with the global options in front; what follows `--` is left alone."""
    first: list[str] = []
    rest: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        if arg == "--":
            rest += [arg, *waiting]
        elif arg in _FLAGS or arg.startswith(("--library=", "--copy=")):
            first.append(arg)
        elif arg in _VALUED:
            first += [arg, *([value] if (value := next(waiting, None)) is not None else [])]
        else:
            rest.append(arg)
    return first + rest


@click.group(
    cls=_Verbs,
    epilog=_NOTES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-l",
    "--library",
    metavar="DIR",
    help="The library's folder, or its URL on an engine (else STACKROOM_LIBRARY, else your data folder).",
)
@click.option(
    "--copy",
    metavar="DIR",
    help="What 'pull' made of that URL: it answers, for reading, while the engine is away (else STACKROOM_COPY).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no messages.")
@click.version_option(__version__, prog_name="stackroom")
@click.pass_context
def cli(ctx: click.Context, library: str | None, copy: str | None, as_json: bool, quiet: bool) -> None:
    """One index over all your documents: it opens in milliseconds and is never lost."""
    ctx.obj = Session(library, as_json, quiet, copy)


_ADVICE = re.compile(rf"\bstackroom (?=(?:{'|'.join(set(VERBS) - {'migrate'})})\b)")


def with_library(hint: str, library: str | None) -> str:
    """What is advised is for the library that the user has named. That of `migrate` is its argument."""
    return hint if library is None else _ADVICE.sub(lambda found: f"{found[0]}--library {shlex.quote(library)} ", hint)


def _library_of(args: list[str]) -> str | None:
    named = None
    words = iter(_globals_first(args))
    for word in words:
        if word in _VALUED:
            value = next(words, None)
            named = value if word in _LIBRARY else named
        elif word.startswith("--library="):
            named = word.partition("=")[2]
        elif word not in _FLAGS and not word.startswith("--copy="):
            break
    return named


def _run(args: list[str] | None) -> Any:
    """As click's own main, which would take Ctrl-C for an answer and a closed pipe for a failure."""
    if "_STACKROOM_COMPLETE" in os.environ:
        return cli.main(args, prog_name="stackroom", standalone_mode=False)
    with cli.make_context("stackroom", list(sys.argv[1:] if args is None else args)) as context:
        return cli.invoke(context)


def main(args: list[str] | None = None) -> None:
    """Run the command line, and end the process with its exit code."""
    given = sys.argv[1:] if args is None else args
    as_json = "--json" in given
    try:
        code: Any = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if isinstance(error, StackroomError) and error.hint:
            error.hint = with_library(error.hint, _library_of(given))
        code = fail(error, as_json=as_json)
    except KeyboardInterrupt:
        click.echo("Interrupted. What was committed stays.", err=True)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
