"""Parsers that misbehave in every way that a file can make them: it costs that file and nothing else."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stackroom.errors import ReadError
from stackroom.ingest import workers
from stackroom.ingest.embedders import resolve
from stackroom.ingest.readers import reader_for
from stackroom.ingest.readers.common import facts
from stackroom.ingest.splitter import TokenSplitter, splitter_for
from stackroom.ingest.workers import Job, ParserPool, RunCancelled
from stackroom.progress import CancelToken
from stackroom.protocols import Section
from stackroom.types import Chunk, Place
from support import write_files

HERE = Path(__file__).parent
PYTHON = sys.executable
SPLITTER = TokenSplitter(None, 20, 0)
MEMORY = 600 * 2**20


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Workers that obey files which begin with `!`; see misbehaving_parser.py."""
    command = f"exec {shlex.quote(PYTHON)} -P {shlex.quote(str(HERE / 'misbehaving_parser.py'))}"
    return instead_of_python(tmp_path, monkeypatch, f"#!/bin/sh\n{command}\n")


def instead_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> str:
    program = tmp_path / "python"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return str(program)


@dataclass
class Outcome:
    """What one file came to: its chunks' texts, and the error that ended it."""

    name: str
    type: str
    texts: list[str]
    error: ReadError | None


def outcomes(pool: ParserPool, paths: Iterable[Path], cancel: CancelToken | None = None) -> Iterator[Outcome]:
    for document in pool.stream([Job(path) for path in paths], cancel or CancelToken()):
        found = Outcome(document.job.path.name, "", [], None)
        try:
            document.open()
            found.type = document.type
            for batch in document.chunks():
                found.texts += [chunk.text for chunk in batch]
        except ReadError as error:
            found.error = error
        yield found


def told(found: Iterable[Outcome]) -> list[tuple[str, str]]:
    """Each file with its text, or with the class of its error."""
    return [(one.name, type(one.error).__name__ if one.error else " ".join(one.texts)) for one in found]


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it does in the end; the limit is there to fail, not to measure."""
    for _ in range(3000):
        if condition():
            return True
        time.sleep(0.01)
    return False


class CancelledAtLook(CancelToken):
    """Cancels itself when it is looked at for the n-th time."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.looks = 0
        self._n = n

    @property
    def cancelled(self) -> bool:
        self.looks += 1
        return self.looks >= self._n


# What a good file gives


@pytest.mark.parametrize("splitter", [SPLITTER, splitter_for(resolve("minilm"))], ids=["estimated", "minilm"])
def test_a_worker_gives_the_chunks_that_the_reader_and_splitter_give_here(
    samples: Path, splitter: TokenSplitter
) -> None:
    paths = sorted(path for path in samples.rglob("*") if path.is_file())
    with ParserPool(splitter) as pool:
        for document in pool.stream([Job(path, path.name) for path in paths], CancelToken()):
            path = document.job.path
            assert document.job.tag == path.name
            reader = reader_for(path)
            reading = reader.read(path)
            sections = list(reading.sections)
            document.open()
            assert (document.type, document.title, document.metadata) == (
                reading.type,
                reading.title,
                facts.uniform(reading.metadata),
            )
            assert document.reader == f"{reader.name}:{reader.version}"
            batches = list(document.chunks())
            assert [chunk for batch in batches for chunk in batch] == list(splitter.split(sections))
            assert max(map(len, batches)) <= 64
            assert document.characters == sum(len(section.text.strip()) for section in sections)
            paged = [section for section in sections if section.page is not None]
            assert document.pages == (len(paged) or None)
            blank = [section for section in paged if not section.text.strip()]
            assert document.pages_without_text == (len(blank) if paged else None)


class PageSplitter:
    """A splitter that a worker can't make: every section that has text is a chunk."""

    def split(self, sections: Iterable[Section]) -> Iterator[Chunk]:
        for section in sections:
            if section.text.strip():
                yield Chunk(
                    section.text,
                    place=Place(page=section.page, page_label=section.page_label, section=section.headings),
                )


