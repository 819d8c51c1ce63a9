"""The page over a library on an engine that is away: an error that says so, or its local copy, which says so too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from browser_support import Visit
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore
from stackroom.transfer import transfer
from stackroom.web.app import application
from stackroom.web.library import Library
from stackroom.web.workspace import Workspace
from support import WordEmbedder
from web_support import ADDRESS, ONCE, TOKEN, Asker


@pytest.fixture
def copy(prepared: Path, tmp_path: Path, away_url: str) -> Path:
    shutil.copytree(prepared / "library", tmp_path / "home")
    origin, target = LocalStore(tmp_path / "home", mode="r"), LocalStore(tmp_path / "copy")
    transfer(origin, target, names=("home", "copy"), copy_of=away_url, progress=silent, cancel=CancelToken())
    origin.close()
    target.close()
    return tmp_path / "copy"


@pytest.fixture
def workspace(away_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    copy = str(request.getfixturevalue("copy")) if getattr(request, "param", True) else None
    made = Workspace(Library(away_url, WordEmbedder(), copy=copy), tmp_path / "uploads")
    yield made
    made.close()


@pytest.fixture
def asker(workspace: Workspace) -> Asker:
    client = TestClient(application(workspace, ADDRESS, TOKEN, ONCE), base_url="http://127.0.0.1:7865")
    return Asker(client, workspace)


@pytest.mark.parametrize("workspace", [False], indirect=True)
def test_without_a_copy_it_is_said(asker: Asker, away_url: str) -> None:
    told = asker.get("/api/status")
    assert (told["state"], told["path"], told["error"]["type"]) == ("failed", away_url, "EngineAwayError")
    assert "is not there" in asker.get("/api/search", 503, q="cat")["error"]["message"]
    assert "papers" in asker.page("/")


def test_every_answer_says_that_it_is_a_copys(asker: Asker, away_url: str, copy: Path) -> None:
    status = asker.get("/api/status")
    assert (status["state"], status["path"]) == ("ready", away_url)
    found = asker.get("/api/search", q="cat", mode="text")
    listed = asker.get("/api/sources")
    assert found["hits"][0]["text"].startswith("A cat")
    answers = [
        status["status"],
        found,
        listed,
        asker.get(f"/api/sources/{listed['sources'][0]['id']}"),
        asker.get(f"/api/passages/{found['hits'][0]['chunk_id']}"),
    ]
    assert [answer["fallback"]["folder"] for answer in answers] == [str(copy)] * 5
    assert f"this is the copy {copy} of 20" in asker.page("/read", chunk=found["hits"][0]["chunk_id"])


def test_nothing_is_written(asker: Asker, tmp_path: Path) -> None:
    refused = asker.post("/api/active", {"sources": ["cats.txt"], "active": False}, 503)
    assert "is for reading: nothing was written" in refused["error"]["message"]
    (tmp_path / "new.txt").write_text("new")
    failed = asker.ended(asker.post("/api/add", {"paths": [str(tmp_path / "new.txt")]}, 202))
    assert (failed["state"], failed["error"]["type"]) == ("failed", "UnavailableError")
    assert "no old index" in asker.post("/api/migrate", {"dry_run": True}, 400)["error"]["message"]


def test_an_engine_is_not_asked_for_its_version_at_every_look(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = workspace.library.index()
    version = workspace.library.version()
    monkeypatch.setattr(index, "_backend", None)
    assert workspace.library.version() == version
    workspace.library.changed()
    with pytest.raises(AttributeError):
        workspace.library.version()


@pytest.mark.browser
def test_the_page_says_it_at_the_top(program: Callable[..., Any], chromium: Any, away_url: str, copy: Path) -> None:
    _, address = program("--port", "0", "--copy", str(copy), path=away_url)
    at = Visit(chromium, address)
    page = at.ready()
    assert "was away: this is its copy of 20" in page.locator("#fallback").inner_text()
    page.fill("#query", "purrs")
    page.wait_for_selector(".hit mark:has-text('purrs')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("body.reading #here")
    assert f"this is the copy {copy}" in page.locator("p.away").inner_text()
    assert at.complaints == []
    at.context.close()
