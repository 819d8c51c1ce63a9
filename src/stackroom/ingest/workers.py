"""Parsing in processes of its own: a file that crashes, hangs or bloats its parser costs that file and nothing else.

A worker is a fresh interpreter (`python -m stackroom.ingest.parser`), never a fork. It speaks length-prefixed JSON over two
pipes, so that a parser which a hostile file has taken over can hand us nothing but data. What it sends ahead is
bounded by a short queue; the pipe's own back-pressure does the rest.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from stackroom import errors
from stackroom._forking import tell_in_children
from stackroom.errors import ReaderCrashedError, ReadError, ScannedError
from stackroom.ingest.embedders.tokens import FileTokenizer, from_where
from stackroom.ingest.embedders.unigram import UnigramTokenizer
from stackroom.ingest.recognition import MOST_PAGES
from stackroom.ingest.splitter import TokenSplitter
from stackroom.progress import CancelToken
from stackroom.protocols import Section, Splitter
from stackroom.types import RECOGNISED, Chunk, Place

_AHEAD_JOBS = 8
_AHEAD_MESSAGES = 16
_POLL_SECONDS = 0.1
_BATCH = 64
MEMORY_BYTES = 4 * 1024**3
_LONGEST_MESSAGE = 1024**3
_PATIENCE = 10
"""How many times as long as a parser may be silent it may be waited for, over a whole file."""

PACE = "pace"

_GO_ON = "The other files go on. Try it again with --retry, or convert it to another format."

Message = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A file to read; `tag` comes back with the result.

    With `ocr` pages without text are recognised. It may be PACE: then it is only tried how long one page takes, which is
    `seconds` of the metadata.
    """

    path: Path
    tag: object = None
    ocr: bool | str = False


class RunCancelled(Exception):
    """Raised inside `chunks()` when the run was cancelled; the pipeline catches it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the documents of a file that holds several."""

    name: str
    title: str | None
    metadata: dict[str, Any]


@dataclass(slots=True)
class ParsedDocument:
    """One file's result as it arrives. Iterate `chunks()` to the end (or to its ReadError) before the next one.

    Of a file with `several` documents, iterate `parts()`, and `chunks()` for each of them.
    """

    job: Job
    _messages: Iterator[Message]
    _splitter: Splitter | None
    _give_up: Callable[[], None]
    reader: str = ""
    type: str = ""
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    pages: int | None = None
    pages_without_text: int | None = None
    characters: int = 0
    several: bool = False
    hidden: int = 0
    recognised: int = 0
    incomplete: str = ""
    _finished: bool = False
    _part: Part | None = None

    def open(self) -> None:
        """Wait for what the file is. Raises ReadError, RunCancelled."""
        with self._understood():
            message = next(self._messages)
            self._raise(message)
            told = message["open"]
            self.reader, self.type = str(told["reader"]), str(told["type"])
            self.title, self.metadata = told["title"], dict(told["metadata"])
            self.several = bool(told.get("several"))

    def parts(self) -> Iterator[Part]:
        """The documents of a file with several. Raises ReadError, RunCancelled."""
        while not self._finished:
            if self._part is None:
                for _ in self.chunks():
                    pass  # what nobody asked for of the one before
            part, self._part = self._part, None
            if part is not None:
                yield part

    def chunks(self) -> Iterator[list[Chunk]]:
        """The document's chunks in bounded batches. Raises ReadError, RunCancelled."""
        if self._splitter is None:
            yield from self._each("chunks", _to_chunk)
            return
        sections = (section for batch in self._each("sections", _to_section) for section in batch)
        pieces = self._splitter.split(sections)
        while batch := list(itertools.islice(pieces, _BATCH)):
            yield batch

    def _each(self, kind: str, convert: Callable[[list[Any]], T]) -> Iterator[list[T]]:
        for message in self._messages:
            with self._understood():
                self._raise(message)
                if "done" in message:
                    self._finished = True
                    done = message["done"]
                    self.pages, self.pages_without_text = done["pages"], done["pages_without_text"]
                    self.characters, self.hidden = done["characters"], int(done.get("hidden", 0))
                    self.recognised = int(done.get("recognised", 0))
                    self.incomplete = str(done.get("incomplete", ""))
                    return
                if "document" in message:
                    told = message["document"]
                    title = told["title"]
                    self._part = Part(str(told["part"]), title and str(title), dict(told["metadata"]))
                    return
                batch = [convert(item) for item in message[kind]]
            yield batch

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """What a parser says may be anything: a hostile file may have taken it over."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._finished = True
            self._give_up()
            raise ReaderCrashedError(
                f"The parser of {self.job.path} gave an answer that means nothing.", hint=_GO_ON, path=self.job.path
            ) from error

    def _raise(self, message: Message) -> None:
        if "error" in message:
            self._finished = True
            raise _to_error(message["error"], self.job.path)

    def drain(self) -> None:
        """Read what is left of an abandoned document, so that the next one's messages are its own."""
        if not self._finished:
            for message in self._messages:
                if "done" in message or "error" in message:
                    return


