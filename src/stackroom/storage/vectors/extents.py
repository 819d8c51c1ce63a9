"""Which row of a space's vector file belongs to which chunk, and which rows are nobody's.

An extent is a run of keys that have a run of rows. Live rows are those in extents; the gaps that deletes leave are kept
in `dead_rows` as well, so that a search over everything need not read every extent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.errors import DamagedError
from stackroom.storage.catalogue.keysets import KeySet, unpacked
from stackroom.storage.catalogue.sql import Connection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ranges = NDArray[np.int64]


class Extent(NamedTuple):
    """`n` keys from `first_key` have the rows from `first_row`; `checksums` holds a CRC-32 (u32) for each."""

    first_row: int
    n: int
    first_key: int
    document_key: int
    checksums: bytes

    def part(self, offset: int, n: int) -> Extent:
        return Extent(
            self.first_row + offset,
            n,
            self.first_key + offset,
            self.document_key,
            self.checksums[offset * 4 : (offset + n) * 4],
        )


_COLUMNS = "first_row, n, first_key, document_key, checksums"


def keys(connection: Connection, space_key: int) -> KeySet:
    """The keys that have a row in this space."""
    ranges = connection.numbers(
        "SELECT first_key, first_key + n FROM extents WHERE space_key = ? ORDER BY first_key", (space_key,), columns=2
    )
    return KeySet.from_ranges(ranges)


def overlapping(connection: Connection, space_key: int, first: int, end: int) -> list[Extent]:
    """The parts of extents whose keys are in [first, end), by key."""
    found: list[Extent] = []
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM extents WHERE space_key = :space AND first_key < :end AND first_key >= coalesce(
            (SELECT max(first_key) FROM extents WHERE space_key = :space AND first_key <= :first), :first)
            ORDER BY first_key""",
        {"space": space_key, "first": first, "end": end},
    )
    for row in rows:
        extent = Extent(*row)
        start = max(first, extent.first_key) - extent.first_key
        stop = min(end, extent.first_key + extent.n) - extent.first_key
        if stop > start:
            found.append(extent.part(start, stop - start))
    return found


def keys_of_rows(connection: Connection, space_key: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The key of each of these live rows: int64 of shape (n,)."""
    keys = np.empty(len(rows), dtype=np.int64)
    for i, row in enumerate(rows.tolist()):
        extent = _holding(connection, space_key, row)
        keys[i] = extent.first_key + row - extent.first_row
    return keys


def _holding(connection: Connection, space_key: int, row: int) -> Extent:
    """The extent that a row belongs to."""
    found = connection.row(
        f"SELECT {_COLUMNS} FROM extents WHERE space_key = ? AND first_row <= ? ORDER BY first_row DESC LIMIT 1",
        (space_key, row),
    )
    if found is None or row >= found[0] + found[1]:
        raise nobodys(row)
    return Extent(*found)


def nobodys(row: int) -> DamagedError:
    return DamagedError(f"Row {row} belongs to no passage.", hint="See what is hit: stackroom verify")


def row_of_key(connection: Connection, space_key: int, key: int) -> tuple[int, int] | None:
    """The row of a chunk and its checksum, or None where it has no vector in this space."""
    found = overlapping(connection, space_key, key, key + 1)
    if not found:
        return None
    return found[0].first_row, int.from_bytes(found[0].checksums, "little")


def rows_of_keys(connection: Connection, space_key: int, keys: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Row and checksum of each of these chunks that has a vector in this space."""
    found: dict[int, tuple[int, int]] = {}
    for first, end in KeySet.from_keys(np.array(keys, dtype=np.int64)).ranges.tolist():
        for part in overlapping(connection, space_key, first, end):
            sums = unpacked(part.checksums, "<u4").tolist()
            found.update((part.first_key + i, (part.first_row + i, checksum)) for i, checksum in enumerate(sums))
    return found


def live_ranges(connection: Connection, space_key: int, rows: int) -> Ranges:
    """Every live row of a file of `rows` committed rows, as ranges. Raises DamagedError where the dead ones are none."""
    dead = connection.numbers(
        "SELECT first_row, first_row + n FROM dead_rows WHERE space_key = ? ORDER BY first_row", (space_key,), columns=2
    )
    edges = np.concatenate([[0], dead.reshape(-1), [rows]])
    if (np.diff(edges) < 0).any():
        raise DamagedError(
            f"The catalogue names rows that a vector file of {rows:,} rows does not have, or a row twice.",
            hint="See what is hit: stackroom verify",
        )
    edges = edges.reshape(-1, 2)
    return edges[edges[:, 1] > edges[:, 0]]


def are_within(connection: Connection, space_key: int, rows: int) -> bool:
    """Whether no passage, present or removed, has a row behind the first `rows`. Where one has, the number is damaged, and what is there is not nobody's."""
    for table in ("extents", "dead_rows"):
        last = f"SELECT first_row, n FROM {table} WHERE space_key = ? ORDER BY first_row DESC LIMIT 1"
        first, n = connection.row(last, (space_key,)) or (0, 0)
        if first + n > rows:
            return False
    return True


def add(connection: Connection, space_key: int, extent: Extent) -> None:
    connection.execute("INSERT INTO extents VALUES(?, ?, ?, ?, ?, ?)", (space_key, *extent))


def remove(connection: Connection, space_key: int, first: int, end: int) -> int:
    """Take the keys in [first, end) out of the space; their rows become nobody's. Returns how many rows."""
    removed = 0
    for part in overlapping(connection, space_key, first, end):
        whole = _holding(connection, space_key, part.first_row)
        connection.execute("DELETE FROM extents WHERE space_key = ? AND first_row = ?", (space_key, whole.first_row))
        before = part.first_row - whole.first_row
        after = whole.n - before - part.n
        if before:
            add(connection, space_key, whole.part(0, before))
        if after:
            add(connection, space_key, whole.part(before + part.n, after))
        _bury(connection, space_key, part.first_row, part.n)
        removed += part.n
    return removed


def _bury(connection: Connection, space_key: int, first: int, n: int) -> None:
    """Record dead rows, joined with the gaps that touch them."""
    end = first + n
    for other, length in connection.rows(
        """SELECT first_row, n FROM dead_rows
           WHERE space_key = :space AND (first_row = :end OR first_row = (
               SELECT max(first_row) FROM dead_rows WHERE space_key = :space AND first_row < :first))""",
        {"space": space_key, "end": end, "first": first},
    ):
        if other == end:
            end += length
        elif other + length == first:
            first = other
        else:
            continue
        connection.execute("DELETE FROM dead_rows WHERE space_key = ? AND first_row = ?", (space_key, other))
    connection.execute("INSERT INTO dead_rows VALUES(?, ?, ?)", (space_key, first, end - first))


def each(connection: Connection, space_key: int) -> Iterator[Extent]:
    """Every extent of a space, by key."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM extents WHERE space_key = ? ORDER BY first_key", (space_key,)
    ):
        yield Extent(*row)
