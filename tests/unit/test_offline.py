"""The whole main job without a network, in this process and in those that it starts; and what is secret stays out of a library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import stackroom
from old_index import OldIndex
from stackroom.errors import StackroomError
from support import WordEmbedder, write_files

NO_NETWORK = """
import os, socket, sys

def refuse(event, arguments):
    asks = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request")
    if asks or (event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6)):
        with open(os.environ["ASKED"], "a") as log:
            log.write(f"{event} {arguments}\\n")
        raise OSError("There is no network.")

sys.addaudithook(refuse)
with open(os.environ["STARTED"], "a") as log:
    log.write(" ".join(sys.orig_argv) + "\\n")
"""

BACKUP = "import sys, stackroom; stackroom.open(sys.argv[1]).backup(sys.argv[2])"
"""In Python, as an application makes one."""


def without_a_network() -> list[str]:
    """A prefix for a command: a namespace of the kernel that has no network, where one may be made."""
    found = shutil.which("unshare")
    if found is None or subprocess.run([found, "-rn", "true"], capture_output=True, check=False).returncode:
        return []
    return [found, "-rn"]


def test_the_main_job_uses_no_network(tmp_path: Path, samples: Path) -> None:
    write_files(tmp_path / "python", {"sitecustomize.py": NO_NETWORK})
    old = OldIndex().write(tmp_path / "old")
    library, asked, started = tmp_path / "library", tmp_path / "asked", tmp_path / "started"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "python"), "ASKED": str(asked), "STARTED": str(started)}

    def run(*command: object) -> str:
        done = subprocess.run(
            [*without_a_network(), sys.executable, *map(str, command)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def terminal(*command: object) -> str:
        return run("-m", "stackroom", "--library", library, *command)

    small = ["handbook/system-events.html", "sqlite/when-to-use.docx", "README.md"]
    terminal("add", *(samples / name for name in small))
    assert "syslog" in terminal("search", "where do system messages go")
    for command in (["status"], ["list"], ["verify"], ["compact"], ["export", tmp_path / "export"]):
        terminal(*command)
    run("-c", BACKUP, library, tmp_path / "backup")
    run("-m", "stackroom", "--library", tmp_path / "backup", "verify")
    run("-m", "stackroom", "migrate", old)
    assert not asked.exists(), asked.read_text()
    seen = started.read_text()
    assert "stackroom.ingest.parser" in seen


def test_the_block_would_be_noticed(tmp_path: Path) -> None:
    write_files(tmp_path, {"sitecustomize.py": NO_NETWORK})
    asked = tmp_path / "asked"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ASKED": str(asked), "STARTED": str(tmp_path / "started")}
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert b"There is no network." in done.stderr
    assert asked.exists()


class Remote(WordEmbedder):
    """One that asks a server, with a key."""

    def __init__(self) -> None:
        super().__init__()
        self.api_key = "sk-0123456789secret"
        self.url = "https://user:hunter2@example.com/v1"


def test_keys_of_an_embedder_are_stored_and_told_nowhere(tmp_path: Path, folder: Path) -> None:
    write_files(folder, {"a.txt": "Some words.", "b.pdf": "no pdf"})
    said = []
    with stackroom.open(tmp_path / "library", embedder=Remote()) as index:
        said.append(str(index.add(folder)))
        index.search("words")
        index.backup(tmp_path / "backup")
        said.append(str(index.stats()))
        with pytest.raises(StackroomError) as raised:
            index.search([1.0, 2.0])  # type: ignore[arg-type]
        said += traceback.format_exception(raised.value)
    with pytest.raises(StackroomError) as raised, stackroom.open(tmp_path / "library") as index:
        index.search("words", mode="vector")
    said += traceback.format_exception(raised.value)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in ("sk-0123456789secret", "hunter2"):
        assert secret.encode() not in stored
        assert secret not in "".join(said)
