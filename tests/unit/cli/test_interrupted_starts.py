"""Ctrl-C and SIGTERM at any moment of a command's start end its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from stackroom.cli.main import cli
from support import write_files

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")

_AT_ONCE = 3


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("interrupted")
    write_files(root / "files", {"one.txt": "A lantern in the harbour."})
    done = CliRunner().invoke(cli, ["--library", str(root / "library"), "add", str(root / "files")])
    assert done.exit_code == 0, done.output
    return root / "library"


def start(library: Path, number: int, nth: int, command: Sequence[str]) -> subprocess.Popen[str]:
    program = [sys.executable, str(Path(__file__).with_name("interrupted.py")), str(number), str(nth)]
    return subprocess.Popen(
        [*program, "--library", str(library), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Compiled files that are missing would be moments of their own.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def moments(library: Path, command: Sequence[str], count: int) -> list[int]:
    """So many, all over the start."""
    _, told = start(library, signal.SIGINT, 0, command).communicate(timeout=120)
    there = int(told.splitlines()[-1])
    return [1 + at * (there - 1) // count for at in range(count)]


@pytest.mark.parametrize(
    ("command", "count"),
    [
        (["search", "lantern"], 14),
        (["list"], 6),
        (["ui", "--no-open", "--port", "0"], 10),
        (["mcp", "--http", "--port", "0"], 6),
    ],
    ids=["search", "list", "ui", "mcp"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_of_the_start_ends_it(
    library: Path, command: list[str], count: int, number: signal.Signals
) -> None:
    waiting = moments(library, command, count)
    if number == signal.SIGTERM:
        # Nothing of ours hears it before something is served or written.
        waiting = waiting[::3]
    while waiting:
        now, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        running = [(nth, start(library, number, nth, command)) for nth in now]
        try:
            for nth, process in running:
                _, told = process.communicate(timeout=120)
                assert process.returncode in (130, -number), (nth, process.returncode, told[-600:])
        finally:
            for _, process in running:
                process.kill()
