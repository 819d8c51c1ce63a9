"""What a commit collected goes to the server: rows first, under the number of the attempt, and what it ends. Its gate makes all of it true."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.engines.milvus.asking import CHUNK_FIELDS, Asking
from stackroom.engines.milvus.client import AbsentError, Server
from stackroom.engines.milvus.drafts import Draft
from stackroom.engines.milvus.gate import Hold
from stackroom.engines.milvus.records import to_collection
from stackroom.engines.milvus.tables import (
    COLLECTION,
    FOREVER,
    PIECE,
    RECORDS,
    ROWS_OF_A_COMMIT,
    STATE,
    Row,
    State,
    cut,
    indexes,
    kind_of,
    lookups,
    record,
    schema,
    some,
)
from stackroom.engines.records import load_identity
from stackroom.errors import StorageError

if TYPE_CHECKING:
    from stackroom.engines.milvus.writing import MilvusCommit

_ROWS, _BYTES = 500, 8 << 20
"""Of one request; Milvus takes 64 MB."""
_REMEMBERED = 50
"""Attempts that came to nothing and are named to readers, the newest: a writer that was taken for dead may still be at it."""


class Sender:
    """Of one commit. Every step asks whether the gate is still held."""

    def __init__(self, server: Server, hold: Hold, before: State) -> None:
        self._server = server
        self._hold = hold
        self._before = before
        self.has_sent = False
        self.sent = 0
        """rows of chunks"""

    def send(self, commit: MilvusCommit) -> None:
        """Raises BusyError, UnavailableError; then nothing has changed for anybody."""
        state = commit.state
        self._sweep(state)
        tables = commit.drafts.tables()
        self._make_tables(commit, tables)
        pieces: list[Row] = []
        for table, draft in tables.items():
            rows = (self._finished(row, table, state, pieces) for row in draft.new.values())
            self._upsert(_actual(table, self._before, state), rows)
        ended = [row["id"] for draft in tables.values() for row in draft.ended.values() if row.get("pieces")]
        gone = commit.drafts.asking.find(RECORDS, "key", ended, ("id",), kind=PIECE)
        self._upsert(RECORDS, (_stamped(row, state) for row in pieces))
        for table, draft in tables.items():
            if _actual(table, self._before, state) == table:
                ids = [*draft.ended, *(row["id"] for row in gone if table == RECORDS)]
                self._upsert(table, ({"id": id_, "died": state.version} for id_ in ids), partial_update=True)
        state.at = time.time()
        own = record(STATE, key=state.version, data=state.dump())
        self._upsert(RECORDS, [{**_stamped(own, state), "id": state.version * ROWS_OF_A_COMMIT}])

    def _finished(self, row: Row, table: str, state: State, pieces: list[Row]) -> Row:
        """A row as it is written; what does not fit into it goes to `pieces`."""
        made = _stamped(row, state)
        if kind_of(table) == "space":
            return {name: made[name] for name in ("id", "born", "died", "key", "embedding")}
        first, *rest = cut(made["data"])
        made["data"], made["pieces"] = first, len(rest)
        for at, text in enumerate(rest, start=1):
            # A piece is written as it is, not as JSON once more.
            pieces.append(
                {**record(PIECE, key=row["id"], mark=at), "data": text, "id": self._piece(state, len(pieces))}
            )
        if kind_of(table) == "chunks" and not made["embedded"]:
            made["embedding"] = _placeholder(state.dim)
        return made

    def _piece(self, state: State, at: int) -> int:
        """From the end of the attempt's numbers, rows being from their beginning."""
        return (state.version + 1) * ROWS_OF_A_COMMIT - 1 - at

    def _upsert(self, table: str, rows: Iterable[Row], **options: Any) -> None:
        # Not inserted: a request that is sent twice, since its answer was lost, must not write twice.
        for batch in _batches(rows):
            self._hold.check()
            self.has_sent = True
            self._server.call("upsert", self._server.place.collection(table), batch, **options)
            self.sent += len(batch) * (kind_of(table) == "chunks")

    def _make_tables(self, commit: MilvusCommit, tables: dict[str, Draft]) -> None:
        """Collections that are missing, and another one for chunks where vectors have become other ones."""
        state, before = commit.state, self._before
        identity = commit.identity
        dim, metric = (2, "cosine") if identity is None else (identity.dim, identity.metric)
        needed = before.table or tables[before.chunk_table].new
        if needed and (not before.table or (dim, metric) != (before.dim, before.metric)):
            state.table, state.dim, state.metric = state.version, dim, metric
            if not before.table:
                state.index = self._server.place.index_type or state.index
            self.has_sent = True
            self._make(state.chunk_table, dim=dim, metric=metric, index=state.index)
            if before.table:
                self._copy(commit.drafts.asking, tables[before.chunk_table], state)
        for row in tables[RECORDS].new.values():
            said = to_collection(row)[1] if row["kind"] == COLLECTION else None
            if said is not None:
                own = load_identity(said)
                self.has_sent = True
                self._make(f"space_{row['key']}", dim=own.dim, metric=own.metric)

    def _make(self, table: str, **made_with: Any) -> None:
        """Have an empty collection that no version names yet, with its indexes, in memory."""
        name = self._server.place.collection(table)
        if self._server.call("has_collection", name):
            # Of an attempt that got no further; its vectors may have been other ones.
            self._hold.check()
            self._server.call("drop_collection", name)
        create(self._server, table, name, **made_with)
        self._server.call("load_collection", name)

    def _copy(self, asking: Asking, draft: Draft, state: State) -> None:
        """The chunks that stay, into a collection for vectors of another dimension or measure: until now none had one, or its metric was not known."""

        def rows() -> Iterator[Row]:
            for row in asking.each(self._before.chunk_table, "id >= 0", (*CHUNK_FIELDS, "born"), at_once=500):
                if row["id"] not in draft.ended:
                    kept = row["embedding"] if row["embedded"] else _placeholder(state.dim)
                    yield {**row, "died": FOREVER, "embedding": kept}

        self._upsert(state.chunk_table, rows())

    def _sweep(self, state: State) -> None:
        """Undo what attempts between the version before and this one have left, and have readers pass over what of them still comes."""
        left = list(range(self._before.version + 1, state.version))
        state.aborted = [*state.aborted, *left][-_REMEMBERED:]
        if not left:
            return
        for table in tables_of(self._server):
            with contextlib.suppress(AbsentError):
                sweep(self._server, table, left)


