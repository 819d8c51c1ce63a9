"""The reading half of a migration: an old store's chunks, judged and made ready, in batches, with what the proof needs.

It runs in this process for small stores, and in one of its own for large ones (`reader_process.py`), so that reading and writing
go on side by side.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stackroom.migration.probe import Sample, samples_of
from stackroom.migration.records import Anomalies, MainSpace, OldChunk, OldDocument, OldIndex, OldStore
from stackroom.migration.stores.nodes import same
from stackroom.migration.truth import Truth
from stackroom.types import Metric, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 512
"""Chunks in one commit."""

QUERIES = 50
"""Stored vectors that are parsed twice and searched for, in the proof."""

MOST_FOR_PARITY = 200_000
"""From here on searches are not compared: an exhaustive one in float64 for each query would take too long."""

_DIGEST = 16

_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user may decide."""

    keep_orphans: bool = False
    split_dims: bool = False
    index_id: str | None = None
    metric: Metric | None = None
    """how scores are to be reckoned, where it is not to be by cosine"""


@dataclass(slots=True)
class Accepted:
    """A chunk, judged: what goes into the library."""

    chunk_id: str
    document_id: str | None
    text: str
    metadata: dict[str, Any]
    """what it says beyond its document"""
    place: Place
    vector: NDArray[np.float32] | None
    others: list[tuple[str, NDArray[np.float32]]]
    """vectors of other namespaces or dimensions, by collection"""
    original: bytes | None

    @property
    def document(self) -> str:
        """A passage without a document is its own."""
        return self.chunk_id if self.document_id is None else self.document_id


