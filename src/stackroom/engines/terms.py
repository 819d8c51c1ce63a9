"""What engines have in common about words: those that a local library has, the terms of a query, and the same BM25."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scored
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import okapi, tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_own = threading.local()


def _connection() -> Connection:
    """Of a database in memory: the tokenizer is SQLite's."""
    found: Connection | None = getattr(_own, "connection", None)
    if found is None:
        found = _own.connection = Connection(":memory:")
    return found


def tokens_of(text: str) -> list[str]:
    """A passage's words in order: folded, stemmed, pairs of characters where a script writes no spaces."""
    return tokenizer.indexed(_connection(), text)


class Term:
    """One term of a query: a word, a phrase, or the beginning of a word."""

    def __init__(self, text: str, tokens: Sequence[str]) -> None:
        self.text = text
        self.tokens = list(tokens)
        self.is_beginning = text.endswith("*")

    def count(self, words: Mapping[str, Sequence[int]]) -> int:
        """How often it occurs in a passage of these words, each with its places."""
        if self.is_beginning and len(self.tokens) == 1:
            return sum(len(places) for word, places in words.items() if word.startswith(self.tokens[0]))
        if len(self.tokens) == 1:
            return len(words.get(self.tokens[0], ()))
        found = set(words.get(self.tokens[0], ()))
        for token in self.tokens[1:]:
            found = {place + 1 for place in found} & set(words.get(token, ()))
        return len(found)


def tokens_of_terms(texts: Sequence[str]) -> list[list[str]]:
    """The words that each term of a query is looked up by."""
    return tokenizer.stems(_connection(), [text.removesuffix("*") for text in texts])


def rank(
    keys: Sequence[int],
    lengths: Sequence[int],
    counted: Iterable[tuple[int, Sequence[int]]],
    k: int,
    rows: int,
    average: float,
) -> Scored:
    """The best `k` of these passages by BM25.

    `lengths`: the words of each; `counted`: for each term in how many of all `rows` passages it occurs, and how often in each of these;
    `average`: words of a passage.
    """
    numbers = np.array(keys, dtype=np.int64)
    damping = okapi.norms(np.array(lengths, dtype=np.float64), average)
    scores: NDArray[np.float64] = np.zeros(len(numbers))
    for frequency, counts in counted:
        scores += okapi.weight(rows, frequency) * okapi.saturated(np.array(counts, dtype=np.float64), damping)
    order = np.lexsort((numbers, -scores))[:k]
    return Scored(numbers[order], scores[order])
