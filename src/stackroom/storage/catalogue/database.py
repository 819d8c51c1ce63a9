"""Connections to the catalogue: the only place that opens it, and where SQLite's errors become ours."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import traceback
from collections.abc import Iterator
from pathlib import Path

import apsw

from stackroom.errors import (
    BusyError,
    DamagedError,
    DiskFullError,
    ReadOnlyError,
    StackroomError,
    StorageError,
    UsageError,
)
from stackroom.storage.catalogue import schema, sql
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout

# The SQLite that apsw carries must have the fix for the WAL-reset bug (sqlite.org/wal.html: fixed in 3.51.3).
_FIRST_SAFE = (3, 51, 3)

_CACHE_KIB = 8192

BUSY_MILLISECONDS = 10_000
"""How long a connection waits for what others do for a moment."""

LIMITS = {
    apsw.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 200,
    apsw.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    apsw.SQLITE_LIMIT_ATTACHED: 1,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}
"""What our own statements need, with room; VACUUM attaches one database."""

_COPIED_AT_ONCE = 1 << 20

# A WAL that grew beyond this is cut back to it once it was folded in.
_WAL_KEPT = 16 * 1024 * 1024


@contextlib.contextmanager
def translated(path: Path, connection: Connection | None = None) -> Iterator[None]:
    """Turn an apsw error into ours, with the file it is about; the connection that met it knows what the system said."""
    try:
        yield
    except apsw.Error as error:
        # To undo what SQLite has undone already fails as well: what happened is what came before that.
        before = error.__context__
        first = before if isinstance(error, apsw.SQLError) and isinstance(before, apsw.Error) else error
        raise _translate(first, path, connection) from error
    except DamagedError as error:
        error.path = error.path or os.fspath(path)
        raise
    except STRANGE as error:
        # What is no text at all is damage; other surprises may be a fault of the program, and SQLite's own check tells.
        if isinstance(error, StackroomError) or not _met_in_storage(error):
            raise
        if not isinstance(error, UnicodeDecodeError) and (connection is None or not _is_malformed(connection)):
            raise
        raise _damaged(path, OF_ANOTHER_KIND) from error


STRANGE = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)
"""What code that expects sound values raises when it meets others."""

OF_ANOTHER_KIND = "a value there is of another kind than what was written"
"""Such an error in words: what Python says of it names neither a file nor what to do."""


def in_words(error: BaseException) -> str:
    """What an error of ours says, or what a strange one means, as a sentence."""
    if isinstance(error, StackroomError):
        return error.message
    return (
        "There was no memory to read it." if isinstance(error, MemoryError) else f"It can't be read: {OF_ANOTHER_KIND}."
    )


def _met_in_storage(error: BaseException) -> bool:
    """Whether it was raised here, and not by whoever holds a view or is called back."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [name for name in names if name.partition(".")[0] not in ("json", "numpy", "zstandard", "contextlib")]
    return bool(own) and own[-1].startswith("stackroom.storage.")


def _is_malformed(connection: Connection) -> bool:
    """A look at every page, which is worth its time once something inexplicable has happened."""
    try:
        return connection.rows("PRAGMA quick_check(1)") != [("ok",)]
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError):
        return True
    except apsw.Error:
        return False


def unreadable(path: Path, connection: Connection | None) -> StorageError | None:
    """The error for pages that the system would not read through this connection, which SQLite takes for damage; None where it did."""
    with contextlib.suppress(apsw.Error):  # it was closed meanwhile
        if connection is not None and (number := connection.refused):
            return StorageError(
                f"{path} can't be read: {os.strerror(number)}.",
                hint="Check the disk. Where it has bad sectors, copy the library to another disk, and repair the copy.",
                path=path,
            )
    return None


def _damaged(path: Path, said: object) -> DamagedError:
    # FTS5 advises to rebuild, which means something else here.
    what = str(said).removesuffix(" - run 'rebuild'")
    return DamagedError(
        f"The catalogue {path} is damaged ({what}).", hint="See what is hit: stackroom verify", path=path
    )


def _translate(error: apsw.Error, path: Path, connection: Connection | None) -> StackroomError:
    # What is asked never changes: a table that is not there, or has other columns, is damage.
    broken = ("no such", "has no column", "columns but", "already a", "unsupported file", "invalid fts5 file format")
    if isinstance(error, apsw.CorruptError) and (refusal := unreadable(path, connection)) is not None:
        return refusal
    lacking = isinstance(error, apsw.SQLError) and any(said in str(error) for said in broken)
    if lacking or isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.FormatError):
        return _damaged(path, error)
    if isinstance(error, apsw.ConnectionClosedError):
        return UsageError(
            "A view or commit belongs to the process that began it, and this one was forked since.",
            hint="Begin one of its own here.",
            path=path,
        )
    if isinstance(error, apsw.TooBigError):
        return UsageError(
            "A value is longer than the catalogue can hold (1 GB).", hint="Split it, or leave it out.", path=path
        )
    if isinstance(error, apsw.FullError):
        return DiskFullError(
            f"No space is left to write {path}.",
            hint="Nothing that was committed is lost. Free some space and run the same command again.",
            path=path,
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return BusyError(f"The catalogue {path} is in use by another program.", hint="Try again.", path=path)
    if isinstance(error, apsw.NoMemError):
        return fsio.refusal(errno.ENOMEM, path, os.strerror(errno.ENOMEM))
    if isinstance(error, apsw.IOError | apsw.CantOpenError):
        with contextlib.suppress(apsw.Error):  # it was closed meanwhile
            # SQLite may have cleaned up since, and have met that a file is not there.
            if connection is not None and (number := connection.system_errno) not in (0, errno.ENOENT, errno.EBADF):
                return fsio.refusal(number, path, os.strerror(number))
    if isinstance(error, apsw.CantOpenError) and _may_write(path):
        return StorageError(
            f"{path} can't be opened ({error}).",
            hint="Its folder may have been moved, the disk may be full, or too many files may be open (ulimit -n).",
            path=path,
        )
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError | apsw.CantOpenError):
        return ReadOnlyError(
            f"{path} can't be opened or written ({error}).", hint="Check its permissions and its medium.", path=path
        )
    return StorageError(f"{path}: {error}.", hint="Check the disk, then run: stackroom verify", path=path)


