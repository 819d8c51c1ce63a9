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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

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


@dataclass(slots=True)
class Evidence:
    """What was taken on the way, for the proof: sixteen bytes for each text and each vector, in the order of keys."""

    chunks: int = 0
    vectors: int = 0
    texts: bytearray = field(default_factory=bytearray)
    rows: bytearray = field(default_factory=bytearray)
    samples: list[tuple[str, NDArray[np.float64]]] = field(default_factory=list)
    """vectors as another parser reads them"""
    truth: Truth | None = None
    """None where searches are not compared; `skipped` says why"""
    skipped: str | None = None


class Reading(Protocol):
    """One pass over an old store. `evidence` and `anomalies` are whole when `batches` has ended."""

    evidence: Evidence
    anomalies: Anomalies

    def batches(self) -> Iterator[Batch]: ...

    def close(self) -> None: ...


class LocalReading:
    """Reads in this process."""

    def __init__(self, store: OldStore, choices: Choices) -> None:
        self._store = store
        self._metric: Metric = choices.metric or "cosine"
        self._listed = Listed(store.indexes(), choices.index_id)
        self._main = MainSpace.of(store.dimensions())
        self.anomalies = Anomalies()
        self._judge = Judge(self._main, store.dimensions(), choices, self.anomalies)
        self.evidence = self._begin()

    def close(self) -> None:
        pass

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
            evidence.texts += digest(item.text.encode("utf-8", "surrogatepass"))
            if item.vector is not None:
                evidence.rows += digest(item.vector.data)
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
        return self._only is None or self._has(self._only, chunk_id)

    def _has(self, name: str, chunk_id: str) -> bool:
        hashes = self._hashes[name]
        at = int(np.searchsorted(hashes, hash(chunk_id)))
        return at < len(hashes) and bool(hashes[at] == hash(chunk_id))

    def of(self, chunk_ids: Sequence[str], keys: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
        """For each index the keys of its chunks."""
        if self._only is not None:
            return
        for name in self._hashes:
            found = [key for chunk_id, key in zip(chunk_ids, keys, strict=True) if self._has(name, chunk_id)]
            if found:
                yield name, found


def _own_metadata(metadata: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in clean(metadata).items() if name not in about or not same(about[name], value)}


def clean(value: Any) -> Any:
    """JSON as it may be stored: NaN and infinity, which are none, become null. The original record keeps them."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(name): clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _original(old: OldChunk, aside: Mapping[str, list[float]]) -> bytes | None:
    if old.original is None and not aside:
        return None
    return dump({**(old.original or {}), **({"quarantined": aside} if aside else {})})


def dump(value: Any) -> bytes:
    """An original record as it is kept: whatever the json module could read, written so that it reads the same."""
    return _ENCODER.encode(value).encode()


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _parts(chunks: Iterable[OldChunk], n: int) -> Iterator[list[OldChunk]]:
    part: list[OldChunk] = []
    for chunk in chunks:
        part.append(chunk)
        if len(part) >= n:
            yield part
            part = []
    if part:
        yield part
