"""Values as PostgreSQL can hold them: text without NUL and lone surrogates, and JSON without them and without infinity."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_ESCAPE = "\U0010ffff"
"""A code point that is no character; what can't be held is its number behind it."""
_REFUSED = re.compile(f"[\x00\ud800-\udfff{_ESCAPE}]")
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{6}})")
_INFINITE = 10**400
"""Beyond every float: what JSON has for infinity, so that it is greater than all that is compared with it."""
_NOT_A_NUMBER = {f"{_ESCAPE}nan": True}


def pack(text: str) -> str:
    """Text as it is stored: as it is, but for what PostgreSQL refuses. No two texts are stored alike."""
    return _REFUSED.sub(lambda found: f"{_ESCAPE}{ord(found[0]):06x}", text)


def unpack(stored: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), stored) if _ESCAPE in stored else stored


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
