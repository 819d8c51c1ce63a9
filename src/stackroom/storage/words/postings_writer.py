"""Writing postings files: from the words of passages, or from several files that become one."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from stackroom.storage.disk import fsio
from stackroom.storage.words import okapi
from stackroom.storage.words.counting import Counting, Vocabulary
from stackroom.storage.words.postings import (
    BITS,
    BLOCK,
    BLOCKED,
    BOUNDS,
    EVERY,
    HEADER,
    LISTED,
    Postings,
    Word,
    blocks_of,
    directory_bytes,
    header,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 250_000
"""Postings that are held in memory while files are joined."""
_MOST_COUNT = 0xFFFF


class _Writer:
    """Writes a file word by word, in the order of their hashes."""

    def __init__(
        self, file: IO[bytes], first: int, end: int, keys: NDArray[np.int64], lengths: NDArray[np.uint32]
    ) -> None:
        self._file = file
        self._range = first, end
        self._n = len(keys)
        self._total = int(lengths.sum(dtype=np.int64))
        self._norms = okapi.norms(lengths.astype(np.float64), max(self._total / max(self._n, 1), 1.0))
        self._checksum = 0
        self._size = 0
        self._words: list[tuple[NDArray[np.generic], ...]] = []
        head = keys.astype("<i8").tobytes() + lengths.astype("<u4").tobytes()
        self._frame = zlib.crc32(head)
        file.write(b"\x00" * HEADER.size + head)

    def add(self, hashes: NDArray[np.uint64], passages: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Postings of some words, ordered by hash, then by passage."""
        if not len(hashes):
            return
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        n = np.diff(np.concatenate([starts, [len(hashes)]]))
        counts = np.minimum(counts, _MOST_COUNT)
        most = np.maximum.reduceat(counts, starts)
        width = np.where(most > 255, 16, np.where(most > 15, 8, 4))
        blocks = blocks_of(self._n)
        sizes = {
            LISTED: 4 * n + (n * width + 7) // 8,
            BLOCKED: directory_bytes(blocks) + 2 * n + (n * width + 7) // 8,
            EVERY: (self._n * width + 7) // 8,
        }
        kind = np.where(sizes[BLOCKED] <= sizes[LISTED], BLOCKED, LISTED)
        size = np.where(kind == BLOCKED, sizes[BLOCKED], sizes[LISTED])
        kind = np.where(sizes[EVERY] < size, EVERY, kind)
        size = np.where(kind == EVERY, sizes[EVERY], size)
        size = (size + 3) & ~3
        base = np.cumsum(size) - size
        data = np.zeros(int(size.sum()), dtype=np.uint8)
        self._place(data, base, kind, n, starts, passages)
        head = np.select([kind == LISTED, kind == BLOCKED], [4 * n, directory_bytes(blocks) + 2 * n], 0)
        number = np.arange(len(hashes)) - np.repeat(starts, n)
        at = np.where(np.repeat(kind == EVERY, n), passages, number)
        _put_counts(data, np.repeat(base + head, n), np.repeat(width, n), at, counts)
        damped = okapi.saturated(counts.astype(np.float64), self._norms[passages])
        bounds = np.minimum(np.ceil(np.maximum.reduceat(damped, starts) * (BOUNDS / okapi.MOST)), BOUNDS)
        self._words.append((hashes[starts], base + self._size, n, bounds, kind | (width // 4) << 4))
        self._checksum = zlib.crc32(data.data, self._checksum)
        self._size += len(data)
        self._file.write(data.data)

    def _place(
        self,
        data: NDArray[np.uint8],
        base: NDArray[np.int64],
        kind: NDArray[np.int64],
        n: NDArray[np.int64],
        starts: NDArray[np.int64],
        passages: NDArray[np.int64],
    ) -> None:
        """Passages' numbers, and where blocks begin."""
        number = np.arange(len(passages)) - np.repeat(starts, n)
        listed, blocked = np.repeat(kind == LISTED, n), np.repeat(kind == BLOCKED, n)
        data.view("<u4")[np.repeat(base // 4, n)[listed] + number[listed]] = passages[listed]
        blocks = blocks_of(self._n)
        before = base + directory_bytes(blocks)
        data.view("<u2")[np.repeat(before // 2, n)[blocked] + number[blocked]] = passages[blocked] & (BLOCK - 1)
        words = np.flatnonzero(kind == BLOCKED)
        if blocks < 2 or not len(words):
            return
        word = np.repeat(np.arange(len(words)), n[words])
        each = np.bincount(word * blocks + (passages[blocked] >> BITS), minlength=len(words) * blocks)
        ends = np.cumsum(each.reshape(len(words), blocks), axis=1)
        data.view("<u4")[base[words][:, None] // 4 + np.arange(1, blocks + 1)] = ends

    def finish(self) -> None:
        padding = bytes(-(HEADER.size + 12 * self._n + self._size) % 8)
        self._checksum = zlib.crc32(padding, self._checksum)
        self._file.write(padding)
        self._size += len(padding)
        kinds = ("<u8", "<u8", "<u4", "<u1", "<u1")
        columns = zip(*self._words, strict=True) if self._words else ((),) * len(kinds)
        words = 0
        for kind, column in zip(kinds, columns, strict=True):
            found = np.concatenate([part.astype(kind) for part in column]) if column else np.empty(0, dtype=kind)
            words = len(found)
            self._frame = zlib.crc32(found.tobytes(), self._frame)
            self._file.write(found.tobytes())
        lexicon = HEADER.size + 12 * self._n + self._size
        self._file.seek(0)
        self._file.write(header(*self._range, self._n, self._total, words, lexicon, self._frame, self._checksum))


def _put_counts(
    data: NDArray[np.uint8],
    base: NDArray[np.int64],
    width: NDArray[np.int64],
    at: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Write each count as the `at`-th one behind `base`, in so many bits."""
    eight, sixteen = width == 8, width == 16
    data[base[eight] + at[eight]] = counts[eight]
    data.view("<u2")[base[sixteen] // 2 + at[sixteen]] = counts[sixteen]
    for half in (0, 1):
        # A byte gets its lower half in one pass and its upper one in the next: within a pass no byte is met twice.
        chosen = (width == 4) & (at & 1 == half)
        data[base[chosen] + (at[chosen] >> 1)] |= (counts[chosen] << (4 * half)).astype(np.uint8)


@contextlib.contextmanager
def _created(path: Path) -> Iterator[IO[bytes]]:
    with fsio.translated(path), path.open("xb") as file:
        os.chmod(path, 0o600)
        yield file


def write(
    path: Path,
    first: int,
    end: int,
    passages: Iterable[tuple[int, str]],
    vocabulary: Vocabulary,
    *,
    check: Callable[[], None],
) -> None:
    """Make a file of `(key, text)`, by ascending key. Memory: some 30 bytes a posting.

    Raises StorageError, and what `check` raises, which is called between portions.
    """
    counting = Counting(vocabulary)
    keys: list[int] = []
    for key, text in passages:
        counting.add(text)
        keys.append(key)
    found = counting.done()
    hashes = np.array(vocabulary.hashes, dtype=np.uint64)
    order = np.argsort(hashes)
    hashes = hashes[order]
    rank = np.empty(len(hashes), dtype=np.uint32)
    rank[order] = np.arange(len(hashes), dtype=np.uint32)
    ranked = rank[found.numbers]
    by_word = np.argsort(ranked, kind="stable")
    with _created(path) as file:
        writer = _Writer(file, first, end, np.array(keys, dtype=np.int64), found.lengths)
        edges = np.concatenate([[0], np.cumsum(np.bincount(ranked, minlength=len(hashes)))])
        for start, stop in _slices(edges):
            check()
            chosen = by_word[edges[start] : edges[stop]]
            owners, counts = found.owners[chosen], found.counts[chosen]
            writer.add(hashes[ranked[chosen]], owners.astype(np.int64), counts.astype(np.int64))
        writer.finish()


def _slices(edges: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of words with a bounded number of postings; `edges` says where each word's begin."""
    start, words = 0, len(edges) - 1
    while start < words:
        stop = max(int(np.searchsorted(edges, edges[start] + _AT_ONCE, side="right")) - 1, start + 1)
        yield start, stop
        start = stop


def join(
    path: Path, parts: Sequence[Postings], alive: Sequence[NDArray[np.bool_] | None], *, check: Callable[[], None]
) -> int:
    """Make one file of several neighbours, in the order of their keys, of the passages that are alive; returns how many.

    Raises ValueError where one of them is not what was written, StorageError, and what `check` raises, which is called between portions.
    """
    kept = [
        np.ones(len(part.keys), dtype=np.bool_) if mask is None else mask
        for part, mask in zip(parts, alive, strict=True)
    ]
    keys = np.concatenate([part.keys[keep] for part, keep in zip(parts, kept, strict=True)])
    lengths = np.concatenate([part.lengths[keep] for part, keep in zip(parts, kept, strict=True)])
    numbers, before = [], 0
    for keep in kept:
        numbers.append(np.cumsum(keep) - 1 + before)
        before += int(np.count_nonzero(keep))
    every = np.unique(np.concatenate([part.hashes for part in parts]))
    total = np.zeros(len(every) + 1, dtype=np.int64)
    for part in parts:
        total[np.searchsorted(every, part.hashes) + 1] += part.frequencies
    edges = np.cumsum(total)
    with _created(path) as file:
        writer = _Writer(file, parts[0].first, parts[-1].end, keys, lengths)
        for start, stop in _slices(edges):
            check()
            found = []
            for part, keep, number in zip(parts, kept, numbers, strict=True):
                first = int(np.searchsorted(part.hashes, every[start]))
                end = int(np.searchsorted(part.hashes, every[stop - 1], side="right"))
                if end > first:
                    hashes, passages, counts = _decoded(part, first, end)
                    left = keep[passages]
                    found.append((hashes[left], number[passages[left]], counts[left]))
            if found:
                hashes, passages, counts = (np.concatenate(column) for column in zip(*found, strict=True))
                order = np.argsort(hashes, kind="stable")
                writer.add(hashes[order], passages[order], counts[order])
        writer.finish()
    return len(keys)


def _decoded(part: Postings, first: int, end: int) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Hash, passage and count of every posting of the words [first, end), in their order."""
    n = part.frequencies[first:end].astype(np.int64)
    passages = np.empty(int(n.sum()), dtype=np.int64)
    counts = np.empty_like(passages)
    ends = np.cumsum(n)
    kinds = part.kinds[first:end]
    # Nearly all words are rare: those are read together, the others one by one.
    simple = (kinds >> 4 <= 2) & ((kinds & 15 == LISTED) | ((kinds & 15 == BLOCKED) & (part.blocks == 1)))
    _read_together(part, first, simple, n, ends, passages, counts)
    for word in np.flatnonzero(~simple).tolist():
        start, stop = int(ends[word] - n[word]), int(ends[word])
        passages[start:stop], counts[start:stop] = _read(part.word_at(first + word), stop - start)
    return np.repeat(part.hashes[first:end], n), passages, counts


def _read_together(
    part: Postings,
    first: int,
    simple: NDArray[np.bool_],
    n: NDArray[np.int64],
    ends: NDArray[np.int64],
    passages: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    words = np.flatnonzero(simple)
    n_of = n[words]
    if not len(words):
        return
    number = np.arange(int(n_of.sum())) - np.repeat(np.cumsum(n_of) - n_of, n_of)
    to = np.repeat(ends[words] - n_of, n_of) + number
    kinds = part.kinds[first + words]
    base = part.offsets[first + words].astype(np.int64)
    each = np.where(kinds & 15 == LISTED, 4, 2)
    sizes = each * n_of + np.where(kinds >> 4 == 1, (n_of + 1) >> 1, n_of)
    if int((base + sizes).max()) > len(part.data) or bool((base & 3).any()):
        raise ValueError("damaged postings")
    of_two = np.repeat(each == 2, n_of)
    at = np.repeat(base, n_of)
    found = np.empty(len(number), dtype=np.int64)
    whole = len(part.data) & ~3
    found[of_two] = part.data[:whole].view("<u2")[at[of_two] // 2 + number[of_two]]
    found[~of_two] = part.data[:whole].view("<u4")[at[~of_two] // 4 + number[~of_two]]
    if len(found) and int(found.max()) >= len(part.keys):
        raise ValueError("damaged postings")
    passages[to] = found
    at = np.repeat(base + each * n_of, n_of)
    half = np.repeat(kinds >> 4 == 1, n_of)
    byte = part.data[at + np.where(half, number >> 1, number)].astype(np.int64)
    counts[to] = np.where(half, byte >> ((number & 1) << 2) & 15, byte)


def _read(word: Word, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Passage and count of every posting of one word."""
    numbers, counts = [], []
    for block in range(len(word.starts) - 1):
        of_block = word.counts_in(block)
        low = word.numbers(block)
        if low is None:
            low = np.flatnonzero(of_block)
            of_block = of_block[low]
        numbers.append(low.astype(np.int64) + (block << BITS))
        counts.append(of_block.astype(np.int64))
    if sum(map(len, numbers)) != n:
        raise ValueError("damaged postings")
    return np.concatenate(numbers), np.concatenate(counts)
