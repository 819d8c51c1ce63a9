"""The parser process: reads paths from standard input, sends what it finds in them to standard output.

Started by workers.py. It ends with its parent, ignores Ctrl-C (the parent decides), and has a memory limit of its own.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from stackroom.errors import NoTextError, ReadError, ScannedError, StackroomError
from stackroom.ingest import recognition
from stackroom.ingest.readers import reader_for
from stackroom.ingest.readers.common import facts, limits
from stackroom.ingest.readers.common import plugged as plugs
from stackroom.ingest.readers.common.hidden import without_unseen
from stackroom.ingest.workers import PACE, Message, from_chunk, from_section, read_message, splitter_from, write_message
from stackroom.protocols import Reader, Reading, Section
from stackroom.types import HIDDEN_CHARACTERS, INCOMPLETE, OF_READING

_BATCH = 64
_SECTION_BATCH_CHARACTERS = 200_000


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = _private_output()
    greeting = read_message(sys.stdin.buffer)
    if greeting is None:
        return
    _limit_memory(int(greeting["memory"]))
    die_with_parent()
    splitter = None if greeting["splitter"] is None else splitter_from(greeting["splitter"])
    plugged = plugs.load(greeting.get("readers", ()))
    for job in _jobs():
        number, path = job["job"], Path(job["path"])

        def heard(page: int, number: int = number) -> None:
            write_message(output, {"job": number, "page": page})

        for message in _attempt(path, splitter, plugged, str(job.get("ocr") or ""), heard):
            write_message(output, {"job": number, **message})


def _attempt(
    path: Path,
    splitter: object,
    plugged: tuple[Reader, ...] = (),
    ocr: str = "",
    heard: Callable[[int], None] | None = None,
) -> Iterator[Message]:
    """What a file holds, or why it can't be read. `heard` is told each page that was recognised."""
    try:
        yield from _pace(path, plugged) if ocr == PACE else _read(path, splitter, plugged, heard if ocr else None)
    except ScannedError as error:
        yield _error(type(error).__name__, error.message, error.hint, error.pages)
    except StackroomError as error:
        yield _error(type(error).__name__, error.message if isinstance(error, ReadError) else str(error), error.hint)
    except MemoryError:
        yield _error("ReaderCrashedError", f"Reading {path} took more memory than a file may.", "Split the file.")
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # A reader that trips over hostile content is a failed file, with the reason, not a dead process.
        yield _error("ReadError", f"{path} can't be read: {type(error).__name__}: {error}.", "Get a fresh copy.")
    except Exception as error:  # what a format's library raises of its own, for want of memory for example
        yield _error("ReaderCrashedError", f"The parser of {path} failed: {type(error).__name__}: {error}.", None)


def _error(kind: str, message: str, hint: str | None, pages: int | None = None) -> Message:
    return {"error": {"kind": kind, "message": message, "hint": hint, "pages": pages}}


def _pace(path: Path, plugged: tuple[Reader, ...]) -> Iterator[Message]:
    """How long it takes to recognise one page of this file."""
    from stackroom.ingest.recognition.pages import seconds_a_page

    reading = reader_for(path, plugged).read(path)
    seconds = seconds_a_page(reading.sections, path, reading.type)
    yield {"open": {"reader": "", "type": reading.type, "title": None, "metadata": {"seconds": seconds}}}
    yield {"done": {"pages": None, "pages_without_text": None, "characters": 0}}


