"""Which words occur in which passages, and how often, as arrays in a file: what full-text ranking needs, at the speed of memory.

FTS5 ranks a microsecond for each passage that holds a word of the query. Here a word's passages are one array, used as it lies in the file.
A file is derived: FTS5 knows the same and more (where in a passage a word stands), and answers where there is no file.

A passage is named by its number in the file. Numbers go in blocks of 65,536, within which two bytes are enough: a search does block after
block, whose scores stay in the processor's cache, and finds any passage of a word without reading those before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.disk import fsio
from stackroom.storage.words import okapi

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAMILY = b"STRMPST"
MAGIC = _FAMILY + b"\x03"
HEADER = struct.Struct("<8sqqQQQQIII4x")
"""Magic, first and last key + 1, passages, words in them, distinct words, offset of those, checksums of the frame, of the postings, and of all this."""

BITS = 16
BLOCK = 1 << BITS
"""Passages of a block."""

GROUP = 1024

LISTED, BLOCKED, EVERY = 1, 2, 3
"""How a word's passages are written: four bytes each; two bytes each, block after block; not at all, since each passage has a count."""

BOUNDS = 255
"""Steps in which the most that a word adds to a score is kept."""

_THIN = 4
"""Numbers from the first key to the last for each passage, beyond which each is asked for."""

# Both counts of a byte, as two float32 next to each other.
_PAIRS = np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1).astype("<f4").view("<u8").reshape(-1)