class ParserPool:
    """Parser processes, and the files that go through them in order."""

    def __init__(
        self,
        splitter: Splitter,
        *,
        processes: int = 1,
        timeout: float = 60.0,
        memory_bytes: int = MEMORY_BYTES,
        readers: Sequence[str] = (),
        heard: Callable[[Path, int], None] | None = None,
    ) -> None:
        """`heard` is told the pages that were recognised, as they are."""
        self._splitter = splitter
        self._heard = heard
        self._greeting = {"splitter": splitter_spec(splitter), "memory": memory_bytes, "readers": list(readers)}
        self._timeout = timeout
        self._workers = [_Worker(self._greeting) for _ in range(processes)]

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()

    def stream(self, jobs: Iterable[Job], cancel: CancelToken) -> Iterator[ParsedDocument]:
        """Every job's document, in order; later ones are parsed while this one is consumed."""
        split_here = self._splitter if self._greeting["splitter"] is None else None
        source = iter(jobs)
        turn = itertools.cycle(self._workers)
        waiting: collections.deque[tuple[Job, _Worker]] = collections.deque()
        while not cancel.cancelled:
            while len(waiting) < _AHEAD_JOBS * len(self._workers):
                job = next(source, None)
                if job is None:
                    break
                worker = next(turn)
                worker.send(job)
                waiting.append((job, worker))
            if not waiting:
                return
            job, worker = waiting.popleft()
            document = ParsedDocument(
                job, self._messages(worker, job, cancel), split_here, partial(worker.give_up, worker.current)
            )
            yield document
            if not cancel.cancelled:
                document.drain()

    def _messages(self, worker: _Worker, job: Job, cancel: CancelToken) -> Iterator[Message]:
        """What the worker says of the job in its hands. The job is done with before its last message is handed on:

        nobody asks for more after that one.
        """
        allowed = self._timeout + _size(job.path) / 2**20
        patience = _PATIENCE * allowed
        pages = MOST_PAGES if job.ocr else 0
        quiet_since = time.monotonic()
        while True:
            if cancel.cancelled:
                raise RunCancelled
            try:
                message = worker.messages.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if time.monotonic() - quiet_since < allowed:
                    continue
                worker.replace(killing=True)
                yield _failure(f"Reading {job.path} took longer than {allowed:.0f} seconds without a result.")
                return
            if message is None or message.get("job") != worker.current:
                code = worker.replace(killing=message is not None)
                yield _failure(f"The parser of {job.path} died ({_cause(code)}).")
                return
            if pages and isinstance(message.get("page"), int):
                # A page is work for seconds: each has the time that a file may be silent, and costs no patience.
                pages -= 1
                if self._heard is not None:
                    self._heard(job.path, message["page"])
                quiet_since = time.monotonic()
                continue
            if "error" in message or "done" in message:
                worker.finished()
                yield message
                return
            patience -= time.monotonic() - quiet_since
            if patience < 0:
                worker.replace(killing=True)
                yield _failure(f"Reading {job.path} took longer than {_PATIENCE * allowed:.0f} seconds.")
                return
            yield message
            quiet_since = time.monotonic()


