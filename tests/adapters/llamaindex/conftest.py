"""What tests of LlamaIndex's stores share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llamaindex_support import WordEmbedding
from stackroom.adapters.llamaindex import StackroomDocumentStore, StackroomVectorStore


@pytest.fixture
def embed_model() -> WordEmbedding:
    """It lists what it was asked to embed."""
    return WordEmbedding()


@pytest.fixture
def vectors(library: Path) -> Iterator[StackroomVectorStore]:
    """A vector store in the library; whatever a test did, the library is whole after it."""
    made = StackroomVectorStore(library)
    yield made
    assert made.client.verify().ok


@pytest.fixture
def docstore(library: Path, vectors: StackroomVectorStore) -> StackroomDocumentStore:
    return StackroomDocumentStore(library)
