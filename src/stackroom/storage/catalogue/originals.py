"""What another program wrote or keeps here, and Stackroom has no column for: compressed, and given back as it was.

Records belong to a document or a chunk and go with it; attachments stand under a name of the program's own.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from stackroom.backend import Owner
from stackroom.errors import DamagedError
from stackroom.storage.catalogue.codec import Codec, record_checksum
from stackroom.storage.catalogue.ids import pack_text, unpack_text
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection

_OWNERS: dict[Owner, int] = {"document": 0, "chunk": 1}

TALLY = "originals"
"""The setting that says how many records there are, and of which sum: no index and no other table would miss one."""

NUMBER = "attachments"
"""The setting that says how many attachments there are: each has a checksum of its own, and no other table would miss one."""

_HEADS = "SELECT owner, key, checksum FROM originals"


def keep(connection: Connection, blobs: Codec, owner: Owner, records: Sequence[tuple[int, bytes]]) -> None:
    frames = blobs.encode_many("original", [data for _, data in records])
    with _tallied(connection, owner, _ranges([key for key, _ in records])):
        connection.executemany(
            "INSERT OR REPLACE INTO originals VALUES(?, ?, ?, ?)",
            (
                (_OWNERS[owner], key, zlib.crc32(data), frame)
                for (key, data), frame in zip(records, frames, strict=True)
            ),
        )


def _ranges(keys: Sequence[int]) -> list[tuple[int, int]]:
    """[first, end) of keys."""
    return [(first, end) for first, end in KeySet.from_keys(np.array(keys, dtype=np.int64)).ranges.tolist()]


def kept(connection: Connection, blobs: Codec, owner: Owner, keys: Sequence[int]) -> dict[int, bytes]:
    """By key. Raises DamagedError where one is not what was written."""
    return {
        key: _verified(blobs, checksum, data, f"The original record of the {owner} {key}")
        for first, end in _ranges(keys)
        for key, checksum, data in connection.execute(
            "SELECT key, checksum, data FROM originals WHERE owner = ? AND key >= ? AND key < ?",
            (_OWNERS[owner], first, end),
        )
    }


def forget(connection: Connection, owner: Owner, first: int, end: int) -> None:
    """The records of keys in [first, end)."""
    with _tallied(connection, owner, [(first, end)]):
        connection.execute(
            "DELETE FROM originals WHERE owner = ? AND key >= ? AND key < ?", (_OWNERS[owner], first, end)
        )


Tally = tuple[int, int]
"""How many records, and the sum of the checksums of their heads."""


@contextlib.contextmanager
def _tallied(connection: Connection, owner: Owner, ranges: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Have the setting follow what the block does to the records of these keys."""

    def there() -> Tally:
        n = total = 0
        for first, end in ranges:
            asked = f"{_HEADS} WHERE owner = ? AND key >= ? AND key < ?"
            found = _sum(connection.execute(asked, (_OWNERS[owner], first, end)))
            n, total = n + found[0], total + found[1]
        return n, total

    before = there()
    yield
    after = there()
    if after != before:
        stored = stored_tally(connection)
        # Of a library that has not said it yet all are counted, once.
        n, total = tally(connection) if stored is None else (stored[i] + after[i] - before[i] for i in (0, 1))
        _write_tally(connection, (n, total))


def stored_tally(connection: Connection) -> Tally | None:
    """What the setting says; None where there is none, or nothing of ours."""
    value = connection.value("SELECT value FROM settings WHERE name = ?", (TALLY,))
    try:
        n, total = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return (n, total) if type(n) is int and type(total) is int else None


def tally(connection: Connection) -> Tally:
    """What it should say of the records that there are."""
    return _sum(connection.execute(_HEADS))


def put_tally(connection: Connection) -> None:
    """Have the setting say it."""
    _write_tally(connection, tally(connection))


def _write_tally(connection: Connection, now: Tally) -> None:
    connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (TALLY, json.dumps(now)))


def _sum(heads: Iterable[tuple[Any, ...]]) -> Tally:
    n = total = 0
    for head in heads:
        n += 1
        total += record_checksum(*head)
    return n, total


def attach(connection: Connection, blobs: Codec, name: str, data: bytes) -> None:
    packed, frame = pack_text(name), blobs.encode("original", data)
    is_new = connection.row("SELECT 1 FROM attachments WHERE name = ?", (packed,)) is None
    connection.execute("INSERT OR REPLACE INTO attachments VALUES(?, ?, ?)", (packed, zlib.crc32(data), frame))
    if is_new:
        _add_to_number(connection, 1)


def detach(connection: Connection, name: str) -> bool:
    connection.execute("DELETE FROM attachments WHERE name = ?", (pack_text(name),))
    found = bool(connection.changes())
    if found:
        _add_to_number(connection, -1)
    return found


def _add_to_number(connection: Connection, more: int) -> None:
    stored = stored_number(connection)
    # Of a library that has not said it yet all are counted, once.
    _write_number(connection, number(connection) if stored is None else stored + more)


def stored_number(connection: Connection) -> int | None:
    """How many attachments there are by the setting; None where there is none, or nothing of ours."""
    value = connection.value("SELECT value FROM settings WHERE name = ?", (NUMBER,))
    return value if isinstance(value, int) else None


def number(connection: Connection) -> int:
    """What it should say."""
    return int(connection.value("SELECT count(*) FROM attachments"))


def put_number(connection: Connection) -> None:
    """Have the setting say it."""
    _write_number(connection, number(connection))


def _write_number(connection: Connection, now: int) -> None:
    connection.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (NUMBER, now))