class _Worker:
    """One parser process, the jobs it was given and has not finished, and its messages."""

    def __init__(self, greeting: Message) -> None:
        self._greeting = greeting
        self._jobs: collections.deque[tuple[int, Job]] = collections.deque()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: str | None = None
        self._stopped = threading.Event()
        tell_in_children(self)
        self.messages: queue.Queue[Message | None] = queue.Queue(_AHEAD_MESSAGES)

    def begin_anew(self) -> None:
        """In a forked child: it must not keep the pipes of its parent's parser open, which would wait for their end."""
        process, self._process, self._scratch = self._process, None, None
        for pipe in () if process is None else (process.stdin, process.stdout):
            # A thread that is not here may hold the file's own lock, and its number must not become another file's.
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    nothing = os.open(os.devnull, os.O_RDWR)
                    os.dup2(nothing, pipe.fileno(), inheritable=False)
                    os.close(nothing)

    @property
    def current(self) -> int:
        """The number of the job in hand, which every message about it bears."""
        return self._jobs[0][0] if self._jobs else 0

    def send(self, job: Job) -> None:
        if not self._jobs and self._process is not None and self._process.poll() is not None:
            self.stop()  # it died between two jobs: neither is to blame
        self._jobs.append((next(self._numbers), job))
        if self._process is None:
            self._start()
        else:
            self._write(_request(*self._jobs[-1]))

    def finished(self) -> None:
        self._jobs.popleft()

    def give_up(self, number: int) -> None:
        """Replace the process if it is still at this job."""
        if self.current == number:
            self.replace(killing=True)

    def replace(self, *, killing: bool) -> int | None:
        """A new process: the job in hand is lost, those behind it are given to the new one. Returns the exit code."""
        if not killing and self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)
        code = self.stop()
        self._jobs.popleft()
        if self._jobs:
            self._start()
        return code

    def stop(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        self._stopped.set()
        self.messages = queue.Queue(_AHEAD_MESSAGES)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        code = process.wait()
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        return code

    def _start(self) -> None:
        # A parser that is killed can't clear up what it unpacked.
        with contextlib.suppress(OSError):
            self._scratch = tempfile.mkdtemp(prefix="stackroom-")
        environment = {} if self._scratch is None else dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self._scratch)
        self._process = subprocess.Popen(
            # -P: a module in the folder that the user stands in must never be taken for one of ours.
            [sys.executable, "-P", "-m", "stackroom.ingest.parser"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            env={**os.environ, **environment},
        )
        self._stopped = threading.Event()
        threading.Thread(
            target=_receive, args=(self._process.stdout, self.messages, self._stopped), daemon=True
        ).start()
        self._write(self._greeting)
        for number, job in list(self._jobs):
            self._write(_request(number, job))

    def _write(self, message: Message) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            write_message(process.stdin, message)
        except OSError:
            # The process is gone: its reader thread says so, and the job is given to the next one or reported.
            return


def _request(number: int, job: Job) -> Message:
    return {"job": number, "path": os.fspath(job.path), "ocr": str(job.ocr) if job.ocr else ""}


def _receive(pipe: IO[bytes], messages: queue.Queue[Message | None], stopped: threading.Event) -> None:
    """Move a worker's messages into its queue until the pipe ends, or nobody reads the queue any more."""
    message: Message | None = {}
    while message is not None:
        try:
            message = read_message(pipe)
        except (OSError, ValueError, RecursionError, MemoryError):
            message = None
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                messages.put(message, timeout=_POLL_SECONDS)
                break
        if stopped.is_set():
            return


def write_message(pipe: IO[bytes], message: Message) -> None:
    data = json.dumps(message).encode()
    pipe.write(len(data).to_bytes(4, "big") + data)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> Message | None:
    """The next message, or None at the end. Raises ValueError for what is none."""
    head = pipe.read(4)
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "big")
    if size > _LONGEST_MESSAGE:
        raise ValueError("a message that is longer than any")
    data = pipe.read(size)
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not a message")
    return found


def splitter_spec(splitter: Splitter) -> Message | None:
    """How a worker can make this splitter, or None when it must stay in this process."""
    if not isinstance(splitter, TokenSplitter):
        return None
    if splitter.tokenizer is not None and not isinstance(splitter.tokenizer, FileTokenizer | UnigramTokenizer):
        return None
    return {
        "tokenizer": None if splitter.tokenizer is None else splitter.tokenizer.where,
        "max_tokens": splitter.max_tokens,
        "overlap": splitter.overlap,
    }


def splitter_from(spec: Message) -> TokenSplitter:
    where = spec["tokenizer"]
    tokenizer = None if where is None else from_where(*where)
    return TokenSplitter(tokenizer, spec["max_tokens"], spec["overlap"])


def from_chunk(chunk: Chunk) -> list[Any]:
    place = chunk.place
    return [
        chunk.text,
        place.start,
        place.end,
        place.page,
        place.page_end,
        place.page_label,
        list(place.section),
        place.unit,
        place.first,
        place.last,
        bool(chunk.metadata.get(RECOGNISED)),
    ]


def _to_chunk(item: list[Any]) -> Chunk:
    text, start, end, page, page_end, label, section, unit, first, last, recognised = item
    place = Place(start, end, page, page_end, label, tuple(section), unit, first, last)
    return Chunk(str(text), metadata={RECOGNISED: True} if recognised else {}, place=place)


def from_section(section: Section) -> list[Any]:
    marks = [list(mark) for mark in section.marks]
    told = [section.text, list(section.headings), section.page, section.page_label, section.unit, marks]
    return [*told, section.recognised]


def _to_section(item: list[Any]) -> Section:
    text, headings, page, label, unit, marks, recognised = item
    counted = [(int(at), first, last) for at, first, last in marks]
    return Section(str(text), tuple(headings), page, label, unit, counted, recognised=bool(recognised))


def _to_error(told: Message, path: Path) -> ReadError:
    kind = getattr(errors, str(told.get("kind")), ReadError)
    if not (isinstance(kind, type) and issubclass(kind, ReadError)):
        kind = ReadError
    if kind is ScannedError:
        pages = int(told.get("pages") or 0)
        return ScannedError(
            str(told.get("message")), hint=told.get("hint"), path=path, actual=told.get("kind"), pages=pages
        )
    return kind(str(told.get("message")), hint=told.get("hint"), path=path, actual=told.get("kind"))


def _failure(message: str) -> Message:
    return {"error": {"kind": ReaderCrashedError.__name__, "message": message, "hint": _GO_ON}}


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
