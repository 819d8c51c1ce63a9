"""The local store: a Backend over one folder. Opening it reads one page of the catalogue and maps nothing yet.

What reads and writes is imported at its first use: `status` needs no more than the catalogue. That is done within the gate: a child that is
forked while another thread imports a module would wait for that thread for ever.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import apsw

from stackroom._forking import Gate
from stackroom.backend import EVERY_CAPABILITY, Capability, EmbedTexts, Judge
from stackroom.errors import (
    BusyError,
    ClosedError,
    DamagedError,
    NotALibraryError,
    NotFoundError,
    ReadOnlyError,
    StackroomError,
    StorageError,
    UsageError,
)
from stackroom.progress import CancelToken, Progress, silent
from stackroom.storage.catalogue import database, schema
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.disk.lock import FileLock
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from stackroom.reports import Backup, Compaction, Copied, Repair, Stats, Verification
    from stackroom.storage.shared import Shared
    from stackroom.storage.snapshot import Snapshot
    from stackroom.storage.upkeep.background import Background
    from stackroom.storage.writer import LocalCommit

_RESTARTS = 20

_GATE = Gate()


class _Reader(NamedTuple):
    connection: Connection
    codec: Codec
    file: tuple[int, int]
    """the catalogue that it has open: a repair puts another one in its place"""

    @classmethod
    def opened(cls, library: Path, open_: Callable[[Path], Connection]) -> _Reader:
        # Looked at first: what takes its place meanwhile is another one then, and this connection is closed at its next use.
        file = _identity(library)
        connection = open_(library)
        return cls(connection, Codec(connection), file)

    def is_current(self, file: tuple[int, int]) -> bool:
        """Whether it reads that catalogue, as it is now."""
        return self.file == file and not database.is_outdated(self.connection)


class LocalStore:
    """A library on this machine. Usable from several threads; a forked child opens its own connections."""

    capabilities: frozenset[Capability] = EVERY_CAPABILITY

    def require(self, capability: Capability) -> None:
        """It has every one."""

    def __init__(self, path: Path, *, mode: str = "a") -> None:
        """Modes are those of `stackroom.open`, and "w": to write to what is there. Raises NotALibraryError, NotFoundError, DamagedError (no catalogue), FormatVersionError, StorageError."""
        self._prepare(path, mode)
        exists = layout.is_library(path)
        if mode == "x" and exists:
            raise NotALibraryError(
                f"{path} holds a library already.", hint="Open it with mode='a', or choose another folder.", path=path
            )
        if not exists:
            if layout.lacks_catalogue(path):
                raise layout.without_catalogue(path)
            self._create(mode)
        with _GATE.within(), self._reader() as reader:
            schema.check_version(reader.connection, path, writing=not self.read_only)

    @classmethod
    def damaged(cls, path: Path) -> LocalStore:
        """A store of what may not even open: only `repair` can be relied on."""
        store = cls.__new__(cls)
        store._prepare(path, "w")
        return store

    def _prepare(self, path: Path, mode: str) -> None:
        self.path = path
        self.read_only = mode == "r"
        self._writer_lock = FileLock(path / layout.WRITER_LOCK)
        self._ingest_lock = FileLock(path / layout.INGEST_LOCK)
        self._forget()

    def _forget(self) -> None:
        """Begin without connections: at the start, and in a forked child (whose parent's are not its own)."""
        self._pid = os.getpid()
        self._idle: list[_Reader] = []
        self._writer: _Reader | None = None
        self._writing = False
        """whether a thread is using the writer's connection"""
        self._failed: BaseException | None = None
        self._closed = False
        self._shared: Shared | None = None
        self._background: Background | None = None
        self._leases = 0
        self._guard = threading.Lock()

    def _create(self, mode: str) -> None:
        path = self.path
        occupied = path.exists() and (not path.is_dir() or any(not _is_begun(inside.name) for inside in path.iterdir()))
        if occupied:
            what = (
                "is no Stackroom library, and it is not empty"
                if path.is_dir()
                else "is a file, and a library is a folder"
            )
            raise NotALibraryError(
                f"{path} {what}.",
                hint="Name a library's folder; a new one is made where nothing is, or in an empty folder. "
                f"To index what is here: stackroom --library DIR add {shlex.quote(str(path))}",
                path=path,
            )
        if mode in ("r", "w"):
            hint = f"Make one: stackroom --library {shlex.quote(str(path))} add PATH"
            raise NotFoundError(f"There is no library at {path}.", hint=hint, path=path)
        self._refuse_network()
        with fsio.translated(path):
            fsio.make_folder(path)
            os.chmod(path, 0o700)
            layout.vectors(path).mkdir(mode=0o700, exist_ok=True)
        with self._writer_lock.hold(wait=30.0):
            if not layout.is_library(path):
                database.create(path)

    def _refuse_network(self) -> None:
        parent = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        kind = fsio.network_file_system(parent)
        if kind is not None:
            raise ReadOnlyError(
                f"{self.path} is on a network drive ({kind}), whose locks can't be relied on.",
                hint="Keep the library on a local disk; copy a backup to the drive. "
                f"To write there all the same, from one machine at a time: {fsio.NETWORK_ALLOWED}=allow.",
                path=self.path,
            )

    def _refuse_links(self) -> None:
        """Files in a folder elsewhere would be cut or removed as if they were the library's."""
        folder = layout.vectors(self.path)
        if folder.is_symlink():
            raise ReadOnlyError(
                f"{folder} is a link, and nothing is written through one.",
                hint="Put the folder itself in its place, or move the whole library.",
                path=folder,
            )

    def stats(self) -> Stats:
        """The newest commit in numbers. Raises ClosedError, DamagedError, StorageError."""
        with self._reading() as reader:
            from stackroom.storage.catalogue import summary

            return summary.stats(reader.connection, reader.codec, self.path)

    def copied(self) -> Copied | None:
        """What `stats` says of the transfer that made this a copy, which costs no view. Raises ClosedError, DamagedError, StorageError."""
        with self._reading() as reader:
            from stackroom.storage.catalogue import summary

            return summary.copied_of(reader.connection, reader.codec)

    @contextlib.contextmanager
    def view(self) -> Iterator[Snapshot]:
        """A Snapshot of the newest commit. Raises ClosedError, DamagedError, StorageError."""
        with self._reading() as reader:
            from stackroom.storage.shared import Shared
            from stackroom.storage.snapshot import Snapshot

            with self._guard:
                if self._shared is None or self._shared.file != reader.file:
                    self._shared = Shared(self.path, reader.file)
                shared = self._shared
            for attempt in range(_RESTARTS):
                try:
                    snapshot = Snapshot(reader.connection, reader.codec, shared)
                    if not snapshot.lacks_files or attempt:
                        break
                except FileNotFoundError as error:
                    if attempt == _RESTARTS - 1:
                        from stackroom.storage.vectors import vector_file

                        raise vector_file.missing(error.filename) from error
                # Replaced between the catalogue's word and the opening: begin again on the newest commit.
                reader.connection.execute("ROLLBACK")
                reader.connection.execute("BEGIN")
            yield snapshot

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_Reader]:
        """A connection within a read transaction."""
        pid = os.getpid()
        with _GATE.within(), self._reader() as reader:
            reader.connection.execute("BEGIN")
            try:
                yield reader
            finally:
                # After an error of the disk SQLite has ended it already; a forked child has it no more.
                if os.getpid() == pid and reader.connection.in_transaction:
                    reader.connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _reader(self) -> Iterator[_Reader]:
        self._check_open()
        self._let_go_of_replaced()
        with self._guard:
            reader = self._idle.pop() if self._idle else None
        if reader is None:
            reader = _Reader.opened(self.path, database.open_reader)
        pid, sound = os.getpid(), True
        try:
            with database.translated(layout.catalogue(self.path), reader.connection):
                yield reader
        except (DamagedError, StorageError) as error:
            # SQLite may go on with what it met.
            sound = False
            if database.is_outdated(reader.connection):
                raise BusyError(
                    f"{self.path} can't be written from here, and somebody else wrote to it while it was read.",
                    hint="Try again.",
                    path=self.path,
                ) from error
            raise
        finally:
            with self._guard:
                keep = sound and not self._closed and pid == os.getpid() and reader.is_current(_identity(self.path))
                if keep:
                    self._idle.append(reader)
            if not keep:
                reader.connection.close()

    @contextlib.contextmanager
    def commit(self, *, wait: float = 30.0) -> Iterator[LocalCommit]:
        """One commit: durable and visible when the block ends, nothing when it raises. Raises BusyError, StorageError."""
        with self.exclusive(wait=wait) as writer:
            from stackroom.storage.upkeep import maintenance
            from stackroom.storage.writer import LocalCommit

            writer.connection.execute("BEGIN IMMEDIATE")
            writer.codec.follow()
            commit = LocalCommit(self.path, writer.connection, writer.codec)
            pid = os.getpid()
            try:
                yield commit
                if os.getpid() != pid:
                    raise UsageError(
                        "A commit belongs to the process that began it.",
                        hint="Let a forked child end within the block, or fork before it.",
                        path=self.path,
                    )
                self._make_durable(commit, writer.connection)
            except BaseException:
                if os.getpid() == pid:
                    writer.codec.forget_compressors()
                raise
            finally:
                commit.release()
            # The commit is durable. What upkeep meets now costs space and speed, and the next one tries again.
            with contextlib.suppress(apsw.Error, StackroomError):
                maintenance.after_commit(writer.connection, writer.codec)
            if commit.touches_chunks and not self._leases:
                self._upkeep().start(writer.connection)

    def _make_durable(self, commit: LocalCommit, connection: Connection) -> None:
        try:
            commit.finish()
            connection.execute("COMMIT")
        except (OSError, StorageError, apsw.IOError) as error:
            # After a failed fsync nobody knows what the disk holds (fsyncgate, 2018): this writer may not go on.
            self._failed = error
            raise

    @contextlib.contextmanager
    def exclusive(self, *, wait: float = 30.0) -> Iterator[_Reader]:
        """The writer lock and the writing connection, outside of a transaction."""
        self._check_open()
        self._check_writable()
        with self._writer_lock.hold(wait=wait), _GATE.within():
            from stackroom.storage.upkeep import maintenance

            self._check_open()
            if self._failed is not None:
                raise StorageError(
                    f"Writing to {self.path} failed before ({self._failed}).",
                    hint="Check the disk, then open the library again.",
                    path=self.path,
                ) from self._failed
            self._let_go_of_replaced(writing=True)
            pid = os.getpid()
            with self._guard:
                # From here on who closes the store leaves the writer to this thread.
                self._check_open()
                self._writing = True
            try:
                if self._writer is None:
                    self._writer = self._opened_writer()
                writer = self._writer
                with database.translated(layout.catalogue(self.path), writer.connection):
                    maintenance.settle(writer.connection, self.path)
                    try:
                        yield writer
                    finally:
                        # Wherever it was interrupted. A forked child shares the memory that the transaction is in: what it did to it,
                        # its parent would meet.
                        if os.getpid() == pid and writer.connection.in_transaction:
                            writer.connection.execute("ROLLBACK")
            except (DamagedError, StorageError):
                # SQLite may go on with what it met: where it could not open the WAL's index for writing once, a connection stays
                # read-only, and one to which a page was refused tells of damage for ever.
                if os.getpid() == pid:
                    self._forget_connections()
                raise
            finally:
                if os.getpid() == pid:
                    with self._guard:
                        self._writing = False
                    if self._closed:
                        # By another thread, which could not close what was in use.
                        self._close_writer()

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError(f"{self.path} was opened read-only.", hint="Open it with mode='a'.", path=self.path)

    def _opened_writer(self) -> _Reader:
        self._refuse_network()
        self._refuse_links()
        try:
            return self._writer_that_writes()
        except ReadOnlyError:
            # A process has one index of the WAL. Where it was opened while nothing could be written here, it stays read-only until
            # the last connection is closed.
            self._forget_connections()
            return self._writer_that_writes()

    def _writer_that_writes(self) -> _Reader:
        writer = _Reader.opened(self.path, database.open_writer)
        try:
            with database.translated(layout.catalogue(self.path), writer.connection):
                schema.check_version(writer.connection, self.path, writing=True)
                writer.connection.execute("BEGIN IMMEDIATE")
                writer.connection.execute("ROLLBACK")
        except BaseException:
            writer.connection.close()
            raise
        return writer

    def _let_go_of_replaced(self, *, writing: bool = False) -> None:
        """Close connections to a catalogue that a repair has replaced, or that is not what they take it for; that of the writer too, by who holds the writer lock."""
        now = _identity(self.path)
        with self._guard:
            old = [held for held in self._idle if not held.is_current(now)]
            self._idle = [held for held in self._idle if held not in old]
            if writing and self._writer is not None and self._writer.file != now:
                old.append(self._writer)
                self._writer = None
            if old:
                self._shared = None
        for held in old:
            held.connection.close()

    def _forget_connections(self) -> None:
        """Close what is not in use, so that it is opened anew. The caller holds the writer lock."""
        with self._guard:
            idle, self._idle = self._idle, []
            writer, self._writer = self._writer, None
        for held in (*idle, *((writer,) if writer is not None else ())):
            held.connection.close()

    @contextlib.contextmanager
    def lease(self, purpose: str, *, wait: float = 0.0) -> Iterator[None]:
        """Hold the right to run a long ingest. Raises BusyError naming the holder."""
        self._check_open()
        self._check_writable()
        with self._ingest_lock.hold(purpose, wait=wait):
            self._leases += 1
            try:
                yield
            finally:
                self._leases -= 1
        self.maintain()

    def maintain(self, *, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        """Make the sketches and postings files that are due, and give back what deletes have left, unless somebody else does.

        Searches are quicker then, and find the same.
        """
        self._upkeep().run(progress=progress, cancel=cancel)

    def maintain_beside(self) -> None:
        """The same in a thread, which ends when the store is closed."""
        if not self.read_only:
            with self.view() as view:
                self._upkeep().start(view.connection)

    def _upkeep(self) -> Background:
        from stackroom.storage.upkeep.background import Background

        with self._guard:
            self._background = self._background or Background(self)
            return self._background

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            database.require_own_locks(layout.catalogue(self.path))
            self._forget()
            self._writer_lock = FileLock(self._writer_lock.path)
            self._ingest_lock = FileLock(self._ingest_lock.path)
        if self._closed:
            raise ClosedError(f"The library {self.path} was closed.", hint="Open it again.", path=self.path)

    def verify(self, *, progress: Progress, cancel: CancelToken) -> Verification:
        from stackroom.storage.upkeep import check

        return check.verify(self, progress=progress, cancel=cancel)

    def repair(self, *, dry_run: bool, progress: Progress, cancel: CancelToken) -> Repair:
        from stackroom.storage.upkeep import repair

        if not dry_run:
            self._check_writable()
            self._refuse_network()
            self._refuse_links()
        found = repair.repair(self.path, dry_run=dry_run, progress=progress, cancel=cancel)
        if found.damage and not dry_run and not cancel.cancelled:
            self._upkeep().run(thorough=True)
        return found

    def compact(self, *, progress: Progress, cancel: CancelToken) -> Compaction:
        from stackroom.storage.upkeep import compaction

        done = compaction.compact(self, progress=progress, cancel=cancel)
        self._upkeep().run(thorough=True)
        return done

    def purge(self, *, progress: Progress, cancel: CancelToken) -> None:
        from stackroom.storage.upkeep import compaction

        compaction.purge(self, progress=progress, cancel=cancel)

    def backup(self, folder: Path, *, refresh: bool, progress: Progress, cancel: CancelToken) -> Backup:
        from stackroom.storage.upkeep import backup

        return backup.backup(self, folder, refresh=refresh, progress=progress, cancel=cancel)

    def reembed(
        self,
        identity: EmbedderIdentity,
        embed: EmbedTexts,
        *,
        judge: Judge | None = None,
        progress: Progress,
        cancel: CancelToken,
    ) -> tuple[int, bool]:
        from stackroom.storage.upkeep import reembedding

        return reembedding.reembed(self, identity, embed, judge=judge, progress=progress, cancel=cancel)

    def discard_former(self) -> bool:
        from stackroom.storage.upkeep import reembedding

        return reembedding.discard(self)

    def close(self) -> None:
        """Close every connection; the last one out folds the WAL into the catalogue, under the writer lock."""
        if self._closed or self._pid != os.getpid():
            return
        if self._background is not None:
            # While the store is open: what it leaves half done, it takes away.
            self._background.end()
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        self._shared = None
        for reader in idle:
            reader.connection.close()
        if self.read_only:
            return
        # Busy, or a disk that refuses: the next one to close does it.
        with contextlib.suppress(Exception), self._writer_lock.hold(wait=0.05):
            self._let_go_of_replaced(writing=True)
            if self._writer is None:
                self._writer = _Reader.opened(self.path, database.open_writer)
            self._close_writer()
            return
        with self._guard:
            idle_writer = None if self._writing else self._writer
        if idle_writer is not None:
            idle_writer.connection.close()

    def _close_writer(self) -> None:
        """Fold the WAL into the catalogue, and close. The caller holds the writer lock."""
        from stackroom.storage.upkeep import maintenance

        with self._guard:
            writer, self._writer = self._writer, None
        if writer is None:
            return
        with contextlib.suppress(Exception):
            if self._failed is None:
                maintenance.checkpoint(writer.connection, "TRUNCATE")
                writer.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        writer.connection.close()


def _identity(library: Path) -> tuple[int, int]:
    """Of the catalogue's file, by device and number; opening it here would drop SQLite's locks."""
    try:
        found = os.stat(layout.catalogue(library))
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _is_begun(name: str) -> bool:
    """Whether a creation that was interrupted may have left this (SQLite's own journal included)."""
    return name in (layout.WRITER_LOCK, layout.INGEST_LOCK, layout.VECTORS) or name.startswith(layout.CATALOGUE_NEW)
