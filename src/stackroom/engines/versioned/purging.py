"""What was removed is kept for those who still read an older version, and then deleted: rows, values of metadata, collections."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stackroom.engines.milvus import asking as reading
from stackroom.engines.milvus.asking import RECORD_FIELDS, Asking
from stackroom.engines.milvus.client import Server
from stackroom.engines.milvus.gate import Hold
from stackroom.engines.milvus.sending import tables_of
from stackroom.engines.milvus.tables import PIECE, RECORDS, ROWS_OF_A_COMMIT, STATE, VALUE, State, some

if TYPE_CHECKING:
    from stackroom.progress import CancelToken

KEPT = reading.KEPT + 3600
"""Seconds for which removed rows stay: longer than anyone may read of them, by clocks that are up to an hour apart."""

_AT_ONCE = 500


def purge(server: Server, asking: Asking, hold: Hold, cancel: CancelToken | None) -> None:
    """Delete what the last version older than `KEPT` seconds has not, and none after it. The gate is held."""
    states = {}
    for row in asking.whole(asking.rows(RECORDS, f"kind == {STATE}", RECORD_FIELDS)):
        states[int(row["key"])] = State.load(row["data"])
    now = time.time()
    old = [version for version, state in states.items() if now - state.at >= KEPT]
    if not old:
        return
    floor = max(old)
    dead = f"died <= {floor}" + (f" and died not in {asking.state.aborted}" if asking.state.aborted else "")
    values: set[int] = set()
    for table in tables_of(server):
        name = server.place.collection(table)
        if table.startswith("chunks_") and int(table.removeprefix("chunks_")) not in _tables(states, floor):
            hold.check()
            server.call("drop_collection", name)
            continue
        if cancel is not None and cancel.cancelled:
            return
        hold.check()
        if table.startswith("chunks_"):
            values |= _carried(server, name, dead)
        server.call("delete", name, filter=dead)
    _forget_values(server, asking, values)
    gone = [version * ROWS_OF_A_COMMIT for version in states if version < floor]
    for first in range(0, len(gone), _AT_ONCE):
        server.call("delete", server.place.collection(RECORDS), filter=some("id", gone[first : first + _AT_ONCE]))


def _tables(states: dict[int, State], floor: int) -> set[int]:
    """Numbers of the collections of chunks that versions from the floor on have."""
    return {state.table for version, state in states.items() if version >= floor}


def _carried(server: Server, name: str, condition: str) -> set[int]:
    """The numbers of metadata that these rows carry."""
    found: set[int] = set()
    rows = server.call(
        "query_iterator", name, batch_size=1_000, filter=condition, output_fields=["facts"], consistency_level="Strong"
    )
    try:
        while batch := server.guarded(rows.next):
            for row in batch:
                found.update(row["facts"])
    finally:
        rows.close()
    return found


def _forget_values(server: Server, asking: Asking, candidates: Iterable[int]) -> None:
    """Delete the values that nothing carries any more, in any version."""
    wanted = sorted(candidates)
    for first in range(0, len(wanted), _AT_ONCE):
        left = set(wanted[first : first + _AT_ONCE])
        while left:
            rows = (
                server.call(
                    "query",
                    server.place.collection(asking.state.chunk_table),
                    filter=f"array_contains_any(facts, {sorted(left)})",
                    output_fields=["facts"],
                    limit=100,
                    consistency_level="Strong",
                )
                if asking.state.table
                else []
            )
            if not rows:
                break
            for row in rows:
                left.difference_update(row["facts"])
        if left:
            name = server.place.collection(RECORDS)
            gone = asking.find(RECORDS, "owner", left, ("id", "pieces"), kind=VALUE)
            pieces = asking.find(RECORDS, "key", (row["id"] for row in gone if row["pieces"]), ("id",), kind=PIECE)
            server.call("delete", name, filter=some("id", (row["id"] for row in (*gone, *pieces))))
