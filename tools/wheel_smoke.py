"""Use the installed package as its first user would, with nothing but its core dependencies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEAVY = ("numpy", "apsw", "onnxruntime", "tokenizers", "rich", "click", "faiss", "torch")


def run(*command: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != expect:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}, not {expect}:\n{done.stdout}\n{done.stderr}")
    return done


def main(stackroom: str) -> None:
    import stackroom as package

    loaded = [name for name in HEAVY if name in sys.modules]
    if loaded:
        sys.exit(f"import stackroom loads {loaded}")
    if "checkout" in package.__file__ or "/src/" in package.__file__:
        sys.exit(f"this is not the installed package: {package.__file__}")
    notes = Path("notes")
    notes.mkdir()
    (notes / "logs.md").write_text(
        "# Logs\n\nlogrotate rotates, compresses and removes old log files.\n", encoding="utf-8"
    )
    (notes / "cats.txt").write_text("A cat is a small animal that purrs and hunts mice.\n", encoding="utf-8")
    (notes / "report.pdf").write_bytes(b"%PDF-1.4\n")
    library = ("--library", "library")
    report = json.loads(run(stackroom, *library, "--json", "add", "notes", expect=1).stdout)
    if (report["added"], report["failed"]) != (2, 1) or "stackroom[documents]" not in str(report["failures"]):
        sys.exit(f"unexpected report: {report}")
    for query, mode, expected in (
        ("rotating logs", "text", "logs.md"),
        ("a pet that catches rodents", "vector", "cats.txt"),
        ("old log files", "hybrid", "logs.md"),
    ):
        found = json.loads(run(stackroom, *library, "--json", "search", "--mode", mode, query).stdout)
        if not found["hits"] or not found["hits"][0]["document"]["path"].endswith(expected):
            sys.exit(f"{query!r} ({mode}) found {found}")
    run(stackroom, "--help")
    run(stackroom, *library, "verify")
    run(stackroom, *library, "show", "nothing", expect=3)
    print(f"wheel smoke test passed: {package.__version__}, {package.__file__}")


if __name__ == "__main__":
    main(sys.argv[1])