@dataclass(slots=True)
class Batch:
    """What one commit takes. `seen` counts the chunks of the store so far; `documents` are those that begin in it."""

    seen: int
    accepted: list[Accepted]
    documents: dict[str, OldDocument]
    listed: dict[str, list[int]] = field(default_factory=dict)
    """for each index of the store, the positions of its chunks in `accepted`"""


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an old store when it is open, before its chunks are read."""

    format: str
    made_by: str
    files: Sequence[Path]
    count: int
    """about how many chunks there are"""
    dimensions: Counter[tuple[str, int]]
    samples: Sequence[Sample]
    """for finding out which model made the vectors"""

    @property
    def main(self) -> MainSpace:
        return MainSpace.of(self.dimensions)


class Digests:
    """Sixteen bytes for each item of a sequence, or for those from `first` on."""

    def __init__(self, data: bytes | memoryview = b"", first: int = 0) -> None:
        self._data = bytearray(data)
        self.first = first

    @property
    def end(self) -> int:
        return self.first + len(self._data) // _DIGEST

    def add(self, item: bytes | memoryview) -> None:
        self._data += digest(item)

    def agrees(self, at: int, item: bytes | memoryview) -> bool:
        start = (at - self.first) * _DIGEST
        return digest(item) == self._data[start : start + _DIGEST]

    def part(self, first: int, end: int) -> Digests:
        return Digests(self.plain()[(first - self.first) * _DIGEST : (end - self.first) * _DIGEST], first)

    def plain(self) -> memoryview:
        return memoryview(self._data)


@dataclass(slots=True)
class Evidence:
    """What was taken on the way, for the proof; digests are in the order of keys."""

    chunks: int = 0
    vectors: int = 0
    texts: Digests = field(default_factory=Digests)
    rows: Digests = field(default_factory=Digests)
    samples: list[tuple[str, NDArray[np.float64]]] = field(default_factory=list)
    """vectors as another parser reads them"""
    truth: Truth | None = None
    """None where searches are not compared; `skipped` says why"""
    skipped: str | None = None


class Comparison(Protocol):
    """Passages that are being compared elsewhere."""

    def result(self) -> list[str]:
        """The differences. Raises MigrationError where it could not be done."""
        ...


class Reading(Protocol):
    """One pass over an old store: its head, then its batches, then what is carried along unread.

    `evidence` and `anomalies` are whole when all of it was read.
    """

    evidence: Evidence
    anomalies: Anomalies

    def head(self) -> Head:
        """Raises what opening the old store raises."""
        ...

    def batches(self) -> Iterator[Batch]: ...

    def attachments(self) -> Iterator[tuple[str, bytes]]: ...

    def compare(self, library: Path) -> Comparison | None:
        """Begin to read back what this reading keeps the digests of; None where all of them are in `evidence`."""
        ...

    def close(self) -> None: ...


class LocalReading:
    """Reads in this process."""

    def __init__(self, store: OldStore, choices: Choices) -> None:
        self._store = store
        self._metric: Metric = choices.metric or "cosine"
        self._indexes = store.indexes()
        self._listed = Listed(self._indexes, choices.index_id)
        self._main = MainSpace.of(store.dimensions())
        self.anomalies = Anomalies()
        self._judge = Judge(self._main, store.dimensions(), choices, self.anomalies)
        self.evidence = self._begin()

    def head(self) -> Head:
        store = self._store
        samples = samples_of(store, self._main)
        return Head(store.format, store.made_by, list(store.files), store.count(), store.dimensions(), samples)

    def attachments(self) -> Iterator[tuple[str, bytes]]:
        for index in self._indexes:
            yield f"index/{index.name}", index.original
        for name, data in self._store.attachments():
            yield f"file/{name}", data

    def compare(self, library: Path) -> None:
        """`evidence` has all digests."""

    def close(self) -> None:
        self._store.close()

    def _begin(self) -> Evidence:
        samples = [item for item in self._store.sample(QUERIES) if self._listed.wants(item[0])]
        found = Evidence(samples=samples)
        if not samples:
            found.skipped = "there are no vectors"
        elif self._store.count() >= MOST_FOR_PARITY:
            found.skipped = f"there are more than {MOST_FOR_PARITY:,} vectors"
        else:
            found.truth = Truth([values for _, values in samples], self._metric)
        return found

    def batches(self) -> Iterator[Batch]:
        met: set[int] = set()
        seen = 0
        wanted = (old for old in self._store.chunks(self.anomalies) if self._listed.wants(old.chunk_id))
        for part in _parts(wanted, BATCH):
            seen += len(part)
            batch = Batch(seen, [], {})
            documents: dict[str, OldDocument] = {}
            for old in part:
                accepted = self._accept(old, documents)
                if accepted is None:
                    continue
                batch.accepted.append(accepted)
                if hash(accepted.document) not in met:
                    met.add(hash(accepted.document))
                    batch.documents[accepted.document] = documents[accepted.document]
            batch.listed = self._listed.of([item.chunk_id for item in batch.accepted])
            self._take_evidence(part, batch)
            yield batch

    def _accept(self, old: OldChunk, documents: dict[str, OldDocument]) -> Accepted | None:
        judged = self._judge.accept(old)
        if judged is None:
            return None
        vector, others, quarantined = judged
        owner = old.chunk_id if old.document_id is None else old.document_id
        if owner not in documents:
            document = self._store.document(owner)
            document.metadata = clean(document.metadata)
            if old.document_id is None:
                # What the store says under that id is said of the passage.
                document.original = None
            documents[owner] = document
        return Accepted(
            old.chunk_id,
            old.document_id,
            old.text,
            _own_metadata(old.metadata, documents[owner].metadata),
            old.place,
            vector,
            others,
            _original(old, quarantined),
        )

    def _take_evidence(self, part: Sequence[OldChunk], batch: Batch) -> None:
        evidence = self.evidence
        ids = set()
        for item in batch.accepted:
            evidence.texts.add(item.text.encode("utf-8", "surrogatepass"))
            if item.vector is not None:
                evidence.rows.add(item.vector.data)
                evidence.vectors += 1
                ids.add(item.chunk_id)
        evidence.chunks += len(batch.accepted)
        if evidence.truth is not None:
            with_vector = [old for old in part if old.chunk_id in ids]
            evidence.truth.see([old.chunk_id for old in with_vector], [self._values(old) for old in with_vector])

    def _values(self, old: OldChunk) -> NDArray[np.float64]:
        return next(
            vector.values
            for vector in old.vectors
            if vector.values is not None and (vector.namespace, len(vector.values)) == self._main
        )


class Judge:
    """Decides what of each chunk is stored, and counts what is not as it should be."""

    def __init__(self, main: MainSpace, dimensions: Counter[tuple[str, int]], choices: Choices, notes: Anomalies):
        self._main = main
        self._choices = choices
        self._notes = notes
        self._usual = {
            namespace: MainSpace.of(Counter({key: n for key, n in dimensions.items() if key[0] == namespace})).dim
            for namespace, _ in dimensions
        }

    def accept(
        self, old: OldChunk
    ) -> tuple[NDArray[np.float32] | None, list[tuple[str, NDArray[np.float32]]], dict[str, list[float]]] | None:
        """The library's vector, those of collections, and those set aside; None where the chunk is left out."""
        if old.orphan and not self._choices.keep_orphans:
            return None
        main: NDArray[np.float32] | None = None
        others: list[tuple[str, NDArray[np.float32]]] = []
        aside: dict[str, list[float]] = {}
        for vector in old.vectors:
            values = vector.values
            if values is None:
                self._notes.note("not a list of numbers", old.chunk_id)
                continue
            row = single(values)
            if not np.isfinite(row).all():
                self._notes.note("NaN or infinity", old.chunk_id)
                aside[vector.namespace] = values.tolist()
            elif (vector.namespace, len(row)) == self._main:
                if not row.any():
                    self._notes.note("all zeros", old.chunk_id)
                main = row
            elif len(row) == self._usual[vector.namespace]:
                others.append((vector.namespace, row))
            else:
                self._notes.note("another dimension", f"{old.chunk_id} ({len(row)})")
                if self._choices.split_dims:
                    others.append((f"{vector.namespace}-{len(row)}", row))
                else:
                    aside[vector.namespace] = values.tolist()
        return main, others, aside


