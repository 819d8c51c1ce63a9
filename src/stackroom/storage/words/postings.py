"""Which words occur in which passages, and how often, as arrays in a file: what full-text ranking needs, at the speed of memory.

FTS5 ranks a microsecond for each passage that holds a word of the query. Here a word's passages are one array, decoded and scored at once.
A file is derived: FTS5 knows the same and more (where in a passage a word stands), and answers where there is no file.

Postings of a word are the numbers of its passages, as gaps, then its counts. Gaps are bytes: 255 means that another one follows, to be
added; or four bytes each, where that is shorter.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.disk import fsio

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"STRMPST\x01"
_HEADER = struct.Struct("<8sqqQQQII")
"""Magic, first and last key + 1, passages, words, offset of the words, checksums of the frame and of the postings."""

_ESCAPE = 255
_SHORT, _WIDE = 1, 4
"""Bytes of a gap."""
_AT_ONCE = 250_000
"""Postings that are held in memory while files are joined."""
_COUNTED_AT_ONCE = 500_000
"""Words of passages that are counted together."""


class Word(NamedTuple):
    """The postings of one word: int64 and float32, both of shape (n,). `passages` are numbers within the file, ascending."""

    passages: NDArray[np.int64]
    counts: NDArray[np.float32]


def hash_of(token: str) -> int:
    """By which a file knows a word: 64 bits of BLAKE2b. Two of a million words share one in one library of forty million."""
    return int.from_bytes(hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(slots=True)
class Postings:
    """A file, mapped: of the passages that had keys in [first, end) when it was made.

    `keys` are theirs (int64, ascending), `lengths` how many words they have (uint32); both of shape (n,).
    """

    first: int
    end: int
    keys: NDArray[np.int64]
    lengths: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    gap_bytes: NDArray[np.uint32]
    frequencies: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def alive(self, live: KeySet) -> NDArray[np.bool_] | None:
        """Which of its passages are still there; None where all are."""
        own = KeySet(np.array([[self.first, self.end]], dtype=np.int64))
        return None if live.intersection(own).count == len(self.keys) else self.among(live)

    def among(self, chosen: KeySet) -> NDArray[np.bool_]:
        """Which of its passages are chosen. Quicker than asking for each, since keys come in ranges."""
        starts = np.searchsorted(self.keys, chosen.ranges[:, 0])
        ends = np.searchsorted(self.keys, chosen.ranges[:, 1])
        n = len(self.keys) + 1
        depth = np.cumsum(np.bincount(starts, minlength=n) - np.bincount(ends, minlength=n))
        found: NDArray[np.bool_] = depth[:-1] > 0
        return found

    def frequency(self, token: str) -> int:
        """In how many passages a word occurs, removed ones included."""
        row = self._row(token)
        return 0 if row is None else int(self.frequencies[row])

    def word(self, token: str) -> Word | None:
        """None where no passage has it. Raises ValueError where the file is not what was written."""
        row = self._row(token)
        if row is None:
            return None
        n, offset, gaps = int(self.frequencies[row]), int(self.offsets[row]), int(self.gap_bytes[row])
        raw = self.data[offset : offset + gaps]
        if self.kinds[row] & 0x0F == _WIDE:
            passages = np.cumsum(np.frombuffer(raw.tobytes(), dtype="<u4"), dtype=np.int64)
        else:
            passages = np.cumsum(raw, dtype=np.int64)[raw != _ESCAPE]
        width = int(self.kinds[row]) >> 4
        counts = np.frombuffer(self.data[offset + gaps : offset + gaps + n * width].tobytes(), dtype=f"<u{width}")
        if len(passages) != n or len(counts) != n or (n and passages[-1] >= len(self.keys)):
            raise ValueError("damaged postings")
        return Word(passages, counts.astype(np.float32))

    def _row(self, token: str) -> int | None:
        wanted = np.uint64(hash_of(token))
        row = int(self.hashes.searchsorted(wanted))
        return row if row < len(self.hashes) and self.hashes[row] == wanted else None

    def part(self, first: int, end: int) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """Hash, passage and count of every posting of the words [first, end), in their order."""
        n = self.frequencies[first:end].astype(np.int64)
        gaps = self.gap_bytes[first:end].astype(np.int64)
        widths = (self.kinds[first:end] >> 4).astype(np.int64)
        wide = self.kinds[first:end] & 0x0F == _WIDE
        start = int(self.offsets[first])
        sizes = np.stack([gaps, n * widths], axis=1).reshape(-1)
        raw = self.data[start : start + int(sizes.sum())]
        is_gap = np.repeat(np.tile([True, False], len(n)), sizes)
        passages = np.empty(int(n.sum()), dtype=np.int64)
        of_wide, gap_data = np.repeat(wide, n), raw[is_gap]
        byte_of_wide = np.repeat(wide, gaps)
        short = gap_data[~byte_of_wide]
        passages[~of_wide] = _since_start(np.cumsum(short, dtype=np.int64)[short != _ESCAPE], n[~wide])
        four = np.frombuffer(gap_data[byte_of_wide].tobytes(), dtype="<u4")
        passages[of_wide] = _since_start(np.cumsum(four, dtype=np.int64), n[wide])
        counts = np.empty_like(passages)
        of_two, count_data = np.repeat(widths == 2, n), raw[~is_gap]
        byte_of_two = np.repeat(widths == 2, n * widths)
        counts[~of_two] = count_data[~byte_of_two]
        counts[of_two] = np.frombuffer(count_data[byte_of_two].tobytes(), dtype="<u2")
        return np.repeat(self.hashes[first:end], n), passages, counts


def _since_start(sums: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sums over several words as those of each word."""
    ends = np.cumsum(n)
    before = np.concatenate([[0], sums[ends - 1]])[:-1] if len(sums) else np.zeros(len(n), dtype=np.int64)
    since: NDArray[np.int64] = sums - np.repeat(before, n)
    return since


