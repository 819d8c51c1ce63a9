"""The collection that every store is given: passages of about 2 KB with metadata, in documents of 240, and ready vectors.

Synthetic, and the same for every store: vectors of 96 latent dimensions and noise, of unit length; texts of words in Zipf's distribution.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_DOCUMENT = 240
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


def document(number: int, n: int, dim: int) -> Part:
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
    return Part(name, passages, _vectors(generator, n, dim))


def documents(size: int, dim: int) -> Iterator[Part]:
    for number in range(-(-size // PER_DOCUMENT)):
        yield document(number, min(PER_DOCUMENT, size - number * PER_DOCUMENT), dim)


def queries(n: int, dim: int) -> NDArray[np.float32]:
    return _vectors(np.random.default_rng(99), n, dim)


def questions(n: int) -> list[str]:
    """Three words each: a common one, one less common, a rare one."""
    generator = np.random.default_rng(98)
    ranks = np.stack(
        [generator.integers(20, 200, n), generator.integers(200, 2000, n), generator.integers(2000, 20000, n)], 1
    )
    return [" ".join(_vocabulary()[rank] for rank in row) for row in ranks.tolist()]


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
