"""Every backend goes through the same suite; a new one is a line in `ENGINES`.

Engines are asked where they run: `make test-engines` starts their servers and names them in the environment.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stackroom.backend import Backend
from stackroom.engines import ENGINES, open_engine
from stackroom.storage.store import LocalStore

Open = Callable[[], Backend]


def _local(folder: Path) -> Open:
    return lambda: LocalStore(folder / "library")


def url_of(engine: str) -> str:
    """Of a library on this engine that is not there yet."""
    url = os.environ[f"STACKROOM_TEST_{engine.upper()}"]
    return f"{url}{'&' if '?' in url else '?'}library={uuid.uuid4().hex}"


def _on(engine: str) -> Callable[[Path], Open]:
    def at(_: Path) -> Open:
        url = url_of(engine)
        return lambda: open_engine(url)

    return at


BACKENDS = {"local": _local, **{engine: _on(engine) for engine in ENGINES}}
PARAMETERS = [pytest.param(name, marks=() if name == "local" else pytest.mark.engines) for name in BACKENDS]


@pytest.fixture(params=PARAMETERS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same library again and again."""
    opened: Open = BACKENDS[request.param](tmp_path)
    return opened


@pytest.fixture
def backend(opener: Open, request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A new library. A test marked `capability(NAME)` is about what an engine may leave out: it says so, and refuses (test_capabilities.py)."""
    made = opener()
    asked = request.node.get_closest_marker("capability")
    if asked is not None and asked.args[0] not in made.capabilities:
        made.close()
        pytest.skip(f"this engine declares that it has no {asked.args[0]}")
    yield made
    made.close()


@pytest.fixture
def store(url: str) -> Iterator[Backend]:
    """The library at the `url` of a test that is about one engine."""
    with contextlib.closing(open_engine(url)) as opened:
        yield opened
