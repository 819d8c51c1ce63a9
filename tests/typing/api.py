"""The typed surface, checked by mypy and never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import stackroom
from stackroom import Chunk, Collection, Document, EmbedderIdentity, Hit, Index, Passage, Report, Source, Stats
from stackroom.filters import Condition, all_of
from stackroom.protocols import Embedder, Tokenizer
from stackroom.types import Mode


class OwnEmbedder:
    @property
    def identity(self) -> EmbedderIdentity:
        return EmbedderIdentity("own", 3)

    @property
    def tokenizer(self) -> Tokenizer | None:
        return None

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), 3), np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.zeros(3, np.float32)


own: Embedder = OwnEmbedder()

with stackroom.open("library", mode="a", embedder=OwnEmbedder()) as index:
    assert_type(index, Index)
    assert_type(index.add(["a", "b"], prune=True, confirm=lambda gone, total: gone < total), Report)
    assert_type(index.add_documents([Document("d", text="t", chunks=[Chunk("c")])]), Report)
    assert_type(index.search("words", k=3, where="year >= 2020", active=True), list[Hit])
    assert_type(index.search(np.zeros(3, np.float32), where=all_of(Condition("a", "==", 1))), list[Hit])
    assert_type(index.search("words", where={"key": "a", "op": "in", "value": [1]}, mode="text"), list[Hit])
    assert_type(index.sources(), list[Source])
    assert_type(index.get("source"), list[Passage])
    assert_type(index.collections(), list[Collection])
    assert_type(index.resolve_mode("hybrid"), tuple[Mode, str | None])
    assert_type(index.remove_documents(["d"], purge=True), Report)
    assert_type(index.vectors(["c"]), NDArray[np.float32])
    assert_type(index.stats(), Stats)
    index.search("words", mode="fuzzy")  # type: ignore[arg-type]
    stackroom.open("library", mode="w")  # type: ignore[arg-type]
