from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store

import stackroom

# Imported at their first use otherwise; the others' imports are not counted as opening either.
import stackroom.index
import stackroom.search.retriever
import stackroom.storage.store
from stackroom import Chunk, Document


class Stackroom(Store):
    name = "Stackroom"
    keeps = "vectors as given, texts, an index of words, a checksum of each passage"
    finds = "exact scores of many candidates; filters before it ranks; BM25"
    changes = "one commit, synced, words included"

    def build(self, parts: Iterable[Part]) -> None:
        with stackroom.open(self.folder) as index:
            index.add_documents(_document(part) for part in parts)

    def open(self) -> None:
        self._index = stackroom.open(self.folder)

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return [(hit.chunk_id, hit.text) for hit in self._index.search(query, k=k)]

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        return [(hit.chunk_id, hit.text) for hit in self._index.search(query, k=k, sources=documents)]

    def matching(self, words: str, k: int) -> Found:
        return [(hit.chunk_id, hit.text) for hit in self._index.search(words, k=k, mode="text")]

    def add(self, part: Part) -> None:
        self._index.add_documents([_document(part)])

    def remove(self, document: str) -> None:
        self._index.remove([document])

    def close(self) -> None:
        self._index.close()


def _document(part: Part) -> Document:
    chunks = [
        Chunk(passage.text, passage.chunk_id, passage.metadata, embedding=row)
        for passage, row in zip(part.passages, part.vectors, strict=True)
    ]
    return Document(part.name, source=part.name, title=part.name, chunks=chunks)
