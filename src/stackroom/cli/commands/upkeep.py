"""What keeps the library well: verify, repair, compact, backup."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from stackroom.cli.commands.library import set_aside, size
from stackroom.cli.meter import meter
from stackroom.cli.session import Session, cancellable, count, safe
from stackroom.errors import DamagedError
from stackroom.forms import plain
from stackroom.reports import Damage, Repair

if TYPE_CHECKING:
    from stackroom.index import Index

_SHOWN = 20
"""Lines of one list."""
_FEW = 3
"""Of one kind so many are shown, and more are counted."""
_NAMES = 5
_NUMBER = re.compile(r"\d[\d,.]*")
_GRAVEST = ("chunks", "documents", "sources", "originals", "attachments", "vectors")


def _put_aside(index: Index) -> str:
    stats = index.stats()
    return set_aside(stats) if stats.set_aside else ""


def _list(session: Session, title: str, found: Sequence[Damage]) -> None:
    from stackroom.cli.main import with_library

    if not found:
        return
    session.say(f"{title}:")
    kinds: dict[object, list[Damage]] = {}
    for damage in found:
        kinds.setdefault(_kind(damage), []).append(damage)
    told = [lines for alike in sorted(kinds.values(), key=_gravity) for lines in _told_of(alike)]
    for line, _ in told[:_SHOWN]:
        session.say(with_library(line, session.library))
    if left := sum(n for _, n in told[_SHOWN:]):
        session.say(f"  and {left:,} more; --json names them all.")
    elif len(told) < len(found):
        session.say("  --json names them all.")


def _kind(damage: Damage) -> object:
    """What those have in common that differ in numbers and names alone."""
    message = damage.message.replace(damage.source, "") if damage.source else damage.message
    return damage.structure, damage.file, _NUMBER.sub("", message)


def _gravity(alike: Sequence[Damage]) -> int:
    """The place of a kind in the order of what weighs more: texts before what is known of them."""
    part = alike[0].structure
    return _GRAVEST.index(part) if part in _GRAVEST else len(_GRAVEST)


def _told_of(alike: Sequence[Damage]) -> Iterator[tuple[str, int]]:
    """Each of a few; of many the first, with their number and whose they are. With each line how many it tells of."""
    if len(alike) <= _FEW:
        yield from ((_line(damage), 1) for damage in alike)
        return
    names = list(dict.fromkeys(damage.source for damage in alike if damage.source))
    more = ", …" if len(names) > _NAMES else ""
    whose = f", of {count(len(names), 'source')}: {', '.join(names[:_NAMES])}{more}" if names else ""
    yield f"{_line(alike[0])}\n{safe(f'    and {len(alike) - 1:,} more like it{whose}')}", len(alike)


def _line(damage: Damage) -> str:
    """The file that is hit, what is wrong, and whose it is."""
    part, file = damage.structure, damage.file
    where = part if file is None else file if file.startswith(part) else f"{file} ({part})"
    if damage.document_id:
        whose = f" ({damage.source or ''}, document {damage.document_id})"
    else:
        whose = f" ({damage.source})" if damage.source and damage.source not in damage.message else ""
    # Of a source its name is said first, and nothing of how it is kept.
    head = "" if part == "sources" and file is None and damage.source else f"{where}: "
    return safe(f"  {head}{damage.message}{whose}")


@click.command("verify", help="Check every stored byte, and name what is damaged.")
@click.pass_obj
def verify_command(session: Session) -> int:
    try:
        with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Checking") as progress:
            found = index.verify(progress=progress, cancel=cancel)
            kept = _put_aside(index) if found.ok else ""
    except DamagedError as error:
        # Elsewhere this command is what to do next.
        if "stackroom verify" in (error.hint or ""):
            error.hint = (
                "Nothing else could be compared: only the catalogue says what the vector files are to hold. "
                "What can be brought back, and what can't: stackroom repair --dry-run"
            )
        raise
    if session.as_json:
        session.print_json({"ok": found.ok, **plain(found)}, index)
    _list(session, "Damaged", found.damage)
    if cancel.cancelled:
        session.say("Interrupted: not everything was checked.")
        return 130
    if found.ok:
        well = "Nothing is damaged" if found.incomplete else "All is well"
        session.say(f"{well}: {found.chunks:,} passages and {found.rows:,} vectors checked.")
        if found.incomplete:
            what = "1 source is" if len(found.incomplete) == 1 else f"{len(found.incomplete):,} sources are"
            _list(session, f"{what} incomplete", found.incomplete)
        if kept:
            session.say(kept)
        return 0
    damaged = "1 thing is damaged" if len(found.damage) == 1 else f"{len(found.damage):,} things are damaged"
    # What a repair has left names its command itself.
    begun = all(one.structure == "repair" for one in found.damage)
    session.say(f"{damaged}." if begun else f"{damaged}. Bring back what can be: {session.command('repair')}")
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
        return DamagedError.exit_code if _has_work(done) else 0
    return 0 if done.ok else 1


def _tell(session: Session, done: Repair) -> None:
    if done.dry_run:
        titles = ("Damaged", "Would be lost", "Would not be brought back yet")
    else:
        titles = ("Damaged", "Lost", "Not brought back yet")
    for title, found in zip(titles, (done.damage, done.lost, done.waiting), strict=True):
        _list(session, title, found)
    for line in done.restored:
        session.say(line)
    would = "would be " if done.dry_run else ""
    if done.reread:
        names = f": {', '.join(done.to_read[:_SHOWN])}" if done.to_read else ""
        more = f" and {len(done.to_read) - _SHOWN:,} more" if len(done.to_read) > _SHOWN else ""
        session.say(f"{count(done.reread, 'file')} {would}read again{names}{more}.")
    if done.embedded:
        session.say(f"{count(done.embedded, 'passage')} {would}embedded again.")
    if done.aside:
        session.say(f"What was damaged is in {done.aside}; delete it when you no longer want it.")
    for line in _ending(session, done):
        session.say(line)


def _ending(session: Session, done: Repair) -> Iterator[str]:
    """How things stand now, and what to do next."""
    if done.cancelled:
        yield "Interrupted: the next repair goes on here."
        return
    would = "would be" if done.dry_run else "is"
    if done.ok:
        yield f"Everything {would} there again." if _has_work(done) else "All is well."
    else:
        yield f"Not everything {would} there again: {_what_is_not(done)}. What is left serves."
        if done.lost:
            yield "What is lost is in a backup, where there is one; else add it again from where it came."
    if done.dry_run:
        yield (
            f"Nothing was changed. To do it: {session.command('repair')}" if _has_work(done) else "Nothing was changed."
        )
    elif any(one.structure == "sources" for one in done.waiting):
        yield f"The sources that were not read again, and why: {session.command('list', '--failed')}"


def _has_work(done: Repair) -> bool:
    """Whether there is, or was, anything to bring back."""
    return bool(done.damage or done.reread or done.embedded or done.waiting)


def _what_is_not(done: Repair) -> str:
    """1 thing is lost, and 1 source was not read again"""
    lost, sources = len(done.lost), sum(one.structure == "sources" for one in done.waiting)
    documents = len(done.waiting) - sources
    told = []
    if lost:
        told.append(f"{count(lost, 'thing')} {'is' if lost == 1 else 'are'} lost")
    if sources:
        was = "would not be" if done.dry_run else "was not" if sources == 1 else "were not"
        told.append(f"{count(sources, 'source')} {was} read again")
    if documents:
        told.append(f"{count(documents, 'document')} {'waits' if documents == 1 else 'wait'} for the model")
    return ", and ".join(told)


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
    help="Copy the library to DIR while it is used: its newest commit, whole or not at all. A backup is a library like any other. With --refresh it can be run each night.",
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option(
    "--refresh",
    is_flag=True,
    help="Bring DIR up to date: it holds a backup of an earlier state of this library, or nothing yet. Every byte there is compared.",
)
@click.pass_obj
def backup_command(session: Session, folder: str, refresh: bool) -> int:
    with cancellable() as cancel, session.open(mode="r") as index, meter(session, "Copying") as progress:
        done = index.backup(folder, refresh=refresh, progress=progress, cancel=cancel)
    if done.cancelled:
        session.say(f"Interrupted: {folder} is what it was before.")
        return 130
    there = replace(session, library=folder, copy=None)
    with there.open(mode="r", quiet=True) as copied:
        stats = copied.stats()
    held = {name: getattr(stats, name) for name in ("sources", "documents", "chunks")}
    if session.as_json:
        session.print_json(
            {"folder": os.path.abspath(folder), "copied": done.copied, **held, "bytes": stats.bytes["total"]}, index
        )
    of, total = (
        f"{count(stats.documents, 'document')} with {count(stats.chunks, 'passage')}",
        size(stats.bytes["total"]),
    )
    away = index.fallback
    home = str(index.path) if away is None else away.folder
    what = home if away is None else f"The copy {home} of {away.url}, whose engine was away,"
    use = f"{of}, {total}. It can be used there: {there.command('status')}"
    session.say(
        f"{what} is copied to {folder}: {use}"
        if done.copied
        else f"Nothing was copied: {folder} holds the newest commit of {home} already, {use}"
    )
    own = replace(session, library=home, copy=None)
    session.say(f"Bring it up to date: {own.command('backup', '--refresh', folder)}")
    session.say(
        "Every byte of it was compared."
        if done.compared
        else f"It was opened there. Every byte is compared by: {there.command('verify')}"
    )
    session.say(f"Should {home} be lost, move away what is left of it, then: {there.command('backup', home)}")
    if away is not None:
        session.say(f"To bring the library back where its engine lost it: {there.command('push', away.url)}")
    return 0
