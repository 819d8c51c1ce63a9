"""What brings other programs' indexes in, and takes a library out again."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from stackroom.cli.commands.library import size
from stackroom.cli.meter import duration, meter
from stackroom.cli.session import Session, asking, cancellable, count, safe
from stackroom.errors import UsageError
from stackroom.progress import Progress, ProgressEvent
from stackroom.reports import Anomaly, Inventory, MigrationReport, ModelGuess
from stackroom.types import Source

_SHOWN = 10

_UNFINISHED = "Removed what a stopped migration had written. The old files are as they were."

_FORMATS = (
    "llamaindex, llamaindex-faiss, llamaindex-file, llamaindex-0.4, llamaindex-dump, llamaindex-cache, langchain-faiss, "
    "nano-vectordb, documents-npy or registry"
)


@click.command(
    "migrate",
    help="""Turn another program's index into a library, without embedding anything, and prove it. The old files stay as they are.

    In place by default: the library is made within OLD, and OLD can be opened like any library. With --library it is made there.
    Formats: LlamaIndex (JSON of every release, FAISS), LangChain FAISS, nano-vectordb, documents.json with embeddings.npy.""",
)
@click.argument("old", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Only say what is in there, and what it takes.")
@click.option("--from", "format", metavar="FORMAT", help=f"Which index is meant, where OLD holds several: {_FORMATS}.")
@click.option("--embedder", metavar="NAME", help="The model that made the vectors; the claim is checked.")
@click.option("--index-id", metavar="ID", help="Take one of several indexes.")
@click.option("--keep-orphans", is_flag=True, help="Keep vectors whose text is missing.")
@click.option("--split-dims", is_flag=True, help="Keep vectors of another dimension in a collection.")
@click.option(
    "--metric",
    type=click.Choice(["cosine", "dot", "l2"]),
    help="How scores are reckoned; cosine unless said otherwise.",
)
@click.option("--roll-back", is_flag=True, help="Remove the new library; the old files serve again.")
@click.option("--discard-old", is_flag=True, help="Delete the old files, once the new library is verified.")
@click.option(
    "--even-what-was-left-out", "left_out", is_flag=True, help="With --discard-old: also what was not migrated."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def migrate_command(
    session: Session,
    /,
    old: str,
    dry_run: bool,
    roll_back: bool,
    discard_old: bool,
    left_out: bool,
    yes: bool,
    **choices: Any,
) -> int:
    if sum((dry_run, roll_back, discard_old)) > 1:
        raise click.UsageError("Choose one of --dry-run, --roll-back and --discard-old.")
    if left_out and not discard_old:
        raise click.UsageError("--even-what-was-left-out belongs to --discard-old.")
    if roll_back and session.library is not None and _drop_unfinished(session):
        return 0
    if (roll_back or discard_old) and session.library is not None:
        raise click.UsageError(_elsewhere(session.library, discard_old))
    if roll_back:
        return _roll_back(session, old, yes)
    if discard_old:
        return _discard(session, old, yes, left_out)
    if dry_run:
        return _dry_run(session, old, choices)
    return _migrate(session, old, choices)


def _dry_run(session: Session, old: str, choices: dict[str, Any]) -> int:
    from stackroom import migration

    with cancellable() as cancel, meter(session, "Looking") as progress:
        found = migration.inventory(old, library=session.library, progress=progress, cancel=cancel, **choices)
    if cancel.cancelled:
        session.say("Interrupted.")
        return 130
    if session.as_json:
        session.print_json(found)
    else:
        _tell_inventory(found, choices["metric"])
    return 0


def _already(chunks: int, library: str) -> str:
    return f"Already migrated: {count(chunks, 'passage')} in {safe(library)}."


def _tell_inventory(found: Inventory, metric: str | None) -> None:
    if found.already:
        click.echo(f"{_already(found.chunks, found.target)} There is nothing to do.")
        return
    lines = [
        f"{safe(found.path)}",
        f"  format      {found.format}, written by {found.made_by}",
        f"  size        {size(found.bytes)} in {count(len(found.files), 'file')}",
        f"  holds       {count(found.chunks, 'passage')} of {count(found.documents, 'document')}"
        f" from {count(found.sources, 'source')}, {count(found.vectors, 'vector')}",
    ]
    for name, number in found.dimensions.items():
        namespace, _, dim = name.rpartition(":")
        lines.append(f"  vectors     {number:,} of {dim} dimensions ({safe(namespace)})")
    lines += [f"  index       {safe(name)}" for name in found.indexes] if len(found.indexes) > 1 else []
    lines += [f"  model       {line}" for line in _models(found.models, found.vectors, metric)]
    lines += [f"  note        {line}" for line in _anomalies(found.anomalies)]
    lines += [
        f"  takes       about {duration(found.seconds)} and {size(found.disk)} of disk ({size(found.disk_free)} free)",
        f"  becomes     {safe(found.target)}",
    ]
    if not found.target_writable:
        lines.append("              which can't be written; make the library elsewhere: --library NEW")
    click.echo("\n".join(lines))


def _models(guesses: Sequence[ModelGuess], vectors: int, metric: str | None) -> list[str]:
    if not vectors:
        return ["none, as there are no vectors"]
    if metric not in (None, "cosine"):
        return [f"none is claimed with --metric {metric}; a query then needs words or a vector"]
    if not guesses:
        return ["none at hand has this dimension; a query needs words or a vector, until the model is named"]
    best = guesses[0]
    embedded = f"{best.text}{f', prefixed {best.passage_prefix!r}' if best.passage_prefix else ''}"
    if best.agrees:
        return [f"{best.name} agrees: likeness {best.cosine:.3f} ({embedded})"]
    return [
        f"{best.name} did not make them: likeness {best.cosine:.2f}; a query needs words or a vector, until the model is named"
    ]


def _anomalies(found: Sequence[Anomaly]) -> list[str]:
    return [
        f"{item.count:,} x {item.kind} ({safe(', '.join(item.examples[:2]), keep_newlines=False)[:80]}). {item.rule}"
        for item in found
    ]


def _migrate(session: Session, old: str, choices: dict[str, Any]) -> int:
    from stackroom import migration

    with cancellable() as cancel, _conversion(session) as progress:
        report = migration.migrate(
            old, library=session.library, sketch=False, progress=progress, cancel=cancel, **choices
        )
    if session.as_json:
        session.print_json(report)
    elif report.already:
        named = f" Its model is {report.model}." if choices["embedder"] and report.model else ""
        session.say(f"{_already(report.chunks, report.library)}{named} Nothing was done.")
    elif not report.cancelled:
        _tell_migration(session, report, old, choices)
    if report.cancelled:
        session.say(f"Interrupted. The old files are as they were. To go on: {_command(session, old)}")
        return 130
    if not report.already:
        with cancellable() as cancel, meter(session, "Making searches quick") as progress:
            migration.make_quick(report.library, progress=progress, cancel=cancel)
    return 0


def _command(session: Session, old: str) -> str:
    """What to type for another run."""
    elsewhere = "" if session.library is None else f" --library {shlex.quote(session.library)}"
    return f"stackroom migrate {shlex.quote(old)}{elsewhere}"


@contextlib.contextmanager
def _conversion(session: Session) -> Iterator[Progress]:
    """Looks until the first passages arrive: then nothing is in the way of a conversion, and it is announced."""
    with contextlib.ExitStack() as shown:
        show: Progress = shown.enter_context(meter(session, "Looking"))
        begun = False

        def progress(event: ProgressEvent) -> None:
            nonlocal show, begun
            if not begun:
                begun = True
                shown.close()
                session.say("Old index found. Converting: this happens once, and future loads are immediate.")
                show = shown.enter_context(meter(session, "Converting"))
            show(event)

        yield progress


def _tell_migration(session: Session, report: MigrationReport, old: str, choices: dict[str, Any]) -> None:
    proof = report.proof
    session.say(
        f"Migrated {count(report.chunks, 'passage')} of {count(report.documents, 'document')} in "
        f"{duration(report.seconds)}: {size(report.bytes_before)} became {size(report.bytes_after)}. Nothing was embedded."
    )
    if proof is not None:
        compared = f"{count(proof.texts, 'text')} and {count(proof.vectors + proof.collections, 'vector')} read back and equal bit for bit"
        searched = proof.queries_skipped and f"searches were not compared ({proof.queries_skipped})"
        searched = (
            searched or f"{proof.queries:,} {'search' if proof.queries == 1 else 'searches'} gave the same ten answers"
        )
        session.say(f"Proven: {compared}; {searched}; the old files are unchanged.")
    for line in _models(report.models, report.vectors, choices["metric"]):
        session.say(f"Model: {line}.")
    for line in _anomalies(report.anomalies):
        session.say(f"Note: {line}")
    if report.left_out:
        session.say(f"Left out: {safe('; '.join(report.left_out))}. The old files alone have it.")
    library = shlex.quote(old if session.library is None else session.library)
    session.say(f'\nSearch it:     stackroom --library {library} search "..."')
    if session.library is None:
        session.say(f"Take it back:  {_command(session, old)} --roll-back")
        session.say(f"Free the disk: {_command(session, old)} --discard-old")


def _roll_back(session: Session, old: str, yes: bool) -> int:
    from stackroom import migration
    from stackroom.migration.switch import migrated

    def confirm(new: Sequence[Source]) -> bool:
        for source in new[:_SHOWN]:
            session.say(f"  added or changed since: {safe(source.path, keep_newlines=False)}")
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(
                f"{count(len(new), 'source')} would be lost.",
                hint="Export what is to be kept, then say so with --yes.",
                path=old,
            )
        with asking():
            return click.confirm(f"{count(len(new), 'source')} would be lost. Go on?", err=True)

    unfinished = migrated(Path(old).absolute()) is None
    done = migration.roll_back(old, confirm=confirm)
    if session.as_json:
        session.print_json({"rolled_back": done})
    if done and unfinished:
        session.say(_UNFINISHED)
    else:
        session.say("Taken back: the old files serve again." if done else "Nothing was changed.")
    return 0


def _drop_unfinished(session: Session) -> bool:
    """What a stopped migration to a folder of its own had written."""
    from stackroom.migration.afterwards import drop_unfinished

    if session.library is None or not drop_unfinished(Path(session.library).absolute()):
        return False
    if session.as_json:
        session.print_json({"rolled_back": True})
    session.say(_UNFINISHED)
    return True


def _elsewhere(library: str, discard_old: bool) -> str:
    """Why a library of its own folder is neither taken back nor freed of its old files."""
    if discard_old:
        return "--discard-old is for a migration in place. With a library elsewhere, delete the old files yourself."
    return f"--roll-back is for a migration in place. To be rid of the library, delete its folder: {library}"


def _discard(session: Session, old: str, yes: bool, left_out: bool) -> int:
    from stackroom import migration
    from stackroom.migration.afterwards import would_discard

    freed, lost = would_discard(Path(old).absolute(), even_what_was_left_out=left_out)
    if lost:
        session.say(f"Not migrated, and gone for good: {safe('; '.join(lost))}.")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"This deletes the old files ({size(freed)}).", hint="Say so with --yes.")
        rest = "What was migrated can be exported." if lost else "All of it was migrated, and can be exported."
        with asking():
            click.confirm(f"Delete the old files ({size(freed)})? {rest}", abort=True, err=True)
    freed = migration.discard_old(old, even_what_was_left_out=left_out)
    if session.as_json:
        session.print_json({"freed": freed})
    session.say(f"{size(freed)} freed.")
    return 0


@click.command(
    "export", help="Write the library as a folder that current LlamaIndex opens. FOLDER must be absent or empty."
)
@click.argument("folder", type=click.Path())
@click.option(
    "--format",
    type=click.Choice(["llamaindex-json"]),
    default="llamaindex-json",
    show_default=True,
    help="Whose format.",
)
@click.pass_obj
def export_command(session: Session, folder: str, format: Any) -> int:
    with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Exporting") as progress:
        written = index.export(folder, format=format, progress=progress, cancel=cancel)
    if cancel.cancelled:
        session.say("Interrupted. Nothing was written.")
        return 130
    if session.as_json:
        session.print_json({"chunks": written, "folder": folder}, index)
    session.say(f"{count(written, 'passage')} written to {safe(folder)}.")
    return 0
