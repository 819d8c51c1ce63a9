"""Counting the words of many passages: as the full-text index cuts them, but without an object for each one that is met.

A sign of ASCII that is neither letter nor digit ends a token, and none reaches over it. So the tokens of a run between two such signs do not
depend on what stands beside it: runs are found with NumPy, each different one is cut by SQLite's tokenizer once, and occurrences are counted as
numbers.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import tokenizer
from stackroom.storage.words.postings import hash_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 256 * 1024
"""Bytes of text that are counted together."""

_MOST_COUNT = 0xFFFF
_SHORT = 8
"""Bytes of a run that is told apart as a number; others are looked up as bytes."""

_MASKS = np.array([(1 << 8 * n) - 1 for n in range(_SHORT + 1)], dtype=np.uint64)
_SPACE = ord(" ")
_FOLDED = bytes(
    code if code >= 128 else ord(chr(code).lower()) if chr(code).isalnum() else _SPACE for code in range(256)
)
"""Bytes of UTF-8: letters of ASCII in lower case, and a space for each of its signs that ends a token."""

_SLOTS = 1 << 12
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: its products spread keys that are alike (Knuth, as below)."""

_SEVERAL = 0xFFFFFFFF
"""In place of a word's number: this run is not one token."""


class Counted(NamedTuple):
    """Every word of every passage once, by passage."""

    lengths: NDArray[np.uint32]
    """how many words each passage has: uint32 of shape (passages,)"""
    numbers: NDArray[np.uint32]
    """the word's in the vocabulary"""
    owners: NDArray[np.uint32]
    """the passage's, from 0 on"""
    counts: NDArray[np.uint16]


class Counting:
    """Passages are added in order. Memory: 10 bytes for each word of each passage."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._runs = vocabulary
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._passages = 0
        self._lengths: list[NDArray[np.uint32]] = []
        self._numbers: list[NDArray[np.uint32]] = []
        self._owners: list[NDArray[np.uint32]] = []
        self._counts: list[NDArray[np.uint16]] = []

    def add(self, text: str) -> None:
        data = tokenizer.indexed_form(text).encode("utf-8", "replace").translate(_FOLDED)
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= _AT_ONCE:
            self._count()

    def done(self) -> Counted:
        self._count()
        return Counted(
            _joined(self._lengths, np.uint32),
            _joined(self._numbers, np.uint32),
            _joined(self._owners, np.uint32),
            _joined(self._counts, np.uint16),
        )

    def _count(self) -> None:
        texts, self._waiting, self._bytes = self._waiting, [], 0
        if not texts:
            return
        numbers, owners = self._numbered(texts)
        pairs, n = np.unique(owners << np.uint64(32) | numbers, return_counts=True)
        self._lengths.append(np.bincount(owners.astype(np.intp), minlength=len(texts)).astype(np.uint32))
        self._numbers.append(pairs.astype(np.uint32))
        self._owners.append((pairs >> np.uint64(32)).astype(np.uint32) + np.uint32(self._passages))
        self._counts.append(np.minimum(n, _MOST_COUNT).astype(np.uint16))
        self._passages += len(texts)

    def _numbered(self, texts: list[bytes]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """The number of every word that occurs, as often as it does, and which of these texts it is in."""
        # A space at each end, and room for the last window.
        data = b" ".join([b"", *texts, bytes([_SPACE]) * _SHORT])
        signs = np.frombuffer(data, dtype=np.uint8) != _SPACE
        edges = np.flatnonzero(signs[1:] != signs[:-1]) + 1
        starts, ends = edges[0::2], edges[1::2]
        sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
        owners = np.searchsorted(np.cumsum(sizes) + 1, starts, side="right").astype(np.uint64)
        numbers = np.empty(len(starts), dtype=np.uint32)
        short = ends - starts <= _SHORT
        windows = np.ndarray((len(data) - _SHORT + 1,), dtype="<u8", buffer=data, strides=(1,))
        numbers[short] = self._runs.short(windows[starts[short]] & _MASKS[(ends - starts)[short]])
        numbers[~short] = self._runs.long(_slices(data, starts[~short], ends[~short]))
        several = numbers == _SEVERAL
        if not several.any():
            return numbers, owners
        parts = [self._runs.cut(run) for run in _slices(data, starts[several], ends[several])]
        more = np.array([number for part in parts for number in part], dtype=np.uint32)
        of_more = np.repeat(owners[several], [len(part) for part in parts])
        return np.concatenate([numbers[~several], more]), np.concatenate([owners[~several], of_more])


def _slices(data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _joined(parts: list[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


class Vocabulary:
    """The words that were met, with their hashes, and which of them each run is. It may serve several countings."""

    def __init__(self) -> None:
        self.hashes = array("Q")
        self._numbers: dict[str, int] = {}
        self._long: dict[bytes, int] = {}
        self._short = _Table(_SLOTS)
        # The tokenizer is SQLite's, and belongs to a connection; which one makes no difference.
        self._tokenizer = tokenizer.of(Connection(":memory:"))

    def __len__(self) -> int:
        """How many words and runs are known: memory follows both."""
        return len(self.hashes) + len(self._long) + self._short.used

    def short(self, keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The numbers of runs of up to eight bytes."""
        numbers, known = self._short.find(keys)
        if known.all():
            return numbers
        new = np.unique(keys[~known])
        runs = [key.to_bytes(_SHORT, "little").rstrip(b"\x00") for key in new.tolist()]
        self._short.put(new, np.array(self._met(runs), dtype=np.uint32))
        return self._short.find(keys)[0]

    def long(self, runs: list[bytes]) -> NDArray[np.uint32]:
        """The numbers of longer ones."""
        new = list({run for run in runs if run not in self._long})
        self._long.update(zip(new, self._met(new), strict=True))
        return np.fromiter(map(self._long.__getitem__, runs), dtype=np.uint32, count=len(runs))

    def _met(self, runs: list[bytes]) -> list[int]:
        found = [self.cut(run) for run in runs]
        return [part[0] if len(part) == 1 else _SEVERAL for part in found]

    def cut(self, run: bytes) -> list[int]:
        """The numbers of a run's words."""
        return [self._number(token) for token in tokenizer.tokens_of(self._tokenizer, run)]

    def _number(self, token: str) -> int:
        number = self._numbers.setdefault(token, len(self._numbers))
        if number == len(self.hashes):
            self.hashes.append(hash_of(token))
        return number


