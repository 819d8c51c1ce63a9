"""A migration is not taken back over what an application has written since, through whichever adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings
from llama_index.core import Document, VectorStoreIndex, load_index_from_storage

from llamaindex_support import WordEmbedding
from stackroom import migration
from stackroom.adapters.langchain import StackroomVectorStore
from stackroom.adapters.llamaindex import storage_context
from stackroom.errors import UsageError

TEXTS = {"harbours": "Ships lie in the harbour.", "mountains": "Goats climb the mountain."}


class Words(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return WordEmbedding().get_text_embedding_batch(texts)

    def embed_query(self, text: str) -> list[float]:
        return WordEmbedding().get_query_embedding(text)


def inserted(old: Path) -> None:
    index = load_index_from_storage(storage_context(old), embed_model=WordEmbedding())
    index.insert(Document(text="whales sing", id_="whales"))


def updated(old: Path) -> None:
    index = load_index_from_storage(storage_context(old), embed_model=WordEmbedding())
    index.update_ref_doc(Document(text="Ships leave the harbour at dawn.", id_="harbours"))


def added(old: Path) -> None:
    StackroomVectorStore(old, embedding=Words()).add_texts(["whales sing"], ids=["whales"])


def read(old: Path) -> None:
    index = load_index_from_storage(storage_context(old), embed_model=WordEmbedding())
    assert index.as_retriever(similarity_top_k=1).retrieve("Goats")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    index = VectorStoreIndex.from_documents(
        [Document(text=text, id_=name) for name, text in TEXTS.items()], embed_model=WordEmbedding()
    )
    index.storage_context.persist(str(tmp_path / "old"))
    return tmp_path / "old"


@pytest.mark.parametrize("write", [inserted, updated, added])
def test_what_was_written_since_is_named_before_it_goes(write: Callable[[Path], None], old: Path) -> None:
    migration.migrate(old)
    write(old)
    with pytest.raises(UsageError, match="1 sources were added"):
        migration.roll_back(old)
    asked: list[str] = []
    assert not migration.roll_back(old, confirm=lambda new: asked.extend(source.path for source in new) or False)
    assert len(asked) == 1
    assert migration.roll_back(old, confirm=lambda new: True)
    assert not (old / "stackroom").exists()


def test_reading_is_no_change(old: Path) -> None:
    migration.migrate(old)
    read(old)
    assert migration.roll_back(old)
