"""`stackroom mcp`, with the real client of the mcp package over standard input and output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chat_support import PASSAGES
from stackroom.cli.main import cli
from support import write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path / "files", {name: "\n\n".join(texts) for name, texts in PASSAGES.items()})
    done = CliRunner().invoke(cli, ["--library", str(tmp_path / "library"), "add", str(tmp_path / "files")])
    assert done.exit_code == 0, done.output
    return tmp_path / "library"


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "catalogue.db-" not in path.name
    }


async def test_an_agent_searches_reads_and_lists_and_changes_nothing(folder: Path) -> None:
    from mcp import Client, StdioServerParameters

    async def call(tool: str, /, **given: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, given)
        assert not result.is_error, result
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    before = everything(folder)
    server = StdioServerParameters(command=sys.executable, args=["-m", "stackroom", "--library", str(folder), "mcp"])
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {"search", "read", "list_documents"}
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        found = await call("search", query="Who built the Lighthouse of Pharos?")
        assert found["hits"][0]["path"].endswith("lighthouse.txt")
        assert "Sostratus" in found["hits"][0]["text"]
        only = await call("search", query="Lighthouse of Pharos", sources=["*bread*"])
        assert {Path(hit["path"]).name for hit in only["hits"]} == {"bread.txt"}
        passage = await call("read", chunk_id=found["hits"][0]["chunk_id"], context=1)
        assert passage["text"] == found["hits"][0]["text"]
        listed = await call("list_documents")
        assert listed["total"] == 2
        assert (await call("list_documents", name="*bread*"))["total"] == 1
        wrong = await client.call_tool("read", {"chunk_id": "nobody's"})
        assert wrong.is_error
        assert "There is no passage" in str(wrong.content)
        wrong = await client.call_tool("search", {"query": "stone", "where": ["year >>> 3"]})
        assert wrong.is_error
    assert everything(folder) == before
