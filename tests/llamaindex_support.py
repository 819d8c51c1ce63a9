"""What tests of the LlamaIndex adapter need: an embedding model without a model, and nodes with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from support import WordEmbedder

DIM = 32
_WORDS = WordEmbedder(dim=DIM)


class WordEmbedding(BaseEmbedding):
    """Texts that share words are near each other. `embedded` lists every text it was given."""

    embedded: list[str] = Field(default_factory=list)

    def _get_query_embedding(self, query: str) -> list[float]:
        return vector_of(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return vector_of(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        self.embedded.append(text)
        return vector_of(text)


def vector_of(text: str) -> list[float]:
    return [float(value) for value in _WORDS.embed_query(text)]


def node(
    node_id: str, text: str, document: str | None = "A", metadata: dict[str, Any] | None = None, embedding: Any = None
) -> TextNode:
    """A TextNode with a vector, of a document or of none."""
    made = TextNode(
        id_=node_id, text=text, metadata=metadata or {}, embedding=vector_of(text) if embedding is None else embedding
    )
    if document is not None:
        made.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return made


def random_nodes(n: int, *, seed: int = 0, documents: int = 5) -> list[TextNode]:
    rng = np.random.default_rng(seed)
    return [
        node(f"n{i}", f"passage number {i} of many", f"doc{i % documents}", {"i": i, "even": i % 2 == 0, "tag": f"t{i % 3}"},
             rng.standard_normal(DIM).tolist())
        for i in range(n)
    ]  # fmt: skip


def ids(found: Sequence[Any]) -> list[str]:
    return [item.node_id for item in found]
