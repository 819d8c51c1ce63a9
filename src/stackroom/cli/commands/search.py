"""search: ten hits, each with its place and the passage that answers."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from stackroom.cli.session import Session, Worded, count, filling, safe
from stackroom.errors import NotRerankedWarning
from stackroom.forms import hits_form
from stackroom.types import HIDDEN_CHARACTERS, INCOMPLETE, RECOGNISED, Explanation, Hit, Place

if TYPE_CHECKING:
    from stackroom.index import Index

_LINES = 4
_PLACES = 5
_COUNT = click.IntRange(min=1)


@click.command(
    "search",
    cls=Worded,
    help='Find passages, in words and in meaning. Words in "quotes" must stand in each; -word excludes: "cats -dogs", or -- cats -dogs.',
)
@click.argument("query", nargs=-1, required=True)
@click.option("-k", type=_COUNT, default=10, show_default=True, metavar="N", help="How many hits.")
@click.option("--mode", type=click.Choice(["hybrid", "vector", "text"]), help="Both (the default), meaning, or words.")
@click.option(
    "--in", "sources", multiple=True, metavar="NAME", help="Only in this source: title, path or glob (repeatable)."
)
@click.option(
    "--where", multiple=True, metavar="EXPR", help='Only where metadata fits: "year >= 2020" (repeatable: and).'
)
@click.option("--active", is_flag=True, help="Only in active sources.")
@click.option("--set", "set_name", metavar="NAME", help="Only in the sources of this set: see stackroom set.")
@click.option(
    "--collection",
    default="default",
    metavar="NAME",
    help="Only in this collection, which a migration made of an index or namespace; status lists them.",
)
@click.option("--exact", is_flag=True, help="Scan every vector.")
@click.option("--per-document", type=_COUNT, metavar="N", help="At most so many hits of one document.")
@click.option(
    "--context", type=click.IntRange(min=0), default=0, metavar="N", help="Show so many neighbouring passages."
)
@click.option(
    "--rerank",
    metavar="NAME",
    help="Have a reranker read the best passages and order them: fastembed:MODEL. It has five seconds.",
)
@click.option("--explain", is_flag=True, help="Show what each leg thought of a hit.")
@click.option("--full", is_flag=True, help="Print whole passages.")
@click.pass_obj
def search_command(session: Session, /, query: tuple[str, ...], full: bool, **options: Any) -> int:
    import time
    import warnings

    from stackroom.search.copies import different

    text = " ".join(query)
    if not text.strip():
        raise click.UsageError("The query is empty.")
    options["where"] = list(options["where"]) or None
    options["sources"] = list(options["sources"]) or None
    with session.open(mode="r") as index:
        options["mode"], reason = index.resolve_mode(options["mode"], collection=options["collection"])
        if reason is not None:
            session.say(f"{safe(reason)} Words alone were searched.")

        def again(k: int) -> list[Hit]:
            # What a reranker has read is not read once more.
            return hits if options["rerank"] is not None else index.search(text, **{**options, "k": k})

        begun = time.perf_counter()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", NotRerankedWarning)
            hits = index.search(text, **options)
            found = [] if session.as_json else different(hits, options["k"], again)
        for one in told:
            session.say(safe(str(one.message)))
        took = (time.perf_counter() - begun) * 1000
        if session.as_json:
            session.print_json(hits_form(text, options["mode"], took, hits, explain=options["explain"]), index)
            return 0
        if not found:
            nothing(session, index, text, **{name: options[name] for name in ("active", "where", "collection")})
            return 0
        marking = options["mode"] != "vector"
        for number, (hit, copies) in enumerate(found, start=1):
            _print_hit(number, hit, copies, text, full=full, marking=marking, mode=options["mode"])
    session.say(f"{count(len(found), 'hit')} in {took:.0f} ms.")
    if options["mode"] == "hybrid" and (poor := sum(hit.score == 0 for hit, _ in found)):
        session.say(f"{poor} of score 0: none of the words, and no nearer in meaning than any other passage.")
    return 0


def nothing(
    session: Session, index: Index, query: str, *, active: bool, where: list[str] | None, collection: str = "default"
) -> None:
    """Say why no passage was found, as far as that is known."""
    from stackroom.filters import as_filter
    from stackroom.search.unmatched import unheld, unmatched

    stats = index.stats()
    unmet: list[str] = []
    if stats.chunks:
        with index.backend.view() as view:
            unmet = unheld(view, query, collection)
            unmet += unmatched(view, as_filter(where), collection) if where else []
    for said in unmet:
        session.say(said)
    if active and stats.chunks and not stats.active_sources:
        session.say(f"No source is active. Switch some on: {session.command('active', 'on')} SOURCE...")
    elif stats.chunks:
        session.say("Nothing was found." if unmet else "Nothing was found. Other words, or fewer conditions, may help.")
        if (now := filling(index)) is not None:
            session.say(now)
        elif stats.unfinished:
            unread = count(stats.unfinished, "source")
            session.say(f"{unread} not read to the end yet; see: {session.command('list', '--failed')}")
    else:
        session.say(empty(session, index))


def empty(session: Session, index: Index) -> str:
    """What is said of a library without passages."""
    return filling(index) or f"The library is empty. Fill it with: {session.command('add')} PATH"


def _score(score: float) -> str:
    """Words that most passages hold weigh next to nothing, but not nothing: in a small library those are many."""
    return "<.001" if 0 < score < 0.0005 else f"{score:.3f}"


def also(copies: Sequence[Hit]) -> Iterator[str]:
    """Where else the same text stands, a line a place; of many places the first are told."""
    for other in copies[:_PLACES]:
        parts = [other.document.title, where_text(other.place, other.document.title), other.document.path]
        told = "  ".join(dict.fromkeys(filter(None, parts)))
        yield f"also: {safe(told, keep_newlines=False)}"
    if len(copies) > _PLACES:
        yield f"also: {len(copies) - _PLACES} more"


def _print_hit(
    number: int, hit: Hit, copies: Sequence[Hit], query: str, *, full: bool, marking: bool, mode: str
) -> None:
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    title = safe(hit.document.title, keep_newlines=False)
    where = safe(where_text(hit.place, hit.document.title), keep_newlines=False)
    click.echo(
        f"{click.style(f'{number:>2}', bold=True)}  {click.style(_score(hit.score), dim=True)}  "
        f"{click.style(title, fg='cyan', bold=True)}{'  ' + where if where else ''}"
    )
    for passage in hit.before:
        _print_text(passage.text, [], width, dim=True)
    _print_passage(hit.text, query if marking else "", width, full=full)
    for passage in hit.after:
        _print_text(passage.text, [], width, dim=True)
    if hit.document.path != hit.document.title:
        click.echo(click.style(f"    {safe(hit.document.path, keep_newlines=False)}", dim=True))
    for line in also(copies):
        click.echo(click.style(f"    {line}", dim=True))
    if hit.metadata.get(RECOGNISED):
        click.echo(
            click.style("    This text was recognised in a picture of the page: it may hold mistakes.", fg="yellow")
        )
    # An application's own documents may have anything under these names.
    gone, lost = (hit.document.metadata.get(name) for name in (HIDDEN_CHARACTERS, INCOMPLETE))
    if type(gone) is int and gone > 0:
        click.echo(click.style(f"    Its file hides {gone} characters of text, which were left out.", fg="yellow"))
    if isinstance(lost, str) and lost:
        click.echo(click.style(f"    {safe(lost, keep_newlines=False)}", fg="yellow"))
    if hit.explain is not None:
        click.echo(click.style(f"    {_explanation(hit.explain, mode)}", fg="yellow"))
    click.echo()


def where_text(place: Place, title: str = "") -> str:
    """A place as a person names it: p. 12, Chapter > Section. A heading that only repeats the title is left out."""
    parts = []
    if place.page is not None:
        label = f"p. {place.page}"
        if place.page_end not in (None, place.page):
            label += f"-{place.page_end}"
        if place.page_label and place.page_label != str(place.page):
            label += f" ({place.page_label})"
        parts.append(label)
    elif place.page_label:
        parts.append(f"p. {place.page_label}")
    if place.unit is not None and place.first is not None:
        parts.append(_counted(place.unit, place.first, place.last))
    section = [heading for heading in place.section if heading != title]
    if section:
        parts.append(" > ".join(section[-2:]))
    return ", ".join(parts)


def _counted(unit: str, first: float, last: float | None) -> str:
    """ "rows 2-9", or "0:01:12-0:01:40" in a recording."""
    if unit == "second":
        begin, end = _clock(first), None if last is None else _clock(last)
        return begin if end in (None, begin) else f"{begin}-{end}"
    return f"{unit} {int(first)}" if last is None or last == first else f"{unit}s {int(first)}-{int(last)}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _print_passage(text: str, query: str, width: int, *, full: bool) -> None:
    from stackroom.search.marking import mark, snippet

    if full:
        for line in text.splitlines():
            _print_text(line, mark(line, query) if query else [], width)
        return
    text = " ".join(text.split())
    spans = mark(text, query) if query else []
    start, end = snippet(text, spans, (width - 4) * _LINES)
    spans = [(a - start, b - start) for a, b in spans if a >= start and b <= end]
    text = ("... " if start else "") + text[start:end] + (" ..." if end < len(text) else "")
    spans = [(a + 4, b + 4) for a, b in spans] if start else spans
    _print_text(text, spans, width)


def _print_text(text: str, spans: list[tuple[int, int]], width: int, *, dim: bool = False) -> None:
    """Wrapped and indented; matched words stand out on a terminal, and are left alone in a pipe."""
    text = safe(text, keep_newlines=False)
    if not sys.stdout.isatty():
        spans = []
    marked = [False] * len(text)
    for start, end in spans:
        marked[start:end] = [True] * (end - start)
    at = 0
    for line in textwrap.wrap(text, width - 4, drop_whitespace=True, break_on_hyphens=False) or [""]:
        at = text.index(line, at)
        click.echo("    " + _styled(line, marked[at : at + len(line)], dim=dim))
        at += len(line)


def _styled(line: str, marked: list[bool], *, dim: bool) -> str:
    if not any(marked):
        return click.style(line, dim=True) if dim else line
    parts: list[str] = []
    start = 0
    for index in range(1, len(line) + 1):
        if index == len(line) or marked[index] != marked[start]:
            part = line[start:index]
            parts.append(click.style(part, bold=True, fg="green") if marked[start] else part)
            start = index
    return "".join(parts)


def _explanation(explain: Explanation, mode: str) -> str:
    """What each leg that ran thought of a hit."""
    parts = []
    for name, other, leg in (("meaning", "text", explain.vector), ("words", "vector", explain.text)):
        if mode == other:
            continue
        if leg is None:
            parts.append(f"{name}: not among its best")
        else:
            share = "" if leg.share is None else f", adds {leg.share:.3f}"
            parts.append(f"{name}: rank {leg.rank}, score {leg.score:.3f}{share}")
    if explain.rerank is not None:
        parts.append(f"reranker: rank {explain.rerank.rank}, score {explain.rerank.score:.3f}")
    return "; ".join(parts)
