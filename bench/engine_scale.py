"""A hundred million and a billion passages on a Milvus cluster: calculated from what a row takes, and simulated where nodes fail.

    python bench/engine_scale.py --work DIR [--corpus DIR] [--documents 60] [--report docs/benchmarks/engine-scale.md]

What is measured: rows, requests and seconds of a push of real passages (documents of Debian, as in corpus.py, embedded by the shipped model) to
milvus-lite, the same texts with synthetic vectors of 1,024 dimensions, and how fast this machine compares vectors. It goes to a file of JSON lines beside
the report. `--documents 0` measures nothing, and writes the page from the lines that are there. The arithmetic and the simulation are cluster.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import engine_page
import machine

DIMENSIONS = (384, 1024)
SCANNED, COMPARED = 100_000, 2_000_000
"""Rows of the measured scans: of vectors, and of the numbers that a condition is about."""
CELLS, PROBES = 1024, 64
TIMES = 15
NEW = 20
"""Sources that are new, and are looked up for it."""
QUESTIONS = ("how do I rotate log files", "undo the last commit", "foreign key constraint", "partition the hard disk")


class Wire:
    """What goes over gRPC: counted on the way, in the bytes of protobuf."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.calls: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.fields: dict[str, Counter[str]] = defaultdict(Counter)
        self.largest = 0

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        verb = details.method.rpartition("/")[2]
        size = request.ByteSize()
        self.calls[verb] += 1
        self.sent[verb] += size
        self.largest = max(self.largest, size)
        if verb == "Upsert":
            table = _table(request.collection_name)
            self.rows[table] += request.num_rows
            self.sent[table] += size
            for field in request.fields_data:
                self.fields[table][field.field_name] += field.ByteSize()
        call = continuation(details, request)
        call.add_done_callback(lambda done: self._answered(verb, done))
        return call

    def _answered(self, verb: str, done: Any) -> None:
        if done.exception() is None:
            self.received[verb] += done.result().ByteSize()


def _table(collection: str) -> str:
    name = collection.partition("__")[2]
    return name.partition("_")[0]


@contextmanager
def watched() -> Iterator[Wire]:
    """Every connection that is opened within the block is counted."""
    import grpc

    # What grpc accepts as an interceptor is told by its class.
    wire = type("Watched", (Wire, grpc.UnaryUnaryClientInterceptor), {})()
    plain = grpc.insecure_channel
    grpc.insecure_channel = lambda *given, **named: grpc.intercept_channel(plain(*given, **named), wire)
    try:
        yield wire
    finally:
        grpc.insecure_channel = plain


def real_library(work: Path, corpus_folder: Path, documents: int) -> Path:
    """A library of so many documents of Debian, by the shipped model; one that is there already is taken, and filled where it is not whole."""
    import corpus
    import stackroom

    files, library = work / f"files-{documents}", work / f"library-{documents}"
    corpus.make_slice(corpus.candidates(corpus.fetch(corpus_folder)), documents, files)
    with stackroom.open(library) as index:
        index.add(files)
        print(index.stats().chunks, "passages", flush=True)
    return library


def with_other_vectors(library: Path, folder: Path, dim: int) -> Path:
    """The same passages, each with a synthetic vector."""
    from stackroom.storage.store import LocalStore
    from stackroom.types import EmbedderIdentity

    shutil.rmtree(folder, ignore_errors=True)
    origin, target, rng = LocalStore(library, mode="r"), LocalStore(folder), np.random.default_rng(1)
    with target.lease("bench"), origin.view() as view, target.commit() as commit:
        commit.use_embedder(EmbedderIdentity(name="synthetic", dim=dim))
        for source in view.each_source():
            key = commit.put_source(replace(source, key=0))
            for document in view.documents(source.key):
                made = commit.put_document(replace(document, key=0, source_key=key))
                chunks = [replace(stored.chunk, embedding=_unit(rng, dim)) for stored in view.chunks(document.key)]
                commit.add_chunks(made, chunks)
    origin.close()
    target.close()
    return folder


def _unit(rng: np.random.Generator, dim: int) -> np.ndarray[Any, Any]:
    vector = rng.standard_normal(dim, dtype=np.float32)
    return vector / np.linalg.norm(vector)


class _Enough(Exception):
    """A commit that raises writes nothing."""


def pushed(library: Path, url: str, wire: Wire) -> dict[str, Any]:
    """A push without its proof, and every passage as it comes back."""
    from stackroom.backend import SourceRecord
    from stackroom.engines.milvus.store import MilvusStore
    from stackroom.engines.versioned.asking import CHUNK_FIELDS
    from stackroom.engines.versioned.conditions import EVERYTHING
    from stackroom.progress import CancelToken, ProgressEvent
    from stackroom.storage.store import LocalStore
    from stackroom.transfer.sending import PREFIX, Sent, send

    origin, target, sent = LocalStore(library, mode="r"), MilvusStore(url), Sent()
    commits: list[tuple[int, Counter[str], float]] = []

    def committed(event: ProgressEvent) -> None:
        commits.append((event.done, Counter(wire.calls), time.process_time()))

    wire.clear()
    took = _timed(lambda: send(origin, target, sent, progress=committed, cancel=CancelToken()))
    # What a library needs once is over with the first commit.
    (first, before, used), (last, after, used_then) = commits[0], commits[-1]
    n = wire.rows["chunks"]
    found: dict[str, Any] = {
        "passages": n,
        "documents": sent.added,
        "push": took,
        "rows": dict(wire.rows),
        "row bytes": {table: wire.sent[table] / wire.rows[table] for table in ("chunks", "records")},
        "row fields": {name: size / n for name, size in wire.fields["chunks"].items()},
        "largest request": wire.largest,
        "sent": sum(wire.sent[verb] for verb in wire.calls),
        "calls": dict(wire.calls),
        "later": {
            "passages": last - first,
            "commits": len(commits) - 1,
            "calls": dict(after - before),
            "processor": used_then - used,
        },
    }
    wire.clear()
    with target.view() as view:
        rows = list(view.asking.each(view.asking.state.chunk_table, EVERYTHING, CHUNK_FIELDS, at_once=500))
        found["read back"] = wire.received["Query"] / len(rows)
        found["memory"] = {
            "a key": _peak(view.live_keys) / n,
            "a digest": _peak(lambda: dict(view.attachments(PREFIX))) / sent.added,
        }
    with suppress(_Enough), target.commit() as commit:
        wire.clear()
        for number in range(NEW):
            commit.put_source(SourceRecord(name=f"new {number}"))
        found["reads a source"] = sum(wire.calls[verb] for verb in engine_page.READS) / NEW
        raise _Enough
    found["means"] = {
        "text": sum(len(row["data"].encode()) for row in rows) / n,
        "words": sum(len(row["terms"]) for row in rows) / n,
        "facts": sum(len(row["facts"]) for row in rows) / n,
    }
    origin.close()
    target.close()
    return found


