"""What a disk may hold after a power cut, rebuilt from the journal of shim.c.

The rules are those that POSIX leaves a file system, seeded:

- what was written before a sync of its file began is there once that is completed;
- of each later write every sector may be there or not, in any order, so that a write may be torn; a file's length is any that it
  had since the sync; what was never written below that length is zeros, or what the disk held before;
- a name (created, renamed, removed) is there once its folder was synced; before that, the file system may have kept it in order
  (a journal's first entries) or each change for itself;
- a file may be nameless, a name may have an empty file.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_ENTRY = struct.Struct("<c3xiiii4xqq")
_SECTORS = (512, 4096)


@dataclass(frozen=True, slots=True)
class Entry:
    """One call that changed something (or a mark, K)."""

    kind: str
    descriptor: int
    flags: int
    path: str
    other: str
    offset: int
    data: bytes


def read_journal(path: Path) -> list[Entry]:
    raw = path.read_bytes()
    entries: list[Entry] = []
    at = 0
    while at < len(raw):
        kind, descriptor, flags, one, two, offset, length = _ENTRY.unpack_from(raw, at)
        at += _ENTRY.size
        first = os.fsdecode(raw[at : at + one])
        second = os.fsdecode(raw[at + one : at + one + two])
        at += one + two
        entries.append(Entry(kind.decode(), descriptor, flags, first, second, offset, raw[at : at + length]))
        at += length
    return entries


@dataclass(slots=True)
class File:
    """A file: what is surely on the disk, and what was done to it since."""

    synced: bytearray
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(offset, data), or (length, None) where it was cut or lengthened"""
    length: int = 0
    """as the running program sees it"""
    written_at: int | None = None
    """nanoseconds; None for what was written to since the start"""
    begun: int = 0
    """how much of what is pending was there when the last sync began: another thread may go on writing"""

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        self.written_at = None
        self.length = max(self.length, offset + len(data))

    def resize(self, length: int) -> None:
        self.pending.append((length, None))
        self.written_at = None
        self.length = length

    def begin_sync(self) -> None:
        self.begun = len(self.pending)

    def sync(self) -> None:
        for change in self.pending[: self.begun]:
            _apply(self.synced, *change)
        del self.pending[: self.begun]

    def after_the_cut(self, chance: random.Random) -> bytes:
        found = bytearray(self.synced)
        if not self.pending:
            return bytes(found)
        sector = chance.choice(_SECTORS)
        # Nothing, all, or anything between.
        share = chance.choice((0.0, 1.0, 0.5, chance.random()))
        lengths = [len(found)]
        garbage = chance.random() < 0.1
        pieces: list[tuple[int, bytes]] = []
        for offset, data in self.pending:
            if data is None:
                lengths.append(offset)
                # What is cut off is zeros when the file grows again; a sector that had not reached the disk by then never does.
                pieces = [(at, piece[: offset - at]) for at, piece in pieces if at < offset]
                if chance.random() < share:
                    _apply(found, offset, None)
                continue
            lengths.append(max(lengths[-1], offset + len(data)))
            for start in range(offset - offset % sector, offset + len(data), sector):
                low, high = max(start, offset), min(start + sector, offset + len(data))
                if chance.random() < share:
                    pieces.append((low, data[low - offset : high - offset]))
        if share not in (0.0, 1.0) and chance.random() < 0.5:
            chance.shuffle(pieces)
        length = lengths[0] if share == 0.0 else lengths[-1] if share == 1.0 else chance.choice(lengths)
        if length > len(found):
            new = length - len(found)
            found += chance.randbytes(new) if garbage else bytes(new)
        del found[length:]
        for at, piece in pieces:
            end = min(at + len(piece), length)
            if at < end:
                found[at:end] = piece[: end - at]
        return bytes(found)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


