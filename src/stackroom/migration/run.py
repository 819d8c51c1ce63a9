"""A migration from beginning to end: look, convert into a staging folder, prove, activate by one rename."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stackroom.errors import DamagedError, MigrationError, ReadOnlyError, StackroomError, UnknownStoreError, UsageError
from stackroom.ingest.file_facts import FileFacts
from stackroom.migration import switch
from stackroom.migration.afterwards import done_before
from stackroom.migration.conversion import CURSOR, Conversion, fingerprint
from stackroom.migration.judging import Choices
from stackroom.migration.origin import NOTE, Origin
from stackroom.migration.others import Others
from stackroom.migration.probe import probe
from stackroom.migration.proof import Hashes, prove
from stackroom.migration.reader_process import WORTH_IT, RemoteReading
from stackroom.migration.reading import Batch, Head, LocalReading, Reading
from stackroom.migration.rules import left_out
from stackroom.migration.stopping import PAUSE, stoppable
from stackroom.migration.stores.detection import open_old
from stackroom.migration.survey import described, needed, require_index, require_passages, require_space, size
from stackroom.progress import CancelToken, Progress, Stopped
from stackroom.protocols import AnyEmbedder
from stackroom.reports import MigrationReport, ModelGuess, Proof
from stackroom.storage.disk import fsio, layout
from stackroom.storage.disk.lock import FileLock
from stackroom.storage.store import LocalStore
from stackroom.types import EmbedderIdentity


def migrate(
    old: Path,
    *,
    library: Path | None = None,
    format: str | None = None,
    embedder: str | AnyEmbedder | None = None,
    choices: Choices | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> MigrationReport:
    """Convert, prove, activate. A run that was interrupted is continued by the next one.

    Raises UnknownStoreError, DamagedError, UsageError, DiskFullError, ReadOnlyError, BusyError; MigrationError where
    what arrived is not what was there. Whatever it raises, the old files are as they were, and no library appeared.
    """
    target = switch.target_of(old, library)
    choices = choices or Choices()
    before = done_before(old, target, format, choices, embedder)
    if before is not None:
        return before
    switch.require_free(target)
    switch.sweep(target)
    try:
        with contextlib.closing(_reading(old, format, choices, cancel)) as reading:
            return _Migration(old, target, reading, choices, embedder, progress, cancel).run()
    except Stopped:
        return MigrationReport(old=str(old), library=str(target), cancelled=True)
    except ReadOnlyError as error:
        if library is None:
            error.hint = (
                f"Make the library elsewhere: stackroom migrate {shlex.quote(str(old))} --library NEW (library=...)."
            )
        raise


def _reading(old: Path, format: str | None, choices: Choices, cancel: CancelToken) -> Reading:
    """A process that reads while this one writes, where the old store is large enough to be worth one."""
    with fsio.translated(old):
        held = size(path for path in (old.iterdir() if old.is_dir() else [old]) if path.is_file())
    if held < WORTH_IT or (os.cpu_count() or 1) < 2:
        store = open_old(old, format)
        try:
            require_index(store.indexes(), choices.index_id)
            return LocalReading(store, choices)
        except BaseException:
            store.close()
            raise
    if choices.index_id is not None:
        stoppable(lambda: _require_index_of(old, format, choices), cancel)
    return _StoppableReading(old, format, choices, cancel)


def _require_index_of(old: Path, format: str | None, choices: Choices) -> None:
    with contextlib.closing(open_old(old, format)) as store:
        require_index(store.indexes(), choices.index_id)


class _StoppableReading(RemoteReading):
    """A RemoteReading that is not waited for once cancelled. Raises Stopped."""

    def __init__(self, old: Path, format: str | None, choices: Choices, cancel: CancelToken) -> None:
        super().__init__(old, format, choices)
        self._cancel = cancel

    def _next(self) -> tuple[str, Any]:
        while self._waiting.empty():
            if self._cancel.wait(PAUSE):
                raise Stopped
        try:
            return super()._next()
        except MigrationError:
            # Ctrl-C reaches the process that reads as well.
            if self._cancel.cancelled:
                raise Stopped from None
            raise


class _Watched:
    """A Reading whose vectors for collections are noted on the way."""

    def __init__(self, reading: Reading, others: Others) -> None:
        self._reading = reading
        self._others = others
        self.evidence = reading.evidence
        self.anomalies = reading.anomalies
        self.head = reading.head
        self.attachments = reading.attachments
        self.compare = reading.compare
        self.close = reading.close

    def batches(self) -> Iterator[Batch]:
        return self._others.watch(self._reading.batches())


class _Migration:
    """The steps of one run."""

    def __init__(
        self,
        old: Path,
        target: Path,
        reading: Reading,
        choices: Choices,
        embedder: str | AnyEmbedder | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> None:
        self._started = time.monotonic()
        self._others = Others()
        self._old = old
        self._target = target
        self._reading = reading
        self._choices = choices
        self._progress = progress
        self._cancel = cancel
        self._head = head = reading.head()
        self._hashes = Hashes(head.files, cancel)
        self._seen = fingerprint(head.files)
        require_space(target, needed(size(head.files), head.dimensions))
        self._guesses, self._model = stoppable(lambda: _model(head, embedder, choices), cancel)

    def run(self) -> MigrationReport:
        staging = switch.staging_of(self._target)
        with _staged(staging, self._state()) as backend:
            proof = self._prove(backend) if self._convert(backend) else None
            if proof is None or self._cancel.cancelled:
                return MigrationReport(old=str(self._old), library=str(self._target), cancelled=True)
            require_passages(proof.chunks, self._reading.anomalies, self._old)
            report = self._report(backend, proof)
            self._require_proven(proof, report)
            with backend.view() as view:
                keys = view.live_keys()
                last_key = int(keys[-1]) if len(keys) else 0
            origin = Origin.of(
                self._old,
                self._head.format,
                self._choices,
                self._hashes.result(),
                report.left_out,
                self._target,
                last_key,
            )
            self._note_done(backend, origin)
            backend.close()
            with fsio.translated(staging):
                report = replace(report, bytes_after=size(path for path in staging.rglob("*") if path.is_file()))
            switch.write_report(staging, {**asdict(report), "origin": origin.plain()})
        switch.activate(staging, self._target)
        return report

    def _state(self) -> str:
        """What a run that goes on must have in common with the one that was interrupted."""
        return f"{self._seen} {self._choices} {self._model}"

    def _convert(self, backend: LocalStore) -> bool:
        conversion = Conversion(
            backend,
            _Watched(self._reading, self._others),
            choices=self._choices,
            identity=self._model,
            fingerprint=self._state(),
            facts=FileFacts(max(path.stat().st_mtime for path in self._head.files), self._cancel),
            progress=self._progress,
            cancel=self._cancel,
        )
        return conversion.run()

    def _prove(self, backend: LocalStore) -> Proof:
        after = Hashes(self._head.files, self._cancel)
        return prove(
            backend,
            self._reading.evidence,
            self._reading.compare(backend.path),
            self._others,
            unchanged=lambda: self._hashes.result() == after.result() and fingerprint(self._head.files) == self._seen,
            progress=self._progress,
            cancel=self._cancel,
        )

    def _report(self, backend: LocalStore, proof: Proof) -> MigrationReport:
        stats = backend.stats()
        with backend.view() as view:
            indexes = [name.removeprefix("index/") for name, _ in view.attachments("index/")]
        vectors = self._reading.evidence.vectors
        return MigrationReport(
            added=stats.sources,
            chunks=stats.chunks,
            reused=vectors,
            seconds=round(time.monotonic() - self._started, 3),
            old=str(self._old),
            library=str(self._target),
            format=self._head.format,
            made_by=self._head.made_by,
            documents=stats.documents,
            vectors=vectors,
            model=self._model.name if self._model else None,
            models=tuple(self._guesses),
            anomalies=described(self._reading.anomalies, self._choices),
            proof=proof,
            bytes_before=size(self._head.files),
            left_out=left_out(self._reading.anomalies.counts, self._choices, indexes),
        )

    def _require_proven(self, proof: Proof, report: MigrationReport) -> None:
        """Raises MigrationError where something differs."""
        if not proof.ok:
            first = proof.differences[0] if proof.differences else "the old files changed meanwhile."
            raise MigrationError(
                f"The migration of {self._old} could not be proven: {first}",
                hint="Nothing was activated, and the old files are as they were. Close what writes to them and run it again.",
                path=self._old,
                actual=report,
            )

    def _note_done(self, backend: LocalStore, origin: Origin) -> None:
        with backend.commit() as commit:
            commit.attach(NOTE, json.dumps(origin.plain()).encode())
            commit.attach(CURSOR, b"{}")


def _model(
    head: Head, embedder: str | AnyEmbedder | None, choices: Choices
) -> tuple[list[ModelGuess], EmbedderIdentity | None]:
    """The models that were tried, and the one that made the vectors. Raises UsageError where it is not the one that was named."""
    # Models are compared by cosine: where the old scores are to be kept, none is claimed.
    asked = choices.metric in (None, "cosine")
    guesses, model = probe(head.samples, head.main, embedder) if asked else ([], None)
    # Where there is no vector, nothing is claimed of any.
    if embedder is not None and model is None and head.dimensions:
        raise _unproven(embedder, guesses)
    return guesses, model.identity if model else None


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
            # What is quick to search is the active library's: a run that was stopped is not to wait for it.
            backend.close()
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


def _unproven(embedder: str | AnyEmbedder, guesses: list[Any]) -> UsageError:
    from stackroom.ingest.embedders import resolve

    name = embedder if isinstance(embedder, str) else resolve(embedder).identity.name
    said = f"the likeness is {guesses[0].cosine:.2f}" if guesses else "its vectors have another length"
    return UsageError(
        f"The model {name!r} did not make these vectors: {said}.",
        hint="Name another one, or none: texts and vectors then serve, and a query needs words or a vector.",
        actual=name,
    )
