"""`stackroom ui` itself: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stackroom

not_on_windows = pytest.mark.skipif(os.name != "posix", reason="Windows ends a program by SIGTERM without asking it")

WITHOUT = "import sys; sys.modules['starlette'] = None; from stackroom.cli.main import main; main(sys.argv[1:])"


@pytest.fixture
def prepared_library(library: Path) -> Path:
    stackroom.open(library).close()
    return library


def ui(library: Path, *options: str, code: str = "") -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "stackroom"]
    command = [sys.executable, *start, "--library", str(library), "ui", "--no-open", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "192.168.1.5"], "TLS"),
        (["--host", "nobody.invalid", "--without-tls"], "no address of this machine"),
    ],
)
def test_what_can_not_be_served_is_refused(library: Path, options: list[str], said: str) -> None:
    done = ui(library, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_url_with_a_password_is_refused_and_nothing_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "chroma://:sesame@localhost/papers"
    command = [sys.executable, "-m", "stackroom", "--library", url, "ui", "--no-open"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no password" in done.stderr
    assert "sesame" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_documents_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("alpha")
    done = ui(tmp_path, "--port", "0")
    assert (done.returncode, done.stdout) == (3, "")
    assert "is no Stackroom library" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_port_that_is_taken_is_said(library: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = ui(library, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 4
    assert "can't be had" in done.stderr


def test_the_extra_that_is_missing_is_named(library: Path) -> None:
    done = ui(library, code=WITHOUT)
    assert done.returncode == 7
    assert "stackroom[ui]" in done.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 0, marks=not_on_windows)]
)
@pytest.mark.parametrize("verb", [["ui", "--no-open"], ["mcp", "--http"]])
def test_with_json_the_address_is_json_and_a_signal_ends_it(
    verb: list[str], number: signal.Signals, code: int, prepared_library: Path
) -> None:
    command = [sys.executable, "-m", "stackroom", "--json", "--library", str(prepared_library), *verb, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["address"].startswith("http://127.0.0.1:")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said


def test_another_address_is_served_over_tls(program: Callable[..., Any], library: Path, tmp_path: Path) -> None:
    made = subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.2 -keyout {tmp_path}/key.pem -out {tmp_path}/cert.pem".split(),
        capture_output=True,
        check=False,
    )
    if made.returncode or os.name != "posix":
        pytest.skip("no openssl to make a certificate with")
    client, address = program(
        "--port",
        "0",
        "--host",
        "127.0.0.2",
        "--certificate",
        str(tmp_path / "cert.pem"),
        "--private-key",
        str(tmp_path / "key.pem"),
    )
    assert address.startswith("https://127.0.0.2:")
    assert client.get("/api/status").json()["state"] == "ready"
    token = address.partition("token=")[2]
    assert "; Secure" in client.get(f"/?token={token}").headers["set-cookie"]


def test_each_start_has_a_token_of_its_own(program: Callable[..., Any]) -> None:
    first, address = program("--port", "0")
    second, other = program("--port", "0")
    assert address.partition("token=")[2] != other.partition("token=")[2]
    assert first.get("/api/status").status_code == 200
    assert second.get("/api/status", headers=dict(first.headers)).status_code == 401


def own_address() -> str:
    """By which other machines reach this one; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback")
        found: str = probe.getsockname()[0]
        return found


def test_other_machines_reach_it_only_where_that_was_asked_for_and_with_the_token(program: Callable[..., Any]) -> None:
    here = own_address()
    _, address = program("--port", "0")
    port = int(address.partition("/?")[0].rpartition(":")[2])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((here, port), timeout=10).close()
    client, address = program("--port", "0", "--host", here, "--without-tls")
    assert address.startswith(f"http://{here}:")
    assert client.get("/api/status").status_code == 200
    assert client.get("/api/status", headers={"authorization": ""}).status_code == 401
    assert client.get("/api/status", headers={"host": "localhost"}).status_code == 403
