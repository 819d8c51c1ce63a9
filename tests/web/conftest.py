"""A page over a small library, asked in this process; and the real program, asked over a socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

import browser_support
import stackroom
from browser_support import Visit
from stackroom.web.app import application
from stackroom.web.library import Library
from stackroom.web.workspace import Workspace
from support import WordEmbedder, write_files
from web_support import ADDRESS, FILES, ONCE, TOKEN, Asker


@pytest.fixture
def workspace(library: Path) -> Iterator[Workspace]:
    made = Workspace(Library(str(library), WordEmbedder()))
    yield made
    made.close()


@pytest.fixture
def client(workspace: Workspace) -> TestClient:
    """Knows no token."""
    return TestClient(application(workspace, ADDRESS, TOKEN, ONCE), base_url="http://127.0.0.1:7865")


@pytest.fixture
def asker(client: TestClient, workspace: Workspace) -> Asker:
    return Asker(client, workspace)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `documents` and their `library`; tests leave it as it is."""
    made = tmp_path_factory.mktemp("prepared")
    write_files(made / "documents", FILES)
    with stackroom.open(made / "library", embedder=WordEmbedder()) as index:
        assert index.add(made / "documents").added == len(FILES)
    return made


@pytest.fixture
def documents(prepared: Path) -> Path:
    """The files behind `filled`."""
    return prepared / "documents"


@pytest.fixture
def filled(asker: Asker, library: Path, prepared: Path) -> Asker:
    """A page over a copy of that library."""
    shutil.copytree(prepared / "library", library)
    return asker


@pytest.fixture
def program(library: Path) -> Iterator[Callable[..., tuple[httpx.Client, str]]]:
    """Start `stackroom ui`; gives a client with the token, and the address. The program is ended as by Ctrl-C."""
    started: list[subprocess.Popen[str]] = []
    clients: list[httpx.Client] = []

    def start(*options: str, path: Path = library) -> tuple[httpx.Client, str]:
        command = [sys.executable, "-m", "stackroom", "--library", str(path), "ui", "--no-open", *options]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        started.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        base, _, token = address.partition("/?token=")
        headers = {"authorization": f"Bearer {token}"}
        clients.append(httpx.Client(base_url=base, headers=headers, timeout=60, verify=False))
        return clients[-1], address

    yield start
    for client in clients:
        client.close()
    for process in started:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
        assert process.returncode == 0


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "There is no Chromium: name it with CHROMIUM=, or install it."
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, program: Callable[..., Any]) -> Iterator[Callable[..., Visit]]:
    made: list[Visit] = []

    def start(path: Path | None = None, **options: Any) -> Visit:
        _, address = program("--port", "0", **({} if path is None else {"path": path}))
        made.append(Visit(chromium, address, **options))
        return made[-1]

    yield start
    for one in made:
        one.context.close()
        assert one.complaints == []


@pytest.fixture
def made(library: Path, folder: Path) -> Path:
    """A library of the files, made beforehand."""
    write_files(folder, browser_support.FILES)
    with stackroom.open(library) as index:
        index.add(folder)
    return library
