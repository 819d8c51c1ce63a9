"""An old store's chunks into a library, in batches, with every vector's digest taken on the way for the proof."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import Backend, Commit, DocumentRecord, SourceRecord
from stackroom.ingest.reconcile import IMPORTED
from stackroom.migration import nodes
from stackroom.migration.baseline import FileFacts
from stackroom.migration.nodes import same
from stackroom.migration.records import Anomalies, MainSpace, OldChunk, OldStore
from stackroom.migration.truth import Truth
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.types import Chunk, EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 1024
"""Chunks in one commit."""

CURSOR = "migration-cursor.json"
_STAGE = "migrate"
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user may decide."""

    keep_orphans: bool = False
    split_dims: bool = False
    index_id: str | None = None


@dataclass(slots=True)
class _Accepted:
    """A chunk, judged: what goes into the library."""

    old: OldChunk
    main: NDArray[np.float32] | None = None
    others: list[tuple[str, NDArray[np.float32]]] = field(default_factory=list)
    quarantined: dict[str, list[float]] = field(default_factory=dict)


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

    def accept(self, old: OldChunk) -> _Accepted | None:
        """None where the chunk is left out."""
        if old.orphan and not self._choices.keep_orphans:
            return None
        found = _Accepted(old)
        for vector in old.vectors:
            values = vector.values
            if values is None:
                self._notes.note("not a list of numbers", old.chunk_id)
                continue
            row = _single(values)
            if not np.isfinite(row).all():
                self._notes.note("NaN or infinity", old.chunk_id)
                found.quarantined[vector.namespace] = values.tolist()
            elif (vector.namespace, len(row)) == self._main:
                if not row.any():
                    self._notes.note("all zeros", old.chunk_id)
                found.main = row
            elif len(row) == self._usual[vector.namespace]:
                found.others.append((vector.namespace, row))
            else:
                self._notes.note("another dimension", f"{old.chunk_id} ({len(row)})")
                if self._choices.split_dims:
                    found.others.append((f"{vector.namespace}-{len(row)}", row))
                else:
                    found.quarantined[vector.namespace] = values.tolist()
        return found


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """One cast, nothing else; what is beyond float32 becomes infinity and is quarantined."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


@dataclass(slots=True)
class Outcome:
    """What a conversion stored."""

    chunks: int = 0
    vectors: int = 0
    documents: int = 0
    sources: int = 0
    texts: bytearray = field(default_factory=bytearray)
    """sixteen bytes for each chunk, in the order of keys"""
    rows: bytearray = field(default_factory=bytearray)
    """sixteen bytes for each chunk with a vector, in the order of keys"""


class Conversion:
    """One run; it goes on where an interrupted one stopped."""

    def __init__(
        self,
        backend: Backend,
        store: OldStore,
        *,
        choices: Choices,
        identity: EmbedderIdentity | None,
        fingerprint: str,
        anomalies: Anomalies,
        truth: Truth,
        facts: FileFacts,
        progress: Progress,
        cancel: CancelToken,
    ) -> None:
        self._backend = backend
        self._store = store
        self._choices = choices
        self._fingerprint = fingerprint
        self._truth = truth
        self._facts = facts
        self._progress = progress
        self._cancel = cancel
        self._dimensions = store.dimensions()
        self.main = MainSpace.of(self._dimensions)
        self._identity = identity or EmbedderIdentity(name="", dim=self.main.dim, metric=store.metric)
        self._judge = Judge(self.main, self._dimensions, choices, anomalies)
        self._anomalies = anomalies
        self._sources: dict[str, int] = {}
        self._documents: dict[str, tuple[int, int]] = {}
        self._listed = _Listed(store.indexes(), choices.index_id)
        self.outcome = Outcome()

    def wants(self, chunk_id: str) -> bool:
        """Whether a chunk is of the index that was chosen."""
        return self._listed.wants(chunk_id)

    def run(self) -> bool:
        """Store everything; False when cancelled."""
        done = self._resume()
        total = self._store.count()
        seen = 0
        for batch in _batches(self._chosen(), BATCH):
            accepted = [item for item in map(self._judge.accept, batch) if item is not None]
            self._take_digests(accepted)
            seen += len(batch)
            if seen > done:
                if self._cancel.cancelled:
                    return False
                self._commit(accepted, seen)
            self._progress(ProgressEvent(_STAGE, done=seen, total=max(total, seen), chunks=seen))
        self._finish()
        return not self._cancel.cancelled

    def _chosen(self) -> Iterator[OldChunk]:
        for old in self._store.chunks(self._anomalies):
            if self.wants(old.chunk_id):
                yield old

    def _resume(self) -> int:
        """How many chunks of the store an interrupted run has committed; what it stored is known from then on."""
        with self._backend.view() as view:
            cursor = json.loads(dict(view.attachments()).get(CURSOR, b"{}"))
            if cursor.get("fingerprint") != self._fingerprint:
                return 0
            for source in view.each_source():
                self._sources[source.name] = source.key
                for document in view.documents(source.key):
                    self._documents[document.document_id] = (document.key, document.chunks)
        return int(cursor["done"])

    def _take_digests(self, accepted: Sequence[_Accepted]) -> None:
        outcome = self.outcome
        for item in accepted:
            outcome.texts += digest(item.old.text.encode("utf-8", "surrogatepass"))
            if item.main is not None:
                outcome.rows += digest(item.main.data)
        with_vector = [item for item in accepted if item.main is not None]
        outcome.chunks += len(accepted)
        outcome.vectors += len(with_vector)
        self._truth.see(
            [item.old.chunk_id for item in with_vector],
            [self._values(item.old) for item in with_vector],
        )

    def _values(self, old: OldChunk) -> NDArray[np.float64]:
        return next(
            vector.values
            for vector in old.vectors
            if vector.values is not None and (vector.namespace, len(vector.values)) == self.main
        )

    def _commit(self, accepted: Sequence[_Accepted], seen: int) -> None:
        with self._backend.commit() as commit:
            if self._identity.dim:
                commit.use_embedder(self._identity)
            listed: defaultdict[str, list[int]] = defaultdict(list)
            for document_id, group in groupby(accepted, key=_document_id):
                self._store_group(commit, document_id, list(group), listed)
            for collection, keys in listed.items():
                commit.enlist(collection, keys)
            commit.attach(CURSOR, json.dumps({"fingerprint": self._fingerprint, "done": seen}).encode())

    def _store_group(
        self, commit: Commit, document_id: str, group: list[_Accepted], listed: dict[str, list[int]]
    ) -> None:
        """Consecutive chunks of one document."""
        document_key, position = self._document(commit, document_id, group[0].old)
        about = self._metadata_of(document_id)
        keys = commit.add_chunks(
            document_key,
            [
                Chunk(
                    item.old.text,
                    item.old.chunk_id,
                    _own_metadata(item.old.metadata, about),
                    item.old.place,
                    item.main,
                )
                for item in group
            ],
            position=position,
        )
        self._documents[document_id] = (document_key, position + len(group))
        originals = ((key, _original(item)) for key, item in zip(keys, group, strict=True))
        commit.keep("chunk", [(key, original) for key, original in originals if original is not None])
        for key, item in zip(keys, group, strict=True):
            for collection, row in item.others:
                commit.add_vectors(collection, [(key, row)])
        for name, members in self._listed.of([item.old.chunk_id for item in group], keys):
            listed[name] += members

    def _document(self, commit: Commit, document_id: str, first: OldChunk) -> tuple[int, int]:
        """Key and next position of a document, which is made with its source when it is met for the first time."""
        known = self._documents.get(document_id)
        if known is not None:
            return known
        old = self._store.document(document_id)
        metadata = clean(old.metadata) if first.document_id is not None else {}
        path = nodes.file_of(metadata) or nodes.file_of(first.metadata)
        name = path or document_id
        if name not in self._sources:
            self._sources[name] = commit.put_source(self._source(name, path, old.title, metadata or first.metadata))
            self.outcome.sources += 1
            if not old.active:
                commit.set_active([self._sources[name]], False)
        record = DocumentRecord(document_id, self._sources[name], old.title, metadata)
        key = commit.put_document(record)
        if old.original is not None:
            commit.keep("document", [(key, dump(old.original))])
        self.outcome.documents += 1
        self._documents[document_id] = (key, 0)
        return key, 0

    def _source(self, name: str, path: str | None, title: str, metadata: Mapping[str, Any]) -> SourceRecord:
        record = SourceRecord(
            name=name,
            title=title or (os.path.basename(path) if path else ""),
            type=self._facts.type_of(path) if path else "record",
            recipe=f"{IMPORTED}{self._store.format}",
            indexed_at=self._facts.now,
        )
        return self._facts.describe(record, path, metadata)

    def _metadata_of(self, document_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = clean(self._store.document(document_id).metadata)
        return found

    def _finish(self) -> None:
        with self._backend.commit() as commit:
            for index in self._store.indexes():
                commit.attach(f"index/{index.name}", index.original)
            for name, data in self._store.attachments():
                commit.attach(f"file/{name}", data)


class _Listed:
    """Which index has which chunk, by hash, so that memory is eight bytes a chunk."""

    def __init__(self, indexes: Iterable[Any], only: str | None) -> None:
        named = [index for index in indexes if index.members is not None]
        self._hashes = {
            index.name: np.unique(np.fromiter(map(hash, index.members), dtype=np.int64, count=len(index.members)))
            for index in named
        }
        self._only = only if only in self._hashes else None

    def wants(self, chunk_id: str) -> bool:
        return self._only is None or self._has(self._only, chunk_id)

    def _has(self, name: str, chunk_id: str) -> bool:
        hashes = self._hashes[name]
        at = int(np.searchsorted(hashes, hash(chunk_id)))
        return at < len(hashes) and bool(hashes[at] == hash(chunk_id))

    def of(self, chunk_ids: Sequence[str], keys: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
        """For each of several indexes the keys of its chunks."""
        if len(self._hashes) < 2 or self._only is not None:
            return
        for name in self._hashes:
            listed = [key for chunk_id, key in zip(chunk_ids, keys, strict=True) if self._has(name, chunk_id)]
            if listed:
                yield name, listed


def _document_id(item: _Accepted) -> str:
    """A passage without a document is its own."""
    return item.old.chunk_id if item.old.document_id is None else item.old.document_id


def _own_metadata(metadata: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """What a chunk says beyond its document."""
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


def _original(item: _Accepted) -> bytes | None:
    original = item.old.original
    if original is None and not item.quarantined:
        return None
    found = dict(original or {})
    if item.quarantined:
        found["quarantined"] = item.quarantined
    return dump(found)


def dump(value: Any) -> bytes:
    """An original record as it is kept: whatever the json module could read, written so that it reads the same."""
    return _ENCODER.encode(value).encode()


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _batches(chunks: Iterable[OldChunk], n: int) -> Iterator[list[OldChunk]]:
    batch: list[OldChunk] = []
    for chunk in chunks:
        batch.append(chunk)
        if len(batch) >= n:
            yield batch
            batch = []
    if batch:
        yield batch


def fingerprint(files: Iterable[Path]) -> str:
    """Which files, as they are now: names, sizes and times."""
    seen = [(str(path), *((status := path.stat()).st_size, status.st_mtime_ns)) for path in files]
    return hashlib.blake2b(json.dumps(seen).encode(), digest_size=16).hexdigest()
