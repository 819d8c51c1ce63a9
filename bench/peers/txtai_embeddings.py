"""txtai: its FAISS index with content in SQLite and keywords beside it, and vectors that are there already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store

# The function below is named in the index, and txtai looks for named ones only where it is told so.
os.environ["ALLOW_RESOLVE_TRANSFORM"] = "True"

from txtai import Embeddings

_VECTORS: dict[str, NDArray[np.float32]] = {}


def vectors_of(texts: Sequence[str]) -> NDArray[np.float32]:
    """txtai asks for the vectors of texts; a question that is a vector goes by a text that stands for it."""
    return np.stack([_VECTORS[text] for text in texts])


class Txtai(Store):
    name = "txtai"
    keeps = "vectors as given, texts, an index of words"
    finds = "approximate (IVF) from 5,000 passages on; filters what was found; BM25"
    changes = "every file written again; texts and words synced, vectors not"
    synced = False

    def _made(self) -> Any:
        return Embeddings(
            {
                "method": "external",
                "transform": "txtai_embeddings.vectors_of",
                "content": True,
                "hybrid": True,
                "backend": "faiss",
            }
        )

    def _records(self, parts: Iterable[Part]) -> list[tuple[str, dict[str, Any], None]]:
        records = []
        for part in parts:
            for passage, row in zip(part.passages, part.vectors, strict=True):
                _VECTORS[passage.text] = row
                records.append((passage.chunk_id, {"text": passage.text, **passage.metadata}, None))
        return records

    def build(self, parts: Iterable[Part]) -> None:
        index = self._made()
        index.index(self._records(parts))
        index.save(str(self.folder))
        index.close()

    def open(self) -> None:
        self._index = self._made()
        self._index.load(str(self.folder))

    def _found(self, statement: str, k: int, query: NDArray[np.float32] | None = None) -> Found:
        if query is not None:
            _VECTORS["?"] = query
        rows = self._index.search(statement, k)
        return [(row["id"], row["text"]) for row in rows]

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._found(
            f"SELECT id, text, document, page, author, year FROM txtai WHERE similar('?', {k}, 1.0)", k, query
        )

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        names = ", ".join(f"'{name}'" for name in documents)
        # As many candidates as txtai takes by itself: ten for each hit.
        return self._found(f"SELECT id, text, document, page, author, year FROM txtai WHERE similar('?') AND document IN ({names})", k, query)  # fmt: skip

    def matching(self, words: str, k: int) -> Found:
        # It asks for the vector of words too, and gives it no weight.
        _VECTORS[words] = np.ones(self.dim, dtype=np.float32)
        return self._found(
            f"SELECT id, text, document, page, author, year FROM txtai WHERE similar('{words}', {k}, 0.0)", k
        )

    def add(self, part: Part) -> None:
        self._index.upsert(self._records([part]))
        self._index.save(str(self.folder))

    def remove(self, document: str) -> None:
        rows = self._index.search(f"SELECT id FROM txtai WHERE document = '{document}'", 1000)
        self._index.delete([row["id"] for row in rows])
        self._index.save(str(self.folder))

    def close(self) -> None:
        self._index.close()
