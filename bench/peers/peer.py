"""What a store must do to be measured, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from passages import Part

Found = list[tuple[str, str]]
"""Id and text of each hit, best first. Metadata is fetched as well, as an application would."""


class Store:
    """One store in one folder. Methods that a store has no way to do raise NotImplementedError."""

    name: ClassVar[str]
    keeps: ClassVar[str]
    finds: ClassVar[str]
    changes: ClassVar[str]
    """What it guarantees in this use, in a few words: of what is stored, of what is found, and when something is added or removed."""

    lossless: ClassVar[bool] = True
    """whether vectors are kept as they were given"""

    synced: ClassVar[bool] = True
    """whether what was added is synced to the disk, vectors included, when the call returns (seen with strace)"""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim

    def build(self, parts: Iterable[Part]) -> None:
        """Everything into an empty folder, then closed."""
        raise NotImplementedError

    def open(self) -> None:
        raise NotImplementedError

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        raise NotImplementedError

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        raise NotImplementedError

    def matching(self, words: str, k: int) -> Found:
        raise NotImplementedError

    def add(self, part: Part) -> None:
        """Durably, as far as the store's own documentation says how."""
        raise NotImplementedError

    def remove(self, document: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
