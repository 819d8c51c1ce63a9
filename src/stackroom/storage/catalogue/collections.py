"""Named sets of chunks beside the default one: the indexes and namespaces that an import brought.

A collection may have vectors of its own, in an embedding space of their dimension; else those of the serving space count.
Its members are the chunks that live in it, and those that are listed in it while they live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stackroom.backend import CollectionRecord
from stackroom.errors import DamagedError, NotFoundError
from stackroom.storage.catalogue import runs
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.schema import DEFAULT_COLLECTION
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.vectors import extents, spaces
from stackroom.types import EmbedderIdentity


class Collection(NamedTuple):
    key: int
    name: str
    space_key: int | None


def every(connection: Connection) -> list[Collection]:
    rows = connection.rows("SELECT collection_key, name, space_key FROM collections")
    for key, name, space_key in rows:
        if not isinstance(name, str) or not isinstance(space_key, int | None):
            raise DamagedError(
                f"The record of collection {key} is damaged.", hint="See what is hit: stackroom verify", actual=key
            )
    return [Collection(*row) for row in rows]


def find(connection: Connection, name: str) -> Collection:
    """Raises NotFoundError."""
    # Not by the index of names: of a damaged table it would name a row that is another thing.
    row = connection.row("SELECT collection_key, name, space_key FROM collections NOT INDEXED WHERE name = ?", (name,))
    if row is None:
        raise NotFoundError(
            f"There is no collection {name!r}.", hint="See what there is: stackroom status", actual=name
        )
    return Collection(*row)


def exists(connection: Connection, name: str) -> bool:
    return connection.row("SELECT 1 FROM collections WHERE name = ?", (name,)) is not None


def obtain(connection: Connection, name: str) -> Collection:
    """The collection of that name, made where it is missing."""
    connection.execute("INSERT OR IGNORE INTO collections(name) VALUES(?)", (name,))
    return find(connection, name)


def own_space(connection: Connection, library: Path, name: str, identity: EmbedderIdentity) -> spaces.Space:
    """The collection's own embedding space, made where it is missing."""
    collection = obtain(connection, name)
    if collection.space_key is None:
        space = spaces.create(connection, library, identity, spaces.OWN)
        connection.execute("UPDATE collections SET space_key = ? WHERE collection_key = ?", (space.key, collection.key))
        return space
    return next(space for space in spaces.every(connection) if space.key == collection.space_key)


def enlist(connection: Connection, name: str, keys: Sequence[int]) -> None:
    """Let chunks belong to this collection as well. Costs by their number, not by the collection's."""
    collection = obtain(connection, name).key
    for first, end in KeySet.from_keys(np.array(keys, dtype=np.int64)).ranges.tolist():
        touching = connection.rows(
            """SELECT first_key, n FROM collection_members WHERE collection_key = ?1 AND first_key <= ?3
               AND first_key >= coalesce((SELECT max(first_key) FROM collection_members
                                          WHERE collection_key = ?1 AND first_key <= ?2), ?2)""",
            (collection, first, end),
        )
        for other, n in touching:
            if other + n >= first:
                first, end = min(first, other), max(end, other + n)
                connection.execute(
                    "DELETE FROM collection_members WHERE collection_key = ? AND first_key = ?", (collection, other)
                )
        connection.execute("INSERT INTO collection_members VALUES(?, ?, ?)", (collection, first, end - first))


def leave(connection: Connection, name: str, keys: Sequence[int]) -> int | None:
    """Take chunks off the list; the key of the collection's own space, if it has one. Raises NotFoundError."""
    collection = find(connection, name)
    left = listed(connection, collection.key).difference(KeySet.from_keys(np.array(keys, dtype=np.int64)))
    connection.execute("DELETE FROM collection_members WHERE collection_key = ?", (collection.key,))
    connection.executemany(
        "INSERT INTO collection_members VALUES(?, ?, ?)",
        ((collection.key, int(first), int(end - first)) for first, end in left.ranges.tolist()),
    )
    return collection.space_key


def disband(connection: Connection, name: str) -> None:
    """Forget which chunks were listed."""
    connection.execute(
        "DELETE FROM collection_members WHERE collection_key = (SELECT collection_key FROM collections WHERE name = ?)",
        (name,),
    )
    connection.execute(
        """DELETE FROM collections WHERE name = ?1 AND space_key IS NULL AND collection_key <> ?2
           AND NOT EXISTS(SELECT 1 FROM chunks c WHERE c.collection_key = collections.collection_key AND c.collection_key <> ?2)""",
        (name, DEFAULT_COLLECTION),
    )


def listing(connection: Connection, keys: KeySet) -> list[str]:
    """The names of the collections that list any of these keys."""
    found: dict[str, None] = {}
    for first, end in keys.ranges.tolist():
        rows = connection.rows(
            """SELECT name FROM collections c WHERE (
                   SELECT first_key + n FROM collection_members m
                   WHERE m.collection_key = c.collection_key AND first_key < ?2 ORDER BY first_key DESC LIMIT 1
               ) > ?1""",
            (first, end),
        )
        found.update(dict.fromkeys(row[0] for row in rows))
    return list(found)


def listed(connection: Connection, collection: int) -> KeySet:
    """The keys that were listed; some may be gone since."""
    return runs.to_keys(
        connection.numbers(
            "SELECT first_key, first_key + n FROM collection_members WHERE collection_key = ?", (collection,), columns=2
        )
    )


def homes(connection: Connection) -> dict[int, KeySet]:
    """The chunks that live in each collection but the default one, by its key. Reads a row for each of them."""
    # The order is that of the index chunks_elsewhere: nothing is sorted.
    rows = connection.numbers(
        f"""SELECT collection_key, key FROM chunks WHERE collection_key <> {DEFAULT_COLLECTION}
            ORDER BY collection_key, key""",
        columns=2,
    )
    keys, starts = np.unique(rows[:, 0], return_index=True)
    parts = np.split(rows[:, 1], starts[1:])
    return {key: KeySet.from_keys(part) for key, part in zip(keys.tolist(), parts, strict=False)}


def members(
    connection: Connection, name: str, universe: Callable[[], KeySet], homes: Callable[[], dict[int, KeySet]]
) -> KeySet | None:
    """The live chunks of a collection; None for the default one when all live in it. Raises NotFoundError."""
    if name == "default":
        elsewhere = homes()
        return universe().difference(KeySet.empty().union(*elsewhere.values())) if elsewhere else None
    collection = find(connection, name)
    found = homes().get(collection.key, KeySet.empty()).union(listed(connection, collection.key))
    if collection.space_key is not None:
        found = found.union(extents.keys(connection, collection.space_key))
    return found.intersection(universe())


def summaries(
    connection: Connection, universe: Callable[[], KeySet], homes: Callable[[], dict[int, KeySet]]
) -> list[CollectionRecord]:
    """Each collection with the number of its chunks."""
    known = {space.key: space for space in spaces.every(connection)}
    found = []
    for key, name, own in every(connection):
        chunks = members(connection, name, universe, homes)
        count = universe().count if chunks is None else chunks.count
        identity = known[own].identity if own is not None else None
        found.append(CollectionRecord(name, count, identity, listed=bool(listed(connection, key).count)))
    return found
