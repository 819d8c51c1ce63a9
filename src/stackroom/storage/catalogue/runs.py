"""Which keys a document's chunks have, as runs of consecutive keys: the live keys of the library."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection

if TYPE_CHECKING:
    from numpy.typing import NDArray


def add(connection: Connection, document_key: int, first_key: int, n: int) -> None:
    """Add keys that no document has; joined with the run that they continue."""
    last = connection.row(
        "SELECT first_key, n FROM runs WHERE document_key = ? ORDER BY first_key DESC LIMIT 1", (document_key,)
    )
    if last is not None and last[0] + last[1] == first_key:
        connection.execute(
            "UPDATE runs SET n = n + ? WHERE document_key = ? AND first_key = ?", (n, document_key, last[0])
        )
    else:
        connection.execute("INSERT INTO runs VALUES(?, ?, ?)", (document_key, first_key, n))


def remove(connection: Connection, document_key: int, keys: KeySet) -> None:
    """Take keys away from a document."""
    left = of_documents(connection, [document_key]).difference(keys)
    connection.execute("DELETE FROM runs WHERE document_key = ?", (document_key,))
    connection.executemany(
        "INSERT INTO runs VALUES(?, ?, ?)",
        ((document_key, int(first), int(end - first)) for first, end in left.ranges.tolist()),
    )


def rebuild(connection: Connection) -> None:
    """Make them anew from the chunks there are."""
    connection.execute("DELETE FROM runs")
    last: tuple[int, int, int] | None = None
    for document_key, key in connection.execute("SELECT document_key, key FROM chunks ORDER BY document_key, key"):
        if last is not None and (last[0], last[1] + last[2]) == (document_key, key):
            last = (document_key, last[1], last[2] + 1)
            continue
        if last is not None:
            connection.execute("INSERT INTO runs VALUES(?, ?, ?)", last)
        last = (document_key, key, 1)
    if last is not None:
        connection.execute("INSERT INTO runs VALUES(?, ?, ?)", last)


def of_documents(connection: Connection, document_keys: Iterable[int]) -> KeySet:
    statement = "SELECT first_key, first_key + n FROM runs WHERE document_key IN (...)"
    return _of(connection.among(statement, list(document_keys)))


def of_sources(connection: Connection, source_keys: Iterable[int]) -> KeySet:
    statement = "SELECT first_key, first_key + n FROM documents JOIN runs USING(document_key) WHERE source_key IN (...)"
    return _of(connection.among(statement, list(source_keys)))


def _of(rows: Iterable[tuple[int, int]]) -> KeySet:
    return to_keys(np.fromiter(chain.from_iterable(rows), dtype=np.int64).reshape(-1, 2))


def everything(connection: Connection) -> KeySet:
    return to_keys(connection.numbers("SELECT first_key, first_key + n FROM runs", columns=2))


def to_keys(ranges: NDArray[np.int64]) -> KeySet:
    """A KeySet of disjoint ranges (int64, shape (n, 2)) in any order."""
    return KeySet.from_ranges(ranges[np.argsort(ranges[:, 0], kind="stable")])
