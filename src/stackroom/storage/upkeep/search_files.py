"""Making sketches and postings files: beside readers and writers, of what is committed, so that neither waits for it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.progress import Progress, ProgressEvent, Stopped
from stackroom.storage.catalogue import codec, runs
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.disk.lock import FileLock
from stackroom.storage.vectors import sketches, spaces, vector_file
from stackroom.storage.words import postings, postings_writer, word_files
from stackroom.storage.words.counting import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.store import LocalStore

_BEING_MADE = ".tmp"
_NAME = re.compile(r"(words|\d+\.\d+)(\.\d+-\d+)?\.[0-9a-f]{8}(\.tmp)?")
_PATIENCE = 2.0
"""Seconds to wait for the writer lock: who closes the library waits for this."""
_LONGEST = 600.0
"""Seconds that a compaction waits for a file that is being made."""
_TEXTS = 512
"""Passages that are read in one view."""
_AT_ONCE = 8_192
"""Passages whose words are held in memory."""
_MOST_KNOWN = 200_000
"""Different words, and runs of signs that hold them, that are known from one portion to the next: some 20 MB."""


class Work(NamedTuple):
    """One run, as its steps see it."""

    stopped: Callable[[], bool]
    progress: Progress

    def check(self) -> None:
        """Asked now and then, so that a run ends within a second. Raises Stopped."""
        if self.stopped():
            raise Stopped


def is_due(connection: Connection, library: Path) -> bool:
    """Whether much has no sketch or postings file. As quick in a large library as in a small one."""
    folder = layout.sketches(library)
    files = [entry for entry in word_files.every(connection) if postings.is_current(folder / entry.file)]
    if word_files.is_due(connection, files):
        return True
    for space in spaces.every(connection):
        entries = sketches.of_space(connection, space)
        there = [entry for entry in entries if sketches.is_usable(folder / entry.file, space, entry)]
        if _is_searched(space) and _wanted(library, space, there) is not None:
            return True
    return False


def is_much(connection: Connection) -> bool:
    """Whether so many passages have come since the last postings file that more of them at once would not be cheaper."""
    first = connection.value("SELECT coalesce(max(end_key), 0) FROM word_files")
    last = connection.value("SELECT coalesce(max(key), 0) FROM chunks")
    return bool(last - first >= _AT_ONCE)


def _wanted(library: Path, space: spaces.Space, entries: list[sketches.Entry]) -> tuple[int, int] | None:
    """The rows that the next sketch should be of; None too where one of them would be of no use."""
    rows = sketches.wanted(space, entries)
    if rows is None:
        return None
    mapped = vector_file.open_map(
        space.path(library), rows=space.rows, dim=space.dim, file_uuid=space.file_uuid, unit=space.unit
    )
    return rows if sketches.is_fit(space, mapped, *rows) else None


def _is_searched(space: spaces.Space) -> bool:
    return space.state in (spaces.SERVING, spaces.OWN)


def make(store: LocalStore, work: Work, *, thorough: bool) -> None:
    """Make the sketches and postings files that are due. The caller holds the lock. Raises BusyError, and much else."""
    folder = layout.sketches(store.path)
    if folder.is_symlink():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    _sweep_begun(store.path)
    with store.view() as view:
        keys = [space.key for space in spaces.every(view.connection) if _is_searched(space)]
    for key in keys:
        # Once: what is committed meanwhile has a run of its own.
        _sketch(store, key, work, thorough=thorough)
        work.check()
    _index_words(store, work, thorough=thorough)


@contextlib.contextmanager
def alone(store: LocalStore, purpose: str, *, wait: float | None = None) -> Iterator[None]:
    """Hold the lock of what is made beside commits: one process does it at a time. Raises BusyError."""
    with FileLock(store.path / layout.SKETCH_LOCK).hold(purpose, wait=_LONGEST if wait is None else wait):
        yield


@contextlib.contextmanager
def nothing_made(store: LocalStore) -> Iterator[None]:
    """For a purge: no postings file is left (they say which words the removed passages had), and nothing is made meanwhile.

    Waits for a run that is making something. Raises BusyError.
    """
    with alone(store, "purge"):
        with store.exclusive() as writer, writer.connection:
            writer.connection.execute("DELETE FROM word_files")
        try:
            yield
        finally:
            _sweep_begun(store.path)
            with store.exclusive() as writer:
                sweep(store.path, writer.connection)


def sweep(library: Path, connection: Connection) -> None:
    """Remove files that the catalogue does not name, but for what is being made."""
    named = {row[0] for table in ("sketches", "word_files") for row in connection.execute(f"SELECT file FROM {table}")}
    for path in _ours(library):
        if path.name not in named and not path.name.endswith(_BEING_MADE):
            # On Windows a mapped file can't be removed yet; the next sweep does it.
            with contextlib.suppress(OSError):
                path.unlink()


def _sweep_begun(library: Path) -> None:
    """What runs that were killed have left. The caller holds the lock."""
    for path in _ours(library):
        if path.name.endswith(_BEING_MADE):
            path.unlink(missing_ok=True)


def _ours(library: Path) -> list[Path]:
    """What was made here: a library from a stranger may have anything in that folder, or that folder elsewhere."""
    folder = layout.sketches(library)
    if folder.is_symlink() or not folder.is_dir():
        return []
    with fsio.translated(folder):
        there = list(folder.iterdir())
    return [path for path in there if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink()]


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


def _publish(store: LocalStore, begun: Path, register: Callable[[Connection, str], bool]) -> None:
    """Let readers know of a file. It is no commit: what the library holds is the same. `register` says whether it is still wanted."""
    made = begun.with_name(begun.name.removesuffix(_BEING_MADE))
    # The catalogue must not name what a power cut can still spoil: postings are used without a look at every byte.
    fsio.sync_path(begun)
    with store.exclusive(wait=_PATIENCE) as writer:
        try:
            with writer.connection:
                if not register(writer.connection, made.name):
                    return
                begun.replace(made)
                fsio.sync_directory(made.parent)
        finally:
            # Also where it came to nothing, and the file that has its name already is nobody's.
            sweep(store.path, writer.connection)


def _sketch(store: LocalStore, space_key: int, work: Work, *, thorough: bool) -> None:
    """Make the next sketch of a space, where there is one to make."""
    with store.view() as view:
        space = next((space for space in spaces.every(view.connection) if space.key == space_key), None)
        if space is None:
            return
        entries = sketches.of_space(view.connection, space)
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
    if rows is None or not sketches.is_fit(space, mapped, *rows):
        return
    first, end = rows

    def register(connection: Connection, name: str) -> bool:
        current = {found.key: found.file_uuid for found in spaces.every(connection)}
        if current.get(space.key) != space.file_uuid:
            return False
        sketches.register(connection, space.key, sketches.Entry(first, end - first, name))
        return True

    with _begun(folder, f"{space.file}.{first}-{end}") as path:
        sketches.build(path, space, mapped, first, end, check=work.check)
        _publish(store, path, register)


def _index_words(store: LocalStore, work: Work, *, thorough: bool) -> None:
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
    vocabulary = Vocabulary()
    with contextlib.ExitStack() as begun:
        new = live.intersection(KeySet(np.array([[plan.first, plan.end]], dtype=np.int64))).keys()
        for at in range(0, len(new), _AT_ONCE):
            keys = new[at : at + _AT_ONCE]
            first = plan.first if at == 0 else parts[-1].end
            end = plan.end if at + _AT_ONCE >= len(new) else int(keys[-1]) + 1
            path = begun.enter_context(_begun(folder, "words"))
            if len(vocabulary) > _MOST_KNOWN:
                vocabulary = Vocabulary()
            postings_writer.write(path, first, end, _passages(store, keys, work), vocabulary, check=work.check)
            made = postings.load(path, first, end)
            if made is None:
                return
            parts.append(made)
            work.progress(ProgressEvent("sketch", done=min(at + _AT_ONCE, len(new)), total=len(new)))
        kept = [part.alive(live) for part in parts]
        first, end = parts[0].first, parts[-1].end
        path = begun.enter_context(_begun(folder, f"words.{first}-{end}"))
        n = postings_writer.join(path, parts, kept, check=work.check)

        def register(connection: Connection, name: str) -> bool:
            word_files.register(connection, word_files.Entry(first, end, n, name))
            return True

        _publish(store, path, register)


def _passages(store: LocalStore, keys: NDArray[np.int64], work: Work) -> Iterator[tuple[int, str]]:
    """Key and text of each of these passages that is still there. A key's text never changes, so that many views give one state."""
    for at in range(0, len(keys), _TEXTS):
        work.check()
        with store.view() as view:
            for first, end in KeySet.from_keys(keys[at : at + _TEXTS]).ranges.tolist():
                rows = view.connection.rows("SELECT key, text FROM chunks WHERE key >= ? AND key < ?", (first, end))
                for key, text in rows:
                    yield key, codec.to_text(view.codec.decode(text))
