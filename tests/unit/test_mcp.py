"""`stackroom mcp`, with the real client of the mcp package: over standard input and output, and over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

import stackroom
from chat_support import PASSAGES
from stackroom.cli.main import cli
from support import write_files

TOOLS = {"search", "read", "list_documents", "list_sets"}
WRITING = {"add", "remove", "set_active"}
TOKEN = "a-token-that-an-agent-keeps"


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


@pytest.fixture
def served(folder: Path) -> Iterator[Callable[..., tuple[str, str]]]:
    """Start `stackroom mcp --http`; gives its address and its token. It is ended as by a system that shuts down."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **environment: str) -> tuple[str, str]:
        command = [sys.executable, "-m", "stackroom", "--library", str(folder), "mcp", "--http", "--port", "0"]
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        started.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        return address, process.stdout.readline().strip().removeprefix("Authorization: Bearer ")

    yield start
    for process in started:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
        assert process.returncode == 0


@pytest.fixture(params=["stdio", "http"])
def agent(request: pytest.FixtureRequest, folder: Path, served: Callable[..., tuple[str, str]]) -> Callable[..., Any]:
    """An agent's client, over either way."""
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

    @contextlib.asynccontextmanager
    async def connected(*options: str) -> AsyncIterator[Any]:
        if request.param == "stdio":
            command = ["-m", "stackroom", "--library", str(folder), "mcp", *options]
            server = StdioServerParameters(command=sys.executable, args=command)
            # The client keeps the standard error that it was imported with: in another test that may have been no file.
            async with Client(stdio_client(server, errlog=sys.__stderr__)) as client:
                yield client
            return
        address, token = served(*options)
        async with (
            create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            yield client

    return connected


async def call(client: Any, tool: str, /, **given: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, given)
    assert not result.is_error, result
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refused(client: Any, tool: str, /, **given: Any) -> str:
    result = await client.call_tool(tool, given)
    assert result.is_error, result
    return str(result.content)


async def test_an_agent_searches_reads_and_lists_and_changes_nothing(agent: Callable[..., Any], folder: Path) -> None:
    with stackroom.open(folder) as index:
        index.save_set("kitchen", ["*bread*"])
    before = everything(folder)
    async with agent() as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == TOOLS
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        found = await call(client, "search", query="Who built the Lighthouse of Pharos?")
        assert found["hits"][0]["path"].endswith("lighthouse.txt")
        assert "Sostratus" in found["hits"][0]["text"]
        only = await call(client, "search", query="Lighthouse of Pharos", sources=["*bread*"])
        assert {Path(hit["path"]).name for hit in only["hits"]} == {"bread.txt"}
        passage = await call(client, "read", chunk_id=found["hits"][0]["chunk_id"], context=1)
        assert passage["text"] == found["hits"][0]["text"]
        assert (await call(client, "list_documents"))["total"] == 2
        assert (await call(client, "list_documents", name="*bread*"))["total"] == 1
        assert await call(client, "list_sets") == {"sets": [{"name": "kitchen", "documents": 1}]}
        within = await call(client, "search", query="Lighthouse of Pharos", set_name="kitchen")
        assert {Path(hit["path"]).name for hit in within["hits"]} == {"bread.txt"}
        assert (await call(client, "list_documents", set_name="kitchen"))["total"] == 1
        assert "There is no set" in await refused(client, "search", query="stone", set_name="nobody's")
        assert "There is no passage" in await refused(client, "read", chunk_id="nobody's")
        await refused(client, "search", query="stone", where=["year >>> 3"])
        for tool in WRITING:
            assert tool in await refused(client, tool, paths=["/"], documents=["x"], active=True)
    assert everything(folder) == before


async def test_an_agent_is_told_what_was_wrong_in_the_words_of_the_tools(folder: Path) -> None:
    from mcp import Client

    from stackroom.mcp.serving import made

    with stackroom.open(folder, mode="r") as index:
        async with Client(made(index)) as client:
            said = await refused(client, "search", query="stone", limit=3)
            assert "search has no argument 'limit'. It has: query, k, sources, where, active, set_name." in said
            said = await refused(client, "search", k="many")
            assert "query: Field required; k: Input should be a valid integer" in said
            assert "pydantic" not in said
            assert "Arguments" not in said
            assert "stackroom" not in await refused(client, "list_documents", name="nobody's")
            said = await refused(client, "search", query="stone", where=["a == 1 and b == 2"])
            assert "item of where" in said
            assert "--" not in said
            found = await call(client, "search", query="stone", where=["tipe == text"])
            assert found["hits"] == []
            assert found["reason"].startswith("No document has 'tipe'. Is it 'type'")
            found = await call(client, "search", query='"zebra quantum yoghurt" stone')
            assert (found["hits"], found["reason"]) == ([], 'No passage has "zebra quantum yoghurt".')


async def test_an_agent_that_may_adds_switches_and_removes(agent: Callable[..., Any], folder: Path) -> None:
    write_files(folder.parent / "more", {"mars.txt": "Mars is the fourth planet, red with rust.\n"})
    async with agent("--allow-writes") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == TOOLS | WRITING
        assert tools["remove"].annotations.destructive_hint
        steps: list[float] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            del total, message
            steps.append(done)

        result = await client.call_tool("add", {"paths": [str(folder.parent / "more")]}, progress_callback=progress)
        assert result.structured_content["added"] == 1, result
        assert steps
        found = await call(client, "search", query="Which planet is red?")
        assert found["hits"][0]["title"] == "mars.txt"
        changed = await call(client, "set_active", documents=["mars.txt"], active=False)
        assert changed == {"changed": 1, "active": 2, "documents": 3}
        found = await call(client, "search", query="Which planet is red?", active=True)
        assert "mars.txt" not in {hit["title"] for hit in found["hits"]}
        assert (await call(client, "set_active", active=True))["active"] == 3
        assert (await call(client, "remove", documents=["mars.txt"]))["removed"] == 1
        assert (await call(client, "list_documents"))["total"] == 2
        for tool, given in {"remove": {"documents": ["nobody"]}, "add": {"paths": ["no/whole/path"]}}.items():
            assert "nobody" in (said := await refused(client, tool, **given)) or "no whole path" in said
        assert "No document" in await refused(client, "remove", documents=[])
    assert (folder.parent / "more" / "mars.txt").exists()


async def test_what_may_be_added_is_under_the_folders_that_are_named(agent: Callable[..., Any], folder: Path) -> None:
    mine, other = folder.parent / "mine", folder.parent / "other"
    write_files(mine, {"mars.txt": "Mars is red.\n"})
    write_files(other, {"secret.txt": "The key is under the mat.\n"})
    (mine / "link").symlink_to(other)
    async with agent("--allow-writes", "--add-from", str(mine)) as client:
        for path in (other, mine / "link", mine / "link" / "secret.txt", mine / ".." / "other", mine / "li*k", "/"):
            assert "may be added" in (said := await refused(client, "add", paths=[str(path)])) or "glob" in said, path
        assert (await call(client, "add", paths=[str(mine)]))["added"] == 1
        found = await call(client, "search", query="key under the mat")
        assert "secret.txt" not in {hit["title"] for hit in found["hits"]}


def test_over_http_the_host_the_origin_and_the_token_are_checked(served: Callable[..., tuple[str, str]]) -> None:
    address, token = served(STACKROOM_MCP_TOKEN=TOKEN)
    assert token == TOKEN
    own = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({**own, "Host": "evil.example"}, 403),
        ({**own, "Origin": "https://evil.example"}, 403),
        ({**own, "Origin": "http://127.0.0.1:1"}, 403),
        ({**own, "Sec-Fetch-Site": "cross-site"}, 403),
    ):
        for method in ("POST", "GET", "DELETE", "OPTIONS"):
            answer = httpx.request(method, address, headers=headers, json=asked if method == "POST" else None)
            assert answer.status_code == status, (method, headers)
            assert "mcp --http" in answer.text or status == 403
            assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert httpx.post(address, headers=own, json=asked).status_code not in (401, 403)


