"""What waits to be embedded and committed: several small documents together, a large one in parts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from stackroom.backend import Backend, Commit, DocumentRecord, SourceRecord
from stackroom.errors import NotFoundError
from stackroom.ingest.embedders import checked
from stackroom.ingest.matching import OldChunks
from stackroom.ingest.tally import Tally
from stackroom.progress import CancelToken
from stackroom.protocols import Embedder
from stackroom.types import Chunk, EmbedderIdentity, Place

_SLICE = 32
"""Chunks embedded between two looks at the cancel token: a quarter of a second's work for the shipped model."""

_BYTES = 8 << 20
"""Of chunks that bring their vectors: a commit of so many takes half a second, and is worth its syncs."""


@dataclass(slots=True)
class Pending:
    """One document's part of a batch: new chunks with their positions, kept ones that move, and keys that vanish."""

    source: SourceRecord
    document: DocumentRecord
    kind: str = "added"
    new: list[tuple[int, Chunk]] = field(default_factory=list)
    moves: list[tuple[int, int, Place]] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)
    kept: int = 0
    last: bool = True
    """whether the document is whole with this part"""
    fresh: bool = False
    """whether whatever the document held before is to be replaced"""
    gone: list[int] = field(default_factory=list)
    """documents that the source no longer has"""
    incomplete: str = ""
    """what of the source could not be read"""


class Batch:
    """Collects documents until they are worth a commit, and embeds their chunks as they come, a slice at a time.

    `size` is the number of chunks, or of documents, that are worth a commit. Chunks that bring their vectors are not counted but weighed.
    `made_by` is the model of those vectors, None where nobody says.
    """

    def __init__(
        self,
        backend: Backend,
        embedder: Callable[[], Embedder],
        tally: Tally,
        cancel: CancelToken,
        *,
        size: int = 128,
        made_by: EmbedderIdentity | None = None,
    ) -> None:
        self._backend = backend
        self._embedder = embedder
        self._made_by = made_by
        self._tally = tally
        self._cancel = cancel
        self._size = size
        self._pending: list[Pending] = []
        # Chunks without a vector, by their places in `new` of what waits.
        self._bare: list[tuple[Pending, int]] = []
        self._others: list[tuple[Callable[[Commit], None], Callable[[], None]]] = []
        self._since = time.monotonic()
        self._waiting = 0
        self._bytes = 0
        self._embeds = False

    def add(self, pending: Pending) -> None:
        """A document, or a part of one. May embed, and flush."""
        self._pending.append(pending)
        for at, (_, chunk) in enumerate(pending.new):
            if chunk.embedding is None:
                self._waiting += 1
                self._bare.append((pending, at))
                self._embeds = True
            else:
                self._bytes += 4 * np.size(chunk.embedding) + len(chunk.text)
        self._waiting += len(pending.moves)
        # At once, so that a run that is cancelled has little to lose.
        while len(self._bare) >= _SLICE and not self._cancel.cancelled:
            self._embed_slice()
        if max(self._waiting, len(self._pending)) >= self._size or self._bytes >= _BYTES:
            self.flush()

    def also(self, change: Callable[[Commit], None], done: Callable[[], None]) -> None:
        """A change without chunks, for the next commit; `done` is called when it is durable."""
        self._others.append((change, done))
        if len(self._others) >= 256 or time.monotonic() - self._since > 2.0:
            self.flush()

    def drop(self, name: str) -> None:
        """Forget what waits of this source: its reading has failed."""
        self._pending = [item for item in self._pending if item.source.name != name]
        self._bare = [(item, at) for item, at in self._bare if item.source.name != name]

    def flush(self) -> None:
        """Embed what needs it and commit everything. A cancelled run embeds no more, and commits what it has embedded."""
        while self._bare and not self._cancel.cancelled:
            self._embed_slice()
        pending, others = self._pending, self._others
        if self._bare:
            first = self._bare[0][0]
            pending = pending[: next(at for at, item in enumerate(pending) if item is first)]
        embeds, self._embeds = self._embeds, False
        self._pending, self._bare, self._others, self._since = [], [], [], time.monotonic()
        self._waiting = self._bytes = 0
        if not pending and not others:
            return
        with self._backend.commit() as commit:
            if any(item.new for item in pending):
                if embeds:
                    commit.use_embedder(self._embedder().identity)
                elif self._made_by is not None:
                    commit.use_embedder(self._made_by)
            written = [item for item in pending if _write(commit, item)]
            for change, _ in others:
                # A source may be removed while an `add` runs: then there is nothing to change.
                with contextlib.suppress(NotFoundError):
                    change(commit)
        for item in written:
            self._count(item)
        for _, done in others:
            done()

    def _embed_slice(self) -> None:
        part, self._bare = self._bare[:_SLICE], self._bare[_SLICE:]
        embedder = self._embedder()
        texts = [item.new[at][1].text for item, at in part]
        rows = checked(embedder.embed_passages(texts), n=len(part), dim=embedder.identity.dim)
        for (item, at), row in zip(part, rows, strict=True):
            position, chunk = item.new[at]
            item.new[at] = position, replace(chunk, embedding=row)
        self._tally.embedded(len(part))

    def _count(self, item: Pending) -> None:
        self._tally.stored(len(item.new), item.kept)
        if item.last:
            source = item.source
            self._tally.finished(
                item.kind,
                name=source.name,
                blank=source.pages_without_text or 0,
                pages=source.pages or 0,
                incomplete=item.incomplete,
            )


def _write(commit: Commit, item: Pending) -> bool:
    """False where the source was removed meanwhile: the kept chunks went with it, and the next run reads the file anew."""
    source = item.source
    if item.last:
        source = replace(source, state="indexed", indexed_at=datetime.now(UTC).isoformat(timespec="seconds"))
    else:
        source = replace(source, state="partial")
    try:
        source_key = commit.put_source(source)
    except NotFoundError:
        return False
    document_key = commit.put_document(replace(item.document, source_key=source_key))
    if item.last:
        commit.given(document_key)
    # What a source says anew belongs to the indexes that it was in.
    lists = commit.listings(source_key) if item.new else []
    commit.remove_chunks(item.vanished)
    for key in item.gone:
        # Somebody else may have removed it meanwhile.
        with contextlib.suppress(NotFoundError):
            commit.remove_document(key)
    commit.move_chunks(item.moves)
    runs: list[tuple[int, list[Chunk]]] = []
    for position, chunk in item.new:
        if not runs or position != runs[-1][0] + len(runs[-1][1]):
            runs.append((position, []))
        runs[-1][1].append(chunk)
    for start, run in runs:
        keys = commit.add_chunks(document_key, run, position=start)
        for name in lists:
            commit.enlist(name, keys)
    return True


def fill(pending: Pending, chunk: Chunk, position: int, old: OldChunks) -> None:
    """Put a chunk where it belongs: kept as it is, moved, or new."""
    found = old.take(chunk, position)
    if found is None:
        pending.new.append((position, chunk))
        return
    pending.kept += 1
    if found[1] is not None:
        pending.moves.append(found[1])


def document_for(existing: Sequence[DocumentRecord], **fields: Any) -> DocumentRecord:
    """The record of a source's one document: its id stays, what it says is new."""
    document_id = existing[0].document_id if existing else ""
    return DocumentRecord(document_id=document_id, source_key=0, **fields)
