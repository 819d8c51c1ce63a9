from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import zvec
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store

_FIELDS = ["text", "document", "page", "author", "year"]


class Zvec(Store):
    name = "zvec"
    keeps = "vectors as given, texts, an index of words"
    finds = "approximate (HNSW); filters before it ranks; BM25"
    changes = "flushed and synced"

    def build(self, parts: Iterable[Part]) -> None:
        text, whole = zvec.DataType.STRING, zvec.DataType.INT64
        schema = zvec.CollectionSchema(
            "passages",
            fields=[
                zvec.FieldSchema("text", text, index_param=zvec.FtsIndexParam()),
                zvec.FieldSchema("document", text, index_param=zvec.InvertIndexParam()),
                zvec.FieldSchema("page", whole),
                zvec.FieldSchema("author", text),
                zvec.FieldSchema("year", whole),
            ],
            vectors=[
                zvec.VectorSchema(
                    "vector", zvec.DataType.VECTOR_FP32, self.dim, zvec.HnswIndexParam(zvec.MetricType.COSINE)
                )
            ],
        )
        self._collection = zvec.create_and_open(str(self.folder), schema)
        for part in parts:
            self._collection.insert(_docs(part))
        self._collection.optimize()
        self.close()

    def open(self) -> None:
        zvec.init(query_threads=1)
        self._collection = zvec.open(str(self.folder))

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._query(zvec.Query("vector", vector=query), k, None)

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        listed = ", ".join(f"'{name}'" for name in documents)
        return self._query(zvec.Query("vector", vector=query), k, f"document IN ({listed})")

    def matching(self, words: str, k: int) -> Found:
        return self._query(zvec.Query("text", fts=zvec.Fts(match_string=words)), k, None)

    def _query(self, query: zvec.Query, k: int, chosen: str | None) -> Found:
        found = self._collection.query(query, topk=k, filter=chosen, output_fields=_FIELDS)
        return [(doc.id, doc.field("text")) for doc in found]

    def add(self, part: Part) -> None:
        self._collection.insert(_docs(part))
        self._collection.flush()

    def remove(self, document: str) -> None:
        self._collection.delete_by_filter(f"document = '{document}'")
        self._collection.flush()

    def close(self) -> None:
        self._collection.close()


def _docs(part: Part) -> list[zvec.Doc]:
    return [
        zvec.Doc(id=passage.chunk_id, vectors={"vector": row}, fields={"text": passage.text, **passage.metadata})
        for passage, row in zip(part.passages, part.vectors, strict=True)
    ]
