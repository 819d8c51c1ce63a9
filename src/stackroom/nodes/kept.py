"""A node's record as it is kept beside its passage: without what is stored elsewhere, and the same when it goes out again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_TEXT, _VECTOR = {"$": "text"}, {"$": "vector"}
"""In a kept record these stand for what is stored elsewhere."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def fold(node: Mapping[str, Any], *, text: str) -> dict[str, Any]:
    """A node without what is stored elsewhere: text and vector become marks that `unfold` fills in again."""
    folded = dict(node)
    if text and folded.get("text") == text:
        folded["text"] = _TEXT
    if isinstance(folded.get("embedding"), list):
        folded["embedding"] = _VECTOR
    return folded


def unfold(node: Mapping[str, Any], *, text: str, vector: Any) -> dict[str, Any]:
    """The node that `fold` took apart."""
    whole = dict(node)
    if whole.get("text") == _TEXT:
        whole["text"] = text
    if whole.get("embedding") == _VECTOR:
        whole["embedding"] = vector
    return whole


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: Python finds 1, 1.0 and True equal, and a record must come back as it was."""
    if isinstance(one, str):
        return bool(one == other)
    return bool(one == other) and repr(one) == repr(other)


def clean(value: Any) -> Any:
    """JSON as it may be stored: NaN and infinity, which are none, become null. The original record keeps them."""
    # Judged by exact types: this looks at every value of every passage.
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is list:
        return [clean(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): clean(item) for name, item in value.items()}
    return value


def dump(value: Any) -> bytes:
    """An original record as it is kept: whatever the json module could read, written so that it reads the same."""
    return _ENCODER.encode(value).encode()
