"""mcp: the library as tools for an agent."""

from __future__ import annotations

import click

from stackroom.cli.session import Session


@click.command(
    "mcp",
    help="Answer an agent over the Model Context Protocol, by standard input and output. It reads, and writes nothing.",
)
@click.pass_obj
def mcp_command(session: Session, /) -> int:
    from stackroom.mcp import serve

    with session.open(mode="r") as index:
        serve(index)
    return 0
