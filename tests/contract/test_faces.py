"""The faces that know libraries by their path, over one that is on an engine: agents, the page, LangChain and LlamaIndex."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import pytest

import stackroom
from stackroom.types import Chunk, Document
from support import WordEmbedder

pytestmark = pytest.mark.engines


@pytest.fixture
def url() -> str:
    base = os.environ["STACKROOM_TEST_POSTGRESQL"]
    return f"{base}{'&' if '?' in base else '?'}library={uuid.uuid4().hex}"


async def test_an_agent_searches_and_reads(url: str) -> None:
    mcp = pytest.importorskip("mcp")
    with stackroom.open(url, embedder=WordEmbedder()) as index:
        index.add_documents(
            [Document("one", "one.txt", chunks=[Chunk("The lighthouse of Pharos."), Chunk("It burned.")])]
        )
    command = ["-m", "stackroom", "--library", url, "mcp"]
    async with mcp.Client(mcp.StdioServerParameters(command=sys.executable, args=command)) as client:
        found = (await client.call_tool("search", {"query": "lighthouse"})).structured_content
        assert [hit["text"] for hit in found["hits"]] == ["The lighthouse of Pharos."]
        assert "fallback" not in found
        read = (await client.call_tool("read", {"chunk_id": found["hits"][0]["chunk_id"]})).structured_content
        assert [one["text"] for one in read["after"]] == ["It burned."]
        listed = (await client.call_tool("list_documents", {})).structured_content
        assert [one["title"] for one in listed["documents"]] == ["one.txt"]


def test_the_page_searches_adds_and_removes(url: str, tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    from starlette.testclient import TestClient

    from stackroom.web.app import application
    from stackroom.web.library import Library
    from stackroom.web.workspace import Workspace
    from web_support import ADDRESS, ONCE, TOKEN, Asker

    workspace = Workspace(Library(url, WordEmbedder()), tmp_path / "uploads")
    asker = Asker(TestClient(application(workspace, ADDRESS, TOKEN, ONCE), base_url="http://127.0.0.1:7865"), workspace)
    (tmp_path / "pharos.txt").write_text("The lighthouse of Pharos.")
    assert asker.ended(asker.post("/api/add", {"paths": [str(tmp_path)]}, 202))["result"]["added"] == 1
    status = asker.get("/api/status")
    assert (status["state"], status["status"]["chunks"], status["status"]["fallback"]) == ("ready", 1, None)
    found = asker.get("/api/search", q="lighthouse")
    assert [hit["text"] for hit in found["hits"]] == ["The lighthouse of Pharos."]
    assert "fallback" not in found
    refused = asker.ended(asker.post("/api/compact", {}, 202))
    assert (refused["state"], refused["error"]["type"]) == ("failed", "UsageError")
    asker.post("/api/remove", {"sources": ["pharos.txt"]})
    assert asker.get("/api/sources")["sources"] == []
    workspace.close()


def test_langchain_stores_and_finds(url: str) -> None:
    pytest.importorskip("langchain_core")
    from langchain_support import WordEmbeddings, document, ids
    from stackroom.adapters.langchain import StackroomVectorStore

    store = StackroomVectorStore(url, WordEmbeddings())
    store.add_documents(
        [document("the lighthouse of Pharos", "a", year=1999), document("rotate the logs", "b", year=2010)]
    )
    assert ids(store.similarity_search("lighthouse", k=1)) == ["a"]
    assert ids(store.similarity_search("lighthouse", k=2, filter={"year": {"$gt": 2000}})) == ["b"]
    assert ids(store.similarity_search("logs", k=1, mode="hybrid")) == ["b"]
    store.delete(["a"])
    assert ids(StackroomVectorStore(url, WordEmbeddings()).similarity_search("lighthouse", k=2)) == ["b"]


def test_llamaindex_stores_and_finds(url: str) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.vector_stores import VectorStoreQuery

    from llamaindex_support import node, vector_of
    from stackroom.adapters.llamaindex import StackroomVectorStore

    store = StackroomVectorStore(url)
    store.add([node("a", "the lighthouse of Pharos"), node("b", "rotate the logs", "B")])
    found = store.query(VectorStoreQuery(query_embedding=vector_of("lighthouse"), similarity_top_k=1))
    assert found.ids == ["a"]
    assert found.nodes[0].get_content() == "the lighthouse of Pharos"
    store.delete("A")
    found = StackroomVectorStore(url).query(
        VectorStoreQuery(query_embedding=vector_of("lighthouse"), similarity_top_k=2)
    )
    assert found.ids == ["b"]
