"""A SQLite connection that answers in plain rows."""

from __future__ import annotations

import errno
import os
import weakref
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import apsw

from stackroom._forking import in_children
from stackroom.errors import DamagedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = tuple[Any, ...]
Values = Sequence[Any] | Mapping[str, Any]

_ITEMS = 500

_UNREADABLE = (errno.EIO, errno.ENXIO, errno.ERANGE)
"""What SQLite makes "malformed" of, where a read ends with it (SQLITE_IOERR_CORRUPTFS)."""


class Connection(apsw.Connection):
    """apsw's connection, whose `execute` is lazy, with the ways in which a result is wanted."""

    counts_words = False
    """whether bm25's function for FTS5 was registered here"""

    changed_words: set[tuple[str, int]] | None = None
    """which parts of the full-text index have changed and have no new checksum yet; None where nothing watches them"""

    immutable: tuple[int, ...] | None = None
    """what the catalogue's file was like when this was opened as on a medium that nobody writes to"""

    def __init__(self, filename: str, *arguments: Any, **options: Any) -> None:
        super().__init__(filename, *arguments, **options)
        self.file = _identity(self.filename) if self.filename else None
        _open.add(self)

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
        """Every row of a result of whole numbers: int64 of shape (n, columns), a tenth of what tuples take. Raises DamagedError for others."""
        import numpy as np

        try:
            found = np.fromiter(chain.from_iterable(self.execute(statement, values)), dtype=np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            # Where pages of two indexes have changed places SQLite's own check finds nothing amiss.
            raise DamagedError(
                "The catalogue holds something else where a number belongs.",
                hint="See what is hit: stackroom verify",
            ) from error
        return found.reshape(-1, columns)

    @property
    def refused(self) -> int:
        """Why the system would not read a page of the file since it was opened (EIO and its like); 0 where it did. SQLite tells that as damage."""
        number = array("i", [0])
        self.file_control("main", apsw.SQLITE_FCNTL_LAST_ERRNO, number.buffer_info()[0])
        return number[0] if number[0] in _UNREADABLE else 0

    def row(self, statement: str, values: Values = ()) -> Row | None:
        """The first row, if there is one."""
        found: Row | None = self.execute(statement, values).fetchone()
        return found

    def value(self, statement: str, values: Values = ()) -> Any:
        """The first column of the first row; None where there is none."""
        found = self.row(statement, values)
        return None if found is None else found[0]


_open: weakref.WeakSet[Connection] = weakref.WeakSet()
_stuck: list[Connection] = []
"""Connections that a forked child inherited and could not close; letting go of them would close them."""


def is_stuck(path: str | os.PathLike[str]) -> bool:
    """Whether this process was forked while its parent wrote to this file, or another thread was within SQLite.

    SQLite takes the locks that it had there for its own, and none of them came along: what it wrote would be lost.
    """
    return bool(_stuck) and (found := _identity(path)) is not None and any(held.file == found for held in _stuck)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _close_inherited() -> None:
    """In a forked child: close what its parent has open, so that SQLite forgets the locks, which are the parent's alone.

    Nothing of it reaches the parent: locks are a process's own, and nothing is written. But what a transaction has written to the WAL and
    its index is the parent's to undo.
    """
    for connection in list(_open):
        if connection.file is None:
            continue
        try:
            if connection.txn_state("main") == apsw.SQLITE_TXN_WRITE:
                _stuck.append(connection)
            else:
                connection.close(True)
        except apsw.ConnectionClosedError:
            continue
        except apsw.Error:  # another thread, which is not here, is within it
            _stuck.append(connection)
    _open.clear()


in_children(_close_inherited)
