"""How a library answers, measured on itself."""

from __future__ import annotations

import click

from stackroom.cli.meter import meter
from stackroom.cli.session import Session, cancellable, safe
from stackroom.errors import UsageError
from stackroom.reports import Measurement, Timing

_NAMES = {"vector": "by meaning", "exact": "the same, scanning all", "text": "by words", "hybrid": "by both"}


@click.command(
    "measure",
    help="""Ask the library questions of its own: how long searches take, how many of the exact ten best they find, and what other settings would give.

    A search by meaning scores some passages exactly after a quick look at all, and more where these may not hold the best. --candidates
    sets a number of them. One that finds less than is promised is refused, unless --force is given.""",
)
@click.option("--questions", type=click.IntRange(min=1), default=100, show_default=True, help="How many to ask.")
@click.option("--candidates", metavar="N", help="Keep this setting: a number, or auto for as many as it takes.")
@click.option("--force", is_flag=True, help="With --candidates: even if recall is below the promise.")
@click.pass_obj
def measure_command(session: Session, questions: int, candidates: str | None, force: bool) -> int:
    if force and candidates is None:
        raise click.UsageError("--force belongs to --candidates.")
    if candidates is not None:
        return _set(session, candidates, force)
    with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Measuring") as progress:
        found = index.measure(questions=questions, progress=progress, cancel=cancel)
    if cancel.cancelled:
        session.say("Interrupted.")
        return 130
    if session.as_json:
        session.print_json(found, index)
    else:
        _tell(found)
    return 0


def _set(session: Session, candidates: str, force: bool) -> int:
    if candidates != "auto" and not candidates.isdecimal():
        raise UsageError(f"--candidates must not be {candidates!r}.", hint="Give a number, or auto.")
    number = None if candidates == "auto" else int(candidates)
    with cancellable() as cancel, session.open(existing=True) as index, meter(session, "Measuring") as progress:
        index.set_candidates(number, force=force, progress=progress, cancel=cancel)
    if cancel.cancelled:
        session.say("Interrupted. Nothing was changed.")
        return 130
    if session.as_json:
        session.print_json({"candidates": number})
    session.say(
        "The usual setting again." if number is None else f"Searches by meaning score {number:,} candidates now."
    )
    return 0


def _tell(found: Measurement) -> None:
    click.echo(f"{found.questions:,} questions ({safe(found.asked)}) to {found.chunks:,} passages, ten hits each:")
    for name, timing in found.searches.items():
        recall = f"   recall {found.recall:.4f}" if name == "vector" else ""
        click.echo(f"  {_NAMES[name]:<24}{_milliseconds(timing)}{recall}")
    setting = "as many as it takes (auto)" if found.candidates is None else f"{found.candidates:,}"
    click.echo(f"Candidates: {setting}. What others would give; {found.promised} is promised:")
    for other in found.settings:
        below = "   below the promise" if other.recall < found.promised else ""
        click.echo(f"  {other.candidates:<24,}{_milliseconds(other.vector)}   recall {other.recall:.4f}{below}")


def _milliseconds(timing: Timing) -> str:
    return f"{timing.median:8.2f} ms   p99 {timing.p99:8.2f} ms"
