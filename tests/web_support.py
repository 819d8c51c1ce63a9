"""What tests of the page share: its address and token, small files, and one who asks with the token."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from stackroom.web.guard import Address
from stackroom.web.workspace import Workspace

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

    def __init__(self, client: TestClient, workspace: Workspace) -> None:
        self.client = client
        self.workspace = workspace

    def get(self, path: str, /, code: int = 200, **query: Any) -> Any:
        answer = self.client.get(path, params=query or None, headers=OWN)
        assert answer.status_code == code, answer.text
        return answer.json()

    def post(self, path: str, body: object = None, code: int = 200) -> Any:
        answer = self.client.post(path, json={} if body is None else body, headers=OWN)
        assert answer.status_code == code, answer.text
        return answer.json()

    def page(self, path: str, /, code: int = 200, **query: Any) -> str:
        answer = self.client.get(path, params=query, headers=OWN)
        assert answer.status_code == code, answer.text
        return answer.text

    def upload(self, name: str, data: bytes, code: int = 201) -> Any:
        answer = self.client.post("/api/upload", params={"name": name}, content=data, headers=OWN)
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

    def titles(self, **query: Any) -> list[str]:
        return [source["title"] for source in self.get("/api/sources", **query)["sources"]]

    def search(self, q: str, **query: Any) -> list[Any]:
        hits: list[Any] = self.get("/api/search", q=q, **query)["hits"]
        return hits
