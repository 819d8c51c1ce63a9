"""A library's life at 25,000, 250,000 and a million passages: built, opened, searched, filtered, updated, shrunk, compacted, verified.

    python bench/scale.py --work DIR [--sizes 25000 250000 1000000] [--report docs/benchmarks/scale.md]

Synthetic passages as in search.py: 1,024 dimensions, 120 words, documents of 240. Each stage is a process of its own, which works on what the stages before it
left. Everything goes through `stackroom.open`, as an application does it. What ten and a hundred million would take is calculated from the two largest sizes.
A million passages need 14 GB of disk and a quarter of an hour. What was measured goes to a file of JSON lines beside the report. A size that is measured again
replaces its line; lines of another processor are dropped. `--sizes` without a size writes the page from the lines that are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import machine
import stackroom
from search import CHUNKS, DIM, latent, recall, rows_of, texts_of
from stackroom import Chunk, Document
from stackroom.types import EmbedderIdentity

QUERIES, CHANGES = 100, 100
COMMON, RARE = 60, 20_000
"""A question is a word among the `COMMON` most frequent ones, and three among the `RARE` ones."""


def documents(first: int, n: int) -> Iterator[Document]:
    """`n` passages in documents of 240, from number `first` on."""
    shape = latent()
    for number in range(first, first + -(-n // CHUNKS)):
        rng = np.random.default_rng([1, number])
        size = min(CHUNKS, n - (number - first) * CHUNKS)
        rows, texts, third = rows_of(size, rng, shape), texts_of(size, rng), rng.random(size) < 0.3
        chunks = [Chunk(texts[i], metadata={"third": bool(third[i])}, embedding=rows[i]) for i in range(size)]
        yield Document(f"document {number}", source=f"document {number}", chunks=chunks)


class AtHand:
    """The model of the synthetic vectors, as far as searches need one: it has the questions' vectors."""

    identity = EmbedderIdentity(name="at hand", dim=DIM)
    tokenizer = None

    def __init__(self, vectors: dict[str, np.ndarray[Any, Any]] | None = None) -> None:
        self._vectors = vectors or {}

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        return self._vectors[text]

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.stack([self._vectors[text] for text in texts])


