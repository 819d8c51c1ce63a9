"""Bringing back what can be: a new catalogue of what survives, in the place of the damaged one, which is put aside.

The switch is one rename. Until then the library is as it was; after it, the new catalogue is true. What was replaced is in `damaged.NNNN`
until its user deletes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw

from stackroom.errors import (
    BusyError,
    ClosedError,
    DamagedError,
    FormatVersionError,
    ReadOnlyError,
    StackroomError,
    StorageError,
)
from stackroom.progress import CancelToken, Progress
from stackroom.reports import Damage, Repair
from stackroom.storage.catalogue import database, tables
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import fsio, layout
from stackroom.storage.disk.lock import FileLock
from stackroom.storage.upkeep import check, compaction, salvage, search_files
from stackroom.storage.vectors import sketches
from stackroom.storage.words import postings

_WAIT = 30.0
_SOURCE = f"{layout.CATALOGUE_NEW}.source"
_TEMPLATE = f"{layout.CATALOGUE_NEW}.template"
_LONGER = 64
"""How many times as long as it is a catalogue may have been, to be believed."""
_IN_HEADER = ((28, 4), (32, 4), (36, 4))
"""Page count, first free page and number of free pages: the places of a catalogue's header that are its own."""


def repair(library: Path, *, dry_run: bool, progress: Progress, cancel: CancelToken) -> Repair:
    """What storage can do; what waits for a model or a file is in the catalogue then. Under all locks of the library. Raises BusyError, DamagedError where there is no catalogue or nothing can be read of it, StorageError."""
    if not layout.is_library(library):
        raise layout.without_catalogue(library)
    with _advising(library), contextlib.ExitStack() as held:
        for name, purpose in ((layout.INGEST_LOCK, "repair"), (layout.SKETCH_LOCK, "repair"), (layout.WRITER_LOCK, "")):
            held.enter_context(FileLock(library / name).hold(purpose, wait=_WAIT))
        damage = _damage(library, progress, cancel)
        if cancel.cancelled or not damage:
            return Repair(damage, dry_run=dry_run, cancelled=cancel.cancelled)
        if all(one.structure == "sketches" for one in damage):
            if not dry_run:
                _forget_sketches(library)
            return Repair(
                damage, ("Sketches and postings files are made anew, as far as they are due.",), dry_run=dry_run
            )
        return _salvage(library, damage, dry_run, progress)


@contextlib.contextmanager
def _advising(library: Path) -> Iterator[None]:
    """Where nothing can be written a repair, and a dry run of one, can be done in a copy."""
    try:
        yield
    except ReadOnlyError as error:
        error.hint = (
            f"A repair, also a dry run of one, writes a new catalogue into the library's folder. Copy the whole folder {library} "
            "to where you may write, and repair the copy (once its files can be written: chmod -R u+w COPY): stackroom --library COPY repair"
        )
        raise


def _damage(library: Path, progress: Progress, cancel: CancelToken) -> tuple[Damage, ...]:
    """What `verify` names; where the library can't even be opened, that."""
    from stackroom.storage.store import LocalStore

    try:
        with contextlib.closing(LocalStore(library, mode="r")) as store:
            found = check.verify(store, progress=progress, cancel=cancel, refusing=True).damage
            return tuple(one for one in found if one.structure != "repair")
    except FormatVersionError as error:
        if isinstance(error.actual, int):
            raise
        return (_of_error(library, error),)
    except (StorageError, BusyError, ClosedError):
        raise
    except StackroomError as error:
        return (_of_error(library, error),)


def _of_error(library: Path, error: StackroomError) -> Damage:
    """What keeps a library from being opened, with the file that it is about."""
    file = check.file_of(library, error.path) or layout.CATALOGUE
    structure = "vectors" if file.startswith(f"{layout.VECTORS}/") else "catalogue"
    return Damage(structure, error.message, file=file)


def _forget_sketches(library: Path) -> None:
    """The damaged ones. Nothing is lost with them: what would have been found is found without."""
    with contextlib.closing(database.open_writer(library)) as connection:
        with database.translated(layout.catalogue(library), connection), connection:
            for table, is_damaged in (("sketches", sketches.is_damaged), ("word_files", postings.is_damaged)):
                for (name,) in connection.rows(f"SELECT file FROM {table}"):
                    if not layout.is_name(name) or is_damaged(layout.sketches(library) / name):
                        connection.execute(f"DELETE FROM {table} WHERE file = ?", (name,))
        search_files.sweep(library, connection)


def _salvage(library: Path, damage: tuple[Damage, ...], dry_run: bool, progress: Progress) -> Repair:
    made: list[Path] = []
    new = library / layout.CATALOGUE_NEW
    _clear(library)
    try:
        with fsio.translated(new), database.translated(new), _readable(library) as source:
            survey = _fill(library, source, new, progress)
            made += survey.made
            if (refused := database.unreadable(layout.catalogue(library), source)) is not None:
                # It was passed over like damage, and may be there tomorrow.
                raise refused
            if dry_run:
                embed = len(survey.waiting.embed)
                return Repair(damage, survey.restored, survey.lost, survey.unread, embedded=embed, dry_run=True)
        with fsio.translated(library):
            with contextlib.suppress(apsw.Error, DamagedError):
                _fold(library)
            aside = _keep(library, survey.replaced)
        _switch(library, new)
        made.clear()
    finally:
        _clear(library)
        for path in made:
            path.unlink(missing_ok=True)
            layout.norms_of(path).unlink(missing_ok=True)
    with (
        contextlib.closing(database.open_writer(library)) as connection,
        database.translated(layout.catalogue(library), connection),
    ):
        compaction.sweep(library, connection)
    derived = "Full text, the filter index and the lists of keys were made anew."
    return Repair(damage, (*survey.restored, derived), survey.lost, aside=str(aside))