def _may_write(path: Path) -> bool:
    """Whether permissions and medium are not what keeps SQLite from opening it. Opening it here would drop SQLite's locks."""
    there = (path, path.parent) if path.exists() else (next(above for above in path.parents if above.exists()),)
    return all(os.access(place, os.R_OK | os.W_OK) for place in there)


def create(library: Path) -> None:
    """Make the catalogue under another name and rename it, so that there is a whole one or none."""
    _require_safe_sqlite()
    # Imported where a library is made, and nowhere else.
    from stackroom.storage.catalogue import tables

    path = library / layout.CATALOGUE_NEW
    with fsio.translated(path), translated(path):
        for leftover in library.glob(f"{layout.CATALOGUE_NEW}*"):
            leftover.unlink()
        fsio.make_file(path)
        connection = Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with translated(path, connection):
                connection.execute("PRAGMA synchronous = FULL")
                tables.create(connection)
                # The file says WAL from its first day, so that no later switch gets in a reader's way.
                connection.rows("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        os.chmod(path, 0o600)
        path.rename(layout.catalogue(library))
        fsio.sync_directory(library)


def open_writer(library: Path) -> Connection:
    """The connection that commits. The caller holds the writer lock while it opens, commits and closes."""
    _require_safe_sqlite()
    path = layout.catalogue(library)
    require_own_locks(path)
    with translated(path):
        connection = Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    with translated(path, connection):
        defend(connection)
        schema.check_not_empty(connection, library)
        connection.rows("PRAGMA journal_mode = WAL")
        connection.rows(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
        return connection


def open_reader(library: Path) -> Connection:
    """A connection that can't write. On read-only media the catalogue is opened as immutable."""
    _require_safe_sqlite()
    path = layout.catalogue(library)
    require_own_locks(path)
    with translated(path):
        connection = Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    with translated(path, connection):
        try:
            defend(connection)
            connection.rows("SELECT 1 FROM sqlite_schema LIMIT 1")
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            # Opened as immutable, it would never see a commit: too many open files are no read-only medium.
            if _may_write(path):
                raise
            connection.close()
            connection = _open_immutable(library, path)
            defend(connection)
        connection.rows(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection


def _open_immutable(library: Path, path: Path) -> Connection:
    wal = library / layout.WAL
    if wal.exists() and wal.stat().st_size:
        raise ReadOnlyError(
            f"{library} is on read-only media, and {wal.name} holds commits that are not yet in the catalogue.",
            hint="Open it once where it can be written, then copy it again.",
            path=wal,
        )
    state = _state(path)
    uri = f"{path.absolute().as_uri()}?immutable=1"
    connection = Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    connection.immutable = state
    return connection


def is_outdated(connection: Connection) -> bool:
    """Whether it took the catalogue for unchangeable, and somebody has written to it since: who can't write here may be the only one, or only for now."""
    return connection.immutable is not None and connection.immutable != _state(Path(connection.filename))


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, fsio.size_of(path.with_name(layout.WAL))


def copy_file(path: Path, target: Path) -> None:
    """Copy a catalogue's bytes, sound or not, without its WAL. Whoever reads its file past SQLite takes SQLite's locks from the whole process when he closes it. Raises StorageError."""
    with translated(path):
        file = apsw.VFSFile("", str(path), [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0])
        try:
            size = file.xFileSize()
            with target.open("wb") as copy:
                for offset in range(0, size, _COPIED_AT_ONCE):
                    copy.write(file.xRead(min(_COPIED_AT_ONCE, size - offset), offset))
        finally:
            file.xClose()


def defend(connection: Connection) -> None:
    """A library may come from a stranger: its schema is data, never code."""
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    for limit, most in LIMITS.items():
        connection.limit(limit, most)
    connection.execute("PRAGMA cell_size_check = ON")
    # A page that can't be read is an error, where a mapped one is a signal that ends the process.
    connection.execute("PRAGMA mmap_size = 0")
    # The last close checkpoints only under the writer lock (store.py), never here.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


def _require_safe_sqlite() -> None:
    if tuple(map(int, apsw.sqlite_lib_version().split("."))) < _FIRST_SAFE:
        raise StorageError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a library that several processes use.",
            hint="Upgrade apsw: pip install --upgrade apsw",
        )


def require_own_locks(path: Path) -> None:
    """Raises UsageError where SQLite takes locks of this process's parent for its own, and can't be told better."""
    if sql.is_stuck(path):
        raise UsageError(
            f"{path} can't be used in this process: it was forked while another thread, or itself, was within a commit or a search.",
            hint="Fork when no call is going on, or start the process anew (multiprocessing's 'spawn').",
            path=path,
        )