def load(path: Path, first: int, end: int) -> Postings | None:
    """The file, mapped; None where it is gone, of other passages, or not of the size that it says.

    Its checksums are for `is_damaged`: to compare them here, every page of the file would have to be read.
    """
    with contextlib.suppress(OSError, ValueError, OverflowError, struct.error), fsio.open_regular(path) as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, *covered, n, words, lexicon, _, _ = _HEADER.unpack(mapped[: _HEADER.size])
        at, postings = _HEADER.size, _HEADER.size + 12 * n
        size = lexicon + 25 * words
        if magic != _MAGIC or covered != [first, end] or not postings <= lexicon <= size == len(mapped):
            return None

        def section(kind: str, count: int, offset: int) -> NDArray[np.generic]:
            return np.frombuffer(mapped, dtype=kind, count=count, offset=offset)

        return Postings(
            first,
            end,
            section("<i8", n, at),  # type: ignore[arg-type]
            section("<u4", n, at + 8 * n),  # type: ignore[arg-type]
            section("<u8", words, lexicon),  # type: ignore[arg-type]
            section("<u8", words, lexicon + 8 * words),  # type: ignore[arg-type]
            section("<u4", words, lexicon + 16 * words),  # type: ignore[arg-type]
            section("<u4", words, lexicon + 20 * words),  # type: ignore[arg-type]
            section("<u1", words, lexicon + 24 * words),  # type: ignore[arg-type]
            section("<u1", lexicon - postings, postings),  # type: ignore[arg-type]
        )
    return None


def is_damaged(path: Path) -> bool:
    """Whether a file is there and not what was written. Reads all of it."""
    if not path.exists():
        return False
    try:
        with fsio.open_regular(path) as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, _, _, n, _, lexicon, frame, postings = _HEADER.unpack(data[: _HEADER.size])
    except (OSError, ValueError, struct.error):
        return True
    start = _HEADER.size + 12 * n
    whole = zlib.crc32(data[lexicon:], zlib.crc32(data[_HEADER.size : start])) == frame
    return not (magic == _MAGIC and whole and zlib.crc32(data[start:lexicon]) == postings)


