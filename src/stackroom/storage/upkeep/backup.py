"""A copy of a library while others read and write it: one commit's state, whole.

Beside a target NAME lie, while it is made, `.NAME.backup.lock` (one backup at a time), `.NAME.backup.tmp-XXXXXXXX` (a copy that is being made) and,
between two renames, `.NAME.backup.gone` (the backup that is being replaced).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from stackroom.errors import BusyError, DamagedError, NotFoundError, StackroomError, StorageError, UsageError
from stackroom.history import History
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.reports import Backup
from stackroom.storage.catalogue import branches, database, records, sums, waiting
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.disk.lock import FileLock
from stackroom.storage.vectors import spaces, vector_file

if TYPE_CHECKING:
    from stackroom.storage.snapshot import Snapshot
    from stackroom.storage.store import LocalStore

_PAGES = 512
_BYTES = 4 * 1024 * 1024

# A compaction that removes a vector file under a copy is rare; two in a row are rarer.
_ATTEMPTS = 5

_WAIT_SECONDS = 600.0
"""How long another backup to the same folder may take before this one gives up."""

_SHOWN = 5
"""Names that are told of many."""

_CANCELLED = Backup(copied=False, cancelled=True)

_READING = (apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ)


class _Replaced(Exception):
    """A vector file of the view is gone: compaction put another one in its place."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


class _Cancelled(Exception):
    """The wait for the lock was cancelled."""


def backup(store: LocalStore, folder: Path, *, refresh: bool, progress: Progress, cancel: CancelToken) -> Backup:
    """Copy the newest commit to `folder`, which appears by a rename when it is whole.

    `folder` must be absent or empty; with `refresh` it may hold a backup of an earlier state of this library that nobody wrote to since, which is
    replaced where every byte of the new one is what was written, and where no repair has lost since what it may have. A backup that is this
    commit's already is left alone; with `refresh` every byte of it is compared, and where a disk has changed any it is made anew. Raises UsageError, BusyError, StorageError, DamagedError.
    """
    # A link is followed: a rename would put the copy in the link's place.
    named, folder = folder, Path(os.path.realpath(folder))
    _require_apart(store.path, folder)
    _require_there(named, folder)
    try:
        with _alone(folder, cancel):
            _clear(folder)
            for _ in range(_ATTEMPTS):
                try:
                    return _attempt(store, folder, refresh, progress, cancel)
                except _Replaced as error:
                    missing = error
    except _Cancelled:
        return _CANCELLED
    raise vector_file.missing(missing.path) from missing


def _attempt(store: LocalStore, folder: Path, refresh: bool, progress: Progress, cancel: CancelToken) -> Backup:
    with store.view() as view, _blaming(folder):
        state = branches.history(view.connection)
        replaced, rotten = layout.is_library(folder), False
        if _is_current(folder, store.path, state, refresh):
            if not refresh or _is_whole(folder, progress, cancel):
                return _CANCELLED if cancel.cancelled else Backup(copied=False, compared=refresh)
            # A disk has changed it since: the same is made again.
            rotten = True
        elif replaced:
            _require_nothing_lost(view.connection, store.path, folder)
        staging = Path(tempfile.mkdtemp(prefix=_beside(folder, "tmp-").name, dir=folder.parent))
        try:
            _copy(view, staging, folder, progress, cancel)
            if cancel.cancelled:
                return _CANCELLED
            _check(staging, folder, state)
            if replaced and not _is_sound(store.path, staging, folder, progress, cancel):
                return _CANCELLED
            # Once more: whoever had the old backup open may have written to it during the copy.
            if not _is_current(folder, store.path, state, refresh) or rotten:
                _replace(folder, staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Backup(copied=True, compared=replaced)


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.backup.{what}")


@contextlib.contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Errors of the staging folder are the target's, which is the name that the user knows."""
    with fsio.translated(folder):
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error)) from error


def _require_there(named: Path, folder: Path) -> None:
    """Refuse a link to what is not there: its medium may not be mounted. What a run that died has put aside there comes back."""
    with _blaming(folder):
        link = next((path for path in (named, *named.parents) if path.is_symlink() and not path.exists()), None)
        put_aside = _beside(folder, "gone").exists()
    if link is not None and not put_aside:
        to = os.path.realpath(link)
        raise _kept(
            named,
            f"{link} is a link to {to}, which is not there.",
            f"Mount its medium, or make it: mkdir -p {shlex.quote(to)}",
        )


