"""A library pushed to each engine, pushed again, and searched there and on the local disk.

    python tools/engines.py python bench/engines.py --work DIR [--sizes 25000 100000] [--report docs/benchmarks/engines.md]

Synthetic libraries: 384 dimensions (64 latent ones and noise), texts of 120 words in Zipf's distribution, 25 passages a document. The servers
run on the same machine, as they come from their packages; milvus-lite is Milvus's server for development, in Python, and says nothing of how fast
Milvus is. Milliseconds, medians of 50 questions after 5 to warm up.
"""

from __future__ import annotations

import argparse
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
QUERIES, WARM = 50, 5
ENGINES = {"PostgreSQL": "STACKROOM_TEST_POSTGRESQL", "milvus-lite": "STACKROOM_TEST_MILVUS"}


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
    spent = []
    for number in range(QUERIES + WARM):
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


def size_table(work: Path, size: int, engines: list[str]) -> list[str]:
    folder = work / f"local-{size}"
    build(folder, size)
    lines = []
    with stackroom.open(folder) as local:
        stored = local.stats().bytes["total"] / 1e6
        found = searches(local)
        lines.append(
            row("local", ["", "", "", "", f"{stored:,.0f}", "", *(f"{value:.1f}" for value in found.values())])
        )
        for name in engines:
            base = os.environ[ENGINES[name]]
            url = f"{base}{'&' if '?' in base else '?'}library=bench_{size}_{os.getpid()}"
            first, pushing = timed(lambda url=url: local.push(url))
            print(name, size, "pushed", f"{pushing:.1f} s", first.proof, flush=True)
            _, again = timed(lambda url=url: local.push(url, since_last=True))
            _, proving = timed(lambda url=url: local.push(url))
            with stackroom.open(url) as there:
                stored = there.stats().bytes["total"] / 1e6
                found = searches(there)
            _, back = timed(lambda url=url: pull(work / f"back-{size}", url))
            cells = [
                f"{pushing:.1f}", f"{size / pushing:,.0f}", f"{again:.1f}", f"{back:.1f}", f"{stored:,.0f}",
                f"{first.proof.recall:.3f}", *(f"{value:.1f}" for value in found.values()),
            ]  # fmt: skip
            lines.append(row(name, cells))
            print(lines[-1], f"proving all again: {proving:.1f} s", flush=True)
    return lines


def pull(folder: Path, url: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with stackroom.open(folder) as index:
        index.pull(url)


def row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


HEAD = (
    "| engine | push, s | passages/s | push again, s | pull, s | MB | recall@10 | vector | exact | a third | a thirtieth | words |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path(".bench/engines"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[25_000, 100_000])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    text = [
        "# A library on engines",
        "",
        f"Made by `bench/engines.py`: synthetic libraries of {DIM} dimensions and texts of {WORDS} words, {CHUNKS} passages a document; the server runs on "
        "the same machine, as its package sets it up. *Push* is with the proof that reads all of it back; *push again* finds that nothing changed "
        "(`--since-last`). Searches are medians in milliseconds, with their ten passages fetched: *a third* and *a thirtieth* are what a filter leaves. "
        "*Recall* is that of an ordinary search beside an exact one on the engine. milvus-lite is Milvus's server for development, in Python: it says "
        f"nothing of how fast Milvus is. {machine.describe()}.",
    ]
    for size in options.sizes:
        text += ["", f"## {size:,} passages", "", HEAD, *size_table(options.work, size, options.engines)]
    if options.report:
        options.report.write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
