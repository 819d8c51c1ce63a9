"""`persist` as old code calls it: without a folder, beside the old index."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from llama_index.core.vector_stores.types import VectorStoreQuery

import stackroom
from llamaindex_support import node, vector_of
from old_index import OldIndex, contents
from stackroom.adapters.llamaindex import storage_context
from stackroom.errors import StackroomError


def test_the_default_folder_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LlamaIndex fills in `./storage`; an application that moved to a library may still have its old index there."""
    monkeypatch.chdir(tmp_path)
    context = storage_context("library")
    context.persist()
    assert not (tmp_path / "storage").exists()
    OldIndex().write(tmp_path / "storage")
    before = contents(tmp_path / "storage")
    context.persist()
    assert contents(tmp_path / "storage") == before
    context.persist("elsewhere")
    assert (tmp_path / "elsewhere" / "catalogue.db").exists()


def test_a_link_whose_medium_is_not_mounted_gets_no_folder_in_its_place(tmp_path: Path) -> None:
    context = storage_context(str(tmp_path / "library"))
    (tmp_path / "backup").symlink_to(tmp_path / "usb" / "library")
    with pytest.raises(StackroomError, match=r"is a link to .*, which is not there"):
        context.persist(str(tmp_path / "backup"))
    assert not (tmp_path / "usb").exists()


def test_searches_go_on_while_persist_waits_for_another_writer(tmp_path: Path) -> None:
    index = stackroom.open(tmp_path / "library")
    context = storage_context(index)
    context.vector_store.add([node("n1", "harbour", "doc")])
    context.docstore.set_document_hash("told before its nodes", "hash")
    question = VectorStoreQuery(query_embedding=vector_of("harbour"), similarity_top_k=1, node_ids=["n1"])
    with ThreadPoolExecutor(2) as threads:
        with index.backend.exclusive():
            waiting = threads.submit(context.persist)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            assert threads.submit(context.vector_store.query, question).result(timeout=10).ids == ["n1"]
        waiting.result(timeout=10)
    assert context.docstore.get_document_hash("told before its nodes") == "hash"
