"""A document as it is sent: with its passages, their vectors, and what belongs to them, and a digest of all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from stackroom.backend import DocumentRecord, Scope, StoredChunk, View
from stackroom.engines.records import lost_source
from stackroom.engines.snapshot import EngineView
from stackroom.errors import DamagedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True)
class Parcel:
    """A document on its way. Lists are in the order of `chunks`."""

    document: DocumentRecord
    source: str
    """the id of its source, which stays when that is renamed"""
    chunks: list[StoredChunk]
    homes: list[str]
    """the collection in which each chunk lives"""
    listed: dict[str, list[int]] = field(default_factory=dict)
    """other collections that list a chunk, by its place in `chunks`"""
    own_vectors: dict[str, list[tuple[int, NDArray[np.float32]]]] = field(default_factory=dict)
    """vectors that a collection has of its own"""
    original: bytes | None = None
    """what is kept of another program's record of the document"""
    originals: dict[int, bytes] = field(default_factory=dict)
    """and of its chunks"""
    digest: bytes = b""

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(
            len(item.chunk.text) + (0 if item.chunk.embedding is None else item.chunk.embedding.nbytes) + 200
            for item in self.chunks
        )

    def runs(self) -> Iterator[tuple[int, int]]:
        """[first, end) of chunks that stand one after the other in one collection: they are added together."""
        first = 0
        for at in range(1, len(self.chunks) + 1):
            joined = (
                at < len(self.chunks)
                and self.chunks[at].position == self.chunks[at - 1].position + 1
                and self.homes[at] == self.homes[at - 1]
            )
            if not joined:
                if first < at:
                    yield first, at
                first = at


class Collections:
    """Where each chunk lives and is listed, read once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.home: dict[int, str] = {}
        self.listed: dict[str, set[int]] = {}
        self.own: dict[str, set[int]] = {}
        others = [item for item in view.collections() if item.name != "default"]
        if not others:
            return
        elsewhere = set(view.live_keys().tolist()) - set(view.select(Scope()).tolist())
        for item in others:
            members = set(view.members(item.name))
            # A chunk lives in one collection: in the first that has it, where it does not live in the default one.
            at_home = members & elsewhere
            elsewhere -= at_home
            self.home.update(dict.fromkeys(at_home, item.name))
            # A chunk that has a vector of the collection's own belongs to it without being listed.
            self.listed[item.name] = members - at_home if item.listed else set()
            if item.identity is not None:
                self.own[item.name] = members


def parcels(view: View) -> Iterator[Parcel]:
    """Every document, in the order of its key. Raises DamagedError where the source of one is not there."""
    collections = Collections(view)
    sources = {record.key: record.source_id for record in view.each_source()}
    for document in view.each_document():
        if document.source_key not in sources:
            raise _lost_source(view, document.document_id)
        yield _parcel(view, document, sources[document.source_key], collections)


def _lost_source(view: View, document_id: str) -> DamagedError:
    if isinstance(view, EngineView):
        return lost_source(document_id)
    return DamagedError(
        f"The library that is sent is damaged: its document {document_id} belongs to no source.",
        hint="See what is hit: stackroom verify. Bring back what can be: stackroom repair",
        actual=document_id,
    )


def _parcel(view: View, document: DocumentRecord, source: str, collections: Collections) -> Parcel:
    chunks = list(view.chunks(document.key, vectors=True))
    # Older chunks first: of equals the older one is the better hit, and keys are given in the order of adding.
    keys = [item.key for item in chunks]
    found = Parcel(document, source, chunks, [collections.home.get(key, "default") for key in keys])
    for name, members in collections.listed.items():
        places = [at for at, key in enumerate(keys) if key in members]
        if places:
            found.listed[name] = places
    for name, members in collections.own.items():
        places = [at for at, key in enumerate(keys) if key in members]
        if places:
            rows = view.vectors([keys[at] for at in places], collection=name)
            found.own_vectors[name] = list(zip(places, rows, strict=True))
    found.original = view.kept("document", [document.key]).get(document.key)
    kept = view.kept("chunk", keys)
    found.originals = {at: kept[key] for at, key in enumerate(keys) if key in kept}
    found.digest = _digest(found)
    return found


def _digest(parcel: Parcel) -> bytes:
    """16 bytes that another content does not have. Keys are an engine's own, and no part of it."""
    taken = hashlib.blake2b(digest_size=16)

    def take(*parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=False).encode()
            taken.update(len(data).to_bytes(8, "little"))
            taken.update(data)

    document = parcel.document
    take(parcel.source, document.document_id, document.title, dict(document.metadata), parcel.original or b"")
    for at, item in enumerate(parcel.chunks):
        chunk = item.chunk
        vector = b"" if chunk.embedding is None else chunk.embedding.tobytes()
        take(item.position, chunk.chunk_id, chunk.text, dict(chunk.metadata), asdict(chunk.place), vector)
        take(parcel.homes[at], parcel.originals.get(at, b""))
    take(parcel.listed)
    for name, vectors in sorted(parcel.own_vectors.items()):
        take(name, *(part for at, row in vectors for part in (at, row.tobytes())))
    return taken.digest()


def batches(found: Iterator[Parcel], *, most_bytes: int, most_chunks: int) -> Iterator[list[Parcel]]:
    """Several small documents together; one that is larger than a batch alone."""
    batch: list[Parcel] = []
    size = chunks = 0
    for parcel in found:
        if batch and (size + parcel.size > most_bytes or chunks + len(parcel.chunks) > most_chunks):
            yield batch
            batch, size, chunks = [], 0, 0
        batch.append(parcel)
        size += parcel.size
        chunks += len(parcel.chunks)
    if batch:
        yield batch


def chunk_count(batch: Sequence[Parcel]) -> int:
    return sum(len(parcel.chunks) for parcel in batch)
