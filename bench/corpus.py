"""A real corpus in slices of 10, 100 and 1,000 documents: time per stage, memory, disk, failures, opening and searching.

    python bench/corpus.py [--work DIR] [--sizes 10,100,1000] [--report docs/benchmarks/corpus.md]

The documents are those of Debian's documentation packages (31 packages, 152 MB, fetched with apt-get, unpacked with dpkg-deb, not installed). A slice has
each format in the same share, chosen by a fixed seed, and none of two equal files. Each slice is indexed in a process of its own, with the shipped model.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import machine

PACKAGES = [
    "debian-handbook",
    "debian-policy",
    "developers-reference",
    "debian-faq",
    "debian-faq-de",
    "debian-faq-fr",
    "debian-faq-ja",
    "live-manual-epub",
    "live-manual-pdf",
    "live-manual-odf",
    "maint-guide",
    "packaging-tutorial",
    "abs-guide",
    "debian-reference-en",
    "python3.11-doc",
    "postgresql-doc-15",
    "r-doc-pdf",
    "sqlite3-doc",
    "git-doc",
    "bash-doc",
    "gnuplot-doc",
    "zsh-doc",
    "maxima-doc",
    "anarchism",
    "kicad-doc-en",
    "installation-guide-amd64",
    "debian-kernel-handbook",
    "debian-refcard",
    "live-manual-txt",
    "jargon-text",
    "apache2-doc",
]

# Documents of a hundred that are of each format, as far as there are so many.
SHARES = {".pdf": 10, ".epub": 3, ".html": 60, ".md": 5, ".txt": 22}
LARGEST = 20_000_000
QUERIES = (
    """
