"""Print requirements of pyproject.toml, one a line: a dependency group (pip older than 25.1 can't read those itself), or the oldest
releases that the package says it works with.

    requirements.py dev        the group dev
    requirements.py --lowest   the core and its extras (but those that are heavy), each pinned to its lower bound
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))


HEAVY = {"milvus", "qdrant", "sentence-transformers"}
"""Extras that are installed by nobody who only develops: hundreds of megabytes, or gigabytes."""


def extras() -> list[str]:
    """What the other extras need."""
    named = PROJECT["project"]["optional-dependencies"]
    return [line for extra, lines in named.items() if extra not in HEAVY for line in lines]


def lowest() -> list[str]:
    """Each requirement with `==` for its `>=`, and without an upper bound."""
    wanted = [*PROJECT["project"]["dependencies"], *extras()]
    return [re.sub(r">=([^,]+).*", r"==\1", requirement) for requirement in wanted]


if __name__ == "__main__":
    print("\n".join(lowest() if sys.argv[1] == "--lowest" else PROJECT["dependency-groups"][sys.argv[1]]))
