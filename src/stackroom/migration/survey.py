"""A dry run: what an old store holds, and what migrating it takes."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from stackroom.errors import DiskFullError
from stackroom.migration import switch
from stackroom.migration.probe import probe, samples_of
from stackroom.migration.reading import Choices, Judge
from stackroom.migration.records import Anomalies, MainSpace
from stackroom.migration.rules import rule_of
from stackroom.migration.stores.detection import open_old
from stackroom.migration.stores.nodes import file_of
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.protocols import Embedder
from stackroom.types import Anomaly, Inventory

_BYTES_A_SECOND = 100e6


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
    choices = choices or Choices()
    with contextlib.closing(open_old(old, format)) as store:
        notes = Anomalies()
        dimensions = store.dimensions()
        main = MainSpace.of(dimensions)
        judge = Judge(main, dimensions, choices, notes)
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
        guesses, _ = probe(samples_of(store, main), main, embedder)
        total = size(store.files)
        target = switch.target_of(old, library)
        return Inventory(
            path=str(old),
            format=store.format,
            made_by=store.made_by,
            files=tuple((str(path), path.stat().st_size) for path in store.files),
            bytes=total,
            sources=len(sources),
            documents=len(documents),
            chunks=chunks,
            vectors=vectors,
            dimensions={f"{namespace}:{dim}": n for (namespace, dim), n in sorted(dimensions.items())},
            anomalies=described(notes, choices),
            models=tuple(guesses),
            indexes=tuple(index.name for index in store.indexes()),
            seconds=round(0.5 + total / _BYTES_A_SECOND, 1),
            disk=needed(total, dimensions),
            disk_free=free(target),
            target=str(target),
        )


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
    folder = next(parent for parent in (target, *target.absolute().parents) if parent.exists())
    return shutil.disk_usage(folder).free


def require_space(target: Path, wanted: int) -> None:
    """Raises DiskFullError."""
    there = free(target)
    if there < wanted * 1.2:
        raise DiskFullError(
            f"The new library takes about {wanted / 1e6:,.0f} MB, and {there / 1e6:,.0f} MB are free at {target.parent}.",
            hint="Free some space, or choose another disk with --library.",
            path=target,
            expected=wanted,
            actual=there,
        )


def size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files)
