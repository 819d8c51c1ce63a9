"""What keeps the library well: verify, compact."""

from __future__ import annotations

import click

from stackroom.cli.commands.library import size
from stackroom.cli.meter import meter
from stackroom.cli.session import Session, cancellable, safe
from stackroom.errors import DamagedError

_SHOWN = 20


@click.command("verify", help="Check every stored byte, and name what is damaged.")
@click.pass_obj
def verify_command(session: Session) -> int:
    with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Checking") as progress:
        found = index.verify(progress=progress, cancel=cancel)
    if session.as_json:
        session.print_json({"ok": found.ok, "chunks": found.chunks, "rows": found.rows, "damage": found.damage})
    for damage in found.damage[:_SHOWN]:
        where = f" ({safe(damage.source or '')}, document {damage.document_id})" if damage.document_id else ""
        session.say(f"  {damage.structure}: {safe(damage.message)}{where}")
    if cancel.cancelled:
        session.say("Interrupted: not everything was checked.")
        return 130
    if found.ok:
        session.say(f"All is well: {found.chunks:,} passages and {found.rows:,} vectors checked.")
        return 0
    damaged = "1 thing is damaged" if len(found.damage) == 1 else f"{len(found.damage):,} things are damaged"
    session.say(f"{damaged}. Read the sources named above again: {session.command('rebuild')} SOURCE")
    return DamagedError.exit_code


@click.command("compact", help="Give disk space back after removals and changes. Searches go on meanwhile.")
@click.option("--purge", is_flag=True, help="Leave nothing of what was removed in any file of the library (slow).")
@click.pass_obj
def compact_command(session: Session, purge: bool) -> int:
    with cancellable() as cancel, session.open() as index, meter(session, "Compacting") as progress:
        done = index.compact(purge=purge, progress=progress, cancel=cancel)
    if session.as_json:
        session.print_json(done)
    session.say(f"{size(done.bytes_before)} before, {size(done.bytes_after)} now.")
    return 130 if cancel.cancelled else 0
