"""Searching at 25,000, 100,000 and a million passages: by sketches and postings files beside the exact scan and FTS5 alone.

    python bench/search.py --work DIR [--sizes 25000 100000 1000000] [--latent 16 32 256 512] [--hard 32 64 128 384] [--real LIBRARY] [--report docs/benchmarks/search.md]

Synthetic libraries: 1,024 dimensions (96 latent ones and noise), texts of 120 words in Zipf's distribution. `--latent` makes a million
once more for each number of latent dimensions, with texts of one word. `--hard` makes 100,000 for each number of dimensions, all of
them noise: vectors that no sketch can tell apart. `--real` is a library that
`stackroom add` made; its questions are twelve words in a row of its own passages, a thousand times, embedded as queries. Every library is measured in a process of its own,
on one thread. Recall is the share of the exact scan's best that are found. A million passages need 8 GB of disk and a quarter of an hour.
What was measured goes to a file of JSON lines beside the report, which keeps what is not measured again, as far as it is of the same processor.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import machine
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.filters import as_filter
from stackroom.storage.store import LocalStore
from stackroom.storage.vectors import nearest, sketches
from stackroom.storage.words import word_files
from stackroom.types import Chunk, EmbedderIdentity

DIM, LATENT, WORDS, CHUNKS = 1024, 96, 120, 240
QUERIES, REAL, TOGETHER = 100, 1000, 12
LARGEST, LATENTS = 1_000_000, "latent "
HARD, HARDS = 100_000, "dimensions "
FIXED = (100, 200, 1000, 2000)
ONE_WORD = 1


def rows_of(n: int, rng: np.random.Generator, latent: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # The noise has one eleventh of the variance, however many latent dimensions have the rest.
    noise = rng.standard_normal((n, latent.shape[1]), dtype=np.float32)
    rows = noise
    if len(latent):
        noise *= np.float32(3 * np.sqrt(len(latent) / LATENT))
        rows = rng.standard_normal((n, len(latent)), dtype=np.float32) @ latent + noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def latent(n: int = LATENT, dim: int = DIM) -> np.ndarray[Any, Any]:
    """How `n` latent dimensions show in all of them: float32 of shape (n, dim)."""
    return np.random.default_rng(0).standard_normal((n, dim), dtype=np.float32)


def texts_of(n: int, rng: np.random.Generator, length: int = WORDS) -> list[str]:
    words = np.minimum(rng.zipf(1.2, (n, length)), 200_000)
    return [" ".join(f"w{word}" for word in row) for row in words.tolist()]


def build(folder: Path, size: int, shape: np.ndarray[Any, Any], length: int = WORDS) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    rng, store = np.random.default_rng(1), LocalStore(folder)
    spent, made = 0.0, 0
    with store.lease("bench"):
        while made < size:
            n = min(CHUNKS * 10, size - made)
            rows, texts, third = rows_of(n, rng, shape), texts_of(n, rng, length), rng.random(n) < 0.3
            begun = time.perf_counter()
            with store.commit() as commit:
                commit.use_embedder(EmbedderIdentity(name="synthetic", dim=shape.shape[1]))
                for at in range(0, n, CHUNKS):
                    name = f"document {made + at}"
                    key = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
                    part = range(at, min(at + CHUNKS, n))
                    commit.add_chunks(
                        key, [Chunk(texts[i], embedding=rows[i], metadata={"third": bool(third[i])}) for i in part]
                    )
            spent += time.perf_counter() - begun
            made += n
        begun = time.perf_counter()
    derived = time.perf_counter() - begun
    store.close()
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    sketch = sum(size for name, size in sizes.items() if name.startswith("1."))
    return {
        "commits": spent, "derived": derived, "catalogue": sizes["catalogue.db"], "vectors": sizes.get("1.0001", 0),
        "sketches": sketch - sizes.get("1.0001", 0), "words": sum(size for name, size in sizes.items() if name.startswith("words.")),
    }  # fmt: skip


def timed(calls: list[Callable[[], Any]], *, warm: int = 5) -> tuple[float, list[Any]]:
    """Milliseconds in the middle, and what the calls returned."""
    for call in calls[:warm]:
        call()
    spent, found = [], []
    for call in calls:
        begun = time.perf_counter()
        found.append(call())
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent) * 1e3, found


def measure(folder: Path, queries: np.ndarray[Any, Any], words: list[str], where: str | None) -> dict[str, Any]:
    store = LocalStore(folder, mode="r")
    told: dict[str, Any] = {"rss": machine.anonymous()}

    def search(query: np.ndarray[Any, Any], scope: Scope, *, exact: bool = False) -> Any:
        with store.view() as view:
            return view.nearest(query, 10, scope, exact=exact).keys.tolist()

    def match(text: str, scope: Scope) -> Any:
        with store.view() as view:
            return view.matching(text, 100, scope)[0].keys.tolist()

    few = queries[:20]
    everything = Scope()
    told |= nearest_of(store, queries)
    told["rss searched"] = machine.anonymous()
    if where:
        scope = Scope(where=as_filter(where))
        exact = timed([lambda q=q: search(q, scope, exact=True) for q in few[:5]], warm=1)[1]
        told["filter"], found = timed([lambda q=q: search(q, scope) for q in few])
        told["filter recall"] = recall(found, exact)
    with store.view() as view:
        names = [source.name for source, _ in zip(view.each_source(), range(5), strict=False)]
    five = Scope(sources=names)
    told["five"], found = timed([lambda q=q: search(q, five) for q in few])
    told["five recall"] = recall(found, timed([lambda q=q: search(q, five, exact=True) for q in few])[1])
    told["words"], _ = timed([lambda text=text: match(text, everything) for text in words])
    told["words in five"], _ = timed([lambda text=text: match(text, five) for text in words])
    take = word_files.Shelf.take
    word_files.Shelf.take = lambda *_: {}  # type: ignore[method-assign]
    told["fts5"], _ = timed([lambda text=text: match(text, everything) for text in words[:20]], warm=1)
    word_files.Shelf.take = take  # type: ignore[method-assign]
    with store.view() as view:
        told["chunks"] = len(view.live_keys())
    return told


def nearest_of(store: LocalStore, queries: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Time and recall of the exact scan, of the fast path for ten and a hundred hits, and with fixed numbers of candidates."""
    told: dict[str, Any] = {}

    def asked(k: int, **how: Any) -> tuple[float, list[list[int]]]:
        def ask(query: np.ndarray[Any, Any]) -> list[int]:
            with store.view() as view:
                return list(view.nearest(query, k, Scope(), **how).keys.tolist())

        return timed([lambda query=query: ask(query) for query in queries], warm=1 if "exact" in how else 5)

    told["exact"], truth = asked(100, exact=True)
    sketches.LOADING_BYTES = 0
    with counted() as looks:
        for k, name in ((10, "sketch"), (100, "hundred")):
            looks.clear()
            told[name], found = asked(k)
            # Five were asked twice, to warm up.
            told[f"{name} looks"] = len(looks) / (len(queries) + 5)
            told[f"{name} recall"] = recall(found, [best[:k] for best in truth])
    for n in FIXED:
        told[f"sketch {n}"], found = asked(10, candidates=n)
        told[f"sketch {n} recall"] = recall(found, [best[:10] for best in truth])
    return told


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """How many candidates are asked for, look by look."""
    looks: list[int] = []
    original = nearest._proposal

    def proposal(vectors: Any, known: Any, asked: Any, wanted: int, among: Any) -> Any:
        found = original(vectors, known, asked, wanted, among)
        # None: a scan takes less, and no sketch was asked.
        looks.extend([wanted] if found is not None else [])
        return found

    nearest._proposal = proposal
    try:
        yield looks
    finally:
        nearest._proposal = original


