"""The options of commands that serve: where, and with which certificate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

HERE = "127.0.0.1"


def serving_options(usual_port: int) -> Callable[[Command], Command]:
    """Gives a command `port`, `host`, `certificate`, `private_key` and `without_tls`."""
    options = (
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            metavar="N",
            help=f"The port (else {usual_port}, or any that is free).",
        ),
        click.option("--host", default=HERE, metavar="NAME", help="Serve on this address of this machine instead."),
        click.option(
            "--certificate",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="For another host: serve TLS with this certificate (PEM).",
        ),
        click.option(
            "--private-key", type=click.Path(path_type=Path), metavar="FILE", help="The certificate's key (PEM)."
        ),
        click.option(
            "--without-tls",
            is_flag=True,
            help="For another host: serve without TLS, in a network that you trust.",
        ),
    )

    def give(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return give
