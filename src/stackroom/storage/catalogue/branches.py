"""Where a library went on from a copy that a backup had made: which commits are part of its history, and which are another's.

Of a commit a catalogue keeps no more than the newest one's number and id. But a copy knows of which commit it is one (`backup_of`), so that the
first commit to it can note that a line of its own begins there. Two libraries whose notes agree up to a commit have that commit in common.
"""

from __future__ import annotations

import struct
from typing import Any

from stackroom.errors import DamagedError
from stackroom.history import Branches, History
from stackroom.storage.catalogue.sql import Connection

NAME = "branches"

_NOTE = struct.Struct("<q16s")


def begins(connection: Connection) -> bool:
    """Whether the next commit is the first one to a copy that a backup made."""
    found: dict[str, Any] = dict(
        connection.rows("SELECT name, value FROM settings WHERE name IN ('backup_of', 'commit_id')")
    )
    return bool(found.get("backup_of") == found.get("commit_id", b""))


def note(connection: Connection) -> None:
    """That a line of its own begins with the commit that was counted just now."""
    found: dict[str, Any] = dict(
        connection.rows("SELECT name, value FROM settings WHERE name IN ('commits', 'commit_id', ?)", (NAME,))
    )
    if isinstance(found["commits"], int):
        notes = [*read(found.get(NAME)), (found["commits"], found["commit_id"])]
        stored = b"".join(_NOTE.pack(*one) for one in notes)
        connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (NAME, stored))


def read(stored: object) -> Branches:
    """What was noted; nothing where that is damaged, which `verify` tells of."""
    if not isinstance(stored, bytes) or len(stored) % _NOTE.size:
        return ()
    return tuple(_NOTE.iter_unpack(stored))


def history(connection: Connection) -> History:
    """Up to the commit that is read. The caller holds a read transaction. Raises DamagedError."""
    found: dict[str, Any] = dict(connection.rows("SELECT name, value FROM settings"))
    if not isinstance(found.get("library_uuid"), bytes) or not isinstance(found.get("commits"), int):
        raise DamagedError("The settings of the library are damaged.", hint="See what is hit: stackroom verify")
    return History(found["library_uuid"], found["commits"], found.get("commit_id"), read(found.get(NAME)))
