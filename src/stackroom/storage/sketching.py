"""Making sketches: beside readers and writers, of rows that are committed, so that neither waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from stackroom.errors import StackroomError
from stackroom.storage import database, layout, sketches, spaces
from stackroom.storage.lock import FileLock

if TYPE_CHECKING:
    from stackroom.storage.store import LocalStore

_BEING_MADE = ".tmp"
_PATIENCE = 2.0
"""Seconds to wait for the writer lock: who closes the library waits for this."""


def is_due(store: LocalStore) -> bool:
    """Whether some space has many rows without a sketch, and this process may make one."""
    if store.read_only:
        return False
    with contextlib.suppress(StackroomError), store.view() as view:
        for space in spaces.every(view.connection):
            entries = sketches.of_space(view.connection, space.key)
            there = [entry for entry in entries if (layout.sketches(store.path) / entry.file).exists()]
            if space.state != spaces.BUILDING and sketches.wanted(space, there) is not None:
                return True
    return False


def bring_up_to_date(store: LocalStore, stop: threading.Event) -> None:
    """Sketch what has no sketch. One process does it at a time; another one leaves it alone.

    What goes wrong here costs speed and nothing else: the next run tries again.
    """
    lock = FileLock(store.path / layout.SKETCH_LOCK)
    with contextlib.suppress(StackroomError, OSError, RuntimeError, MemoryError), lock.hold("sketch", wait=0.0):
        _sweep_begun(store.path)
        with store.view() as view:
            keys = [space.key for space in spaces.every(view.connection) if space.state != spaces.BUILDING]
        for key in keys:
            while not stop.is_set() and _sketch(store, key, stop):
                pass


def _sketch(store: LocalStore, space_key: int, stop: threading.Event) -> bool:
    """Make the next sketch of a space; False where there is none to make, or it came to nothing."""
    with store.view() as view:
        space = next((space for space in spaces.every(view.connection) if space.key == space_key), None)
        if space is None:
            return False
        entries = sketches.of_space(view.connection, space_key)
        # The map outlives the view, and committed rows don't change: no transaction stays open for it.
        mapped = view.mapped(space)
    folder = layout.sketches(store.path)
    rows = sketches.wanted(space, [entry for entry in entries if sketches.is_sound(folder / entry.file, space, entry)])
    if rows is None:
        return False
    first, end = rows
    folder.mkdir(mode=0o700, exist_ok=True)
    # A name of its own, so that no process takes it for one that it has loaded.
    path = folder / f"{space.file}.{first}-{end}.{os.urandom(4).hex()}"
    begun = path.with_name(path.name + _BEING_MADE)
    try:
        if not sketches.build(begun, space, mapped, first, end, stop=stop):
            return False
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)
    return _register(store, space, sketches.Entry(first, end - first, path.name))


def _register(store: LocalStore, space: spaces.Space, made: sketches.Entry) -> bool:
    """Let readers know. It is no commit: what the library holds is the same."""
    with store.exclusive(wait=_PATIENCE) as writer, database.translated(layout.catalogue(store.path)):
        with writer.connection:
            current = {found.key: found.file_uuid for found in spaces.every(writer.connection)}
            if current.get(space.key) != space.file_uuid:
                return False
            sketches.register(writer.connection, space.key, made)
        sweep(store.path, {row[0] for row in writer.connection.execute("SELECT file FROM sketches")})
    return True


def sweep(library: Path, named: set[str]) -> None:
    """Remove sketches that the catalogue does not name, but for what is being made."""
    with contextlib.suppress(OSError):
        for path in layout.sketches(library).iterdir():
            if path.name not in named and not path.name.endswith(_BEING_MADE):
                path.unlink()


def _sweep_begun(library: Path) -> None:
    """What runs that were killed have left. The caller holds the lock."""
    folder = layout.sketches(library)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.endswith(_BEING_MADE):
            path.unlink(missing_ok=True)
