"""What tests of the LangChain adapter need: an embedding model without a model, and stores of Documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from support import WordEmbedder

DIM = 32
_WORDS = WordEmbedder(dim=DIM)


class WordEmbeddings(Embeddings):
    """Texts that share words are near each other. `embedded` lists every text that it was given."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return [vector_of(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return vector_of(text)


class Table(Embeddings):
    """Vectors by text, as a test lays them out."""

    def __init__(self, vectors: dict[str, Any]) -> None:
        self.vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[text]


def vector_of(text: str) -> list[float]:
    return [float(value) for value in _WORDS.embed_query(text)]


def document(text: str, document_id: str | None = None, **metadata: Any) -> Document:
    return Document(id=document_id, page_content=text, metadata=metadata)


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [item.id for item in documents]
