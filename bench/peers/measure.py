"""One measurement of one store, in a process of its own: prints one line of JSON. `run.py` calls it.

    python bench/peers/measure.py STAGE STORE FOLDER COLLECTION

COLLECTION is SIZExDIM for synthetic passages, or a folder that `real.py` made. Stages: build; open (how long, and memory after a search); answer (the whole
process, from its start to ten hits, is timed from outside); search (warm, with recall); change (add and remove a document of 240 passages); add-one (for
counting its syncs). What asks questions has one core of the machine, whatever pools of threads a store keeps.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from passages import Synthetic
from peer import Store
from real import Real

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

WARM, K = 20, 10
ASKING = ("open", "answer", "search")
CHANGES_SECONDS, MOST_CHANGES = 20.0, 100


def load(name: str) -> type[Store]:
    module, kind = STORES[name]
    found: type[Store] = getattr(importlib.import_module(module), kind)
    return found


def collection_of(spec: str) -> Synthetic | Real:
    size, _, dim = spec.partition("x")
    return Synthetic(int(size), int(dim)) if size.isdigit() and dim.isdigit() else Real(Path(spec))


def build(store: Store, collection: Synthetic | Real) -> dict[str, Any]:
    parts = list(collection.documents())
    begun = time.perf_counter()
    store.build(parts)
    took = time.perf_counter() - begun
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    # What is written: some make files with holes.
    return {"seconds": took, "bytes": sum(path.stat().st_blocks * 512 for path in files)}


def open_(store: Store, collection: Synthetic | Real) -> dict[str, Any]:
    before, queries = status("RssAnon"), collection.queries()
    begun = time.perf_counter()
    store.open()
    opened = time.perf_counter()
    store.nearest(queries[0], K)
    answered = time.perf_counter()
    for query in queries:
        store.nearest(query, K)
    told = {"open": opened - begun, "first": answered - begun, "threads": status("Threads")}
    return {**told, "anon": (status("RssAnon") - before) * 1024}


def answer(store: Store, _collection: Synthetic | Real) -> dict[str, Any]:
    # A stored question, read from a file: making one costs numpy's generator.
    query = np.fromfile(store.folder.parent / "query.f32", dtype=np.float32)
    store.open()
    for chunk_id, text in store.nearest(query, K):
        print(chunk_id, len(text), file=sys.stderr)
    return {}


def search(store: Store, collection: Synthetic | Real) -> dict[str, Any]:
    known = json.loads((store.folder.parent / "answers.json").read_text())
    queries, questions = collection.queries(), collection.questions()
    store.open()
    return {
        "search": timed(lambda n: store.nearest(queries[n], K), known["best"]),
        "five": timed(lambda n: store.nearest_in(queries[n], K, known["five"][n]), known["within"]),
        "words": timed(lambda n: store.matching(questions[n], K), known["words"], stems=known["stems"]),
    }


def timed(
    ask: Callable[[int], Any], expected: Sequence[Sequence[str]], **others: Sequence[Sequence[str]]
) -> dict[str, float] | None:
    """Median and 99th percentile in seconds, and recall@10, also of what `others` expect; None where the store can't, or there is nothing to find."""
    if not any(expected):
        return None
    try:
        for n in range(WARM):
            ask(n)
    except NotImplementedError:
        return None
    took, found = [], []
    for n in range(len(expected)):
        begun = time.perf_counter()
        hits = ask(n)
        took.append(time.perf_counter() - begun)
        found.append({chunk_id for chunk_id, _ in hits})
    return {**spread(took), **{name: recall(found, ids) for name, ids in {"recall": expected, **others}.items()}}


def recall(found: Sequence[set[str]], expected: Sequence[Sequence[str]]) -> float:
    """The share of ten hits, or of as many as there are, that are among the right ones."""
    pairs = [(hits, ids) for hits, ids in zip(found, expected, strict=True) if ids]
    return statistics.mean(min(1.0, len(hits & set(ids)) / min(K, len(ids))) for hits, ids in pairs)


def spread(took: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(took), "p99": sorted(took)[-(-99 * len(took) // 100) - 1]}


def change(store: Store, collection: Synthetic | Real) -> dict[str, Any]:
    assert isinstance(collection, Synthetic)
    store.open()
    took: dict[str, list[float]] = {"add": [], "remove": []}
    until = time.monotonic() + CHANGES_SECONDS
    for n in range(MOST_CHANGES):
        if (n >= 3 and time.monotonic() > until) or (n and not any(took.values())):
            break
        part = collection.another(n)
        for name, work in (
            ("add", lambda part=part: store.add(part)),
            ("remove", lambda part=part: store.remove(part.name)),
        ):
            begun = time.perf_counter()
            try:
                work()
            except NotImplementedError:
                continue
            took[name].append(time.perf_counter() - begun)
    store.close()
    return {name: {**spread(times), "times": len(times)} if times else None for name, times in took.items()}


def add_one(store: Store, collection: Synthetic | Real) -> dict[str, Any]:
    """For counting syncs; with those of opening and closing."""
    assert isinstance(collection, Synthetic)
    store.open()
    # A new one each time: Stackroom's folder serves all its pairs.
    part = collection.another(10**6 + os.getpid())
    try:
        store.add(part)
    except NotImplementedError:
        return {"added": False}
    store.close()
    return {"added": True}


def status(name: str) -> int:
    """Of this process, as Linux has it: RssAnon is the KiB that the system can't take back without swapping."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


STAGES: dict[str, Callable[[Store, Any], dict[str, Any]]] = {
    "build": build,
    "open": open_,
    "answer": answer,
    "search": search,
    "change": change,
    "add-one": add_one,
}


def main() -> None:
    stage, name, folder, spec = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    if stage == "truth":
        import exact

        collection = collection_of(spec)
        (folder / "answers.json").write_text(json.dumps(exact.answers(collection)))
        collection.queries()[0].tofile(folder / "query.f32")
        return
    if stage in ASKING:
        # Before a store is imported: pools are sized then.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    collection = collection_of(spec)
    print(json.dumps(STAGES[stage](load(name)(folder, collection.dim), collection)))


if __name__ == "__main__":
    main()
