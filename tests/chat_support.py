"""A chat server on loopback that says what a script tells it to, and a library to ask."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import stackroom
from stackroom import Chunk, Document, Index, Place
from support import WordEmbedder

Script = Sequence[str | float] | tuple[int, str] | Callable[[dict[str, Any]], Sequence[str | float]]
"""Pieces that are sent one by one; or a status and what is said with it; or what makes pieces of the request.

Among the pieces: STALL waits until the other side is gone, BREAK closes the connection.
"""

STALL, BREAK = "\x00stall", "\x00break"

PASSAGES = {
    "lighthouse.txt": (
        "The Lighthouse of Pharos was built by Sostratus of Cnidus in about 280 BC.",
        "The tower of Pharos stood until an earthquake of 1303 damaged it.",
    ),
    "bread.txt": (
        "Sourdough bread rises by wild yeast and lactic bacteria.",
        "Bake the sourdough loaf for forty minutes at 230 degrees.",
    ),
}


class ChatServer:
    """Speaks OpenAI's and Ollama's API; gives the answers of its script, one a request, and the last one from then on.

    `asked` are the requests: path, body, headers. `left` is set when a client has gone in the middle of a stall.
    """

    def __init__(self, *script: Script) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.left = threading.Event()
        self.stalling = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listed = {"data": [{"id": "small"}, {"id": "nomic-embed-text"}]}
                if self.path == "/api/tags":
                    listed = {
                        "models": [{"name": "small:1b"}, {"name": "far:120b-cloud"}, {"name": "f", "remote_host": "x"}]
                    }
                outer.asked.append((self.path, {}, dict(self.headers)))
                self._whole(200, json.dumps(listed))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, body, dict(self.headers)))
                script = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                if isinstance(script, tuple) and len(script) == 2 and isinstance(script[0], int):
                    self._whole(script[0], str(script[1]))
                    return
                self._stream(script(body) if callable(script) else script)  # type: ignore[arg-type]

            def _whole(self, status: int, text: str) -> None:
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, pieces: Sequence[Any]) -> None:
                ollama = self.path.endswith("/api/chat")
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson" if ollama else "text/event-stream")
                self.end_headers()
                for piece in pieces:
                    if piece == STALL:
                        outer.stalling.set()
                        self.connection.settimeout(20)
                        if self.connection.recv(1) == b"":
                            outer.left.set()
                        return
                    if piece == BREAK:
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    if ollama:
                        self._line(json.dumps({"message": {"role": "assistant", "content": piece}, "done": False}))
                    else:
                        self._line(f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n")
                if ollama:
                    self._line(json.dumps({"message": {"content": ""}, "done": True}))
                else:
                    self._line("data: [DONE]\n")

            def _line(self, text: str) -> None:
                self.wfile.write(f"{text}\n".encode())
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.name = f"openai:small@{self.url}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(self, request: int = -1) -> str:
        """All that the model was told in one request."""
        return "\n".join(message["content"] for message in self.asked[request][1]["messages"])


@contextmanager
def chat_server(*script: Script) -> Iterator[ChatServer]:
    server = ChatServer(*script)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def library(folder: Path, passages: dict[str, Sequence[str]] | None = None) -> Iterator[Index]:
    """A library whose sources are the keys, with a passage on each page."""
    embedder = WordEmbedder(dim=64)
    with stackroom.open(folder, embedder=embedder) as index:
        index.add_documents(
            Document(
                name,
                source=name,
                title=name,
                chunks=[
                    Chunk(text, chunk_id=f"{name}#{page}", place=Place(page=page), embedding=embedder.embed_query(text))
                    for page, text in enumerate(texts, start=1)
                ],
            )
            for name, texts in (PASSAGES if passages is None else passages).items()
        )
        yield index