class _Writer:
    """Writes a file word by word, in the order of their hashes."""

    def __init__(
        self, file: IO[bytes], first: int, end: int, keys: NDArray[np.int64], lengths: NDArray[np.uint32]
    ) -> None:
        self._file = file
        self._range = first, end
        self._n = len(keys)
        self._checksum = 0
        self._size = 0
        self._words: list[tuple[NDArray[np.generic], ...]] = []
        head = keys.astype("<i8").tobytes() + lengths.astype("<u4").tobytes()
        self._frame = zlib.crc32(head)
        file.write(b"\x00" * _HEADER.size + head)

    def add(self, hashes: NDArray[np.uint64], passages: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Postings of some words, ordered by hash, then by passage."""
        if not len(hashes):
            return
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        n = np.diff(np.concatenate([starts, [len(hashes)]]))
        gaps = np.diff(passages, prepend=0)
        gaps[starts] = passages[starts]
        short = np.add.reduceat(gaps // _ESCAPE + 1, starts)
        wide = short > _WIDE * n
        two = np.maximum.reduceat(counts, starts) > 255
        gap_bytes = np.where(wide, _WIDE * n, short)
        widths = np.where(two, 2, 1)
        sizes = gap_bytes + n * widths
        base = np.cumsum(sizes) - sizes
        of_wide = np.repeat(wide, n)
        each = np.where(of_wide, _WIDE, gaps // _ESCAPE + 1)
        last = np.repeat(base, n) + _since_start(np.cumsum(each), n) - 1
        data = np.full(int(sizes.sum()), _ESCAPE, dtype=np.uint8)
        data[last[~of_wide]] = gaps[~of_wide] % _ESCAPE
        for byte in range(_WIDE):
            data[last[of_wide] - (_WIDE - 1 - byte)] = gaps[of_wide] >> (8 * byte) & 0xFF
        number = np.arange(len(hashes)) - np.repeat(starts, n)
        at = np.repeat(base + gap_bytes, n) + number * np.repeat(widths, n)
        clipped = np.minimum(counts, 0xFFFF)
        data[at] = clipped & 0xFF
        of_two = np.repeat(two, n)
        data[at[of_two] + 1] = clipped[of_two] >> 8
        self._words.append(
            (hashes[starts], base + self._size, gap_bytes, n, np.where(wide, _WIDE, _SHORT) | widths << 4)
        )
        self._checksum = zlib.crc32(data.data, self._checksum)
        self._size += len(data)
        self._file.write(data.data)

    def finish(self) -> None:
        kinds = ("<u8", "<u8", "<u4", "<u4", "<u1")
        columns = zip(*self._words, strict=True) if self._words else ((),) * len(kinds)
        words = 0
        for kind, column in zip(kinds, columns, strict=True):
            found = np.concatenate([part.astype(kind) for part in column]) if column else np.empty(0, dtype=kind)
            words = len(found)
            self._frame = zlib.crc32(found.tobytes(), self._frame)
            self._file.write(found.tobytes())
        lexicon = _HEADER.size + 12 * self._n + self._size
        self._file.seek(0)
        header = _HEADER.pack(_MAGIC, *self._range, self._n, words, lexicon, self._frame, self._checksum)
        self._file.write(header)


@contextlib.contextmanager
def _created(path: Path) -> Iterator[IO[bytes]]:
    with fsio.translated(path), path.open("xb") as file:
        os.chmod(path, 0o600)
        yield file


def write(
    path: Path, first: int, end: int, passages: Iterable[tuple[int, Sequence[str]]], *, check: Callable[[], None]
) -> None:
    """Make a file of `(key, words)`, by ascending key. Memory: some 30 bytes a posting.

    Raises StorageError, and what `check` raises, which is called between portions.
    """
    found = _Counted()
    keys: list[int] = []
    lengths: list[int] = []
    for key, tokens in passages:
        found.add(tokens)
        keys.append(key)
        lengths.append(len(tokens))
    words, owners, counts = found.done()
    hashes = np.fromiter(map(hash_of, found.numbers), dtype=np.uint64, count=len(found.numbers))
    found.numbers.clear()
    order = np.argsort(hashes)
    hashes = hashes[order]
    rank = np.empty(len(hashes), dtype=np.uint32)
    rank[order] = np.arange(len(hashes), dtype=np.uint32)
    ranked = rank[words]
    by_word = np.argsort(ranked, kind="stable")
    with _created(path) as file:
        writer = _Writer(file, first, end, np.array(keys, dtype=np.int64), np.array(lengths, dtype=np.uint32))
        edges = np.concatenate([[0], np.cumsum(np.bincount(ranked, minlength=len(hashes)))])
        for start, stop in _slices(edges):
            check()
            chosen = by_word[edges[start] : edges[stop]]
            writer.add(hashes[ranked[chosen]], owners[chosen].astype(np.int64), counts[chosen].astype(np.int64))
        writer.finish()


class _Numbers(dict[str, int]):
    """A number for each word, in the order in which they are met."""

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self)
        return number


class _Counted:
    """How often each word occurs in each passage. Words become numbers first, since numbers are counted by sorting many at once."""

    def __init__(self) -> None:
        self.numbers = _Numbers()
        self._passages = 0
        self._waiting: list[NDArray[np.uint64]] = []
        self._occurrences = 0
        self._words: list[NDArray[np.uint32]] = []
        self._owners: list[NDArray[np.uint32]] = []
        self._counts: list[NDArray[np.uint16]] = []

    def add(self, tokens: Sequence[str]) -> None:
        """The words of the next passage."""
        numbers = np.fromiter(map(self.numbers.__getitem__, tokens), dtype=np.uint64, count=len(tokens))
        self._waiting.append(numbers | np.uint64(self._passages << 32))
        self._passages += 1
        self._occurrences += len(tokens)
        if self._occurrences >= _COUNTED_AT_ONCE:
            self._count()

    def _count(self) -> None:
        if not self._waiting:
            return
        pairs, n = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._words.append(pairs.astype(np.uint32))
        self._owners.append((pairs >> np.uint64(32)).astype(np.uint32))
        self._counts.append(np.minimum(n, 0xFFFF).astype(np.uint16))
        self._waiting.clear()
        self._occurrences = 0

    def done(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint16]]:
        """Word, passage and count of every posting, by passage."""
        self._count()
        if not self._words:
            return np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint16)
        return np.concatenate(self._words), np.concatenate(self._owners), np.concatenate(self._counts)


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
                    hashes, passages, counts = part.part(first, end)
                    left = keep[passages]
                    found.append((hashes[left], number[passages[left]], counts[left]))
            if found:
                hashes, passages, counts = (np.concatenate(column) for column in zip(*found, strict=True))
                order = np.argsort(hashes, kind="stable")
                writer.add(hashes[order], passages[order], counts[order])
        writer.finish()
    return len(keys)
