"""The library that is harmed, made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import harm_campaign as campaign
from harm_campaign import Bench


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    with campaign.bench() as made:
        yield made


@pytest.fixture
def harmed(bench: Bench, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the library after a harm: what is done to it is told by `harm(copy)`."""

    def copy(harm: Callable[[Path], object], *, wal: bool = False) -> Path:
        return bench.copied(tmp_path / "library", harm, wal=wal)

    return copy
