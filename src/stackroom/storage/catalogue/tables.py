"""The catalogue's tables. docs/format.md says what every column means; this is the same as SQL."""

from __future__ import annotations

import uuid

from stackroom.storage.catalogue import originals
from stackroom.storage.catalogue.schema import ACTIVE_SET, DEFAULT_COLLECTION
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.storage.words import checksums, tokenizer

PARTIAL_INDEXES = {
    "spaces_serving": ("UNIQUE INDEX", "spaces(state)", "state = 'serving'"),
    "sources_by_content": ("INDEX", "sources(content_hash)", "content_hash IS NOT NULL"),
    "sources_with_error": ("INDEX", "sources(name)", "error IS NOT NULL"),
    "chunks_elsewhere": ("INDEX", "chunks(collection_key)", f"collection_key <> {DEFAULT_COLLECTION}"),
    "field_values_by_number": ("INDEX", "field_values(field_key, owner, number)", "number IS NOT NULL"),
}
"""Those of some rows: kind, table and columns, and which rows."""


def _partial(name: str) -> str:
    kind, of, where = PARTIAL_INDEXES[name]
    return f"CREATE {kind} {name} ON {of} WHERE {where}"


TABLES = (
    "CREATE TABLE settings(name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    "CREATE TABLE dictionaries(dictionary_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL) STRICT",
    """CREATE TABLE collections(
        collection_key INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        space_key INTEGER
    ) STRICT""",
    """CREATE TABLE collection_members(
        collection_key INTEGER NOT NULL,
        first_key INTEGER NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY(collection_key, first_key)
    ) STRICT, WITHOUT ROWID""",
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
    _partial("spaces_serving"),
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
    _partial("sources_by_content"),
    _partial("sources_with_error"),
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
    _partial("chunks_elsewhere"),
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
    "CREATE TABLE fields(field_key INTEGER PRIMARY KEY, name ANY NOT NULL UNIQUE) STRICT",
    """CREATE TABLE field_values(
        value_key INTEGER PRIMARY KEY,
        field_key INTEGER NOT NULL,
        owner INTEGER NOT NULL,
        number REAL,
        value ANY NOT NULL,
        UNIQUE(field_key, owner, value)
    ) STRICT""",
    _partial("field_values_by_number"),
    """CREATE TABLE postings(
        value_key INTEGER NOT NULL,
        block INTEGER NOT NULL,
        members BLOB NOT NULL,
        PRIMARY KEY(value_key, block)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE originals(
        owner INTEGER NOT NULL,
        key INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY(owner, key)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE attachments(name ANY PRIMARY KEY, checksum INTEGER NOT NULL, data BLOB NOT NULL) STRICT",
    """CREATE TABLE sketches(
        space_key INTEGER NOT NULL,
        first_row INTEGER NOT NULL,
        n INTEGER NOT NULL,
        file TEXT NOT NULL,
        PRIMARY KEY(space_key, first_row)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE word_files(
        first_key INTEGER PRIMARY KEY,
        end_key INTEGER NOT NULL,
        n INTEGER NOT NULL,
        file TEXT NOT NULL
    ) STRICT""",
)


def create(connection: Connection) -> None:
    """Lay the tables of an empty catalogue, in one transaction. The caller holds the writer lock."""
    connection.execute(f"PRAGMA page_size = {layout.PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with connection:
        connection.execute(f"PRAGMA application_id = {layout.APPLICATION_ID}")
        for statement in TABLES:
            connection.execute(statement)
        checksums.put_all(connection)
        originals.put_tally(connection)
        originals.put_number(connection)
        connection.execute("INSERT INTO collections VALUES(?, 'default', NULL)", (DEFAULT_COLLECTION,))
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