def attachment(connection: Connection, blobs: Codec, name: str) -> bytes | None:
    """Raises DamagedError."""
    row = connection.row("SELECT checksum, data FROM attachments WHERE name = ?", (pack_text(name),))
    return None if row is None else _verified(blobs, row[0], row[1], f"The attachment {name!r}")


# Names that SQLite can't hold as text are bytes behind a marker, and sort after all others.
_BEGINNING_SO = """
    SELECT name, checksum, data FROM attachments WHERE name >= ?1 AND name < ?2
    UNION ALL
    SELECT name, checksum, data FROM attachments WHERE name >= ?3 AND name < ?4
    ORDER BY name"""


def attachments(connection: Connection, blobs: Codec, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Those whose names begin so, by name. Raises DamagedError."""
    for name, checksum, data in connection.each(_BEGINNING_SO, (*_as_text(prefix), *_as_bytes(prefix))):
        called = unpack_text(name)
        yield called, _verified(blobs, checksum, data, f"The attachment {called!r}")


_PAST_TEXT = b""  # SQLite sorts the empty blob behind every text and before every other blob


def _as_text(prefix: str) -> tuple[str | bytes, str | bytes]:
    """[first, end) of the names kept as text that begin so."""
    if isinstance(pack_text(prefix), bytes):
        return _PAST_TEXT, _PAST_TEXT
    # Nothing follows the last code point: the next name is that of a shorter prefix.
    shorter = prefix.rstrip("\U0010ffff")
    if not shorter:
        return prefix, _PAST_TEXT
    following = ord(shorter[-1]) + 1
    # Surrogates stand between the two halves of what text may hold.
    return prefix, shorter[:-1] + chr(0xE000 if following == 0xD800 else following)


def _as_bytes(prefix: str) -> tuple[bytes, bytes]:
    """[first, end) of the names kept as bytes that begin so."""
    packed = pack_text(prefix + "\x00")
    assert isinstance(packed, bytes)  # for its NUL, which is then cut off
    first = packed[:-1]
    return first, first[:-1] + bytes([first[-1] + 1])  # neither UTF-8 nor the marker ends in 0xff


def _verified(blobs: Codec, checksum: int, frame: bytes, what: str) -> bytes:
    data = blobs.decode(frame)
    if zlib.crc32(data) != checksum:
        raise DamagedError(f"{what} is not what was written.", hint="See what is hit: stackroom verify")
    return data


def damage(connection: Connection, blobs: Codec, chunks: KeySet) -> Iterator[str]:
    """What is wrong with what is kept: records that are gone, those that can't be read, and those of nobody."""
    stored, found = stored_tally(connection), tally(connection)
    if stored is not None and stored != found:
        yield missing(stored[0], found[0])
    for owner, key, checksum, data in connection.execute("SELECT owner, key, checksum, data FROM originals"):
        try:
            _verified(blobs, checksum, data, f"The original record of key {key}")
        except DamagedError as error:
            yield error.message
        if owner == _OWNERS["chunk"]:
            orphaned = not bool(chunks.contains(np.array([key]))[0])
        else:
            orphaned = connection.row("SELECT 1 FROM documents WHERE document_key = ?", (key,)) is None
        if orphaned:
            yield f"The original record of key {key} belongs to nobody."
    written, there = stored_number(connection), number(connection)
    if written is not None and written != there:
        yield missing_attachments(written, there)
    for name, checksum, data in connection.execute("SELECT name, checksum, data FROM attachments"):
        try:
            _verified(blobs, checksum, data, f"The attachment {unpack_text(name)!r}")
        except DamagedError as error:
            yield error.message


def missing(stored: int, found: int) -> str:
    """What is wrong where so many records were written, and these are there."""
    if found < stored:
        return f"Of {stored:,} records that another program had written {_gone(stored - found)}."
    return "The records that another program had written are not those that are there."


def missing_attachments(stored: int, found: int) -> str:
    """The same of attachments."""
    if found < stored:
        return f"Of {stored:,} attachments {_gone(stored - found)}."
    return f"There are more attachments than were written: {found:,}, not {stored:,}."


def _gone(number: int) -> str:
    return "1 is gone" if number == 1 else f"{number:,} are gone"


def plain(connection: Connection, blobs: Codec) -> None:
    """Put everything that is kept, uncompressed, into temporary tables; `recompress` takes it back from there."""
    connection.execute("CREATE TEMP TABLE plain_originals(owner, key, data)")
    for owner, key, data in connection.execute("SELECT owner, key, data FROM originals"):
        connection.execute("INSERT INTO temp.plain_originals VALUES(?, ?, ?)", (owner, key, blobs.decode(data)))
    connection.execute("CREATE TEMP TABLE plain_attachments(name, data)")
    for name, data in connection.execute("SELECT name, data FROM attachments"):
        connection.execute("INSERT INTO temp.plain_attachments VALUES(?, ?)", (name, blobs.decode(data)))


def recompress(connection: Connection, blobs: Codec) -> None:
    """Write it back with the dictionary of today."""
    for owner, key, data in connection.execute("SELECT owner, key, data FROM temp.plain_originals"):
        connection.execute(
            "UPDATE originals SET data = ? WHERE owner = ? AND key = ?", (blobs.encode("original", data), owner, key)
        )
    for name, data in connection.execute("SELECT name, data FROM temp.plain_attachments"):
        connection.execute("UPDATE attachments SET data = ? WHERE name = ?", (blobs.encode("original", data), name))
    connection.execute("DROP TABLE temp.plain_originals")
    connection.execute("DROP TABLE temp.plain_attachments")