def create(server: Server, table: str, name: str, *, dim: int = 2, metric: str = "cosine", index: str = "FLAT") -> None:
    """A new collection of that name, with what a table needs."""
    shards = {"num_shards": server.place.shards} if kind_of(table) == "chunks" and server.place.shards else {}
    server.call("create_collection", name, schema=schema(table, dim=dim), consistency_level="Strong", **shards)
    # An empty collection's index is there at once: nothing is waited for.
    server.call("create_index", name, indexes(table, metric=metric, index=index), sync=False)
    for lookup in lookups(table):
        # What only makes lookups quick; milvus-lite has none of arrays.
        with contextlib.suppress(StorageError):
            server.call("create_index", name, lookup, sync=False)


def tables_of(server: Server) -> list[str]:
    """The library's collections of rows."""
    prefix = server.place.collection("")
    names = [name.removeprefix(prefix) for name in server.names() if name.startswith(prefix)]
    return [name for name in names if name == RECORDS or name.startswith(("chunks_", "space_"))]


def sweep(server: Server, table: str, attempts: list[int]) -> None:
    """Remove what attempts brought that came to nothing, and bring back what they ended."""
    name = server.place.collection(table)
    server.call("delete", name, filter=some("born", attempts))
    while True:
        rows = server.call(
            "query", name, filter=some("died", attempts), output_fields=["id"], limit=_ROWS, consistency_level="Strong"
        )
        if not rows:
            return
        server.call("upsert", name, [{"id": row["id"], "died": FOREVER} for row in rows], partial_update=True)


def _actual(table: str, before: State, state: State) -> str:
    """Where rows of a table go: chunks into the collection that this version has of them."""
    return state.chunk_table if table == before.chunk_table else table


def _stamped(row: Row, state: State) -> Row:
    # Milvus wants a vector of records as well; theirs say nothing.
    return {"embedding": [0.0, 0.0], **row, "born": state.version, "died": FOREVER}


def _placeholder(dim: int) -> Any:
    """The vector of a chunk that has none: Milvus wants one, and no search looks at it."""
    made = np.zeros(dim, dtype=np.float32)
    made[0] = 1.0
    return made


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        weight = 3 * len(row.get("data", "")) + 4 * len(row.get("embedding", ()))
        if batch and (len(batch) >= _ROWS or size + weight > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += weight
    if batch:
        yield batch