def _fill(library: Path, source: Connection, new: Path, progress: Progress) -> salvage.Survey:
    """The new catalogue, durable under its temporary name, and the vector files that it names."""
    layout.vectors(library).mkdir(mode=0o700, exist_ok=True)
    fsio.make_file(new)
    target = Connection(str(new), flags=apsw.SQLITE_OPEN_READWRITE)
    with contextlib.closing(target), database.translated(new, target):
        target.rows("PRAGMA journal_mode = MEMORY")
        target.execute("PRAGMA synchronous = OFF")
        tables.create(target)
        with target:
            survey = salvage.salvage(library, source, target, progress)
        target.execute("PRAGMA synchronous = FULL")
        target.rows("PRAGMA journal_mode = WAL")
    os.chmod(new, 0o600)
    fsio.sync_path(new)
    fsio.sync_directory(layout.vectors(library))
    return survey


@contextlib.contextmanager
def _readable(library: Path) -> Iterator[Connection]:
    """The damaged catalogue; where SQLite would not open it, a copy that it opens. Raises DamagedError."""
    with contextlib.ExitStack() as opened:
        try:
            connection = opened.enter_context(contextlib.closing(database.open_reader(library)))
            _require_tables(connection)
        except (DamagedError, apsw.Error):
            opened.close()
            connection = opened.enter_context(contextlib.closing(_copied(library)))
        connection.execute("BEGIN")
        yield connection


def _require_tables(connection: Connection) -> None:
    """Raises apsw.Error where the schema, or where a table begins, can't be read."""
    for table in ("settings", "sources", "documents", "chunks"):
        connection.rows(f"SELECT 1 FROM {table} WHERE 0")


def _copied(library: Path) -> Connection:
    """A copy, as long as its header says; with the first page of a catalogue made now where its own says nothing.

    Tables are laid in the same order in every catalogue, and so begin on the same pages.
    """
    copy, template = library / _SOURCE, library / _TEMPLATE
    with contextlib.closing(Connection(str(template))) as connection:
        tables.create(connection)
    model = template.read_bytes()
    database.copy_file(layout.catalogue(library), copy)
    with copy.open("rb+") as file:
        own = file.read(layout.PAGE_SIZE)
        least = max(-(-fsio.size_of(copy) // layout.PAGE_SIZE), len(model) // layout.PAGE_SIZE)
        told = int.from_bytes(own[28:32], "big")
        pages = told if least < told <= _LONGER * least else least
        file.truncate(pages * layout.PAGE_SIZE)
    for graft in (False, True):
        for suffix in ("-wal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
        if (library / layout.WAL).exists():
            shutil.copyfile(library / layout.WAL, copy.with_name(copy.name + "-wal"))
        if graft:
            with copy.open("rb+") as file:
                file.write(_first_page(model, pages))
        connection = Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
        database.defend(connection)
        try:
            _require_tables(connection)
            return connection
        except apsw.Error as error:
            connection.close()
            said = error
    raise salvage.nothing_left(library) from said


def _first_page(model: bytes, pages: int) -> bytes:
    first = bytearray(model[: layout.PAGE_SIZE])
    for (offset, length), value in zip(_IN_HEADER, (pages, 0, 0), strict=True):
        first[offset : offset + length] = value.to_bytes(length, "big")
    first[18:20] = b"\x02\x02"  # WAL, as a catalogue says of itself
    first[92:96] = first[24:28]
    return bytes(first)


def _fold(library: Path) -> None:
    """Have the damaged catalogue hold all that its WAL does, since the WAL goes before the switch. Raises BusyError."""
    with contextlib.closing(database.open_writer(library)) as connection:
        busy, _, _ = connection.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
    if busy:
        raise BusyError(
            f"Another process reads {layout.catalogue(library)}.", hint="Close what uses the library.", path=library
        )


def _keep(library: Path, replaced: tuple[Path, ...]) -> Path:
    """Put the damaged files where nothing touches them: the same files under a second name, or copies."""
    number = 1
    while (folder := library / f"{layout.DAMAGED}.{number:04d}").exists():
        number += 1
    fsio.make_folder(folder)
    (folder / layout.VECTORS).mkdir(mode=0o700)
    files = [layout.catalogue(library), library / layout.WAL]
    files += [path for vectors in replaced for path in (vectors, layout.norms_of(vectors))]
    for path in files:
        if path.exists():
            target = folder / path.relative_to(library)
            try:
                os.link(path, target)
            except OSError:
                copy = database.copy_file if path.name == layout.CATALOGUE else shutil.copyfile
                copy(path, target)
                fsio.sync_path(target)
    for changed in (folder / layout.VECTORS, folder, library):
        fsio.sync_directory(changed)
    return folder


def _switch(library: Path, new: Path) -> None:
    """The WAL first: it must never be taken for the new catalogue's."""
    catalogue = layout.catalogue(library)
    with fsio.translated(catalogue):
        for suffix in ("-wal", "-shm"):
            catalogue.with_name(catalogue.name + suffix).unlink(missing_ok=True)
        fsio.sync_directory(library)
        new.replace(catalogue)
        fsio.sync_directory(library)


def _clear(library: Path) -> None:
    """What a run that died has left."""
    with fsio.translated(library):
        for path in library.glob(f"{layout.CATALOGUE_NEW}*"):
            path.unlink()
