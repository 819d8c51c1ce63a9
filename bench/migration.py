"""Migration of LlamaIndex's JSON, beside LlamaIndex's own load of it: seconds, memory, disk, and the first answer before and after.

python bench/migration.py --work FOLDER [--documents 10 104 416 1000] [--report docs/benchmarks/migration.md]

Every figure is of a process of its own. Memory is RssAnon, the bytes that a process can't give back to a file, of the process and its
children together, sampled every 20 ms. LlamaIndex and plain json are run where they fit (`--peers-up-to` documents).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import machine
import old_index

CHUNKS_A_DOCUMENT = 25_000 / 104
DIM = 1024


class Run(NamedTuple):
    seconds: float
    peak_mb: float
    told: dict[str, Any]


def measured(code: str, *arguments: str) -> Run:
    """Run Python code that prints a line of JSON at its end."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"It failed: {code}")
    return Run(seconds, peak, json.loads(output.splitlines()[-1]))


def anonymous(pid: int) -> float:
    """RssAnon of a process and its children, in MB."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += int(line.split()[1]) / 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(anonymous(int(child)) for child in children)


MIGRATE = """
import json, os, sys, time
from stackroom import migration
from pathlib import Path
started = time.perf_counter()
report = migration.migrate(sys.argv[1], sketch=False)
seconds = time.perf_counter() - started
cpu = sum(os.times()[:4])
started = time.perf_counter()
migration.make_quick(report.library)
quick = time.perf_counter() - started
after = sum(path.stat().st_size for path in Path(report.library).rglob("*") if path.is_file())
print(json.dumps({"seconds": seconds, "cpu": cpu, "quick": quick, "ok": report.proof.ok, "vectors": report.proof.vectors,
                  "queries": report.proof.queries, "chunks": report.chunks, "after": after}))
"""

OURS = """
import json, sys, time
import stackroom, stackroom.opening, stackroom.storage.store, stackroom.search.retriever
import numpy as np
query = np.random.default_rng(5).standard_normal(1024).astype(np.float32)
opening = time.perf_counter()
index = stackroom.open(sys.argv[1])
opened = time.perf_counter()
hits = index.search(query, k=10)
print(json.dumps({"open": opened - opening, "answer": time.perf_counter() - opening, "hits": len(hits)}))
"""

LLAMAINDEX = """
import json, sys, time
import numpy as np
from llama_index.core import Settings, StorageContext, load_index_from_storage
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.vector_stores import VectorStoreQuery
Settings.embed_model, Settings.llm = MockEmbedding(1024), MockLLM()
query = np.random.default_rng(5).standard_normal(1024).tolist()
opening = time.perf_counter()
index = load_index_from_storage(StorageContext.from_defaults(persist_dir=sys.argv[1]))
opened = time.perf_counter()
found = index.vector_store.query(VectorStoreQuery(query_embedding=query, similarity_top_k=10))
print(json.dumps({"open": opened - opening, "answer": time.perf_counter() - opening, "hits": len(found.ids)}))
"""

PLAIN = """
import json, sys, time
from pathlib import Path
import numpy as np
query = np.random.default_rng(5).standard_normal(1024).astype(np.float32)
opening = time.perf_counter()
folder = Path(sys.argv[1])
with open(folder / "default__vector_store.json") as file:
    store = json.load(file)
with open(folder / "docstore.json") as file:
    docstore = json.load(file)
