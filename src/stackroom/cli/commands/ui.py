"""ui: the library in the browser."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stackroom._optional import needing
from stackroom.cli.serving import serving_options
from stackroom.cli.session import Session, safe


@click.command(
    "ui",
    help="""Open the library in your browser: search, read, add, switch and remove documents. Ctrl-C ends it.

    It is served on this machine, for this machine, to whoever has the address that is printed. docs/page.md says more.""",
)
@click.option("--no-open", is_flag=True, help="Print the address; open no browser.")
@click.option(
    "--documents",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where files are kept that you drop on the page (else LIBRARY-documents, beside the library).",
)
@serving_options(7865)
@click.pass_obj
def ui_command(
    session: Session,
    port: int | None,
    no_open: bool,
    documents: Path | None,
    host: str,
    certificate: Path | None,
    private_key: Path | None,
    without_tls: bool,
) -> int:
    with needing("ui"):
        from stackroom.web.listening import Where
        from stackroom.web.serving import serve

    def started(address: str, once: str) -> None:
        if session.as_json:
            session.print_json({"address": address})
        else:
            click.echo(safe(address))
        sys.stdout.flush()
        session.say("Stackroom is at this address, until you press Ctrl-C.")
        if not no_open:
            _open(once)

    folder = None if documents is None else documents.expanduser().absolute()
    serve(session.library, folder, Where(host, port, certificate, private_key, without_tls), started, copy=session.copy)
    return 0


def _open(address: str) -> None:
    """In a thread: some browsers do not return before they are closed."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), name="stackroom-browser", daemon=True).start()
