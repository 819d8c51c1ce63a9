"""What changes the library: add, remove, rebuild."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stackroom.cli.meter import duration, meter
from stackroom.cli.session import Session, asking, cancellable, count, safe
from stackroom.errors import DamagedError, StackroomError
from stackroom.model import ALLOWED
from stackroom.reports import Comparison, Failure, LengthEstimate, Report, ScanEstimate
from stackroom.types import Source

if TYPE_CHECKING:
    from stackroom.index import Index

_SHOWN = 10
_NOTED = 5
_NO_SOURCE = ("OSError", "UsageError")
"""Kinds of failures that are noted of no source: a link that leads nowhere, a folder that can't be entered, a reader that was not named."""


def _commonest(skipped: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(skipped.items(), key=lambda item: -item[1])[:5]


def _how_to_read(skipped: Mapping[str, int]) -> str:
    """What takes files in that a walk left alone: a kind that is asked for, or the file's own name."""
    from stackroom.ingest.readers import ON_REQUEST

    kinds = [kind for kind, suffixes in sorted(ON_REQUEST.items()) if not suffixes.isdisjoint(skipped)]
    asked = " ".join(f"--also {kind}" for kind in kinds)
    asked += " --ocr" if "picture" in kinds else ""
    rest = skipped.keys() - frozenset().union(*(ON_REQUEST[kind] for kind in kinds))
    named = "a file that is named itself is tried whatever its kind" if rest else ""
    told = "; ".join(part for part in (asked and f"{asked} takes them too", named) if part)
    return f"{told[0].upper()}{told[1:]}."


def _finish(session: Session, report: Report, again: str, *, embedding: bool = False) -> int:
    """Print the report; returns the exit code. `embedding`: no source was read, every passage was embedded."""
    if session.as_json:
        session.print_json(report)
    else:
        _tell(session, report, again, embedding)
    if report.cancelled:
        return 130
    return 1 if _failed_now(report) else 0


def _failed_now(report: Report) -> list[Failure]:
    """What an earlier run has told of does not count for ever: a file that has not changed was not read again."""
    return [failure for failure in report.failures if not failure.before]


def _tell(session: Session, report: Report, again: str, embedding: bool) -> None:
    failures = _failed_now(report)
    before = len(report.failures) - len(failures)
    told = {name: getattr(report, name) for name in ("added", "updated", "moved", "unchanged", "removed")}
    told |= {"failed": len(failures), "failed before": before}
    done = [f"{number:,} {name}" for name, number in told.items() if number]
    if embedding and (report.embedded or not report.cancelled):
        session.say(f"{count(report.embedded, 'passage')} embedded anew in {duration(report.seconds)}.")
    elif done or report.chunks or not report.cancelled:
        line = ", ".join(done) or ("no file was finished" if report.cancelled else "nothing to do")
        session.say(f"{line[0].upper()}{line[1:]}. {count(report.chunks, 'passage')} in {duration(report.seconds)}.")
    if report.reused:
        kept = "its vector" if report.reused == 1 else "their vectors"
        session.say(f"{count(report.reused, 'passage')} kept {kept}.")
    if report.pages_without_text:
        pages = count(report.pages_without_text, "page")
        session.say(f"{pages} without text (pictures, or scans; --ocr recognises what is written in them):")
        _name_notes(session, report, "pages_without_text")
    if any(note.kind == "incomplete" for note in report.notes):
        session.say("Not all could be read of:")
        _name_notes(session, report, "incomplete")
    if report.skipped:
        kinds = ", ".join(f"{number:,} {suffix or '(no suffix)'}" for suffix, number in _commonest(report.skipped))
        session.say(
            f"{count(sum(report.skipped.values()), 'file')} of other kinds left alone: {kinds}. {_how_to_read(report.skipped)}"
        )
    if report.outside:
        session.say(f"{count(report.outside, 'link')} out of these folders left alone; --follow-links goes after them.")
    # What no list shows comes first.
    failures.sort(key=lambda failure: failure.kind not in _NO_SOURCE)
    for failure in failures[:_SHOWN]:
        session.say(
            f"  failed: {safe(failure.path, keep_newlines=False)}\n          {safe(failure.reason, keep_newlines=False)}"
        )
    others = failures[_SHOWN:]
    listed = [failure for failure in others if failure.kind not in _NO_SOURCE]
    if len(others) > len(listed):
        session.say(f"  ... and {len(others) - len(listed):,} more that no list shows; --json names them all")
    if listed:
        session.say(f"  ... and {len(listed):,} more; see: {session.command('list', '--failed')}")
    elif before:
        session.say(
            f"What failed before has not changed, and --retry reads it again; see: {session.command('list', '--failed')}"
        )
    if report.cancelled:
        left = (
            "What was committed stays."
            if done or report.chunks or (embedding and report.embedded)
            else "Nothing was finished."
        )
        session.say(f"Interrupted. {left} To go on: {again}")


def _name_notes(session: Session, report: Report, kind: str) -> None:
    notes = [note for note in report.notes if note.kind == kind]
    for note in notes[:_NOTED]:
        session.say(f"  {safe(note.path, keep_newlines=False)}\n          {safe(note.reason, keep_newlines=False)}")
    if len(notes) > _NOTED:
        session.say(f"  ... and {len(notes) - _NOTED:,} more; --json names them all.")


def _say_where_texts_go(session: Session, embedder: str | None) -> None:
    """Where the model is on another machine; only a name that the user gave can mean one."""
    named = embedder or os.environ.get(ALLOWED)
    if named and named.partition(":")[0] in ("ollama", "openai"):
        from stackroom.ingest.embedders import destination, resolve

        if (url := destination(resolve(named))) is not None:
            session.say(f"The text of every passage is sent to {safe(url)}, where the model is.")


def _check(paths: Sequence[str], also: Sequence[str], readers: Sequence[str], embedder: str | None) -> None:
    """What is mistyped is said before a library is made for it. Raises NotFoundError, UsageError, UnavailableError."""
    from stackroom.ingest.discovery import Discovery
    from stackroom.ingest.embedders import resolve
    from stackroom.ingest.readers.common import plugged

    Discovery(paths, also=also)
    plugged.load(readers)
    if embedder is not None:
        resolve(embedder)


def _say_what_is_an_index(session: Session, paths: Sequence[str]) -> None:
    """Documents are added, and an index among them is none: whoever names one may not know of `migrate`."""
    from stackroom.migration.stores.detection import detect, foreign

    for path in paths:
        folder = Path(path).expanduser()
        # Whatever keeps it from being recognised is no fault of adding.
        with contextlib.suppress(StackroomError, OSError):
            if detect(folder):
                way = shlex.join(["stackroom", "migrate", path])
                session.say(
                    f"{path} holds another program's index. Its vectors are kept, and nothing is embedded, by: {way}"
                )
            elif (program := foreign(folder)) is not None:
                session.say(f"{path} is {program}'s, which can't be migrated yet: add the files that it was made of.")


_READER = click.option(
    "--reader",
    multiple=True,
    metavar="MODULE:OBJECT",
    help="A reader of your own, from a module that is installed (repeatable; each time).",
)


@click.command("add", help="Index files, folders or globs. Only what is new or changed is read; nothing is removed.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--prune", is_flag=True, help="Remove sources under these folders that are gone from disk.")
@click.option("--retry", is_flag=True, help="Read again what failed before.")
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Skip files or folders like this (repeatable).")
@click.option(
    "--also",
    multiple=True,
    metavar="KIND",
    help="Of folders take these too: code, json, xml, zim, picture (repeatable).",
)
@click.option(
    "--embedder",
    metavar="NAME",
    help="The model of a new library: minilm (shipped), multilingual, onnx:PATH, fastembed:MODEL, sentence-transformers:MODEL, ollama:MODEL, openai:MODEL or openai:MODEL@URL (else STACKROOM_EMBEDDER).",
)
@click.option("--watch", is_flag=True, help="Then follow these folders, and index what changes, until Ctrl-C.")
@click.option("--follow-links", is_flag=True, help="Follow symbolic links that lead out of these folders.")
@_READER
@click.option(
    "--ocr", is_flag=True, help="Then recognise pages without text (scans, pictures); says first how long it takes."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def add_command(
    session: Session,
    paths: tuple[str, ...],
    prune: bool,
    retry: bool,
    ignore: tuple[str, ...],
    also: tuple[str, ...],
    watch: bool,
    follow_links: bool,
    embedder: str | None,
    reader: tuple[str, ...],
    ocr: bool,
    yes: bool,
) -> int:
    if watch and retry:
        raise click.UsageError("--retry reads once more, and --watch goes on and on: add with --retry first.")

    def confirm(gone: int, total: int) -> bool:
        with asking():
            return yes or click.confirm(f"\n{gone} of {total} sources are gone from disk. Remove them?", err=True)

    def agree(expected: ScanEstimate) -> bool:
        session.say(f"\n{_expected(expected)}")
        with asking():
            # Who follows folders is not asked again and again.
            return yes or watch or not sys.stdin.isatty() or click.confirm("Recognise them?", default=True, err=True)

    asks = confirm if yes or sys.stdin.isatty() else None
    _check(paths, also, reader, embedder)
    _say_what_is_an_index(session, paths)
    _say_where_texts_go(session, embedder)
    wanted: dict[str, Any] = {
        "prune": prune,
        "ignore": ignore,
        "also": also,
        "readers": reader,
        "follow_links": follow_links,
        "ocr": ocr,
        "agree": agree,
    }
    if watch:
        return _watch(session, paths, embedder, confirm if yes else None, wanted)
    with cancellable() as cancel, session.open(embedder=embedder) as index, meter(session, "Indexing") as progress:
        report = index.add(paths, retry=retry, confirm=asks, progress=progress, cancel=cancel, **wanted)
    flags = {"--prune": prune, "--retry": retry, "--follow-links": follow_links, "--ocr": ocr}
    valued = {"--also": also, "--ignore": ignore, "--embedder": (embedder,) if embedder else (), "--reader": reader}
    options = [flag for flag, is_set in flags.items() if is_set]
    options += [word for option, values in valued.items() for value in values for word in (option, value)]
    code = _finish(session, report, session.command("add", *options, *paths))
    if report.added and not report.cancelled:
        session.say(f'Now search: {session.command("search")} "your question"')
    return code


def _expected(estimate: ScanEstimate) -> str:
    """How long recognising takes, for people."""
    pages = f"{count(estimate.pages, 'page')} in {count(estimate.files, 'file')} without text"
    if not estimate.seconds_a_page:
        return f"{pages}, and nothing on the first of them: that is quick."
    return f"{pages}. To recognise them takes about {duration(estimate.seconds)}: {estimate.seconds_a_page:.1f} seconds a page, by one that was tried."


def _watch(
    session: Session,
    paths: tuple[str, ...],
    embedder: str | None,
    confirm: Callable[[int, int], bool] | None,
    options: Mapping[str, Any],
) -> int:
    """Ctrl-C is how it ends, and no fault."""
    begun: list[bool] = []

    def told(said: Report | str) -> None:
        if isinstance(said, str):
            session.say(said)
        elif not begun or said.added or said.updated or said.moved or said.removed or _failed_now(said):
            _finish(session, said, session.command("add", "--watch", *paths))
        if not begun:
            begun.append(True)
            session.say("Following what changes there. Ctrl-C ends it.")

    with cancellable() as cancel, session.open(embedder=embedder) as index, meter(session, "Indexing") as progress:
        index.watch(paths, told=told, confirm=confirm, progress=progress, cancel=cancel, **options)
    return 0


@click.command("remove", help="Take sources out of the library: by title, path, glob or id. The files themselves stay.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--purge", is_flag=True, help="Leave nothing of them in any file of the library (slow).")
@click.option("-y", "--yes", is_flag=True, help="Do not ask when several sources match.")
@click.pass_obj
def remove_command(session: Session, sources: tuple[str, ...], purge: bool, yes: bool) -> int:
    with cancellable() as cancel, session.open(existing=True) as index:
        found = {source.id: source for wanted in sources for source in index.find(wanted)}
        if len(found) > len(sources) and not yes:
            _name(session, list(found.values()))
            if not sys.stdin.isatty():
                raise click.UsageError(f"This means {len(found)} sources. Say so with --yes.")
            with asking():
                click.confirm(f"Remove {len(found)} sources?", abort=True, err=True)
        forgotten = _forgotten(index, found)
        with meter(session, "Removing") as progress:
            report = index.remove(list(found), purge=purge, progress=progress, cancel=cancel)
    if session.as_json:
        session.print_json(report)
    session.say(f"Removed {count(report.removed, 'source')} with {count(report.chunks, 'passage')}.")
    if forgotten:
        session.say(f"Forgotten with that: {'; '.join(forgotten)}. What is added again is new: active, and in no set.")
    if any(os.path.isabs(source.path) and os.path.isfile(source.path) for source in found.values()):
        session.say(
            "The files stay where they are, and the next add of their folder takes them in again: "
            "a file .stackroomignore there, with a name or a glob a line, keeps them out."
        )
    if report.cancelled:
        again = session.command("compact", "--purge")
        session.say(f"The purge was interrupted: files may still hold traces. To finish it: {again}")
        return 130
    return 0


def _forgotten(index: Index, found: Mapping[str, Source]) -> list[str]:
    """What a person has said of these sources, and will have to say again."""
    said = []
    with contextlib.suppress(DamagedError):  # nor could they be searched
        sets = [one for one in index.sets() if not found.keys().isdisjoint(one.source_ids)]
        said = [f"the place in the set {safe(one.name, keep_newlines=False)}" for one in sets]
    off = sum(not source.active for source in found.values())
    return [*said, f"that {count(off, 'source')} {'was' if off == 1 else 'were'} switched off"] if off else said


def _name(session: Session, sources: list[Source]) -> None:
    for source in sources[:_SHOWN]:
        session.say(f"  {safe(source.path, keep_newlines=False)}")
    if len(sources) > _SHOWN:
        session.say(f"  ... and {len(sources) - _SHOWN:,} more")


@click.command("rebuild", help="Read sources again (all files by default), or embed everything with another model.")
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@click.option(
    "--embedder",
    metavar="NAME",
    help="Change the model: minilm (shipped), multilingual, onnx:PATH, fastembed:MODEL, sentence-transformers:MODEL, ollama:MODEL, openai:MODEL or openai:MODEL@URL.",
)
@click.option("--back", is_flag=True, help="Go back to the model before the last change; its vectors are kept.")
@click.option("--discard", is_flag=True, help="Give up the vectors of the model before, and the way back.")
@_READER
@click.option("-y", "--yes", is_flag=True, help="Do not ask, and switch to a model also where it finds less.")
@click.pass_obj
def rebuild_command(
    session: Session,
    sources: tuple[str, ...],
    embedder: str | None,
    back: bool,
    discard: bool,
    reader: tuple[str, ...],
    yes: bool,
) -> int:
    if sum((bool(sources), embedder is not None, back, discard)) > 1:
        raise click.UsageError("Sources, --embedder, --back and --discard are for one each.")
    if discard:
        return _discard(session)

    def confirm(comparison: Comparison) -> bool:
        if not comparison.is_worse or yes:
            return True
        with asking():
            session.say(_compared(comparison))
            return sys.stdin.isatty() and click.confirm("The new model finds less. Switch to it?", err=True)

    def agree(estimate: LengthEstimate) -> bool:
        session.say(_too_long(estimate, since=back))
        if not yes and sys.stdin.isatty():
            with asking():
                click.confirm("Go on?", default=True, abort=True, err=True)
        return True

    _say_where_texts_go(session, embedder)
    with cancellable() as cancel, session.open(existing=True) as index, meter(session, "Rebuilding") as progress:
        report = index.rebuild(
            sources or None,
            embedder=embedder,
            back=back,
            readers=reader,
            confirm=confirm,
            agree=agree,
            progress=progress,
            cancel=cancel,
        )
        serving = index.stats().embedder if report.switched else None
    model = ("--embedder", embedder) if embedder else ("--back",) if back else ()
    code = _finish(
        session, report, session.command("rebuild", *model, *sources), embedding=embedder is not None or back
    )
    if not model or report.cancelled:
        return code
    if report.comparison is not None and not report.comparison.is_worse:
        session.say(_compared(report.comparison))
    if not report.switched:
        session.say(
            f"The old model goes on serving. To switch all the same: {session.command('rebuild', *model, '--yes')}"
        )
        return 1
    named = f"{safe(serving.name, keep_newlines=False)} serves now. " if serving else ""
    session.say(
        f"{named}The vectors of the model before are kept. To go back: {session.command('rebuild', '--back')}. "
        f"To give them up: {session.command('rebuild', '--discard')}"
    )
    if report.too_long is not None:
        session.say(f"To split files anew, into passages that it reads whole: {session.command('rebuild')}")
    return code


def _too_long(estimate: LengthEstimate, *, since: bool) -> str:
    """What a model does not read, for people; `since`: only what was added since it served is embedded."""
    about = "About " if estimate.looked_at < estimate.chunks else ""
    are = "is" if estimate.longer == 1 else "are"
    passages = count(estimate.chunks, "passage")
    if since:
        passages += f" that {'was' if estimate.chunks == 1 else 'were'} added since"
    return (
        f"{about}{estimate.longer:,} of {passages} {are} longer than {safe(estimate.model, keep_newlines=False)} reads "
        f"({estimate.max_tokens} tokens): it sees only the beginning. Once it serves, a rebuild splits files anew."
    )


def _discard(session: Session) -> int:
    with session.open(existing=True) as index:
        gone = index.discard_former()
    if session.as_json:
        session.print_json({"discarded": gone})
    session.say("The vectors of the model before are gone." if gone else "There are none of another model.")
    return 0


def _compared(comparison: Comparison) -> str:
    """How two models answer, for people."""
    questions = f"Of {count(comparison.questions, 'question')} from its own passages"
    after = f"{comparison.after} finds the passage of {comparison.found_after:.0%}"
    if comparison.found_before is None or comparison.overlap is None:
        return f"{questions}, {after}. The model before is not at hand to compare with."
    return f"{questions}, {comparison.before} finds the passage of {comparison.found_before:.0%}, {after}; they share {comparison.overlap:.0%} of the ten best."
