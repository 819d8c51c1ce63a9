"""Reading in a process of its own: what it reads comes back over a pipe, ready to be written.

The messages are Python's `marshal`: plain values only, and both ends are of one installation. A thread takes them off the pipe, so
that the reader is never kept waiting for a commit.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from stackroom import errors
from stackroom.errors import MigrationError, StackroomError
from stackroom.ingest.parser import die_with_parent
from stackroom.migration.reading import Accepted, Batch, Choices, Evidence, LocalReading
from stackroom.migration.records import Anomalies, OldDocument
from stackroom.migration.truth import Truth
from stackroom.types import Place

WORTH_IT = 32_000_000
"""Bytes from which on a second process saves more than its start costs."""

_AHEAD = 2
"""Batches that may wait to be written."""


class RemoteReading:
    """A LocalReading in another process."""

    def __init__(self, old: Path, format: str | None, choices: Choices) -> None:
        self.anomalies = Anomalies()
        self.evidence = Evidence()
        self._waiting: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stackroom.migration.reader_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"old": str(old), "format": format, "choices": asdict(choices)}).encode())
        self._process.stdin.close()
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        data: bytes | None = b"-"
        while data and not self._stopped.is_set():
            try:
                head = pipe.read(8)
                data = pipe.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
            except (OSError, ValueError):
                data = b""
            while not self._stopped.is_set():
                with contextlib.suppress(queue.Full):
                    self._waiting.put(data, timeout=0.1)
                    break

    def batches(self) -> Iterator[Batch]:
        while True:
            data = self._waiting.get()
            if not data:
                raise MigrationError(
                    f"The process that reads the old files ended (exit code {self._process.wait()}).",
                    hint="Nothing was activated, and the old files are as they were. Run it again.",
                )
            kind, value = marshal.loads(data)
            if kind == "batch":
                yield _batch(value)
            elif kind == "error":
                raise _error(value)
            else:
                self._take(value)
                return

    def _take(self, told: dict[str, Any]) -> None:
        self.anomalies.counts.update(told["counts"])
        for kind, examples in told["examples"].items():
            self.anomalies.examples[kind] = examples
        samples = [(chunk_id, np.frombuffer(row, dtype=np.float64)) for chunk_id, row in told["samples"]]
        truth = None
        if told["truth"] is not None:
            truth = Truth([values for _, values in samples], told["metric"])
            truth.restore(told["truth"])
        self.evidence = Evidence(
            told["chunks"],
            told["vectors"],
            bytearray(told["texts"]),
            bytearray(told["rows"]),
            samples,
            truth,
            told["skipped"],
        )

    def close(self) -> None:
        self._stopped.set()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _batch(value: tuple[Any, ...]) -> Batch:
    seen, accepted, documents = value
    items = [
        Accepted(
            chunk_id,
            document_id,
            text,
            metadata,
            Place(*place),
            None if vector is None else np.frombuffer(vector, dtype=np.float32),
            [(name, np.frombuffer(row, dtype=np.float32)) for name, row in others],
            original,
        )
        for chunk_id, document_id, text, metadata, place, vector, others, original in accepted
    ]
    return Batch(seen, items, {name: OldDocument(*fields) for name, fields in documents.items()})


def _error(told: dict[str, Any]) -> StackroomError:
    kind = getattr(errors, told["type"], StackroomError)
    found: StackroomError = kind(told["message"], hint=told["hint"], path=told["path"], actual=told["actual"])
    return found


def main() -> None:
    """The other end."""
    die_with_parent()
    told = json.loads(sys.stdin.buffer.read())
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from stackroom.migration.stores.detection import open_old

    try:
        with contextlib.closing(open_old(Path(told["old"]), told["format"])) as store:
            reading = LocalReading(store, Choices(**told["choices"]))
            for batch in reading.batches():
                _send(output, "batch", _plain(batch))
            _send(output, "end", {**_end(reading), "metric": told["choices"]["metric"] or "cosine"})
    except StackroomError as error:
        actual = error.actual if isinstance(error.actual, int | str) else None
        fields = {"message": error.message, "hint": error.hint, "path": error.path, "actual": actual}
        _send(output, "error", {"type": type(error).__name__, **fields})


def _plain(batch: Batch) -> tuple[Any, ...]:
    accepted = [
        (
            item.chunk_id,
            item.document_id,
            item.text,
            item.metadata,
            (
                item.place.start,
                item.place.end,
                item.place.page,
                item.place.page_end,
                item.place.page_label,
                item.place.section,
            ),
            None if item.vector is None else item.vector.tobytes(),
            [(name, row.tobytes()) for name, row in item.others],
            item.original,
        )
        for item in batch.accepted
    ]
    documents = {
        name: (dict(document.metadata), document.title, document.active, document.original)
        for name, document in batch.documents.items()
    }
    return batch.seen, accepted, documents


def _end(reading: LocalReading) -> dict[str, Any]:
    evidence = reading.evidence
    return {
        "counts": dict(reading.anomalies.counts),
        "examples": dict(reading.anomalies.examples),
        "chunks": evidence.chunks,
        "vectors": evidence.vectors,
        "texts": bytes(evidence.texts),
        "rows": bytes(evidence.rows),
        "samples": [(chunk_id, values.tobytes()) for chunk_id, values in evidence.samples],
        "truth": None if evidence.truth is None else evidence.truth.found(),
        "skipped": evidence.skipped,
    }


def _send(output: IO[bytes], kind: str, value: Any) -> None:
    data = marshal.dumps((kind, value))
    output.write(len(data).to_bytes(8, "little"))
    output.write(data)
    output.flush()


if __name__ == "__main__":
    main()
