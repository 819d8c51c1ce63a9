"""Stackroom beside other stores, each through its documented use, on the same passages.

    make bench-peers [SIZES="25000"] [DATA="FOLDER LIBRARY ..."] [STORES="chroma lancedb ..."] [ROUNDS=3] [WORK=DIR]

Every measurement has a process of its own. Each store is paired with Stackroom: both are measured one after the other, round after round, so that what
the machine does meanwhile hits both alike. The report has medians, and the median of the pairs' ratios. DATA names what `real.py` takes for real passages.

What was measured goes to a file of JSON lines beside the page. A run replaces the lines of its own pairs and keeps the others, as far as they are of the
same processor; `--again` writes the page from it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

import real
from measure import ASKING, STORES, collection_of, load
from passages import Synthetic
from report import page

import machine

OURS = "stackroom"
HERE = Path(__file__).parent
LIMIT = {"build": 3600.0}
PATIENCE = 300.0
"""Seconds that a stage may take, and what others than these may: some stores hang now and then."""

SLOW = {"simple": 6}
"""Stores that may take so many times as long: minutes to open, and as long for each change."""

ENOUGH = 60.0
"""A store that has taken so many seconds for a stage has no more rounds of it."""


def measured(stage: str, store: str, folder: Path, spec: str, *, traced: bool = False) -> dict[str, Any]:
    """What a process says of itself, with its seconds from start to end."""
    command = [sys.executable, "-W", "ignore", str(HERE / "measure.py"), stage, store, str(folder), spec]
    if traced:
        command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,msync,sync_file_range", *command]
    limit = LIMIT.get(stage, PATIENCE) * SLOW.get(store, 1)
    begun = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=_environment(stage))
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {limit:.0f} s"}
    took = time.perf_counter() - begun
    if done.returncode:
        return {"error": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1][:200]}
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    if told.get("added"):
        told["syncs"] = len(re.findall(r"\b(?:fsync|fdatasync|msync|sync_file_range)\(", done.stderr))
    return {**told, "process": took}


def _environment(stage: str) -> dict[str, str]:
    """One thread for what asks questions, wherever a variable says so. Building and changing may use the whole machine."""
    asking = ("OMP", "OPENBLAS", "MKL", "RAYON", "LANCE_CPU", "LANCE_IO")
    limits = {**{f"{name}_NUM_THREADS": "1" for name in asking[:4]}, **{f"{name}_THREADS": "1" for name in asking[4:]}}
    limits["TOKIO_WORKER_THREADS"] = "1"
    return {**os.environ, **(limits if stage in ASKING else {}), "ANONYMIZED_TELEMETRY": "False"}


class Log:
    """The lines of a page's log; what is measured is on the disk at once."""

    def __init__(self, path: Path, lines: list[dict[str, Any]]) -> None:
        self._path, self.lines = path, lines
        self._write()

    def _write(self) -> None:
        self._path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")

    def note(self, **line: Any) -> None:
        self.lines.append({"machine": machine.describe(), **line})
        self._write()
        print(json.dumps(line), flush=True)


def run(peers: list[str], name: str, spec: str, rounds: int, work: Path, log: Log) -> None:
    """Every stage of one collection."""
    work.mkdir(parents=True, exist_ok=True)
    if (told := measured("truth", OURS, work, spec)).get("error"):
        raise SystemExit(f"{name}: {told['error']}")
    collection = collection_of(spec)

    def take(stage: str, peer: str, store: str, round_: int) -> dict[str, Any]:
        told = measured(stage, store, work / store, spec, traced=stage == "add-one")
        log.note(set=name, size=collection.size, dim=collection.dim, pair=peer, store=store, stage=stage, round=round_, **told)  # fmt: skip
        return told

    built = []
    for peer in peers:
        good = True
        for store in dict.fromkeys((OURS, peer)):
            shutil.rmtree(work / store, ignore_errors=True)
            good = "error" not in take("build", peer, store, 0) and good
        built += [peer] if good else []
    synthetic = isinstance(collection, Synthetic)
    changes = ["change", "add-one"] if shutil.which("strace") else ["change"]
    for stage in [*ASKING, *changes] if synthetic else ["search"]:
        spent: Counter[str] = Counter()
        for round_ in range(rounds if stage in ASKING else 1):
            for peer in [peer for peer in built if spent[peer] < ENOUGH]:
                for store in dict.fromkeys((OURS, peer)):
                    spent[peer] += take(stage, peer, store, round_).get("process", PATIENCE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[25_000])
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument(
        "--data", type=Path, nargs="*", default=[], help="real passages: a folder with scifact/, a library"
    )
    parser.add_argument("--stores", nargs="+", default=list(STORES), choices=list(STORES))
    parser.add_argument("--rounds", type=int, default=3, help="processes of each pair for what asks questions")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--again", action="store_true", help="write the page from what was measured before")
    chosen = parser.parse_args()
    path = chosen.report.with_suffix(".jsonl")
    if chosen.again:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        peers = [store for store in chosen.stores if store != OURS] or [OURS]
        sets = {str(size): f"{size}x{chosen.dim}" for size in chosen.sizes}
        for data in chosen.data:
            folder = chosen.work / "embedded" / (data.resolve().name if (data / "catalogue.db").exists() else "scifact")
            real.make(data, folder)
            sets[folder.name] = str(folder)
        kept = [line for line in machine.kept(path) if line["set"] not in sets or line["pair"] not in peers]
        log = Log(path, kept)
        for name, spec in sets.items():
            run(peers, name, spec, chosen.rounds, chosen.work / name, log)
        lines = log.lines
    page(chosen.report, lines, {name: load(name) for name in STORES})


if __name__ == "__main__":
    main()
