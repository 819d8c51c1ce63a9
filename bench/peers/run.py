"""Stackroom beside other stores, each through its documented use, on the same passages.

    make bench-peers [SIZES="25000"] [STORES="stackroom chroma ..."] [WORK=DIR]

Every measurement has a process of its own. They are taken in turns, round after round, so that what the machine does meanwhile hits all alike;
the report has the medians. `--report` names the page to write; every measurement goes to a file of JSON lines beside it, from which the page can be
written again (`--again`), and to which other stores and sizes can be added (`--add`: what it holds of the same stores and sizes is replaced).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

from measure import STORES, load
from report import page

import machine

ROUNDS = 3
HERE = Path(__file__).parent
LIMIT = {"build": 3600.0}
PATIENCE = 300.0
"""Seconds that a stage may take, and what others than these may: some stores hang now and then."""

ENOUGH = 60.0
"""A store that has taken so many seconds for a stage has no more rounds of it."""


def measured(stage: str, store: str, folder: Path, size: int, dim: int, *, traced: bool = False) -> dict[str, Any]:
    """What a process says of itself, with its seconds from start to end."""
    command = [sys.executable, "-W", "ignore", str(HERE / "measure.py"), stage, store, str(folder), str(size), str(dim)]
    if traced:
        command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,msync,sync_file_range", *command]
    begun = time.perf_counter()
    try:
        limit = LIMIT.get(stage, PATIENCE)
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=_environment())
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {limit:.0f} s"}
    took = time.perf_counter() - begun
    if done.returncode:
        return {"error": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1][:200]}
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    if traced:
        told["syncs"] = len(re.findall(r"\b(?:fsync|fdatasync|msync|sync_file_range)\(", done.stderr))
    return {**told, "process": took}


def _environment() -> dict[str, str]:
    """One thread for a question: with two, every store gets slower on a busy machine of two cores."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "ANONYMIZED_TELEMETRY": "False"}


def run(stores: list[str], size: int, dim: int, work: Path, log: Any) -> None:
    def note(store: str, stage: str, told: dict[str, Any]) -> None:
        line = json.dumps({"size": size, "dim": dim, "store": store, "stage": stage, **told})
        log.write(line + "\n")
        log.flush()
        print(line, flush=True)

    work.mkdir(parents=True, exist_ok=True)
    measured("truth", "stackroom", work / "stackroom", size, dim)
    built = []
    for store in stores:
        shutil.rmtree(work / store, ignore_errors=True)
        told = measured("build", store, work / store, size, dim)
        note(store, "build", told)
        built += [store] if "error" not in told else []
    for stage, rounds in (("open", ROUNDS), ("answer", 2 * ROUNDS), ("search", ROUNDS)):
        spent: Counter[str] = Counter()
        for _ in range(rounds):
            for store in [store for store in built if spent[store] < ENOUGH]:
                told = measured(stage, store, work / store, size, dim)
                spent[store] += told.get("process", PATIENCE)
                note(store, stage, told)
    for store in built:
        note(store, "change", measured("change", store, work / store, size, dim))
        if shutil.which("strace"):
            note(store, "syncs", measured("add-one", store, work / store, size, dim, traced=True))


def summary(lines: list[dict[str, Any]]) -> dict[tuple[int, str], dict[str, Any]]:
    """The median of each figure, by size and store; what failed by name."""
    figures: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    errors: dict[tuple[int, str], dict[str, Any]] = defaultdict(dict)
    for line in lines:
        key, stage = (line["size"], line["store"]), line["stage"]
        if "error" in line:
            errors[key][f"{stage} error"] = line["error"]
            continue
        for name, value in line.items():
            if isinstance(value, dict):
                for inner, number in value.items():
                    figures[key][f"{name} {inner}"].append(number)
            elif isinstance(value, float | int) and name not in ("size", "dim"):
                figures[key][f"{stage} {name}"].append(value)
    return {
        key: {**{name: statistics.median(values) for name, values in found.items()}, **errors[key]}
        for key, found in figures.items()
    }


def _others(log: Path, sizes: list[int], stores: list[str]) -> list[str]:
    with log.open() as file:
        next(file)
        return [line for line in file if not ((told := json.loads(line))["size"] in sizes and told["store"] in stores)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[25_000])
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--stores", nargs="+", default=list(STORES), choices=list(STORES))
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--again", action="store_true", help="write the page from what was measured before")
    parser.add_argument("--add", action="store_true", help="keep what was measured of other stores and sizes")
    chosen = parser.parse_args()
    log = chosen.report.with_suffix(".jsonl")
    if not chosen.again:
        kept = _others(log, chosen.sizes, chosen.stores) if chosen.add else []
        with log.open("w") as file:
            file.writelines([json.dumps({"machine": machine.describe()}) + "\n", *kept])
            for size in chosen.sizes:
                run(chosen.stores, size, chosen.dim, chosen.work / str(size), file)
    head, *lines = [json.loads(line) for line in log.read_text().splitlines()]
    about = {name: (load(name).name, load(name).remarks) for name in STORES}
    page(chosen.report, head["machine"], summary(lines), about, chosen.dim)


if __name__ == "__main__":
    main()
