"""What many tests need: an embedder without a model, and small documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stackroom.backend import Backend, DocumentRecord, SourceRecord
from stackroom.types import Chunk, EmbedderIdentity

DIM = 16


class WordEmbedder:
    """A real, if simple, embedder: each word has a fixed random direction, a text is their sum, of unit length.

    Texts that share words are near each other. `embedded` lists every passage that it was given.
    """

    def __init__(self, name: str = "words", dim: int = DIM, max_tokens: int | None = 40) -> None:
        self.identity = EmbedderIdentity(
            name=name, dim=dim, model="words", revision=f"{name}-{dim}", max_tokens=max_tokens
        )
        self.tokenizer = None
        self.embedded: list[str] = []

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += texts
        return (
            np.stack([self.embed_query(text) for text in texts])
            if texts
            else np.empty((0, self.identity.dim), np.float32)
        )

    def embed_query(self, text: str) -> NDArray[np.float32]:
        total = np.zeros(self.identity.dim)
        for word in re.findall(r"\w+", text.lower()) or [""]:
            seed = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
            total += np.random.default_rng(seed).standard_normal(self.identity.dim)
        return (total / np.linalg.norm(total)).astype(np.float32)


def unit_rows(n: int, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def chunks(texts: Iterable[str], *, seed: int = 0, dim: int = DIM) -> list[Chunk]:
    """Chunks with vectors."""
    listed = list(texts)
    return [Chunk(text, embedding=row) for text, row in zip(listed, unit_rows(len(listed), dim, seed), strict=True)]


def put(backend: Backend, name: str, texts: list[str], *, seed: int = 0, **metadata: object) -> list[int]:
    """A source with one document of these chunks; returns their keys."""
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name=name))
        document = commit.put_document(DocumentRecord(f"doc:{name}", source, metadata=metadata))
        return commit.add_chunks(document, chunks(texts, seed=seed))


def texts(backend: Backend) -> list[str]:
    """Of all chunks there are."""
    with backend.view() as view:
        return [passage.text for passage in view.passages(view.live_keys().tolist())]


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