class Folder:
    """A folder: the names in it that are surely on the disk, wherever it is reached from."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}


Node = File | Folder


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """A change of names that no sync has made sure yet: `old` and `new` are a folder and a name in it."""

    node: Node
    old: tuple[Folder, str] | None
    new: tuple[Folder, str] | None

    def touches(self, folder: Folder) -> bool:
        return any(place is not None and place[0] is folder for place in (self.old, self.new))


class Disk:
    """A folder of files, the calls that were made on it, and what may be left of them."""

    def __init__(self, root: Path, start: Path) -> None:
        """`root` is what the journal's paths begin with; `start` holds a copy of what was there."""
        self._live: dict[str, Node] = {}
        self._root = self._load(start, str(root))
        self._changes: list[_Change] = []
        self._open: dict[int, Node] = {}
        self.marks = 0

    def _load(self, path: Path, name: str) -> Folder:
        folder = self._live[name] = Folder()
        for entry in path.iterdir():
            inside = f"{name}/{entry.name}"
            if entry.is_dir():
                folder.names[entry.name] = self._load(entry, inside)
            else:
                data = bytearray(entry.read_bytes())
                file = File(data, length=len(data), written_at=entry.stat().st_mtime_ns)
                self._live[inside] = folder.names[entry.name] = file
        return folder

    def do(self, entry: Entry) -> None:
        """Follow one call."""
        match entry.kind:
            case "K":
                self.marks += 1
            case "O":
                self._opened(entry)
            case "W":
                self._file(entry).write(entry.offset, entry.data)
            case "T":
                self._file(entry).resize(entry.offset)
            case "A":
                file = self._file(entry)
                if entry.offset > file.length:
                    file.resize(entry.offset)
            case "B":
                if isinstance(begun := self._open[entry.descriptor], File):
                    begun.begin_sync()
            case "S":
                self._sync(self._open[entry.descriptor])
            case "D":
                self._made(entry.path, Folder())
            case "U" | "X":
                self._changes.append(_Change(self._live.pop(entry.path), self._place(entry.path), None))
            case "L":
                self._made(entry.other, self._live[entry.path])
            case "R":
                self._renamed(entry.path, entry.other)
            case "M":
                # SQLite's shared memory, which no one reads after a start, is the only thing that is written through a map.
                if not entry.path.endswith("-shm"):
                    raise AssertionError(f"{entry.path} is written through a map")

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._live[above]
        assert isinstance(folder, Folder)
        return folder, name

    def _opened(self, entry: Entry) -> None:
        found = self._live.get(entry.path)
        if found is None:
            assert entry.flags & os.O_CREAT, f"{entry.path} was opened and never made"
            found = File(bytearray())
            self._made(entry.path, found)
        elif isinstance(found, File) and entry.flags & os.O_TRUNC and found.length:
            found.resize(0)
        self._open[entry.descriptor] = found

    def _file(self, entry: Entry) -> File:
        found = self._open[entry.descriptor]
        assert isinstance(found, File)
        return found

    def _made(self, path: str, node: Node) -> None:
        self._live[path] = node
        self._changes.append(_Change(node, None, self._place(path)))

    def _renamed(self, old: str, new: str) -> None:
        node, places = self._live[old], (self._place(old), self._place(new))
        for path in [path for path in self._live if path == new or path.startswith(f"{new}/")]:
            del self._live[path]
        for path in [path for path in self._live if path == old or path.startswith(f"{old}/")]:
            self._live[new + path[len(old) :]] = self._live.pop(path)
        self._changes.append(_Change(node, *places))

    def _sync(self, what: Node) -> None:
        if isinstance(what, File):
            what.sync()
            return
        # A change of two folders is one change: it is sure with the first of them, and so is what led to it.
        sure = [change for change in self._changes if change.touches(what)]
        moved = {id(change.node) for change in sure if change.old is not None and change.new is not None}
        sure = [change for change in self._changes if change in sure or id(change.node) in moved]
        for change in sure:
            _settle(change, lambda folder: folder.names)
        self._changes = [change for change in self._changes if change not in sure]

    def cut(self, chance: random.Random, target: Path) -> None:
        """Write to `target` what may be left when the power goes now."""
        kept = (
            self._changes[: chance.randint(0, len(self._changes))]
            if chance.random() < 0.6
            else [change for change in self._changes if chance.random() < 0.5]
        )
        changed: dict[Folder, dict[str, Node]] = {}

        def names(folder: Folder) -> dict[str, Node]:
            return changed.setdefault(folder, dict(folder.names))

        for change in kept:
            _settle(change, names)
        self._write(self._root, target, chance, names)

    def _write(
        self, folder: Folder, target: Path, chance: random.Random, names: Callable[[Folder], dict[str, Node]]
    ) -> None:
        target.mkdir(mode=0o700)
        for name, node in sorted(names(folder).items(), key=lambda item: item[0]):
            if isinstance(node, Folder):
                self._write(node, target / name, chance, names)
            else:
                (target / name).write_bytes(node.after_the_cut(chance))
                if node.written_at is not None:
                    os.utime(target / name, ns=(node.written_at, node.written_at))


def _settle(change: _Change, names: Callable[[Folder], dict[str, Node]]) -> None:
    if change.old is not None:
        folder, name = change.old
        if names(folder).get(name) is change.node:
            del names(folder)[name]
    if change.new is not None:
        folder, name = change.new
        names(folder)[name] = change.node
