"""A fixed read view: one read transaction of the catalogue, and the vector rows that were committed with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import (
    CollectionRecord,
    DocumentRecord,
    Owner,
    Scope,
    Scored,
    SourceRecord,
    StoredChunk,
    TextStatistics,
    Waiting,
)
from stackroom.errors import DamagedError
from stackroom.storage.catalogue import collections, originals, records, runs, waiting
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.passages import Passages
from stackroom.storage.catalogue.selection import Selector, Sets
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.derived import Remembered
from stackroom.storage.shared import Shared
from stackroom.storage.vectors import extents, spaces
from stackroom.storage.vectors.embeddings import Embeddings
from stackroom.storage.vectors.vector_file import VectorMap
from stackroom.types import EmbedderIdentity, Passage, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.history import History

# What knows words and filters is imported where it is needed: a process that asks with a vector starts sooner.

_OWNERS = 1024
"""Documents that are kept of a version, with their sources: hits are of the same ones again and again."""


class Snapshot:
    """A View of the local store, valid while its transaction is open. Made by LocalStore.view()."""

    def __init__(self, connection: Connection, blobs: Codec, shared: Shared) -> None:
        """`connection` is within a transaction. Raises FileNotFoundError where the vector file is none of this commit any more."""
        self.connection = connection
        self.codec = blobs
        self._shared = shared
        settings: dict[str, Any] = dict(
            connection.rows("SELECT name, value FROM settings WHERE name IN ('commits', 'commit_id', 'candidates')")
        )
        if not isinstance(settings.get("commits"), int):
            raise DamagedError(
                f"The settings of {shared.library} are damaged.", hint="See: stackroom verify", path=shared.library
            )
        self.version: int = settings["commits"]
        candidates = settings.get("candidates")
        # A library may come from a stranger.
        self.candidates = candidates if isinstance(candidates, int) and candidates > 0 else None
        commit_id = settings.get("commit_id")
        self._derived = shared.derived.of(self.version, commit_id if isinstance(commit_id, bytes) else b"")
        # None of these knows the snapshot: it goes as soon as it is left.
        self._sets = Sets(connection, self._derived)
        self._selector = Selector(connection, blobs, self._sets)
        self._passages = Passages(connection, blobs, shared.library)
        self._embeddings = Embeddings(connection, shared, self._derived, self._passages, self._selector)

    @property
    def lacks_files(self) -> bool:
        """Whether a vector file other than the serving one is not there: replaced a moment ago, or lost."""
        return self._embeddings.lacks_files

    def mapped(self, space: spaces.Space) -> VectorMap:
        """The rows of a space of this commit. Raises FileNotFoundError, DamagedError."""
        return self._embeddings.mapped(space)

    @property
    def history(self) -> History:
        from stackroom.storage.catalogue import branches

        return branches.history(self.connection)

    @property
    def identity(self) -> EmbedderIdentity | None:
        serving = self._embeddings.serving
        return None if serving is None else serving.identity

    def source(self, name: str) -> SourceRecord | None:
        return records.source_by_name(self.connection, name)

    def sources_with_content(self, content_hash: bytes) -> list[SourceRecord]:
        return records.sources_with_content(self.connection, content_hash)

    def each_source(self, *, under: str | None = None) -> Iterator[SourceRecord]:
        return records.each_source(self.connection, under)

    def find_sources(self, wanted: str) -> list[SourceRecord]:
        found = (records.source_by_key(self.connection, key) for key in records.find_sources(self.connection, wanted))
        return [record for record in found if record is not None]

    def listing(self, records_: Sequence[SourceRecord] | None = None) -> list[Source]:
        return records.listing(self.connection, records_)

    def documents(self, source_key: int) -> list[DocumentRecord]:
        return [self._counted(document) for document in records.documents_of(self.connection, source_key)]

    def document(self, document_id: str) -> DocumentRecord | None:
        found = records.document_by_id(self.connection, document_id)
        return None if found is None else self._counted(found)

    def each_document(self) -> Iterator[DocumentRecord]:
        return records.each_document(self.connection)

    def _counted(self, document: DocumentRecord) -> DocumentRecord:
        return replace(document, chunks=runs.of_documents(self.connection, [document.key]).count)

    def document_of(self, document_ids: Sequence[str]) -> dict[str, tuple[DocumentRecord, SourceRecord]]:
        known = self._derived.get("owners", lambda: Remembered[str, records.Owner](_OWNERS))
        return records.with_sources(self.connection, document_ids, known)

    def chunks(self, document_key: int, *, vectors: bool = False) -> Iterator[StoredChunk]:
        return self._passages.of_document(document_key, self._embeddings.of_key if vectors else None)

    def keys_of(self, document_key: int) -> list[int]:
        return self._passages.keys_of(document_key)

    def passages(self, keys: Sequence[int]) -> list[Passage]:
        return self._passages.of_keys(keys)

    def document_keys(self, keys: Sequence[int]) -> list[int]:
        return self._passages.document_keys(keys)

    def neighbours(self, key: int, context: int) -> tuple[list[Passage], list[Passage]]:
        return self._passages.neighbours(key, context)

    def texts(self, keys: Sequence[int]) -> list[tuple[int, int, str]]:
        """`(key, document_key, text)` of those of these chunks that are still there, verified."""
        return self._passages.texts(keys)

    def chunk_keys(self, chunk_ids: Sequence[str]) -> list[int | None]:
        return self._passages.keys_of_ids(chunk_ids)

    def chunk_ids(self, keys: Sequence[int] | None = None) -> list[str]:
        return self._passages.ids_of(self._sets.everything()) if keys is None else self._passages.ids_of_keys(keys)

    def vectors(self, keys: Sequence[int], *, collection: str = "default") -> NDArray[np.float32]:
        return self._embeddings.of_keys(keys, collection)

    def nearest(
        self, query: NDArray[np.float32], k: int, scope: Scope, *, exact: bool = False, candidates: int | None = None
    ) -> Scored:
        return self._embeddings.nearest(query, k, scope, exact=exact, candidates=candidates or self.candidates)

    def nearest_in(self, space: spaces.Space, query: NDArray[np.float32], k: int) -> Scored:
        """The nearest of all that have a row in this space, exactly."""
        return self._embeddings.nearest_in(space, query, k)

    def scores(self, query: NDArray[np.float32], keys: Sequence[int]) -> NDArray[np.float64]:
        return self._embeddings.scores(query, keys)

    def background(self, query: NDArray[np.float32]) -> tuple[float, float]:
        return self._embeddings.background(query)

    def matching(self, query: str, k: int, scope: Scope) -> tuple[Scored, TextStatistics]:
        from stackroom.storage.words.matching import matching

        return matching(self.connection, self._shared, self._derived, self._sets, self._selector, query, k, scope)

    @property
    def former(self) -> EmbedderIdentity | None:
        kept = spaces.with_state(self.connection, spaces.FORMER)
        return None if kept is None else kept.identity

    def unknown_to_former(self) -> NDArray[np.int64]:
        kept = spaces.with_state(self.connection, spaces.FORMER)
        return np.empty(0, dtype=np.int64) if kept is None else self.without_row(kept.key)

    def without_row(self, space_key: int) -> NDArray[np.int64]:
        """The keys of the chunks that have no vector in this space, in order: int64 of shape (n,)."""
        return self._sets.everything().difference(extents.keys(self.connection, space_key)).keys()

    def live_keys(self, *, with_vector: bool = False) -> NDArray[np.int64]:
        keys = self._sets.everything()
        if with_vector:
            serving = self._embeddings.serving
            keys = keys.intersection(extents.keys(self.connection, -1 if serving is None else serving.key))
        return keys.keys()

    def collections(self) -> list[CollectionRecord]:
        return collections.summaries(self.connection, self._sets.everything, self._sets.homes)

    def has_collection(self, name: str) -> bool:
        return collections.exists(self.connection, name)

    def members(self, collection: str) -> list[int]:
        found = self._sets.of(collection)
        return list(map(int, (self._sets.everything() if found is None else found).keys()))

    def kinds(self, field: str) -> frozenset[str]:
        from stackroom.storage.catalogue import metadata

        return self._derived.get(f"kinds {field}", lambda: metadata.kinds(self.connection, field))

    def select(self, scope: Scope) -> NDArray[np.int64]:
        allowed = self._selector.select(scope)
        return (self._sets.everything() if allowed is None else allowed).keys()

    def kept(self, owner: Owner, keys: Sequence[int]) -> dict[int, bytes]:
        return originals.kept(self.connection, self.codec, owner, keys)

    def waiting(self) -> Waiting:
        return waiting.get(self.connection)

    def attachment(self, name: str) -> bytes | None:
        return originals.attachment(self.connection, self.codec, name)

    def attachments(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        return originals.attachments(self.connection, self.codec, prefix)
