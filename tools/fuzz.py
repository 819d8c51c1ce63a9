#!/usr/bin/env python
"""Coverage-guided fuzzing of one target: TARGET=readers tools/fuzz.py CORPUS... [libFuzzer options].

TARGET, in the environment since libFuzzer starts itself again, is a module of tests/fuzz. Needs `pip install atheris`. New inputs that reach new code are added to the first CORPUS; tests
replay those that are kept. Inputs that fail are in .fuzz/finds/TARGET, one of each kind. `--seeds` in place of the options writes the target's seeds into CORPUS.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

INCLUDED = {
    "migration": ["stackroom.migration"],
    "readers": ["stackroom.ingest", "striprtf", "docx", "email"],
    "library": ["stackroom.storage", "stackroom.index", "stackroom.search"],
    "queries": ["stackroom.filters", "stackroom.storage", "stackroom.search", "stackroom.index"],
}


def _gathering(attempt: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """Keeps one input of each kind of failure, by where it happened, and goes on: the first find hides no other."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {path.name for path in folder.iterdir()}

    def gathered(data: bytes) -> None:
        try:
            attempt(data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            told = "".join(f"{frame.filename}:{frame.lineno}\n" for frame in frames[-4:]) + type(error).__name__
            name = hashlib.sha1(told.encode()).hexdigest()
            if name not in known:
                known.add(name)
                (folder / name).write_bytes(data)
                traceback.print_exc()

    return gathered


def main() -> None:
    name = os.environ["TARGET"]
    with atheris.instrument_imports(include=INCLUDED[name]):
        target = importlib.import_module(f"fuzz.{name}")
    if sys.argv[2:] == ["--seeds"]:
        corpus = Path(sys.argv[1])
        corpus.mkdir(parents=True, exist_ok=True)
        for data in target.seeds():
            (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
        return
    atheris.Setup(sys.argv, _gathering(target.attempt, Path(".fuzz") / "finds" / name))
    atheris.Fuzz()


main()
