"""What every reader and writer of a catalogue must know: which version it may be, and the keys that are fixed."""

from __future__ import annotations

from pathlib import Path

from stackroom.errors import DamagedError, FormatVersionError, NotALibraryError
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout

ACTIVE_SET = 1
"""The key of the set of active sources."""

DEFAULT_COLLECTION = 1
"""The key of the collection that everything joins unless it is told otherwise."""


# What a catalogue has none of, as a stranger's may: triggers, views, virtual tables but one, and columns that are computed.
_FOREIGN = """
    SELECT type || ' ' || name FROM sqlite_schema WHERE type NOT IN ('table', 'index')
    UNION ALL
    SELECT 'virtual table ' || name FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 AND name <> 'words'
    UNION ALL
    SELECT 'computed column ' || item.name FROM sqlite_schema AS holder, pragma_table_xinfo(holder.name) AS item
        WHERE holder.type = 'table' AND holder.rootpage <> 0 AND item.hidden <> 0
    LIMIT 1
"""


def check_not_empty(connection: Connection, library: Path) -> None:
    """Raises DamagedError; to be asked before anything writes, since SQLite makes a new database of an empty file."""
    if not connection.value("PRAGMA page_count"):
        raise DamagedError(
            f"The catalogue {layout.catalogue(library)} is empty.",
            hint=layout.without_catalogue_hint(library),
            path=layout.catalogue(library),
        )


def check_version(connection: Connection, library: Path, *, writing: bool) -> None:
    """Refuse what is no library, holds what runs, or needs a newer Stackroom. Raises NotALibraryError, DamagedError, FormatVersionError."""
    check_not_empty(connection, library)
    if connection.value("PRAGMA application_id") != layout.APPLICATION_ID:
        raise NotALibraryError(
            f"{layout.catalogue(library)} is a database of another program.",
            hint="Choose another folder.",
            path=library,
        )
    foreign = connection.value(_FOREIGN)
    if foreign is not None:
        raise DamagedError(
            f"The catalogue {layout.catalogue(library)} has a {foreign}, which is no part of a library.",
            hint="It was made by another program. Restore the library from a backup.",
            path=layout.catalogue(library),
            actual=foreign,
        )
    found = dict(
        connection.execute(
            "SELECT name, value FROM settings WHERE name IN ('format_version','reader_flags','writer_flags')"
        )
    )
    version = found.get("format_version")
    reading, adding = (found.get(name, 0) for name in ("reader_flags", "writer_flags"))
    if not isinstance(reading, int) or not isinstance(adding, int):
        raise DamagedError(
            f"The catalogue {layout.catalogue(library)} does not say what it needs to be read.",
            hint="See what is hit: stackroom verify",
            path=layout.catalogue(library),
            actual=(reading, adding),
        )
    unknown = reading & ~layout.READER_FLAGS
    if writing:
        unknown |= adding & ~layout.WRITER_FLAGS
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

    It is the last change of a commit: the full-text index and the small tables get their checksums, those of sets and collections where `members` changed.
    """
    # Imported where something is written: `status` starts without them.
    from stackroom.storage.catalogue import branches, sums
    from stackroom.storage.words import checksums

    begins = branches.begins(connection)
    connection.execute("UPDATE settings SET value = value + 1 WHERE name = 'commits'")
    connection.execute("INSERT OR REPLACE INTO settings VALUES('commit_id', randomblob(16))")
    if begins:
        branches.note(connection)
    checksums.put(connection)
    sums.put(connection, members=members)
