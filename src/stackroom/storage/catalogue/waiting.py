"""What a repair could not do by itself, kept in the catalogue until it is done: vectors that need the model, files to be read again."""

from __future__ import annotations

import json
from typing import Any

from stackroom.backend import Waiting
from stackroom.storage.catalogue.sql import Connection

NAME = "repair"
"""In `settings`."""


def get(connection: Connection) -> Waiting:
    found = parsed(connection.value("SELECT value FROM settings WHERE name = ?", (NAME,)))
    # Who removes a document gives up what is lost of it.
    there = "SELECT 1 FROM documents WHERE document_key = ?"
    return found._replace(hurt=tuple(one for one in found.hurt if connection.value(there, (one[1],))))


def put(connection: Connection, waiting: Waiting) -> None:
    if waiting == Waiting():
        connection.execute("DELETE FROM settings WHERE name = ?", (NAME,))
        return
    read = [[key, None if content is None else content.hex()] for key, content in waiting.read]
    value = json.dumps({"embed": waiting.embed, "read": read, "hurt": waiting.hurt}, separators=(",", ":"))
    connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (NAME, value))


def parsed(value: Any) -> Waiting:
    """What `put` has written; nothing where it is something else."""
    try:
        found = json.loads(value)
        read = tuple((int(key), None if content is None else bytes.fromhex(content)) for key, content in found["read"])
        # Libraries of earlier versions do not have it.
        hurt = tuple((int(source), int(key), tuple(map(str, lost))) for source, key, lost in found.get("hurt", ()))
        return Waiting(tuple(map(int, found["embed"])), read, hurt)
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
        return Waiting()
