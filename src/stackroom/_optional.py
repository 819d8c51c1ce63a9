"""Optional dependencies: imported at first use, and named by their extra when they are absent."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

from stackroom.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or raise MissingExtraError with the pip command that brings it."""
    with needing(extra):
        return importlib.import_module(module)


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Imports in this block that fail because a package is missing raise MissingExtraError, which names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "stackroom":
            raise
        raise MissingExtraError(
            f"This needs the package {error.name!r}, which is not installed.",
            hint=f"Install it with: pip install 'stackroom[{extra}]'",
            expected=error.name,
        ) from None
