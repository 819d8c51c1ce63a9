"""The progress bar: on a terminal, and only there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from stackroom.cli.session import Session, safe
from stackroom.progress import Progress, ProgressEvent, silent

_LABELS = {
    ("", "scan"): "Looking",
    ("Converting", "verify"): "Proving",
    ("Sending", "verify"): "Proving",
    ("Fetching", "verify"): "Proving",
    ("Compacting", "shrink"): "Shrinking",
}
"""What a stage of a verb is called, where it is not what the verb itself does."""


@contextlib.contextmanager
def meter(session: Session, what: str) -> Iterator[Progress]:
    """Shows ProgressEvents while the block runs."""
    if session.quiet or session.as_json or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, note="")

        def show(event: ProgressEvent) -> None:
            label = _LABELS.get((what, event.stage)) or _LABELS.get(("", event.stage), what)
            if bar.tasks[0].description != label:
                # Another stage counts something else, from the beginning.
                bar.reset(task, total=None, description=label)
            bar.update(task, completed=event.done, total=event.total, note=_note(event))

        yield show


def _note(event: ProgressEvent) -> str:
    parts = []
    if event.rate:
        parts.append(f"{event.rate:,.0f} passages/s")
    if event.seconds_left is not None:
        parts.append(f"{duration(event.seconds_left)} left")
    if event.failed:
        parts.append(f"{event.failed} failed")
    if event.current:
        parts.append(safe(Path(event.current).name, keep_newlines=False)[:30].replace("[", "("))
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
