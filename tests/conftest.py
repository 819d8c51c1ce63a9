"""Fixtures that every test may use."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import stackroom
from stackroom.index import Index
from stackroom.storage.store import LocalStore
from support import WordEmbedder

SAMPLES = Path(__file__).parents[1] / "samples"

# A test never times anything: a busy machine is no fault.
hypothesis.settings.register_profile("stackroom", deadline=None)
hypothesis.settings.load_profile("stackroom")

# Where the tests run in the background of a shell Ctrl-C is ignored, and every process that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def samples() -> Path:
    """Small real documents of every format."""
    return SAMPLES


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder."""
    made = tmp_path / "documents"
    made.mkdir()
    return made


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Where a library may be made."""
    return tmp_path / "library"


@pytest.fixture
def index(library: Path, embedder: WordEmbedder) -> Iterator[Index]:
    with stackroom.open(library, embedder=embedder) as opened:
        yield opened


@pytest.fixture
def store(library: Path) -> Iterator[LocalStore]:
    opened = LocalStore(library)
    yield opened
    opened.close()


@pytest.fixture
def away_url() -> Iterator[str]:
    """A library on an engine that is away."""
    with socket.socket() as held:
        # Bound and not listening: whoever connects is refused, and nobody else gets the port.
        held.bind(("127.0.0.1", 0))
        yield f"chroma://127.0.0.1:{held.getsockname()[1]}?library=papers"
