"""From the old files to the new library and back: each step is one rename, and the old files are only read."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from stackroom.errors import NotFoundError, UsageError
from stackroom.storage.disk import fsio, layout

INSIDE = "stackroom"
"""The new library within the old folder."""

_STAGING = ".stackroom.tmp"
_LEAVING = ".stackroom.gone"
REPORT = "migration-report.json"


def target_of(old: Path, library: Path | None) -> Path:
    """Where the new library goes: the given folder, or within the old one (beside it, where that is a file)."""
    if library is not None:
        return library
    return old / INSIDE if old.is_dir() else old.with_name(f"{old.name}.{INSIDE}")


def staging_of(target: Path) -> Path:
    """Where it is built: on the same disk, so that one rename activates it."""
    return target.with_name(_STAGING if target.name == INSIDE else f".{target.name}{_STAGING}")


def migrated(path: Path) -> Path | None:
    """The library that a migration in place made for this old folder or file, if there is one."""
    target = target_of(path, None)
    return target if layout.is_library(target) else None


def require_free(target: Path) -> None:
    """Raises UsageError where something else is in the new library's place."""
    if not target.exists():
        return
    if target.is_dir() and not any(target.iterdir()):
        return
    what = "holds a library already" if layout.is_library(target) else "is not empty"
    raise UsageError(
        f"{target} {what}.",
        hint="Choose another folder with --library (library=...), or move that one away.",
        actual=str(target),
    )


def activate(staging: Path, target: Path) -> None:
    """The library appears whole or not at all. Raises StorageError."""
    with fsio.translated(target):
        if target.is_dir():
            target.rmdir()  # empty, as `require_free` saw
        os.rename(staging, target)
        fsio.sync_directory(target.parent)


def remove(folder: Path) -> None:
    """Take a library away: renamed first, so that a half-removed one is never opened."""
    if not folder.exists():
        return
    leaving = folder.with_name(_LEAVING)
    with fsio.translated(folder):
        if leaving.exists():
            shutil.rmtree(leaving)
        os.rename(folder, leaving)
        # Before anything in it goes: a power cut must not bring its old name back, and half of its content.
        fsio.sync_directory(folder.parent)
        shutil.rmtree(leaving)


def sweep(target: Path) -> None:
    """Finish a removal that was interrupted."""
    shutil.rmtree(target.with_name(_LEAVING), ignore_errors=True)


def write_report(library: Path, report: Any) -> None:
    """The report as a file in the library, durable."""
    path = library / REPORT
    with fsio.translated(path):
        # Ids and names of the old store are in it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
            json.dump(report, file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        fsio.sync_directory(library)


def discard(files: list[Path]) -> int:
    """Delete the old files; returns the bytes. Raises StorageError."""
    freed = 0
    for path in files:
        with fsio.translated(path):
            freed += path.stat().st_size
            path.unlink()
    return freed


def require_migrated(path: Path) -> Path:
    """Raises NotFoundError where nothing was migrated in place."""
    found = migrated(path)
    if found is None:
        raise not_migrated(path)
    return found


def not_migrated(path: Path) -> NotFoundError:
    return NotFoundError(
        f"{path} was not migrated in place.",
        hint=f"To migrate it: stackroom migrate {shlex.quote(str(path))}",
        path=path,
    )
