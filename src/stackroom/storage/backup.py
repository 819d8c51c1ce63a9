"""A copy of a library while others read and write it: one commit's state, whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from stackroom.errors import StackroomError, UsageError
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.storage import fsio, layout, spaces

if TYPE_CHECKING:
    from stackroom.storage.snapshot import Snapshot
    from stackroom.storage.store import LocalStore

_PAGES = 512
_BYTES = 4 * 1024 * 1024


def backup(store: LocalStore, folder: Path, *, refresh: bool, progress: Progress, cancel: CancelToken) -> bool:
    """Copy the newest commit to `folder`, which appears by a rename when it is whole; False when cancelled.

    `folder` must be absent or empty; with `refresh` it may hold an earlier backup of this library, which is replaced. A backup that is
    this commit's already is left alone. Raises UsageError, StorageError, DamagedError.
    """
    staging = folder.with_name(f".{folder.name}.backup.tmp")
    replaced = folder.with_name(f".{folder.name}.backup.gone")
    with store.view() as view, fsio.translated(folder):
        state = _state(view)
        there = _state_of(folder)
        if there == state:
            return True
        same_library = there is not None and there[0] == state[0]
        if folder.exists() and not (refresh and same_library) and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not empty.", hint="Choose another folder.", actual=str(folder))
        for left in (staging, replaced):
            shutil.rmtree(left, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir(mode=0o700)
        try:
            _copy(view, staging, progress, cancel)
            if cancel.cancelled:
                return False
            if folder.exists():
                os.rename(folder, replaced)
            os.rename(staging, folder)
            fsio.sync_directory(folder.parent)
        finally:
            for left in (staging, replaced):
                shutil.rmtree(left, ignore_errors=True)
    return True


def _state(view: Snapshot) -> tuple[bytes, int]:
    """Which library, and which commit of it."""
    return view.connection.value("SELECT value FROM settings WHERE name = 'library_uuid'"), view.version


def _state_of(folder: Path) -> tuple[bytes, int] | None:
    from stackroom.storage.store import LocalStore

    if not layout.is_library(folder):
        return None
    with contextlib.suppress(StackroomError):
        other = LocalStore(folder, mode="r")
        try:
            with other.view() as view:
                return _state(view)
        finally:
            other.close()
    return None


def _copy(view: Snapshot, folder: Path, progress: Progress, cancel: CancelToken) -> None:
    layout.vectors(folder).mkdir(mode=0o700)
    for space in spaces.every(view.connection):
        mapped = view.mapped(space)
        size = layout.VECTOR_HEADER + space.rows * space.dim * 4
        _copy_start(mapped.path, space.path(folder), size, progress, cancel)
        if not space.unit:
            _copy_start(
                layout.norms_of(mapped.path), layout.norms_of(space.path(folder)), space.rows * 4, progress, cancel
            )
    fsio.sync_directory(layout.vectors(folder))
    target = apsw.Connection(str(layout.catalogue(folder)))
    try:
        # The view's own connection reads: the copy is of its commit, whatever is written meanwhile.
        with target.backup("main", view.connection, "main") as copying:
            while not copying.done and not cancel.cancelled:
                copying.step(_PAGES)
                progress(ProgressEvent("backup", done=copying.page_count - copying.remaining, total=copying.page_count))
    finally:
        target.close()
    with layout.catalogue(folder).open("rb+") as file:
        os.fsync(file.fileno())
    fsio.sync_directory(folder)


def _copy_start(source: Path, target: Path, size: int, progress: Progress, cancel: CancelToken) -> None:
    """The first `size` bytes: what lies beyond was not committed."""
    with source.open("rb") as reading, target.open("xb") as writing:
        os.fchmod(writing.fileno(), 0o600) if hasattr(os, "fchmod") else None
        left = size
        while left and not cancel.cancelled:
            data = reading.read(min(left, _BYTES))
            if not data:
                break
            writing.write(data)
            left -= len(data)
            progress(ProgressEvent("backup", done=size - left, total=size))
        writing.flush()
        os.fsync(writing.fileno())
