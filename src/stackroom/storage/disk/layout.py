"""Names, magic numbers and versions of a library on disk; docs/format.md says what they mean."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from stackroom.errors import DamagedError, UsageError
from stackroom.storage.disk import fsio

FORMAT_VERSION = 1
"""Raised with every change of the catalogue's tables; numbered upgrades lead from one to the next."""

READER_FLAGS = 0
WRITER_FLAGS = 0
"""Bits that a reader or writer must know to touch the library; an unknown one means refuse."""

APPLICATION_ID = 0x5354524D  # "STRM", in the catalogue's SQLite header
PAGE_SIZE = 8192

CATALOGUE = "catalogue.db"
CATALOGUE_NEW = "catalogue.db.new"
WAL = "catalogue.db-wal"
WRITER_LOCK = "writer.lock"
INGEST_LOCK = "ingest.lock"
SKETCH_LOCK = "sketch.lock"
VECTORS = "vectors"
SKETCHES = "sketches"
DAMAGED = "damaged"
"""How the folders begin in which a repair puts aside what it has replaced."""

_VECTOR_FILE = re.compile(r"\d+\.\d{4,}")

VECTOR_MAGIC = b"STRMVEC\x01"
VECTOR_HEADER = 4096
"""Bytes before the first row: one page, so that rows are aligned to pages."""


def catalogue(library: Path) -> Path:
    return library / CATALOGUE


def vectors(library: Path) -> Path:
    return library / VECTORS


def sketches(library: Path) -> Path:
    return library / SKETCHES


def norms_of(vector_file: Path) -> Path:
    """The norms beside a vector file whose rows are not all of unit length."""
    return vector_file.with_name(vector_file.name + ".norms")


def is_name(value: object) -> bool:
    """Whether this can be a file's name in a folder of the library: one from a stranger, or a damaged one, may say anything."""
    return isinstance(value, str) and "\x00" not in value and Path(value).name == value


def is_library(path: Path) -> bool:
    """Whether this folder has a catalogue. Its content is judged when SQLite opens it, and by nothing else:

    POSIX drops all of a process's locks on a file when any descriptor of it is closed. Raises StorageError.
    """
    with fsio.translated(catalogue(path)):
        return catalogue(path).is_file()


def lacks_catalogue(path: Path) -> bool:
    """Whether this folder holds a library without its catalogue: vector files, or a catalogue that a repair put aside. Raises StorageError."""
    folder = vectors(path)
    with fsio.translated(path):
        if catalogue(path).is_file():
            return False
        has_rows = folder.is_dir() and any(_VECTOR_FILE.fullmatch(file.name) for file in folder.iterdir())
        return has_rows or bool(put_aside(path))


def put_aside(library: Path) -> list[Path]:
    """The folders in which repairs have put aside what they replaced, the oldest first."""
    found = (path for path in library.glob(f"{DAMAGED}.*") if path.suffix[1:].isdigit())
    return sorted(path for path in found if catalogue(path).is_file())


def without_catalogue(library: Path) -> DamagedError:
    """The error for a library whose catalogue is missing: what to do is the same, whatever was to be done with it."""
    return DamagedError(
        f"The catalogue of the library {library} is missing ({catalogue(library)}); its other files are there, and nothing was touched.",
        hint=without_catalogue_hint(library),
        path=catalogue(library),
    )


def without_catalogue_hint(library: Path) -> str:
    """What to do where the catalogue is lost, whole or in part."""
    hint = (
        "It says which vector is of which passage, and nothing else does. Restore it from a backup: "
        f"{put_in_place(library)}. "
        "Without a backup, index the files anew in another folder: stackroom --library DIR add PATH."
    )
    if aside := put_aside(library):
        kept = aside[-1] / CATALOGUE
        hint += f" An older, damaged one is {kept}: copy it to {catalogue(library)}, and see what is left: stackroom repair --dry-run"
    return hint


def put_in_place(library: Path | str, backup: Path | None = None) -> str:
    """How a backup takes the place of a library: it is one, and is copied there."""
    there, here = "BACKUP" if backup is None else shlex.quote(str(backup)), shlex.quote(str(library))
    return f"move {here} away, then: stackroom --library {there} backup {here}"


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` filled in. Raises UsageError for a user that is not known here, for an empty name, and for a URL, which is no folder."""
    if isinstance(path, str) and "://" in path:
        raise UsageError(
            f"{path} is a library on an engine, and this needs one in a folder.",
            hint="Copy it into one: stackroom --library DIR pull URL",
            actual=path,
        )
    if not os.fspath(path):
        raise UsageError(
            "An empty name is no folder.", hint="Name the folder; the one that you are in is called '.'.", actual=path
        )
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{os.fspath(path)}: {error}.", hint="Write the path out.", actual=str(path)) from error
