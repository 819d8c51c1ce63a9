"""Tables of a damaged catalogue, read as far as they can be read.

What a table has lost may still stand in its indexes, and rows that a broken tree hides are found by the keys that other tables name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apsw

from stackroom.errors import DamagedError
from stackroom.storage.catalogue.database import STRANGE
from stackroom.storage.catalogue.sql import Connection

# A disk or a system that refuses is no damage: what it refused may be there tomorrow.
BROKEN = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.MismatchError, UnicodeDecodeError)
UNREADABLE = (*BROKEN, DamagedError, *(kind for kind in STRANGE if kind is not MemoryError))


class Table:
    """Rows of one table, as far as they can be read. `whole` once all were read without an error."""

    def __init__(self, connection: Connection, table: str, columns: str, key: str) -> None:
        self._connection = connection
        self._select = f"SELECT {columns} FROM {table} NOT INDEXED"
        self._key = key
        self.whole = False

    def rows(self, hints: Callable[[], Iterable[int]] | None = None) -> Iterator[tuple[Any, ...]]:
        """From the front; where that breaks off, from the back, and by the keys that others name."""
        last: Any = None
        try:
            for row in self._connection.execute(f"{self._select} ORDER BY {self._key}"):
                last = row
                yield row
            self.whole = True
            return
        except BROKEN:
            pass
        low: Any = None
        try:
            for row in self._connection.execute(f"{self._select} ORDER BY {_descending(self._key)}"):
                if row == last:
                    break
                low = row
                yield row
        except BROKEN:
            pass
        if hints is None:
            return
        first = last[0] if last and isinstance(last[0], int) else -1
        end = low[0] if low and isinstance(low[0], int) else None
        for key in hints():
            if key > first and (end is None or key < end):
                try:
                    found = self._connection.row(f"{self._select} WHERE {self._key} = ?", (key,))
                except BROKEN:
                    continue
                if found is not None:
                    yield found


def _descending(key: str) -> str:
    return ", ".join(f"{column} DESC" for column in key.split(", "))


class Tables:
    """Those of one catalogue."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        pages = [value(connection, f"PRAGMA {name}", 0) for name in ("page_count", "page_size")]
        self.most = pages[0] * pages[1] // 8 + 1000
        """No catalogue has more rows than this: a broken count must not have us look for ever."""

    def table(self, name: str, columns: str, key: str) -> Table:
        return Table(self.connection, name, columns, key)

    def column(self, statement: str) -> list[tuple[Any, ...]]:
        """As many rows as can be read."""
        found = []
        try:
            for row in self.connection.execute(statement):
                found.append(row)
                if len(found) > self.most:
                    break
        except BROKEN:
            pass
        return found

    def is_whole(self, column: str, where: str) -> bool:
        """Whether every row of a table can be read, or of one of its indexes."""
        return decoded(self.connection.value, f"SELECT count({column}) FROM {where}") is not None

    def by_index(self, table: str, key: str, column: str, index: str) -> dict[int, Any]:
        """A column as an index has it, by key."""
        rows = self.column(f"SELECT {key}, {column} FROM {table} INDEXED BY {index}")
        return {row[0]: row[1] for row in rows if isinstance(row[0], int)}


def decoded(decode: Callable[[Any], Any], value: Any) -> Any:
    """What a stored value says, None where it says nothing."""
    try:
        return decode(value)
    except UNREADABLE:
        return None


def value(connection: Connection, statement: str, instead: int) -> int:
    found = decoded(connection.value, statement)
    return found if isinstance(found, int) else instead