@pytest.mark.parametrize("name", ["debian/packaging-tutorial.pdf", "debian/developers-reference.epub"])
def test_a_splitter_of_ones_own_stays_here_and_gets_whole_sections(samples: Path, name: str) -> None:
    path = samples / name
    with ParserPool(PageSplitter()) as pool:
        (document,) = pool.stream([Job(path)], CancelToken())
        # The pool is still open, and its messages wait.
        assert document.job.path == path
    with ParserPool(PageSplitter()) as pool:
        for document in pool.stream([Job(path)], CancelToken()):
            document.open()
            found = [chunk for batch in document.chunks() for chunk in batch]
    assert found == list(PageSplitter().split(reader_for(path).read(path).sections))


def test_a_name_that_is_no_utf8_reaches_the_worker(folder: Path) -> None:
    path = folder / os.fsdecode(b"caf\xe9 \xff.txt")
    path.write_text("alpha")
    bad = folder / os.fsdecode(b"\xfe.txt")
    bad.write_text("")
    with ParserPool(SPLITTER) as pool:
        good, empty = outcomes(pool, [path, bad])
    assert good.texts == ["alpha"]
    assert empty.error is not None
    assert empty.error.path == str(bad)
    assert str(bad) in empty.error.message


# Order, and how much is done ahead


def test_results_come_in_the_order_of_the_jobs(misbehaving: str, folder: Path) -> None:
    """The first file is done only when the second one's worker is: two processes work at once, and none overtakes."""
    flag = folder / "flag"
    write_files(
        folder, {"1": f"!wait {flag}\n!say one", "2": f"!make {flag}\n!say two", "3": "!say three", "4": "four"}
    )
    with ParserPool(SPLITTER, processes=2) as pool:
        assert told(outcomes(pool, [folder / name for name in "1234"])) == [
            ("1", "one"),
            ("2", "two"),
            ("3", "three"),
            ("4", "four"),
        ]


@pytest.mark.parametrize("processes", [1, 3])
def test_many_files_come_each_with_its_own_text(folder: Path, processes: int) -> None:
    write_files(folder, {f"{n}.txt": f"text of {n}" for n in range(100)})
    with ParserPool(SPLITTER, processes=processes) as pool:
        assert told(outcomes(pool, [folder / f"{n}.txt" for n in range(100)])) == [
            (f"{n}.txt", f"text of {n}") for n in range(100)
        ]


def test_jobs_are_taken_as_they_are_needed(folder: Path) -> None:
    (folder / "a.txt").write_text("alpha")
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield Job(folder / "a.txt")

    with ParserPool(SPLITTER, processes=2) as pool:
        for done, _ in enumerate(pool.stream(jobs(), CancelToken()), start=1):
            assert done <= taken <= done + 15
            if done == 30:
                break


def test_no_job_starts_no_process() -> None:
    with ParserPool(SPLITTER, processes=2) as pool:
        assert list(pool.stream([], CancelToken())) == []
        assert [worker._process for worker in pool._workers] == [None, None]


# Errors that a reader knows


def test_an_error_arrives_as_the_reader_raised_it(folder: Path) -> None:
    write_files(folder, {"empty.txt": "", "blank.txt": " \n", "good.txt": "alpha"})
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 8)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing else")
    paths = [folder / name for name in ("empty.txt", "blank.txt", "binary.txt", "broken.pdf", "missing.txt")]
    paths += [HERE / "files/needs-password.pdf", HERE / "files/blank.pdf", folder / "good.txt"]
    with ParserPool(SPLITTER) as pool:
        found = list(outcomes(pool, paths))
    assert [type(one.error).__name__ for one in found] == [
        "NoTextError", "NoTextError", "UnsupportedFormatError", "ReadError", "ReadError", "EncryptedError", "ScannedError", "NoneType",
    ]  # fmt: skip
    for one, path in zip(found[:-1], paths, strict=False):
        with pytest.raises(ReadError) as caught:
            list(reader_for(path).read(path).sections)
        assert one.error is not None
        assert (one.error.message, one.error.hint) == (caught.value.message, caught.value.hint)
        assert one.error.path == str(path)
        assert one.error.actual == type(caught.value).__name__
    assert found[-1].texts == ["alpha"]


