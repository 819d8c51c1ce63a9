"""A migration from beginning to end: look, convert into a staging folder, prove, activate by one rename."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stackroom.errors import (
    DamagedError,
    DiskFullError,
    MigrationError,
    NotFoundError,
    StackroomError,
    UnknownStoreError,
    UsageError,
)
from stackroom.ingest.reconcile import IMPORTED
from stackroom.migration import switch
from stackroom.migration.baseline import FileFacts
from stackroom.migration.conversion import CURSOR, Conversion, fingerprint
from stackroom.migration.probe import probe
from stackroom.migration.proof import Hashes, prove
from stackroom.migration.reader_process import WORTH_IT, RemoteReading
from stackroom.migration.reading import Choices, Judge, LocalReading, Reading
from stackroom.migration.records import Anomalies, MainSpace
from stackroom.migration.rules import RULES
from stackroom.migration.stores.detection import open_old
from stackroom.migration.stores.nodes import file_of
from stackroom.progress import CancelToken, Progress, ProgressEvent, silent
from stackroom.protocols import Embedder
from stackroom.storage import layout
from stackroom.storage.lock import FileLock
from stackroom.storage.store import LocalStore
from stackroom.types import Anomaly, Inventory, MigrationReport, Source

_BYTES_A_SECOND = 100e6
_DONE = "migration.json"


def inventory(
    old: Path,
    *,
    library: Path | None = None,
    format: str | None = None,
    embedder: str | Embedder | None = None,
    choices: Choices | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> Inventory:
    """What there is, and what migrating it takes. Writes nothing. Raises UnknownStoreError, UsageError, DamagedError."""
    with contextlib.closing(open_old(old, format)) as store:
        notes = Anomalies()
        dimensions = store.dimensions()
        main = MainSpace.of(dimensions)
        judge = Judge(main, dimensions, choices or Choices(), notes)
        documents: set[int] = set()
        sources: set[int] = set()
        chunks = vectors = 0
        for chunk in store.chunks(notes):
            if cancel.cancelled:
                break
            accepted = judge.accept(chunk)
            if accepted is None:
                continue
            chunks += 1
            vectors += accepted[0] is not None
            document_id = chunk.document_id or chunk.chunk_id
            documents.add(hash(document_id))
            sources.add(hash(file_of(chunk.metadata) or document_id))
            if chunks % 1000 == 0:
                progress(ProgressEvent("scan", done=chunks, chunks=chunks))
        guesses, _ = probe(store, main, embedder)
        size = _size(store.files)
        target = switch.target_of(old, library)
        return Inventory(
            path=str(old),
            format=store.format,
            made_by=store.made_by,
            files=tuple((str(path), path.stat().st_size) for path in store.files),
            bytes=size,
            sources=len(sources),
            documents=len(documents),
            chunks=chunks,
            vectors=vectors,
            dimensions={f"{namespace}:{dim}": n for (namespace, dim), n in sorted(dimensions.items())},
            anomalies=described(notes),
            models=tuple(guesses),
            indexes=tuple(index.name for index in store.indexes()),
            seconds=round(0.5 + size / _BYTES_A_SECOND, 1),
            disk=_needed(size, dimensions),
            disk_free=_free(target),
            target=str(target),
        )


def migrate(
    old: Path,
    *,
    library: Path | None = None,
    format: str | None = None,
    embedder: str | Embedder | None = None,
    choices: Choices | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> MigrationReport:
    """Convert, prove, activate. A run that was interrupted is continued by the next one.

    Raises UnknownStoreError, DamagedError, UsageError, DiskFullError, ReadOnlyError, BusyError; MigrationError where
    what arrived is not what was there. Whatever it raises, the old files are as they were, and no library appeared.
    """
    started = time.monotonic()
    choices = choices or Choices()
    target = switch.target_of(old, library)
    before = _done_before(old, target)
    if before is not None:
        return before
    switch.require_free(target)
    switch.sweep(target)
    staging = switch.staging_of(target)
    with contextlib.ExitStack() as stack:
        # Begun first: it opens the old store while this process does.
        ahead = stack.enter_context(_reading_ahead(old, format, choices))
        store = stack.enter_context(contextlib.closing(open_old(old, format)))
        hashes = Hashes(store.files)
        _require_space(target, _needed(_size(store.files), store.dimensions()))
        # Models are compared by cosine: where the old scores are to be kept, none is claimed.
        asked = choices.metric in (None, "cosine")
        guesses, model = probe(store, MainSpace.of(store.dimensions()), embedder) if asked else ([], None)
        if embedder is not None and model is None:
            raise _unproven(embedder, guesses)
        seen = fingerprint(store.files)
        state = f"{seen} {choices} {model.identity if model else None}"
        reading = ahead or LocalReading(store, choices)
        with _staged(staging, state) as backend:
            conversion = Conversion(
                backend,
                store,
                reading,
                choices=choices,
                identity=model.identity if model else None,
                fingerprint=state,
                facts=FileFacts(max(path.stat().st_mtime for path in store.files)),
                progress=progress,
                cancel=cancel,
            )
            proof = None
            if conversion.run():
                after = Hashes(store.files)
                proof = prove(
                    backend,
                    reading.evidence,
                    unchanged=lambda: hashes.result() == after.result() and fingerprint(store.files) == seen,
                    progress=progress,
                    cancel=cancel,
                )
            if proof is None or cancel.cancelled:
                return MigrationReport(old=str(old), library=str(target), cancelled=True)
            with backend.view() as view:
                stats = view.stats()
            report = MigrationReport(
                added=stats.sources,
                chunks=stats.chunks,
                reused=reading.evidence.vectors,
                seconds=round(time.monotonic() - started, 3),
                old=str(old),
                library=str(target),
                format=store.format,
                made_by=store.made_by,
                documents=stats.documents,
                vectors=reading.evidence.vectors,
                model=model.identity.name if model else None,
                models=tuple(guesses),
                anomalies=described(reading.anomalies),
                proof=proof,
                bytes_before=_size(store.files),
            )
            if not report.chunks:
                raise UnknownStoreError(
                    f"{old} holds no passages{_what(reading.anomalies)}.", hint="There is nothing to migrate.", path=old
                )
            if not proof.ok:
                raise _not_proven(old, report)
            with backend.commit() as commit:
                done = {"fingerprint": seen, "files": [str(path) for path in store.files]}
                commit.attach(_DONE, json.dumps(done).encode())
                commit.attach(CURSOR, b"{}")
            backend.close()
            report = replace(report, bytes_after=_size(path for path in staging.rglob("*") if path.is_file()))
            switch.write_report(staging, asdict(report))
        switch.activate(staging, target)
        return report


@contextlib.contextmanager
def _reading_ahead(old: Path, format: str | None, choices: Choices) -> Iterator[Reading | None]:
    """A process that reads while this one writes, where the old store is large enough to be worth one."""
    files = old.iterdir() if old.is_dir() else iter([old])
    if _size(path for path in files if path.is_file()) < WORTH_IT or (os.cpu_count() or 1) < 2:
        yield None
        return
    reading = RemoteReading(old, format, choices)
    try:
        yield reading
    finally:
        reading.close()


@contextlib.contextmanager
def _staged(staging: Path, state: str) -> Iterator[LocalStore]:
    """The library under construction: kept when interrupted, for the next run; gone when the old store is to blame."""
    if staging.exists() and not _continues(staging, state):
        with FileLock(staging / layout.INGEST_LOCK).hold("migrate", wait=0.0):
            switch.remove(staging)
    backend = LocalStore(staging, mode="a")
    try:
        with backend.lease("migrate"):
            yield backend
    except (DamagedError, MigrationError, UnknownStoreError, UsageError):
        backend.close()
        switch.remove(staging)
        raise
    finally:
        backend.close()


def _continues(staging: Path, state: str) -> bool:
    """Whether what an earlier run left belongs to the same old files and choices."""
    try:
        backend = LocalStore(staging, mode="r")
    except StackroomError:
        return False
    try:
        with backend.view() as view:
            cursor = json.loads(dict(view.attachments()).get(CURSOR, b"{}"))
        return bool(cursor.get("fingerprint") == state)
    except (StackroomError, ValueError):
        return False
    finally:
        backend.close()


def _size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _done_before(old: Path, target: Path) -> MigrationReport | None:
    """The report of an earlier migration of the same files to the same place. Raises UsageError where they changed."""
    done = read_done(target)
    if done is None:
        return None
    files = [Path(name) for name in done["files"]]
    if all(path.exists() for path in files) and fingerprint(files) != done["fingerprint"]:
        raise UsageError(
            f"{old} was migrated to {target}, and has changed since.",
            hint=f"To migrate it anew, take the first migration back: stackroom migrate {old} --roll-back",
            path=old,
        )
    try:
        told = json.loads((target / switch.REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    return MigrationReport(
        old=str(old),
        library=str(target),
        format=str(told.get("format", "")),
        chunks=int(told.get("chunks", 0)),
        documents=int(told.get("documents", 0)),
        vectors=int(told.get("vectors", 0)),
        unchanged=int(told.get("added", 0)),
        already=True,
    )


def read_done(target: Path) -> dict[str, Any] | None:
    """What a finished migration noted in the library it made; None where there is no such library."""
    if not layout.is_library(target):
        return None
    backend = LocalStore(target, mode="r")
    try:
        with backend.view() as view:
            found = dict(view.attachments()).get(_DONE)
    finally:
        backend.close()
    return None if found is None else dict(json.loads(found))


def _what(notes: Anomalies) -> str:
    return "".join(f"; {count} x {kind}" for kind, count in notes.counts.most_common(3))


def _unproven(embedder: str | Embedder, guesses: list[Any]) -> UsageError:
    name = embedder if isinstance(embedder, str) else embedder.identity.name
    said = f"the likeness is {guesses[0].cosine:.2f}" if guesses else "its vectors have another length"
    return UsageError(
        f"The model {name!r} did not make these vectors: {said}.",
        hint="Name another one, or none: texts and vectors then serve, and a query needs words or a vector.",
        actual=name,
    )


def _not_proven(old: Path, report: MigrationReport) -> MigrationError:
    proof = report.proof
    assert proof is not None
    first = proof.differences[0] if proof.differences else "the old files changed meanwhile."
    return MigrationError(
        f"The migration of {old} could not be proven: {first}",
        hint="Nothing was activated, and the old files are as they were. Close what writes to them and run it again.",
        path=old,
        actual=report,
    )


def described(notes: Anomalies) -> tuple[Anomaly, ...]:
    return tuple(
        Anomaly(kind, count, RULES.get(kind, ""), tuple(notes.examples[kind]))
        for kind, count in notes.counts.most_common()
    )


def _needed(size: int, dimensions: Counter[tuple[str, int]]) -> int:
    """Bytes that the new library takes at most, about: rows as float32, and all that is not a vector as it is."""
    rows = sum(dim * 4 * n for (_, dim), n in dimensions.items())
    written = sum(dim * 20 * n for (_, dim), n in dimensions.items())
    return rows + max(size - written, size // 10) + 2_000_000


def _free(target: Path) -> int:
    folder = next(parent for parent in (target, *target.absolute().parents) if parent.exists())
    return shutil.disk_usage(folder).free


def _require_space(target: Path, needed: int) -> None:
    free = _free(target)
    if free < needed * 1.2:
        raise DiskFullError(
            f"The new library takes about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free at {target.parent}.",
            hint="Free some space, or choose another disk with --library.",
            path=target,
            expected=needed,
            actual=free,
        )


def added_since(library: Path) -> list[Source]:
    """The sources of a migrated library that did not come from the old store as they are."""
    backend = LocalStore(library, mode="r")
    try:
        with backend.view() as view:
            return view.listing([record for record in view.each_source() if not record.recipe.startswith(IMPORTED)])
    finally:
        backend.close()


def roll_back(old: Path, confirm: Callable[[Sequence[Source]], bool] | None) -> bool:
    library = switch.require_migrated(old)
    new = added_since(library)
    if new and confirm is None:
        raise UsageError(
            f"{len(new)} sources were added to {library} or changed since the migration, {new[0].path} first of them.",
            hint="Export what is to be kept, then take it back all the same with --yes.",
            path=library,
        )
    if new and confirm is not None and not confirm(new):
        return False
    backend = LocalStore(library)
    with contextlib.closing(backend), backend.lease("migrate --roll-back"), backend.exclusive():
        switch.remove(library)
    return True


def discard_old(old: Path) -> int:
    library = switch.require_migrated(old)
    done = read_done(library)
    files = [Path(name) for name in (done or {}).get("files", [])]
    files = [path for path in files if path.exists()]
    if done is None or not files:
        raise NotFoundError(f"The old files of {old} are gone already.", hint="There is nothing to do.", path=old)
    if fingerprint(files) != done["fingerprint"]:
        raise UsageError(
            f"{old} has changed since it was migrated.",
            hint=f"Another program still writes there. Compare first: stackroom migrate {old} --dry-run",
            path=old,
        )
    backend = LocalStore(library, mode="r")
    with contextlib.closing(backend):
        found = backend.verify(progress=silent, cancel=CancelToken())
    if not found.ok:
        raise DamagedError(
            f"The library {library} is damaged: {found.damage[0].message}",
            hint=f"The old files stay. Migrate again: stackroom migrate {old} --roll-back",
            path=library,
        )
    return switch.discard(files)
