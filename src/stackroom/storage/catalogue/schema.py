"""The catalogue's tables. docs/format.md says what every column means; this is the same as SQL."""

from __future__ import annotations

import uuid
from pathlib import Path

from stackroom.errors import FormatVersionError, NotALibraryError
from stackroom.storage.catalogue import collections, metadata, originals
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.storage.vectors import sketches
from stackroom.storage.words import tokenizer, word_files

ACTIVE_SET = 1

TABLES = (
    "CREATE TABLE settings(name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    "CREATE TABLE dictionaries(dictionary_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL) STRICT",
    *collections.SCHEMA,
    """CREATE TABLE spaces(
        space_key INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        identity TEXT NOT NULL,
        dim INTEGER NOT NULL,
        metric TEXT NOT NULL,
        unit INTEGER NOT NULL,
        file TEXT NOT NULL,
        file_uuid BLOB NOT NULL,
        rows INTEGER NOT NULL
    ) STRICT""",
    "CREATE UNIQUE INDEX spaces_serving ON spaces(state) WHERE state = 'serving'",
    """CREATE TABLE sources(
        source_key INTEGER PRIMARY KEY AUTOINCREMENT,
        source_id ANY NOT NULL UNIQUE,
        name ANY NOT NULL UNIQUE,
        title ANY NOT NULL,
        type TEXT NOT NULL,
        is_file INTEGER NOT NULL,
        size INTEGER,
        mtime_ns INTEGER,
        content_hash BLOB,
        recipe TEXT NOT NULL,
        state TEXT NOT NULL,
        error ANY,
        error_kind TEXT,
        pages INTEGER,
        pages_without_text INTEGER,
        indexed_at TEXT,
        checksum INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX sources_by_content ON sources(content_hash) WHERE content_hash IS NOT NULL",
    "CREATE INDEX sources_with_error ON sources(name) WHERE error IS NOT NULL",
    "CREATE TABLE sets(set_key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, joins INTEGER NOT NULL) STRICT",
    """CREATE TABLE set_members(
        set_key INTEGER NOT NULL,
        source_key INTEGER NOT NULL,
        PRIMARY KEY(set_key, source_key)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE documents(
        document_key INTEGER PRIMARY KEY AUTOINCREMENT,
        document_id ANY NOT NULL UNIQUE,
        source_key INTEGER NOT NULL,
        title ANY NOT NULL,
        metadata BLOB,
        checksum INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX documents_by_source ON documents(source_key)",
    """CREATE TABLE chunks(
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        chunk_id ANY NOT NULL UNIQUE,
        document_key INTEGER NOT NULL,
        collection_key INTEGER NOT NULL,
        position INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        details BLOB,
        text BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX chunks_by_document ON chunks(document_key, position)",
    f"CREATE INDEX chunks_elsewhere ON chunks(collection_key) WHERE collection_key <> {collections.DEFAULT}",
    """CREATE TABLE runs(
        document_key INTEGER NOT NULL,
        first_key INTEGER NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY(document_key, first_key)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE extents(
        space_key INTEGER NOT NULL,
        first_row INTEGER NOT NULL,
        n INTEGER NOT NULL,
        first_key INTEGER NOT NULL,
        document_key INTEGER NOT NULL,
        checksums BLOB NOT NULL,
        PRIMARY KEY(space_key, first_row)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX extents_by_key ON extents(space_key, first_key)",
    """CREATE TABLE dead_rows(
        space_key INTEGER NOT NULL,
        first_row INTEGER NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY(space_key, first_row)
    ) STRICT, WITHOUT ROWID""",
    f"""CREATE VIRTUAL TABLE words USING fts5(
        text,
        content='',
        contentless_delete=1,
        tokenize="{tokenizer.TOKENIZER}"
    )""",
    # Merging happens between commits (writer.py), never inside one.
    "INSERT INTO words(words, rank) VALUES('automerge', 0)",
    "INSERT INTO words(words, rank) VALUES('crisismerge', 1000)",
    *metadata.SCHEMA,
    *originals.SCHEMA,
    *sketches.SCHEMA,
    *word_files.SCHEMA,
)


def create(connection: Connection) -> None:
    """Lay the tables of an empty catalogue, in one transaction. The caller holds the writer lock."""
    connection.execute(f"PRAGMA page_size = {layout.PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with connection:
        connection.execute(f"PRAGMA application_id = {layout.APPLICATION_ID}")
        for statement in TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO collections VALUES(?, 'default', NULL)", (collections.DEFAULT,))
        connection.execute("INSERT INTO sets VALUES(?, 'active', 1)", (ACTIVE_SET,))
        connection.executemany(
            "INSERT INTO settings VALUES(?, ?)",
            [
                ("format_version", layout.FORMAT_VERSION),
                ("reader_flags", layout.READER_FLAGS),
                ("writer_flags", layout.WRITER_FLAGS),
                ("library_uuid", uuid.uuid4().bytes),
                ("commits", 0),
            ],
        )


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


def count_commit(connection: Connection) -> None:
    """Every commit has a number, by which snapshots are named, and an id that no other library's commit has."""
    connection.execute("UPDATE settings SET value = value + 1 WHERE name = 'commits'")
    connection.execute("INSERT OR REPLACE INTO settings VALUES('commit_id', randomblob(16))")
