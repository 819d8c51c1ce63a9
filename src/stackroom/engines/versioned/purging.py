"""What was removed is kept for those who still read an older version, and then deleted: rows, values of metadata, tables."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stackroom.engines.versioned import asking as reading
from stackroom.engines.versioned.asking import Asking
from stackroom.engines.versioned.conditions import All, Condition, Not, Within, among
from stackroom.engines.versioned.database import Database
from stackroom.engines.versioned.gate import Hold
from stackroom.engines.versioned.tables import PIECE, RECORDS, ROWS_OF_A_COMMIT, STATE, VALUE, State

if TYPE_CHECKING:
    from stackroom.progress import CancelToken

KEPT = reading.KEPT + 3600
"""Seconds for which removed rows stay: longer than anyone may read of them, by clocks that are up to an hour apart."""

_AT_ONCE = 500


def purge(asking: Asking, hold: Hold, cancel: CancelToken | None) -> None:
    """Delete what the last version older than `KEPT` seconds has not, and none after it. The gate is held."""
    database = asking.database
    states = {int(row["key"]): State.load(row["data"]) for row in asking.records(STATE)}
    now = time.time()
    old = [version for version, state in states.items() if now - state.at >= KEPT]
    if not old:
        return
    floor = max(old)
    dead = All((Within("died", below=floor + 1), Not(among("died", asking.state.aborted))))
    values: set[int] = set()
    for table in database.tables():
        hold.check()
        if table.startswith("chunks_") and int(table.removeprefix("chunks_")) not in _tables(states, floor):
            database.drop(table)
            continue
        if cancel is not None and cancel.cancelled:
            return
        if table.startswith("chunks_"):
            values |= _carried(database, table, dead)
        database.delete(table, dead)
    _forget_values(asking, values)
    gone = [version * ROWS_OF_A_COMMIT for version in states if version < floor]
    for first in range(0, len(gone), _AT_ONCE):
        database.delete(RECORDS, among("id", gone[first : first + _AT_ONCE]))


def _tables(states: dict[int, State], floor: int) -> set[int]:
    """Numbers of the tables of chunks that versions from the floor on have."""
    return {state.table for version, state in states.items() if version >= floor}


def _carried(database: Database, table: str, condition: Condition) -> set[int]:
    """The numbers of metadata that these rows carry."""
    found: set[int] = set()
    for row in database.each(table, condition, ("facts",), at_once=1_000):
        found.update(row["facts"])
    return found


def _forget_values(asking: Asking, candidates: Iterable[int]) -> None:
    """Delete the values that nothing carries any more, in any version."""
    database = asking.database
    wanted = sorted(candidates)
    for first in range(0, len(wanted), _AT_ONCE):
        left = set(wanted[first : first + _AT_ONCE])
        while left and asking.state.table:
            rows = database.rows(asking.state.chunk_table, among("facts", left), ("facts",), limit=100)
            if not rows:
                break
            for row in rows:
                left.difference_update(row["facts"])
        if left:
            gone = asking.find(RECORDS, "owner", left, ("id", "pieces"), kind=VALUE)
            pieces = asking.find(RECORDS, "key", (row["id"] for row in gone if row["pieces"]), ("id",), kind=PIECE)
            database.delete(RECORDS, among("id", (row["id"] for row in (*gone, *pieces))))
