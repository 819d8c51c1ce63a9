"""What is far outside the usual: 100,000 small files, and one file of a gigabyte. Pipeline and store alone: the embedder costs next to nothing.

python bench/extremes.py [--files 100000] [--megabytes 1000] [--report docs/benchmarks/extremes.md]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import machine
import stackroom
from stackroom import EmbedderIdentity

WORDS = [
    f"{a}{b}{c}"
    for a in ("ka", "lo", "mi", "ne", "ru")
    for b in ("ba", "de", "fi", "go", "tu")
    for c in ("s", "n", "r", "l")
]


class Cheap:
    """A vector drawn by the text's checksum."""

    identity = EmbedderIdentity("cheap", 64, max_tokens=254)
    tokenizer = None

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        row = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64, dtype=np.float32)
        return row / np.linalg.norm(row)


def sentence(choose: random.Random, n: int) -> str:
    return " ".join(choose.choices(WORDS, k=n)) + "."


def many_files(folder: Path, count: int) -> None:
    choose = random.Random(3)
    for number in range(count):
        inside = folder / f"{number // 1000:03}"
        inside.mkdir(exist_ok=True)
        (inside / f"{number}.txt").write_text(f"note{number} " + sentence(choose, 30))


def one_file(folder: Path, megabytes: int) -> None:
    choose = random.Random(4)
    with (folder / "big.txt").open("w") as file:
        for _ in range(megabytes):
            block = "\n".join(sentence(choose, 14) for _ in range(140))
            file.write((block + "\n\n") * (1_000_000 // (len(block) + 2) + 1))


def measure(folder: str, library: str) -> None:
    """Add twice, in a process of its own; prints the row of the table."""
    with stackroom.open(library, embedder=Cheap()) as index:
        first = index.add(folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        parser = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        again = index.add(folder)
        begun = time.perf_counter()
        stackroom.open(library, mode="r").close()
        opened = (time.perf_counter() - begun) * 1000
        size = index.stats().bytes["total"] / 1e6
    print(
        f"{first.added:,} | {first.chunks:,} | {first.seconds:.0f} s | {again.seconds:.1f} s | {peak} MB | {parser} MB | "
        f"{size:.0f} MB | {opened:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one)
        return
    lines = [
        "# Extremes",
        "",
        f"Made by `bench/extremes.py`: pipeline and store, with an embedder that costs next to nothing. {machine.describe()}.",
        "",
        "| what | files | passages | add | again | peak memory | of a parser | on disk | open |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for what, make in (
        (f"{options.files:,} small files", lambda folder: many_files(folder, options.files)),
        (f"one file of {options.megabytes:,} MB", lambda folder: one_file(folder, options.megabytes)),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "documents"
            folder.mkdir()
            make(folder)
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(folder), str(Path(scratch) / "library")],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(done.stderr)
            lines.append(f"| {what} | {done.stdout.strip()} |")
            print(lines[-1], flush=True)
    if options.report is not None:
        options.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