def hash_of(token: str) -> int:
    """By which a file knows a word: 64 bits of BLAKE2b. Two of a million words share one in one library of forty million."""
    return int.from_bytes(hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def header(*values: int) -> bytes:
    """Of a file: what HEADER names between the magic and its own checksum."""
    return HEADER.pack(MAGIC, *values, zlib.crc32(HEADER.pack(MAGIC, *values, 0)))


def _header_of(data: memoryview) -> tuple[int, ...]:
    """What `header` was given. Raises ValueError, struct.error."""
    head = data[: HEADER.size]
    values: tuple[int, ...] = HEADER.unpack(head)[1:-1]
    if header(*values) != head:
        raise ValueError("a damaged header")
    return values


def blocks_of(passages: int) -> int:
    return -(-passages // BLOCK)


def directory_bytes(blocks: int) -> int:
    """Of a word that is BLOCKED: where each block's passages begin among its own, and their end. One block needs none."""
    return 4 * (blocks + 1) if blocks > 1 else 0


@dataclass(slots=True)
class Word:
    """The postings of one word, as they lie in the file."""

    n: int
    """passages that have it"""
    bound: float
    """the most that a count of it comes to, before its weight, where passages have the file's own average length"""
    passages: NDArray[Any] | None
    """the lower two bytes of their numbers, or whole numbers, ascending; None: every passage has a count, which may be 0"""
    starts: list[int]
    """where each block begins in `passages`, and the end"""
    counts: NDArray[Any]
    width: int
    """bits of a count: 4, two of them in a byte, the first one in its lower half; 8; or 16"""

    def size(self, block: int) -> int:
        """How many postings a block has."""
        return self.starts[block + 1] - self.starts[block]

    def numbers(self, block: int) -> NDArray[Any] | None:
        """The passages of a block, by their number in it; None: all of them."""
        if self.passages is None:
            return None
        found = self.passages[self.starts[block] : self.starts[block + 1]]
        return found if found.itemsize == 2 else (found & (BLOCK - 1)).astype(np.uint16)

    def counts_in(self, block: int) -> NDArray[np.float32]:
        """The counts that belong to `numbers`."""
        return self._counts_between(self.starts[block], self.starts[block + 1])

    def _counts_between(self, start: int, end: int) -> NDArray[np.float32]:
        if self.width > 4:
            return self.counts[start:end].astype(np.float32)
        pairs = _PAIRS.take(self.counts[start >> 1 : (end + 1) >> 1]).view(np.float32)
        return pairs[start & 1 : (start & 1) + end - start]

    def all_from(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Numbers in the file, ascending, and counts of all its postings from a block on; not for one that has every passage."""
        passages = self.passages
        if passages is None:
            raise ValueError("a count for every passage")
        start, end = self.starts[block], self.starts[-1]
        numbers = passages[start:end].astype(np.int64)
        if passages.itemsize == 2:
            sizes = np.diff(self.starts[block:])
            numbers += np.repeat(np.arange(block, block + len(sizes), dtype=np.int64) << BITS, sizes)
        return numbers, self._counts_between(start, end)

    def counts_of(self, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        """How often it occurs in these passages of the file, ascending."""
        if self.passages is None:
            return self._counts_at(wanted)
        if not self.n or not len(wanted):
            return np.zeros(len(wanted), dtype=np.float32)
        if self.passages.itemsize == 4:
            at = np.minimum(self.passages.searchsorted(wanted.astype(np.uint32)), self.n - 1)
            found = self._counts_at(at)
            found[self.passages[at] != wanted] = 0
            return found
        at = np.empty(len(wanted), dtype=np.int64)
        low, missing, done = np.empty(len(wanted), dtype=np.uint16), np.empty(len(wanted), dtype=np.bool_), 0
        for block, numbers in each_block(wanted):
            start, end = self.starts[block], self.starts[block + 1]
            places = at[done : done + len(numbers)]
            places[:] = self.passages[start:end].searchsorted(numbers)
            # Behind the last one of the block comes another block's, which may have the same lower bytes.
            low[done : done + len(numbers)] = numbers
            missing[done : done + len(numbers)] = places == end - start
            places += start
            done += len(numbers)
        np.minimum(at, self.n - 1, out=at)
        found = self._counts_at(at)
        found[missing | (self.passages[at] != low)] = 0
        return found

    def _counts_at(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.width > 4:
            return self.counts[at].astype(np.float32)
        both: NDArray[np.uint8] = self.counts[at >> 1] >> ((at & 1) << 2).astype(np.uint8)
        return (both & 15).astype(np.float32)


def each_block(numbers: NDArray[np.int64]) -> list[tuple[int, NDArray[np.uint16]]]:
    """Ascending numbers by block, as numbers in it; blocks without any are left out."""
    if not len(numbers):
        return []
    first, last = int(numbers[0]) >> BITS, int(numbers[-1]) >> BITS
    if first == last:
        return [(first, (numbers & (BLOCK - 1)).astype(np.uint16))]
    edges = np.searchsorted(numbers, np.arange(first, last + 2) << BITS).tolist()
    low = (numbers & (BLOCK - 1)).astype(np.uint16)
    return [
        (block, low[start:end])
        for block, start, end in zip(range(first, last + 1), edges[:-1], edges[1:], strict=True)
        if end > start
    ]


@dataclass(slots=True)
class Postings:
    """A file, mapped: of the passages that had keys in [first, end) when it was made.

    `keys` are theirs (int64, ascending), `lengths` how many words they have (uint32); both of shape (n,). `average` is that of the lengths.
    """

    first: int
    end: int
    average: float
    keys: NDArray[np.int64]
    lengths: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    frequencies: NDArray[np.uint32]
    bounds: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    data: NDArray[np.uint8]
    _norms: tuple[float, NDArray[np.float32]] | None = field(default=None, repr=False)

    @property
    def blocks(self) -> int:
        return blocks_of(len(self.keys))

    def alive(self, live: KeySet) -> NDArray[np.bool_] | None:
        """Which of its passages are still there; None where all are."""
        own = KeySet(np.array([[self.first, self.end]], dtype=np.int64))
        return None if live.intersection(own).count == len(self.keys) else self.among(live)

    def among(self, chosen: KeySet) -> NDArray[np.bool_]:
        """Which of its passages are chosen."""
        return self._chosen(chosen, self.keys)

    def few_among(self, chosen: KeySet, most: int) -> NDArray[np.int64] | None:
        """The numbers of its passages that are chosen, ascending; None where they are more than `most`, or would take long to list."""
        if chosen.is_marked or len(chosen.ranges) > most:
            return None
        ranges = self._numbered(chosen)
        if int((ranges[:, 1] - ranges[:, 0]).sum()) > most:
            return None
        return KeySet(ranges).keys()

    def among_block(self, chosen: KeySet, block: int) -> NDArray[np.bool_]:
        """Which of the passages of a block are chosen, without a look at those of others."""
        return self._chosen(chosen, self.keys[block * BLOCK : (block + 1) * BLOCK])

    @staticmethod
    def _chosen(chosen: KeySet, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these keys, ascending ones, are chosen. Quicker than asking for each, where few are gone between them."""
        if not len(keys):
            return np.zeros(0, dtype=np.bool_)
        first, end = int(keys[0]), int(keys[-1]) + 1
        if not len(keys) <= end - first <= _THIN * len(keys):
            return chosen.contains(keys)
        marks = chosen.marks(first, end)
        # A damaged file may hold any keys between the first and the last.
        return marks if end - first == len(keys) else marks.take(keys - first, mode="clip")

    def _numbered(self, chosen: KeySet) -> NDArray[np.int64]:
        """Ranges of keys as ranges of passages, without empty ones."""
        ranges = chosen.ranges
        if not len(ranges) or not len(self.keys):
            return np.empty((0, 2), dtype=np.int64)
        first, last = int(self.keys[0]), int(self.keys[-1])
        if last - first + 1 == len(self.keys):
            found = np.clip(ranges, first, last + 1) - first
        else:
            found = np.searchsorted(self.keys, ranges)
        return found if len(found) == 1 and found[0, 0] < found[0, 1] else found[found[:, 0] < found[:, 1]]

    def norms(self, average: float) -> NDArray[np.float32]:
        """What its passages' lengths do to their scores: a row a block, infinity where no passage is.

        Of one block there are as many as needed, rounded up to whole groups of `GROUP`.

        The last ones are kept: the average is the same until the next commit.
        """
        known = self._norms
        if known is None or known[0] != average:
            width = BLOCK if self.blocks > 1 else -(-len(self.keys) // GROUP) * GROUP
            found = np.full((self.blocks, width), np.inf, dtype=np.float32)
            found.reshape(-1)[: len(self.lengths)] = okapi.norms(self.lengths.astype(np.float32), average)
            known = self._norms = average, found
        return known[1]

    def word(self, token: str) -> Word | None:
        """None where no passage has it. Raises ValueError where the file is not what was written."""
        row = self._row(token)
        return None if row is None else self.word_at(row)

    def word_at(self, row: int) -> Word:
        """The word with this place among the file's words. Raises ValueError where the file is not what was written."""
        n, offset, kind = int(self.frequencies[row]), int(self.offsets[row]), int(self.kinds[row])
        how, width, passages, blocks = kind & 15, 4 * (kind >> 4), len(self.keys), self.blocks
        bound = int(self.bounds[row]) * okapi.MOST / BOUNDS
        if how == EVERY:
            starts = [min(block * BLOCK, passages) for block in range(blocks + 1)]
            return Word(n, bound, None, starts, self._counts(offset, passages, width), width)
        if how == LISTED:
            numbers = self._section("<u4", n, offset)
            starts = np.searchsorted(numbers, np.arange(blocks + 1) << BITS).tolist()
            starts[-1] = n
            _check(starts, n)
            return Word(n, bound, numbers, starts, self._counts(offset + 4 * n, n, width), width)
        directory = directory_bytes(blocks)
        starts = self._section("<u4", blocks + 1, offset).tolist() if directory else [0, n]
        if how != BLOCKED:
            raise ValueError("damaged postings")
        _check(starts, n)
        numbers = self._section("<u2", n, offset + directory)
        return Word(n, bound, numbers, starts, self._counts(offset + directory + 2 * n, n, width), width)

    def _counts(self, offset: int, n: int, width: int) -> NDArray[Any]:
        if width == 4:
            return self._section("<u1", (n + 1) >> 1, offset)
        if width not in (8, 16):
            raise ValueError("damaged postings")
        return self._section("<u1" if width == 8 else "<u2", n, offset)

    def _section(self, kind: str, n: int, offset: int) -> NDArray[Any]:
        if offset > len(self.data):
            raise ValueError("damaged postings")
        # This one too where it would reach beyond the postings.
        return np.frombuffer(self.data, dtype=kind, count=n, offset=offset) if n else np.empty(0, dtype=kind)

    def _row(self, token: str) -> int | None:
        wanted = np.uint64(hash_of(token))
        row = int(self.hashes.searchsorted(wanted))
        return row if row < len(self.hashes) and self.hashes[row] == wanted else None


def _check(starts: list[int], n: int) -> None:
    if starts[0] or starts[-1] != n or any(map(int.__gt__, starts[:-1], starts[1:])):
        raise ValueError("damaged postings")


def load(path: Path, first: int, end: int) -> Postings | None:
    """The file, mapped; None where it is gone, of other passages, or not of the size that it says.

    Its checksums are for `is_damaged`: to compare them here, every page of the file would have to be read.
    """
    with contextlib.suppress(OSError, ValueError, OverflowError, struct.error), fsio.open_regular(path) as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        *covered, n, total, words, lexicon, _, _ = _header_of(memoryview(mapped))
        at, postings = HEADER.size, HEADER.size + 12 * n
        size = lexicon + 22 * words
        if covered != [first, end] or not postings <= lexicon <= size == len(mapped):
            return None

        def section(kind: str, count: int, offset: int) -> NDArray[np.generic]:
            return np.frombuffer(mapped, dtype=kind, count=count, offset=offset)

        return Postings(
            first,
            end,
            max(total / n, 1.0) if n else 1.0,
            section("<i8", n, at),  # type: ignore[arg-type]
            section("<u4", n, at + 8 * n),  # type: ignore[arg-type]
            section("<u8", words, lexicon),  # type: ignore[arg-type]
            section("<u8", words, lexicon + 8 * words),  # type: ignore[arg-type]
            section("<u4", words, lexicon + 16 * words),  # type: ignore[arg-type]
            section("<u1", words, lexicon + 20 * words),  # type: ignore[arg-type]
            section("<u1", words, lexicon + 21 * words),  # type: ignore[arg-type]
            section("<u1", lexicon - postings, postings),  # type: ignore[arg-type]
        )
    return None


def is_damaged(path: Path) -> bool:
    """Whether a file is there and not what was written. Reads all of it. One of another version is whole as far as can be known."""
    if not path.exists():
        return False
    try:
        with fsio.open_regular(path) as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # an empty file can't be mapped
        return True
    start_of_file = bytes(data[: len(MAGIC)])
    if start_of_file.startswith(_FAMILY) and start_of_file != MAGIC:
        return False
    try:
        _, _, n, _, _, lexicon, frame, postings = _header_of(data)
    except (struct.error, ValueError):
        return True
    start = HEADER.size + 12 * n
    whole = zlib.crc32(data[lexicon:], zlib.crc32(data[HEADER.size : start])) == frame
    return not (whole and zlib.crc32(data[start:lexicon]) == postings)


def is_current(path: Path) -> bool:
    """Whether there is a file that this version reads, as far as its first bytes say."""
    try:
        with fsio.open_regular(path) as file:
            return bool(file.read(len(MAGIC)) == MAGIC)
    except OSError:
        return False
