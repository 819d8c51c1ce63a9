from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store


class Chroma(Store):
    name = "Chroma"
    keeps = "vectors as given, texts; no ranking by words"
    finds = "approximate (HNSW); filters before it ranks"
    changes = "a log, synced; its graph is written now and then"

    def _collection(self) -> Any:
        client = chromadb.PersistentClient(str(self.folder), Settings(anonymized_telemetry=False))
        return client.get_or_create_collection("passages", metadata={"hnsw:space": "cosine"}, embedding_function=None)

    def build(self, parts: Iterable[Part]) -> None:
        self.open()
        for part in parts:
            self.add(part)

    def open(self) -> None:
        self._passages = self._collection()

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._found(self._passages.query(query_embeddings=[query], n_results=k))

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        where = {"document": {"$in": list(documents)}}
        return self._found(self._passages.query(query_embeddings=[query], n_results=k, where=where))

    def _found(self, answer: Any) -> Found:
        return list(zip(answer["ids"][0], answer["documents"][0], strict=True))

    def add(self, part: Part) -> None:
        self._passages.add(
            ids=[passage.chunk_id for passage in part.passages],
            embeddings=part.vectors,
            documents=[passage.text for passage in part.passages],
            metadatas=[passage.metadata for passage in part.passages],
        )

    def remove(self, document: str) -> None:
        self._passages.delete(where={"document": document})

    def close(self) -> None:
        del self._passages