def _require_apart(library: Path, folder: Path) -> None:
    """Refuse the library's own folder, and what lies in it or around it."""
    home, hint = Path(os.path.realpath(library)), "Choose a folder outside of the library."
    if _same(home, folder):
        raise _kept(folder, f"{folder} is the library itself.", hint)
    inside = any(_same(home, other) for other in (folder, *folder.parents))
    if inside or any(_same(folder, other) for other in home.parents):
        raise _kept(folder, f"{folder} and the library {home} lie within each other.", hint)


def _same(one: Path, other: Path) -> bool:
    # The file system knows best: names may differ in case only.
    with contextlib.suppress(OSError):
        return one == other or one.samefile(other)
    return False


@contextlib.contextmanager
def _alone(folder: Path, cancel: CancelToken) -> Iterator[None]:
    """One backup to a folder at a time."""

    def waiting() -> None:
        if cancel.cancelled:
            raise _Cancelled

    with _blaming(folder):
        fsio.make_folder(folder.parent)
    lock = FileLock(_beside(folder, "lock"))
    with contextlib.ExitStack() as held:
        try:
            while not lock.in_place():
                held.close()
                held.enter_context(lock.hold("backup", wait=_WAIT_SECONDS, waiting=waiting))
        except BusyError as error:
            raise BusyError(
                f"Another backup to {folder} is running.",
                hint="Wait for it to finish.",
                path=folder,
                actual=error.actual,
            ) from error
        except StorageError as error:
            cause = error.__cause__
            if isinstance(cause, OSError):
                with _blaming(folder):
                    raise OSError(cause.errno, cause.strerror) from error
            raise
        try:
            yield
        finally:
            # Where an open file can't be removed it stays, and harms nobody.
            with contextlib.suppress(OSError):
                lock.path.unlink()


def _clear(folder: Path) -> None:
    """Undo what runs that died have left. The caller holds the lock, so that none of it is in use."""
    staging = re.compile(re.escape(_beside(folder, "tmp").name) + "(-[a-z0-9_]{8})?")
    gone = _beside(folder, "gone")
    with _blaming(folder):
        for left in [path for path in folder.parent.iterdir() if staging.fullmatch(path.name)]:
            shutil.rmtree(left, ignore_errors=True)
        if not folder.exists() and _read(gone) is not None:
            os.rename(gone, folder)
            fsio.sync_directory(folder.parent)


