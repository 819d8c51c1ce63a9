"""Text that was recognised in a picture is told apart wherever the terminal shows a passage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import stackroom
from chat_support import chat_server
from stackroom import Chunk, Document, Place
from stackroom.cli.main import cli
from support import WordEmbedder

MARK = "recognised in a picture"


@pytest.fixture
def scanned(library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Page 1 was printed, page 2 is a picture."""
    monkeypatch.delenv("STACKROOM_CHAT_MODEL", raising=False)
    chunks = [
        Chunk("Herons wait for fish.", chunk_id="one", place=Place(page=1)),
        Chunk("Gu11s steal bread.", chunk_id="two", place=Place(page=2), metadata={"recognised": True}),
    ]
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([Document("birds", source="birds", title="Birds", chunks=chunks)])
    return library


def run(library: Path, *words: str) -> Result:
    done = CliRunner().invoke(cli, ["--library", str(library), *words])
    assert done.exit_code == 0, done.output
    return done


def marked(told: str, text: str) -> bool:
    """Whether the heading above a passage has the mark."""
    lines = told.splitlines()
    at = next(number for number, line in enumerate(lines) if text in line)
    return MARK in lines[at - 1]


def test_show_marks_recognised_passages_alone(scanned: Path) -> None:
    told = run(scanned, "show", "birds").stdout
    assert "[2] p. 2" in told
    assert marked(told, "Gu11s steal bread.")
    assert not marked(told, "Herons wait for fish.")


def test_show_as_json_has_it_in_the_metadata(scanned: Path) -> None:
    told = json.loads(run(scanned, "--json", "show", "birds").stdout)
    assert [passage["metadata"] for passage in told["passages"]] == [{}, {"recognised": True}]


def test_a_hit_says_so(scanned: Path) -> None:
    assert MARK in run(scanned, "search", "gu11s steal").stdout
    assert MARK not in run(scanned, "search", "herons").stdout


def test_what_is_quoted_or_cited_says_so(scanned: Path) -> None:
    told = run(scanned, "ask", "gu11s", "steal", "bread").stdout
    assert marked(told, "Gu11s steal bread.")
    with chat_server(["They steal it [1]."]) as server:
        told = run(scanned, "ask", "gu11s", "steal", "bread", "--model", server.name).stdout
    assert MARK in told.splitlines()[-1]
