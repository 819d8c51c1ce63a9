"""What a library keeps of the transfer that made it a copy: of what and of when, and whether it came to its end."""

from __future__ import annotations

import json
from dataclasses import replace

from stackroom.reports import Copied

RECORD = "transfer-origin"
"""The attachment that holds it. It is the library's own, and is sent nowhere."""

_FACTS = {"url": str, "version": int, "taken_at": str, "begun_at": str, "own": int}


def written(found: Copied, own: int) -> bytes:
    """As it is kept. `own` is the number of the very commit that keeps it: with the next one the library is not what was proven any more."""
    facts = {"url": found.url, "version": found.version, "taken_at": found.taken_at, "begun_at": found.begun_at}
    return json.dumps({**facts, "own": own, "origin_unfinished": found.origin_unfinished}).encode()


def read(data: bytes | None, version: int) -> Copied | None:
    """What a library of this version says; None where it is no copy, or says nothing that means something: it may come from a stranger."""
    try:
        found = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in _FACTS.items()):
        return None
    own = found.pop("own")
    told = Copied(*(found[name] for name in _FACTS if name != "own"))
    # What a push brought is used where it is: conversations, sets and the active set are kept there.
    changed = bool(told.url) and not told.begun_at and own != version
    return replace(told, changed=changed, origin_unfinished=found.get("origin_unfinished") is True)
