"""When two embedders may stand for each other."""

from __future__ import annotations

import shlex
from dataclasses import replace

from stackroom.errors import EmbedderMismatchError
from stackroom.types import EmbedderIdentity


def interchangeable(stored: EmbedderIdentity, given: EmbedderIdentity) -> bool:
    """Whether they make the same vectors. Where model and revision pin the weights, what they are called is no matter."""
    if stored.model and stored.revision:
        given = replace(given, name=stored.name, max_tokens=stored.max_tokens)
    return stored == given


def require_same(stored: EmbedderIdentity, given: EmbedderIdentity) -> None:
    """Raises EmbedderMismatchError, which names the ways out. An unnamed model is judged by its dimension alone."""
    if interchangeable(stored, given) if stored.name else stored.dim == given.dim:
        return
    change = f"stackroom rebuild --embedder {shlex.quote(given.name)}"
    made = f"with the model {stored.name!r}" if stored.name else "with a model that it does not name"
    raise EmbedderMismatchError(
        f"The library was made {made} ({stored.dim} dimensions), not with {given.name!r} ({given.dim} dimensions).",
        hint=f"Leave the model out to use the library's own, or change it: {change}"
        if stored.name
        else f"Give the model that made its vectors, or embed all anew: {change}",
        expected=stored,
        actual=given,
    )