def _read(
    path: Path, splitter: object, plugged: tuple[Reader, ...], heard: Callable[[int], None] | None
) -> Iterator[Message]:
    """`heard` None leaves pages without text as they are."""
    reader = reader_for(path, plugged)
    reading = reader.read(path)
    noted = f"{reader.name}:{reader.version}"
    if heard is not None and reading.type in recognition.KINDS:
        from stackroom.ingest.recognition.pages import recognised

        noted = recognition.with_mark(noted)
        reading.sections = recognised(reading.sections, path, reading.type, heard)
    yield {
        "open": {
            "reader": noted,
            "type": reading.type,
            "title": _title(reading),
            "metadata": _described(reading.metadata),
            "several": reading.documents is not None,
        }
    }
    count = _Count()
    if reading.documents is None:
        yield from _pieces(count.through(reading.sections), splitter)
    else:
        for document in reading.documents:
            # Of one of several documents all is at hand, and what it hides is known before it is told.
            hidden, sections = count.hidden, list(count.through(document.sections))
            metadata = _described(document.metadata)
            if count.hidden > hidden:
                metadata[HIDDEN_CHARACTERS] = count.hidden - hidden
            if lost := next((section.incomplete for section in sections if section.incomplete), ""):
                metadata[INCOMPLETE] = lost
            yield {"document": {"part": document.part, "title": _title(document), "metadata": metadata}}
            yield from _pieces(iter(sections), splitter)
        count.pages = count.blank = None
    if not count.characters:
        raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
    told = {"pages": count.pages, "pages_without_text": count.blank, "characters": count.characters}
    yield {"done": {**told, "hidden": count.hidden, "recognised": count.recognised, "incomplete": count.incomplete}}


def _title(reading: Reading) -> str | None:
    return _short(reading.title) if reading.title else None


def _described(metadata: dict[str, Any]) -> dict[str, Any]:
    """What a file says of itself, as far as that is of a length to be kept with it, and seen."""
    left = limits.DESCRIPTION
    kept: dict[str, Any] = {}
    for name, value in facts.uniform(metadata).items():
        if name in OF_READING:
            name = f"metadata.{name}"
        if isinstance(value, str):
            value = _seen(value[: limits.DESCRIPTION])
        left -= len(name) + len(str(value))
        if left < 0:
            break
        kept[name] = value
    return kept


def _pieces(sections: Iterator[Section], splitter: object) -> Iterator[Message]:
    """One document's chunks, or its sections where they are split elsewhere."""
    from stackroom.ingest.splitter import TokenSplitter

    if isinstance(splitter, TokenSplitter):
        chunks = splitter.split(sections)
        while batch := list(itertools.islice(chunks, _BATCH)):
            yield {"chunks": [from_chunk(chunk) for chunk in batch]}
    else:
        held: list[Section] = []
        for section in sections:
            held.append(section)
            if sum(len(part.text) for part in held) > _SECTION_BATCH_CHARACTERS:
                yield {"sections": [from_section(part) for part in held]}
                held = []
        if held:
            yield {"sections": [from_section(part) for part in held]}


def _bounded(section: Section) -> Section:
    """A section as it may be handed on: its headings are copied to every passage of it."""
    section = without_unseen(section)
    headings = tuple(map(_short, section.headings[: limits.HEADINGS]))
    return section if headings == section.headings else replace(section, headings=headings)


def _short(title: str) -> str:
    return _seen(title[: limits.HEADING])


def _seen(text: str) -> str:
    return text if text.isascii() else without_unseen(Section(text)).text


class _Count:
    """Counts pages and characters as the sections go by."""

    def __init__(self) -> None:
        self.characters = 0
        self.pages: int | None = None
        self.blank: int | None = None
        self.hidden = 0
        self.recognised = 0
        self.incomplete = ""

    def through(self, sections: Iterable[Section]) -> Iterator[Section]:
        for section in map(_bounded, sections):
            self.hidden += section.hidden
            self.recognised += section.recognised
            self.incomplete = self.incomplete or section.incomplete
            visible = len(section.text.strip())
            self.characters += visible
            if section.page is not None:
                self.pages = (self.pages or 0) + 1
                self.blank = (self.blank or 0) + (visible == 0)
            yield section


def _jobs() -> Iterator[Message]:
    """Jobs as they come. A thread waits for them, so that the parent's end is noticed in the middle of a file."""
    waiting: queue.Queue[Message] = queue.Queue()

    def listen() -> None:
        while (message := read_message(sys.stdin.buffer)) is not None:
            waiting.put(message)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield waiting.get()


def _private_output() -> IO[bytes]:
    """Standard output for us alone: what a library prints must not get between the messages."""
    output = os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.close(quiet)
    return output


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent() -> None:
    """On Linux the kernel ends us with the parent, even inside a parser that holds the interpreter."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1  # PR_SET_PDEATHSIG, linux/prctl.h
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    main()