class _Table:
    """A hash table with open addressing (Knuth, TAOCP 3, 6.4) in which many numbers, none of them 0, are looked up at once."""

    def __init__(self, slots: int) -> None:
        self.used = 0
        self._keys = np.zeros(slots, dtype=np.uint64)
        self._values = np.zeros(slots, dtype=np.uint32)

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """What is kept for each key, and whether there is anything."""
        slots = self._slots(keys)
        return self._values[slots], self._keys[slots] != 0

    def put(self, keys: NDArray[np.uint64], values: NDArray[np.uint32]) -> None:
        """Keep a value for each of these keys, which are different, and new."""
        self.used += len(keys)
        if self.used * 2 > len(self._keys):
            taken = self._keys != 0
            keys, values = np.concatenate([self._keys[taken], keys]), np.concatenate([self._values[taken], values])
            self._keys = np.zeros(1 << (4 * self.used).bit_length(), dtype=np.uint64)
            self._values = np.zeros(len(self._keys), dtype=np.uint32)
        while len(keys):
            # Of those that want the same place one gets it, and the others look on.
            slots, first = np.unique(self._slots(keys), return_index=True)
            self._keys[slots], self._values[slots] = keys[first], values[first]
            keys, values = np.delete(keys, first), np.delete(values, first)

    def _slots(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Where each key is, or would be put."""
        slots = keys * _SPREAD >> np.uint64(65 - len(self._keys).bit_length())
        found = self._keys[slots]
        astray = np.flatnonzero((found != keys) & (found != 0))
        while len(astray):
            slots[astray] = (slots[astray] + np.uint64(1)) & np.uint64(len(self._keys) - 1)
            found = self._keys[slots[astray]]
            astray = astray[(found != keys[astray]) & (found != 0)]
        return slots
