"""Every backend goes through the same suite; a new one is a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stackroom.backend import Backend
from stackroom.storage.store import LocalStore

Open = Callable[[], Backend]


def _local(folder: Path) -> Open:
    return lambda: LocalStore(folder / "library")


BACKENDS = {"local": _local}


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same library again and again."""
    opened: Open = BACKENDS[request.param](tmp_path)
    return opened


@pytest.fixture
def backend(opener: Open) -> Iterator[Backend]:
    made = opener()
    yield made
    made.close()
