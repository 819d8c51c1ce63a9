"""What every reader and writer of a catalogue must know: which version it may be, and the keys that are fixed."""

from __future__ import annotations

from pathlib import Path

from stackroom.errors import FormatVersionError, NotALibraryError
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout

ACTIVE_SET = 1
"""The key of the set of active sources."""

DEFAULT_COLLECTION = 1
"""The key of the collection that everything joins unless it is told otherwise."""


def check_version(connection: Connection, library: Path, *, writing: bool) -> None:
    """Refuse what is no library, or needs a newer Stackroom. Raises NotALibraryError, FormatVersionError."""
    if connection.value("PRAGMA application_id") != layout.APPLICATION_ID:
        raise NotALibraryError(
            f"{layout.catalogue(library)} is a database of another program.",
            hint="Choose another folder.",
            path=library,
        )
    found = dict(
        connection.execute(
            "SELECT name, value FROM settings WHERE name IN ('format_version','reader_flags','writer_flags')"
        )
    )
    version = found.get("format_version")
    unknown = int(found.get("reader_flags", 0)) & ~layout.READER_FLAGS
    if writing:
        unknown |= int(found.get("writer_flags", 0)) & ~layout.WRITER_FLAGS
    if not isinstance(version, int) or version > layout.FORMAT_VERSION or unknown:
        raise FormatVersionError(
            f"The library {library} was written by a newer Stackroom (format {version}, unknown flags {unknown:#x}).",
            hint="Upgrade with: pip install --upgrade stackroom",
            path=library,
            expected=layout.FORMAT_VERSION,
            actual=version,
        )


def count_commit(connection: Connection, *, members: bool = False) -> None:
    """Every commit has a number, by which snapshots are named, and an id that no other library's commit has.

    It is the last change of a commit: the small tables get their checksums, those of sets and collections where `members` changed.
    """
    connection.execute("UPDATE settings SET value = value + 1 WHERE name = 'commits'")
    connection.execute("INSERT OR REPLACE INTO settings VALUES('commit_id', randomblob(16))")
    # Imported where something is written: `status` starts without it.
    from stackroom.storage.catalogue import sums

    sums.put(connection, members=members)
