"""Begin a corpus for fuzz_migration.py with the golden stores: python tools/fuzz_seeds.py CORPUS."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import fuzz_target  # noqa: E402 - its folder is known only now

KINDS = {"storage.json": "index.json", "vector_store.json": "default__vector_store.json"}


def main() -> None:
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "tests" / "compat" / "golden").glob("*/written/**/*")):
        name = KINDS.get(path.name, path.name)
        if path.is_file() and name in fuzz_target.NAMES and path.read_bytes()[:1] != b"I":
            data = bytes([fuzz_target.NAMES.index(name)]) + path.read_bytes()
            (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)


main()
