"""A library pushed to each engine, pushed again, and searched there and on the local disk.

    python tools/engines.py python bench/engines.py --work DIR --report docs/benchmarks/engines.md [--sizes 25000 100000] [--engines PostgreSQL ...]

Synthetic libraries: 384 dimensions (64 latent ones and noise), texts of 120 words in Zipf's distribution, 25 passages a document. The servers
run on the same machine, as they come from their packages. Milliseconds, medians of 50 questions after 5 to warm up, or of as many as a minute takes.
`--no-pull` leaves out what brings a library back. What was measured goes to a file of JSON lines beside the page; sizes and engines that are not measured again keep their figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import machine
import stackroom
from stackroom.backend import DocumentRecord, Scope, SourceRecord, View
from stackroom.filters import as_filter
from stackroom.index import Index
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk, EmbedderIdentity

DIM, LATENT, WORDS, CHUNKS = 384, 64, 120, 25
QUERIES, WARM, SECONDS, LEAST = 50, 5, 60, 5
ENGINES = {
    "PostgreSQL": "STACKROOM_TEST_POSTGRESQL",
    "milvus-lite": "STACKROOM_TEST_MILVUS",
    "qdrant-edge": "STACKROOM_TEST_QDRANT",
    "Chroma": "STACKROOM_TEST_CHROMA",
}


def rows_of(n: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    shape = np.random.default_rng(0).standard_normal((LATENT, DIM), dtype=np.float32)
    rows = rng.standard_normal((n, LATENT), dtype=np.float32) @ shape
    rows += np.float32(2.5) * rng.standard_normal((n, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def texts_of(n: int, rng: np.random.Generator, length: int = WORDS) -> list[str]:
    words = np.minimum(rng.zipf(1.2, (n, length)), 200_000)
    return [" ".join(f"w{word}" for word in row) for row in words.tolist()]


def build(folder: Path, size: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    rng, store = np.random.default_rng(1), LocalStore(folder)
    with store.lease("bench"):
        for first in range(0, size, CHUNKS * 100):
            n = min(CHUNKS * 100, size - first)
            rows, texts = rows_of(n, rng), texts_of(n, rng)
            with store.commit() as commit:
                commit.use_embedder(EmbedderIdentity(name="synthetic", dim=DIM))
                for at in range(0, n, CHUNKS):
                    number = first + at
                    source = commit.put_source(SourceRecord(name=f"document {number}"))
                    key = commit.put_document(
                        DocumentRecord(f"d{number}", source, metadata={"year": 1990 + number // CHUNKS % 30})
                    )
                    part = range(at, min(at + CHUNKS, n))
                    commit.add_chunks(key, [Chunk(texts[i], embedding=rows[i]) for i in part])
    store.close()


def median(ask: Callable[[View, int], object], index: Index) -> float:
    spent: list[float] = []
    for number in range(QUERIES + WARM):
        if sum(spent) > SECONDS and number >= WARM + LEAST:
            break
        begun = time.perf_counter()
        with index.backend.view() as view:
            view.passages(ask(view, number).keys.tolist())
        spent.append(time.perf_counter() - begun)
    return 1000 * statistics.median(spent[WARM:])


def searches(index: Index) -> dict[str, float]:
    rng = np.random.default_rng(7)
    queries = rows_of(QUERIES + WARM, rng)
    words = texts_of(QUERIES + WARM, rng, 4)
    year, rare = as_filter("year >= 2010"), as_filter("year == 1999")
    return {
        "vector": median(lambda view, at: view.nearest(queries[at], 10, Scope()), index),
        "exact": median(lambda view, at: view.nearest(queries[at], 10, Scope(), exact=True), index),
        "a third": median(lambda view, at: view.nearest(queries[at], 10, Scope(where=year)), index),
        "a thirtieth": median(lambda view, at: view.nearest(queries[at], 10, Scope(where=rare)), index),
        "words": median(lambda view, at: view.matching(words[at], 10, Scope())[0], index),
    }


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    done = run()
    return done, time.perf_counter() - begun


def measure(work: Path, size: int, engines: list[str], log: Log, *, pulling: bool) -> None:
    folder = work / f"local-{size}"
    build(folder, size)
    with stackroom.open(folder) as local:
        log.note(size, "local", stored=local.stats().bytes["total"] / 1e6, **searches(local))
        for name in engines:
            base = os.environ[ENGINES[name]]
            url = f"{base}{'&' if '?' in base else '?'}library=bench_{size}_{os.getpid()}"
            first, pushing = timed(lambda url=url: local.push(url))
            _, again = timed(lambda url=url: local.push(url, since_last=True))
            with stackroom.open(url) as there:
                stored = there.stats().bytes["total"] / 1e6
                found = searches(there)
            if pulling:
                _, found["pull"] = timed(lambda url=url: pull(work / f"back-{size}", url))
            log.note(size, name, push=pushing, again=again, stored=stored, recall=first.proof.recall, **found)


class Log:
    """Lines of JSON beside the page: a run replaces those of its own sizes and engines, and keeps the others of the same processor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines = machine.kept(path)

    def note(self, size: int, engine: str, **figures: float) -> None:
        self.lines = [line for line in self.lines if (line["size"], line["engine"]) != (size, engine)]
        self.lines.append({"machine": machine.describe(), "size": size, "engine": engine, **figures})
        self._path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        print(json.dumps(self.lines[-1]), flush=True)


