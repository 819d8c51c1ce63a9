"""The synthetic collection that every store is given: passages of about 2 KB with metadata, in documents of 240, and ready vectors.

Vectors have 96 latent dimensions and noise, and unit length; texts are words in Zipf's distribution. `real.py` has passages that people wrote.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_DOCUMENT, QUERIES = 240, 100
_LATENT, _WORDS, _VOCABULARY = 96, 330, 60_000


@dataclass(frozen=True)
class Passage:
    chunk_id: str
    document: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One document: its passages, and their vectors (float32, shape (n, dim))."""

    name: str
    passages: list[Passage]
    vectors: NDArray[np.float32]


class Synthetic:
    """`size` passages of `dim` dimensions, and questions about them."""

    def __init__(self, size: int, dim: int) -> None:
        self.size, self.dim = size, dim

    def documents(self) -> Iterator[Part]:
        for number in range(-(-self.size // PER_DOCUMENT)):
            yield self._document(number, min(PER_DOCUMENT, self.size - number * PER_DOCUMENT))

    def another(self, n: int) -> Part:
        """A document of 240 passages that is not among `documents`; `n` says which."""
        return self._document(-(-self.size // PER_DOCUMENT) + n, PER_DOCUMENT)

    def queries(self) -> NDArray[np.float32]:
        return _vectors(np.random.default_rng(99), QUERIES, self.dim)

    def questions(self) -> list[str]:
        """Three words each: a common one, one less common, a rare one."""
        generator = np.random.default_rng(98)
        bounds = ((20, 200), (200, 2000), (2000, 20000))
        ranks = np.stack([generator.integers(least, most, QUERIES) for least, most in bounds], 1)
        return [" ".join(_vocabulary()[rank] for rank in row) for row in ranks.tolist()]

    def _document(self, number: int, n: int) -> Part:
        name = f"document-{number:06d}"
        generator = np.random.default_rng([7, number])
        texts = _texts(generator, n)
        passages = [
            Passage(
                f"{name}-{i}",
                name,
                texts[i],
                {"document": name, "page": i // 3 + 1, "author": f"author {number % 17}", "year": 1990 + number % 35},
            )
            for i in range(n)
        ]
        return Part(name, passages, _vectors(generator, n, self.dim))


def _vectors(generator: np.random.Generator, n: int, dim: int) -> NDArray[np.float32]:
    rows = generator.standard_normal((n, _LATENT), dtype=np.float32) @ _shape(dim)
    rows += 3 * generator.standard_normal((n, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@functools.cache
def _shape(dim: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((_LATENT, dim), dtype=np.float32)


def _texts(generator: np.random.Generator, n: int) -> list[str]:
    words = _vocabulary()
    ranks = np.minimum(generator.zipf(1.2, (n, _WORDS)), _VOCABULARY) - 1
    return [" ".join(words[rank] for rank in row) for row in ranks.tolist()]


@functools.cache
def _vocabulary() -> list[str]:
    """Words of two to four syllables, each once."""
    generator = np.random.default_rng(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    found: dict[str, None] = {}
    while len(found) < _VOCABULARY:
        chosen = generator.integers(0, len(syllables), 4).tolist()
        found["".join(syllables[i] for i in chosen[: int(generator.integers(2, 5))])] = None
    return list(found)
