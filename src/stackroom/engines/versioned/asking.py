"""How the engine is asked: the rows of its collections as one version has them.

A row says which version brought it and which one removed it. A reader asks for those that its version has; what later ones
bring and remove changes nothing of that, and rows that a stopped writer left behind belong to no version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stackroom.engines.milvus.client import Server
from stackroom.engines.milvus.gate import clock
from stackroom.engines.milvus.tables import MOST_DIMENSIONS, MOST_IN_ARRAY, PIECE, RECORDS, Row, State, some
from stackroom.errors import BusyError

MOST = 16_384
"""Rows of one answer: Milvus's bound."""
_LOOKED_UP = 1_000
"""Values that are looked up at once."""
_BYTES = 90_000_000
"""Of one answer: Milvus gives up to 100 MB."""
_LONGEST = {
    "data": 65_535,
    "listed": 8 * MOST_IN_ARRAY,
    "facts": 8 * MOST_IN_ARRAY,
    "terms": 8 * MOST_IN_ARRAY,
    "counts": 4 * MOST_IN_ARRAY,
    "sparse": 8 * MOST_IN_ARRAY,
    "embedding": 4 * MOST_DIMENSIONS,
}
"""Bytes that a field may have; others are numbers."""

EVERYTHING = "id >= 0"

KEPT = 24 * 3600.0
"""Seconds for which removed rows stay for those who still read an older version."""


class Asking:
    """One version of a library. Every read is a strongly consistent one."""

    def __init__(self, server: Server, state: State) -> None:
        self.server = server
        self.state = state
        self.lives = alive(state)
        self._until = clock() + KEPT

    def _collection(self, table: str) -> str:
        return self.server.place.collection(table)

    def _is_there(self, table: str) -> bool:
        """A library without any chunk has no collection of them. Raises BusyError where this version is too old to be read."""
        if clock() > self._until:
            raise BusyError(
                f"This reading of {self.server.place.url} took so long that what was removed meanwhile may be gone for good.",
                hint="Begin anew.",
                path=self.server.place.url,
            )
        return table != "chunks_0"

    def rows(self, table: str, condition: str, fields: Sequence[str], *, limit: int | None = None) -> list[Row]:
        """All rows that meet the condition, in no order; or as many as `limit` (up to `MOST`)."""
        if not self._is_there(table):
            return []
        most = most_of(fields)
        found: list[Row] = list(
            self.server.call(
                "query",
                self._collection(table),
                filter=f"{self.lives} and ({condition})",
                output_fields=list(fields),
                limit=limit or most,
                consistency_level="Strong",
            )
        )
        if limit is None and len(found) >= most:
            return list(self.each(table, condition, fields))
        return found

    def each(self, table: str, condition: str, fields: Sequence[str], *, at_once: int = 8_000) -> Iterator[Row]:
        """The same, in the order of their ids, however many there are."""
        if not self._is_there(table):
            return
        found = self.server.call(
            "query_iterator",
            self._collection(table),
            batch_size=min(at_once, most_of(fields)),
            filter=f"{self.lives} and ({condition})",
            output_fields=list(fields),
            consistency_level="Strong",
        )
        try:
            while rows := self.server.guarded(found.next):
                yield from rows
        finally:
            found.close()

    def find(self, table: str, name: str, values: Iterable[int], fields: Sequence[str], *, kind: int = 0) -> list[Row]:
        """The rows whose field is one of these values."""
        wanted = sorted(set(values))
        of_kind = f"kind == {kind} and " if kind else ""
        found: list[Row] = []
        # Of a field that tells rows apart, as many as one answer has room for.
        at_once = min(_LOOKED_UP, max(most_of(fields) - 1, 1))
        for first in range(0, len(wanted), at_once):
            part = wanted[first : first + at_once]
            one_of = f"array_contains_any({name}, {part})" if name == "listed" else some(name, part)
            found += self.rows(table, of_kind + one_of, fields)
        return found

    def records(self, kind: int, condition: str = EVERYTHING) -> Iterator[Row]:
        """Whole records of a kind, in the order of their ids."""
        batch: list[Row] = []
        for row in self.each(RECORDS, f"kind == {kind} and ({condition})", RECORD_FIELDS, at_once=2_000):
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

    def count(self, table: str, condition: str = EVERYTHING) -> int:
        if not self._is_there(table):
            return 0
        found = self.server.call(
            "query",
            self._collection(table),
            filter=f"{self.lives} and ({condition})",
            output_fields=["count(*)"],
            consistency_level="Strong",
        )
        return int(found[0]["count(*)"])

    def search(
        self, table: str, name: str, query: Any, limit: int, condition: str, fields: Sequence[str], **parameters: Any
    ) -> list[Row]:
        """The nearest rows that meet the condition, best first, with the engine's own score as `distance`."""
        if not self._is_there(table):
            return []
        (found,) = self.server.call(
            "search",
            self._collection(table),
            data=[query],
            anns_field=name,
            limit=limit,
            filter=f"{self.lives} and ({condition})",
            output_fields=list(fields),
            search_params=parameters,
            consistency_level="Strong",
        )
        return [{**hit["entity"], "id": hit["id"], "distance": hit["distance"]} for hit in found]


def most_of(fields: Sequence[str]) -> int:
    """Rows that fit into one answer, however long these fields are."""
    return min(MOST, max(_BYTES // sum(_LONGEST.get(name, 8) for name in fields), 1))


RECORD_FIELDS = ("id", "kind", "key", "name", "owner", "mark", "flag", "data", "pieces")
CHUNK_FIELDS = (
    "id", "key", "name", "document_key", "source_key", "collection_key", "position", "words", "embedded", "size", "pieces", "data", "listed",
    "facts", "terms", "counts", "sparse", "embedding",
)  # fmt: skip


def alive(state: State) -> str:
    """The condition that a row belongs to this version."""
    version = state.version
    if not state.aborted:
        return f"born <= {version} and died > {version}"
    return f"born <= {version} and born not in {state.aborted} and (died > {version} or died in {state.aborted})"
