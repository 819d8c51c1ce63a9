"""Reading in a process of its own: what it reads comes back over a pipe, ready to be written.

It tells the store's head, then batches, then what is carried along, then what the proof needs. When all of it was written, it reads
back half of it: of that half it keeps the digests to itself. The messages are Python's `marshal`: plain values only, and both ends are
of one installation. A thread takes them off the pipe, so that the reader is never kept waiting for a commit.
"""

from __future__ import annotations

import contextlib
import gc
import json
import marshal
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from stackroom import errors
from stackroom.errors import MigrationError, StackroomError
from stackroom.ingest.parser import die_with_parent
from stackroom.migration.probe import Sample
from stackroom.migration.reading import Accepted, Batch, Choices, Digests, Evidence, Head, LocalReading
from stackroom.migration.records import Anomalies, OldDocument
from stackroom.migration.truth import Truth
from stackroom.progress import CancelToken, silent
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
        self._head: Head | None = None
        self._unread: tuple[str, Any] | None = None
        self._waiting: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stackroom.migration.reader_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            # The other cores have the writing to do.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._ask({"old": str(old), "format": format, "choices": asdict(choices)})
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

    def _ask(self, wanted: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        # Where the process is gone, the message that is waited for says so.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()

    def _next(self) -> tuple[str, Any]:
        """The next message. Raises MigrationError where there is none, and what the other end raised."""
        data = self._waiting.get()
        if not data:
            raise MigrationError(
                f"The process that reads the old files ended (exit code {self._process.wait()}).",
                hint="Nothing was activated, and the old files are as they were. Run it again.",
            )
        kind, value = marshal.loads(data)
        if kind == "error":
            raise _error(value)
        return kind, value

    def head(self) -> Head:
        if self._head is None:
            _, told = self._next()
            self._head = _head(told)
        return self._head

    def batches(self) -> Iterator[Batch]:
        self.head()
        while True:
            kind, value = self._next()
            if kind != "batch":
                self._unread = kind, value
                return
            yield _batch(value)

    def attachments(self) -> Iterator[tuple[str, bytes]]:
        kind, value = self._unread or self._next()
        while kind == "attachment":
            yield value
            kind, value = self._next()
        self._take(value)

    def compare(self, library: Path) -> RemoteReading:
        self._ask({"library": str(library)})
        return self

    def result(self) -> list[str]:
        _, found = self._next()
        return list(found)

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
            Digests(*told["texts"]),
            Digests(*told["rows"]),
            samples,
            truth,
            told["skipped"],
        )

    def close(self) -> None:
        self._stopped.set()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _head(told: dict[str, Any]) -> Head:
    return Head(
        told["format"],
        told["made_by"],
        [Path(name) for name in told["files"]],
        told["count"],
        Counter(dict(told["dimensions"])),
        [Sample(texts, np.frombuffer(vector, dtype=np.float64)) for texts, vector in told["samples"]],
    )


def _batch(value: tuple[Any, ...]) -> Batch:
    seen, accepted, documents, listed = value
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
    return Batch(seen, items, {name: OldDocument(*fields) for name, fields in documents.items()}, listed)


def _error(told: dict[str, Any]) -> StackroomError:
    kind = getattr(errors, told["type"], StackroomError)
    found: StackroomError = kind(told["message"], hint=told["hint"], path=told["path"], actual=told["actual"])
    return found


def main() -> None:
    """The other end."""
    die_with_parent()
    # Nothing here goes in circles, and looking for what does takes a tenth of the time.
    gc.disable()
    told = json.loads(sys.stdin.buffer.readline())
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from stackroom.migration.stores.detection import open_old

    try:
        with contextlib.closing(
            LocalReading(open_old(Path(told["old"]), told["format"]), Choices(**told["choices"]))
        ) as reading:
            _send(output, "head", _plain_head(reading.head()))
            for batch in reading.batches():
                _send(output, "batch", _plain(batch))
            for attachment in reading.attachments():
                _send(output, "attachment", attachment)
            texts, rows = reading.evidence.texts, reading.evidence.rows
            own = texts.part(0, texts.end // 2), rows.part(0, rows.end // 2)
            others = texts.part(own[0].end, texts.end), rows.part(own[1].end, rows.end)
            _send(output, "end", {**_end(reading, *others), "metric": told["choices"]["metric"] or "cosine"})
        wanted = sys.stdin.buffer.readline()
        if wanted:
            _send(output, "compared", _compared(Path(json.loads(wanted)["library"]), *own))
    except StackroomError as error:
        actual = error.actual if isinstance(error.actual, int | str) else None
        fields = {"message": error.message, "hint": error.hint, "path": error.path, "actual": actual}
        _send(output, "error", {"type": type(error).__name__, **fields})


def _compared(library: Path, texts: Digests, rows: Digests) -> list[str]:
    """The other half of the proof: what was read here, against what the library has."""
    from stackroom.migration.proof import compare
    from stackroom.storage.store import LocalStore

    found: list[str] = []
    with contextlib.closing(LocalStore(library, mode="r")) as backend, backend.view() as view:
        compare(view, texts, rows, found, silent, CancelToken())
    return found


def _plain_head(head: Head) -> dict[str, Any]:
    return {
        "format": head.format,
        "made_by": head.made_by,
        "files": [str(path) for path in head.files],
        "count": head.count,
        "dimensions": list(head.dimensions.items()),
        "samples": [(sample.texts, sample.vector.tobytes()) for sample in head.samples],
    }


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
    return batch.seen, accepted, documents, batch.listed


def _end(reading: LocalReading, texts: Digests, rows: Digests) -> dict[str, Any]:
    """What is known at the end, with the digests that the writing process compares."""
    evidence = reading.evidence
    return {
        "counts": dict(reading.anomalies.counts),
        "examples": dict(reading.anomalies.examples),
        "chunks": evidence.chunks,
        "vectors": evidence.vectors,
        "texts": (bytes(texts.plain()), texts.first),
        "rows": (bytes(rows.plain()), rows.first),
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
