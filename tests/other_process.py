"""A second process that works on the same library: one JSON request a line in, one answer a line out."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_running: subprocess.Popen[str] | None = None


def ask(library: Path, **request: Any) -> Any:
    """Have the other process open the library, do one thing, and close it."""
    global _running
    if _running is None:
        _running = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(_running.kill)
    assert _running.stdin is not None
    assert _running.stdout is not None
    _running.stdin.write(json.dumps({"library": str(library), **request}) + "\n")
    _running.stdin.flush()
    return json.loads(_running.stdout.readline())


def _answer(request: dict[str, Any]) -> Any:
    from stackroom.backend import DocumentRecord, SourceRecord
    from stackroom.storage.store import LocalStore
    from support import chunks

    store = LocalStore(Path(request["library"]))
    try:
        if "add" in request:
            with store.commit() as commit:
                source = commit.put_source(SourceRecord(name=request["source"]))
                document = commit.put_document(DocumentRecord(request["add"], source))
                return commit.add_chunks(document, chunks(request["texts"], seed=request["seed"]))
        with store.view() as view:
            return [
                [
                    source.path,
                    source.active,
                    sorted(
                        item.chunk.text
                        for d in view.documents(view.source(source.path).key)
                        for item in view.chunks(d.key)
                    ),
                ]
                for source in view.listing()
            ]
    finally:
        store.close()


def _serve() -> None:
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
