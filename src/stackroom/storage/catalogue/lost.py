"""What a repair has lost that no file brings back: struck off as it is given again, by applications, adapters and transfers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from stackroom.storage.catalogue import ids
from stackroom.storage.catalogue.sql import Connection

NAME = "lost"
"""In `settings`."""


class Lost(NamedTuple):
    """What a document lacks. A key of 0 stands for documents of the source of which nothing is known."""

    source_key: int
    document_key: int
    chunk_ids: tuple[str, ...] = ()
    more: bool = False
    """whether it lacks something else, which only the whole document brings back"""


def put(connection: Connection, lost: Iterable[Lost]) -> None:
    rows = list(lost)
    connection.execute("DELETE FROM settings WHERE name = ?", (NAME,))
    if rows:
        connection.execute("INSERT INTO settings VALUES(?, ?)", (NAME, json.dumps(rows, separators=(",", ":"))))


def parsed(value: Any) -> list[Lost]:
    """What `put` has written; nothing where it is something else."""
    try:
        return [
            Lost(int(source), int(document), tuple(map(str, chunk_ids)), bool(more))
            for source, document, chunk_ids, more in json.loads(value)
        ]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return []


class Losses:
    """Those of a library, as one commit strikes them off. There are nearly never any."""

    def __init__(self, connection: Connection, lost: Iterable[Lost]) -> None:
        self._connection = connection
        self._of: dict[int, dict[int, Lost]] = defaultdict(dict)
        self._owner: dict[int, int] = {}
        for one in lost:
            self._of[one.source_key][one.document_key] = one
            self._owner[one.document_key] = one.source_key
        self._changed = False
        self.touched: set[int] = set()
        """sources that lacked something, and were written to"""
        self.given_to: set[int] = set()
        """those of them of which something was given"""

    @classmethod
    def of(cls, connection: Connection) -> Losses:
        return cls(connection, parsed(connection.value("SELECT value FROM settings WHERE name = ?", (NAME,))))

    def __bool__(self) -> bool:
        """Whether anything was lost before the commit."""
        return bool(self._of)

    def touch(self, source_key: int) -> None:
        if source_key in self._of:
            self.touched.add(source_key)

    def given(self, source_key: int, document_key: int, chunk_ids: Collection[str] | None = None) -> None:
        """A document of this source as a whole, or these chunks of it."""
        self.touch(source_key)
        self.given_to.add(source_key)
        # What is given to a source of which nothing else is known may be all that it had.
        self._strike(source_key, 0)
        owner = self._owner.get(document_key, source_key)
        lost = self._of.get(owner, {}).get(document_key)
        if lost is None:
            return
        if chunk_ids is not None and self._is_divided_anew(lost, chunk_ids):
            chunk_ids = None
        left = () if chunk_ids is None else tuple(one for one in lost.chunk_ids if one not in chunk_ids)
        more = lost.more and chunk_ids is not None
        if not left and not more:
            self._strike(owner, document_key)
        elif left != lost.chunk_ids:
            self._of[owner][document_key] = lost._replace(chunk_ids=left)
            self._changed = True

    def _is_divided_anew(self, lost: Lost, chunk_ids: Collection[str]) -> bool:
        """Whether nothing of a document is left, and none of these chunks is one that it had."""
        survivor = self._connection.value("SELECT 1 FROM chunks WHERE document_key = ? LIMIT 1", (lost.document_key,))
        return survivor is None and not any(one in chunk_ids for one in lost.chunk_ids)

    def removed(self, document_key: int) -> None:
        """Who removes a document gives up what it lacks."""
        owner = self._owner.get(document_key, 0)
        self.touch(owner)
        self._strike(owner, document_key)

    def forget(self, source_key: int) -> None:
        """It was removed, or its file was read to its end."""
        for document_key in list(self._of.get(source_key, ())):
            self._strike(source_key, document_key)

    def lacks(self, source_key: int) -> bool:
        """Whether anything of this source is still lost; passages that are somewhere again are not."""
        for document_key, lost in list(self._of.get(source_key, {}).items()):
            if lost.more or not all(map(self._is_there, lost.chunk_ids)):
                return True
            self._strike(source_key, document_key)
        return False

    def _is_there(self, chunk_id: str) -> bool:
        found = self._connection.value("SELECT 1 FROM chunks WHERE chunk_id = ?", (ids.pack_id(chunk_id),))
        return found is not None

    def _strike(self, source_key: int, document_key: int) -> None:
        if self._of.get(source_key, {}).pop(document_key, None) is not None:
            self._changed = True

    def finish(self) -> None:
        """Write down what is left, where that has changed."""
        if self._changed:
            put(self._connection, (one for of in self._of.values() for one in of.values()))
