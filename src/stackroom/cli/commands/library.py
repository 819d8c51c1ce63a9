"""What shows the library: list, show, active, status."""

from __future__ import annotations

import math
import shlex
import shutil
from collections import Counter

import click

from stackroom.cli.commands.search import empty, where_text
from stackroom.cli.session import Session, count, safe, working
from stackroom.forms import passage_form, status_form
from stackroom.reports import Collection, Stats
from stackroom.types import RECOGNISED, Source

_NOTHING_FAILED = (
    "No file failed. Links that lead nowhere and folders that can't be read are no sources: each add names them."
)


_UNFINISHED = (
    "It was not read to its end: the run that reads it goes on, or was interrupted, and then the next add goes on."
)
_HALF_GIVEN = (
    "It was not stored to its end: who gives it goes on, or was interrupted, and then it is to be given again."
)


@click.command(
    "list",
    help="""Show the sources: all, or those of a name, path or glob.

    * is active, ! failed, ~ was not read to its end.""",
)
@click.argument("wanted", required=False, metavar="[SOURCE]")
@click.option("--failed", is_flag=True, help="Only those that could not be read, or not to their end, with the reason.")
@click.pass_obj
def list_command(session: Session, wanted: str | None, failed: bool) -> int:
    with session.open(mode="r") as index:
        sources = index.find(wanted) if wanted else index.sources()
        nothing = _NOTHING_FAILED if failed else "" if sources else empty(session, index)
    if failed:
        sources = [source for source in sources if source.error or source.unfinished]
    if session.as_json:
        session.print_json({"sources": sources}, index)
        return 0
    if not sources:
        session.say(nothing)
    width = shutil.get_terminal_size((100, 24)).columns
    for source in sources:
        _print_source(source, width)
        if failed:
            click.echo(f"          {_reason(session, source)}")
    return 0


def _reason(session: Session, source: Source) -> str:
    """Why its last reading failed or has not ended, and what is advised, for the library that was named."""
    from stackroom.cli.main import with_library

    return with_library(safe(source.error or _unfinished(source), keep_newlines=False), session.library)


def _unfinished(source: Source) -> str:
    # A record has no file's time.
    return _HALF_GIVEN if source.modified_at is None else _UNFINISHED


def _print_source(source: Source, width: int) -> None:
    sign = "!" if source.error else "~" if source.unfinished else "*" if source.active else " "
    facts = f"{sign} {source.chunks:>6,}  {source.type or ('failed' if source.error else '?'):<9}"
    title = safe(source.title, keep_newlines=False)
    path = safe(source.path, keep_newlines=False)
    room = max(width - len(facts) - 4, 20)
    title = title if len(title) <= room // 2 else title[: room // 2 - 1] + "…"
    rest = room - len(title)
    path = path if len(path) <= rest else "…" + path[-rest + 1 :]
    click.echo(f"{facts} {click.style(title, bold=True)}  {click.style(path, dim=True)}")


@click.command("show", help="Print the passages of one source with their places.")
@click.argument("source", metavar="SOURCE")
@click.pass_obj
def show_command(session: Session, source: str) -> int:
    with session.open(mode="r") as index:
        passages = index.get(source)
        (found,) = index.find(source)
    if session.as_json:
        session.print_json({"source": found, "passages": [passage_form(passage) for passage in passages]}, index)
        return 0
    for number, passage in enumerate(passages, start=1):
        where = safe(where_text(passage.place), keep_newlines=False)
        told = click.style("  recognised in a picture", fg="yellow") if passage.metadata.get(RECOGNISED) else ""
        click.echo(f"{click.style(f'[{number}]', bold=True)} {click.style(where, fg='cyan')}{told}")
        click.echo(safe(passage.text) + "\n")
    if found.error:
        session.say(f"Its last reading failed: {_reason(session, found)}")
    elif found.unfinished:
        session.say(_unfinished(found))
    return 0


@click.command("active", help="Switch sources on or off for 'search --active': on SOURCE..., off SOURCE..., all, none.")
@click.argument("switch", type=click.Choice(["on", "off", "all", "none"]))
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@click.pass_obj
def active_command(session: Session, switch: str, sources: tuple[str, ...]) -> int:
    if (switch in ("on", "off")) != bool(sources):
        raise click.UsageError("on and off need sources; all and none take none.")
    with session.open(existing=True) as index:
        changed = index.set_active(sources or None, switch in ("on", "all"))
        stats = index.stats()
    if session.as_json:
        session.print_json({"changed": changed, "active_sources": stats.active_sources, "sources": stats.sources})
    session.say(f"{stats.active_sources:,} of {stats.sources:,} sources are active.")
    return 0


@click.command(
    "set",
    help="""Save sources under a name, for 'search --set NAME' and 'ask --set NAME'.

    Without a name the sets are listed; with a name alone, its sources.""",
)
@click.argument("name", required=False, metavar="[NAME]")
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@click.option("--join", is_flag=True, help="Put them beside what the set has; else they take its place.")
@click.option("--delete", is_flag=True, help="Forget the set; its sources stay.")
@click.pass_obj
def set_command(session: Session, name: str | None, sources: tuple[str, ...], join: bool, delete: bool) -> int:
    if (delete and (name is None or sources)) or (join and (delete or not sources)):
        raise click.UsageError("--delete needs a name and nothing else; --join needs a name and sources.")
    if name is None:
        _list_sets(session)
        return 0
    with session.open(mode="a" if sources or delete else "r", existing=True) as index:
        if delete:
            index.delete_set(name)
        elif sources:
            index.save_set(name, sources, join=join)
        listed = [] if delete else index.sources(set_name=name)
    if session.as_json:
        session.print_json({"set": name, "sources": listed, "deleted": delete}, index)
        return 0
    if delete or sources:
        session.say(
            f"The set {name} is gone; its sources stay." if delete else f"{name}: {count(len(listed), 'source')}."
        )
        return 0
    if not listed:
        session.say(
            f"The set {name} is empty: its sources were removed. Fill it with: {session.command('set', name)} SOURCE..."
        )
    width = shutil.get_terminal_size((100, 24)).columns
    for source in listed:
        _print_source(source, width)
    return 0


