"""SentencePiece's unigram model (Kudo 2018): the most probable way to cut each word into known pieces.

Written here because the library that has it takes a second and more to read 250,000 pieces, which every search would wait for. A text is
composed (NFC), its characters are normalised one by one by the model's own table, and white space separates words; no piece spans two.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackroom.ingest.embedders.packed import PackedModel

_MARK = "\N{LOWER ONE EIGHTH BLOCK}"
"""Stands before the first character of a word."""
_UNKNOWN_PENALTY = 10.0
_REMEMBERED = 50_000
_LONGEST_REMEMBERED = 40

Cut = tuple[tuple[int, int], ...]
"""The pieces of a word: the id of each, and how many characters it has, the mark included."""


class UnigramTokenizer:
    """The tokenizer of a packed model, read at its first use; what is pickled is only where the file is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._remembered: dict[str, Cut] = {}

    @property
    def where(self) -> tuple[str, None]:
        """What makes the same tokenizer in another process: its file; there is no case to fold."""
        return str(self._path), None

    def __reduce__(self) -> tuple[Any, ...]:
        return UnigramTokenizer, (self._path,)

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """`(start, end)` code points of every token, special tokens excluded, in order."""
        found = []
        for word, places in self._words(text):
            at = 0
            for _, length in self._cut(word):
                # The mark is no character of the text; a token of it alone is where the word begins.
                first, end = max(at - 1, 0), at + length - 1
                at += length
                found.append((places[first][0], places[end - 1][1] if end > first else places[first][0]))
        return found

    def ids(self, text: str, limit: int) -> list[int]:
        """Token ids with the special tokens, at most `limit` of them, the closing one kept."""
        found = [self._model.opening]
        for word, _ in self._words(text):
            found += [number for number, _ in self._cut(word)]
            if len(found) >= limit:
                break
        return [*found[: limit - 1], self._model.closing]

    @cached_property
    def _model(self) -> PackedModel:
        from stackroom.ingest.embedders.packed import PackedModel

        return PackedModel(self._path)

    @cached_property
    def _known(self) -> dict[str, int]:
        pieces = self._model.pieces
        known = dict(zip(pieces, range(len(pieces)), strict=True))
        for number, score in enumerate(self._scores):
            # Those of probability 1 are the special tokens, which no text may hold.
            if score >= 0:
                del known[pieces[number]]
        return known

    @cached_property
    def _scores(self) -> list[float]:
        return self._model.scores

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._known))

    @cached_property
    def _unknown_score(self) -> float:
        return min(self._scores) - _UNKNOWN_PENALTY

    def _words(self, text: str) -> Iterator[tuple[str, Sequence[tuple[int, int]]]]:
        """Each word as it is cut, and where in the text its characters stand."""
        table = self._model.characters
        word: list[str] = []
        places: list[tuple[int, int]] = []
        for start, end, composed in _composed(text):
            for character in composed:
                for normal in table.get(character, character):
                    if normal == " ":
                        if word:
                            yield "".join(word), places
                            word, places = [], []
                    else:
                        word.append(normal)
                        places.append((start, end))
        if word:
            yield "".join(word), places

    def _cut(self, word: str) -> Cut:
        found = self._remembered.get(word)
        if found is None:
            found = self._best(_MARK + word)
            if len(word) <= _LONGEST_REMEMBERED and len(self._remembered) < _REMEMBERED:
                self._remembered[word] = found
        return found

    def _best(self, word: str) -> Cut:
        """Viterbi's path through the pieces; a character that is in none is unknown."""
        known, scores, longest, n = self._known, self._scores, self._longest, len(word)
        unknown, unknown_score = self._model.unknown, self._unknown_score
        best = [0.0] + [float("-inf")] * n
        taken: list[tuple[int, int]] = [(0, 0)] * (n + 1)
        for start in range(n):
            so_far = best[start]
            for end in range(start + 1, min(start + longest, n) + 1):
                piece = known.get(word[start:end])
                if piece is not None and so_far + scores[piece] > best[end]:
                    best[end] = so_far + scores[piece]
                    taken[end] = (piece, end - start)
            if so_far + unknown_score > best[start + 1]:
                best[start + 1] = so_far + unknown_score
                taken[start + 1] = (unknown, 1)
        path = []
        while n > 0:
            path.append(taken[n])
            n -= taken[n][1]
        return tuple(reversed(path))


def _composed(text: str) -> Iterator[tuple[int, int, str]]:
    """`(start, end, characters)`: a character by itself, or a letter and its marks in their composed form."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        for at, character in enumerate(text):
            yield at, at + 1, character
        return
    start = 0
    for at in range(1, len(text) + 1):
        if at < len(text) and _joins(text[at]):
            continue
        yield start, at, unicodedata.normalize("NFC", text[start:at])
        start = at


def _joins(character: str) -> bool:
    """Whether it may become one with the character before: a mark, or a vowel or final of Hangul."""
    return unicodedata.combining(character) > 0 or "\u1160" <= character <= "\u11ff"
