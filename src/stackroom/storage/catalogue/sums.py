"""Checksums of the small tables whose rows have none of their own: settings, spaces, collections and sets, who is in them, and the last keys.

They are one row of `settings`, which each commit writes anew. Only `verify` reads it. A library without that row is not checked so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from stackroom.errors import DamagedError
from stackroom.storage.catalogue.codec import framed, record_checksum
from stackroom.storage.catalogue.sql import Connection
from stackroom.types import EmbedderIdentity

NAME = "sums"

_MODELS = "models"
"""Beside the checksums: a digest of the spaces, which no two flipped bits have in common."""

_LONGEST = 10_000
"""Characters of a model's record in which a flipped bit is looked for."""

_SAID = {field.name for field in dataclasses.fields(EmbedderIdentity)}
"""What a model's record says."""

_SPACES = "SELECT * FROM spaces ORDER BY space_key"
_SMALL = {
    "settings": f"SELECT name, value FROM settings WHERE name <> '{NAME}' ORDER BY name",
    "spaces": _SPACES,
    "collections": "SELECT * FROM collections ORDER BY collection_key",
    "sets": "SELECT * FROM sets ORDER BY set_key",
    "sqlite_sequence": "SELECT name, seq FROM sqlite_sequence ORDER BY name",
}
# Added up by SQLite: there may be as many members as sources, or more. No product leaves 63 bits.
_LARGE = {
    "set_members": "SELECT count(*), sum(((source_key % 1048573) * 2654435761 + source_key * 31 + set_key * 977) % 4294967291) FROM set_members",
    "collection_members": """
        SELECT count(*), sum(((first_key % 1048573) * 2654435761 + first_key * 31 + n * 2477 + collection_key * 977) % 4294967291)
        FROM collection_members""",
}


def put(connection: Connection, *, members: bool = False) -> None:
    """Write them anew; those of the members only where they may have changed."""
    try:
        before = _stored(connection)
    except DamagedError:
        before = {}
    found: dict[str, Any] = {name: _small(connection, name) for name in _SMALL}
    for name in _LARGE:
        found[name] = _large(connection, name) if members or name not in before else before[name]
    found[_MODELS] = _digest(connection.execute(_SPACES))
    _write(connection, found)


@contextlib.contextmanager
def settings_followed(connection: Connection) -> Iterator[None]:
    """Have the checksum of `settings` follow what the block writes there, and no other.

    So a copy says of each table what its library said of it. Settings that were not what was written are told of as before.
    """
    try:
        stored = _stored(connection)
    except DamagedError:
        stored = {}
    whole = stored.get("settings") == _small(connection, "settings")
    yield
    if whole:
        _write(connection, {**stored, "settings": _small(connection, "settings")})


def differing(connection: Connection, unread: tuple[type[BaseException], ...] = ()) -> Iterator[str]:
    """The tables that are not what was written; with errors that are `unread`, also those that can't be read. Raises DamagedError."""
    stored = _stored(connection)
    for name in stored:
        try:
            now = _now(connection, name)
        except unread:
            yield name
            continue
        if now is not None and now != stored[name]:
            yield name


def is_as_written(connection: Connection, name: str, of: Connection) -> bool | None:
    """Whether a table is what was written in the catalogue `of`; None where that does not say. Raises DamagedError."""
    stored = _stored(of).get(name)
    return None if stored is None else _now(connection, name) == stored


def _now(connection: Connection, name: str) -> Any:
    """What is to be stored of a table; None where it is none of these."""
    return _small(connection, name) if name in _SMALL else _large(connection, name) if name in _LARGE else None


def flipped_identity(connection: Connection) -> tuple[int, str] | None:
    """The space whose model's record differs in one bit from what was written, and what was written; None where that explains nothing.

    A CRC tells two bits of two records apart only where these stand at different distances from its end, which is why there is a digest as
    well. Without one (older libraries) nothing is known where another bit would explain as much.
    """
    everything = _stored(connection)
    stored, digest = everything.get("spaces"), everything.get(_MODELS)
    rows = connection.rows(_SPACES)
    if stored is None or stored == _sum(rows):
        return None
    found: list[tuple[int, str]] = []
    for at, (key, state, identity, *rest) in enumerate(rows):
        # As long as no model's is: a stranger's would take hours.
        if not isinstance(identity, str) or len(identity) > _LONGEST:
            continue
        if not all(_is_record(row[2]) for row in (*rows[:at], *rows[at + 1 :])):
            continue
        written = bytearray(identity.encode())
        for bit in range(8 * len(written)):
            written[bit // 8] ^= 1 << bit % 8
            with contextlib.suppress(UnicodeDecodeError):
                before = written.decode()
                whole = [*rows[:at], (key, state, before, *rest), *rows[at + 1 :]]
                if _sum(whole) == stored and _is_record(before) and digest in (None, _digest(whole)):
                    found.append((key, before))
            written[bit // 8] ^= 1 << bit % 8
    return found[0] if len(found) == 1 else None


def _is_record(identity: object) -> bool:
    """Whether it says of a model what such records say, and nothing else."""
    try:
        return isinstance(identity, str) and json.loads(identity).keys() <= _SAID
    except (ValueError, AttributeError, RecursionError):
        return False


def _stored(connection: Connection) -> dict[str, Any]:
    """Raises DamagedError where it is nothing of ours."""
    value = connection.value("SELECT value FROM settings WHERE name = ?", (NAME,))
    try:
        return {} if value is None else dict(json.loads(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise DamagedError(
            "The checksums of the small tables are not what was written.", hint="See what is hit: stackroom verify"
        ) from error


def _write(connection: Connection, found: dict[str, Any]) -> None:
    connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (NAME, json.dumps(found)))


def _small(connection: Connection, name: str) -> int:
    return _sum(connection.execute(_SMALL[name]))


def _sum(rows: Iterable[tuple[Any, ...]]) -> int:
    total = 0
    for row in rows:
        total = zlib.crc32(record_checksum(*row).to_bytes(4, "little"), total)
    return total


def _digest(rows: Iterable[tuple[Any, ...]]) -> str:
    return hashlib.blake2b(b"".join(framed(row) for row in rows), digest_size=16).hexdigest()


def _large(connection: Connection, name: str) -> list[Any]:
    return list(connection.row(_LARGE[name]) or ())
