"""Repair, above storage: lost vectors are made again by the library's model, lost passages are read again from their files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from stackroom.backend import Backend, Waiting
from stackroom.errors import EmbedderMismatchError, StackroomError, UnavailableError, UsageError
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.reports import Damage, Repair

if TYPE_CHECKING:
    from stackroom.model import LibraryModel

_BATCH = 32


def repair(backend: Backend, model: LibraryModel, *, dry_run: bool, progress: Progress, cancel: CancelToken) -> Repair:
    """All that can be done, in this order: what survives, files, vectors. What a killed run has left is done by the next one."""
    found = backend.repair(dry_run=dry_run, progress=progress, cancel=cancel)
    if dry_run or found.cancelled:
        return found
    reread, changed = _read_again(backend, model, progress, cancel)
    embedded, waiting = _embed_again(backend, model, progress, cancel)
    left = () if cancel.cancelled else _left(backend, changed)
    return replace(
        found,
        lost=_still_lost(backend, found.lost),
        waiting=(*waiting, *left),
        embedded=embedded,
        reread=reread,
        cancelled=cancel.cancelled,
    )


def _read_again(
    backend: Backend, model: LibraryModel, progress: Progress, cancel: CancelToken
) -> tuple[int, dict[int, str]]:
    """Files that are as they were are read again: what survived of them keeps its ids and vectors. Returns how many, and why others were not."""
    from stackroom.ingest.file_facts import IMPORTED
    from stackroom.ingest.pipeline import add_paths

    with backend.view() as view:
        waiting = view.waiting()
        records = {record.key: record for record in view.each_source()} if waiting.read else {}
    reasons: dict[int, str] = {}
    good: dict[int, str] = {}
    over: set[int] = set()
    for key, content in waiting.read:
        record = records.get(key)
        # Gone since, or read since by somebody else.
        if record is None or record.state == "indexed":
            over.add(key)
        elif record.recipe.startswith(IMPORTED):
            reasons[key] = "another program had read it; to have it read anew: stackroom rebuild"
        else:
            reason = _why_not(record.name, content)
            if reason is None:
                good[key] = record.name
            else:
                reasons[key] = reason
    if good:
        try:
            add_paths(backend, model, list(good.values()), retry=True, progress=progress, cancel=cancel)
        except (EmbedderMismatchError, UnavailableError, UsageError) as error:
            reasons.update(dict.fromkeys(good, error.message))
    with backend.view() as view:
        read = {record.key for record in view.each_source() if record.state == "indexed"} if good else set()
    done = {key for key in good if key in read and key not in reasons}
    reasons.update((key, "it could not be read") for key in good if key not in done and key not in reasons)
    kept = tuple((key, content) for key, content in waiting.read if key not in over and key not in done)
    if kept != waiting.read:
        with backend.commit() as commit:
            commit.set_waiting(waiting._replace(read=kept))
    return len(done), reasons


def _why_not(name: str, content: bytes | None) -> str | None:
    """What keeps a file from being read in the place of what it was, if anything does."""
    from stackroom.ingest.file_facts import hash_file

    try:
        same = content is None or hash_file(name) == content
    except OSError as error:
        return str(error.strerror)
    return None if same else "it has changed since it was read"


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
        waiting = Waiting(tuple(wanted), waiting.read)
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
    told = f"{error.message} {error.hint or ''}".strip()
    return [
        Damage("vectors", f"Vectors to be made again: {n:,}. {told}", document, owners[document][1].name)
        for document, n in counts.items()
    ]


def _left(backend: Backend, reasons: dict[int, str]) -> list[Damage]:
    """The sources that could not be read again."""
    with backend.view() as view:
        names = {record.key: record.name for record in view.each_source()} if reasons else {}
    hint = "What is left of it serves; as it is now it is read by: stackroom add"
    return [
        Damage("sources", f"{names[key]} was not read again: {reason}. {hint}", None, names[key])
        for key, reason in reasons.items()
        if key in names
    ]


def _still_lost(backend: Backend, lost: tuple[Damage, ...]) -> tuple[Damage, ...]:
    """Without what came back from its file."""
    with backend.view() as view:
        waiting = {key for key, _ in view.waiting().read}
        back = {
            record.name
            for record in view.each_source()
            if record.is_file and record.state == "indexed" and record.key not in waiting
        }
    by_file = ("sources", "documents", "chunks")
    return tuple(one for one in lost if not (one.structure in by_file and one.source in back))
