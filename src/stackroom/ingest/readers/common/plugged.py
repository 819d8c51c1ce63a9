"""Readers that an application brings: named as `module:object`, so that a parser process can import them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from stackroom.errors import UsageError
from stackroom.protocols import Reader


def load(names: Sequence[str]) -> tuple[Reader, ...]:
    """Import them. Raises UsageError for what can't be imported, or is no reader."""
    return tuple(map(_load, names))


def _load(name: str) -> Reader:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"There is no reader {name!r}: {error}.", hint="Name one as module:object, from a module that is installed."
        ) from error
    if not isinstance(found, Reader):
        raise UsageError(f"{name!r} is no reader.", hint="It needs name, version, suffixes, accepts and read.")
    return found