def _is_current(folder: Path, home: Path, state: History, refresh: bool) -> bool:
    """Whether `folder` holds this state of the library `home` already; UsageError where it holds what must not be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not folder.is_dir():
        raise _kept(folder, f"{folder} is a file, and a backup is a folder.", "Choose another name.")
    found = _read(folder)
    if found is None:
        what = "holds a library that can't be read" if layout.is_library(folder) else "is not empty"
        raise _kept(folder, f"{folder} {what}.")
    there, backup_of = found
    if there.library != state.library:
        raise _kept(folder, f"{folder} holds another library.")
    instead = f"Choose another folder. Or put the copy in its place: {layout.put_in_place(folder, home)}"
    if backup_of is None:
        raise _kept(folder, f"{folder} holds a library that is no backup.", instead)
    if backup_of != (there.commit_id or b""):
        raise _kept(folder, f"The backup {folder} was changed since it was made.", instead)
    if there == state:
        return True
    if not there.precedes(state):
        raise _not_earlier(folder, home, later=state.precedes(there))
    if not refresh:
        raise _kept(
            folder,
            f"{folder} holds an earlier backup of this library.",
            f"Replace it: stackroom backup --refresh {shlex.quote(str(folder))}. Or choose another folder.",
        )
    return False


def _is_whole(folder: Path, progress: Progress, cancel: CancelToken) -> bool:
    """Whether every byte of a backup is what was written."""
    from stackroom.storage.store import LocalStore
    from stackroom.storage.upkeep import check

    with contextlib.closing(LocalStore(folder, mode="r")) as copy:
        found = check.verify(copy, progress=progress, cancel=cancel)
    return all(one.structure == "repair" for one in found.damage)


def _require_nothing_lost(connection: Connection, home: Path, folder: Path) -> None:
    """Refuse to replace a backup of before a repair that has lost passages: it may be all that has them."""
    from stackroom.storage.store import LocalStore

    lost = waiting.lacking(connection)
    if not lost:
        return
    with contextlib.closing(LocalStore(folder, mode="r")) as other, other.view() as view:
        there = lost - waiting.lacking(view.connection)
        names = sorted(name for name in there if records.source_by_name(view.connection, name) is not None)
    if names:
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
        raise DamagedError(
            f"A repair has lost passages of {shown}, and the earlier backup {folder}, which may have them, was kept.",
            hint=f"See why: stackroom list --failed. Give them again or remove them, and back up then. Or back up to another folder. "
            f"Or put the backup in the library's place: {layout.put_in_place(home, folder)}",
            path=home,
            actual=len(names),
        )


def _kept(folder: Path, message: str, hint: str = "Choose another folder.") -> UsageError:
    return UsageError(message, hint=hint, path=folder, actual=str(folder))


def _not_earlier(folder: Path, home: Path, *, later: bool) -> UsageError:
    """The error for a backup that has what the library has not: as where that was brought back from an older one."""
    what = (
        f"holds a later state of this library than {home}"
        if later
        else f"is no earlier state of {home}, and each holds what the other does not"
    )
    return _kept(
        folder,
        f"{folder} {what}: {_in_words(folder)} there, {_in_words(home)} here.",
        f"Choose another folder. Or put this backup in the library's place: {layout.put_in_place(home, folder)}",
    )


def _in_words(library: Path) -> str:
    """2 documents after 7 commits (the last read at 2026-11-28 08:55 UTC)"""
    from stackroom.storage.store import LocalStore

    with contextlib.closing(LocalStore(library, mode="r")) as store, store.view() as view:
        documents = view.connection.value("SELECT count(*) FROM documents")
        # Of what came without a file nobody knows when.
        last = view.connection.value("SELECT max(indexed_at) FROM sources")
        when = f" (the last read at {last[:10]} {last[11:16]} UTC)" if isinstance(last, str) else ""
        return f"{_count(documents, 'document')} after {_count(view.version, 'commit')}{when}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _read(folder: Path) -> tuple[History, bytes | None] | None:
    """The state of the library there and what it is a backup of; None where there is no whole one. Raises StorageError."""
    with contextlib.suppress(DamagedError, NotFoundError, FileNotFoundError):
        return _opened(folder) if layout.is_library(folder) else None
    return None


def _opened(folder: Path) -> tuple[History, bytes | None]:
    from stackroom.storage.store import LocalStore

    with contextlib.closing(LocalStore(folder, mode="r")) as other, other.view() as view:
        for space in spaces.every(view.connection):
            view.mapped(space)
        return branches.history(view.connection), view.connection.value(
            "SELECT value FROM settings WHERE name = 'backup_of'"
        )


def _check(staging: Path, folder: Path, state: History) -> None:
    """Open the copy as anyone would, before it takes the old one's place."""
    try:
        found = _opened(staging)
    except StorageError as error:
        raise type(error)(_unreadable(folder).message, hint=error.hint, path=folder) from error
    except (StackroomError, OSError) as error:
        raise _unreadable(folder) from error
    if found != (state, state.commit_id or b""):
        raise _unreadable(folder)
    _leave_no_log(staging)


def _leave_no_log(staging: Path) -> None:
    """Reading alone leaves these behind; the copy is its catalogue and its vectors."""
    for suffix in ("-wal", "-shm"):
        layout.catalogue(staging).with_name(layout.CATALOGUE + suffix).unlink(missing_ok=True)


def _is_sound(home: Path, staging: Path, folder: Path, progress: Progress, cancel: CancelToken) -> bool:
    """Look at every byte before a good backup goes for it; False when cancelled. Raises DamagedError."""
    from stackroom.storage.store import LocalStore
    from stackroom.storage.upkeep import check

    try:
        with contextlib.closing(LocalStore(staging, mode="r")) as copy:
            found = check.verify(copy, progress=progress, cancel=cancel, refusing=True)
    except StorageError as error:
        raise type(error)(_unreadable(folder).message, hint=error.hint, path=folder) from error
    # What waits for a model or a file is no damage, and the new backup knows it as well.
    damage = [one for one in found.damage if one.structure != "repair"]
    if cancel.cancelled:
        return False
    if damage:
        more = f" and {len(damage) - 1:,} more" if len(damage) > 1 else ""
        raise DamagedError(
            f"What was copied from {home} is damaged ({damage[0].file}: {damage[0].structure}{more}), and the earlier backup {folder} was kept.",
            hint="See what is hit: stackroom verify. Bring back what can be: stackroom repair. Or back it up to another folder.",
            path=home,
            actual=len(damage),
        )
    _leave_no_log(staging)
    return True


def _unreadable(folder: Path) -> StorageError:
    return StorageError(f"The copy made for {folder} can't be read back.", hint="Check the disk.", path=folder)


