"""Parser processes: one that dies, hangs or swells costs the file in its hands, and no other."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from stackroom.errors import ReaderCrashedError, ReadError
from stackroom.ingest.splitter import TokenSplitter
from stackroom.ingest.workers import Job, ParserPool, RunCancelled
from stackroom.progress import CancelToken

SPLITTER = TokenSplitter(None, 40, 5)


def results(pool: ParserPool, paths: list[Path], cancel: CancelToken | None = None) -> dict[str, object]:
    """Text or error of each file, in the order in which they came."""
    found: dict[str, object] = {}
    for document in pool.stream((Job(path) for path in paths), cancel or CancelToken()):
        try:
            document.open()
            found[document.job.path.name] = "".join(chunk.text for chunks in document.chunks() for chunk in chunks)
        except (ReadError, RunCancelled) as error:
            found[document.job.path.name] = error
    return found


@pytest.fixture
def files(folder: Path) -> list[Path]:
    for n in range(6):
        (folder / f"{n}.txt").write_text(f"text {n}")
    return [folder / f"{n}.txt" for n in range(6)]


@pytest.fixture(autouse=True)
def obedient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that hang where a file says so; see misbehaving_parser.py."""
    program = tmp_path / "python"
    script = Path(__file__).parent / "misbehaving_parser.py"
    program.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -P {shlex.quote(str(script))}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def blocking(path: Path) -> Path:
    """A file whose reader never comes to an end."""
    path.write_text(f"!make {path}.pid\n!hang")
    return path


def test_results_come_in_order(files: list[Path]) -> None:
    with ParserPool(SPLITTER, processes=2) as pool:
        found = results(pool, files)
    assert list(found.items()) == [(f"{n}.txt", f"text {n}") for n in range(6)]


def test_a_parser_that_hangs_is_replaced(files: list[Path], folder: Path) -> None:
    files.insert(2, blocking(folder / "stuck.txt"))
    # On a busy machine, a parser takes more than a second to start.
    with ParserPool(SPLITTER, timeout=4.0) as pool:
        found = results(pool, files)
    error = found.pop("stuck.txt")
    assert isinstance(error, ReaderCrashedError)
    assert "longer than 4 seconds" in error.message
    assert error.hint
    assert found == {f"{n}.txt": f"text {n}" for n in range(6)}


def test_a_parser_that_dies_is_replaced(files: list[Path], folder: Path) -> None:
    files.insert(2, blocking(folder / "deadly.txt"))

    def kill_the_parser() -> None:
        pid = folder / "deadly.txt.pid"
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
        os.kill(int(pid.read_text()), signal.SIGSEGV)

    with ParserPool(SPLITTER) as pool:
        killer = threading.Thread(target=kill_the_parser)
        killer.start()
        found = results(pool, files)
        killer.join()
    error = found.pop("deadly.txt")
    assert isinstance(error, ReaderCrashedError)
    assert "signal 11" in error.message
    assert found == {f"{n}.txt": f"text {n}" for n in range(6)}


def test_a_parser_has_a_limit_of_memory(files: list[Path], folder: Path) -> None:
    (folder / "swells.html").write_text("<html><body>" + "<p>paragraph" * 3_000_000)
    files.insert(1, folder / "swells.html")
    with ParserPool(SPLITTER, memory_bytes=400 * 2**20) as pool:
        found = results(pool, files)
    assert isinstance(found.pop("swells.html"), ReaderCrashedError)
    assert found == {f"{n}.txt": f"text {n}" for n in range(6)}


def test_cancelling_does_not_wait_for_a_parser(files: list[Path], folder: Path) -> None:
    cancel = CancelToken()
    files.insert(1, blocking(folder / "stuck.txt"))
    threading.Timer(3.0, cancel.cancel).start()
    with ParserPool(SPLITTER, timeout=60) as pool:
        found = results(pool, files, cancel)
    assert list(found) == ["0.txt", "stuck.txt"]
    assert isinstance(found["stuck.txt"], RunCancelled)


def test_an_abandoned_document_does_not_get_in_the_way(files: list[Path], folder: Path) -> None:
    (folder / "long.txt").write_text("a sentence of some words. " * 20_000)
    with ParserPool(SPLITTER) as pool:
        texts = []
        for document in pool.stream((Job(path) for path in [folder / "long.txt", *files]), CancelToken()):
            document.open()
            texts.append(next(document.chunks())[0].text[:6])
    assert texts == ["a sent", *(f"text {n}" for n in range(6))]


def test_what_a_parser_had_unpacked_goes_with_it(files: list[Path], folder: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    (folder / "unpacking.txt").write_text(f"!unpack {told}\n!signal {signal.SIGKILL:d}")
    with ParserPool(SPLITTER) as pool:
        found = results(pool, [folder / "unpacking.txt", files[0]])
    assert isinstance(found["unpacking.txt"], ReaderCrashedError)
    assert found["0.txt"] == "text 0"
    assert told.exists()
    assert not Path(told.read_text()).exists()
    assert not Path(told.read_text()).parent.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_a_parser_waiting(files: list[Path], folder: Path) -> None:
    with ParserPool(SPLITTER) as pool:
        assert results(pool, files[:1]) == {"0.txt": "text 0"}
        process = pool._workers[0]._process
        assert process is not None
        assert process.stdin is not None
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        try:
            process.stdin.close()
            assert process.wait(60) == 0
        finally:
            os.close(writing)
            os.close(reading)
            os.waitpid(child, 0)
