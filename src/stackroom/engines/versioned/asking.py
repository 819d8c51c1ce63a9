"""How the database is asked: the rows of its tables as one version has them.

A row says which version brought it and which one removed it. A reader asks for those that its version has; what later ones
bring and remove changes nothing of that, and rows that a stopped writer left behind belong to no version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stackroom.engines.versioned.conditions import EVERYTHING, All, Among, Condition, Either, Not, Within, among
from stackroom.engines.versioned.database import Database, Row
from stackroom.engines.versioned.gate import clock
from stackroom.engines.versioned.tables import PIECE, RECORDS, State
from stackroom.errors import BusyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOOKED_UP = 1_000
"""Values that are looked up at once."""

KEPT = 24 * 3600.0
"""Seconds for which removed rows stay for those who still read an older version."""

RECORD_FIELDS = ("id", "kind", "key", "name", "owner", "mark", "flag", "data", "pieces")
CHUNK_FIELDS = (
    "id", "key", "name", "document_key", "source_key", "collection_key", "position", "words", "embedded", "size", "pieces", "data", "listed",
    "facts", "terms", "counts", "sparse", "embedding",
)  # fmt: skip


class Asking:
    """One version of a library."""

    def __init__(self, database: Database, state: State) -> None:
        self.database = database
        self.state = state
        self._lives = alive(state)
        self._until = clock() + KEPT

    def _is_there(self, table: str) -> bool:
        """A library without any chunk has no table of them. Raises BusyError where this version is too old to be read."""
        if clock() > self._until:
            raise BusyError(
                f"This reading of {self.database.url} took so long that what was removed meanwhile may be gone for good.",
                hint="Begin anew.",
                path=self.database.url,
            )
        return table != "chunks_0"

    def _living(self, condition: Condition) -> Condition:
        return self._lives if condition == EVERYTHING else All((self._lives, condition))

    def rows(self, table: str, condition: Condition, fields: Sequence[str], *, limit: int | None = None) -> list[Row]:
        """All rows that meet the condition, in no order; or as many as `limit`."""
        if not self._is_there(table):
            return []
        return self.database.rows(table, self._living(condition), fields, limit=limit)

    def each(self, table: str, condition: Condition, fields: Sequence[str], *, at_once: int = 8_000) -> Iterator[Row]:
        """The same, however many there are."""
        if not self._is_there(table):
            return
        yield from self.database.each(table, self._living(condition), fields, at_once=at_once)

    def find(self, table: str, name: str, values: Iterable[int], fields: Sequence[str], *, kind: int = 0) -> list[Row]:
        """The rows whose field is one of these values."""
        wanted = sorted(set(values))
        found: list[Row] = []
        # Of a field that tells rows apart, as many as one answer has room for.
        at_once = min(_LOOKED_UP, max(self.database.most(fields) - 1, 1))
        for first in range(0, len(wanted), at_once):
            condition = among(name, wanted[first : first + at_once])
            found += self.rows(table, of_kind(kind, condition) if kind else condition, fields)
        return found

    def records(self, kind: int, condition: Condition = EVERYTHING) -> Iterator[Row]:
        """Whole records of a kind, in no order."""
        batch: list[Row] = []
        for row in self.each(RECORDS, of_kind(kind, condition), RECORD_FIELDS, at_once=2_000):
            batch.append(row)
            if len(batch) == _LOOKED_UP:
                yield from self.whole(batch)
                batch = []
        yield from self.whole(batch)

    def whole(self, rows: list[Row]) -> list[Row]:
        """The same rows, with the rest of those whose text is longer than a row holds."""
        long = {row["id"]: row for row in rows if row["pieces"]}
        if long:
            parts: dict[int, list[Row]] = {}
            for piece in self.find(RECORDS, "key", long, ("key", "mark", "data"), kind=PIECE):
                parts.setdefault(piece["key"], []).append(piece)
            for key, row in long.items():
                rest = sorted(parts.get(key, ()), key=lambda piece: int(piece["mark"]))
                row["data"] = row["data"] + "".join(piece["data"] for piece in rest)
        return rows

    def count(self, table: str, condition: Condition = EVERYTHING) -> int:
        return self.database.count(table, self._living(condition)) if self._is_there(table) else 0

    def nearest(
        self,
        table: str,
        query: NDArray[np.float32],
        limit: int,
        condition: Condition,
        fields: Sequence[str],
        **how: Any,
    ) -> list[Row]:
        """`Database.nearest` of this version."""
        if not self._is_there(table):
            return []
        return self.database.nearest(table, query, limit, self._living(condition), fields, **how)

    def heaviest(self, query: dict[int, float], limit: int, condition: Condition, fields: Sequence[str]) -> list[Row]:
        """`Database.heaviest` of this version's chunks."""
        table = self.state.chunk_table
        if not self._is_there(table):
            return []
        return self.database.heaviest(table, query, limit, self._living(condition), fields)


def of_kind(kind: int, condition: Condition = EVERYTHING) -> Condition:
    """Of records."""
    its_kind = Among("kind", (kind,))
    return its_kind if condition == EVERYTHING else All((its_kind, condition))


def alive(state: State) -> Condition:
    """The condition that a row belongs to this version."""
    born, later = Within("born", below=state.version + 1), Within("died", least=state.version + 1)
    if not state.aborted:
        return All((born, later))
    return All((born, Not(among("born", state.aborted)), Either((later, among("died", state.aborted)))))
