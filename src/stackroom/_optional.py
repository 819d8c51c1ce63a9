"""Optional dependencies: imported at first use, and named by their extra when they are absent."""

from __future__ import annotations

import importlib
from types import ModuleType

from stackroom.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or raise MissingExtraError with the pip command that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.partition(".")[0] != error.name.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"This needs the package {error.name!r}, which is not installed.",
            hint=f"Install it with: pip install 'stackroom[{extra}]'",
            expected=module,
        ) from None
