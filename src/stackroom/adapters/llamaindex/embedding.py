"""Stackroom's own models for LlamaIndex: what `stackroom add` embeds with, offline."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from stackroom.ingest.embedders import DEFAULT, resolve
from stackroom.protocols import AnyEmbedder, Embedder
from stackroom.types import EmbedderIdentity


class StackroomEmbedding(BaseEmbedding):
    """An embedding model by the name that Stackroom knows it by: "minilm", the one that is shipped, or "onnx:PATH".

    With it an index over a library that `stackroom add` made understands its vectors. Raises UsageError for an unknown name.
    """

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: str | AnyEmbedder = DEFAULT, **kwargs: Any) -> None:
        found = resolve(embedder)
        super().__init__(model_name=found.identity.name, **kwargs)
        self._embedder = found

    @classmethod
    def class_name(cls) -> str:
        return "StackroomEmbedding"

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    @property
    def stackroom_identity(self) -> EmbedderIdentity:
        return self._embedder.identity

    def _get_query_embedding(self, query: str) -> list[float]:
        return [float(value) for value in self._embedder.embed_query(query)]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [[float(value) for value in row] for row in self._embedder.embed_passages(texts)]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
