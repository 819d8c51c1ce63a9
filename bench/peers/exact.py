"""The right answers: nearest passages by an exact search, in float64, and best ones for words by BM25 over every text."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from passages import Synthetic
from real import Real

K = 10
_K1, _B = 1.2, 0.75


def answers(collection: Synthetic | Real) -> dict[str, Any]:
    """For each question the ids that are right among ten hits: all that score as well as the tenth best, which may be more than ten.

    `best` is over everything; `within` is in the documents `five`, which hold none of the best; `words` is by BM25.
    """
    queries, questions = collection.queries().astype(np.float64), collection.questions()
    asked = {word: place for place, word in enumerate(sorted({word for text in questions for word in text.split()}))}
    owners, ids, nearness, counts, lengths = [], [], [], [], []
    for part in collection.documents():
        nearness.append(part.vectors.astype(np.float64) @ queries.T)
        for passage in part.passages:
            words = re.findall(r"\w+", passage.text.lower())
            counts.append(Counter(asked[word] for word in words if word in asked))
            lengths.append(len(words))
            ids.append(passage.chunk_id)
            owners.append(part.name)
    every, names = np.concatenate(nearness), np.array(owners)
    everything = np.arange(len(ids))
    best = [_right(every[:, query], everything) for query in range(len(queries))]
    five = [_away(names, rows, query) for query, rows in enumerate(best)]
    within = [_right(every[:, query], np.flatnonzero(np.isin(names, chosen))) for query, chosen in enumerate(five)]
    matching = _matching(questions, asked, counts, np.array(lengths))
    named = {
        name: [[ids[row] for row in rows] for rows in found]
        for name, found in (("best", best), ("within", within), ("words", matching))
    }
    return {**named, "five": five}


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


def _matching(
    questions: list[str], asked: dict[str, int], counts: list[Counter[int]], lengths: NDArray[np.int64]
) -> list[list[int]]:
    """Any of the words is enough; k1 1.2, b 0.75, and the weight of a word as Lucene has it. No stems, no stop words."""
    holders: dict[int, list[tuple[int, int]]] = {}
    for row, words in enumerate(counts):
        for word, times in words.items():
            holders.setdefault(word, []).append((row, times))
    norm = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), 1))
    found = []
    for question in questions:
        scores = np.zeros(len(counts))
        for word in set(question.split()):
            having = holders.get(asked[word], [])
            if having:
                rows, times = np.array(having).T
                weight = math.log(1 + (len(counts) - len(rows) + 0.5) / (len(rows) + 0.5))
                scores[rows] += weight * times * (_K1 + 1) / (times + norm[rows])
        found.append(_right(scores, np.flatnonzero(scores > 0)))
    return found
