"""How the engine is asked: plain rows within one transaction, and conditions with their values beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import Connection as PostgresConnection
from psycopg import Cursor

Row = tuple[Any, ...]
Values = Sequence[Any]


class Asking:
    """A connection that answers in plain rows. Statements are ours alone: what users give is a value."""

    def __init__(self, connection: PostgresConnection[Row]) -> None:
        self.connection = connection

    def execute(self, statement: str, values: Values = (), *, binary: bool = False) -> Cursor[Row]:
        return self.connection.execute(statement.encode(), values or None, binary=binary)

    def rows(self, statement: str, values: Values = (), *, binary: bool = False) -> list[Row]:
        return self.execute(statement, values, binary=binary).fetchall()

    def row(self, statement: str, values: Values = ()) -> Row | None:
        return self.execute(statement, values).fetchone()

    def value(self, statement: str, values: Values = ()) -> Any:
        """The first column of the first row; None where there is none."""
        found = self.row(statement, values)
        return None if found is None else found[0]

    def many(self, statement: str, values: Iterable[Values]) -> None:
        """Once for each; sent together."""
        listed = list(values)
        if listed:
            with self.connection.cursor() as cursor:
                cursor.executemany(statement.encode(), listed)


class Where(NamedTuple):
    """A condition on chunks (`c`) and, where it needs them, their documents (`d`) and sources (`s`)."""

    parts: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    tables: str = "chunks c"

    def also(self, part: str, *values: Any) -> Where:
        return self._replace(parts=(*self.parts, part), values=(*self.values, *values))

    def joined(self) -> Where:
        """With documents and sources at hand."""
        return self._replace(tables=JOINED)

    @property
    def condition(self) -> str:
        return " AND ".join(f"({part})" for part in self.parts) or "true"


JOINED = "chunks c JOIN documents d USING(document_key) JOIN sources s USING(source_key)"
