"""A library to another engine and back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from stackroom.cli.meter import duration, meter
from stackroom.cli.session import Session, cancellable, count, safe
from stackroom.reports import TransferReport

if TYPE_CHECKING:
    from stackroom.backend import Backend
    from stackroom.index import Index

_URL = (
    "URL is postgresql://HOST/DATABASE?library=NAME, milvus://HOST:PORT/DATABASE?library=NAME, qdrant://HOST:PORT?library=NAME or "
    "chroma://HOST:PORT?library=NAME; a password comes from the environment (PGPASSWORD or ~/.pgpass; MILVUS_TOKEN; QDRANT_API_KEY; CHROMA_API_KEY)."
)
_SINCE = "Prove only what is sent now, not all that is there."


@click.command(
    "push",
    help=f"""Make the library at URL hold what this one holds, and prove it. Nothing is embedded again.

    Run again, it sends what changed, and removes what is gone. One that was stopped goes on. {_URL}""",
)
@click.argument("url")
@click.option("--since-last", is_flag=True, help=_SINCE)
@click.pass_obj
def push_command(session: Session, url: str, since_last: bool) -> int:
    from stackroom.engines import checked

    # What was mistyped is told before what is not there.
    checked(url)
    with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Sending") as progress:
        report = index.push(url, since_last=since_last, progress=progress, cancel=cancel)
    return _tell(session, report, "sent", index)


@click.command(
    "pull",
    help=f"""Make this library hold what the one at URL holds, and prove it: the way back from push.

    Run again, it fetches what changed, and removes what is gone. {_URL}""",
)
@click.argument("url")
@click.option("--since-last", is_flag=True, help=_SINCE)
@click.pass_obj
def pull_command(session: Session, url: str, since_last: bool) -> int:
    from stackroom.transfer import pull

    with cancellable() as cancel, contextlib.ExitStack() as opened:

        def target() -> Backend:
            return opened.enter_context(session.open(quiet=True)).backend

        progress = opened.enter_context(meter(session, "Fetching"))
        report = pull(target, url, since_last=since_last, progress=progress, cancel=cancel)
    return _tell(session, report, "fetched")


def _tell(session: Session, report: TransferReport, done: str, index: Index | None = None) -> int:
    if session.as_json:
        session.print_json(report, index)
    session.say(
        f"{count(report.added + report.updated, 'document')} {done} with {count(report.chunks, 'passage')}, {report.unchanged:,} unchanged, "
        f"{report.removed:,} removed, in {duration(report.seconds)}."
    )
    if report.repeated:
        session.say(f"The engine was away, and it went on {count(report.repeated, 'time')}.")
    if report.cancelled or report.proof is None:
        session.say("Interrupted: the next run goes on here.")
        return 130
    proof = report.proof
    session.say(
        f"Proven: {count(proof.passages, 'passage')} and {count(proof.vectors, 'vector')} are the same"
        f"{'' if proof.whole else ' of those sent'}, and so are the answers to {proof.queries:,} queries and {count(proof.filters, 'filter')}."
    )
    if proof.recall is not None and proof.recall < 1:
        session.say(f"An ordinary search of {safe(report.target)} finds {proof.recall:.1%} of the exact ten best.")
    if report.origin_unfinished:
        verb = click.get_current_context().info_name
        again = session.command(verb or "", report.target if verb == "push" else report.origin)
        session.beware(f"{report.said_of_origin} Run that again, then: {again}")
    return 0
