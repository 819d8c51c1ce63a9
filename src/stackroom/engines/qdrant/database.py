"""Qdrant as the shared room asks a database: its collections, filters, searches and aliases."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models

from stackroom.engines.qdrant.client import Server, ThereError, place_of
from stackroom.engines.qdrant.filters import filter_of
from stackroom.engines.records import AGAIN, readable
from stackroom.engines.versioned.database import AbsentError, Bounds, Database, Row
from stackroom.engines.versioned.tables import ASKED, RANGED, RECORDS, kind_of
from stackroom.errors import BusyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.engines.versioned.conditions import Condition
    from stackroom.types import Metric

_DISTANCES = {"cosine": models.Distance.DOT, "dot": models.Distance.DOT, "l2": models.Distance.EUCLID}
"""Not Qdrant's own cosine: it would keep the vectors changed, each brought to the length of one."""
_SEARCHED = 400
"""`hnsw_ef`, unless `set_candidates` says otherwise: at 50,000 rows 400 finds 0.986 of the ten best, the server's own 100 finds 0.857."""
_UNIT = 1e-6
"""Vectors whose length is so near to one are searched as they are."""

_WORDS = "words"
"""The name of the sparse vector. That of the other one is the table's metric."""
_LONG = {"data", "listed", "facts", "terms", "counts", "sparse", "embedding"}
"""Fields that may be long: fewer of these are read at once."""
_ROWS, _LONG_ROWS = 10_000, 500