def single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """One cast, nothing else; what is beyond float32 becomes infinity and is set aside."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


class Listed:
    """Which index has which chunk, by hash, so that memory is eight bytes a chunk."""

    def __init__(self, indexes: Iterable[OldIndex], only: str | None) -> None:
        self._hashes = {index.name: index.members for index in indexes if index.members is not None}
        self._only = only if only in self._hashes else None

    def wants(self, chunk_id: str) -> bool:
        """Whether a chunk is of the index that was chosen; every one is where none was."""
        return self._only is None or bool(self._has(self._only, [chunk_id])[0])

    def _has(self, name: str, chunk_ids: Sequence[str]) -> NDArray[np.bool_]:
        hashes = self._hashes[name]
        if not len(hashes):
            return np.zeros(len(chunk_ids), dtype=bool)
        wanted = np.fromiter(map(hash, chunk_ids), dtype=np.int64, count=len(chunk_ids))
        at = np.minimum(hashes.searchsorted(wanted), len(hashes) - 1)
        found: NDArray[np.bool_] = hashes[at] == wanted
        return found

    def of(self, chunk_ids: Sequence[str]) -> dict[str, list[int]]:
        """For each index the positions of its chunks among these."""
        if self._only is not None:
            return {}
        found = {name: np.flatnonzero(self._has(name, chunk_ids)).tolist() for name in self._hashes}
        return {name: positions for name, positions in found.items() if positions}


def _own_metadata(metadata: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in clean(metadata).items() if name not in about or not same(about[name], value)}


def clean(value: Any) -> Any:
    """JSON as it may be stored: NaN and infinity, which are none, become null. The original record keeps them."""
    # Judged by exact types: this looks at every value of every passage.
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is list:
        return [clean(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): clean(item) for name, item in value.items()}
    return value


def _original(old: OldChunk, aside: Mapping[str, list[float]]) -> bytes | None:
    if old.original is None and not aside:
        return None
    return dump({**(old.original or {}), **({"quarantined": aside} if aside else {})})


def dump(value: Any) -> bytes:
    """An original record as it is kept: whatever the json module could read, written so that it reads the same."""
    return _ENCODER.encode(value).encode()


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def _parts(chunks: Iterable[OldChunk], n: int) -> Iterator[list[OldChunk]]:
    part: list[OldChunk] = []
    for chunk in chunks:
        part.append(chunk)
        if len(part) >= n:
            yield part
            part = []
    if part:
        yield part
