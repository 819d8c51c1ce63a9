"""One measurement of one store, in a process of its own: prints one line of JSON. `run.py` calls it.

    python bench/peers/measure.py STAGE STORE FOLDER SIZE DIM

Stages: build; open (how long, and memory after a search); answer (the whole process, from its start to ten hits, is timed from outside);
search (warm, with recall); change (add and remove a document of 240 passages); add-one (for counting its syncs).
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import passages
from peer import Store

STORES = {
    "stackroom": ("stackroom_library", "Stackroom"),
    "simple": ("llamaindex_stores", "LlamaIndexSimple"),
    "llamaindex-faiss": ("llamaindex_stores", "LlamaIndexFaiss"),
    "chroma": ("chroma", "Chroma"),
    "lancedb": ("lancedb_table", "Lance"),
    "txtai": ("txtai_embeddings", "Txtai"),
    "sqlite-vec": ("sqlite_vec_table", "SqliteVec"),
    "qdrant-edge": ("qdrant", "Qdrant"),
    "zvec": ("zvec_collection", "Zvec"),
    "usearch": ("usearch_index", "Usearch"),
    "faiss-flat": ("faiss_index", "FaissFlat"),
    "faiss-mapped": ("faiss_index", "FaissMapped"),
    "faiss-hnsw": ("faiss_index", "FaissHnsw"),
    "faiss-ivf-sq8": ("faiss_index", "FaissIvfSq8"),
}

QUERIES, WARM, K = 100, 20, 10
CHANGES_SECONDS, MOST_CHANGES = 20.0, 50


def load(name: str) -> type[Store]:
    module, kind = STORES[name]
    found: type[Store] = getattr(importlib.import_module(module), kind)
    return found


def truth_path(folder: Path, size: int, dim: int) -> Path:
    return folder.parent / f"truth-{size}-{dim}.json"


def truth(size: int, dim: int) -> dict[str, Any]:
    """The exact answers, in float64: over everything, and in five documents that hold none of the ten best."""
    queries = passages.queries(QUERIES, dim).astype(np.float64)
    names, ids, scores = [], [], []
    for part in passages.documents(size, dim):
        names += [part.name] * len(part.passages)
        ids += [passage.chunk_id for passage in part.passages]
        scores.append(part.vectors.astype(np.float64) @ queries.T)
    every = np.concatenate(scores)
    owners = np.array(names)
    best = np.argsort(-every, axis=0, kind="stable")[:K].T
    documents = sorted(set(names))
    spread = max(1, len(documents) // 5)
    chosen, within = [], []
    for query, top in enumerate(best):
        holders = set(owners[top].tolist())
        free = [name for name in documents[query % spread :: spread] if name not in holders]
        free += [name for name in documents if name not in holders and name not in free]
        five = free[:5]
        rows = np.flatnonzero(np.isin(owners, five))
        order = rows[np.argsort(-every[rows, query], kind="stable")[:K]]
        chosen.append(five)
        within.append([ids[row] for row in order])
    return {"best": [[ids[row] for row in top] for top in best], "five": chosen, "within": within}


def build(store: Store, size: int) -> dict[str, Any]:
    parts = list(passages.documents(size, store.dim))
    begun = time.perf_counter()
    store.build(parts)
    took = time.perf_counter() - begun
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    # What is written: some make files with holes.
    return {"seconds": took, "bytes": sum(path.stat().st_blocks * 512 for path in files)}


def open_(store: Store) -> dict[str, Any]:
    before, query = rss_anon(), passages.queries(1, store.dim)[0]
    begun = time.perf_counter()
    store.open()
    opened = time.perf_counter()
    store.nearest(query, K)
    answered = time.perf_counter()
    for query in passages.queries(QUERIES, store.dim):
        store.nearest(query, K)
    return {"open": opened - begun, "first": answered - begun, "anon": rss_anon() - before}


def answer(store: Store) -> dict[str, Any]:
    # A stored question, read from a file: making one costs numpy's generator.
    query = np.fromfile(store.folder.parent / f"query-{store.dim}.f32", dtype=np.float32)
    store.open()
    for chunk_id, text in store.nearest(query, K):
        print(chunk_id, len(text), file=sys.stderr)
    return {}


def search(store: Store, size: int) -> dict[str, Any]:
    known = json.loads(truth_path(store.folder, size, store.dim).read_text())
    queries, questions = passages.queries(QUERIES, store.dim), passages.questions(QUERIES)
    store.open()
    told: dict[str, Any] = {}
    everywhere: Callable[[int], Any] = lambda n: store.nearest(queries[n], K)  # noqa: E731
    told["search"] = timed(everywhere, known["best"])
    told["five"] = timed(lambda n: store.nearest_in(queries[n], K, known["five"][n]), known["within"])
    told["words"] = timed(lambda n: store.matching(questions[n], K), None)
    return told


def timed(ask: Callable[[int], Any], expected: Sequence[Sequence[str]] | None) -> dict[str, float] | None:
    """Median and 99th percentile in seconds, and recall@10; None where the store can't."""
    try:
        for n in range(WARM):
            ask(n)
    except NotImplementedError:
        return None
    took, right = [], []
    for n in range(QUERIES):
        begun = time.perf_counter()
        found = ask(n)
        took.append(time.perf_counter() - begun)
        ids = {chunk_id for chunk_id, _ in found}
        right.append(1.0 if expected is None else len(ids & set(expected[n])) / K)
    told = {"median": statistics.median(took), "p99": sorted(took)[int(len(took) * 0.99)]}
    return told if expected is None else {**told, "recall": statistics.mean(right)}


def change(store: Store, size: int) -> dict[str, Any]:
    first = -(-size // passages.PER_DOCUMENT)
    store.open()
    told: dict[str, list[float]] = {"add": [], "remove": []}
    until = time.monotonic() + CHANGES_SECONDS
    for n in range(MOST_CHANGES):
        if n >= 3 and time.monotonic() > until:
            break
        part = passages.document(first + n, passages.PER_DOCUMENT, store.dim)
        for name, work in (
            ("add", lambda part=part: store.add(part)),
            ("remove", lambda part=part: store.remove(part.name)),
        ):
            begun = time.perf_counter()
            try:
                work()
            except NotImplementedError:
                continue
            told[name].append(time.perf_counter() - begun)
    store.close()
    return {
        name: {"median": statistics.median(took), "p99": sorted(took)[int(len(took) * 0.99)], "times": len(took)}
        if took
        else None
        for name, took in told.items()
    }


def add_one(store: Store, size: int) -> dict[str, Any]:
    """For counting syncs; with those of opening and closing."""
    store.open()
    store.add(passages.document(10**6 + size, passages.PER_DOCUMENT, store.dim))
    store.close()
    return {}


def rss_anon() -> int:
    """Bytes that the system can't take back from this process without swapping."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    stage, name, folder, size, dim = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    if stage == "truth":
        truth_path(folder, size, dim).write_text(json.dumps(truth(size, dim)))
        passages.queries(1, dim)[0].tofile(folder.parent / f"query-{dim}.f32")
        return
    store = load(name)(folder, dim)
    if stage == "build":
        told = build(store, size)
    elif stage == "open":
        told = open_(store)
    elif stage == "answer":
        told = answer(store)
    elif stage == "search":
        told = search(store, size)
    elif stage == "add-one":
        told = add_one(store, size)
    else:
        told = change(store, size)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
