"""Repair, above storage: lost vectors are made again by the library's model, lost passages are read again from their files."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from stackroom.backend import EMBED_AGAIN, Backend, SourceRecord, Waiting
from stackroom.errors import (
    DamagedError,
    EmbedderMismatchError,
    NotFoundError,
    StackroomError,
    UnavailableError,
    UsageError,
)
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.reports import Damage, Repair, Verification

if TYPE_CHECKING:
    from stackroom.model import LibraryModel

_BATCH = 32

_LOST = "Passages of it were lost, and it was not read again:"
"""How the reason begins with which such a source is recorded."""


class _Left(NamedTuple):
    """Why a source that lost passages was not read again, and what brings them back."""

    why: str
    then: str

    def __str__(self) -> str:
        return f"{self.why} {self.then}"


def repair(backend: Backend, model: LibraryModel, *, dry_run: bool, progress: Progress, cancel: CancelToken) -> Repair:
    """All that can be done, in this order: what survives, files, vectors. What a killed run has left is done by the next one."""
    found = backend.repair(dry_run=dry_run, progress=progress, cancel=cancel)
    if found.cancelled:
        return found
    if dry_run:
        return _planned(backend, model, found)
    reread, unread = _read_again(backend, model, progress, cancel)
    embedded, waiting = _embed_again(backend, model, progress, cancel)
    return replace(
        found,
        lost=_still_lost(backend, found.lost),
        waiting=(*waiting, *unread),
        embedded=embedded,
        reread=reread,
        cancelled=cancel.cancelled,
    )


def _planned(backend: Backend, model: LibraryModel, found: Repair) -> Repair:
    """What a dry run says: what the run would do with each source and with lost vectors, as far as that can be known without doing it.

    Storage names the sources that lost passages in `waiting`, and counts lost vectors in `embedded`; where it finds no damage, these are what
    an earlier repair could not do.
    """
    if not found.damage:
        waiting, records = _unread(backend)
        unread = tuple(Damage("sources", "", None, record.name) for record in records.values())
        found = replace(found, waiting=unread, embedded=len(waiting.embed))
    files = [(name, _kept_from(backend, name)) for one in found.waiting if (name := one.source) is not None]
    back = {name for name, left in files if left is None}
    waits = [_not_read(name, left) for name, left in files if left is not None]
    embedded = found.embedded
    if embedded:
        try:
            # No view: that would ask for the vector file, which may be what is lost.
            model(backend.stats().embedder)
        except DamagedError:
            pass  # which model it is can't be read before the repair
        except (EmbedderMismatchError, UnavailableError, UsageError) as error:
            waits.insert(0, Damage("vectors", _to_be_made(embedded, error)))
            embedded = 0
    return replace(
        found,
        lost=_without(found.lost, back),
        waiting=tuple(waits),
        embedded=embedded,
        reread=len(back),
        to_read=tuple(sorted(back)),
    )


def naming_model(backend: Backend, model: LibraryModel, found: Verification) -> Verification:
    """What was found, where something waits for a repair: one that needs a model that is not at hand has to be told of it."""
    try:
        model(backend.stats().embedder)
    except DamagedError:
        pass  # which model it is can't be read before the repair
    except (EmbedderMismatchError, UnavailableError, UsageError):
        named = (
            replace(one, message=f"{one.message} --embedder NAME") if one.message.endswith(EMBED_AGAIN) else one
            for one in found.damage
        )
        return replace(found, damage=tuple(named))
    return found


def _kept_from(backend: Backend, name: str) -> _Left | None:
    """What would keep this source of a damaged library from being read again, if anything would."""
    try:
        with backend.view() as view:
            record = view.source(name)
    except StackroomError:
        record = None  # then nobody will know what it was like
    # Of a record that is lost there is its name, and a file's is a path.
    return _why_not(record or SourceRecord(name, is_file=os.path.isabs(name)))


def _read_again(
    backend: Backend, model: LibraryModel, progress: Progress, cancel: CancelToken
) -> tuple[int, list[Damage]]:
    """Files that are as they were are read again: what survived of them keeps its ids and vectors. Returns how many, and those that were not.

    Each of these is recorded as failed, with the reason: the library is whole then, and says what it lacks. It is tried again by the next repair.
    """
    from stackroom.ingest.pipeline import add_paths

    waiting, records = _unread(backend)
    left: dict[int, _Left] = {}
    good: dict[int, str] = {}
    for key, content in waiting.read:
        if (record := records.get(key)) is not None:
            reason = _why_not(replace(record, content_hash=content))
            if reason is None:
                good[key] = record.name
            else:
                left[key] = reason
    refused: StackroomError | None = None
    if good:
        try:
            add_paths(backend, model, list(good.values()), retry=True, progress=progress, cancel=cancel)
        except (EmbedderMismatchError, NotFoundError, UnavailableError, UsageError) as error:
            refused = error
    failed: list[tuple[SourceRecord, _Left]] = []
    if waiting.read:
        with backend.commit() as commit:
            # Once more, now that nobody else writes: sources may have been removed, or read, since.
            waiting, records = _unread(backend)
            if not cancel.cancelled:
                left |= {key: _refused(records[key], refused) for key in good.keys() & records.keys()}
            failed = [(records[key], reason) for key, reason in left.items() if key in records]
            for record, reason in failed:
                said = f"{_LOST} {reason}"
                commit.put_source(replace(record, error=said, error_kind=DamagedError.__name__))
            read = tuple(one for one in waiting.read if one[0] in records)
            commit.set_waiting(waiting._replace(read=read))
    done = sum(key not in records for key in good)
    return done, [_not_read(record.name, reason) for record, reason in failed]


def _unread(backend: Backend) -> tuple[Waiting, dict[int, SourceRecord]]:
    """What waits, and the records of the sources that do so; some may have been removed or read by somebody else."""
    with backend.view() as view:
        waiting = view.waiting()
        wanted = {key for key, _ in waiting.read}
        records = (record for record in view.each_source() if record.key in wanted) if wanted else ()
        return waiting, {record.key: record for record in records if record.state != "indexed"}


def _why_not(record: SourceRecord) -> _Left | None:
    """What keeps a source from being read in the place of what it was, if anything does."""
    from stackroom.ingest.file_facts import IMPORTED, hash_file
    from stackroom.ingest.pipeline import own_reader

    name = record.name
    again, without = f"stackroom add {shlex.quote(name)}", f"stackroom remove {shlex.quote(name)}"
    if not record.is_file:
        return _Left("it came without a file.", f"Give it again. Or give up what is left of it: {without}")
    if name_of_reader := own_reader(record.recipe):
        return _Left(
            f"{name_of_reader!r} had read it, a reader of your own.",
            f"To have it read anew: stackroom add --retry --reader MODULE:OBJECT {shlex.quote(name)}",
        )
    if record.recipe.startswith(IMPORTED):
        return _Left(
            "another program had read it.",
            f"Give it again as that did, or have it read anew: stackroom rebuild {shlex.quote(name)}",
        )
    try:
        # What it was like is not known where its record is lost; that there is such a file is asked all the same.
        same = hash_file(name) == record.content_hash or record.content_hash is None
    except FileNotFoundError as error:
        return _Left(
            f"{error.strerror}.", f"Put it back and repair again; or, where it has moved, add it there, then: {without}"
        )
    except ValueError:
        return _Left("no file can have this name.", "Add it where it is.")
    except OSError as error:
        return _Left(f"{error.strerror}.", f"Once it can be read: {again}. Or give up what is left of it: {without}")
    return None if same else _Left("it has changed since it was read.", f"To have it read as it is now: {again}")


def _refused(record: SourceRecord, error: StackroomError | None) -> _Left:
    """Why reading a file failed that is as it was."""
    if error is not None:
        return _Left(error.message, error.hint or "Then repair again: stackroom repair")
    without = f"stackroom remove {shlex.quote(record.name)}"
    said = record.error if record.error and not record.error.startswith(_LOST) else "it could not be read."
    return _Left(said, f"Give up what is left of it: {without}")


def _not_read(name: str, left: _Left) -> Damage:
    return Damage("sources", f"{name} can't be read again: {left}", None, name)


def _embed_again(
    backend: Backend, model: LibraryModel, progress: Progress, cancel: CancelToken
) -> tuple[int, list[Damage]]:
    """Passages whose vector is lost, and no others. Returns how many, and the documents that wait for a model."""
    from stackroom.ingest.embedders import checked

    with backend.view() as view:
        waiting = view.waiting()
        live = (
            set(view.live_keys().tolist()) - set(view.live_keys(with_vector=True).tolist()) if waiting.embed else set()
        )
    wanted = [key for key in waiting.embed if key in live]
    embedded = 0
    while (wanted or waiting.embed) and not cancel.cancelled:
        part = wanted[:_BATCH]
        rows = []
        if part:
            with backend.view() as view:
                texts = [passage.text for passage in view.passages(part)]
            try:
                embedder = model()
                rows = list(checked(embedder.embed_passages(texts), n=len(part), dim=embedder.identity.dim))
            except (EmbedderMismatchError, UnavailableError, UsageError) as error:
                return embedded, _documents(backend, wanted, error)
        wanted = wanted[_BATCH:]
        waiting = waiting._replace(embed=tuple(wanted))
        with backend.commit() as commit:
            commit.give_vectors(list(zip(part, rows, strict=True)))
            commit.set_waiting(waiting)
        embedded += len(part)
        progress(ProgressEvent("repair", done=embedded, total=embedded + len(wanted), chunks=embedded))
    return embedded, []


def _documents(backend: Backend, keys: list[int], error: StackroomError) -> list[Damage]:
    """The documents of these passages, each with what keeps it from being embedded."""
    with backend.view() as view:
        counts = Counter(passage.document_id for passage in view.passages(keys))
        owners = view.document_of(list(counts))
    return [
        Damage("vectors", _to_be_made(n, error), document, owners[document][1].name) for document, n in counts.items()
    ]


def _to_be_made(n: int, error: StackroomError) -> str:
    return f"Vectors to be made again: {n:,}. {error.message} {error.hint or ''}".strip()


def _still_lost(backend: Backend, lost: tuple[Damage, ...]) -> tuple[Damage, ...]:
    """Without what came back from its file."""
    if not lost:
        return lost
    with backend.view() as view:
        waiting = {key for key, _ in view.waiting().read}
        back = {
            record.name
            for record in view.each_source()
            if record.is_file and record.state == "indexed" and record.key not in waiting
        }
    return _without(lost, back)


def _without(lost: tuple[Damage, ...], back: Collection[str]) -> tuple[Damage, ...]:
    """What is lost but for that of sources that are read again from their files."""
    by_file = ("sources", "documents", "chunks")
    return tuple(one for one in lost if not (one.structure in by_file and one.source in back))
