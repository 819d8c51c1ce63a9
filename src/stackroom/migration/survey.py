"""A dry run: what an old store holds, and what migrating it takes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from stackroom.errors import DiskFullError, UnknownStoreError, UsageError
from stackroom.migration import switch
from stackroom.migration.afterwards import done_before
from stackroom.migration.judging import Choices, Judge, Listed
from stackroom.migration.probe import probe, samples_of
from stackroom.migration.records import Anomalies, MainSpace, OldIndex, OldStore
from stackroom.migration.rules import rule_of
from stackroom.migration.stopping import stoppable
from stackroom.migration.stores.detection import open_old
from stackroom.nodes.reading import file_of
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped
from stackroom.protocols import AnyEmbedder
from stackroom.reports import Anomaly, Inventory, MigrationReport, ModelGuess

_START = 1.2
_A_PASSAGE = 330e-6
_A_BYTE = 6e-9
"""Seconds on two cores: to write and index a passage, and to read a byte of the old files."""


def inventory(
    old: Path,
    *,
    library: Path | None = None,
    format: str | None = None,
    embedder: str | AnyEmbedder | None = None,
    choices: Choices | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> Inventory:
    """What there is, and what migrating it takes. Writes nothing. Raises UnknownStoreError, UsageError, DamagedError.

    Cancelled, it returns what was counted so far.
    """
    target = switch.target_of(old, library)
    choices = choices or Choices()
    before = done_before(old, target, format, choices, None)
    survey = _Survey(old, target, format, embedder, choices, progress, cancel)
    if before is not None:
        return survey.done(before)
    try:
        return stoppable(survey.run, cancel)
    except Stopped:
        return survey.so_far()


class _Survey:
    def __init__(
        self,
        old: Path,
        target: Path,
        format: str | None,
        embedder: str | AnyEmbedder | None,
        choices: Choices,
        progress: Progress,
        cancel: CancelToken,
    ) -> None:
        self._old = old
        self._target = target
        self._format = format
        self._embedder = embedder
        self._choices = choices
        self._progress = progress
        self._cancel = cancel
        self._notes = Anomalies()
        self._dimensions: Counter[tuple[str, int]] = Counter()
        self._documents: set[int] = set()
        self._sources: set[int] = set()
        self._chunks = 0
        self._vectors = 0

    def run(self) -> Inventory:
        with contextlib.closing(open_old(self._old, self._format)) as store:
            indexes = store.indexes()
            require_index(indexes, self._choices.index_id)
            main = MainSpace.of(store.dimensions())
            self._count(store, main, Listed(indexes, self._choices.index_id))
            if not self._cancel.cancelled:
                require_passages(self._chunks, self._notes, self._old)
            guesses: list[ModelGuess] = []
            if self._choices.metric in (None, "cosine") and not self._cancel.cancelled:
                guesses, _ = probe(samples_of(store, main), main, self._embedder)
            total = size(store.files)
            share = self._chunks / max(store.count(), self._chunks, 1)
            return replace(
                self.so_far(),
                format=store.format,
                made_by=store.made_by,
                files=tuple((str(path), path.stat().st_size) for path in store.files),
                bytes=total,
                models=tuple(guesses),
                indexes=tuple(index.name for index in indexes),
                seconds=_seconds(self._chunks, total),
                disk=needed(int(total * share), self._dimensions),
            )

    def so_far(self) -> Inventory:
        return Inventory(
            path=str(self._old),
            format="",
            made_by="",
            files=(),
            bytes=0,
            sources=len(self._sources),
            documents=len(self._documents),
            chunks=self._chunks,
            vectors=self._vectors,
            dimensions={f"{namespace}:{dim}": n for (namespace, dim), n in sorted(self._dimensions.items())},
            anomalies=described(self._notes, self._choices),
            models=(),
            indexes=(),
            seconds=0.0,
            disk=0,
            disk_free=free(self._target),
            target=str(self._target),
            target_writable=os.access(_existing(self._target), os.W_OK),
            cancelled=self._cancel.cancelled,
        )

    def done(self, before: MigrationReport) -> Inventory:
        """What an earlier migration found."""
        return replace(
            self.so_far(),
            format=before.format,
            made_by=before.made_by,
            bytes=before.bytes_before,
            sources=before.unchanged,
            documents=before.documents,
            chunks=before.chunks,
            vectors=before.vectors,
            already=True,
        )

    def _count(self, store: OldStore, main: MainSpace, listed: Listed) -> None:
        """Every chunk that would be taken."""
        whole = store.dimensions()
        judge = Judge(main, whole, self._choices, self._notes)
        if self._choices.index_id is None:
            self._dimensions = whole
        for chunk in store.chunks(self._notes):
            if self._cancel.cancelled:
                return
            accepted = judge.accept(chunk) if listed.wants(chunk.chunk_id) else None
            if accepted is None:
                continue
            self._chunks += 1
            self._vectors += accepted[0] is not None
            if self._dimensions is not whole:
                sizes = ((item.namespace, len(item.values)) for item in chunk.vectors if item.values is not None)
                self._dimensions.update(sizes)
            document_id = chunk.document_id or chunk.chunk_id
            self._documents.add(hash(document_id))
            self._sources.add(hash(file_of(chunk.metadata) or document_id))
            if self._chunks % 1000 == 0:
                self._progress(ProgressEvent("scan", done=self._chunks, chunks=self._chunks))


def require_passages(chunks: int, notes: Anomalies, old: Path) -> None:
    """Raises UnknownStoreError where all that an old index holds was left out. One that was always empty becomes an empty library."""
    if chunks or not notes.counts:
        return
    what = "".join(f"; {count} x {kind}" for kind, count in notes.counts.most_common(3))
    raise UnknownStoreError(f"{old} holds no passages{what}.", hint="There is nothing to migrate.", path=old)


def require_index(indexes: Sequence[OldIndex], wanted: str | None) -> None:
    """Raises UsageError where none of the indexes, or none that lists its passages, has this name."""
    if wanted is None:
        return
    names = [index.name for index in indexes if index.members is not None]
    others = [index.name for index in indexes if index.members is None]
    if wanted not in names:
        there = f"there are {', '.join(names)}" if names else "there are none that list passages with vectors"
        there += f" ({', '.join(others)}: of another kind, taken along with all)" if others else ""
        raise UsageError(
            f"There is no index {wanted!r}: {there}.",
            hint="Name one of them with --index-id (index_id=...), or none to take all.",
            actual=names,
        )


def _seconds(chunks: int, size: int) -> float:
    """About how long a migration takes."""
    alone = 1 if (os.cpu_count() or 1) > 1 else 2
    return round(_START + alone * (chunks * _A_PASSAGE + size * _A_BYTE), 1)


def described(notes: Anomalies, choices: Choices) -> tuple[Anomaly, ...]:
    return tuple(
        Anomaly(kind, count, rule_of(kind, choices), tuple(notes.examples[kind]))
        for kind, count in notes.counts.most_common()
    )


def needed(size: int, dimensions: Counter[tuple[str, int]]) -> int:
    """Bytes that the new library takes at most, about: rows as float32, and all that is not a vector as it is."""
    rows = sum(dim * 4 * n for (_, dim), n in dimensions.items())
    written = sum(dim * 20 * n for (_, dim), n in dimensions.items())
    return rows + max(size - written, size // 10) + 2_000_000


def free(target: Path) -> int:
    return shutil.disk_usage(_existing(target)).free


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def require_space(target: Path, wanted: int) -> None:
    """Raises DiskFullError."""
    there = free(target)
    if there < wanted * 1.2:
        raise DiskFullError(
            f"The new library takes about {wanted / 1e6:,.0f} MB, and {there / 1e6:,.0f} MB are free at {target.parent}.",
            hint="Free some space, or choose another disk with --library (library=...).",
            path=target,
            expected=wanted,
            actual=there,
        )


def size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files)
