"""The shim, where it can be had."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import shim
from campaign import Asked


@pytest.fixture(scope="session")
def shimmed() -> None:
    """Skips where system calls can't be watched."""
    if (reason := shim.why_not()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def harness(shimmed: None) -> Iterator[Asked]:
    """A process under the shim that is asked to interrupt scenarios."""
    asked = Asked()
    yield asked
    asked.close()
