"""What a database must offer for a library to live on it: the small part that each engine of this kind writes itself.

A row has a number as its id, numbers, arrays of numbers, a text, a vector of words and a vector: `tables.py` says which table has what. All reads
see every write that was answered before, of whatever client. Nothing here needs a transaction: the one thing that must be
decided for one asker alone is `rename`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stackroom.engines.versioned.conditions import Condition
from stackroom.errors import StorageError
from stackroom.types import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = dict[str, Any]
"""Fields by their names. `embedding` is float32 of shape (dim,), or None where a chunk has none; `sparse` is `{dimension: weight}`."""


class AbsentError(StorageError):
    """What was asked for by its name is not there."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What of a database is bounded; None: nothing that matters."""

    rows: int
    """that one answer of `rows` with a `limit`, or one of a search, may have"""
    dimensions: int
    """of a vector"""
    numbers: int | None = None
    """of an array of numbers"""


class Database(Protocol):
    """One connection to one library's place on a server, usable from several threads.

    Every call raises EngineAwayError where the server is away, UnavailableError where it lets nobody in, BusyError, ReadOnlyError or DiskFullError
    where it says so, StorageError where it fails otherwise. A call whose answer was lost may have been carried out; each may be sent again, and comes to the same.
    """

    url: str
    """as the user wrote it; it holds no secret"""
    name: str
    """of the engine, as users know it: "Milvus" """
    bounds: Bounds
    index: str | None
    """how the vectors of a new library's chunks are indexed, where its URL says so; None: as `indexes[0]`"""
    indexes: tuple[str, ...]
    """the ways that there are, as `make` and `nearest` are given them; of one way, `("",)`"""

    def version(self) -> str:
        """Of the server."""
        ...

    # Gates: names that say who writes and which version is the current one (gate.py).

    def names(self) -> list[str]:
        """All names of this library's gates: letters of ASCII, digits and `_`, up to 200. They may be any number."""
        ...

    def put_name(self, name: str) -> None:
        """Have such a name, if it is not there."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Change a name. Of several who ask to change the same one, one alone does; the others get AbsentError. The atomic step of everything."""
        ...

    def drop_name(self, name: str) -> None:
        """Have no such name."""
        ...

    # Tables: `records`, `chunks_N`, `space_N`.

    def tables(self) -> list[str]:
        """Those of this library."""
        ...

    def make(self, table: str, *, dim: int, metric: Metric, index: str) -> bool:
        """Have an empty table, ready to be written and searched; `dim` and `metric` are those of its `embedding`, which `records` have not.

        False where it was there before, or where another client makes it at the same time: one alone gets True. A table that was there is as it was.
        """
        ...

    def drop(self, table: str) -> None:
        """Have no such table."""
        ...

    # Rows. AbsentError where there is no such table.

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """Write whole rows, in place of those with the same ids. At most 500, and 4 MB but for a single row."""
        ...

    def end(self, table: str, ids: Sequence[int], version: int) -> None:
        """Set `died` of these rows; all else stays. At most 500; ids that are not there may be left out or not, but harm nothing."""
        ...

    def delete(self, table: str, condition: Condition) -> None:
        """Remove the rows that meet it."""
        ...

    def rows(self, table: str, condition: Condition, fields: Sequence[str], *, limit: int | None = None) -> list[Row]:
        """All rows that meet the condition, in no order, with `fields`; or as many as `limit`, up to `bounds.rows`.

        Of `terms` and their `counts` it may give those alone that the condition asks for, unless `data` is among the fields.
        """
        ...

    def each(self, table: str, condition: Condition, fields: Sequence[str], *, at_once: int) -> Iterator[Row]:
        """The same, however many there are, `at_once` or fewer in one answer. Rows that are written meanwhile may be among them or not."""
        ...

    def most(self, fields: Sequence[str]) -> int:
        """Rows that surely fit into one answer, however long these fields are: values are looked up in portions of so many."""
        ...

    def count(self, table: str, condition: Condition) -> int:
        """Exactly how many rows meet it."""
        ...

    # Searches: only of rows that meet the condition, best first, up to `limit`, which is no more than `bounds.rows`.

    def nearest(
        self,
        table: str,
        query: NDArray[np.float32],
        limit: int,
        condition: Condition,
        fields: Sequence[str],
        *,
        metric: Metric,
        index: str,
        exact: bool,
        candidates: int | None,
    ) -> list[Row]:
        """The rows nearest to the query. Their scores are not asked for: they are computed anew from `embedding`.

        `exact`: every row is compared, in float32; otherwise `index` may be used, with `candidates` as its own measure of effort (None: its default).
        """
        ...

    finds_words: bool
    """whether there is `heaviest`; without it, the passages that hold a word of a query are read"""

    def heaviest(
        self, table: str, query: dict[int, float], limit: int, condition: Condition, fields: Sequence[str]
    ) -> list[Row]:
        """The rows whose `sparse` has the greatest inner product with the query; none of those that share no dimension with it is needed."""
        ...

    def seal(self, table: str) -> None:
        """Much was written to a table: it may be brought into the form that is searched quickly. Nothing where the server does that by itself."""
        ...

    def close(self) -> None: ...