def recall(found: list[list[int]], truth: list[list[int]]) -> float:
    return sum(len(set(mine) & set(best)) / max(len(best), 1) for mine, best in zip(found, truth, strict=False)) / len(
        truth
    )


def stage_synthetic(folder: Path) -> dict[str, Any]:
    queries = rows_of(QUERIES, np.random.default_rng(2), latent())
    rng = np.random.default_rng(3)
    words = [
        " ".join(f"w{word}" for word in rng.integers(3, 20_000, 3)) + f" w{rng.integers(3, 60)}" for _ in range(QUERIES)
    ]
    return measure(folder, queries, words, "third == true")


def stage_shape(folder: Path, size: int, dimensions: int, dim: int) -> dict[str, Any]:
    """`dimensions` latent ones of `dim`; none: all noise."""
    shape = latent(dimensions, dim)
    build(folder, size, shape, ONE_WORD)
    return nearest_of(LocalStore(folder, mode="r"), rows_of(QUERIES, np.random.default_rng(2), shape))


def stage_questions(folder: Path, work: Path) -> dict[str, Any]:
    """In a process of its own: what the model takes is no part of what searching takes."""
    import stackroom

    with stackroom.open(folder, mode="r") as index:
        rng = np.random.default_rng(4)
        asked: list[str] = []
        for source in rng.permutation([source.id for source in index.sources() if source.chunks]).tolist():
            passages = index.get(source)
            for at in rng.choice(len(passages), min(len(passages), 3), replace=False).tolist():
                words = passages[at].text.split()
                begin = int(rng.integers(0, max(len(words) - TOGETHER, 0) + 1))
                asked += [" ".join(words[begin : begin + TOGETHER])] if len(words) >= TOGETHER else []
        asked = asked[:REAL]
        embed = index.embedder().embed_query
        np.save(work / "questions.npy", np.stack([embed(words) for words in asked]))
    (work / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    return {"model": machine.anonymous()}


def stage_real(folder: Path, work: Path) -> dict[str, Any]:
    words = json.loads((work / "questions.json").read_text(encoding="utf-8"))
    return measure(folder, np.load(work / "questions.npy"), words[:QUERIES], None)


def numbered(parts: dict[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """What was measured of one kind, by its number."""
    numbers = sorted(int(part.removeprefix(kind)) for part in parts if part.startswith(kind))
    return {f"{number}": parts[f"{kind}{number}"] for number in numbers}


def report(path: Path, parts: dict[str, dict[str, Any]]) -> None:
    found = {part: told for part, told in parts.items() if not part.startswith((LATENTS, HARDS))}
    latents, hards = numbered(parts, LATENTS), numbered(parts, HARDS)

    def row(name: str, key: str, form: str = "{:.2f}") -> str:
        return (
            f"| {name} | " + " | ".join(form.format(told[key]) if key in told else "" for told in found.values()) + " |"
        )

    def ways(fixed: tuple[int, ...]) -> list[str]:
        told = [row("exact scan", "exact")]
        for title, name in (("**sketch, then exact**, ten hits", "sketch"), ("a hundred hits", "hundred")):
            told += [
                row(title, name),
                row("recall", f"{name} recall", "{:.4f}"),
                row("looks at sketches a search", f"{name} looks"),
            ]
        for n in fixed:
            told += [row(f"ten hits of {n:,} candidates", f"sketch {n}"), row("recall", f"sketch {n} recall", "{:.4f}")]
        return told

    lines = [
        "# Searching", "",
        f"Made by `bench/search.py`: 1,024 dimensions of which 96 are latent, texts of {WORDS} words; *real* is a library that `stackroom add` made of Debian's documentation "
        f"with the shipped model (384 dimensions). Milliseconds, medians, one thread, the vector at hand. Recall is of the exact scan's ten best, or hundred, for {QUERIES} questions, {REAL:,} of the real library (20 where there is a filter or a choice of sources): twelve words of one of its passages, embedded as a query. {machine.described(list(parts.values()))}.", "",
        "| | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
        row("passages", "chunks", "{:,}"), *ways(FIXED),
        row("a scattered filter that keeps 30 %", "filter"), row("recall@10", "filter recall", "{:.4f}"), row("five sources", "five"), row("recall@10", "five recall", "{:.4f}"),
        row("FTS5 alone, 100 best", "fts5"), row("**postings files**, 100 best", "words"), row("the same in five sources", "words in five"),
        row("memory that can't be given back, MB: opened", "rss", "{:.0f}"), row("searched with sketches", "rss searched", "{:.0f}"),
        row("where questions are embedded: opened, with the model", "model", "{:.0f}"), "",
        "## Building", "",
        "| | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
        row("commits, s", "commits", "{:.1f}"), row("sketches and postings files, s", "derived", "{:.1f}"), row("catalogue, MB", "catalogue MB", "{:.0f}"),
        row("vectors, MB", "vectors MB", "{:.0f}"), row("sketches, MB", "sketches MB", "{:.1f}"), row("postings files, MB", "words MB", "{:.1f}"),
    ]  # fmt: skip
    kinds = (
        (latents, f"## {LARGEST:,} passages, by latent dimensions", "Noise in all 1,024 dimensions has one eleventh of the variance, the latent dimensions have the rest in equal shares: the more there are, the more alike all distances, and the harder to tell the ten best."),
        (hards, f"## {HARD:,} passages of nothing but noise, by dimensions", "All directions are equally likely, so that the ten best are hardly nearer than the next thousand: no model makes such vectors. Where candidates can't hold the best, more are asked for, or the rows are scanned."),
    )  # fmt: skip
    for found, title, said in kinds:
        if found:
            head = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
            lines += ["", title, "", said, "", *head, *ways((200, 2000))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[25_000, 100_000, LARGEST])
    parser.add_argument("--latent", type=int, nargs="*", default=[])
    parser.add_argument("--hard", type=int, nargs="*", default=[])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--stage", nargs="+")
    arguments = parser.parse_args()
    if arguments.stage:
        stage, size, *rest = arguments.stage
        folder = arguments.work / f"library-{size}"
        told = {
            "build": lambda: build(folder, int(size), latent()),
            "synthetic": lambda: stage_synthetic(folder),
            "shape": lambda: stage_shape(folder, int(size), *map(int, rest)),
            "questions": lambda: stage_questions(Path(size), arguments.work),
            "real": lambda: stage_real(Path(size), arguments.work),
        }[stage]()
        print(json.dumps(told))
        return

    def run(stage: str, *of: object) -> dict[str, Any]:
        command = [sys.executable, __file__, "--work", str(arguments.work), "--stage", stage, *map(str, of)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(stage, *of, done.stdout.strip(), flush=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    arguments.work.mkdir(parents=True, exist_ok=True)
    log = arguments.report.with_suffix(".jsonl") if arguments.report else None
    parts: dict[str, dict[str, Any]] = {told["part"]: told for told in (machine.kept(log) if log else [])}

    def note(part: str, told: dict[str, Any]) -> None:
        parts[part] = {"part": part, "machine": machine.describe(), **told}
        if log is not None:
            log.write_text("".join(json.dumps(told) + "\n" for told in parts.values()))

    for size in arguments.sizes:
        built = run("build", size)
        megabytes = {f"{name} MB": built[name] / 1e6 for name in ("catalogue", "vectors", "sketches", "words")}
        note(f"{size:,}", {**built, **megabytes, **run("synthetic", size)})
        shutil.rmtree(arguments.work / f"library-{size}")
    if arguments.real:
        note("real", {**run("questions", arguments.real), **run("real", arguments.real)})
    for dimensions in arguments.latent:
        note(f"{LATENTS}{dimensions}", run("shape", LARGEST, dimensions, DIM))
        shutil.rmtree(arguments.work / f"library-{LARGEST}")
    for dim in arguments.hard:
        note(f"{HARDS}{dim}", run("shape", HARD, 0, dim))
        shutil.rmtree(arguments.work / f"library-{HARD}")
    if arguments.report:
        report(arguments.report, parts)


if __name__ == "__main__":
    main()
