"""mcp: the library as tools for an agent."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from stackroom._optional import needing
from stackroom.cli.serving import HERE, serving_options
from stackroom.cli.session import Session, safe

TOKEN = "STACKROOM_MCP_TOKEN"
"""The variable that holds the token, for agents whose configuration is to stay as it is."""


@click.command(
    "mcp",
    help="""Answer an agent over the Model Context Protocol: search, read and list documents. By standard input and output; with --http at an
    address of this machine, until Ctrl-C. Nothing is written without --allow-writes. docs/mcp.md says more.""",
)
@click.option("--allow-writes", is_flag=True, help="Let the agent add, remove and switch documents.")
@click.option(
    "--add-from",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="With --allow-writes: only what is under this folder may be added (repeatable).",
)
@click.option("--http", is_flag=True, help="Serve over streamable HTTP; prints the address and the token's header.")
@serving_options(7866)
@click.pass_obj
def mcp_command(
    session: Session,
    /,
    allow_writes: bool,
    folders: tuple[Path, ...],
    http: bool,
    port: int | None,
    host: str,
    certificate: Path | None,
    private_key: Path | None,
    without_tls: bool,
) -> int:
    if folders and not allow_writes:
        raise click.UsageError("--add-from says what --allow-writes may add: give both.")
    if not http and (port is not None or host != HERE or certificate or private_key or without_tls):
        raise click.UsageError("--port, --host and TLS are for --http.")
    with needing("mcp"):
        from stackroom.mcp.serving import made, serve, serve_http
        from stackroom.web.listening import Where

    def started(address: str, token: str) -> None:
        if session.as_json:
            session.print_json({"address": address, "token": token})
        else:
            click.echo(f"{safe(address)}\nAuthorization: Bearer {safe(token)}")
        sys.stdout.flush()
        session.say("Agents reach Stackroom at this address, with this header, until you press Ctrl-C.")

    with session.open(mode="a" if allow_writes else "r") as index:
        server = made(index, writes=allow_writes, folders=[folder.absolute() for folder in folders])
        if http:
            where = Where(host, port, certificate, private_key, without_tls)
            serve_http(server, where, os.environ.get(TOKEN) or None, started)
        else:
            _let_ctrl_c_end_it()
            serve(server)
    return 0


def _let_ctrl_c_end_it() -> None:
    """A thread waits for the agent's next line, and no exception reaches it: Ctrl-C would wait for that line. What was committed stays."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
