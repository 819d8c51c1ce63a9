"""Milvus as the shared room asks a database: its collections, expressions and searches."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.engines.milvus.client import OPTIONS, Server, place_of
from stackroom.engines.milvus.expressions import expression
from stackroom.engines.milvus.tables import (
    CELLS,
    METRICS,
    MOST_DIMENSIONS,
    MOST_IN_ARRAY,
    MOST_ROWS,
    indexes,
    lookups,
    most_of,
    schema,
)
from stackroom.engines.versioned.database import AbsentError, Bounds, Database, Row
from stackroom.engines.versioned.tables import RECORDS, kind_of
from stackroom.errors import StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.engines.versioned.conditions import Condition
    from stackroom.types import Metric

PROBES = 64
"""Cells that an ordinary search looks into, unless `set_candidates` says otherwise."""

_NO_VECTOR = 2
"""The dimension of vectors that say nothing."""
_NO_WORD = 2**32 - 2
"""The dimension of passages without words: Milvus takes no sparse vector without any."""


class MilvusDatabase(Database):
    """Every read is a strongly consistent one.

    Without an index (FLAT) Milvus compares every row in scope. A library that is made with `index=IVF_FLAT` has cells (Jégou, Douze and Schmid
    2011): an ordinary search looks into some of them, an exact one into all. Nothing is quantised.

    A gate is an empty collection: Milvus renames one only if it still has the name that one asks for, and to one asker only.
    """

    name = "Milvus"
    bounds = Bounds(rows=MOST_ROWS, dimensions=MOST_DIMENSIONS, numbers=MOST_IN_ARRAY)
    indexes = OPTIONS["index"]
    finds_words = True

    def __init__(self, url: str) -> None:
        place = place_of(url)
        self.url = url
        self.index = place.options.get("index")
        self._shards = place.options.get("shards")
        self._named = place.named
        self._server = Server(place)

    def version(self) -> str:
        return str(self._server.call("get_server_version"))

    def _own(self) -> list[str]:
        """The names of the library's collections, without what every one of its names begins with."""
        prefix = self._named("")
        return [name.removeprefix(prefix) for name in self._server.names() if name.startswith(prefix)]

    def names(self) -> list[str]:
        return [name for name in self._own() if not _is_table(name)]

    def put_name(self, name: str) -> None:
        self._server.call("create_collection", self._named(name), schema=schema("", dim=_NO_VECTOR))

    def rename(self, old: str, new: str) -> None:
        self._server.call("rename_collection", self._named(old), self._named(new))

    def drop_name(self, name: str) -> None:
        self.drop(name)

    def tables(self) -> list[str]:
        return [name for name in self._own() if _is_table(name)]

    def make(self, table: str, *, dim: int, metric: Metric, index: str) -> bool:
        name = self._named(table)
        if self._server.call("has_collection", name):
            return False
        # It gets its name by a rename, which one client alone can do.
        mine = self._named(f"new_{uuid.uuid4().hex}")
        self._create(table, mine, dim=dim or _NO_VECTOR, metric=metric, index=index)
        try:
            self._server.call("rename_collection", mine, name)
        except StorageError:
            self.drop(mine.removeprefix(self._named("")))
            if not self._server.call("has_collection", name):
                raise
            return False
        self._server.load(name)
        return True

    def _create(self, table: str, name: str, *, dim: int, metric: Metric, index: str) -> None:
        shards = {"num_shards": int(self._shards)} if kind_of(table) == "chunks" and self._shards else {}
        made = schema(table, dim=dim)
        self._server.call("create_collection", name, schema=made, consistency_level="Strong", **shards)
        # An empty collection's index is there at once: nothing is waited for.
        self._server.call("create_index", name, indexes(table, metric=metric, index=index), sync=False)
        for lookup in lookups(table):
            # What only makes lookups quick; milvus-lite has none of arrays.
            with suppress(StorageError):
                self._server.call("create_index", name, lookup, sync=False)

    def drop(self, table: str) -> None:
        with suppress(AbsentError):
            self._server.call("drop_collection", self._named(table))

    def put(self, table: str, rows: Sequence[Row]) -> None:
        needs_vectors = any(row.get("embedding") is None for row in rows)
        dim = self._dim(table) if needs_vectors else 0
        self._upsert(table, [_written(row, dim) for row in rows])

    def end(self, table: str, ids: Sequence[int], version: int) -> None:
        self._upsert(table, [{"id": id_, "died": version} for id_ in ids], partial_update=True)

    def _upsert(self, table: str, rows: list[Row], **options: Any) -> None:
        # Not inserted: a request that is sent twice, since its answer was lost, must not write twice.
        if rows:
            self._server.call("upsert", self._named(table), rows, **options)

    def _dim(self, table: str) -> int:
        if table == RECORDS:
            return _NO_VECTOR
        fields = self._server.call("describe_collection", self._named(table))["fields"]
        return next(int(one["params"]["dim"]) for one in fields if one["name"] == "embedding")

    def delete(self, table: str, condition: Condition) -> None:
        self._server.call("delete", self._named(table), filter=expression(condition))

    def rows(self, table: str, condition: Condition, fields: Sequence[str], *, limit: int | None = None) -> list[Row]:
        most = most_of(fields)
        found = self._query(table, condition, fields, limit or most)
        if limit is None and len(found) >= most:
            return list(self.each(table, condition, fields, at_once=most))
        return [_read(row) for row in found]

    def _query(self, table: str, condition: Condition, fields: Sequence[str], limit: int | None = None) -> list[Row]:
        asked = {"filter": expression(condition), "output_fields": list(fields), "consistency_level": "Strong"}
        return list(self._server.call("query", self._named(table), limit=limit, **asked))

    def each(self, table: str, condition: Condition, fields: Sequence[str], *, at_once: int) -> Iterator[Row]:
        found = self._server.call(
            "query_iterator",
            self._named(table),
            batch_size=min(at_once, most_of(fields)),
            filter=expression(condition),
            output_fields=list(fields),
            consistency_level="Strong",
        )
        try:
            while rows := self._server.guarded(found.next):
                yield from map(_read, rows)
        finally:
            found.close()

    def most(self, fields: Sequence[str]) -> int:
        return most_of(fields)

    def count(self, table: str, condition: Condition) -> int:
        return int(self._query(table, condition, ["count(*)"])[0]["count(*)"])

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
        how: dict[str, Any] = {"metric_type": METRICS[metric], "params": {}}
        if index == "IVF_FLAT":
            how["params"] = {"nprobe": CELLS if exact else min(max(candidates or PROBES, 1), CELLS)}
        return self._search(table, "embedding", query.tolist(), limit, condition, fields, how)

    def heaviest(
        self, table: str, query: dict[int, float], limit: int, condition: Condition, fields: Sequence[str]
    ) -> list[Row]:
        return self._search(table, "sparse", query, limit, condition, fields, {"metric_type": "IP"})

    def _search(
        self,
        table: str,
        name: str,
        query: Any,
        limit: int,
        condition: Condition,
        fields: Sequence[str],
        how: dict[str, Any],
    ) -> list[Row]:
        (found,) = self._server.call(
            "search",
            self._named(table),
            data=[query],
            anns_field=name,
            limit=limit,
            filter=expression(condition),
            output_fields=list(fields),
            search_params=how,
            consistency_level="Strong",
        )
        return [_read({**hit["entity"], "id": hit["id"]}) for hit in found]

    def seal(self, table: str) -> None:
        """Milvus indexes rows once their segment is sealed; of few rows it would make a small segment, and does it later by itself."""
        self._server.call("flush", self._named(table))

    def close(self) -> None:
        self._server.close()


def _is_table(name: str) -> bool:
    return name == RECORDS or name.startswith(("chunks_", "space_"))


def _written(row: Row, dim: int) -> Row:
    """With what Milvus wants of every row: a vector, which no search looks at, and a word."""
    made = dict(row)
    if made.get("embedding") is None:
        made["embedding"] = [1.0] + [0.0] * (dim - 1)
    if not made.get("sparse", True):
        made["sparse"] = {_NO_WORD: 1.0}
    return made


def _read(row: Row) -> Row:
    found = dict(row)
    if "embedding" in found:
        found["embedding"] = np.asarray(found["embedding"], dtype=np.float32)
    return found
