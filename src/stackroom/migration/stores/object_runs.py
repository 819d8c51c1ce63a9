"""Members of a large JSON object, found many at a time where a program has written one small object after another.

A search for one bracket after another takes most of the time that looking at an index takes. Here all brackets and quotes of some
megabytes are found at once, and a running sum says how deep each is. What is written in any other way is left to that search.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_LOOK, LONGEST_LOOK = 256 * 1024, 4 * 1024 * 1024
"""Bytes that are looked at together: few at first, and more as long as that pays."""

PATIENCE = 32
"""Objects in a row that come one by one before many are looked for. It doubles with each look that was for the most part in vain."""

DEEPEST = 12
"""Levels of brackets within a member; deeper ones are left to the search that says where it is too deep."""

_QUOTE, _BACKSLASH, _COMMA, _COLON, _BLANK, _OPENING, _CLOSING = (ord(mark) for mark in '"\\,: {}')
_CURLY = _OPENING - ord("[")
"""The bit that makes a square bracket a curly one."""


class Runs:
    """When it pays to look for many, in one object. What it costs is in proportion to what it finds, whatever the object is like."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._patience = PATIENCE
        self._look = FIRST_LOOK
        self._row = 0

    def saw(self, kind: int) -> None:
        """One member was found by itself; `kind` is its value's first character."""
        self._row = self._row + 1 if kind == _OPENING else 0

    def next(self, at: int) -> NDArray[np.int64] | None:
        """The `object_members` from `at` on; None where there are none, or it is not worth a look."""
        if self._row < self._patience:
            return None
        found = object_members(self._data, at, self._look)
        if len(found) and 2 * (int(found[-1, 3]) - at) >= self._look:
            self._look = min(4 * self._look, LONGEST_LOOK)
        else:
            self._row, self._look = 0, FIRST_LOOK
            self._patience *= 2
        return found if len(found) else None


def object_members(data: mmap.mmap | bytes, at: int, look: int) -> NDArray[np.int64]:
    """Of an object whose next key begins at `at`, or after a blank: its members from there on that are objects, within `look` bytes.

    Offsets of shape (n, 4): a key's start and end, its value's start and end. A comma and another key follow each of them. Empty where the
    next member is no object, or there is space where programs write none.
    """
    # A copy: an array over the map itself would keep the file open, and an interrupt would keep the array.
    block = np.frombuffer(data[at : at + look], np.uint8)
    places, kinds, depth = _structure(block)
    # A key's quotes are on the outermost level, and a value's brackets are those that leave it and come back to it.
    top = np.flatnonzero((depth == (kinds == _OPENING)) | ((depth == 1) & (kinds == ord("["))))
    rows = len(top) // 4
    marks = kinds[top[: 4 * rows]].reshape(rows, 4)
    found = places[top[: 4 * rows]].reshape(rows, 4)
    good = (marks == (_QUOTE, _QUOTE, _OPENING, _CLOSING)).all(axis=1)
    good &= _is_mark(block, found[:, 1] + 1, found[:, 2], _COLON)
    # The last one has none behind it that is known to be one.
    good[:-1] &= _is_mark(block, found[:-1, 3] + 1, found[1:, 0], _COMMA)
    good[-1:] = False
    good[:1] &= (found[:1, 0] == 0) | ((found[:1, 0] == 1) & (block[:1] == _BLANK))
    if rows and int(depth.max()) > DEEPEST:
        good &= np.maximum.reduceat(depth, top[: 4 * rows : 4]) <= DEEPEST
    n = rows if good.all() else int(np.argmin(good))
    # Ends are behind the last byte.
    spans: NDArray[np.int64] = found[:n] + (at + np.array([0, 1, 0, 1]))
    return spans


def _structure(block: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int32]]:
    """Where quotes of strings and brackets outside of strings are, what they are, and how deep it is after each."""
    curly = block | _CURLY
    places = np.flatnonzero((block == _QUOTE) | (block == _BACKSLASH) | (curly == _OPENING) | (curly == _CLOSING))
    kinds = block[places]
    quotes = kinds == _QUOTE
    quotes[_escaped(places, kinds)] = False
    within = np.logical_xor.accumulate(quotes)
    if (~within & (kinds == _BACKSLASH)).any():
        # It is no JSON, and the slower search says where.
        places, kinds, quotes, within = places[:0], kinds[:0], quotes[:0], within[:0]
    kept = np.flatnonzero(quotes | ~within)
    places, kinds = places[kept], kinds[kept]
    curly = kinds | _CURLY
    steps = (curly == _OPENING).view(np.int8) - (curly == _CLOSING).view(np.int8)
    return places, kinds, np.cumsum(steps, dtype=np.int32)


def _escaped(places: NDArray[np.int64], kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Which marks have a backslash before them that does not stand for itself, as every second one of a run does."""
    backslashes = np.flatnonzero(kinds == _BACKSLASH)
    first = np.flatnonzero(np.diff(places[backslashes], prepend=-2) != 1)
    lengths = np.diff(first, append=len(backslashes))
    last = backslashes[(first + lengths - 1)[lengths % 2 == 1]]
    last = last[last + 1 < len(places)]
    found: NDArray[np.int64] = last[places[last + 1] == places[last] + 1] + 1
    return found


def _is_mark(
    block: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64], mark: int
) -> NDArray[np.bool_]:
    """Whether these bytes are a mark, or a mark and a blank."""
    length = end - start
    last = block[np.minimum(start + 1, len(block) - 1)]
    found: NDArray[np.bool_] = (block[np.minimum(start, len(block) - 1)] == mark) & (
        (length == 1) | ((length == 2) & (last == _BLANK))
    )
    return found
