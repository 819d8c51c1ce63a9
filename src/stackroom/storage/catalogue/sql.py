"""A SQLite connection that answers in plain rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = tuple[Any, ...]
Values = Sequence[Any] | Mapping[str, Any]

_ITEMS = 500


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

    def among(self, statement: str, items: Sequence[Any], values: Sequence[Any] = ()) -> Iterator[Row]:
        """Every row, where `(...)` in the statement stands for any number of items, behind all other values."""
        for first in range(0, len(items), _ITEMS):
            part = items[first : first + _ITEMS]
            yield from self.rows(statement.replace("(...)", f"(?{', ?' * (len(part) - 1)})"), (*values, *part))

    def numbers(self, statement: str, values: Values = (), *, columns: int) -> NDArray[np.int64]:
        """Every row of a result of whole numbers: int64 of shape (n, columns), a tenth of what tuples take."""
        import numpy as np

        found = np.fromiter(chain.from_iterable(self.execute(statement, values)), dtype=np.int64)
        return found.reshape(-1, columns)

    def row(self, statement: str, values: Values = ()) -> Row | None:
        """The first row, if there is one."""
        found: Row | None = self.execute(statement, values).fetchone()
        return found

    def value(self, statement: str, values: Values = ()) -> Any:
        """The first column of the first row; None where there is none."""
        found = self.row(statement, values)
        return None if found is None else found[0]
