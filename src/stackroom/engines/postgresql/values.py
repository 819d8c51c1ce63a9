"""Values as PostgreSQL can hold them: text without NUL and lone surrogates, and JSON without them and without infinity."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_HIGH = "\ud7ff"
"""The last code point before the surrogates."""
_REFUSED = re.compile(f"[\x00-\x02{_HIGH}\ud800-\udfff]")
_PACKED = re.compile(f"\x01[\x01\x02]|\x02\x01|{_HIGH}(?:\x01|\x02[\x01\x02]{{11}})")
_CONTROLS = {"\x00": "\x01\x01", "\x01": "\x01\x02", "\x02": "\x02\x01"}
_GIVEN = {stored: given for given, stored in _CONTROLS.items()} | {f"{_HIGH}\x01": _HIGH}
_BITS = str.maketrans("01", "\x01\x02")
_INFINITE = 10**400
"""Beyond every float: what JSON has for infinity, so that it is greater than all that is compared with it."""
_NOT_A_NUMBER = {"\x01nan": True}
"""Its name is one that no name is packed as."""


def pack(text: str) -> str:
    """Text as it is stored: as it is, but for what PostgreSQL refuses, and what stands for that.

    No two texts are stored alike; what is stored has the order of the texts; and a plain text is found in what is stored
    where it is in the text.
    """
    return _REFUSED.sub(_stored, text)


def _stored(found: re.Match[str]) -> str:
    code = found[0]
    if code in _CONTROLS:
        return _CONTROLS[code]
    return f"{_HIGH}\x01" if code == _HIGH else f"{_HIGH}\x02" + f"{ord(code) - 0xD800:011b}".translate(_BITS)


def unpack(stored: str) -> str:
    return (
        stored if is_plain(stored) else _PACKED.sub(lambda found: _GIVEN.get(found[0]) or _surrogate(found[0]), stored)
    )


def _surrogate(stored: str) -> str:
    return chr(0xD800 + int("".join("01"[bit == "\x02"] for bit in stored[2:]), 2))


def is_plain(text: str) -> bool:
    """Whether it is stored as it is."""
    return _REFUSED.search(text) is None


def dump_facts(facts: Mapping[str, Any]) -> str:
    """Metadata as jsonb, to be filtered by; the JSON that is given back is kept beside it."""
    return json.dumps(_held(dict(facts)), ensure_ascii=False)


def dump_value(value: Any) -> str:
    """One value, as `dump_facts` holds it."""
    return json.dumps(_held(value), ensure_ascii=False)


def load_value(text: str) -> Any:
    """What `dump_value` was given; infinity comes back as a number beyond every float."""
    return _given(json.loads(text))


def _held(value: Any) -> Any:
    if isinstance(value, str):
        return pack(value)
    if isinstance(value, float) and not math.isfinite(value):
        return _NOT_A_NUMBER if math.isnan(value) else (_INFINITE if value > 0 else -_INFINITE)
    if isinstance(value, Mapping):
        return {pack(str(name)): _held(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_held(item) for item in value]
    return value


def _given(value: Any) -> Any:
    if isinstance(value, str):
        return unpack(value)
    if isinstance(value, dict):
        return math.nan if value == _NOT_A_NUMBER else {unpack(name): _given(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_given(item) for item in value]
    return value