def test_two_starts_have_two_tokens(served: Callable[..., tuple[str, str]]) -> None:
    assert len({served()[1], served()[1]}) == 2


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (["--http", "--host", "192.168.1.5"], {}, "TLS"),
        (["--http"], {"STACKROOM_MCP_TOKEN": "short"}, "can be guessed"),
        (["--port", "80"], {}, "--http"),
        (["--add-from", "."], {}, "--allow-writes"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, options: list[str], environment: dict[str, str], said: str) -> None:
    done = CliRunner().invoke(cli, ["--library", str(folder), "mcp", *options], env=environment)
    assert done.exit_code != 0
    assert said in done.output or said in str(done.exception)


async def test_an_agent_that_cancels_stops_the_indexing(folder: Path) -> None:
    """What was committed stays; the server goes on."""
    import anyio
    from mcp import Client

    from stackroom.mcp.serving import made

    write_files(folder.parent / "many", {f"{n}.txt": f"Text {n} about thing {n}. " * 400 for n in range(200)})
    begun = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        del total, message
        if done:
            begun.set()

    with stackroom.open(folder) as index:
        async with Client(made(index, writes=True)) as client, anyio.create_task_group() as group:

            async def add() -> None:
                paths = [str(folder.parent / "many")]
                await client.call_tool("add", {"paths": paths}, progress_callback=progress)

            group.start_soon(add)
            await begun.wait()
            group.cancel_scope.cancel()
        assert len(index.sources()) < 202


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_for_the_agents_next_line(folder: Path, number: signal.Signals) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
    }
    command = [sys.executable, "-m", "stackroom", "--library", str(folder), "mcp"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(hello), file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(number)
        try:
            assert process.wait(60) == -number
        finally:
            process.kill()


async def test_recognised_text_is_told_apart(agent: Callable[..., Any], folder: Path) -> None:
    chunks = [
        stackroom.Chunk("The zeppelin was printed.", "p1", place=stackroom.Place(page=1)),
        stackroom.Chunk("The zeppelin was scanned.", "p2", {"recognised": True}, stackroom.Place(page=2)),
    ]
    with stackroom.open(folder) as index:
        scan = stackroom.Document("scan", source="scan", metadata={"recognised_pages": 1}, chunks=chunks)
        index.add_documents([scan])
    async with agent() as client:
        found = (await client.call_tool("search", {"query": "zeppelin", "k": 2})).structured_content
        assert {hit["chunk_id"]: hit.get("recognised") for hit in found["hits"]} == {"p1": None, "p2": True}
        read = (await client.call_tool("read", {"chunk_id": "p2"})).structured_content
        assert read["recognised"] is True
        listed = (await client.call_tool("list_documents", {"name": "scan"})).structured_content
        assert [one["recognised_pages"] for one in listed["documents"]] == [1]