def _replace(folder: Path, staging: Path) -> None:
    """Let the copy stand where the old one did; at every moment one of the two is whole, here or as `.gone`."""
    gone = _beside(folder, "gone")
    if layout.is_library(folder):
        _discard(gone)
        os.rename(folder, gone)
        try:
            os.rename(staging, folder)
        except BaseException:
            os.rename(gone, folder)
            raise
    else:
        if folder.exists():
            folder.rmdir()
        os.rename(staging, folder)
    fsio.sync_directory(folder.parent)
    _discard(gone)


def _discard(gone: Path) -> None:
    """The catalogue first: half of a backup must not be taken for one."""
    with contextlib.suppress(OSError):
        layout.catalogue(gone).unlink(missing_ok=True)
    shutil.rmtree(gone, ignore_errors=True)


def _copy(view: Snapshot, staging: Path, folder: Path, progress: Progress, cancel: CancelToken) -> None:
    layout.vectors(staging).mkdir(mode=0o700)
    for space in spaces.every(view.connection):
        with _reading(Path(space.file)):
            source = view.mapped(space).path
        target = space.path(staging)
        _copy_start(source, target, layout.VECTOR_HEADER + space.rows * space.dim * 4, progress, cancel)
        if not space.unit:
            _copy_start(layout.norms_of(source), layout.norms_of(target), space.rows * 4, progress, cancel)
    fsio.sync_directory(layout.vectors(staging))
    if cancel.cancelled:
        return
    path = layout.catalogue(staging)
    fsio.make_file(path)
    with database.translated(layout.catalogue(folder)):
        copy = Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    with contextlib.closing(copy), _blaming_the_copy(layout.catalogue(folder), copy):
        if copy.readonly("main"):
            # Where no handle was left to write by, SQLite has opened it for reading.
            raise apsw.CantOpenError("it was opened for reading alone")
        _copy_catalogue(view, copy, progress, cancel)
    if cancel.cancelled:
        return
    os.chmod(path, 0o600)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    fsio.sync_directory(staging)


@contextlib.contextmanager
def _blaming_the_copy(path: Path, target: Connection) -> Iterator[None]:
    """What SQLite meets while it copies is the copy's, unless the library could not be read."""
    try:
        yield
    except apsw.Error as error:
        if isinstance(error, apsw.CorruptError | apsw.NotADBError) or getattr(error, "extendedresult", 0) in _READING:
            raise
        with database.translated(path, target):
            raise


def _copy_catalogue(view: Snapshot, target: Connection, progress: Progress, cancel: CancelToken) -> None:
    # Half a copy is thrown away as it is; and why a journal could not be made SQLite's backup would not say.
    target.rows("PRAGMA journal_mode = OFF")
    # The view's own connection reads: the copy is of its commit, whatever is written meanwhile.
    with target.backup("main", view.connection, "main") as copying:
        while not copying.done and not cancel.cancelled:
            copying.step(_PAGES)
            progress(ProgressEvent("backup", done=copying.page_count - copying.remaining, total=copying.page_count))
    if cancel.cancelled:
        return
    target.execute("PRAGMA synchronous = FULL")
    # No table but this one is signed anew: what is damaged in the library is to be told of in the copy.
    with sums.settings_followed(target):
        target.execute(
            """INSERT OR REPLACE INTO settings
               VALUES('backup_of', coalesce((SELECT value FROM settings WHERE name = 'commit_id'), x''))"""
        )
    # Closing folds the WAL in as well, but would not say that it failed.
    target.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def _copy_start(source: Path, target: Path, size: int, progress: Progress, cancel: CancelToken) -> None:
    """The first `size` bytes: what lies beyond was not committed. Raises DamagedError where there are fewer."""
    with _reading(source):
        reading = source.open("rb")
    with reading, target.open("xb") as writing:
        os.fchmod(writing.fileno(), 0o600) if hasattr(os, "fchmod") else None
        left = size
        while left and not cancel.cancelled:
            with _reading(source):
                data = reading.read(min(left, _BYTES))
            if not data:
                raise DamagedError(
                    f"The vector file {source} is shorter than what was committed.",
                    hint="Restore the library from a backup, or bring back what can be: stackroom repair",
                    path=source,
                    expected=size,
                    actual=size - left,
                )
            writing.write(data)
            left -= len(data)
            progress(ProgressEvent("backup", done=size - left, total=size))
        writing.flush()
        os.fsync(writing.fileno())


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    with fsio.translated(source):
        try:
            yield
        except FileNotFoundError as error:
            raise _Replaced(Path(error.filename or source)) from error
