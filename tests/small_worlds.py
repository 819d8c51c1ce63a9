"""What happens in large libraries only, in small ones: for campaigns that make hundreds of them. And a look that may die."""

from __future__ import annotations

import contextlib
import faulthandler
import marshal
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from stackroom.storage.upkeep import maintenance
from stackroom.storage.vectors import nearest, sketches
from stackroom.storage.words import word_files


class Sizes(NamedTuple):
    """From which sizes on sketches are asked and dictionaries trained."""

    loading_bytes: int = 0
    candidates: int = 30
    scanned_bytes: int = -(1 << 40)
    trained_at: int = 60

    @classmethod
    def now(cls) -> Sizes:
        return cls(sketches.LOADING_BYTES, nearest.CANDIDATES, nearest.SCANNED_BYTES, maintenance._TRAIN_AT)

    def set(self) -> None:
        sketches.LOADING_BYTES, nearest.CANDIDATES, nearest.SCANNED_BYTES, maintenance._TRAIN_AT = self


@contextlib.contextmanager
def quickly(dim: int) -> Iterator[None]:
    """Sketches and postings files are due. Elsewhere they are not: they are made in a thread, and no two runs would be alike."""
    before = sketches.WORTH_BYTES, word_files.LEAST, word_files.WORTH
    sketches.WORTH_BYTES, word_files.LEAST, word_files.WORTH = 40 * dim * 4, 40, 20
    try:
        yield
    finally:
        sketches.WORTH_BYTES, word_files.LEAST, word_files.WORTH = before


class Ended(NamedTuple):
    """How a fork ended."""

    died: int
    """the signal that it died of; 0 for none"""
    told: Any
    """what it returned"""
    said: str
    """what it wrote to standard error: of a death, and at the end of the patience, where each of its threads was"""

    @property
    def why(self) -> str:
        name = signal.Signals(self.died).name if self.died else "nothing said"
        return f"{name}\n{self.said}".rstrip()


def in_a_fork(work: Callable[[], Any], *, patience: int) -> Ended:
    """Do it in a child, which has `patience` seconds. What it says of a death that is meant to be is no noise, and no other is hidden."""
    readable, writable = os.pipe()
    words = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed below, by the parent alone
    child = os.fork()
    if child == 0:
        os.close(readable)
        os.dup2(words.fileno(), 2)
        faulthandler.enable(file=2)
        # In a thread, which also tells of those that wait within a library.
        faulthandler.dump_traceback_later(patience, file=2)
        signal.alarm(patience + 2)
        answer = work()
        with os.fdopen(writable, "wb") as pipe:
            marshal.dump(answer, pipe)
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    with words:
        words.seek(0)
        said = words.read().decode(errors="replace")
    return Ended(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, marshal.loads(told) if told else None, said)