class Peak:
    """The most memory that this process could not give back while the block ran, in MB (RssAnon, looked at every 20 ms)."""

    def __enter__(self) -> Peak:
        self.before = self.megabytes = machine.anonymous()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.megabytes = max(self.megabytes, machine.anonymous())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def build(folder: Path, size: int) -> dict[str, float]:
    shutil.rmtree(folder, ignore_errors=True)
    adding, batch = 0.0, 10 * CHUNKS
    with stackroom.open(folder, embedder=AtHand()) as index, Peak() as peak, index.backend.lease("bench"):
        for first in range(0, size, batch):
            ready = list(documents(first // CHUNKS, min(batch, size - first)))
            begun = time.perf_counter()
            index.add_documents(ready)
            adding += time.perf_counter() - begun
    return {"adding": adding, "adding memory": peak.megabytes, **disk(folder)}


def disk(folder: Path) -> dict[str, float]:
    files = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    derived = sum(size for path, size in files.items() if path.parent.name == "sketches")
    vectors = sum(size for path, size in files.items() if path.parent.name == "vectors")
    return {"disk": sum(files.values()) / 1e6, "disk derived": derived / 1e6, "disk vectors": vectors / 1e6}


def search_files(folder: Path, _size: int) -> dict[str, float]:
    """Sketches and postings files from nothing."""
    shutil.rmtree(folder / "sketches")
    with stackroom.open(folder) as index, Peak() as peak:
        begun = time.perf_counter()
        index.backend.maintain()
        return {"search files": time.perf_counter() - begun, "search files memory": peak.megabytes}


def opened(folder: Path, _size: int) -> dict[str, float]:
    stackroom.open(folder, mode="r").close()
    before = machine.anonymous()
    opening, counting = [], []
    for _ in range(30):
        begun = time.perf_counter()
        index = stackroom.open(folder, mode="r")
        with index.backend.view():
            opening.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        index.stats()
        counting.append(time.perf_counter() - begun)
        index.close()
    return {
        "open": statistics.median(opening) * 1e3,
        "numbers": statistics.median(counting) * 1e3,
        "open memory": machine.anonymous() - before,
    }


def searched(folder: Path, size: int) -> dict[str, float]:
    told: dict[str, float] = {}
    queries = rows_of(QUERIES, np.random.default_rng(2), latent())
    rng = np.random.default_rng(3)
    questions = [
        " ".join(f"w{word}" for word in rng.integers(3, RARE, 3)) + f" w{rng.integers(3, COMMON)}"
        for _ in range(QUERIES)
    ]
    model = AtHand(dict(zip(questions, queries, strict=True)))
    with stackroom.open(folder, mode="r", embedder=model) as index:
        index.search(queries[0], exact=True)
        before = machine.anonymous()
        first = size // CHUNKS // 20 * 10 + 1  # none of every tenth, which is removed later
        five = [f"document {first + n}" for n in range(5)]

        def ids(n: int, **scope: Any) -> list[str]:
            return [hit.chunk_id for hit in index.search(queries[n], **scope)]

        for name, scope, times in (
            ("vector", {}, QUERIES),
            ("filter", {"where": "third == true"}, 20),
            ("five", {"sources": five}, QUERIES),
        ):
            told |= timed(name, lambda n, scope=scope: ids(n, **scope), times)
            exact = [ids(n, exact=True, **scope) for n in range(20)]
            told[f"{name} recall"] = recall([ids(n, **scope) for n in range(20)], exact)  # type: ignore[arg-type]
        told |= timed("words", lambda n: index.search(questions[n], mode="text"), QUERIES)
        told |= timed("words filter", lambda n: index.search(questions[n], mode="text", where="third == true"), 20)
        told |= timed("words five", lambda n: index.search(questions[n], mode="text", sources=five), QUERIES)
        told |= timed("both", lambda n: index.search(questions[n], mode="hybrid"), QUERIES)
        told |= timed("both five", lambda n: index.search(questions[n], mode="hybrid", sources=five), QUERIES)
        told["search memory"] = machine.anonymous() - before
    return told


def timed(name: str, call: Callable[[int], object], times: int) -> dict[str, float]:
    """Median and 99th percentile (with few runs, the slowest), in milliseconds; the first questions fill caches."""
    for n in range(min(times, 20)):
        call(n)
    took = []
    for n in range(times):
        begun = time.perf_counter()
        call(n)
        took.append((time.perf_counter() - begun) * 1e3)
    took.sort()
    return {name: statistics.median(took), f"{name} p99": took[-(-99 * times // 100) - 1]}


def changed(folder: Path, size: int) -> dict[str, float]:
    """Add documents, replace them, remove them; each durable when the call returns."""
    told: dict[str, float] = {}
    beyond = size // CHUNKS + 1_000
    with stackroom.open(folder) as index, Peak() as peak:
        told |= changes("add", beyond, lambda document: index.add_documents([document]))
        told |= changes("replace", beyond, lambda document: index.add_documents([again(document)]))
        told |= changes("remove", beyond, lambda document: index.remove([document.source or ""]))
    return {**told, "change memory": peak.megabytes}


def again(document: Document) -> Document:
    chunks = [Chunk(chunk.text + " again", embedding=chunk.embedding) for chunk in document.chunks]
    return Document(document.document_id, source=document.source, chunks=chunks)


def changes(name: str, first: int, call: Callable[[Document], object]) -> dict[str, float]:
    took = []
    for n in range(CHANGES):
        document = next(documents(first + n, CHUNKS))
        begun = time.perf_counter()
        call(document)
        took.append((time.perf_counter() - begun) * 1e3)
    took.sort()
    return {name: statistics.median(took), f"{name} p99": took[-2]}


def shrunk(folder: Path, size: int) -> dict[str, float]:
    """Every tenth document goes, in one call; then compaction gives the space back."""
    with stackroom.open(folder) as index:
        doomed = [f"document {number}" for number in range(0, size // CHUNKS, 10)]
        begun = time.perf_counter()
        index.remove(doomed)
        told = {"remove a tenth": time.perf_counter() - begun}
        with Peak() as peak:
            begun = time.perf_counter()
            done = index.compact()
            told |= {"compact": time.perf_counter() - begun, "compact memory": peak.megabytes}
        told |= {"before": done.bytes_before / 1e6, "after": done.bytes_after / 1e6}
    return told


def verified(folder: Path, _size: int) -> dict[str, float]:
    with stackroom.open(folder, mode="r") as index, Peak() as peak:
        begun = time.perf_counter()
        report = index.verify()
        took = time.perf_counter() - begun
    if not report.ok:
        sys.exit(f"{folder} is damaged: {report}")
    return {"verify": took, "verify memory": peak.megabytes}


STAGES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "build": build, "files": search_files, "open": opened, "search": searched, "change": changed, "shrink": shrunk, "again": searched, "verify": verified,
}  # fmt: skip


class Row(NamedTuple):
    name: str
    key: str
    form: str
    grows: bool = True
    """whether more passages take more; otherwise the larger of the two figures stands for any size"""


ROWS = {
    "Building": [
        Row("adding, s", "build.adding", "{:,.0f}"),
        Row("sketches and postings files from nothing, s", "files.search files", "{:,.0f}"),
        Row("disk, GB", "build.disk", "{:,.2f}"),
        Row("of it vectors", "build.disk vectors", "{:,.2f}"),
        Row("of it sketches and postings files", "build.disk derived", "{:,.2f}"),
    ],
    "Searching, ms": [
        Row("open, until something can be asked", "open.open", "{:,.1f}", grows=False),
        Row("count passages, sources and bytes", "open.numbers", "{:,.1f}"),
        Row("vector", "search.vector", "{:,.1f}"),
        Row("the 99th of 100", "search.vector p99", "{:,.1f}"),
        Row("vector, scattered filter that keeps 30 %", "search.filter", "{:,.1f}"),
        Row("vector, in five documents", "search.five", "{:,.1f}", grows=False),
        Row("words", "search.words", "{:,.1f}"),
        Row("the 99th of 100", "search.words p99", "{:,.1f}"),
        Row("words, the same filter", "search.words filter", "{:,.1f}"),
        Row("words, in five documents", "search.words five", "{:,.1f}"),
        Row("hybrid: both, fused; the vector at hand", "search.both", "{:,.1f}"),
        Row("hybrid, in five documents", "search.both five", "{:,.1f}", grows=False),
    ],
    "Changing, ms": [
        Row("add a document of 240 passages", "change.add", "{:,.0f}", grows=False),
        Row("the slowest but one of a hundred", "change.add p99", "{:,.0f}", grows=False),
        Row("replace it", "change.replace", "{:,.0f}", grows=False),
        Row("remove it", "change.remove", "{:,.0f}", grows=False),
        Row("the slowest but one of a hundred", "change.remove p99", "{:,.0f}", grows=False),
    ],
    "Upkeep, s": [
        Row("remove a tenth of the documents", "shrink.remove a tenth", "{:,.1f}"),
        Row("compact, search files made anew", "shrink.compact", "{:,.0f}"),
        Row("verify every byte", "verify.verify", "{:,.0f}"),
    ],
    "Memory of the process that can't be given back, MB": [
        Row("open, above the imports", "open.open memory", "{:,.0f}", grows=False),
        Row("searching, above that", "search.search memory", "{:,.0f}"),
        Row("adding, at most", "build.adding memory", "{:,.0f}"),
        Row("changing documents, at most", "change.change memory", "{:,.0f}"),
        Row("sketches and postings files, at most", "files.search files memory", "{:,.0f}"),
        Row("compacting, at most", "shrink.compact memory", "{:,.0f}"),
        Row("verifying, at most", "verify.verify memory", "{:,.0f}"),
    ],
}
FAR = (10_000_000, 100_000_000)


def report(path: Path, measured: list[dict[str, Any]]) -> None:
    found = {line["size"]: line for line in measured}
    sizes = sorted(found)
    beyond = FAR if len(sizes) > 1 else ()
    lines = [
        "# A million passages", "",
        f"Made by `bench/scale.py`, through `stackroom.open`: synthetic passages of 1,024 dimensions (96 latent ones and noise) and 120 words, in documents of {CHUNKS}; one thread for a search; every stage in a process of its own. "
        f"{machine.described(measured)}.", "",
        *(["The columns of ten and a hundred million are calculated: a line through the two largest sizes for what grows, the larger figure for what does not. They say what this design would take on one machine of this class with disk enough, not what was run.", ""] if beyond else []),
    ]  # fmt: skip
    for title, rows in ROWS.items():
        head = [f"{size:,}" for size in sizes] + [f"*{size:,}*" for size in beyond]
        lines += [f"| {title} | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
        for row in rows:
            values = [found[size][row.key] for size in sizes]
            far = [_calculated(row, sizes, values, size) for size in beyond]
            scale = 1e3 if row.form == "{:,.2f}" else 1.0
            lines.append(
                f"| {row.name} | " + " | ".join(row.form.format(value / scale) for value in [*values, *far]) + " |"
            )
        lines.append("")
    last = found[sizes[-1]]
    lines += [
        f"Recall@10 against the exact scan at {sizes[-1]:,}, 20 questions: {last['search.vector recall']:.3f}, with the filter {last['search.filter recall']:.3f}, in five documents {last['search.five recall']:.3f}; after a tenth of the documents was removed and the library compacted {last['again.vector recall']:.3f}, in {last['again.vector']:.1f} ms. "
        f"The compaction took the library from {last['shrink.before'] / 1e3:,.2f} to {last['shrink.after'] / 1e3:,.2f} GB.",
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _calculated(row: Row, sizes: list[int], values: list[float], size: int) -> float:
    """From what was measured of `sizes`."""
    if not row.grows:
        return max(values)
    slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
    return values[-1] + max(slope, 0.0) * (size - sizes[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[25_000, 250_000, 1_000_000])
    parser.add_argument("--report", type=Path)
    parser.add_argument("--stage", nargs=2, metavar=("STAGE", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.stage:
        stage, size = options.stage
        print(json.dumps(STAGES[stage](options.work / f"library-{size}", int(size))))
        return
    log = options.report.with_suffix(".jsonl") if options.report else None
    lines = machine.kept(log) if log else []
    for size in options.sizes:
        found: dict[str, Any] = {"size": size, "machine": machine.describe()}
        for stage in STAGES:
            command = [sys.executable, __file__, "--work", str(options.work), "--stage", stage, str(size)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(size, stage, done.stdout.strip(), flush=True)
            told = json.loads(done.stdout.splitlines()[-1])
            found |= {f"{stage}.{name}": value for name, value in told.items()}
        shutil.rmtree(options.work / f"library-{size}")
        lines = [line for line in lines if line["size"] != size] + [found]
        if log:
            log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if options.report and lines:
        report(options.report, lines)


if __name__ == "__main__":
    main()
