"""The reading half of a migration: an old store's chunks, judged and made ready, in batches, with what the proof needs.

It runs in this process for small stores, and in one of its own for large ones (`reader_process.py`), so that reading and writing
go on side by side.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stackroom.migration.judging import Choices, Judge, Listed
from stackroom.migration.probe import Sample, samples_of
from stackroom.migration.records import Anomalies, MainSpace, OldChunk, OldDocument, OldStore
from stackroom.migration.truth import Truth
from stackroom.nodes.kept import clean, dump, same
from stackroom.types import Metric, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 1024
"""Chunks in one commit."""

QUERIES = 50
"""Stored vectors that are parsed twice and searched for, in the proof."""

MOST_FOR_PARITY = 200_000
"""From here on searches are not compared: an exhaustive one in float64 for each query would take too long."""

_DIGEST = 16


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
            # Vectors as float64 are not to wait until the next ones are there.
            part.clear()
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


def _own_metadata(metadata: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in clean(metadata).items() if name not in about or not same(about[name], value)}


def _original(old: OldChunk, aside: Mapping[str, list[float]]) -> bytes | None:
    if old.original is None and not aside:
        return None
    return dump({**(old.original or {}), **({"quarantined": aside} if aside else {})})


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
