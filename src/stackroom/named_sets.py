"""Named sets of sources: lists that a library keeps, for a search to be held to.

Each is an attachment of the library, so that verification, repair, backup, push and pull treat it as all else. It lists ids: a file that moves stays in
its sets, and one that is removed is in none any more.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from stackroom.backend import Backend, View
from stackroom.errors import DamagedError, NotFoundError, UsageError

PREFIX = "set/"
ACTIVE = "active"
"""The set that every library has: its members are switched, not listed."""
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class NamedSet:
    """`source_ids` are those that are there, in the order they were saved in."""

    name: str
    source_ids: tuple[str, ...]


def named_sets(view: View) -> list[NamedSet]:
    """All of them by name, but for the active one. Raises DamagedError."""
    kept = [(name.removeprefix(PREFIX), _loaded(name, data)) for name, data in view.attachments(PREFIX)]
    there = {record.source_id for record in view.each_source()} if kept else set()
    return [NamedSet(name, tuple(one for one in ids if one in there)) for name, ids in kept]


def members(view: View, name: str) -> list[str]:
    """The ids that a set was saved with; some may be gone. Raises NotFoundError."""
    data = view.attachment(PREFIX + name)
    if data is None:
        raise _unknown(name)
    return _loaded(PREFIX + name, data)


def save(backend: Backend, name: str, source_ids: Sequence[str], *, join: bool = False) -> int:
    """Keep these ids under this name, in place of what it had or, with `join`, beside it; returns how many it has now. Raises UsageError."""
    if not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise UsageError(
            f"{name[:_LONGEST]!r} is no name of a set.", hint=f"Give up to {_LONGEST} characters that can be seen."
        )
    if name == ACTIVE:
        raise UsageError("The active set is switched, not saved.", hint="Use: stackroom active on SOURCE...")
    with backend.commit() as commit:
        before: list[str] = []
        if join:
            with backend.view() as view:
                data = view.attachment(PREFIX + name)
                before = [] if data is None else _loaded(PREFIX + name, data)
        kept = list(dict.fromkeys([*before, *source_ids]))
        commit.attach(PREFIX + name, json.dumps(kept, separators=(",", ":")).encode())
    return len(kept)


def delete(backend: Backend, names: Sequence[str]) -> None:
    """Forget these sets; their sources stay. Raises NotFoundError where there is none of that name; then nothing is deleted."""
    with backend.commit() as commit:
        for name in dict.fromkeys(names):
            if not commit.detach(PREFIX + name):
                raise _unknown(name)


def forget_removed(backend: Backend) -> None:
    """Take out of every set what is not in the library any more."""
    with backend.view() as view:
        kept = {one.name: one for one in named_sets(view)}
        stale = [one for name, one in kept.items() if len(members(view, name)) > len(one.source_ids)]
    for one in stale:
        save(backend, one.name, one.source_ids)


def _loaded(kept_as: str, data: bytes) -> list[str]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        name = kept_as.removeprefix(PREFIX)
        raise DamagedError(
            f"The set {name!r} can't be read: it is not as it was saved.",
            hint=f"Forget it: stackroom set {shlex.quote(name)} --delete",
            actual=name,
        )
    return found


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"There is no set {name!r}.", hint="See what there is: stackroom set", actual=name)
