"""Print docs/commands.md: the help of every command, as the commands give it themselves."""

from __future__ import annotations

import click
from click.testing import CliRunner

from stackroom.cli.main import VERBS, cli


def help_of(*args: str) -> str:
    result = CliRunner().invoke(
        cli, [*args, "--help"], prog_name="stackroom", terminal_width=100, max_content_width=100
    )
    if result.exit_code:
        raise click.ClickException(result.output)
    return result.output.rstrip()


def page() -> str:
    parts = [
        "# Commands",
        "",
        "What `stackroom --help` and `stackroom VERB --help` print. Made by `make docs`; a test keeps it true.",
        "",
        "```",
        help_of(),
        "```",
    ]
    for verb in VERBS:
        parts += ["", f"## {verb}", "", "```", help_of(verb), "```"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
