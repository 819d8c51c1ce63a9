"""A page over a small library, asked in this process; and the real program, asked over a socket."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from stackroom.web.app import application
from stackroom.web.desk import Desk
from stackroom.web.guard import Address
from stackroom.web.library import Library
from support import WordEmbedder, write_files

TOKEN = "a-token-of-this-start"
ONCE = "opens-a-browser-once"
ADDRESS = Address(("127.0.0.1:7865", "localhost:7865"))
OWN = {"authorization": f"Bearer {TOKEN}"}

FILES = {
    "logs.md": "# Logs\n\n## Rotation\n\nlogrotate rotates and removes old log files every week.\n",
    "cats.txt": "A cat is a small animal that purrs and hunts mice at night.\n",
    "mars.txt": "Mars is the fourth planet, red with rust.\n",
    "page.html": "<html><head><title>Bread</title></head><body><h1>Bread</h1><p>Knead the dough, let it rise, bake it.</p></body></html>",
}


class Asker:
    """Asks the page as a program does, with the token."""

    def __init__(self, client: TestClient, desk: Desk) -> None:
        self.client = client
        self.desk = desk

    def get(self, path: str, code: int = 200, **query: Any) -> Any:
        answer = self.client.get(path, params=query, headers=OWN)
        assert answer.status_code == code, answer.text
        return answer.json()

    def post(self, path: str, body: object = None, code: int = 200) -> Any:
        answer = self.client.post(path, json={} if body is None else body, headers=OWN)
        assert answer.status_code == code, answer.text
        return answer.json()

    def ended(self, told: Any, patience: float = 60) -> Any:
        """The job of an answer, once it has ended."""
        until = time.monotonic() + patience
        while (job := self.get(f"/api/jobs/{told['job']['id']}")["job"])["state"] in ("queued", "waiting", "running"):
            assert time.monotonic() < until, job
            time.sleep(0.02)
        return job

    def added(self, *paths: Path) -> Any:
        return self.ended(self.post("/api/add", {"paths": [str(path) for path in paths]}, 202))

    def source(self, title: str) -> Any:
        return next(source for source in self.get("/api/sources")["sources"] if source["title"] == title)


@pytest.fixture
def desk(library: Path) -> Iterator[Desk]:
    made = Desk(Library(str(library), WordEmbedder()))
    yield made
    made.close()


@pytest.fixture
def client(desk: Desk) -> TestClient:
    """Knows no token."""
    return TestClient(application(desk, ADDRESS, TOKEN, ONCE), base_url="http://127.0.0.1:7865")


@pytest.fixture
def asker(client: TestClient, desk: Desk) -> Asker:
    return Asker(client, desk)


@pytest.fixture
def filled(asker: Asker, folder: Path) -> Asker:
    write_files(folder, FILES)
    assert asker.added(folder)["result"]["added"] == len(FILES)
    return asker


@pytest.fixture
def program(library: Path) -> Iterator[Callable[..., tuple[httpx.Client, str]]]:
    """Start `stackroom ui`; gives a client with the token, and the address. The program is ended as by Ctrl-C."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, path: Path = library) -> tuple[httpx.Client, str]:
        command = [sys.executable, "-m", "stackroom", "--library", str(path), "ui", "--no-open", *options]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        started.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        base, _, token = address.partition("/?token=")
        return httpx.Client(
            base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=60, verify=False
        ), address

    yield start
    for process in started:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
        assert process.returncode in (0, -15), process.returncode