@pytest.mark.parametrize("kind", ["ValueError", "KeyError", "OSError"])
def test_a_reader_that_trips_is_a_failed_file_and_no_dead_process(misbehaving: str, folder: Path, kind: str) -> None:
    write_files(folder, {"bad": f"!make {folder / 'one'}\n!trip {kind}", "good": f"!make {folder / 'two'}\n!say fine"})
    with ParserPool(SPLITTER) as pool:
        bad, good = outcomes(pool, [folder / "bad", folder / "good"])
    assert type(bad.error) is ReadError
    assert kind in bad.error.message
    assert str(folder / "bad") in bad.error.message
    assert good.texts == ["fine"]
    assert (folder / "one").read_text() == (folder / "two").read_text()


def test_a_reader_that_recurses_without_end_is_a_failed_file(misbehaving: str, folder: Path) -> None:
    write_files(folder, {"bad": "!recurse", "good": "!say fine"})
    with ParserPool(SPLITTER) as pool:
        assert told(outcomes(pool, [folder / "bad", folder / "good"])) == [("bad", "ReadError"), ("good", "fine")]


def test_what_a_library_prints_does_not_get_between_the_messages(misbehaving: str, folder: Path) -> None:
    write_files(folder, {"a": "!print hello\n!say one\n!print world\n!say two"})
    with ParserPool(SPLITTER) as pool:
        assert told(outcomes(pool, [folder / "a"])) == [("a", "one\ntwo")]


# Parsers that die, hang or bloat

