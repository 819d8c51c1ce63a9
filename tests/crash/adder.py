"""The program that is killed: adds a folder with an embedder that writes down what it embeds."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

import stackroom
from support import WordEmbedder


class LoggingEmbedder(WordEmbedder):
    """Each text goes to a file before it is embedded: what is in it twice was paid for twice."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        lines = "".join(f"{' '.join(text.split())}\n" for text in texts)
        os.write(self._log, lines.encode())
        return super().embed_passages(texts)


def main(library: str, folder: str, log: str) -> None:
    with stackroom.open(library, embedder=LoggingEmbedder(Path(log))) as index:
        report = index.add(folder)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
