"""A SQLite connection that answers in plain rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apsw

Row = tuple[Any, ...]
Values = Sequence[Any] | Mapping[str, Any]


class Connection(apsw.Connection):
    """apsw's connection, whose `execute` is lazy, with the ways in which a result is wanted."""

    counts_words = False
    """whether bm25's function for FTS5 was registered here"""

    def rows(self, statement: str, values: Values = ()) -> list[Row]:
        """Every row."""
        return self.execute(statement, values).fetchall()

    def each(self, statement: str, values: Values = ()) -> Iterator[Row]:
        """Row by row, as they are read."""
        yield from self.execute(statement, values)

    def row(self, statement: str, values: Values = ()) -> Row | None:
        """The first row, if there is one."""
        found: Row | None = self.execute(statement, values).fetchone()
        return found

    def value(self, statement: str, values: Values = ()) -> Any:
        """The first column of the first row; None where there is none."""
        found = self.row(statement, values)
        return None if found is None else found[0]