class QdrantDatabase(Database):
    """An exact search compares every row in scope; another one may go by Qdrant's HNSW, with `hnsw_ef` as the effort.

    A gate is an alias of `records`: Qdrant renames one only if it is there, and to one asker only.
    """

    name = "Qdrant"
    bounds = Bounds(rows=_ROWS, dimensions=65_536)
    index = None
    indexes = ("HNSW",)
    finds_words = True

    def __init__(self, url: str) -> None:
        place = place_of(url)
        self.url = url
        self._options = place.options
        self._named = place.named
        self._server = Server(place)

    def version(self) -> str:
        return str(self._server.call("info").version)

    def names(self) -> list[str]:
        try:
            found = self._server.call("get_collection_aliases", self._named(RECORDS)).aliases
        except AbsentError:
            return []
        return [one.alias_name.removeprefix(self._named("")) for one in found]

    def put_name(self, name: str) -> None:
        made = models.CreateAlias(collection_name=self._named(RECORDS), alias_name=self._named(name))
        self._change_names(models.CreateAliasOperation(create_alias=made))

    def rename(self, old: str, new: str) -> None:
        change = models.RenameAlias(old_alias_name=self._named(old), new_alias_name=self._named(new))
        self._change_names(models.RenameAliasOperation(rename_alias=change))

    def drop_name(self, name: str) -> None:
        gone = models.DeleteAlias(alias_name=self._named(name))
        with suppress(AbsentError):
            self._change_names(models.DeleteAliasOperation(delete_alias=gone))

    def _change_names(self, change: models.AliasOperations) -> None:
        self._server.call("update_collection_aliases", change_aliases_operations=[change])

    def tables(self) -> list[str]:
        prefix = self._named("")
        found = [one.name for one in self._server.call("get_collections").collections]
        return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]

    def make(self, table: str, *, dim: int, metric: Metric, index: str) -> bool:
        del index
        kind = kind_of(table)
        vector = models.VectorParams(size=max(dim, 1), distance=_DISTANCES[metric])
        made = True
        try:
            self._server.call(
                "create_collection",
                self._named(table),
                vectors_config={metric: vector} if dim else {},
                sparse_vectors_config={_WORDS: models.SparseVectorParams()} if kind == "chunks" else None,
                shard_number=self._number("shards"),
                replication_factor=self._number("replicas"),
                # Who reads asks any of them, and has to see what was answered.
                write_consistency_factor=self._number("replicas"),
            )
        except ThereError:
            made = False
        # Also where another one makes it, who may have stopped here.
        for field in ASKED[kind]:
            lookup = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=field in RANGED)
            self._server.call("create_payload_index", self._named(table), field, field_schema=lookup)
        return made

    def _number(self, option: str) -> int | None:
        return int(self._options[option]) if option in self._options else None

    def drop(self, table: str) -> None:
        with suppress(AbsentError):
            self._server.call("delete_collection", self._named(table))

    def _metric(self, table: str) -> Metric:
        """Of a table with vectors. It is not remembered: another table may have come in its place."""
        vectors: dict[Metric, Any] = self._server.call("get_collection", self._named(table)).config.params.vectors
        return next(iter(vectors))

    def put(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            has_vectors = any(row.get("embedding") is not None for row in rows)
            metric = self._metric(table) if has_vectors else None
            self._change("upsert", table, points=[_point(row, metric) for row in rows])

    def end(self, table: str, ids: Sequence[int], version: int) -> None:
        if ids:
            # By a filter: of ids that are not there, one would be an error.
            these = models.Filter(must=[models.HasIdCondition(has_id=list(ids))])
            self._change("set_payload", table, payload={"died": version}, points=these)

    def delete(self, table: str, condition: Condition) -> None:
        self._change("delete", table, points_selector=models.FilterSelector(filter=filter_of(condition)))

    def _change(self, verb: str, table: str, **options: Any) -> None:
        """Raises BusyError where the server took it, and has not carried it out in time: it would come to be seen some time later."""
        done = self._server.call(verb, self._named(table), **options)
        if done.status != models.UpdateStatus.COMPLETED:
            raise BusyError(f"The server of {self.url} has too much to do.", hint="Try again.", path=self.url)

    def rows(self, table: str, condition: Condition, fields: Sequence[str], *, limit: int | None = None) -> list[Row]:
        if limit is None:
            return list(self.each(table, condition, fields, at_once=_ROWS))
        return self._page(table, condition, fields, self._wanted(table, fields), limit, None)[0]

    def each(self, table: str, condition: Condition, fields: Sequence[str], *, at_once: int) -> Iterator[Row]:
        wanted, size, after = self._wanted(table, fields), min(at_once, self.most(fields)), None
        while True:
            rows, after = self._page(table, condition, fields, wanted, size, after)
            yield from rows
            if after is None:
                return

    def _page(
        self, table: str, condition: Condition, fields: Sequence[str], wanted: dict[str, Any], limit: int, after: Any
    ) -> tuple[list[Row], Any]:
        asked = filter_of(condition)
        found, following = self._server.call(
            "scroll", self._named(table), scroll_filter=asked, limit=limit, offset=after, **wanted
        )
        return [_read(one, fields) for one in found], following

    def _wanted(self, table: str, fields: Sequence[str]) -> dict[str, Any]:
        return _wanted(fields, self._metric(table) if "embedding" in fields else None)

    def most(self, fields: Sequence[str]) -> int:
        return _LONG_ROWS if _LONG & set(fields) else _ROWS

    def count(self, table: str, condition: Condition) -> int:
        asked = filter_of(condition)
        return int(self._server.call("count", self._named(table), count_filter=asked, exact=True).count)

    def nearest(
        self,
        table: str,
        query: NDArray[np.float32],
        limit: int,
        condition: Condition,
        fields: Sequence[str],
        *,
        metric: Metric,
        index: str,
        exact: bool,
        candidates: int | None,
    ) -> list[Row]:
        del index
        how = models.SearchParams(exact=exact, hnsw_ef=None if exact else candidates or _SEARCHED)
        asked = _searched(query) if metric == "cosine" else query
        wanted = _wanted(fields, metric)
        return self._search(table, metric, asked.tolist(), limit, condition, fields, search_params=how, **wanted)

    def heaviest(
        self, table: str, query: dict[int, float], limit: int, condition: Condition, fields: Sequence[str]
    ) -> list[Row]:
        return self._search(table, _WORDS, _sparse(query), limit, condition, fields, **self._wanted(table, fields))

    def _search(
        self,
        table: str,
        name: str,
        query: Any,
        limit: int,
        condition: Condition,
        fields: Sequence[str],
        **how: Any,
    ) -> list[Row]:
        found = self._server.call(
            "query_points",
            self._named(table),
            query=query,
            using=name,
            limit=limit,
            query_filter=filter_of(condition),
            **how,
        )
        return [_read(one, fields) for one in found.points]

    def seal(self, table: str) -> None:
        """Qdrant's optimizer indexes what was written by itself."""

    def close(self) -> None:
        self._server.close()


def _point(row: Row, metric: Metric | None) -> models.PointStruct:
    payload = {name: value for name, value in row.items() if name not in ("id", "embedding", "sparse")}
    vectors: dict[str, Any] = {}
    if row.get("sparse"):
        vectors[_WORDS] = _sparse(row["sparse"])
    embedding = row.get("embedding")
    if embedding is not None and metric is not None:
        searched = _searched(embedding) if metric == "cosine" else embedding
        vectors[metric] = searched.tolist()
        if searched is not embedding:
            payload["embedding"] = base64.b64encode(np.asarray(embedding, dtype="<f4").tobytes()).decode()
    return models.PointStruct(id=row["id"], payload=payload, vector=vectors)


def _searched(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same direction with the length of one, so that the inner product is the cosine; itself where it has it, or has none."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if length == 0.0 or abs(length - 1.0) <= _UNIT:
        return vector
    return (vector.astype(np.float64) / length).astype(np.float32)


def _sparse(weights: dict[int, float]) -> models.SparseVector:
    return models.SparseVector(indices=list(weights), values=list(weights.values()))


def _wanted(fields: Sequence[str], metric: Metric | None) -> dict[str, Any]:
    """What is asked for so that `_read` finds these fields."""
    payload = [name for name in fields if name not in ("id", "sparse")]
    vectors = [_WORDS] * ("sparse" in fields) + [metric] * ("embedding" in fields and metric is not None)
    return {"with_payload": payload or False, "with_vectors": vectors or False}


@readable(lambda *_: "a point of Qdrant's", AGAIN)
def _read(point: Any, fields: Sequence[str]) -> Row:
    row = {"id": int(point.id), **(point.payload or {})}
    vectors = dict(point.vector or {})
    if "sparse" in fields:
        words = vectors.pop(_WORDS, None)
        row["sparse"] = {} if words is None else dict(zip(words.indices, words.values, strict=True))
    if "embedding" in fields:
        # Its own bytes, where it is not searched as it is.
        own, searched = row.get("embedding"), next(iter(vectors.values()), None)
        if own is not None:
            row["embedding"] = np.frombuffer(base64.b64decode(own, validate=True), dtype="<f4").astype(np.float32)
        else:
            row["embedding"] = None if searched is None else np.array(searched, dtype=np.float32)
    return row
