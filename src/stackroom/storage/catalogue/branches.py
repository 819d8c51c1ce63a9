"""Where a library went on from a copy that a backup had made: which commits are part of its history, and which are another's.

Of a commit a catalogue keeps no more than the newest one's number and id. But a copy knows of which commit it is one (`backup_of`), so that the
first commit to it can note that a line of its own begins there. Two libraries whose notes agree up to a commit have that commit in common.
"""

from __future__ import annotations

import struct
from typing import Any

from stackroom.storage.catalogue.sql import Connection

NAME = "branches"

Branches = tuple[tuple[int, bytes], ...]
"""The number and the id of each commit that was the first one to a copy, in order."""

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


def until(commits: int, noted: Branches) -> Branches:
    """What of it was noted up to that commit."""
    return tuple(one for one in noted if one[0] <= commits)
