"""The vectors of one snapshot: each read back as it was written, and the nearest to a query among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scope, Scored
from stackroom.errors import DamagedError, DimensionMismatchError, NotFoundError, StackroomError
from stackroom.storage.catalogue import codec, collections, ids
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.passages import Passages
from stackroom.storage.catalogue.selection import Selector
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.derived import Derived
from stackroom.storage.shared import Shared
from stackroom.storage.vectors import extents, nearest, scan, sketches, spaces
from stackroom.storage.vectors.row_map import RowMap
from stackroom.storage.vectors.vector_file import VectorMap, missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLE = 1024


def _others(connection: Connection) -> list[spaces.Space]:
    """The spaces besides the serving one."""
    try:
        return [space for space in spaces.every(connection) if space.state != spaces.SERVING]
    except DamagedError:
        return []


class Embeddings:
    """Every space of one snapshot, its rows mapped when the snapshot is taken."""

    def __init__(
        self, connection: Connection, shared: Shared, derived: Derived, passages: Passages, selector: Selector
    ) -> None:
        """Raises FileNotFoundError where the serving vector file is none of this commit any more."""
        self._connection = connection
        self._shared = shared
        self._derived = derived
        self._passages = passages
        self._selector = selector
        self.serving = derived.get("space", lambda: spaces.serving(connection))
        self._vectors = None if self.serving is None else shared.map(self.serving)
        self._others: dict[int, VectorMap] = {}
        self.lacks_files = False
        """whether a vector file other than the serving one is not there: replaced a moment ago, or lost"""
        for space in derived.get("others", lambda: _others(connection)):
            self._hold(space)

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
        return self.serving, self._vectors

    def of_keys(self, keys: Sequence[int], collection: str) -> NDArray[np.float32]:
        """Verified copies, float32 of shape `(len(keys), dim)`. Raises NotFoundError, DamagedError."""
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

    def of_key(self, key: int) -> NDArray[np.float32] | None:
        """A verified copy from the serving space, or None where the chunk has none. Raises DamagedError."""
        if self.serving is None or self._vectors is None:
            return None
        found = extents.row_of_key(self._connection, self.serving.key, key)
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
            raise self._passages.damaged(ids.unpack_id(chunk_id), document_key)
        return row

    def nearest(
        self, query: NDArray[np.float32], k: int, scope: Scope, *, exact: bool, candidates: int | None
    ) -> Scored:
        """Among the chunks in scope. Raises DimensionMismatchError, NotFoundError, InvalidFilterError, DamagedError."""
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
        among = self.live_rows() if allowed is None else self._row_map(space).rows_of(self._connection, allowed)
        known = [] if exact else self.sketches_for(space, among.count)
        return self._ranked(space, mapped, known, query, k, among, candidates)

    def nearest_in(self, space: spaces.Space, query: NDArray[np.float32], k: int) -> Scored:
        """Among all that have a row in this space, exactly."""
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

    def sketches_for(self, space: spaces.Space, rows: int) -> list[sketches.Sketch]:
        """Those that a search among so many rows would ask, loaded."""
        entries = sketches.of_space(self._connection, space)
        if not nearest.worth_asking([entry.n for entry in entries], space.dim):
            entries = []
        return self._shared.sketches.take(self._shared.library, space, entries, rows * space.dim * 4)

    def scores(self, query: NDArray[np.float32], keys: Sequence[int]) -> NDArray[np.float64]:
        found = np.full(len(keys), np.nan)
        if self.serving is None or self._vectors is None:
            return found
        rows = self._row_map(self.serving).rows_of_keys(self._connection, np.array(keys, dtype=np.int64))
        there = rows >= 0
        found[there] = scan.exact_scores(self._vectors, rows[there], query, metric=self.serving.metric)
        return found

    def background(self, query: NDArray[np.float32]) -> tuple[float, float]:
        if self.serving is None or self._vectors is None or query.shape != (self.serving.dim,):
            return 0.0, 0.0
        vectors = self._vectors
        sample = self._derived.get("sample", lambda: self._sample(vectors))
        if not len(sample.rows):
            return 0.0, 0.0
        scores = scan.scores(sample, query, metric=self.serving.metric)
        if self.serving.metric == "cosine":
            # A row that a flipped bit has made as long as a galaxy would outweigh all others, in every query.
            scores = np.clip(np.nan_to_num(scores), -1.0, 1.0)
        return float(scores.mean(dtype=np.float64)), float(scores.std(dtype=np.float64))

    def _sample(self, vectors: VectorMap) -> VectorMap:
        """Rows spread evenly over the live ones, in memory: the same for every query of this version."""
        rows = self.live_rows().keys()
        if len(rows) > _SAMPLE:
            rows = rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]
        return replace(vectors, rows=vectors.rows[rows], norms=None if vectors.norms is None else vectors.norms[rows])

    def live_rows(self) -> KeySet:
        """The rows of the serving space that a chunk has."""
        space = self.serving
        if space is None:
            return KeySet.empty()
        return self._derived.get("live", lambda: KeySet(extents.live_ranges(self._connection, space.key, space.rows)))

    def _row_map(self, space: spaces.Space) -> RowMap:
        return self._derived.get(f"rows {space.key}", lambda: RowMap(space.key))