ids = list(store["embedding_dict"])
matrix = np.array(list(store["embedding_dict"].values()), dtype=np.float32)
opened = time.perf_counter()
best = np.argsort(-(matrix @ query))[:10]
print(json.dumps({"open": opened - opening, "answer": time.perf_counter() - opening, "hits": len(best)}))
"""


def best_of(runs: int, folder: Path) -> Run:
    """The quickest of several migrations, with the most memory that any of them took."""
    found: list[Run] = []
    for _ in range(runs):
        shutil.rmtree(folder / "stackroom", ignore_errors=True)
        os.sync()
        found.append(measured(MIGRATE, str(folder)))
    best = min(found, key=lambda run: float(run.told["seconds"]))
    return best._replace(peak_mb=max(run.peak_mb for run in found))


def one_size(work: Path, documents: int, *, peers: bool, runs: int) -> dict[str, Any]:
    folder = work / f"old-{documents}"
    shutil.rmtree(folder, ignore_errors=True)
    chunks = round(documents * CHUNKS_A_DOCUMENT)
    before = old_index.write(folder, documents=documents, chunks=chunks, dim=DIM)
    os.sync()  # what was just written would else be flushed during the measurement
    row: dict[str, Any] = {"documents": documents, "chunks": chunks, "before": before}
    if peers:
        row["llamaindex"] = measured(LLAMAINDEX, str(folder))
        row["plain"] = measured(PLAIN, str(folder))
    row["migrate"] = best_of(runs, folder)
    assert row["migrate"].told["ok"]
    assert row["migrate"].told["vectors"] == chunks
    row["ours"] = measured(OURS, str(folder))
    shutil.rmtree(folder)
    print(json.dumps(row, default=str), flush=True)
    return row


def times(peer: Run | None, seconds: float) -> str:
    return f"{peer.told['open'] / seconds:.0f} times as long" if peer else "not run"


def report(rows: list[dict[str, Any]], runs: int) -> str:
    lines = [
        "# Migration",
        "",
        f"Made by `bench/migration.py`: LlamaIndex JSON folders as llama-index-core writes them (`bench/old_index.py`: {DIM} dimensions, about 240 passages of 2 KB a document, real metadata), "
        f"migrated in place and proven; the quickest of {runs} runs, since others used the machine as well. *Quick* is what comes after that, when the library is in its place and answers: making sketches and postings files, which is one core's work. Memory is RssAnon, with that; CPU is user and system time, without; both of all processes together. {machine.describe()}, llama-index-core {version('llama-index-core')}.",
        "",
        "## Converting",
        "",
        "| documents | passages | JSON | seconds | CPU seconds | MB/s | quick | peak memory | disk after | proven | LlamaIndex's load takes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        run: Run = row["migrate"]
        seconds = run.told["seconds"]
        queries = run.told["queries"]
        proven = f"{run.told['vectors']:,} vectors" + (f", {queries} searches" if queries else "")
        lines.append(
            f"| {row['documents']:,} | {row['chunks']:,} | {row['before'] / 1e6:,.0f} MB | {seconds:.1f} | {run.told['cpu']:.1f} | "
            f"{row['before'] / 1e6 / seconds:.0f} | "
            f"{run.told['quick']:.1f} s | {run.peak_mb:.0f} MB | {run.told['after'] / 1e6:,.0f} MB | {proven} | "
            f"{times(row.get('llamaindex'), seconds)} |"
        )
    lines += [
        "",
        "## Opening, and the first answer",
        "",
        "Milliseconds from the call that opens to ten hits for a vector, imports left out. *json and numpy* is the honest baseline: `json.load` of both files, one matrix, one product.",
        "",
        "| documents | LlamaIndex | its memory | json and numpy | its memory | Stackroom: open | answer | memory | LlamaIndex / Stackroom |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours: Run = row["ours"]
        theirs, plain = row.get("llamaindex"), row.get("plain")
        cells = []
        for peer in (theirs, plain):
            cells += [f"{peer.told['answer'] * 1000:,.0f} ms", f"{peer.peak_mb:,.0f} MB"] if peer else ["not run", ""]
        ratio = f"{theirs.told['answer'] / ours.told['answer']:,.0f} x" if theirs else ""
        lines.append(
            f"| {row['documents']:,} | {' | '.join(cells)} | {ours.told['open'] * 1000:.1f} ms | "
            f"{ours.told['answer'] * 1000:.0f} ms | {ours.peak_mb:.0f} MB | {ratio} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 104, 416, 1000])
    parser.add_argument("--peers-up-to", type=int, default=104)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows = [
        one_size(given.work, documents, peers=documents <= given.peers_up_to, runs=given.runs)
        for documents in given.documents
    ]
    text = report(rows, given.runs)
    if given.report:
        given.report.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
