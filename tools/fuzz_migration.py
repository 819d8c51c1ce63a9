#!/usr/bin/env python
"""Coverage-guided fuzzing of the detector and the parsers: python tools/fuzz_migration.py CORPUS [libFuzzer options].

Needs `pip install atheris`. New inputs that reach new code are added to CORPUS; tests replay every one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

with atheris.instrument_imports(include=["stackroom.migration"]):
    from stackroom import migration
    from stackroom.migration import run
    from stackroom.migration.stores import detection

import fuzz_target

del migration, detection, run


def main() -> None:
    atheris.Setup(sys.argv, fuzz_target.attempt)
    atheris.Fuzz()


main()
