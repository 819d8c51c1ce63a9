"""Texts and metadata in SQLite, for libraries that keep vectors only: what an application puts beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import apsw
from passages import Part
from peer import Found


class Texts:
    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))
        self._db.execute("PRAGMA journal_mode = WAL").fetchall()
        self._db.execute(
            """PRAGMA synchronous = FULL;
               CREATE TABLE IF NOT EXISTS passages(key INTEGER PRIMARY KEY, id TEXT UNIQUE, document TEXT, text TEXT, metadata TEXT);
               CREATE INDEX IF NOT EXISTS by_document ON passages(document)"""
        )

    def add(self, part: Part) -> range:
        """The keys of its passages, from 0 on."""
        first = self._db.execute("SELECT coalesce(max(key) + 1, 0) FROM passages").fetchone()[0]
        with self._db:
            self._db.executemany(
                "INSERT INTO passages VALUES(?, ?, ?, ?, ?)",
                (
                    (first + i, passage.chunk_id, passage.document, passage.text, json.dumps(passage.metadata))
                    for i, passage in enumerate(part.passages)
                ),
            )
        return range(first, first + len(part.passages))

    def keys_of(self, documents: Sequence[str]) -> list[int]:
        marks = ", ".join("?" * len(documents))
        rows = self._db.execute(f"SELECT key FROM passages WHERE document IN ({marks})", tuple(documents)).fetchall()
        return [key for (key,) in rows]

    def found(self, keys: Sequence[int]) -> Found:
        found = []
        for key in keys:
            row = self._db.execute("SELECT id, text, metadata FROM passages WHERE key = ?", (int(key),)).fetchone()
            if row is not None:
                json.loads(row[2])
                found.append((row[0], row[1]))
        return found

    def remove(self, document: str) -> None:
        with self._db:
            self._db.execute("DELETE FROM passages WHERE document = ?", (document,))

    def close(self) -> None:
        self._db.close()
