from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import apsw
import numpy as np
import sqlite_vec
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store


class SqliteVec(Store):
    name = "sqlite-vec"
    keeps = "vectors as given, texts, an index of words"
    finds = "exact, scans; filters before it ranks; BM25 (FTS5)"
    changes = "one commit, synced, words included"

    def open(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._db = apsw.Connection(str(self.folder / "passages.db"))
        self._db.enable_load_extension(True)
        self._db.load_extension(sqlite_vec.loadable_path())
        self._db.execute("PRAGMA journal_mode = WAL").fetchall()
        self._db.execute(
            f"""PRAGMA synchronous = FULL;
                CREATE VIRTUAL TABLE IF NOT EXISTS vectors USING vec0(
                    key INTEGER PRIMARY KEY, embedding FLOAT[{self.dim}] distance_metric=cosine, document TEXT);
                CREATE TABLE IF NOT EXISTS passages(
                    key INTEGER PRIMARY KEY, id TEXT UNIQUE, document TEXT, text TEXT, metadata TEXT);
                CREATE INDEX IF NOT EXISTS by_document ON passages(document);
                CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content='passages', content_rowid='key')"""
        )

    def build(self, parts: Iterable[Part]) -> None:
        self.open()
        with self._db:
            for part in parts:
                self._insert(part)
        self.close()

    def _insert(self, part: Part) -> None:
        for passage, row in zip(part.passages, part.vectors, strict=True):
            values = (passage.chunk_id, passage.document, passage.text, json.dumps(passage.metadata))
            self._db.execute("INSERT INTO passages(id, document, text, metadata) VALUES(?, ?, ?, ?)", values)
            key = self._db.last_insert_rowid()
            self._db.execute("INSERT INTO words(rowid, text) VALUES(?, ?)", (key, passage.text))
            self._db.execute("INSERT INTO vectors VALUES(?, ?, ?)", (key, row.tobytes(), passage.document))

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._texts("SELECT key FROM vectors WHERE embedding MATCH ? AND k = ?", (query.tobytes(), k))

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        marks = ", ".join("?" * len(documents))
        statement = f"SELECT key FROM vectors WHERE embedding MATCH ? AND k = ? AND document IN ({marks})"
        return self._texts(statement, (query.tobytes(), k, *documents))

    def matching(self, words: str, k: int) -> Found:
        terms = " OR ".join(f'"{word}"' for word in words.split())
        return self._texts("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?", (terms, k))

    def _texts(self, statement: str, values: tuple[object, ...]) -> Found:
        found = []
        for (key,) in self._db.execute(statement, values).fetchall():
            chunk_id, text, metadata = self._db.execute(
                "SELECT id, text, metadata FROM passages WHERE key = ?", (key,)
            ).fetchone()
            json.loads(metadata)
            found.append((chunk_id, text))
        return found

    def add(self, part: Part) -> None:
        with self._db:
            self._insert(part)

    def remove(self, document: str) -> None:
        with self._db:
            for key, text in self._db.execute(
                "SELECT key, text FROM passages WHERE document = ?", (document,)
            ).fetchall():
                self._db.execute("INSERT INTO words(words, rowid, text) VALUES('delete', ?, ?)", (key, text))
                self._db.execute("DELETE FROM vectors WHERE key = ?", (key,))
            self._db.execute("DELETE FROM passages WHERE document = ?", (document,))

    def close(self) -> None:
        self._db.close()
