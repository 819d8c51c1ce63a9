"""What can be done with a migration that is finished: see that it is, take it back, or delete what it was made from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stackroom.errors import DamagedError, NotFoundError, UsageError
from stackroom.ingest.reconcile import IMPORTED
from stackroom.migration import switch
from stackroom.migration.conversion import fingerprint
from stackroom.progress import CancelToken, silent
from stackroom.storage import layout
from stackroom.storage.store import LocalStore
from stackroom.types import MigrationReport, Source

DONE = "migration.json"
"""The attachment in which a library says what it was made from."""


def done_before(old: Path, target: Path) -> MigrationReport | None:
    """The report of an earlier migration of the same files to the same place. Raises UsageError where they changed."""
    done = read_done(target)
    if done is None:
        return None
    files = [Path(name) for name in done["files"]]
    if all(path.exists() for path in files) and fingerprint(files) != done["fingerprint"]:
        raise UsageError(
            f"{old} was migrated to {target}, and has changed since.",
            hint=f"To migrate it anew, take the first migration back: stackroom migrate {old} --roll-back",
            path=old,
        )
    try:
        told = json.loads((target / switch.REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    return MigrationReport(
        old=str(old),
        library=str(target),
        format=str(told.get("format", "")),
        chunks=int(told.get("chunks", 0)),
        documents=int(told.get("documents", 0)),
        vectors=int(told.get("vectors", 0)),
        unchanged=int(told.get("added", 0)),
        already=True,
    )


def read_done(target: Path) -> dict[str, Any] | None:
    """What a finished migration noted in the library it made; None where there is no such library."""
    if not layout.is_library(target):
        return None
    backend = LocalStore(target, mode="r")
    try:
        with backend.view() as view:
            found = dict(view.attachments()).get(DONE)
    finally:
        backend.close()
    return None if found is None else dict(json.loads(found))


def added_since(library: Path) -> list[Source]:
    """The sources of a migrated library that did not come from the old store as they are."""
    backend = LocalStore(library, mode="r")
    try:
        with backend.view() as view:
            return view.listing([record for record in view.each_source() if not record.recipe.startswith(IMPORTED)])
    finally:
        backend.close()


def roll_back(old: Path, confirm: Callable[[Sequence[Source]], bool] | None) -> bool:
    library = switch.require_migrated(old)
    new = added_since(library)
    if new and confirm is None:
        raise UsageError(
            f"{len(new)} sources were added to {library} or changed since the migration, {new[0].path} first of them.",
            hint="Export what is to be kept, then take it back all the same with --yes.",
            path=library,
        )
    if new and confirm is not None and not confirm(new):
        return False
    backend = LocalStore(library)
    with contextlib.closing(backend), backend.lease("migrate --roll-back"), backend.exclusive():
        switch.remove(library)
    return True


def discard_old(old: Path) -> int:
    library = switch.require_migrated(old)
    done = read_done(library)
    files = [Path(name) for name in (done or {}).get("files", [])]
    files = [path for path in files if path.exists()]
    if done is None or not files:
        raise NotFoundError(f"The old files of {old} are gone already.", hint="There is nothing to do.", path=old)
    if fingerprint(files) != done["fingerprint"]:
        raise UsageError(
            f"{old} has changed since it was migrated.",
            hint=f"Another program still writes there. Compare first: stackroom migrate {old} --dry-run",
            path=old,
        )
    backend = LocalStore(library, mode="r")
    with contextlib.closing(backend):
        found = backend.verify(progress=silent, cancel=CancelToken())
    if not found.ok:
        raise DamagedError(
            f"The library {library} is damaged: {found.damage[0].message}",
            hint=f"The old files stay. Migrate again: stackroom migrate {old} --roll-back",
            path=library,
        )
    return switch.discard(files)