DEATHS = {
    "SIGSEGV": ("!signal 11", "signal 11"),
    "SIGKILL": ("!signal 9", "signal 9"),
    "SIGABRT": ("!signal 6", "signal 6"),
    "exit": ("!exit 3", "exit code 3"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_parser_that_dies_costs_one_file(misbehaving: str, folder: Path, death: str) -> None:
    order, cause = DEATHS[death]
    write_files(folder, {"bad": order, "b.txt": "beta", "c.txt": "gamma"})
    with ParserPool(SPLITTER) as pool:
        bad, *rest = outcomes(pool, [folder / name for name in ("bad", "b.txt", "c.txt")])
    assert told([bad, *rest]) == [("bad", "ReaderCrashedError"), ("b.txt", "beta"), ("c.txt", "gamma")]
    assert bad.error is not None
    assert cause in bad.error.message
    assert str(folder / "bad") in bad.error.message
    assert bad.error.path == str(folder / "bad")
    assert "--retry" in (bad.error.hint or "")


@pytest.mark.parametrize("processes", [1, 2])
def test_files_after_a_death_keep_their_own_text(misbehaving: str, folder: Path, processes: int) -> None:
    names = "0123x56x789"
    paths = [folder / f"{n}" for n in range(len(names))]
    for path, name in zip(paths, names, strict=True):
        path.write_text("!signal 11" if name == "x" else f"text of {path.name}")
    with ParserPool(SPLITTER, processes=processes) as pool:
        assert told(outcomes(pool, paths)) == [
            (path.name, "ReaderCrashedError" if name == "x" else f"text of {path.name}")
            for path, name in zip(paths, names, strict=True)
        ]


def test_two_deaths_in_a_row_cost_two_files(misbehaving: str, folder: Path) -> None:
    write_files(folder, {"1": "!signal 11", "2": "!exit 1", "3": "text"})
    with ParserPool(SPLITTER) as pool:
        assert told(outcomes(pool, [folder / name for name in "123"])) == [
            ("1", "ReaderCrashedError"),
            ("2", "ReaderCrashedError"),
            ("3", "text"),
        ]


def test_a_death_in_the_middle_of_a_file_comes_after_what_was_read(misbehaving: str, folder: Path) -> None:
    lines = [f"!say Sentence number {n} has a good many words in it, more than a few." for n in range(300)]
    write_files(folder, {"bad": "\n".join([*lines, "!signal 11"]), "good": "!say fine"})
    with ParserPool(SPLITTER) as pool:
        bad, good = outcomes(pool, [folder / "bad", folder / "good"])
    assert len(bad.texts) >= 64
    assert bad.texts[0].startswith("Sentence number 0")
    assert type(bad.error).__name__ == "ReaderCrashedError"
    assert told([good]) == [("good", "fine")]


def test_a_parser_that_hangs_is_cut_off(misbehaving: str, folder: Path) -> None:
    write_files(folder, {"bad": f"!make {folder / 'pid'}\n!hang", "b.txt": "beta", "c.txt": "gamma"})
    with ParserPool(SPLITTER, timeout=4) as pool:
        bad, *rest = outcomes(pool, [folder / name for name in ("bad", "b.txt", "c.txt")])
        assert not alive(int((folder / "pid").read_text()))
    assert told([bad, *rest]) == [("bad", "ReaderCrashedError"), ("b.txt", "beta"), ("c.txt", "gamma")]
    assert bad.error is not None
    assert "longer than 4 seconds" in bad.error.message


def test_a_large_file_has_longer(misbehaving: str, folder: Path) -> None:
    """A second more for each MiB: the limit that the message tells."""
    (folder / "bad").write_text("!hang\n" + " " * 2 * 2**20)
    with ParserPool(SPLITTER, timeout=1) as pool:
        (bad,) = outcomes(pool, [folder / "bad"])
    assert bad.error is not None
    assert "longer than 3 seconds" in bad.error.message


def test_a_parser_that_takes_too_much_memory_costs_one_file(misbehaving: str, folder: Path) -> None:
    write_files(folder, {"bad": f"!take {MEMORY // 2**20}\n!say never", "good": "!take 100\n!say fine"})
    with ParserPool(SPLITTER, memory_bytes=MEMORY) as pool:
        bad, good = outcomes(pool, [folder / "bad", folder / "good"])
    assert type(bad.error).__name__ == "ReaderCrashedError"
    assert "memory" in bad.error.message
    assert bad.error.hint
    assert told([good]) == [("good", "fine")]
    with ParserPool(SPLITTER, memory_bytes=4 * MEMORY) as pool:
        assert told(outcomes(pool, [folder / "bad"])) == [("bad", "never")]


JUNK = {
    "no JSON": "send(b'junk')",
    "no object": "send(b'[1]')",
    "lists without end": "send(b'[' * 200_000)",
    "a message cut short": "out.write(b'\\0\\0\\1\\0half'); out.flush(); sys.exit()",
    "half a length": "out.write(b'\\0\\0'); out.flush(); sys.exit()",
    "nothing": "sys.exit()",
    "a message without its job": "send(b'{}')",
    "another job's message": 'send(b\'{"job": 2, "done": {}}\')',
}
MISSHAPEN = {
    "a job and no more": [{"job": 1}],
    "an open that is a number": [{"job": 1, "open": 5}],
    "an error that is a number": [{"job": 1, "error": 1}],
    "a chunk without a place": [
        {"job": 1, "open": {"reader": "r", "type": "t", "title": None, "metadata": {}}},
        {"job": 1, "chunks": [[1]]},
    ],
}


def a_taken_over_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    start = "import sys\nout = sys.stdout.buffer\n"
    send = "def send(data):\n    out.write(len(data).to_bytes(4, 'big') + data)\n    out.flush()\n"
    instead_of_python(tmp_path, monkeypatch, f"#!{PYTHON}\n{start}{send}{body}\nsys.stdin.buffer.read()\n")


@pytest.mark.parametrize("junk", JUNK)
def test_a_parser_that_talks_nonsense_costs_one_file(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, junk: str
) -> None:
    (folder / "a.txt").write_text("alpha")
    a_taken_over_parser(tmp_path, monkeypatch, JUNK[junk])
    with ParserPool(SPLITTER) as pool:
        assert told(outcomes(pool, [folder / "a.txt"])) == [("a.txt", "ReaderCrashedError")]


@pytest.mark.parametrize("misshapen", MISSHAPEN)
def test_a_parser_whose_messages_mean_nothing_costs_one_file(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, misshapen: str
) -> None:
    (folder / "a.txt").write_text("alpha")
    body = "\n".join(f"send({json.dumps(message).encode()!r})" for message in MISSHAPEN[misshapen])
    a_taken_over_parser(tmp_path, monkeypatch, body)
    with ParserPool(SPLITTER) as pool:
        assert told(outcomes(pool, [folder / "a.txt"])) == [("a.txt", "ReaderCrashedError")]


@pytest.mark.parametrize("kind", ["os", "annotations", "StackroomError", "UsageError", "Nobody"])
def test_an_error_class_that_is_none_of_ours_is_a_read_error(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (folder / "a.txt").write_text("alpha")
    told_so = json.dumps({"job": 1, "error": {"kind": kind, "message": "m", "hint": "h"}}).encode()
    a_taken_over_parser(tmp_path, monkeypatch, f"send({told_so!r})")
    with ParserPool(SPLITTER) as pool:
        (found,) = outcomes(pool, [folder / "a.txt"])
    assert type(found.error) is ReadError
    assert (found.error.message, found.error.hint) == ("m", "h")


# Where it is started


def test_no_module_of_the_current_folder_is_imported(
    samples: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = f"open({str(folder / 'ran')!r}, 'w')\nraise SystemExit\n"
    names = ("docx.py", "lxml.py", "json.py", "signal.py", "selectolax.py", "sitecustomize.py")
    write_files(folder, dict.fromkeys((*names, "stackroom/__init__.py", "stackroom/ingest/parser.py"), trap))
    monkeypatch.chdir(folder)
    with ParserPool(SPLITTER) as pool:
        paths = [samples / "sqlite/when-to-use.docx", samples / "handbook/backup.html"]
        assert [(one.type, one.error) for one in outcomes(pool, paths)] == [("docx", None), ("html", None)]
    assert not (folder / "ran").exists()


# Cancelling and ending


@pytest.mark.parametrize("order", ["hang", "wait /nowhere/at/all"])
def test_cancel_is_looked_at_all_the_while_that_a_parser_is_silent(misbehaving: str, folder: Path, order: str) -> None:
    """Several looks a second, at a parser that would never answer: the run stops at the first that says so."""
    assert workers._POLL_SECONDS <= 0.5
    pid = folder / "pid"
    write_files(folder, {"bad": f"!make {pid}\n!{order}", "b.txt": "beta"})

    class AfterItHangs(CancelledAtLook):
        @property
        def cancelled(self) -> bool:
            return pid.exists() and super().cancelled

    cancel = AfterItHangs(3)
    opened = []
    with ParserPool(SPLITTER, timeout=60) as pool:
        for document in pool.stream([Job(folder / "bad"), Job(folder / "b.txt")], cancel):
            opened.append(document.job.path.name)
            document.open()
            with pytest.raises(RunCancelled):
                list(document.chunks())
    assert opened == ["bad"]
    assert cancel.looks <= 6
    assert not alive(int(pid.read_text()))


def test_cancel_in_the_middle_of_a_long_file(folder: Path) -> None:
    write_files(folder, {"long.txt": "Many words are here. " * 100_000, "next.txt": "next"})
    cancel = CancelToken()
    batches = 0
    with ParserPool(SPLITTER) as pool:
        for document in pool.stream([Job(folder / "long.txt"), Job(folder / "next.txt")], cancel):
            document.open()
            with pytest.raises(RunCancelled):
                for batches, _ in enumerate(document.chunks(), start=1):  # noqa: B007
                    cancel.cancel()
    assert batches == 1


def test_a_cancelled_token_starts_nothing(folder: Path) -> None:
    (folder / "a.txt").write_text("alpha")
    cancel = CancelToken()
    cancel.cancel()
    with ParserPool(SPLITTER) as pool:
        assert list(pool.stream([Job(folder / "a.txt")], cancel)) == []
        assert pool._workers[0]._process is None


def test_no_process_is_left_when_the_pool_closes_early(misbehaving: str, folder: Path) -> None:
    pids = [folder / f"pid{n}" for n in range(3)]
    paths = [folder / str(n) for n in range(3)]
    for path, pid in zip(paths, pids, strict=True):
        path.write_text(f"!make {pid}\n!hang")
    with pytest.raises(RuntimeError, match="stop"), ParserPool(SPLITTER, processes=3) as pool:
        for _ in pool.stream([Job(path) for path in paths], CancelToken()):
            assert comes_true(lambda: all(pid.exists() and pid.read_text() for pid in pids))
            raise RuntimeError("stop")
    assert [alive(int(pid.read_text())) for pid in pids] == [False] * 3


def test_no_thread_is_left_when_a_long_file_is_cancelled(folder: Path) -> None:
    (folder / "long.txt").write_text("Many words are here. " * 100_000)
    cancel = CancelToken()
    before = set(threading.enumerate())
    with ParserPool(SPLITTER) as pool:
        for document in pool.stream([Job(folder / "long.txt")], cancel):
            document.open()
            messages = pool._workers[0].messages
            assert comes_true(messages.full)
            cancel.cancel()
    (left,) = set(threading.enumerate()) - before or {threading.Thread()}
    try:
        if left.ident is not None:
            left.join(5)
        assert not left.is_alive()
    finally:
        while left.is_alive():
            messages.get() if messages.qsize() else time.sleep(0.01)


def test_a_worker_leaves_ctrl_c_to_its_parent(misbehaving: str, folder: Path) -> None:
    pid, go_on = folder / "pid", folder / "go on"
    write_files(folder, {"a": f"!make {pid}\n!wait {go_on}\n!say fine"})
    with ParserPool(SPLITTER) as pool:
        for document in pool.stream([Job(folder / "a")], CancelToken()):
            assert comes_true(lambda: pid.exists() and bool(pid.read_text()))
            os.kill(int(pid.read_text()), signal.SIGINT)
            go_on.touch()
            document.open()
            assert [chunk.text for batch in document.chunks() for chunk in batch] == ["fine"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal")
def test_a_worker_ends_with_its_parent(misbehaving: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = folder / "pid"
    write_files(folder, {"a": f"!make {pid}\n!hang"})
    script = (
        "import sys\nfrom pathlib import Path\nfrom stackroom.ingest.splitter import TokenSplitter\n"
        "from stackroom.ingest.workers import Job, ParserPool\nfrom stackroom.progress import CancelToken\n"
        "sys.executable = sys.argv[1]\n"
        "with ParserPool(TokenSplitter(None)) as pool:\n"
        "    for document in pool.stream([Job(Path(sys.argv[2]))], CancelToken()):\n        document.open()\n"
    )
    monkeypatch.undo()
    parent = subprocess.Popen([sys.executable, "-c", script, misbehaving, str(folder / "a")])
    try:
        assert comes_true(lambda: pid.exists() and bool(pid.read_text()))
        worker = int(pid.read_text())
        assert alive(worker)
    finally:
        parent.kill()
        parent.wait()
    assert comes_true(lambda: not alive(worker))
