"""Print a dependency group of pyproject.toml, a requirement a line: pip older than 25.1 can't read groups itself."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
print("\n".join(project["dependency-groups"][sys.argv[1]]))
