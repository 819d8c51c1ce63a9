"""The store by itself: passages with ready vectors in, then opening, searching, changing; without reader and embedder.

    python bench/store.py --texts corpus.jsonl.gz [--chunks 25000] [--dim 1024] [--report docs/benchmarks/store.md]

`--texts` is a file of JSON lines with a "text" (SciFact's corpus, for example). Passages of 2 KB are made of its sentences in random order, so that none
is there twice. Vectors have 96 latent dimensions and noise, unit length. The limits beside the figures are what the bytes alone cost: the rows copied to a
new file and synced; the rows read and multiplied by one numpy call on one thread.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import machine
import stackroom
from stackroom import Chunk, Document, EmbedderIdentity
from stackroom.types import Place

PER_DOCUMENT = 240


def passages(texts: Path) -> Iterator[str]:
    """Passages of 1,900 characters and more, without end."""
    with gzip.open(texts, "rt", encoding="utf-8") as file:
        sentences = [
            sentence for line in file for sentence in re.split(r"(?<=[.!?]) ", json.loads(line)["text"]) if sentence
        ]
    choose = random.Random(1)
    while True:
        held: list[str] = []
        while sum(map(len, held)) < 1900:
            held.append(choose.choice(sentences))
        yield " ".join(held)


def vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    basis = np.random.default_rng(0).standard_normal((96, dim)).astype(np.float32)
    rows = generator.standard_normal((n, 96), dtype=np.float32) @ basis
    rows += 0.3 * generator.standard_normal((n, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


class Ready:
    """An embedder for queries only: passages bring their vectors."""

    def __init__(self, dim: int) -> None:
        self.identity = EmbedderIdentity("ready", dim)
        self.tokenizer = None
        self._query = vectors(1, dim, 12345)[0]

    def embed_passages(self, texts: object) -> NDArray[np.float32]:
        raise AssertionError(f"nothing is embedded here: {texts!r}")

    def embed_query(self, text: str) -> NDArray[np.float32]:
        del text
        return self._query


def documents(chunks: int, dim: int, texts: Iterator[str], first: int = 0) -> Iterator[Document]:
    for number in range(first, first + -(-chunks // PER_DOCUMENT)):
        n = min(PER_DOCUMENT, chunks - (number - first) * PER_DOCUMENT)
        rows = vectors(n, dim, number)
        yield Document(
            f"document-{number}",
            source=f"/home/user/documents/report-{number}.pdf",
            title=f"Report {number}",
            metadata={"author": f"author {number % 17}", "year": 1990 + number % 35, "pages": number},
            chunks=[
                Chunk(next(texts), place=Place(i * 1900, i * 1900 + 1900, i // 3 + 1), embedding=rows[i])
                for i in range(n)
            ],
        )


def median(times: int, work: Callable[[int], object]) -> tuple[float, float]:
    """Median and 99th percentile (with few runs, the slowest), in milliseconds."""
    took = []
    for number in range(times):
        begun = time.perf_counter()
        work(number)
        took.append((time.perf_counter() - begun) * 1000)
    took.sort()
    return statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.99))]


def measure(folder: Path, texts: Path, chunks: int, dim: int) -> Iterator[tuple[str, str, str]]:
    """(what, figure, the limit or a remark)"""
    library, source = folder / "library", passages(texts)
    ready = Ready(dim)
    listed = list(documents(chunks, dim, source))
    begun = time.perf_counter()
    with stackroom.open(library, embedder=ready) as index:
        index.add_documents(listed)
        built = time.perf_counter() - begun
        text_bytes = sum(len(chunk.text.encode()) for document in listed for chunk in document.chunks)
    yield "build from ready vectors, text and metadata indexed", f"{built:.1f} s", _raw_write(folder, chunks, dim)
    with stackroom.open(library, mode="r", embedder=ready) as index:
        sizes = index.stats().bytes
    words = _words_bytes(library)
    yield (
        "disk, all of it",
        f"{sizes['total'] / 1e6:.0f} MB",
        f"{chunks * dim * 4 / 1e6:.0f} MB of vectors, {text_bytes / 1e6:.0f} MB of text",
    )
    yield "disk, without the full-text index", f"{(sizes['total'] - words) / 1e6:.0f} MB", ""

    def open_and_close(_: int) -> None:
        stackroom.open(library, mode="r").close()

    yield "open and close", f"{median(50, open_and_close)[0]:.2f} ms", ""
    with stackroom.open(library, embedder=ready) as index:
        queries = vectors(50, dim, 777)
        terms = _queries(source)
        few = [f"report-{n}.pdf" for n in range(0, len(listed), max(1, len(listed) // 5))][:5]
        index.set_active(None, False)
        index.set_active(few, True)
        searches: dict[str, Callable[[int], object]] = {
            "vector search, k=10, text and metadata": lambda n: index.search(queries[n % 50]),
            "the same in 5 active documents": lambda n: index.search(queries[n % 50], active=True),
            "the same where year >= 2020": lambda n: index.search(queries[n % 50], where="year >= 2020"),
            "text search": lambda n: index.search(terms[n % 50], mode="text"),
            "text search in 5 active documents": lambda n: index.search(terms[n % 50], mode="text", active=True),
            "hybrid search": lambda n: index.search(terms[n % 50]),
        }
        for name, search in searches.items():
            search(0)
            middle, slow = median(100, search)
            limit = _scan(library, chunks, dim, queries[0]) if name.startswith("vector") else ""
            yield name, f"{middle:.1f} ms (p99 {slow:.1f})", limit
        more = list(documents(40 * PER_DOCUMENT, dim, source, first=1_000_000))
        middle, slow = median(40, lambda n: index.add_documents([more[n]]))
        yield "add a document of 240 passages, durable", f"{middle:.0f} ms (p99 {slow:.0f})", _raw_commit(folder, dim)
        middle, slow = median(40, lambda n: index.remove([more[n].source or ""]))
        yield "remove it, durable", f"{middle:.0f} ms (p99 {slow:.0f})", ""
        begun = time.perf_counter()
        checked = index.verify()
        yield "verify", f"{time.perf_counter() - begun:.1f} s", f"{checked.chunks:,} passages, ok: {checked.ok}"
        begun = time.perf_counter()
        done = index.compact()
        took = time.perf_counter() - begun
        yield "compact", f"{took:.1f} s", f"{done.bytes_before / 1e6:.0f} MB before, {done.bytes_after / 1e6:.0f} after"


def _queries(source: Iterator[str]) -> list[str]:
    """Three to eight words of a passage."""
    choose = random.Random(2)
    return [" ".join(choose.sample(next(source).split(), choose.randint(3, 8))) for _ in range(50)]


def _raw_write(folder: Path, chunks: int, dim: int) -> str:
    """The vectors alone, written and synced."""
    block = vectors(1000, dim, 5).tobytes()
    begun = time.perf_counter()
    with (folder / "raw").open("wb") as file:
        for _ in range(chunks // 1000):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return f"vectors written and synced: {time.perf_counter() - begun:.1f} s"


def _raw_commit(folder: Path, dim: int) -> str:
    """Two syncs: the rows of a document, and a page of something else."""
    block = vectors(PER_DOCUMENT, dim, 6).tobytes()

    def write(_: int) -> None:
        for name, data in (("rows", block), ("log", bytes(65536))):
            with (folder / name).open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    return f"the bytes with two syncs: {median(40, write)[0]:.1f} ms"


def _scan(library: Path, chunks: int, dim: int, query: NDArray[np.float32]) -> str:
    (file,) = (library / "vectors").iterdir()
    rows = np.memmap(file, dtype="<f4", mode="r", offset=4096, shape=(chunks, dim))
    np.vecdot(rows, query)
    return f"the products alone: {median(20, lambda _: np.vecdot(rows, query))[0]:.1f} ms"


def _words_bytes(library: Path) -> int:
    from stackroom.storage.catalogue.sql import Connection

    connection = Connection(str(library / "catalogue.db"))
    found = connection.value("SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'words%'")
    connection.close()
    return int(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    lines = [
        "# The store",
        "",
        f"Made by `bench/store.py`: {options.chunks:,} passages of about 2 KB, vectors of {options.dim} dimensions. {machine.describe()}.",
        "",
        "| what | figure | the limit, or a remark |",
        "|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for what, figure, remark in measure(Path(scratch), options.texts, options.chunks, options.dim):
            lines.append(f"| {what} | {figure} | {remark} |")
            print(lines[-1], flush=True)
    if options.report is not None:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
