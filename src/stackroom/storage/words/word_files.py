"""Which postings files a library has, which it should have next, and those that this process has mapped."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.storage.words import postings
from stackroom.storage.words.postings import Postings

LEAST = 1024
"""Passages that a library has when it gets its first file: below, FTS5 answers in half a millisecond."""

WORTH = 1024
"""Passages without a file that get one."""

GROWTH = 4
"""A file with fewer than this many times the passages behind it is joined with them: so there are few."""

DEAD = 2
"""A file of which less than one in so many passages is left is written again."""


class Entry(NamedTuple):
    """A file as the catalogue has it: of the `n` passages that had keys in [first, end)."""

    first: int
    end: int
    n: int
    file: str

    @property
    def range(self) -> KeySet:
        return KeySet(np.array([[self.first, self.end]], dtype=np.int64))


class Plan(NamedTuple):
    """The next file: these files joined, and the passages with keys in [first, end)."""

    joined: Sequence[Entry]
    first: int
    end: int


def every(connection: Connection) -> list[Entry]:
    """By key."""
    rows = connection.rows("SELECT first_key, end_key, n, file FROM word_files ORDER BY first_key")
    found = (Entry(*row) for row in rows)
    # A library from a stranger may name files of other folders.
    return [entry for entry in found if entry.first < entry.end and layout.is_name(entry.file)]


def register(connection: Connection, made: Entry) -> None:
    """Name a file, in place of those of its passages."""
    connection.execute("DELETE FROM word_files WHERE first_key >= ?", (made.first,))
    connection.execute("INSERT INTO word_files VALUES(?, ?, ?, ?)", made)


def contiguous(entries: Sequence[Entry]) -> list[Entry]:
    """Those that follow one another from the first key on."""
    found: list[Entry] = []
    for entry in entries:
        if entry.first == (found[-1].end if found else 0):
            found.append(entry)
    return found


def is_due(connection: Connection, entries: Sequence[Entry]) -> bool:
    """Whether enough passages have no file, at a price that does not grow with the library."""
    good = contiguous(entries)
    first, enough = (good[-1].end, WORTH) if good else (0, LEAST)
    found = connection.value("SELECT count(*) FROM (SELECT 1 FROM chunks WHERE key >= ? LIMIT ?)", (first, enough))
    return bool(found == enough)


def wanted(live: KeySet, entries: Sequence[Entry]) -> Plan | None:
    """What should be made next of the live passages; None: all is well."""
    good = contiguous(entries)
    first = good[-1].end if good else 0
    end = live.end
    if live.count < LEAST:
        return None
    left = [live.intersection(entry.range).count for entry in good]
    behind = live.count - sum(left)
    spoiled = next((at for at, (entry, n) in enumerate(zip(good, left, strict=True)) if n * DEAD < entry.n), None)
    if behind < WORTH and spoiled is None:
        return None
    at = len(good)
    while at and (left[at - 1] < GROWTH * (behind + sum(left[at:])) or (spoiled is not None and spoiled < at)):
        at -= 1
    return Plan(good[at:], first, max(first, end))


class Shelf:
    """The files that this process has mapped."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._mapped: dict[str, Postings | None] = {}

    def take(self, library: Path, entries: Sequence[Entry]) -> dict[str, Postings]:
        """The files by name, from the first passage on, as far as they are there."""
        with self._guard:
            if self._mapped.keys() != {entry.file for entry in entries}:
                folder = layout.sketches(library)
                self._mapped = {
                    entry.file: self._mapped[entry.file]
                    if entry.file in self._mapped
                    else postings.load(folder / entry.file, entry.first, entry.end)
                    for entry in entries
                }
            found: dict[str, Postings] = {}
            for entry in contiguous(entries):
                mapped = self._mapped[entry.file]
                if mapped is None:
                    break
                found[entry.file] = mapped
            return found

    def forget(self, file: str) -> None:
        """It is damaged: FTS5 answers in its place."""
        with self._guard:
            if file in self._mapped:
                self._mapped[file] = None
