"""LangChain's indexing API, with a record manager beside the library, in every mode of cleaning up."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from langchain_support import WordEmbeddings, document
from stackroom.adapters.langchain import StackroomVectorStore

SHA256: dict[str, Any] = {"key_encoder": "sha256"} if "key_encoder" in inspect.signature(index).parameters else {}
"""Newer releases warn of their default; older ones have no choice."""


class Records(InMemoryRecordManager):
    """A clock that moves on with every look: two runs within one tick of the real one would be the same run."""

    def __init__(self) -> None:
        super().__init__("stackroom")
        self.create_schema()
        self._now = 0.0

    def get_time(self) -> float:
        self._now += 1.0
        return self._now


@pytest.fixture
def store(library: Path) -> Iterator[StackroomVectorStore]:
    made = StackroomVectorStore(library, WordEmbeddings())
    yield made
    assert made.index.verify().ok


def pages(source: str, *texts: str) -> list[Document]:
    return [document(text, source=source) for text in texts]


def texts(store: StackroomVectorStore) -> set[str]:
    return {item.page_content for item in store.similarity_search("anything", k=100)}


FIRST = pages("a", "a one", "a two") + pages("b", "b one")
CHANGED = pages("a", "a one", "a three")

AFTER = {
    None: {"a one", "a two", "a three", "b one"},
    "incremental": {"a one", "a three", "b one"},
    "scoped_full": {"a one", "a three", "b one"},
    "full": {"a one", "a three"},
}


@pytest.mark.parametrize("cleanup", AFTER)
def test_a_second_run_writes_what_is_new_and_cleans_up(store: StackroomVectorStore, cleanup: Any) -> None:
    records = Records()
    options: dict[str, Any] = {"cleanup": cleanup, "source_id_key": "source", **SHA256}
    assert index(FIRST, records, store, **options)["num_added"] == 3
    again = index(FIRST, records, store, **options)
    assert (again["num_added"], again["num_skipped"], again["num_deleted"]) == (0, 3, 0)
    assert len(store.embeddings.embedded) == 3  # type: ignore[union-attr]
    changed = index(CHANGED, records, store, **options)
    assert (changed["num_added"], changed["num_skipped"]) == (1, 1)
    assert changed["num_deleted"] == 4 - len(AFTER[cleanup])
    assert texts(store) == AFTER[cleanup]
    assert store.index.stats().chunks == len(AFTER[cleanup])


@pytest.mark.parametrize("cleanup", AFTER)
async def test_the_same_async(store: StackroomVectorStore, cleanup: Any) -> None:
    records = Records()
    options: dict[str, Any] = {"cleanup": cleanup, "source_id_key": "source", **SHA256, "batch_size": 1}
    await aindex(FIRST, records, store, **options)
    await aindex(CHANGED, records, store, **options)
    assert texts(store) == AFTER[cleanup]


def test_a_run_over_nothing_removes_everything(store: StackroomVectorStore) -> None:
    records = Records()
    index(FIRST, records, store, cleanup="full", source_id_key="source", **SHA256)
    index([], records, store, cleanup="full", source_id_key="source", **SHA256)
    assert texts(store) == set()
    assert store.index.sources() == []


def test_an_update_by_force(store: StackroomVectorStore) -> None:
    records = Records()
    index(FIRST, records, store, **SHA256)
    done = index(FIRST, records, store, **SHA256, force_update=True)
    assert done["num_updated"] == 3
    assert store.index.stats().chunks == 3
