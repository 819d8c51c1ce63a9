from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store


class Qdrant(Store):
    name = "qdrant-edge"
    keeps = "vectors as given, texts, an index of words"
    finds = "approximate (HNSW); filters before it ranks; BM25"
    changes = "flushed and synced"

    def build(self, parts: Iterable[Part]) -> None:
        self.folder.mkdir(exist_ok=True)
        self._shard = edge.EdgeShard.create(str(self.folder), edge.EdgeConfig(self._vectors()))
        for field, kind in (
            ("document", edge.PayloadSchemaType.Keyword),
            ("text", edge.TextIndexParams(scoring=edge.TextScoringParams())),
        ):
            self._shard.update(edge.UpdateOperation.create_field_index(field, kind))
        for part in parts:
            self._shard.update(edge.UpdateOperation.upsert_points(_points(part)))
        self._shard.optimize()
        self.close()

    def _vectors(self) -> dict[str, edge.EdgeVectorParams]:
        return {"": edge.EdgeVectorParams(self.dim, edge.Distance.Cosine)}

    def open(self) -> None:
        config = edge.EdgeConfig(self._vectors(), max_search_threads=1)
        self._shard = edge.EdgeShard.load(str(self.folder), config)

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._search(query, k, None)

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        chosen = edge.FieldCondition("document", match=edge.MatchAny(list(documents)))
        return self._search(query, k, edge.Filter(must=[chosen]))

    def _search(self, query: NDArray[np.float32], k: int, chosen: edge.Filter | None) -> Found:
        request = edge.SearchRequest(edge.Query.Nearest(query.tolist()), k, filter=chosen, with_payload=True)
        return [(point.payload["id"], point.payload["text"]) for point in self._shard.search(request)]

    def matching(self, words: str, k: int) -> Found:
        request = edge.QueryRequest(k, query=edge.TextQuery("text", words), with_payload=True)
        return [(point.payload["id"], point.payload["text"]) for point in self._shard.query(request)]

    def add(self, part: Part) -> None:
        self._shard.update(edge.UpdateOperation.upsert_points(_points(part)))
        self._shard.flush()

    def remove(self, document: str) -> None:
        chosen = edge.Filter(must=[edge.FieldCondition("document", match=edge.MatchAny([document]))])
        self._shard.update(edge.UpdateOperation.delete_points_by_filter(chosen))
        self._shard.flush()

    def close(self) -> None:
        self._shard.close()


def _points(part: Part) -> list[edge.Point]:
    return [
        edge.Point(
            str(uuid.uuid5(uuid.NAMESPACE_OID, passage.chunk_id)),
            row.tolist(),
            {"id": passage.chunk_id, "text": passage.text, **passage.metadata},
        )
        for passage, row in zip(part.passages, part.vectors, strict=True)
    ]
