"""What a repair could not do by itself, kept in the catalogue until it is done: vectors that need the model, files to be read again."""

from __future__ import annotations

import json
from typing import Any

from stackroom.backend import Waiting
from stackroom.storage.catalogue import ids
from stackroom.storage.catalogue.sql import Connection

NAME = "repair"
"""In `settings`."""


def get(connection: Connection) -> Waiting:
    return parsed(connection.value("SELECT value FROM settings WHERE name = ?", (NAME,)))


def lacking(connection: Connection) -> set[str]:
    """The names of sources that lost passages, and have not been read or given again."""
    wanted = {key for key, _ in get(connection).read}
    rows = connection.execute("SELECT source_key, name FROM sources WHERE state <> 'indexed'") if wanted else ()
    return {ids.unpack_text(name) for key, name in rows if key in wanted}


def put(connection: Connection, waiting: Waiting) -> None:
    if waiting == Waiting():
        connection.execute("DELETE FROM settings WHERE name = ?", (NAME,))
        return
    read = [[key, None if content is None else content.hex()] for key, content in waiting.read]
    value = json.dumps({"embed": waiting.embed, "read": read}, separators=(",", ":"))
    connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (NAME, value))


def parsed(value: Any) -> Waiting:
    """What `put` has written; nothing where it is something else."""
    try:
        found = json.loads(value)
        read = tuple((int(key), None if content is None else bytes.fromhex(content)) for key, content in found["read"])
        return Waiting(tuple(map(int, found["embed"])), read)
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
        return Waiting()
