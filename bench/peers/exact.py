"""The right answers: nearest passages by an exact search, in float64, and best ones for words by BM25 over every text."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from nltk.stem import PorterStemmer
from numpy.typing import NDArray
from passages import Synthetic
from real import Real

K = 10
_K1, _B = 1.2, 0.75


def answers(collection: Synthetic | Real) -> dict[str, Any]:
    """For each question the ids that are right among ten hits: all that score as well as the tenth best, which may be more than ten.

    `best` is over everything; `within` is in the documents `five`, which hold none of the best; `words` is by BM25 over words as they stand, `stems` over
    their stems.
    """
    queries = collection.queries().astype(np.float64)
    bm25 = {"words": Bm25(collection.questions(), str), "stems": Bm25(collection.questions(), stem)}
    owners, ids, nearness = [], [], []
    for part in collection.documents():
        nearness.append(part.vectors.astype(np.float64) @ queries.T)
        for passage in part.passages:
            words = re.findall(r"\w+", passage.text.lower())
            for several in bm25.values():
                several.add(words)
            ids.append(passage.chunk_id)
            owners.append(part.name)
    every, names = np.concatenate(nearness), np.array(owners)
    everything = np.arange(len(ids))
    best = [_right(every[:, query], everything) for query in range(len(queries))]
    five = [_away(names, rows, query) for query, rows in enumerate(best)]
    within = [_right(every[:, query], np.flatnonzero(np.isin(names, chosen))) for query, chosen in enumerate(five)]
    rows = {"best": best, "within": within, **{name: several.right() for name, several in bm25.items()}}
    return {"five": five, **{name: [[ids[row] for row in some] for some in found] for name, found in rows.items()}}


stem = functools.cache(PorterStemmer(PorterStemmer.ORIGINAL_ALGORITHM).stem)


class Bm25:
    """Any of the words is enough; k1 1.2, b 0.75, and the weight of a word as Lucene has it. No stop words."""

    def __init__(self, questions: list[str], shape: Callable[[str], str]) -> None:
        self._shape = shape
        self._asked = [{shape(word) for word in question.split()} for question in questions]
        self._holders: dict[str, list[tuple[int, int]]] = {word: [] for words in self._asked for word in words}
        self._lengths: list[int] = []

    def add(self, words: list[str]) -> None:
        """The next passage."""
        for word, times in Counter(map(self._shape, words)).items():
            if word in self._holders:
                self._holders[word].append((len(self._lengths), times))
        self._lengths.append(len(words))

    def right(self) -> list[list[int]]:
        """For each question the rows that are right."""
        lengths, found = np.array(self._lengths), []
        norm = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), 1))
        for words in self._asked:
            scores = np.zeros(len(lengths))
            for having in filter(None, (self._holders[word] for word in words)):
                rows, times = np.array(having).T
                weight = math.log(1 + (len(lengths) - len(rows) + 0.5) / (len(rows) + 0.5))
                scores[rows] += weight * times * (_K1 + 1) / (times + norm[rows])
            found.append(_right(scores, np.flatnonzero(scores > 0)))
        return found


def _right(scores: NDArray[np.float64], rows: NDArray[np.int64]) -> list[int]:
    """Of `rows` those that score as well as the tenth best of them; rounding aside."""
    if not len(rows):
        return []
    least = np.sort(scores[rows])[-min(K, len(rows))]
    found: list[int] = rows[scores[rows] >= least - 1e-6].tolist()
    return found


def _away(owners: NDArray[np.str_], best: list[int], query: int) -> list[str]:
    """Five documents without any of the best passages: other ones for each question."""
    documents, holders = sorted(set(owners.tolist())), set(owners[best].tolist())
    spread = max(1, len(documents) // 5)
    free = [name for name in documents[query % spread :: spread] if name not in holders]
    free += [name for name in documents if name not in holders and name not in free]
    return free[:5]