def proven(library: Path, url: str, wire: Wire) -> dict[str, Any]:
    from stackroom.engines.milvus.store import MilvusStore
    from stackroom.progress import CancelToken
    from stackroom.storage.store import LocalStore
    from stackroom.transfer.proof import prove

    origin, target = LocalStore(library, mode="r"), MilvusStore(url)
    wire.clear()
    took = _timed(lambda: prove(origin, target, None, progress=lambda _event: None, cancel=CancelToken()))
    origin.close()
    target.close()
    return {**took, "calls": sum(wire.calls.values()), "received": sum(wire.received.values())}


def _peak(run: Callable[[], object]) -> float:
    """Bytes that Python took for it, at most, the second time."""
    run()
    tracemalloc.start()
    try:
        run()
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def _timed(run: Callable[[], object]) -> dict[str, float]:
    """Seconds, and those of this process's processor alone: the server is another process."""
    begun, used = time.perf_counter(), time.process_time()
    run()
    return {"seconds": time.perf_counter() - begun, "processor": time.process_time() - used}


def searches(url: str, wire: Wire) -> dict[str, Any]:
    """Requests of a search: the first in a process, and one for other words in the same version."""
    import stackroom

    found: dict[str, Any] = {}
    for mode in ("vector", "text", "hybrid"):
        with stackroom.open(url, mode="r") as index:
            counted = []
            for question in QUESTIONS:
                wire.clear()
                index.search(question, mode=mode)
                counted.append({"calls": sum(wire.calls.values()), "reads": wire.calls["Query"] + wire.calls["Search"]})
        found[mode] = {"first": counted[0], "next": counted[-1]}
    return found


def scans(dim: int) -> dict[str, float]:
    """Nanoseconds a row, on one thread."""
    import faiss

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    rows, queries = (rng.standard_normal((n, dim), dtype=np.float32) for n in (SCANNED, TIMES))
    flat = faiss.IndexFlatIP(dim)
    flat.add(rows)
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, CELLS, faiss.METRIC_INNER_PRODUCT)
    cells.cp.niter, cells.cp.max_points_per_centroid = 4, 40
    cells.train(rows)
    cells.add(rows)
    cells.nprobe = PROBES
    born, died, embedded = (rng.integers(0, 1000, COMPARED) for _ in range(3))
    return {
        "flat": _usual(lambda at: flat.search(queries[at : at + 1], 70)) / SCANNED * 1e9,
        "cells": _usual(lambda at: cells.search(queries[at : at + 1], 70)) / SCANNED * 1e9,
        "condition": _usual(lambda at: (born < 500 + at) & (died >= 500 + at) & (embedded == 1)) / COMPARED * 1e9,
    }


def _usual(run: Callable[[int], object]) -> float:
    """The median of this thread's processor time: others work on this machine as well."""
    took = []
    for at in range(TIMES):
        begun = time.thread_time()
        run(at)
        took.append(time.thread_time() - begun)
    return statistics.median(took)


def measured(work: Path, corpus_folder: Path, documents: int) -> list[dict[str, Any]]:
    engines = _tool("engines")
    library = real_library(work, corpus_folder, documents)
    lines = []
    for dim in DIMENSIONS:
        real = dim == DIMENSIONS[0]
        origin = library if real else with_other_vectors(library, work / f"library-{dim}", dim)
        shutil.rmtree(work / "milvus", ignore_errors=True)
        server = engines.MilvusLite(work / "milvus")
        try:
            with watched() as wire:
                url = f"{server.url}?library=paper"
                line = {"dim": dim, "machine": machine.describe(), **pushed(origin, url, wire)}
                if real:
                    line |= {"proof": proven(origin, url, wire), "searches": searches(url, wire)}
        finally:
            server.stop()
        lines.append(line | {"scan": scans(dim)})
        print(json.dumps(lines[-1]), flush=True)
    return lines


def _tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "tools" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"tools/{name}.py is missing.")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path(".bench/engine-scale"))
    parser.add_argument("--corpus", type=Path, default=Path(".bench/corpus"), help="where Debian's packages are, or go")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--report", type=Path, default=Path("docs/benchmarks/engine-scale.md"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    log = options.report.with_suffix(".jsonl")
    lines = machine.kept(log)
    if options.documents:
        lines = measured(options.work, options.corpus, options.documents)
        log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    options.report.write_text(engine_page.page(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
