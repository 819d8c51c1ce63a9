"""The rows of a library as a commit will leave them: those of its version, without what it ends, with what it brings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from stackroom.engines.versioned.asking import Asking
from stackroom.engines.versioned.conditions import EVERYTHING, Condition
from stackroom.engines.versioned.database import Row
from stackroom.engines.versioned.tables import RECORDS, ROWS_OF_A_COMMIT, kind_of
from stackroom.errors import UsageError

_INDEXED = {
    "records": ("key", "name", "owner"),
    "chunks": ("key", "name", "document_key", "source_key", "collection_key", "listed"),
    "space": ("key",),
}
_OWN_KEYS = ("key", "document_key", "source_key")
"""Fields whose values are keys: one that this commit gave is in no row of its version."""


class Draft:
    """One table."""

    def __init__(self, asking: Asking, table: str, first_key: int, *, is_new: bool) -> None:
        self._asking = asking
        self._table = table
        self._first_key = first_key
        self._is_new = is_new
        self.new: dict[int, Row] = {}
        self.ended: dict[int, Row] = {}
        self._index: dict[tuple[str, int], dict[int, None]] = defaultdict(dict)

    def find(self, name: str, values: Iterable[int], fields: Sequence[str], *, kind: int = 0) -> list[Row]:
        wanted = set(values)
        asked = {value for value in wanted if value < self._first_key} if name in _OWN_KEYS else wanted
        found = []
        if asked and not self._is_new:
            needed = tuple(dict.fromkeys(("id", *fields)))
            found = [
                row
                for row in self._asking.find(self._table, name, asked, needed, kind=kind)
                if row["id"] not in self.ended
            ]
        return found + self.drafted(name, wanted, kind=kind)

    def drafted(self, name: str, values: Iterable[int], *, kind: int = 0) -> list[Row]:
        """Of the rows that this commit brings."""
        ids = {id_: None for value in values for id_ in self._index.get((name, value), ())}
        rows = [self.new[id_] for id_ in ids]
        return [row for row in rows if row["kind"] == kind] if kind else rows

    def put(self, row: Row) -> None:
        self.new[row["id"]] = row
        for place in self._places(row):
            self._index[place][row["id"]] = None

    def end(self, row: Row) -> None:
        drafted = self.new.pop(row["id"], None)
        if drafted is None:
            self.ended[row["id"]] = row
            return
        for place in self._places(drafted):
            self._index[place].pop(row["id"], None)

    def _places(self, row: Row) -> Iterator[tuple[str, int]]:
        for name in _INDEXED[kind_of(self._table)]:
            value = row[name]
            for one in value if isinstance(value, list) else (value,):
                yield name, one


class Drafts:
    """All tables. `attempt` is the number of the commit."""

    def __init__(self, asking: Asking, attempt: int) -> None:
        self.asking = asking
        self._next = attempt * ROWS_OF_A_COMMIT
        self._first = self._next
        self._tables: dict[str, Draft] = {}

    def next(self) -> int:
        """A number for a row, or a key: they are of one kind, and the first is left to the version's own row. Raises UsageError."""
        self._next += 1
        if self._next - self._first >= ROWS_OF_A_COMMIT:
            raise UsageError(
                f"One commit to {self.asking.database.name} has room for {ROWS_OF_A_COMMIT:,} rows and keys, and this one needs more.",
                hint="Nothing was written. Bring it in several commits.",
                expected=ROWS_OF_A_COMMIT,
            )
        return self._next

    def of(self, table: str, *, is_new: bool = False) -> Draft:
        if table not in self._tables:
            self._tables[table] = Draft(self.asking, table, self._first, is_new=is_new)
        return self._tables[table]

    def tables(self) -> dict[str, Draft]:
        return dict(self._tables)

    def find(self, table: str, name: str, values: Iterable[int], fields: Sequence[str], *, kind: int = 0) -> list[Row]:
        return self.of(table).find(name, values, fields, kind=kind)

    def whole(self, rows: list[Row]) -> list[Row]:
        return self.asking.whole(rows)

    def records(self, kind: int, condition: Condition = EVERYTHING) -> Iterator[Row]:
        """Whole records of a kind; `condition` is of those that are there."""
        draft = self.of(RECORDS)
        for row in self.asking.records(kind, condition):
            if row["id"] not in draft.ended:
                yield row
        yield from [row for row in draft.new.values() if row["kind"] == kind]

    def put(self, table: str, row: Row) -> Row:
        """A new row; it gets its number."""
        made = {**row, "id": self.next(), "pieces": 0}
        self.of(table).put(made)
        return made