def _list_sets(session: Session) -> None:
    with session.open(mode="r") as index:
        found = index.sets()
    if session.as_json:
        session.print_json({"sets": [{"name": one.name, "sources": len(one.source_ids)} for one in found]}, index)
        return
    if not found:
        session.say(f"No set is saved. Save one with: {session.command('set')} NAME SOURCE...")
    for one in found:
        click.echo(f"{len(one.source_ids):>8,}  {safe(one.name, keep_newlines=False)}")


@click.command("status", help="The library in numbers: sources, passages, bytes, model, failures.")
@click.pass_obj
def status_command(session: Session) -> int:
    from stackroom.migration.origin import written_since

    with session.open(mode="r", quiet=True) as index:
        stats = index.stats()
        since = None if index.path is None else written_since(index.path)
        now = working(index)
    if session.as_json:
        session.print_json({**status_form(stats), "working": now, "old_files_changed": since})
        return 0
    model = stats.embedder
    rows = [("library", stats.library)]
    if stats.fallback is not None:
        rows.append(("away", f"the engine; this is {stats.fallback.said}"))
    elif stats.copied is not None and stats.copied.said:
        rows.append(("a copy", stats.copied.said))
    if now is not None:
        rows.append(("working", f"{now['purpose']} (process {now['pid']}, since {now['since']})"))
    rows += [
        ("sources", f"{stats.sources:,} ({stats.active_sources:,} active)"),
        ("passages", f"{stats.chunks:,} in {count(stats.documents, 'document')}"),
        ("model", f"{model.name or '(unnamed)'}, {model.dim} dimensions" if model else "none yet"),
        (
            "on disk",
            ", ".join(f"{name.replace('_', ' ')} {size(count)}" for name, count in stats.bytes.items() if count),
        ),
        ("format", f"{stats.format_version}, {stats.engine or f'SQLite {stats.sqlite}'}"),
    ]
    rows += [("collection", _collection(item)) for item in stats.collections if not _is_all(item, stats)]
    if stats.former is not None:
        undo, forget = session.command("rebuild", "--back"), session.command("rebuild", "--discard")
        rows.append(("before", f"{stats.former.name or '(unnamed)'}, whose vectors are kept: {undo}, or {forget}"))
    if stats.needs_embedding:
        rows.append(
            (
                "to embed",
                f"{count(stats.needs_embedding, 'passage')} without a vector; to read their files again: {session.command('rebuild')}",
            )
        )
    if stats.pages_without_text:
        rows.append(
            (
                "no text",
                f"{count(stats.pages_without_text, 'page')}; to recognise it: {session.command('add', '--ocr')} PATH",
            )
        )
    if stats.recognised:
        rows.append(
            (
                "recognised",
                f"{count(stats.recognised, 'document')} with pages whose text was recognised in pictures; see: {session.command('search', '--where', 'recognised == true')} WORDS",
            )
        )
    if stats.hiding:
        rows.append(
            (
                "hidden",
                f"{count(stats.hiding, 'document')} with hidden text, which was left out; see: {session.command('search', '--where', 'hidden_characters > 0')} WORDS",
            )
        )
    if stats.unfinished:
        rows.append(
            (
                "unfinished",
                f"{count(stats.unfinished, 'source')} not read to the end; see: {session.command('list', '--failed')}",
            )
        )
    if stats.missing:
        rows.append(
            (
                "missing",
                f"{count(stats.missing, 'file')} no longer in place; what is stored of it stays, until {session.command('add', '--prune')} FOLDER removes it",
            )
        )
    if since is not None:
        rows.append(("old files", since))
    if stats.set_aside:
        rows.append(("set aside", set_aside(stats)))
    for name, value in rows:
        click.echo(f"{click.style(f'{name:>10}', dim=True)}  {safe(value, keep_newlines=False)}")
    if stats.failed_count:
        kinds = Counter(failure.kind for failure in stats.failed).most_common(1)[0][0]
        click.echo(
            f"{click.style('    failed', dim=True)}  {stats.failed_count:,} ({kinds} first); see: {session.command('list', '--failed')}"
        )
    return 0


def set_aside(stats: Stats) -> str:
    """What repairs have put aside, how large it is, and what may be done with it."""
    folders, plural = stats.set_aside, len(stats.set_aside) > 1
    return (
        f"{', '.join(folders)} ({size(stats.bytes['set_aside'])}) {'are' if plural else 'is'} what {'repairs' if plural else 'a repair'} replaced. "
        f"Delete {'them' if plural else 'it'} once you miss nothing: rm -r {shlex.join(folders)}"
    )


def _is_all(item: Collection, stats: Stats) -> bool:
    """Whether a collection is the library itself, as the one index of an old store is."""
    return item.chunks == stats.chunks and not item.own_vectors


def _collection(item: Collection) -> str:
    vectors = "no vectors" if item.dim is None else f"{item.dim} dimensions{', of its own' if item.own_vectors else ''}"
    return f"{item.name}: {count(item.chunks, 'passage')}, {vectors}"


def size(count: float) -> str:
    """Bytes as a person reads them, in powers of 1,000."""
    if count < 1000:
        return f"{count:.0f} B"
    units = ("kB", "MB", "GB")
    power = min(int(math.log10(count)) // 3, len(units))
    return f"{count / 1000**power:.1f} {units[power - 1]}"
