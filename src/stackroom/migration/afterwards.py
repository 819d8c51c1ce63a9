"""What can be done with a migration that is finished: see that it is, take it back, or delete what it was made from."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from stackroom.backend import SourceRecord, View
from stackroom.errors import DamagedError, NotFoundError, UsageError
from stackroom.identity import require_same
from stackroom.ingest.embedders import resolve
from stackroom.ingest.file_facts import IMPORTED
from stackroom.migration import switch
from stackroom.migration.judging import Choices
from stackroom.migration.origin import Origin, anew, origin_of
from stackroom.migration.probe import claimed, proven
from stackroom.progress import CancelToken, Progress, silent
from stackroom.protocols import AnyEmbedder, Embedder
from stackroom.reports import MigrationReport
from stackroom.storage.disk import fsio, layout
from stackroom.storage.disk.lock import FileLock
from stackroom.storage.store import LocalStore
from stackroom.types import Source


def done_before(
    old: Path, target: Path, format: str | None, choices: Choices, embedder: str | AnyEmbedder | None
) -> MigrationReport | None:
    """The report of an earlier migration of the same index to the same place.

    An `embedder` that is named only now is checked against the library's vectors, and remembered.
    Raises UsageError where the place holds the migration of something else, or the old files changed; EmbedderMismatchError.
    """
    origin = origin_of(target)
    if origin is None:
        return None
    _require_same(origin, old, target, format, choices)
    if not origin.missing and (origin.appeared() or origin.changed(by_content=True)):
        raise UsageError(
            f"{old} was migrated to {target}, and has changed since.",
            hint=anew(old),
            path=old,
        )
    if embedder is not None:
        _confirm(target, resolve(embedder))
    try:
        told = json.loads((target / switch.REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    with contextlib.closing(LocalStore(target, mode="r")) as backend, backend.view() as view:
        model = view.identity.name or None if view.identity is not None else None
    return MigrationReport(
        old=str(old),
        library=str(target),
        format=origin.format,
        made_by=str(told.get("made_by", "")),
        bytes_before=int(told.get("bytes_before", 0)),
        bytes_after=int(told.get("bytes_after", 0)),
        chunks=int(told.get("chunks", 0)),
        documents=int(told.get("documents", 0)),
        vectors=int(told.get("vectors", 0)),
        unchanged=int(told.get("added", 0)),
        left_out=tuple(origin.left_out),
        model=model,
        already=True,
    )


def _confirm(library: Path, embedder: Embedder) -> None:
    """Raises EmbedderMismatchError where this model did not make the library's vectors; else it is known from now on."""
    with contextlib.closing(LocalStore(library, mode="w")) as backend:
        with backend.view() as view:
            identity = view.identity
        if identity is None:
            return
        # One of this name was found to agree, perhaps with other prefixes than its files name.
        if identity.name != embedder.identity.name:
            require_same(identity, embedder.identity)
        if not identity.name:
            claimed(backend, embedder)
        else:
            with backend.view() as view:
                proven(view, embedder)


def make_quick(library: Path, progress: Progress, cancel: CancelToken) -> None:
    """Sketches and postings files, as far as they can be made: the library is whole and proven without."""
    with contextlib.closing(LocalStore(switch.migrated(library) or library, mode="w")) as backend:
        backend.maintain(progress=progress, cancel=cancel)


def _require_same(origin: Origin, old: Path, target: Path, format: str | None, choices: Choices) -> None:
    """Raises UsageError where a library was made from another index, or in another way, than is asked for now."""
    wanted = asdict(choices)
    differs = [
        f"{name}={origin.choices.get(name)!r}, where {f'{value!r} is' if value is not None else 'nothing is'} asked for now"
        for name, value in wanted.items()
        if origin.choices.get(name) != value
    ]
    if format not in (None, origin.format):
        differs.insert(0, f"format={origin.format!r}, where {format!r} is asked for now")
    if not _same_path(origin.old, old):
        what = str(origin.old)
    elif differs:
        what = f"{origin.old} with {'; '.join(differs)}"
    else:
        return
    raise UsageError(
        f"{target} holds the migration of {what}.",
        hint="Choose another folder with --library (library=...), or remove that library first.",
        path=target,
        expected=str(old),
        actual=str(origin.old),
    )


