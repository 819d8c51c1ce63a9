"""Removing sources whose files are gone, with the care that an unmounted drive deserves."""

from __future__ import annotations

import os
from collections.abc import Callable

from stackroom.backend import Backend
from stackroom.errors import UsageError
from stackroom.ingest.discovery import Discovery

_FREELY = 0.2


def prune(backend: Backend, discovery: Discovery, confirm: Callable[[int, int], bool] | None) -> int:
    """Remove the sources under the walked folders that are gone from disk; returns how many.

    Nothing is removed below a folder that could not be read. Above a fifth of the sources `confirm` decides; without it,
    UsageError.
    """
    unreadable = tuple(failure.path.rstrip(os.sep) + os.sep for failure in discovery.unreadable)
    gone: list[int] = []
    total = 0
    with backend.view() as view:
        for root in discovery.roots:
            if not root.is_dir():
                continue
            for record in view.each_source(under=str(root)):
                total += 1
                missing = record.is_file and not os.path.lexists(record.name)
                if missing and not record.name.startswith(unreadable):
                    gone.append(record.key)
    if len(gone) > total * _FREELY:
        if confirm is None:
            raise UsageError(
                f"{len(gone)} of {total} sources are gone from disk; nothing was removed.",
                hint="Check that the drive is there. If it is, say so with --yes.",
                expected=total,
                actual=len(gone),
            )
        if not confirm(len(gone), total):
            return 0
    for key in gone:
        with backend.commit() as commit:
            commit.remove_source(key)
    return len(gone)
