"""What a commit collected goes to the database: rows first, under the number of the attempt, and what it ends. Its gate makes all of it true."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stackroom.engines.records import load_identity
from stackroom.engines.versioned.asking import CHUNK_FIELDS, Asking
from stackroom.engines.versioned.conditions import EVERYTHING, among
from stackroom.engines.versioned.database import AbsentError, Database, Row
from stackroom.engines.versioned.drafts import Draft
from stackroom.engines.versioned.gate import Hold
from stackroom.engines.versioned.records import to_collection
from stackroom.engines.versioned.tables import (
    COLLECTION,
    FOREVER,
    PIECE,
    RECORDS,
    ROWS_OF_A_COMMIT,
    STATE,
    State,
    cut,
    kind_of,
    record,
)

if TYPE_CHECKING:
    from stackroom.engines.versioned.writing import VersionedCommit

_ROWS, _BYTES = 500, 4 << 20
"""Of one request."""
_REMEMBERED = 50
"""Attempts that came to nothing and are named to readers, the newest: a writer that was taken for dead may still be at it."""


class Sender:
    """Of one commit. Every step asks whether the gate is still held."""

    def __init__(self, database: Database, hold: Hold, before: State) -> None:
        self._database = database
        self._hold = hold
        self._before = before
        self.has_sent = False
        self.sent = 0
        """rows of chunks"""

    def send(self, commit: VersionedCommit) -> None:
        """Raises BusyError, UnavailableError; then nothing has changed for anybody."""
        state = commit.state
        self._sweep(state)
        tables = commit.drafts.tables()
        self._make_tables(commit, tables)
        pieces: list[Row] = []
        for table, draft in tables.items():
            rows = (self._finished(row, table, state, pieces) for row in draft.new.values())
            self._put(_actual(table, self._before, state), rows)
        ended = [row["id"] for draft in tables.values() for row in draft.ended.values() if row.get("pieces")]
        gone = commit.drafts.asking.find(RECORDS, "key", ended, ("id",), kind=PIECE)
        self._put(RECORDS, (_stamped(row, state) for row in pieces))
        for table, draft in tables.items():
            if _actual(table, self._before, state) == table:
                self._end(table, [*draft.ended, *(row["id"] for row in gone if table == RECORDS)])
        state.at = time.time()
        own = record(STATE, key=state.version, data=state.dump())
        self._put(RECORDS, [{**_stamped(own, state), "id": state.version * ROWS_OF_A_COMMIT}])

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
            made["embedding"] = None
        return made

    def _piece(self, state: State, at: int) -> int:
        """From the end of the attempt's numbers, rows being from their beginning."""
        return (state.version + 1) * ROWS_OF_A_COMMIT - 1 - at

    def _put(self, table: str, rows: Iterable[Row]) -> None:
        for batch in _batches(rows):
            self._hold.check()
            self.has_sent = True
            self._database.put(table, batch)
            self.sent += len(batch) * (kind_of(table) == "chunks")

    def _end(self, table: str, ids: Sequence[int]) -> None:
        for first in range(0, len(ids), _ROWS):
            self._hold.check()
            self.has_sent = True
            self._database.end(table, ids[first : first + _ROWS], self._hold.attempt)

    def _make_tables(self, commit: VersionedCommit, tables: dict[str, Draft]) -> None:
        """Tables that are missing, and another one for chunks where vectors have become other ones."""
        state, before = commit.state, self._before
        identity = commit.identity
        dim, metric = (2, "cosine") if identity is None else (identity.dim, identity.metric)
        needed = before.table or tables[before.chunk_table].new
        if needed and (not before.table or (dim, metric) != (before.dim, before.metric)):
            state.table, state.dim, state.metric = state.version, dim, metric
            if not before.table:
                state.index = self._database.index or self._database.indexes[0]
            self.has_sent = True
            self._make(state.chunk_table, dim=dim, metric=metric, index=state.index)
            if before.table:
                self._copy(commit.drafts.asking, tables[before.chunk_table], state)
        for row in tables[RECORDS].new.values():
            said = to_collection(row)[1] if row["kind"] == COLLECTION else None
            if said is not None:
                own = load_identity(said)
                self.has_sent = True
                self._make(f"space_{row['key']}", dim=own.dim, metric=own.metric, index=self._database.indexes[0])

    def _make(self, table: str, **made_with: Any) -> None:
        """Have an empty table that no version names yet."""
        if not self._database.make(table, **made_with):
            # Of an attempt that got no further; its vectors may have been other ones.
            self._hold.check()
            self._database.drop(table)
            self._database.make(table, **made_with)

    def _copy(self, asking: Asking, draft: Draft, state: State) -> None:
        """The chunks that stay, into a table for vectors of another dimension or measure: until now none had one, or its metric was not known."""

        def rows() -> Iterator[Row]:
            for row in asking.each(self._before.chunk_table, EVERYTHING, (*CHUNK_FIELDS, "born"), at_once=500):
                if row["id"] not in draft.ended:
                    yield {**row, "died": FOREVER, "embedding": row["embedding"] if row["embedded"] else None}

        self._put(state.chunk_table, rows())

    def _sweep(self, state: State) -> None:
        """Undo what attempts between the version before and this one have left, and have readers pass over what of them still comes."""
        left = list(range(self._before.version + 1, state.version))
        state.aborted = [*state.aborted, *left][-_REMEMBERED:]
        if not left:
            return
        for table in self._database.tables():
            with contextlib.suppress(AbsentError):
                sweep(self._database, table, left)


def sweep(database: Database, table: str, attempts: list[int]) -> None:
    """Remove what attempts brought that came to nothing, and bring back what they ended."""
    database.delete(table, among("born", attempts))
    while rows := database.rows(table, among("died", attempts), ("id",), limit=_ROWS):
        database.end(table, [row["id"] for row in rows], FOREVER)


def _actual(table: str, before: State, state: State) -> str:
    """Where rows of a table go: chunks into the table that this version has of them."""
    return state.chunk_table if table == before.chunk_table else table


def _stamped(row: Row, state: State) -> Row:
    return {**row, "born": state.version, "died": FOREVER}


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        vector = row.get("embedding")
        weight = 3 * len(row.get("data", "")) + (0 if vector is None else 4 * len(vector))
        if batch and (len(batch) >= _ROWS or size + weight > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += weight
    if batch:
        yield batch
