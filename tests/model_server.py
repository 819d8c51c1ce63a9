"""A real small language model behind OpenAI's chat API on loopback: a program of its own, run by an interpreter that has cyllama.

    python tests/model_server.py MODEL.gguf

Its first line is its address. It answers one question at a time, stops as soon as whoever asked has gone, and says how often at /seen.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "smollm2-135m"


def main(path: str) -> None:
    from cyllama import LLM, GenerationConfig

    model = LLM(path, n_ctx=4096, temperature=0.0)
    one_at_a_time = threading.Lock()
    seen = {"answers": 0, "left": 0, "pieces": 0}

    def written(body: dict[str, Any]) -> Iterator[str]:
        config = GenerationConfig(
            max_tokens=int(body.get("max_tokens") or 256), temperature=float(body.get("temperature") or 0.0), n_ctx=4096
        )
        return model.chat(body["messages"], config=config, stream=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told: object = {"data": [{"id": NAME, "object": "model"}]} if self.path == "/v1/models" else seen
            self._whole(told)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with one_at_a_time:
                pieces = written(body)
                try:
                    if body.get("stream"):
                        self._stream(pieces)
                    else:
                        message = {"role": "assistant", "content": "".join(pieces)}
                        self._whole({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
                    seen["answers"] += 1
                except ConnectionError:
                    seen["left"] += 1
                finally:
                    pieces.close()  # type: ignore[attr-defined]

        def _whole(self, told: object) -> None:
            data = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, pieces: Iterator[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for piece in pieces:
                seen["pieces"] += 1
                self._event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, told: object) -> None:
            self.wfile.write(f"data: {json.dumps(told)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