def pull(folder: Path, url: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with stackroom.open(folder) as index:
        index.pull(url)


def page(log: Log) -> str:
    text = [
        "# A library on engines",
        "",
        f"Made by `make bench-engines`, from engines.jsonl: synthetic libraries of {DIM} dimensions and texts of {WORDS} words, {CHUNKS} passages a document; the server runs on "
        "the same machine, as its package sets it up. *Push* is with the proof that reads all of it back; *push again* finds that nothing changed "
        "(`--since-last`). Searches are medians of 50 in milliseconds, or of as many as a minute takes, with their ten passages fetched: *a third* and *a thirtieth* are what a filter leaves. "
        "*Recall* is that of an ordinary search beside an exact one on the engine. *MB* is what `status` says: of an engine, mostly what was sent to it. "
        f"{machine.described(log.lines)}.",
        "",
        "What stands behind the names: PostgreSQL and Chroma are the servers themselves, on one machine. milvus-lite is Milvus's server for development, in Python, "
        "and qdrant-edge is Qdrant's engine behind a small HTTP server of this repository: neither says how fast Milvus or Qdrant is.",
    ]
    for size in sorted({line["size"] for line in log.lines}):
        there = {line["engine"]: line for line in log.lines if line["size"] == size}
        rows = [row(size, name, there[name]) for name in ("local", *ENGINES) if name in there]
        text += ["", f"## {size:,} passages", "", HEAD, *rows]
    return "\n".join(text) + "\n"


def row(size: int, name: str, line: dict[str, Any]) -> str:
    moved = ["", "", "", ""]
    if "push" in line:
        back = f"{line['pull']:.1f}" if "pull" in line else ""
        moved = [f"{line['push']:.1f}", f"{size / line['push']:,.0f}", f"{line['again']:.1f}", back]
    found = [f"{line[one]:,.1f}" for one in ("vector", "exact", "a third", "a thirtieth", "words")]
    recall = f"{line['recall']:.3f}" if "recall" in line else ""
    stored = f"{line['stored']:,.0f}"
    return f"| {' | '.join([name, *moved, stored, recall, *found])} |"


HEAD = (
    "| engine | push, s | passages/s | push again, s | pull, s | MB | recall@10 | vector | exact | a third | a thirtieth | words |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path(".bench/engines"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[25_000, 100_000])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--no-pull", dest="pulling", action="store_false")
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    log = Log(options.report.with_suffix(".jsonl"))
    for size in options.sizes:
        measure(options.work, size, options.engines, log, pulling=options.pulling)
    options.report.write_text(page(log), encoding="utf-8")


if __name__ == "__main__":
    main()
