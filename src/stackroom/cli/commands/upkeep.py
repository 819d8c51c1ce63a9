"""What keeps the library well: verify, repair, compact, backup."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from stackroom.cli.commands.library import size
from stackroom.cli.meter import meter
from stackroom.cli.session import Session, cancellable, count, safe
from stackroom.errors import DamagedError
from stackroom.forms import plain
from stackroom.reports import Damage, Repair

_SHOWN = 20


def _line(damage: Damage) -> str:
    """The file that is hit, what is wrong, and whose it is."""
    part, file = damage.structure, damage.file
    where = part if file is None else file if file.startswith(part) else f"{file} ({part})"
    whose = f" ({damage.source or ''}, document {damage.document_id})" if damage.document_id else ""
    return safe(f"  {where}: {damage.message}{whose}")


@click.command("verify", help="Check every stored byte, and name what is damaged.")
@click.pass_obj
def verify_command(session: Session) -> int:
    try:
        with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Checking") as progress:
            found = index.verify(progress=progress, cancel=cancel)
    except DamagedError as error:
        # Elsewhere this command is what to do next.
        if "stackroom verify" in (error.hint or ""):
            error.hint = "Bring back what can be: stackroom repair"
        raise
    if session.as_json:
        told = {"ok": found.ok, "chunks": found.chunks, "rows": found.rows, "damage": found.damage}
        session.print_json(told, index)
    for damage in found.damage[:_SHOWN]:
        session.say(_line(damage))
    if cancel.cancelled:
        session.say("Interrupted: not everything was checked.")
        return 130
    if found.ok:
        session.say(f"All is well: {found.chunks:,} passages and {found.rows:,} vectors checked.")
        return 0
    damaged = "1 thing is damaged" if len(found.damage) == 1 else f"{len(found.damage):,} things are damaged"
    session.say(f"{damaged}. Bring back what can be: {session.command('repair')}")
    return DamagedError.exit_code


@click.command(
    "repair",
    help="Bring back what can be of a damaged library, and say what can't be. What was damaged is put aside in the library's folder.",
)
@click.option(
    "--embedder", metavar="NAME", help="The model that made the library's vectors, where it is not at hand by its name."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.pass_obj
def repair_command(session: Session, embedder: str | None, dry_run: bool) -> int:
    import stackroom

    with cancellable() as cancel, meter(session, "Repairing") as progress:
        done = stackroom.repair(session.library, embedder=embedder, dry_run=dry_run, progress=progress, cancel=cancel)
    if session.as_json:
        session.print_json({"ok": done.ok, **plain(done)})
    _tell(session, done)
    if done.cancelled:
        return 130
    if dry_run:
        return DamagedError.exit_code if done.damage else 0
    return 0 if done.ok else 1


def _tell(session: Session, done: Repair) -> None:
    for title, found in (("Damaged", done.damage), ("Lost", done.lost), ("Waiting", done.waiting)):
        if found:
            session.say(f"{title}:")
        for damage in found[:_SHOWN]:
            session.say(_line(damage))
        if len(found) > _SHOWN:
            session.say(f"  and {len(found) - _SHOWN:,} more; --json names them all.")
    for line in done.restored:
        session.say(safe(line))
    if done.reread:
        session.say(f"{count(done.reread, 'file')} read again.")
    if done.embedded:
        session.say(f"{count(done.embedded, 'passage')} embedded again.")
    if done.aside:
        session.say(f"What was damaged is in {safe(done.aside)}; delete it when you no longer want it.")
    if done.cancelled:
        session.say("Interrupted: the next repair goes on here.")
    elif done.dry_run:
        session.say("Nothing was changed." if done.damage else "All is well.")
    elif done.ok:
        session.say("All is well." if not done.damage else "Everything is there again.")


@click.command("compact", help="Give disk space back after removals and changes. Searches go on meanwhile.")
@click.option("--purge", is_flag=True, help="Leave nothing of what was removed in any file of the library (slow).")
@click.pass_obj
def compact_command(session: Session, purge: bool) -> int:
    with cancellable() as cancel, session.open(existing=True) as index, meter(session, "Compacting") as progress:
        done = index.compact(purge=purge, progress=progress, cancel=cancel)
    if session.as_json:
        session.print_json(done)
    session.say(f"{size(done.bytes_before)} before, {size(done.bytes_after)} now.")
    return 130 if cancel.cancelled else 0


@click.command(
    "backup",
    help="Copy the library to DIR while it is used: its newest commit, whole or not at all. A backup is a library like any other.",
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--refresh", is_flag=True, help="DIR holds an earlier backup of this library: replace it.")
@click.pass_obj
def backup_command(session: Session, folder: str, refresh: bool) -> int:
    with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Copying") as progress:
        done = index.backup(folder, refresh=refresh, progress=progress, cancel=cancel)
    if not done:
        session.say(f"Interrupted: {folder} is what it was before.")
        return 130
    if session.as_json:
        session.print_json({"folder": os.path.abspath(folder)}, index)
    there = replace(session, library=folder, copy=None)
    session.say(f"The library is in {folder}, and can be used there: {there.command('status')}")
    session.say(f"From there to another place: {there.command('backup', 'FOLDER')}")
    return 0