how do I rotate log files|write-ahead logging checkpoint|configure a virtual host|undo the last commit|what is anarchism|install a package from source
list comprehension syntax|plot a function of two variables|foreign key constraint|kernel module parameters|partition the hard disk|shell parameter expansion
regular expression groups|transaction isolation level|licence of the documentation|symbolic integration|backup and restore|network interface configuration
character encoding of a file|rewrite rules with conditions
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def fetch(work: Path) -> Path:
    """The unpacked packages; those that this machine's archive does not have are left out."""
    packages, tree = work / "packages", work / "tree"
    packages.mkdir(parents=True, exist_ok=True)
    tree.mkdir(exist_ok=True)
    for name in PACKAGES:
        if not list(packages.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", name], cwd=packages, check=False, capture_output=True)
        for package in packages.glob(f"{name}_*.deb"):
            if not (tree / name).exists():
                subprocess.run(["dpkg-deb", "-x", str(package), str(tree / name)], check=True)
    if not any(tree.iterdir()):
        sys.exit("No package could be fetched: this needs apt-get and a Debian archive.")
    return tree


def candidates(tree: Path) -> dict[str, list[Path]]:
    found = each_once(sorted(tree.rglob("*")), lambda name: name.suffix if name.suffix in SHARES else None, least=400)
    return {suffix: found.get(suffix, []) for suffix in SHARES}


def each_once(paths: list[Path], format_of: Callable[[Path], str | None], *, least: int) -> dict[str, list[Path]]:
    """Files of more than `least` bytes by format, in a fixed random order, each content once. A format is told from the name without .gz."""
    found: dict[str, list[Path]] = defaultdict(list)
    seen: set[bytes] = set()
    for path in paths:
        kind = format_of(Path(path.stem) if path.suffix == ".gz" else path)
        if kind is None or path.is_symlink() or not path.is_file() or not least < path.stat().st_size < LARGEST:
            continue
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in seen:
            seen.add(digest)
            found[kind].append(path)
    for several in found.values():
        random.Random(7).shuffle(several)
    return found


def make_slice(found: dict[str, list[Path]], size: int, folder: Path) -> dict[str, int]:
    """Copy a slice to `folder`; what a format lacks, HTML gives."""
    counts = {suffix: min(max(1, share * size // 100), len(found[suffix])) for suffix, share in SHARES.items()}
    counts[".html"] += size - sum(counts.values())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for suffix, count in counts.items():
        for number, path in enumerate(found[suffix][:count]):
            target = folder / f"{number:04}-{path.name.removesuffix('.gz')}"
            data = path.read_bytes()
            target.write_bytes(gzip.decompress(data) if path.suffix == ".gz" else data)
    return counts


class Stages:
    """Seconds spent in each stage of this process, measured from outside by wrapping what is called."""

    def __init__(self) -> None:
        self.seconds = {"embed": 0.0, "commit": 0.0, "decide": 0.0}

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.seconds[stage] += time.perf_counter() - begun

        return call

    def timed_block(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def call(*args: Any, **named: Any) -> Iterator[Any]:
            begun = time.perf_counter()
            try:
                with function(*args, **named) as value:
                    yield value
            finally:
                self.seconds[stage] += time.perf_counter() - begun

        return call


def measure(folder: Path, library: Path) -> dict[str, Any]:
    """Index and search one slice, in this process."""
    import stackroom
    from stackroom.ingest import reconcile
    from stackroom.ingest.embedders.onnx import OnnxEmbedder
    from stackroom.storage.store import LocalStore

    stages = Stages()
    OnnxEmbedder.embed_passages = stages.timed("embed", OnnxEmbedder.embed_passages)  # type: ignore[method-assign]
    LocalStore.commit = stages.timed_block("commit", LocalStore.commit)  # type: ignore[method-assign]
    reconcile.hash_file = stages.timed("decide", reconcile.hash_file)
    with Watch() as watch, stackroom.open(library) as index:
        report = index.add(folder)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    with stackroom.open(library) as index:
        again = index.add(folder)
        stats = index.stats()
    opened = []
    for _ in range(30):
        begun = time.perf_counter()
        stackroom.open(library, mode="r").close()
        opened.append((time.perf_counter() - begun) * 1000)
    found: dict[str, Any] = {
        "documents": report.added, "failed": report.failed, "chunks": report.chunks, "pages_without_text": report.pages_without_text,
        "seconds": report.seconds, **{name: round(value, 2) for name, value in stages.seconds.items()},
        "parse_cpu": round(children.ru_utime + children.ru_stime, 2), "peak_mb": watch.own >> 20, "parser_peak_mb": watch.child >> 20,
        "bytes": dict(stats.bytes), "again_seconds": again.seconds, "open_ms": round(statistics.median(opened), 2),
        "source_mb": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1),
        "failures": [f"{Path(failure.path).name}: {failure.kind}" for failure in report.failures],
    }  # fmt: skip
    with stackroom.open(library, mode="r") as index:
        for mode in ("text", "vector", "hybrid"):
            took = []
            for query in ["warm up", *QUERIES]:
                begun = time.perf_counter()
                index.search(query, mode=mode)  # type: ignore[arg-type]
                took.append((time.perf_counter() - begun) * 1000)
            found[f"{mode}_ms"] = round(statistics.median(took[1:]), 1)
    return found


class Watch:
    """The largest resident set of this process and of a parser, looked at ten times a second (Linux)."""

    def __init__(self) -> None:
        self.own = self.child = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        me = os.getpid()
        while not self._stop.wait(0.1):
            self.own = max(self.own, _resident(me))
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
                self.child = max([self.child, *(_resident(int(child)) for child in children)])


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


ROWS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("documents indexed / failed", lambda r: f"{r['documents']} / {r['failed']}"),
    ("size of the files", lambda r: f"{r['source_mb']:.1f} MB"),
    ("passages", lambda r: f"{r['chunks']:,}"),
    ("whole run", lambda r: f"{r['seconds']:.1f} s ({r['chunks'] / r['seconds']:.0f} passages/s)"),
    ("embedding", lambda r: f"{r['embed']:.1f} s"),
    ("commits", lambda r: f"{r['commit']:.1f} s"),
    ("hashing files", lambda r: f"{r['decide']:.2f} s"),
    ("parsing and splitting, processor time of another process", lambda r: f"{r['parse_cpu']:.1f} s"),
    ("a second run, nothing changed", lambda r: f"{r['again_seconds']:.2f} s"),
    ("peak memory, indexer / parser", lambda r: f"{r['peak_mb']} / {r['parser_peak_mb']} MB"),
    ("on disk: catalogue / vectors", lambda r: f"{r['bytes']['catalogue'] / 1e6:.1f} / {r['bytes']['vectors'] / 1e6:.1f} MB"),
    ("open and close", lambda r: f"{r['open_ms']:.2f} ms"),
    ("search in words / in meaning / in both", lambda r: f"{r['text_ms']} / {r['vector_ms']} / {r['hybrid_ms']} ms"),
)  # fmt: skip


def report(results: dict[int, dict[str, Any]], formats: dict[int, dict[str, int]]) -> str:
    sizes = list(results)
    lines = [
        "# A real corpus",
        "",
        f"Made by `bench/corpus.py` from Debian's documentation packages, with the shipped model. {machine.describe()}. Figures of searches are medians over",
        f"{len(QUERIES)} questions, the question's embedding included.",
        "",
        f"| slice | {' | '.join(f'{size:,}' for size in sizes)} |",
        f"|---|{'---|' * len(sizes)}",
        f"| formats | {' | '.join(', '.join(f'{count} {suffix[1:]}' for suffix, count in formats[size].items()) for size in sizes)} |",
    ]
    lines += [f"| {name} | {' | '.join(cell(results[size]) for size in sizes)} |" for name, cell in ROWS]
    lines += ["", "Failures:", ""]
    lines += [f"- {size:,}: {failure}" for size in sizes for failure in results[size]["failures"]] or ["- none"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "stackroom-corpus")
    parser.add_argument("--sizes", default="10,100,1000")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "LIBRARY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), Path(options.one[1]))))
        return
    found = candidates(fetch(options.work))
    results: dict[int, dict[str, Any]] = {}
    formats: dict[int, dict[str, int]] = {}
    for size in map(int, options.sizes.split(",")):
        folder, library = options.work / f"slice-{size}", options.work / f"library-{size}"
        formats[size] = make_slice(found, size, folder)
        shutil.rmtree(library, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(folder), str(library)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        results[size] = json.loads(done.stdout)
        print(json.dumps({"size": size, **results[size]}), flush=True)
    text = report(results, formats)
    print(text)
    if options.report is not None:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
