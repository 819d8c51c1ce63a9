"""Making sketches and postings files: beside readers and writers, of what is committed, so that neither waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stackroom.errors import StackroomError
from stackroom.storage import codec, database, layout, postings, runs, sketches, spaces, word_files, words
from stackroom.storage.keysets import KeySet
from stackroom.storage.lock import FileLock
from stackroom.storage.sql import Connection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.store import LocalStore

_BEING_MADE = ".tmp"
_PATIENCE = 2.0
"""Seconds to wait for the writer lock: who closes the library waits for this."""
_LONGEST = 600.0
"""Seconds that a purge waits for a file that is being made."""
_TEXTS = 512
"""Passages that are read in one view."""
_AT_ONCE = 16_384
"""Passages whose words are held in memory."""


def is_due(store: LocalStore) -> bool:
    """Whether much has no sketch or postings file, and this process may make one. As quick in a large library as in a small one."""
    if store.read_only:
        return False
    folder = layout.sketches(store.path)
    with contextlib.suppress(StackroomError), store.view() as view:
        files = [entry for entry in word_files.every(view.connection) if (folder / entry.file).exists()]
        if word_files.is_due(view.connection, files):
            return True
        for space in spaces.every(view.connection):
            entries = sketches.of_space(view.connection, space.key)
            there = [entry for entry in entries if (folder / entry.file).exists()]
            if space.state != spaces.BUILDING and sketches.wanted(space, there) is not None:
                return True
    return False


def bring_up_to_date(store: LocalStore, stop: threading.Event, *, thorough: bool = False) -> None:
    """Make what is missing; with `thorough` also what is damaged, which costs a look at every byte.

    One process does it at a time; another one leaves it alone.
    What goes wrong here costs speed and nothing else: the next run tries again.
    """
    lock = FileLock(store.path / layout.SKETCH_LOCK)
    with (
        contextlib.suppress(StackroomError, OSError, RuntimeError, ValueError, MemoryError),
        lock.hold("sketch", wait=0.0),
    ):
        folder = layout.sketches(store.path)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sweep_begun(folder)
        with store.view() as view:
            keys = [space.key for space in spaces.every(view.connection) if space.state != spaces.BUILDING]
        for key in keys:
            while not stop.is_set() and _sketch(store, key, stop, thorough=thorough):
                pass
        if not stop.is_set():
            _index_words(store, stop, thorough=thorough)


def sweep(library: Path, connection: Connection) -> None:
    """Remove files that the catalogue does not name, but for what is being made."""
    named = {row[0] for table in ("sketches", "word_files") for row in connection.execute(f"SELECT file FROM {table}")}
    with contextlib.suppress(OSError):
        for path in layout.sketches(library).iterdir():
            if path.name not in named and not path.name.endswith(_BEING_MADE):
                path.unlink()


def _sweep_begun(folder: Path) -> None:
    """What runs that were killed have left. The caller holds the lock."""
    for path in folder.iterdir():
        if path.name.endswith(_BEING_MADE):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _begun(folder: Path, name: str) -> Iterator[Path]:
    """A path to write to, which is gone in the end unless it was renamed.

    The name is new, so that no process takes the file for one that it has loaded.
    """
    path = folder / f"{name}.{os.urandom(4).hex()}{_BEING_MADE}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _publish(store: LocalStore, begun: Path, register: Callable[[Connection, str], bool]) -> bool:
    """Let readers know of a file. It is no commit: what the library holds is the same. `register` says whether it is still wanted."""
    made = begun.with_name(begun.name.removesuffix(_BEING_MADE))
    with store.exclusive(wait=_PATIENCE) as writer, database.translated(layout.catalogue(store.path)):
        with writer.connection:
            if not register(writer.connection, made.name):
                return False
            begun.replace(made)
        sweep(store.path, writer.connection)
    return True


def _sketch(store: LocalStore, space_key: int, stop: threading.Event, *, thorough: bool) -> bool:
    """Make the next sketch of a space; False where there is none to make, or it came to nothing."""
    with store.view() as view:
        space = next((space for space in spaces.every(view.connection) if space.key == space_key), None)
        if space is None:
            return False
        entries = sketches.of_space(view.connection, space_key)
        # The map outlives the view, and committed rows don't change: no transaction stays open for it.
        mapped = view.mapped(space)
    folder = layout.sketches(store.path)
    good = [
        entry
        for entry in entries
        if sketches.is_usable(folder / entry.file, space, entry)
        and not (thorough and sketches.is_damaged(folder / entry.file))
    ]
    rows = sketches.wanted(space, good)
    if rows is None:
        return False
    first, end = rows

    def register(connection: Connection, name: str) -> bool:
        current = {found.key: found.file_uuid for found in spaces.every(connection)}
        if current.get(space.key) != space.file_uuid:
            return False
        sketches.register(connection, space.key, sketches.Entry(first, end - first, name))
        return True

    with _begun(folder, f"{space.file}.{first}-{end}") as path:
        return sketches.build(path, space, mapped, first, end, stop=stop) and _publish(store, path, register)


def _index_words(store: LocalStore, stop: threading.Event, *, thorough: bool) -> None:
    """Make the next postings file: of new passages, joined with the small files before them."""
    folder = layout.sketches(store.path)
    with store.view() as view:
        live = runs.everything(view.connection)
        entries = word_files.every(view.connection)
    opened = {
        entry: found
        for entry in entries
        if not (thorough and postings.is_damaged(folder / entry.file))
        and (found := postings.load(folder / entry.file, entry.first, entry.end)) is not None
    }
    plan = word_files.wanted(live, list(opened))
    if plan is None:
        return
    parts = [opened[entry] for entry in plan.joined]
    with contextlib.ExitStack() as begun:
        new = live.intersection(KeySet(np.array([[plan.first, plan.end]], dtype=np.int64))).keys()
        for at in range(0, len(new), _AT_ONCE):
            keys = new[at : at + _AT_ONCE]
            first = plan.first if at == 0 else parts[-1].end
            end = plan.end if at + _AT_ONCE >= len(new) else int(keys[-1]) + 1
            path = begun.enter_context(_begun(folder, "words"))
            postings.write(path, first, end, _passages(store, keys, stop))
            made = postings.load(path, first, end)
            if made is None or stop.is_set():
                return
            parts.append(made)
        kept = [part.alive(live) for part in parts]
        first, end = parts[0].first, parts[-1].end
        path = begun.enter_context(_begun(folder, f"words.{first}-{end}"))
        n = postings.join(path, parts, kept)

        def register(connection: Connection, name: str) -> bool:
            word_files.register(connection, word_files.Entry(first, end, n, name))
            return True

        _publish(store, path, register)


def _passages(store: LocalStore, keys: NDArray[np.int64], stop: threading.Event) -> Iterator[tuple[int, list[str]]]:
    """Key and words of each of these passages that is still there. A key's text never changes, so that many views give one state."""
    for at in range(0, len(keys), _TEXTS):
        if stop.is_set():
            return
        with store.view() as view:
            for first, end in KeySet.from_keys(keys[at : at + _TEXTS]).ranges.tolist():
                rows = view.connection.rows("SELECT key, text FROM chunks WHERE key >= ? AND key < ?", (first, end))
                for key, text in rows:
                    yield key, words.indexed(view.connection, codec.to_text(view.codec.decode(text)))


def forget_words(store: LocalStore) -> None:
    """Remove every postings file: those of removed passages say which words these had. Waits for a run that makes one."""
    lock = FileLock(store.path / layout.SKETCH_LOCK)
    with lock.hold("purge", wait=_LONGEST), store.exclusive() as writer:
        with database.translated(layout.catalogue(store.path)), writer.connection:
            writer.connection.execute("DELETE FROM word_files")
        sweep(store.path, writer.connection)
