"""A fixed read view: one read transaction of the catalogue, and the vector rows that were committed with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
from stackroom.errors import DamagedError, DimensionMismatchError, NotFoundError, StackroomError
from stackroom.storage.catalogue import codec, collections, ids, originals, records, runs, waiting
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.selection import Selector, Sets
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.derived import Newest, Remembered
from stackroom.storage.vectors import extents, nearest, scan, sketches, spaces
from stackroom.storage.vectors.row_map import RowMap
from stackroom.storage.vectors.vector_file import VectorMap, missing, open_map
from stackroom.types import Chunk, EmbedderIdentity, Passage, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.words.bm25 import File
    from stackroom.storage.words.postings import Postings
    from stackroom.storage.words.word_files import Shelf

# What knows words and filters is imported where it is needed: a process that asks with a vector starts sooner.

T = TypeVar("T")

_SAMPLE = 1024

_OWNERS = 1024
"""Documents that are kept of a version, with their sources: hits are of the same ones again and again."""

_PASSAGE = "key, chunk_id, document_key, chunks.checksum, details, text"
_OWN = """EXISTS(SELECT 1 FROM runs WHERE runs.document_key = chunks.document_key AND first_key <= key AND first_key + n > key)"""
"""Whether the document has the passage as well: no checksum says whose it is."""


_MAPPED = 16
"""Vector files that are kept mapped: those of some collections that have vectors of their own."""


def _others(connection: Connection) -> list[spaces.Space]:
    """The spaces besides the serving one."""
    try:
        return [space for space in spaces.every(connection) if space.state != spaces.SERVING]
    except DamagedError:
        return []


class Shared:
    """What the snapshots of one catalogue share: maps and loaded files, and what was derived from the newest version."""

    def __init__(self, library: Path, file: tuple[int, int]) -> None:
        self.library = library
        self.file = file
        """the catalogue: what another one in its place says is another matter"""
        self.sketches = sketches.Shelf()
        self._word_files: Shelf | None = None
        self._mapped: dict[tuple[bytes, int, bool], VectorMap] = {}
        self.derived = Newest()

    def map(self, space: spaces.Space) -> VectorMap:
        """The rows of a space. Raises FileNotFoundError."""
        key = (space.file_uuid, space.rows, space.unit)
        found = self._mapped.get(key)
        if found is None:
            path = space.path(self.library)
            found = open_map(path, rows=space.rows, dim=space.dim, file_uuid=space.file_uuid, unit=space.unit)
            # Of one file the newest state; assigned at once, as threads may share it.
            others = [(other, map_) for other, map_ in self._mapped.items() if other[0] != space.file_uuid]
            self._mapped = dict([*others[1 - _MAPPED :], (key, found)])
        return found

    @property
    def word_files(self) -> Shelf:
        if self._word_files is None:
            from stackroom.storage.words.word_files import Shelf

            self._word_files = Shelf()
        return self._word_files


class Snapshot:
    """A View of the local store, valid while its transaction is open. Made by LocalStore.view()."""

    def __init__(self, connection: Connection, blobs: Codec, shared: Shared) -> None:
        """`connection` is within a transaction. Raises FileNotFoundError where the vector file is none of this commit any more."""
        self._library = shared.library
        self._shelf = shared.sketches
        self._shared = shared
        self.connection = self._connection = connection
        self.codec = self._codec = blobs
        settings: dict[str, Any] = dict(
            connection.rows("SELECT name, value FROM settings WHERE name IN ('commits', 'commit_id', 'candidates')")
        )
        if not isinstance(settings.get("commits"), int):
            raise DamagedError(
                f"The settings of {self._library} are damaged.", hint="See: stackroom verify", path=self._library
            )
        self.version: int = settings["commits"]
        candidates = settings.get("candidates")
        # A library may come from a stranger.
        self.candidates = candidates if isinstance(candidates, int) and candidates > 0 else None
        commit_id = settings.get("commit_id")
        self._derived = shared.derived.of(self.version, commit_id if isinstance(commit_id, bytes) else b"")
        self._space = self._derived.get("space", lambda: spaces.serving(connection))
        self._vectors = None if self._space is None else shared.map(self._space)
        self._others: dict[int, VectorMap] = {}
        self.lacks_files = False
        """whether a vector file other than the serving one is not there: replaced a moment ago, or lost"""
        for space in self._derived.get("others", lambda: _others(connection)):
            self._hold(space)
        self._sets = Sets(connection, self._derived)
        self._selector = Selector(connection, blobs, self._sets)

    def _hold(self, space: spaces.Space) -> None:
        """Map it now: a compaction may take it away as soon as the view is open. What is wrong with it is told who asks for it."""
        try:
            self._others[space.key] = self._shared.map(space)
        except FileNotFoundError:
            self.lacks_files = True
        except StackroomError:
            pass

    def mapped(self, space: spaces.Space) -> VectorMap:
        """The rows of a space of this commit. Raises FileNotFoundError, DamagedError."""
        return self._others.get(space.key) or self._shared.map(space)

    @property
    def identity(self) -> EmbedderIdentity | None:
        return None if self._space is None else self._space.identity

    def source(self, name: str) -> SourceRecord | None:
        return records.source_by_name(self._connection, name)

    def sources_with_content(self, content_hash: bytes) -> list[SourceRecord]:
        return records.sources_with_content(self._connection, content_hash)

    def each_source(self, *, under: str | None = None) -> Iterator[SourceRecord]:
        return records.each_source(self._connection, under)

    def find_sources(self, wanted: str) -> list[SourceRecord]:
        found = (records.source_by_key(self._connection, key) for key in records.find_sources(self._connection, wanted))
        return [record for record in found if record is not None]

    def listing(self, records_: Sequence[SourceRecord] | None = None) -> list[Source]:
        return records.listing(self._connection, records_)

    def documents(self, source_key: int) -> list[DocumentRecord]:
        return [self._counted(document) for document in records.documents_of(self._connection, source_key)]

    def document(self, document_id: str) -> DocumentRecord | None:
        found = records.document_by_id(self._connection, document_id)
        return None if found is None else self._counted(found)

    def each_document(self) -> Iterator[DocumentRecord]:
        return records.each_document(self._connection)

    def _counted(self, document: DocumentRecord) -> DocumentRecord:
        return replace(document, chunks=runs.of_documents(self._connection, [document.key]).count)

    def document_of(self, document_ids: Sequence[str]) -> dict[str, tuple[DocumentRecord, SourceRecord]]:
        known = self._derived.get("owners", lambda: Remembered[str, records.Owner](_OWNERS))
        return records.with_sources(self._connection, document_ids, known)

    def chunks(self, document_key: int, *, vectors: bool = False) -> Iterator[StoredChunk]:
        rows = self._connection.execute(
            f"SELECT {_OWN}, position, {_PASSAGE} FROM chunks WHERE document_key = ? ORDER BY position, key",
            (document_key,),
        )
        left = runs.of_documents(self._connection, [document_key]).count
        for own, position, *row in rows:
            left -= 1
            key, chunk_id, text, place, metadata = self._decoded(tuple(row))
            if not own:
                raise self._damaged(chunk_id, document_key)
            embedding = self._vector(key) if vectors else None
            yield StoredChunk(key, position, Chunk(text, chunk_id, metadata, place, embedding))
        if left:
            raise DamagedError(
                f"The document with key {document_key} has not the passages that it should have.",
                hint="See what is hit: stackroom verify",
                path=self._library,
                actual=document_key,
            )

    def keys_of(self, document_key: int) -> list[int]:
        rows = self._connection.rows(
            "SELECT key FROM chunks WHERE document_key = ? ORDER BY position, key", (document_key,)
        )
        return [key for (key,) in rows]

    def passages(self, keys: Sequence[int]) -> list[Passage]:
        # One question for all: a search asks for ten, a proof or an export for thousands.
        asked = self._connection.execute(
            f"""SELECT {_PASSAGE}, document_id, {_OWN} FROM chunks LEFT JOIN documents USING(document_key)
                WHERE key IN (SELECT value FROM json_each(?))""",
            (json.dumps(list(keys)),),
        )
        rows = {row[0]: row for row in asked}
        return [self._passage(row) for row in self._each(rows, keys)]

    def document_keys(self, keys: Sequence[int]) -> list[int]:
        asked = "SELECT key, document_key FROM chunks WHERE key IN (SELECT value FROM json_each(?))"
        return self._each(dict(self._connection.rows(asked, (json.dumps(list(keys)),))), keys)

    def _each(self, found: Mapping[int, T], keys: Sequence[int]) -> list[T]:
        """What was found for each key. Raises DamagedError."""
        try:
            return [found[key] for key in keys]
        except KeyError as error:
            raise DamagedError(
                f"The index names the passage {error}, which the catalogue does not hold.",
                hint="See what is hit: stackroom verify",
                path=self._library,
                actual=error.args[0],
            ) from None

    def _passage(self, row: tuple[Any, ...]) -> Passage:
        """Of a row of `_PASSAGE` with the document's id and `_OWN` behind it."""
        *stored, document_id, own = row
        _, chunk_id, text, place, metadata = self._decoded(tuple(stored))
        if document_id is None or not own:
            raise self._damaged(chunk_id, stored[2])
        return Passage(chunk_id, ids.unpack_id(document_id), text, place, metadata)

    def _decoded(self, row: tuple[Any, ...]) -> tuple[int, str, str, Any, dict[str, Any]]:
        """Key, id, text, place and metadata of a row of `_PASSAGE`, its checksum verified."""
        key, packed_id, document_key, checksum, details, text = row
        chunk_id = ids.unpack_id(packed_id)
        try:
            plain = self._codec.decode(text)
            described = None if details is None else self._codec.decode(details)
        except DamagedError as error:
            raise self._damaged(chunk_id, document_key) from error
        if codec.chunk_checksum(chunk_id, plain, described) != checksum:
            raise self._damaged(chunk_id, document_key)
        place, metadata = codec.load_details(described)
        return key, chunk_id, codec.to_text(plain), place, metadata

    def _damaged(self, chunk_id: str, document_key: int) -> DamagedError:
        row = self._connection.row(
            "SELECT document_id, name FROM documents JOIN sources USING(source_key) WHERE document_key = ?",
            (document_key,),
        )
        where = f"document {ids.unpack_id(row[0])} ({ids.unpack_text(row[1])})" if row else "no document"
        return DamagedError(
            f"The passage {chunk_id} of {where} is not what was written.",
            hint="See what is hit: stackroom verify. Bring back what can be: stackroom repair",
            path=self._library,
            actual=chunk_id,
        )

    def neighbours(self, key: int, context: int) -> tuple[list[Passage], list[Passage]]:
        found = self._connection.row("SELECT document_key, position FROM chunks WHERE key = ?", (key,))
        if found is None:
            return [], []
        document_key, position = found
        beside = f"SELECT {_PASSAGE}, document_id, {_OWN} FROM chunks LEFT JOIN documents USING(document_key)"
        before = self._connection.rows(
            f"{beside} WHERE document_key = ? AND position < ? ORDER BY position DESC LIMIT ?",
            (document_key, position, context),
        )
        after = self._connection.rows(
            f"{beside} WHERE document_key = ? AND position > ? ORDER BY position LIMIT ?",
            (document_key, position, context),
        )
        return [self._passage(row) for row in reversed(before)], [self._passage(row) for row in after]

    def chunk_keys(self, chunk_ids: Sequence[str]) -> list[int | None]:
        found = []
        for chunk_id in chunk_ids:
            row = self._connection.row("SELECT key FROM chunks WHERE chunk_id = ?", (ids.pack_id(chunk_id),))
            found.append(None if row is None else int(row[0]))
        return found

    def vectors(self, keys: Sequence[int], *, collection: str = "default") -> NDArray[np.float32]:
        space, mapped = self._searched(collection)
        found = np.empty((len(keys), 0 if space is None else space.dim), dtype=np.float32)
        rows = {} if space is None else extents.rows_of_keys(self._connection, space.key, keys)
        for i, key in enumerate(keys):
            if mapped is None or key not in rows:
                raise NotFoundError(
                    f"The chunk with key {key} has no vector.", hint="See: stackroom status", actual=key
                )
            found[i] = self._verified(mapped, key, *rows[key])
        return found

    def _vector(self, key: int) -> NDArray[np.float32] | None:
        """A verified copy of a chunk's vector, or None where it has none."""
        if self._space is None or self._vectors is None:
            return None
        found = extents.row_of_key(self._connection, self._space.key, key)
        return None if found is None else self._verified(self._vectors, key, *found)

    def _verified(self, mapped: VectorMap, key: int, number: int, checksum: int) -> NDArray[np.float32]:
        if not 0 <= number < len(mapped.rows):
            raise DamagedError(
                f"The catalogue names rows that {mapped.path} does not have.",
                hint="See what is hit: stackroom verify",
                path=mapped.path,
            )
        row: NDArray[np.float32] = np.array(mapped.rows[number], dtype=np.float32)
        if codec.row_checksum(key, row.data.cast("B")) != checksum:
            chunk_id, document_key = self._connection.row(
                "SELECT chunk_id, document_key FROM chunks WHERE key = ?", (key,)
            ) or ("", -1)
            raise self._damaged(ids.unpack_id(chunk_id), document_key)
        return row

    def nearest(
        self, query: NDArray[np.float32], k: int, scope: Scope, *, exact: bool = False, candidates: int | None = None
    ) -> Scored:
        space, mapped = self._searched(scope.collection)
        if space is None or mapped is None or k <= 0:
            return Scored(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))
        if query.shape != (space.dim,):
            raise DimensionMismatchError(
                f"The query has the shape {query.shape}, the library's vectors have {space.dim} dimensions.",
                hint="Use the model that the library was made with.",
                expected=space.dim,
                actual=query.shape,
            )
        allowed = self._selector.select(scope)
        among = self._live_rows() if allowed is None else self._row_map(space).rows_of(self._connection, allowed)
        known = [] if exact else self._sketches(space, among.count)
        return self._ranked(space, mapped, known, query, k, among, candidates or self.candidates)

    def nearest_in(self, space: spaces.Space, query: NDArray[np.float32], k: int) -> Scored:
        """The nearest of all that have a row in this space, exactly."""
        among = KeySet(extents.live_ranges(self._connection, space.key, space.rows))
        return self._ranked(space, self.mapped(space), [], query, k, among, None)

    def _ranked(
        self,
        space: spaces.Space,
        mapped: VectorMap,
        known: list[sketches.Sketch],
        query: NDArray[np.float32],
        k: int,
        among: KeySet,
        candidates: int | None,
    ) -> Scored:
        rows, scores = nearest.nearest_rows(
            mapped, known, query, k, metric=space.metric, among=among, candidates=candidates
        )
        keys = self._row_map(space).keys_of_rows(self._connection, rows)
        order = np.lexsort((keys, -scores))[:k]
        return Scored(keys[order], scores[order])

    def _sketches(self, space: spaces.Space, rows: int) -> list[sketches.Sketch]:
        entries = sketches.of_space(self._connection, space)
        if not nearest.worth_asking([entry.n for entry in entries], space.dim):
            entries = []
        return self._shelf.take(self._library, space, entries, rows * space.dim * 4)

    def _searched(self, collection: str) -> tuple[spaces.Space | None, VectorMap | None]:
        """The space whose vectors are a collection's: its own, or the serving one."""
        if collection != "default":
            own = collections.find(self._connection, collection).space_key
            for space in spaces.every(self._connection) if own is not None else ():
                if space.key == own:
                    try:
                        return space, self.mapped(space)
                    except FileNotFoundError as error:
                        raise missing(error.filename) from error
        return self._space, self._vectors

    def scores(self, query: NDArray[np.float32], keys: Sequence[int]) -> NDArray[np.float64]:
        found = np.full(len(keys), np.nan)
        if self._space is None or self._vectors is None:
            return found
        rows = self._row_map(self._space).rows_of_keys(self._connection, np.array(keys, dtype=np.int64))
        there = rows >= 0
        found[there] = scan.exact_scores(self._vectors, rows[there], query, metric=self._space.metric)
        return found

    def background(self, query: NDArray[np.float32]) -> tuple[float, float]:
        if self._space is None or self._vectors is None or query.shape != (self._space.dim,):
            return 0.0, 0.0
        vectors = self._vectors
        sample = self._derived.get("sample", lambda: self._sample(vectors))
        if not len(sample.rows):
            return 0.0, 0.0
        scores = scan.scores(sample, query, metric=self._space.metric)
        return float(scores.mean(dtype=np.float64)), float(scores.std(dtype=np.float64))

    def _sample(self, vectors: VectorMap) -> VectorMap:
        """Rows spread evenly over the live ones, in memory: the same for every query of this version."""
        rows = self._live_rows().keys()
        if len(rows) > _SAMPLE:
            rows = rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]
        return replace(vectors, rows=vectors.rows[rows], norms=None if vectors.norms is None else vectors.norms[rows])

    def _live_rows(self) -> KeySet:
        space = self._space
        if space is None:
            return KeySet.empty()
        return self._derived.get("live", lambda: KeySet(extents.live_ranges(self._connection, space.key, space.rows)))

    def _row_map(self, space: spaces.Space) -> RowMap:
        return self._derived.get(f"rows {space.key}", lambda: RowMap(space.key))

    def matching(self, query: str, k: int, scope: Scope) -> tuple[Scored, TextStatistics]:
        from stackroom.storage.words import bm25, fulltext, tokenizer, word_files

        parsed = tokenizer.parse_query(query)
        allowed = self._selector.select(scope)
        found = self._shared.word_files.take(self._library, word_files.every(self._connection))
        if found:
            files = [self._words(name, file) for name, file in found.items()]
            wanted = allowed
            if parsed.excluded:
                excluded = fulltext.holding(self._connection, parsed.excluded)
                wanted = (self._sets.everything() if allowed is None else allowed).difference(excluded)
            try:
                return bm25.matching(self._connection, files, parsed, k, wanted, self._sets.everything())
            except ValueError:
                for name in found:
                    self._shared.word_files.forget(name)
        return fulltext.matching(self._connection, parsed, k, allowed, self._sets.everything().count)

    def _words(self, name: str, file: Postings) -> File:
        from stackroom.storage.words.bm25 import File

        return self._derived.get(f"words {name}", lambda: File(file, file.alive(self._sets.everything())))

    @property
    def former(self) -> EmbedderIdentity | None:
        kept = spaces.with_state(self._connection, spaces.FORMER)
        return None if kept is None else kept.identity

    def unknown_to_former(self) -> NDArray[np.int64]:
        kept = spaces.with_state(self._connection, spaces.FORMER)
        return np.empty(0, dtype=np.int64) if kept is None else self.without_row(kept.key)

    def without_row(self, space_key: int) -> NDArray[np.int64]:
        """The keys of the chunks that have no vector in this space, in order: int64 of shape (n,)."""
        return self._sets.everything().difference(extents.keys(self._connection, space_key)).keys()

    def texts(self, keys: Sequence[int]) -> list[tuple[int, int, str]]:
        """`(key, document_key, text)` of those of these chunks that are still there, verified."""
        rows = [self._connection.row(f"SELECT {_PASSAGE} FROM chunks WHERE key = ?", (int(key),)) for key in keys]
        return [(int(row[0]), int(row[2]), self._decoded(row)[2]) for row in rows if row is not None]

    def live_keys(self, *, with_vector: bool = False) -> NDArray[np.int64]:
        keys = self._sets.everything()
        if with_vector:
            space_key = -1 if self._space is None else self._space.key
            keys = keys.intersection(extents.keys(self._connection, space_key))
        return keys.keys()

    def collections(self) -> list[CollectionRecord]:
        return collections.summaries(self._connection, self._sets.everything, self._sets.homes)

    def has_collection(self, name: str) -> bool:
        return collections.exists(self._connection, name)

    def members(self, collection: str) -> list[int]:
        found = self._sets.of(collection)
        return list(map(int, (self._sets.everything() if found is None else found).keys()))

    def kinds(self, field: str) -> frozenset[str]:
        from stackroom.storage.catalogue import metadata

        return self._derived.get(f"kinds {field}", lambda: metadata.kinds(self._connection, field))

    def select(self, scope: Scope) -> NDArray[np.int64]:
        allowed = self._selector.select(scope)
        return (self._sets.everything() if allowed is None else allowed).keys()

    def chunk_ids(self, keys: Sequence[int] | None = None) -> list[str]:
        ranges = (
            self._sets.everything().ranges if keys is None else KeySet.from_keys(np.array(keys, dtype=np.int64)).ranges
        )
        found: dict[int, str] = {}
        for first, end in ranges.tolist():
            for key, packed in self._connection.rows(
                "SELECT key, chunk_id FROM chunks WHERE key >= ? AND key < ?", (first, end)
            ):
                found[key] = ids.unpack_id(packed)
        if keys is None:
            return list(found.values())
        try:
            return [found[key] for key in keys]
        except KeyError as error:
            raise NotFoundError(f"There is no chunk with key {error}.", actual=str(error)) from None

    def kept(self, owner: Owner, keys: Sequence[int]) -> dict[int, bytes]:
        return originals.kept(self._connection, self._codec, owner, keys)

    def waiting(self) -> Waiting:
        return waiting.get(self._connection)

    def attachment(self, name: str) -> bytes | None:
        return originals.attachment(self._connection, self._codec, name)

    def attachments(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        return originals.attachments(self._connection, self._codec, prefix)
