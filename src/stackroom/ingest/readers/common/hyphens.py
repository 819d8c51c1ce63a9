"""Words that a line's end breaks: put together again, with the hyphen where it belongs to the word ("well-known").

Which of the two it is, the document itself says: by how it writes the word elsewhere, within a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

MARK = "\ufffe"
"""What pdfium puts in place of a hyphen at a line's end."""

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_BROKEN = re.compile(rf"([^\W\d_]+(?:-[^\W\d_]+)*)?{MARK}(?:\r?\n)?([^\W\d_]+(?:-[^\W\d_]+)*)?")

_AHEAD = 64
"""Pages that are read before the first of them is handed on."""

_MOST_WORDS = 200_000
_LEAST_LETTERS = 4


def mended(texts: Iterable[str]) -> Iterator[str]:
    """The texts of a document's pages, without marks."""
    words = _Words()
    stream = iter(texts)
    while pages := list(islice(stream, _AHEAD)):
        for page in pages:
            words.learn(page)
        for page in pages:
            yield _BROKEN.sub(words.mend, page) if MARK in page else page


class _Words:
    """How often a document writes a word within a line."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def learn(self, page: str) -> None:
        if len(self._seen) > _MOST_WORDS:
            return
        for word in _WORD.findall(_BROKEN.sub(" ", page).lower()):
            self._seen[word] += 1
            if "-" in word:
                self._seen.update(word.split("-"))

    def mend(self, found: re.Match[str]) -> str:
        left, right = found[1] or "", found[2] or ""
        if not left or not right:
            return left + right
        joined, compound = self._seen[(left + right).lower()], self._seen[f"{left}-{right}".lower()]
        if joined or compound:
            return f"{left}-{right}" if compound > joined else left + right
        # Written nowhere else: two words of their own are a compound; what goes on to a further hyphen ("case-by-case") is one sooner.
        parts = left.rpartition("-")[2], right.partition("-")[0]
        least = 2 if "-" in left + right else _LEAST_LETTERS
        compounded = all(len(part) >= least and self._seen[part.lower()] for part in parts)
        return f"{left}-{right}" if compounded else left + right
