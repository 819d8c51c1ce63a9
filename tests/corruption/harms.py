"""What is done to a library's files: chosen by chance, applied to a copy."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apsw

from stackroom.storage.disk import layout

KINDS = ("flip", "zero", "scramble", "swap", "truncate", "extend", "replace", "delete")
_WEIGHTS = (30, 15, 12, 12, 9, 4, 12, 6)
_PAGE = layout.PAGE_SIZE
_TRUTH = frozenset(
    ["settings", "sources", "documents", "chunks", "spaces", "extents", "runs", "sets", "set_members", "collections"]
)
_OFTEN = 4
"""How much likelier a table is hit that can't be made again, or that says whose things are."""


class Harm(NamedTuple):
    file: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} {self.file} {self.detail}".strip()


class Target(NamedTuple):
    """A file that may be harmed, how likely it is, and where its bytes mean something: [first, end) by name."""

    file: str
    weight: float
    places: dict[str, list[tuple[int, int]]]


def targets(library: Path) -> list[Target]:
    """Every file of the library, by kind as likely as it matters; a catalogue's places are those of its tables."""
    found = []
    for path in sorted(library.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(library))
        if name == layout.CATALOGUE:
            found.append(Target(name, 45, _tables(path)))
        elif name == layout.WAL:
            found.append(Target(name, 25, {}))
        elif name.startswith(layout.VECTORS):
            found.append(Target(name, 10, {"header": [(0, 64)]}))
        elif name.startswith(layout.SKETCHES):
            found.append(Target(name, 8, {"header": [(0, 80)]}))
        elif not name.endswith("-shm"):
            found.append(Target(name, 1, {}))
    return found


def _tables(path: Path) -> dict[str, list[tuple[int, int]]]:
    """For each table and index of a catalogue, where its pages are filled."""
    places: dict[str, list[tuple[int, int]]] = {"header": [(0, 108)]}
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        for name, offset, size, unused in connection.execute("SELECT name, pgoffset, pgsize, unused FROM dbstat"):
            # Cells are at the end of a page, their pointers at its start.
            places.setdefault(name, []).extend([(offset, offset + 32), (offset + 16 + unused, offset + size)])
    return places


def choose(chance: random.Random, library: Path, known: list[Target], donors: list[Path]) -> Harm:
    """Harm one file of this copy of a library."""
    target = chance.choices(known, [one.weight for one in known])[0]
    kind = chance.choices(KINDS, _WEIGHTS)[0]
    path = library / target.file
    size = path.stat().st_size
    if not size and kind not in ("delete", "replace", "extend"):
        kind = "extend"
    return Harm(target.file, kind, apply(chance, kind, path, target, library, donors))


def apply(chance: random.Random, kind: str, path: Path, target: Target, library: Path, donors: list[Path]) -> str:
    """Do it; what it was in words."""
    size = path.stat().st_size
    if kind == "delete":
        path.unlink()
        return ""
    if kind == "replace":
        return _replace(chance, path, path.relative_to(library), donors)
    if kind == "truncate":
        length = chance.choice([0, chance.randrange(size), size - 1, max(0, size - _PAGE), size // 2])
        with path.open("rb+") as file:
            file.truncate(length)
        return f"to {length} of {size}"
    if kind == "extend":
        with path.open("ab") as file:
            file.write(chance.randbytes(chance.choice([1, 100, _PAGE, 5 * _PAGE])))
        return ""
    data = bytearray(path.read_bytes())
    detail = _spoil(chance, kind, data, target)
    with path.open("rb+") as file:
        file.write(data)
    return detail


def _spoil(chance: random.Random, kind: str, data: bytearray, target: Target) -> str:
    where, first = _place(chance, len(data), target)
    if kind == "flip":
        offsets = [min(first + chance.randrange(1 + 8 * n), len(data) - 1) for n in range(chance.choice([1, 1, 1, 4]))]
        for offset in offsets:
            data[offset] ^= 1 << chance.randrange(8)
        return f"at {offsets} {where}"
    length = min(chance.choice([1, 2, 4, 16, 64, 512, 4096, _PAGE]), len(data) - first)
    if chance.random() < 0.2:
        first, length = first - first % _PAGE, min(_PAGE, len(data) - (first - first % _PAGE))
    if kind == "swap":
        _, second = _place(chance, len(data), target)
        if length == _PAGE:
            second -= second % _PAGE
        length = min(length, len(data) - second)
        one, other = bytes(data[first : first + length]), bytes(data[second : second + length])
        data[first : first + length], data[second : second + length] = other, one
        return f"{length} bytes at {first} and {second} {where}"
    data[first : first + length] = bytes(length) if kind == "zero" else chance.randbytes(length)
    return f"{length} bytes at {first} {where}"


def _place(chance: random.Random, size: int, target: Target) -> tuple[str, int]:
    if not target.places or chance.random() < 0.25:
        return "", chance.randrange(size)
    names = sorted(target.places)
    where = chance.choices(names, [_OFTEN if name in _TRUTH else 1 for name in names])[0]
    first, end = chance.choice(target.places[where])
    return f"({where})", min(chance.randrange(first, max(end, first + 1)), size - 1)


def _replace(chance: random.Random, path: Path, name: Path, donors: list[Path]) -> str:
    """By the file of that name of another library, or one of its kind, or any other of its own."""
    donor = chance.choice(donors)
    same = donor / name
    others = [found for found in _alike(donor, name) if found != same]
    found = same if same.is_file() and chance.random() < 0.8 else chance.choice([*others, same])
    if not found.is_file():
        found = donor / layout.CATALOGUE
    shutil.copyfile(found, path)
    return f"by {donor.name}/{found.relative_to(donor)}"


def _alike(donor: Path, name: Path) -> Iterator[Path]:
    folder = donor / name.parent
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_file())
