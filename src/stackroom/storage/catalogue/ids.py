"""Ids and names as the catalogue stores them: UUIDs as 16 bytes, and text that SQLite can't hold as bytes."""

from __future__ import annotations

import os
import re
import time

from stackroom.errors import DamagedError

_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> bytes:
    """An id of our own: a version 7 UUID (RFC 9562), whose order of time keeps index pages together."""
    milliseconds = time.time_ns() // 1_000_000
    value = bytearray(milliseconds.to_bytes(6, "big") + os.urandom(10))
    value[6] = 0x70 | (value[6] & 0x0F)
    value[8] = 0x80 | (value[8] & 0x3F)
    return bytes(value)


def pack_id(text: str) -> bytes | str:
    """How an id is stored: a canonical UUID as its 16 bytes, anything else as it is.

    Text that UTF-8 can't hold (lone surrogates) is stored as bytes behind a marker that no 16-byte value has.
    """
    if len(text) == 36 and _CANONICAL.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    return pack_text(text)


def unpack_id(stored: bytes | str) -> str:
    if isinstance(stored, bytes) and len(stored) == 16:
        digits = stored.hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return unpack_text(stored)


_MARKER = b"surrogates:\x00\xff\x00\xff\x00\xff\x00"


def pack_text(text: str) -> bytes | str:
    """Text as SQLite can hold it: TEXT, or bytes behind a marker where it holds lone surrogates or NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _MARKER + text.encode("utf-8", "surrogatepass")
    return text if "\x00" not in text else _MARKER + text.encode()


def unpack_text(stored: bytes | str) -> str:
    if isinstance(stored, str):
        return stored
    try:
        return stored.removeprefix(_MARKER).decode("utf-8", "surrogatepass")
    except (AttributeError, UnicodeDecodeError) as error:
        raise DamagedError("The catalogue holds a name that is no text.", hint="See: stackroom verify") from error
