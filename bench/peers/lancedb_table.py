from __future__ import annotations

from collections.abc import Iterable, Sequence

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store

_FIELDS = ["id", "text", "document", "page", "author", "year"]


class Lance(Store):
    name = "LanceDB"
    keeps = "vectors as given, texts, an index of words"
    finds = "exact, scans; filters before it ranks; BM25"
    changes = "new files, not synced; words of what is added are scanned until an index is asked for"
    synced = False

    def _batch(self, part: Part) -> pa.RecordBatch:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.vectors.reshape(-1)), self.dim)
        columns = {
            "id": [passage.chunk_id for passage in part.passages],
            "text": [passage.text for passage in part.passages],
            **{
                name: [passage.metadata[name] for passage in part.passages]
                for name in ("document", "page", "author", "year")
            },
        }
        return pa.RecordBatch.from_arrays([*map(pa.array, columns.values()), vectors], names=[*columns, "vector"])

    def build(self, parts: Iterable[Part]) -> None:
        batches = (self._batch(part) for part in parts)
        first = next(batches)
        reader = pa.RecordBatchReader.from_batches(first.schema, (batch for batch in _chain(first, batches)))
        table = lancedb.connect(self.folder).create_table("passages", reader)
        table.create_fts_index("text")
        table.create_scalar_index("document")

    def open(self) -> None:
        self._table = lancedb.connect(self.folder).open_table("passages")

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        search = self._table.search(query).distance_type("cosine").select(_FIELDS).limit(k)
        return [(row["id"], row["text"]) for row in search.to_list()]

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        listed = ", ".join(f"'{name}'" for name in documents)
        search = self._table.search(query).distance_type("cosine").where(f"document IN ({listed})", prefilter=True)
        return [(row["id"], row["text"]) for row in search.select(_FIELDS).limit(k).to_list()]

    def matching(self, words: str, k: int) -> Found:
        search = self._table.search(words, query_type="fts").select(_FIELDS).limit(k)
        return [(row["id"], row["text"]) for row in search.to_list()]

    def add(self, part: Part) -> None:
        self._table.add(pa.Table.from_batches([self._batch(part)]))

    def remove(self, document: str) -> None:
        self._table.delete(f"document = '{document}'")

    def close(self) -> None:
        del self._table


def _chain(first: pa.RecordBatch, rest: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    yield first
    yield from rest
