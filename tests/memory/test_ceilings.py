"""Every operation has a ceiling of memory that does not follow the corpus: "Memory" in docs/design.md.

Each runs in a process of its own, on a library and on one of eight times its size. Both stay below a ceiling, and the larger one takes little
more than the smaller: far less than its vectors or texts would. What it may take more is SQLite's pages (8 MB a connection, which a small
library does not fill), and what is said to grow: some bytes a row.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

import memory_operations
from memory_support import Peak, linux_only, peak_of
from stackroom.storage.disk import layout
from stackroom.storage.disk.lock import FileLock

pytestmark = linux_only

DIM = 256
QUICK, SLOW = (2_000, 16_000), (8_000, 64_000)

Prepare = Callable[[Path, Path], object]


class Ceiling(NamedTuple):
    """In MB above the imports: the most that either size may take, and how much more the larger one may take than the smaller."""

    operation: str
    most: float
    growth: float
    on: str = "the library"
    sizes: tuple[int, int] = SLOW

    def holds_for(self, small: Peak, large: Peak) -> None:
        print(
            f"{self.operation}: {small.own:.1f} and {large.own:.1f} MB; of a child {small.child:.1f} and {large.child:.1f}"
        )
        assert max(small.own, large.own) < self.most
        assert large.own - small.own < self.growth


QUICK_READS = (
    Ceiling("open_and_close", 1, 0.5, sizes=QUICK),
    Ceiling("search hybrid", 16, 8, sizes=QUICK),
    Ceiling("search filtered", 20, 10, "one without sketches", sizes=QUICK),
)

READS = (
    Ceiling("open_and_close", 1, 0.5),
    Ceiling("status", 4, 3),
    Ceiling("search text", 20, 12),
    Ceiling("search hybrid", 30, 15),
    Ceiling("search vector", 20, 12),
    Ceiling("search exact", 20, 12),
    Ceiling("search filtered", 30, 20),
    Ceiling("search text", 20, 12, on="one without sketches"),
    Ceiling("search hybrid", 30, 15, on="one without sketches"),
    Ceiling("search filtered", 30, 18, on="one without sketches"),
)

WORK = (
    Ceiling("backup TARGET", 20, 8),
    Ceiling("verify", 20, 8),
    Ceiling("export TARGET", 20, 10, sizes=(4_000, 32_000)),
    Ceiling("sketch", 80, 30, on="one without sketches"),
    Ceiling("remove", 24, 12, on="a copy"),
    Ceiling("remove_documents", 24, 12, on="a copy"),
    Ceiling("compact", 45, 32, on="one with half removed"),
    Ceiling("purge", 90, 57, on="one with half removed"),
    Ceiling("repair", 60, 45, on="a damaged copy"),
    Ceiling("change_model", 24, 9, on="a copy", sizes=QUICK),
)


def run(operation: str, *arguments: object) -> Peak:
    return peak_of([memory_operations.__file__, operation, *map(str, arguments)], waits=True)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where libraries stand that are made once, for all of the processes that run these tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "libraries"
    made.mkdir(exist_ok=True)
    return made


def library(shelf: Path, chunks: int, dim: int = DIM) -> Path:
    """A library of so many chunks."""
    made = shelf / f"{chunks}x{dim}"
    with FileLock(made.with_suffix(".lock")).hold("make", wait=1200.0):
        if not made.exists():
            begun = made.with_suffix(".tmp")
            run("add_documents", begun, chunks, dim)
            begun.rename(made)
    return made


def prepared(what: str, made: Path, target: Path) -> Path:
    """The library that an operation is for: the one that all share where it is only read, a copy of it otherwise."""
    if what == "the library":
        return made
    copy = target / made.name
    shutil.copytree(made, copy)
    if what == "one without sketches":
        shutil.rmtree(copy / "sketches", ignore_errors=True)
    if what == "one with half removed":
        run("remove", copy)
    if what == "a damaged copy":
        with contextlib.closing(apsw.Connection(str(layout.catalogue(copy)))) as connection:
            connection.execute("UPDATE chunks SET text = zeroblob(30) WHERE key = 77")
    return copy


def check(ceiling: Ceiling, shelf: Path, target: Path) -> None:
    operation, *arguments = ceiling.operation.split()
    small, large = (
        run(
            operation,
            prepared(ceiling.on, library(shelf, chunks), target),
            *(target / f"{argument} {chunks}" if argument == "TARGET" else argument for argument in arguments),
        )
        for chunks in ceiling.sizes
    )
    ceiling.holds_for(small, large)


def named(ceiling: Ceiling) -> str:
    return f"{ceiling.operation} in {ceiling.on}"


@pytest.mark.parametrize("ceiling", QUICK_READS, ids=named)
def test_reading_little(ceiling: Ceiling, shelf: Path, tmp_path: Path) -> None:
    check(ceiling, shelf, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ceiling", READS, ids=named)
def test_reading(ceiling: Ceiling, shelf: Path, tmp_path: Path) -> None:
    check(ceiling, shelf, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ceiling", WORK, ids=named)
def test_working(ceiling: Ceiling, shelf: Path, tmp_path: Path) -> None:
    check(ceiling, shelf, tmp_path)


def budget(chunks: int) -> float:
    """MB: 25 at 25,000 chunks of 1,024 dimensions, 250 at a million."""
    return 25 + 225 * (chunks - 25_000) / 975_000


@pytest.mark.slow
@pytest.mark.parametrize("how", ["text", "hybrid", "vector", "exact", "filtered"])
def test_the_budget_of_a_search(how: str, shelf: Path) -> None:
    for chunks in (25_000, 200_000):
        peak = run("search", library(shelf, chunks, dim=1024), how)
        print(f"{how}, {chunks:,}: {peak.own:.1f} MB of {budget(chunks):.1f}")
        assert peak.own < budget(chunks)


@pytest.mark.parametrize(
    ("operation", "sizes", "most", "growth"),
    [
        ("add_documents", QUICK, 90, 45),
        pytest.param("add_documents", SLOW, 90, 45, marks=pytest.mark.slow),
        # Postings files are joined again and again beside the batches.
        pytest.param("add_documents_in_batches", SLOW, 110, 65, marks=pytest.mark.slow),
    ],
)
def test_adding_documents(operation: str, sizes: tuple[int, int], most: float, growth: float, tmp_path: Path) -> None:
    """Documents with their vectors, made while they are added. The larger library gets a postings file, whose making is most of it."""
    small, large = (run(operation, tmp_path / str(chunks), chunks, DIM) for chunks in sizes)
    Ceiling(operation, most, growth).holds_for(small, large)


FILES = [
    (lambda folder: many_files(folder, 500), lambda folder: many_files(folder, 4_000)),
    (lambda folder: one_file(folder, 4), lambda folder: one_file(folder, 32)),
]


@pytest.mark.slow
@pytest.mark.parametrize("made", FILES, ids=["many files", "one large file"])
def test_adding_files(made: tuple[Callable[[Path], None], Callable[[Path], None]], tmp_path: Path) -> None:
    """The process that embeds and commits, and the parser beside it, each by itself; then all once more, unchanged, and read anew."""
    peaks = []
    for size, make in zip(("small", "large"), made, strict=True):
        folder, built = tmp_path / size, tmp_path / f"{size} library"
        folder.mkdir()
        make(folder)
        peaks.append(
            (run("add_files", built, folder), run("add_files_again", built, folder), run("rebuild_files", built))
        )
    (added, again, rebuilt), (added_more, again_more, rebuilt_more) = peaks
    Ceiling("add_files", 110, 85).holds_for(added, added_more)
    Ceiling("add_files_again", 8, 4).holds_for(again, again_more)
    Ceiling("rebuild_files", 110, 85).holds_for(rebuilt, rebuilt_more)
    for small, large in ((added, added_more), (rebuilt, rebuilt_more)):
        assert max(small.child, large.child) < 45
        assert large.child - small.child < 25


def many_files(folder: Path, count: int) -> None:
    for number in range(count):
        inside = folder / f"{number // 500:03}"
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{number}.txt").write_text("\n".join(sentence(number * 16 + at) for at in range(16)))


def one_file(folder: Path, megabytes: int) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "large.txt").open("w") as file:
        number = 0
        while file.tell() < megabytes * 1e6:
            file.write(sentence(number) + (".\n\n" if number % 5 else ".\n"))
            number += 1


def sentence(number: int) -> str:
    return " ".join(f"word{(number * 31 + at * 17) % 9973}" for at in range(60))
