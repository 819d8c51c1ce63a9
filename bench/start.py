"""From the start of a process to its end: ten printed hits, `status`, `--help`; with a warm and with a cold page cache.

    python bench/start.py --work DIR [--size 25000] [--report docs/benchmarks/start.md]

The library with vectors is synthetic, as in search.py (1,024 dimensions); the one that is asked with words and with the shipped model is of `samples/`.
Commands take turns, round after round. Cold means that the system was told to drop all that it keeps of files, the interpreter's own included; that needs
root, and is left out without.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

import machine
import stackroom
from scale import documents
from search import latent, rows_of

WARM, COLD = 15, 5
DROP = Path("/proc/sys/vm/drop_caches")

BY_VECTOR = """
import sys, numpy, stackroom
with stackroom.open(sys.argv[1], mode="r") as index:
    for hit in index.search(numpy.load(sys.argv[2]), k=10):
        print(hit.rank, hit.score, hit.document.title, hit.text)
"""


class Took(NamedTuple):
    """Seconds of one run: by the clock, and of the processor."""

    wall: float
    cpu: float


def run(command: list[str]) -> Took:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def environment() -> dict[str, str]:
    """One thread, as everywhere; and no bytecode is missing, as after `pip install`."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}


def commands(work: Path, size: int) -> dict[str, list[str]]:
    stored, sample = work / f"library-{size}", work / "samples"
    query = work / "query.npy"
    if not (stored / "catalogue.db").exists():
        with stackroom.open(stored) as index:
            index.add_documents(documents(0, size))
            index.backend.maintain()
    with stackroom.open(sample) as index:
        index.add([Path(__file__).parent.parent / "samples"])
    np.save(query, rows_of(1, np.random.default_rng(3), latent())[0])
    program = Path(sys.executable).with_name("stackroom")
    terminal = [str(program), "--library", str(sample)]
    return {
        "python, nothing else": [sys.executable, "-c", "pass"],
        "python that imports numpy": [sys.executable, "-c", "import numpy"],
        "`stackroom --help`": [str(program), "--help"],
        "`stackroom status`": [str(program), "--library", str(stored), "status"],
        f"ten hits of {size:,} passages for a stored vector": [sys.executable, "-c", BY_VECTOR, str(stored), str(query)],
        "`stackroom search --mode text`, ten hits of the samples": [*terminal, "search", "--mode", "text", "rotate logs"],
        "`stackroom search`, the model included": [*terminal, "search", "how do I rotate logs"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=25_000)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    asked = commands(arguments.work, arguments.size)
    warm: dict[str, list[Took]] = defaultdict(list)
    cold: dict[str, list[Took]] = defaultdict(list)
    for _ in range(WARM):
        for name, command in asked.items():
            warm[name].append(run(command))
    for _ in range(COLD if os.access(DROP, os.W_OK) else 0):
        for name, command in asked.items():
            os.sync()
            DROP.write_text("3")
            cold[name].append(run(command))
    lines = [
        "# Starting", "",
        f"Made by `bench/start.py`: whole processes, from start to end, one thread, the output thrown away. Medians of {WARM} runs, {COLD} of them cold, "
        f"in turns. *Cold*: the system was told to drop all that it keeps of files, Python's own included. Milliseconds. {machine.describe()}.", "",
        "| | warm | processor time | cold |", "|---|---|---|---|",
        *(
            f"| {name} | {_middle([took.wall for took in warm[name]])} | {_middle([took.cpu for took in warm[name]])} | {_middle([took.wall for took in cold[name]])} |"
            for name in asked
        ),
    ]  # fmt: skip
    print("\n".join(lines))
    if arguments.report:
        arguments.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _middle(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.0f}" if seconds else ""


if __name__ == "__main__":
    main()
