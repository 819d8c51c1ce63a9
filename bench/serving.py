"""The page under load: a hundred clients that search at once, idle and while indexing runs; and how soon its address is there.

    python bench/serving.py [--clients 100] [--seconds 30] [--documents DIR] [--report docs/benchmarks/serving.md]

`stackroom ui` is started as its user starts it, over a library of `samples/`. Each client asks, waits for the answer and asks again, with one
connection of its own, which is there before the clock starts. While that goes on, the page is told to index DIR (else 400 texts that are made), and
its events are read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import machine

SAMPLES = Path(__file__).parents[1] / "samples"
QUERIES = (
    "how do I rotate logs",
    "who keeps a package up to date",
    "old log files",
    "building a package from source",
    "where are the licences",
    "write a manual page",
    "report a bug",
    "configuration files",
    "back up a database",
    "what is a maintainer",
)
STARTS = 7


@dataclass
class Load:
    """What clients saw: seconds of each answer, and what went wrong."""

    name: str
    seconds: float = 0.0
    processor: float = 0.0
    """Seconds that the server was at work."""
    took: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def row(self) -> str:
        p50, p95, p99 = (1000 * float(value) for value in np.quantile(self.took, [0.5, 0.95, 0.99]))
        failed = ", ".join(f"{count} {what}" for what, count in self.failures.items()) or "none"
        rate = len(self.took) / self.seconds
        worked = 1000 * self.processor / len(self.took)
        return f"| {self.name} | {len(self.took):,} | {rate:.1f} | {worked:.0f} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {1000 * max(self.took):.0f} | {failed} |"


def started(library: Path) -> tuple[subprocess.Popen[str], str, str, float]:
    """The program, its address, its token, and the seconds until the address was there."""
    command = [sys.executable, "-m", "stackroom", "--library", str(library), "ui", "--no-open", "--port", "0"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    base, _, token = process.stdout.readline().strip().partition("/?token=")
    return process, base, token, time.perf_counter() - begun


def ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()


async def client(asker: httpx.AsyncClient, load: Load, until: float, mode: str, number: int) -> None:
    chance = random.Random(number)
    while time.perf_counter() < until:
        query = f"{chance.choice(QUERIES)} {chance.randrange(1000)}"
        begun = time.perf_counter()
        try:
            answer = await asker.get("/api/search", params={"q": query, "mode": mode})
        except httpx.HTTPError as error:
            load.failures[type(error).__name__] += 1
            continue
        load.took.append(time.perf_counter() - begun)
        if answer.status_code != 200 or not answer.json()["hits"]:
            load.failures[f"status {answer.status_code}"] += 1


@dataclass
class Page:
    base: str
    token: str
    process: int

    def asker(self) -> httpx.AsyncClient:
        """A client with connections of its own. Certificates are not read: a hundred clients would stand still for ten seconds over it."""
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(base_url=self.base, headers=headers, timeout=120, verify=False, trust_env=False)

    def processor(self) -> float:
        """Seconds of the processor that its process has taken so far; that of Linux."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def clients(page: Page, load: Load, count: int, seconds: float, mode: str = "hybrid") -> Load:
    async with contextlib.AsyncExitStack() as open_ones:
        askers = [await open_ones.enter_async_context(page.asker()) for _ in range(count)]
        for asker in askers:
            (await asker.get("/api/openapi.json")).raise_for_status()
        begun, before = time.perf_counter(), page.processor()
        asking = (client(asker, load, begun + seconds, mode, number) for number, asker in enumerate(askers))
        await asyncio.gather(*asking)
        load.seconds, load.processor = time.perf_counter() - begun, page.processor() - before
    return load


async def measure(page: Page, count: int, seconds: float, documents: Path) -> tuple[list[Load], dict[str, Any]]:
    loads = [
        await clients(page, Load("one client, nothing else"), 1, seconds),
        await clients(page, Load(f"{count} clients, words alone"), count, seconds, "text"),
        await clients(page, Load(f"{count} clients, words and meaning"), count, seconds),
    ]
    told: list[float] = []

    async def listen() -> None:
        async with page.asker() as listener, listener.stream("GET", "/api/events") as stream:
            stream.raise_for_status()
            async for line in stream.aiter_lines():
                if line.startswith("event:"):
                    told.append(time.perf_counter())
        raise RuntimeError("The page stopped telling what runs.")

    async with page.asker() as asker:
        listening = asyncio.ensure_future(listen())
        job = (await asker.post("/api/add", json={"paths": [str(documents)]})).json()["job"]
        name = f"{count} clients, words and meaning, while indexing runs"
        loads.append(await clients(page, Load(name), count, seconds))
        if listening.done():
            # It never returns: what ended it is the news.
            listening.result()
        listening.cancel()
        during = (await asker.get(f"/api/jobs/{job['id']}")).json()["job"]
        await asker.post(f"/api/jobs/{job['id']}/cancel", json={})
    pauses = [after - before for before, after in itertools.pairwise(told)]
    return loads, {
        "state": during["state"],
        "done": during["progress"]["done"],
        "events": len(told),
        "longest": max(pauses, default=0.0),
        "error": during["error"],
    }


def report(loads: list[Load], starts: list[float], job: dict[str, Any], passages: int) -> str:
    lines = [
        "# The page under load",
        "",
        f"Made by `bench/serving.py` ({machine.describe()}).",
        f"`stackroom ui` over a library of {passages:,} passages; clients and server share the processor, and the load average was {os.getloadavg()[1]:.0f} at the end.",
        "Times are those of the clients, in milliseconds; the processor's are those of the server's process, whatever else ran.",
        "",
        "| load | answers | a second | processor an answer | median | 95 % | 99 % | longest | failures |",
        "|---|---|---|---|---|---|---|---|---|",
        *(load.row() for load in loads),
        "",
        f"Indexing in the last row: {job['state']} after these seconds, {job['done']:,} files done; {job['events']:,} events were told meanwhile, with {job['longest']:.1f} s between two at most.",
        "",
        f"From the start of `stackroom ui` to its address: median {np.median(starts):.2f} s of {len(starts)} starts, {min(starts):.2f} to {max(starts):.2f} s.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--documents", type=Path, help="what is indexed meanwhile")
    parser.add_argument("--report", type=Path, help="write the table to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        library, documents = Path(scratch) / "library", options.documents or Path(scratch) / "documents"
        if options.documents is None:
            documents.mkdir()
            for number in range(400):
                (documents / f"{number}.txt").write_text(f"Text {number} says something about thing {number}. " * 400)
        subprocess.run(
            [sys.executable, "-m", "stackroom", "--library", str(library), "--quiet", "add", str(SAMPLES)], check=True
        )
        starts = []
        for _ in range(STARTS):
            process, base, token, seconds = started(library)
            starts.append(seconds)
            ended(process)
        process, base, token, _ = started(library)
        try:
            passages = httpx.get(f"{base}/api/status", headers={"authorization": f"Bearer {token}"}, timeout=60).json()
            loads, job = asyncio.run(
                measure(Page(base, token, process.pid), options.clients, options.seconds, documents)
            )
        finally:
            ended(process)
    text = report(loads, starts, job, passages["status"]["chunks"])
    print(text)
    if options.report is not None:
        options.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
