"""Draw docs/terminal.svg: a real run of the commands of `make try`, as a terminal shows it.

    python tools/terminal_picture.py docs/terminal.svg

The commands run in a pseudo-terminal on a fresh library of samples/; what they print is drawn by rich, unchanged but for the home folder.
"""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 100
RUNS = (
    "add samples",
    'search -k 3 "how do I rotate logs"',
    'search -k 1 --where "type == pdf" "build a package in a clean environment"',
)


def run(command: str, library: Path) -> str:
    """What a command prints to a terminal."""
    main, other = pty.openpty()
    environment = {
        **os.environ,
        "STACKROOM_LIBRARY": str(library),
        "COLUMNS": str(WIDTH),
        "LINES": "60",
        "TERM": "xterm-256color",
    }
    stackroom = shutil.which("stackroom", path=str(Path(sys.executable).parent)) or "stackroom"
    process = subprocess.Popen(
        f"{stackroom} {command}", shell=True, cwd=ROOT, stdin=other, stdout=other, stderr=other, env=environment
    )
    os.close(other)
    printed = bytearray()
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        printed += part
    if process.wait() != 0:
        sys.exit(f"stackroom {command} ended with {process.returncode}:\n{printed.decode(errors='replace')}")
    os.close(main)
    return _settled(printed.decode())


def _settled(printed: str) -> str:
    """The screen at the end: a progress bar has erased itself by then."""
    kept: list[str] = []
    for line in printed.replace("\r\n", "\n").split("\n"):
        last = line.rpartition("\x1b[2K")[2].rpartition("\r")[2]
        if "\x1b[1A" in line and kept:
            kept.pop()
        if "\x1b[2K" in line and not last.strip():
            continue
        kept.append(last.replace("\x1b[?25h", "").replace("\x1b[?25l", ""))
    return "\n".join(kept).strip("\n").replace(str(ROOT), "~/stackroom")


def main(target: str) -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as scratch:
        for command in RUNS:
            console.print(Text.assemble(("$ ", "bold green"), (f"stackroom {command}", "bold")))
            console.print(Text.from_ansi(run(command, Path(scratch) / "library")))
            console.print()
    console.save_svg(target, title="stackroom")


if __name__ == "__main__":
    main(sys.argv[1])
