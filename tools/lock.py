"""Write the releases that an environment for development gets today, and all that they need, with the hashes of what pip would install.

    lock.py FILE

It holds for one platform and one Python: those it is run with. Install it with `pip install --require-hashes -r FILE`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from requirements import PROJECT, extras

HEAD = f"""# Made by `make lock` for Linux on x86-64 and Python {sys.version_info.major}.{sys.version_info.minor}.
# Install with: pip install --require-hashes -r requirements/development.txt
"""


def wanted() -> list[str]:
    """The core, every extra that is not heavy, and the group dev."""
    return [*PROJECT["project"]["dependencies"], *extras(), *PROJECT["dependency-groups"]["dev"]]


def locked(requirements: list[str]) -> list[str]:
    """What pip would install, each as `name==version` with the hash of its file."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        subprocess.run([*command, "--ignore-installed", "--report", report, *requirements], check=True)
        chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = []
    for one in chosen:
        hashes = one["download_info"]["archive_info"]["hashes"]
        described = one["metadata"]
        found.append(f"{described['name'].lower()}=={described['version']} --hash=sha256:{hashes['sha256']}")
    return sorted(found)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(exist_ok=True)
    target.write_text(HEAD + "\n".join(locked(wanted())) + "\n", encoding="utf-8")