def _same_path(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def added_since(library: Path, origin: Origin) -> list[Source]:
    """The sources of a migrated library that did not come from the old store as they are, whoever wrote them."""
    backend = LocalStore(library, mode="r")

    def is_new(view: View, record: SourceRecord) -> bool:
        # Adapters call what they write imported too, so the recipe alone does not say.
        return not record.recipe.startswith(IMPORTED) or any(
            key > origin.last_key for document in view.documents(record.key) for key in view.keys_of(document.key)
        )

    with contextlib.closing(backend), backend.view() as view:
        return view.listing([record for record in view.each_source() if is_new(view, record)])


def roll_back(old: Path, confirm: Callable[[Sequence[Source]], bool] | None) -> bool:
    if switch.migrated(old) is None and drop_unfinished(switch.target_of(old, None)):
        return True
    library, origin = _require_migrated(old)
    _require_old_files(old, library, origin)
    new = added_since(library, origin)
    if new and confirm is None:
        raise UsageError(
            f"{len(new)} sources were added to {library} or changed since the migration, {new[0].path} first of them.",
            hint="Export what is to be kept, then take it back all the same with --yes (confirm=...).",
            path=library,
        )
    if new and confirm is not None and not confirm(new):
        return False
    backend = LocalStore(library)
    with contextlib.closing(backend), backend.lease("migrate --roll-back"), backend.exclusive():
        switch.remove(library)
    return True


def drop_unfinished(target: Path) -> bool:
    """Remove what a migration that was stopped had written; False where there is none. Raises BusyError where one runs."""
    staging = switch.staging_of(target)
    if not staging.exists():
        return False
    with FileLock(staging / layout.INGEST_LOCK).hold("migrate --roll-back", wait=0.0):
        switch.remove(staging)
    return True


def _require_migrated(old: Path) -> tuple[Path, Origin]:
    """The library of a migration in place. Raises NotFoundError."""
    library = switch.require_migrated(old)
    origin = origin_of(library)
    if origin is None:
        raise switch.not_migrated(old)
    return library, origin


def _require_old_files(old: Path, library: Path, origin: Origin) -> None:
    """Raises UsageError where the library is all that is left of what was migrated."""
    missing = origin.missing
    changed = missing or origin.changed(by_content=True)
    if not changed:
        return
    what = "is gone" if missing else "was written anew since"
    raise UsageError(
        f"{changed[0]} {what}. The library {library} may be all that is left of the old index.",
        hint=f"Nothing was removed. To go back: stackroom --library {shlex.quote(str(library))} export FOLDER, look at "
        "what is there, then delete the library's folder yourself.",
        path=old,
        actual=[str(path) for path in changed],
    )


def would_discard(old: Path, *, even_what_was_left_out: bool = False) -> tuple[int, Sequence[str]]:
    """The bytes that `discard_old` frees, and what is lost with them. Raises what it raises before it looks at the library."""
    _, origin, files = _discardable(old, even_what_was_left_out)
    with fsio.translated(old):
        return sum(path.stat().st_size for path in files), origin.left_out


def discard_old(old: Path, *, even_what_was_left_out: bool = False) -> int:
    library, _, files = _discardable(old, even_what_was_left_out)
    backend = LocalStore(library, mode="r")
    with contextlib.closing(backend):
        found = backend.verify(progress=silent, cancel=CancelToken())
    if not found.ok:
        raise DamagedError(
            f"The library {library} is damaged: {found.damage[0].message}",
            hint=f"The old files stay. Migrate again: stackroom migrate {shlex.quote(str(old))} --roll-back",
            path=library,
        )
    return switch.discard(files)


def _discardable(old: Path, even_what_was_left_out: bool) -> tuple[Path, Origin, list[Path]]:
    """The library, what it was made from, and the old files that are still there."""
    library, origin = _require_migrated(old)
    missing = set(origin.missing)
    files = [file.path for file in origin.files if file.path not in missing]
    if not files:
        raise NotFoundError(f"The old files of {old} are gone already.", hint="There is nothing to do.", path=old)
    if origin.appeared() or origin.changed(by_content=True):
        raise UsageError(f"{old} has changed since it was migrated.", hint=anew(old), path=old)
    if origin.left_out and not even_what_was_left_out:
        raise UsageError(
            f"The old files hold what was not migrated: {'; '.join(origin.left_out)}.",
            hint="It would be gone for good. To delete it too: --even-what-was-left-out (even_what_was_left_out=True).",
            path=old,
            actual=list(origin.left_out),
        )
    return library, origin, files
