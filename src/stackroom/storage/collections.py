"""Named sets of chunks beside the default one: the indexes and namespaces that an import brought.

A collection may have vectors of its own, in an embedding space of their dimension; else those of the serving space count.
Its members are the chunks that live in it, and those that are listed in it while they live elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stackroom.errors import NotFoundError
from stackroom.storage import extents, runs, spaces
from stackroom.storage.keysets import KeySet
from stackroom.storage.sql import Connection
from stackroom.types import EmbedderIdentity

DEFAULT = 1
"""The key of the collection that everything joins unless it is told otherwise."""

SCHEMA = (
    """CREATE TABLE collections(
        collection_key INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        space_key INTEGER
    ) STRICT""",
    """CREATE TABLE collection_members(
        collection_key INTEGER NOT NULL,
        first_key INTEGER NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY(collection_key, first_key)
    ) STRICT, WITHOUT ROWID""",
)


class Collection(NamedTuple):
    key: int
    name: str
    space_key: int | None


def every(connection: Connection) -> list[Collection]:
    return [Collection(*row) for row in connection.rows("SELECT collection_key, name, space_key FROM collections")]


def find(connection: Connection, name: str) -> Collection:
    """Raises NotFoundError."""
    row = connection.row("SELECT collection_key, name, space_key FROM collections WHERE name = ?", (name,))
    if row is None:
        raise NotFoundError(f"There is no collection {name!r}.", actual=name)
    return Collection(*row)


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
    """Let chunks belong to this collection as well."""
    collection = obtain(connection, name).key
    joined = listed(connection, collection).union(KeySet.from_keys(np.array(keys, dtype=np.int64)))
    connection.execute("DELETE FROM collection_members WHERE collection_key = ?", (collection,))
    connection.executemany(
        "INSERT INTO collection_members VALUES(?, ?, ?)",
        ((collection, int(first), int(end - first)) for first, end in joined.ranges.tolist()),
    )


def listed(connection: Connection, collection: int) -> KeySet:
    """The keys that were listed; some may be gone since."""
    return runs.to_keys(
        connection.rows(
            "SELECT first_key, first_key + n FROM collection_members WHERE collection_key = ?", (collection,)
        )
    )


def members(connection: Connection, name: str, universe: KeySet) -> KeySet | None:
    """The live chunks of a collection; None for the default one when all live in it. Raises NotFoundError."""
    elsewhere = connection.rows(f"SELECT key, collection_key FROM chunks WHERE collection_key <> {DEFAULT}")
    if name == "default":
        if not elsewhere:
            return None
        return universe.difference(KeySet.from_keys(np.array([key for key, _ in elsewhere], dtype=np.int64)))
    collection = find(connection, name)
    home = np.array([key for key, home in elsewhere if home == collection.key], dtype=np.int64)
    found = KeySet.from_keys(home).union(listed(connection, collection.key))
    if collection.space_key is not None:
        found = found.union(extents.keys(connection, collection.space_key))
    return found.intersection(universe)
