"""LlamaIndex's own stores: JSON files, with vectors among them or in FAISS's file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llama_index.core import MockEmbedding, Settings, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import NodeRelationship, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store


class LlamaIndexSimple(Store):
    name = "LlamaIndex Simple"
    keeps = "vectors and texts as JSON, read as a whole; no index of words"
    finds = "exact; filters before it ranks"
    changes = "every file written again, not synced"
    synced = False

    def _context(self) -> StorageContext:
        return StorageContext.from_defaults()

    def build(self, parts: Iterable[Part]) -> None:
        Settings.embed_model = MockEmbedding(self.dim)
        self._index = VectorStoreIndex([], storage_context=self._context())
        for part in parts:
            self._index.insert_nodes(_nodes(part))
        self._index.storage_context.persist(str(self.folder))

    def open(self) -> None:
        Settings.embed_model = MockEmbedding(self.dim)
        self._index = load_index_from_storage(self._stored())

    def _stored(self) -> StorageContext:
        return StorageContext.from_defaults(persist_dir=str(self.folder))

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._retrieve(query, k, None)

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        chosen = MetadataFilter(key="document", value=list(documents), operator=FilterOperator.IN)
        return self._retrieve(query, k, MetadataFilters(filters=[chosen]))

    def _retrieve(self, query: NDArray[np.float32], k: int, filters: Any) -> Found:
        retriever = self._index.as_retriever(similarity_top_k=k, filters=filters)
        found = retriever.retrieve(QueryBundle("", embedding=query.tolist()))
        return [(item.node.node_id, item.node.get_content()) for item in found]

    def add(self, part: Part) -> None:
        self._index.insert_nodes(_nodes(part))
        self._index.storage_context.persist(str(self.folder))

    def remove(self, document: str) -> None:
        self._index.delete_ref_doc(document, delete_from_docstore=True)
        self._index.storage_context.persist(str(self.folder))

    def close(self) -> None:
        del self._index


class LlamaIndexFaiss(LlamaIndexSimple):
    name = "LlamaIndex FAISS"
    keeps = "vectors as given, texts as JSON, read as a whole; no index of words"
    finds = "exact; can't filter"
    changes = "every file written again, not synced; can't remove"

    def _context(self) -> StorageContext:
        import faiss
        from llama_index.vector_stores.faiss import FaissVectorStore

        return StorageContext.from_defaults(vector_store=FaissVectorStore(faiss.IndexFlatIP(self.dim)))

    def _stored(self) -> StorageContext:
        from llama_index.vector_stores.faiss import FaissVectorStore

        vectors = FaissVectorStore.from_persist_dir(str(self.folder))
        return StorageContext.from_defaults(vector_store=vectors, persist_dir=str(self.folder))

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        raise NotImplementedError

    def remove(self, document: str) -> None:
        raise NotImplementedError


def _nodes(part: Part) -> list[TextNode]:
    nodes = []
    for passage, row in zip(part.passages, part.vectors, strict=True):
        node = TextNode(id_=passage.chunk_id, text=passage.text, metadata=passage.metadata, embedding=row.tolist())
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=passage.document)
        nodes.append(node)
    return nodes
