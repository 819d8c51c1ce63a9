"""What a migrated library notes of the old store that it was made from, and whether that is still as it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackroom.errors import StorageError
from stackroom.migration import switch
from stackroom.migration.stores.names import namespace_of
from stackroom.storage.disk import fsio, layout

if TYPE_CHECKING:
    from stackroom.migration.judging import Choices

NOTE = "migration.json"
"""The attachment in which a library says what it was made from."""

_QUICK_TO_READ = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file that was read, as it was then."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str

    def is_as_it_was(self, *, by_content: bool) -> bool:
        """By size and time; one that was only written anew is read where `by_content`, and where that is quick."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        if (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns):
            return True
        read = by_content or self.size <= _QUICK_TO_READ
        return read and status.st_size == self.size and _sha256(self.path) == self.sha256


@dataclass(frozen=True, slots=True)
class Origin:
    """The old store of a finished migration, and what was asked of it."""

    old: Path
    format: str
    choices: Mapping[str, Any]
    files: Sequence[OldFile]
    left_out: Sequence[str]
    """what did not come along, in words"""
    in_place: bool
    last_key: int
    """the highest key of a passage that was migrated: what is written later, whoever writes it, has higher ones"""

    @classmethod
    def of(
        cls,
        old: Path,
        format: str,
        choices: Choices,
        hashes: Mapping[str, str],
        left_out: Sequence[str],
        target: Path,
        last_key: int,
    ) -> Origin:
        """`hashes`: SHA-256 by path, of every file that was read. `target`: where the library will be."""
        files = []
        for name, found in hashes.items():
            status = os.stat(name)
            files.append(OldFile(Path(name), status.st_size, status.st_mtime_ns, found))
        in_place = target == switch.target_of(old, None)
        return cls(old, format, asdict(choices), files, left_out, in_place, last_key)

    def plain(self) -> dict[str, Any]:
        """As JSON has it. Names are relative to the old folder, which may be moved with the library in it."""
        folder = self.old if self.old.is_dir() else self.old.parent
        files = [
            (
                str(file.path.relative_to(folder) if file.path.is_relative_to(folder) else file.path),
                file.size,
                file.mtime_ns,
                file.sha256,
            )
            for file in self.files
        ]
        told = {"old": str(self.old), "is_file": folder != self.old, "in_place": self.in_place, "format": self.format}
        told |= {"choices": dict(self.choices), "files": files, "left_out": list(self.left_out)}
        return {**told, "last_key": self.last_key}

    @classmethod
    def from_plain(cls, told: Mapping[str, Any], library: Path) -> Origin:
        path = Path(told["old"])
        if told["in_place"]:
            path = (
                library.with_name(library.name.removesuffix(f".{switch.INSIDE}")) if told["is_file"] else library.parent
            )
        folder = path.parent if told["is_file"] else path
        files = [OldFile(folder / name, size, mtime_ns, found) for name, size, mtime_ns, found in told["files"]]
        # One that does not say (of before the first release) takes everything for new: then it is asked about.
        last_key = int(told.get("last_key", 0))
        return cls(path, told["format"], told["choices"], files, told["left_out"], told["in_place"], last_key)

    @property
    def missing(self) -> list[Path]:
        with fsio.translated(self.old):
            return [file.path for file in self.files if not file.path.exists()]

    def appeared(self) -> list[Path]:
        """Vector stores that lie in the old folder now, and did not when it was migrated. Raises StorageError where it can't be looked into."""
        known = {file.path.name for file in self.files}
        with fsio.translated(self.old):
            if not self.format.startswith("llamaindex") or not self.old.is_dir():
                return []
            found = list(self.old.iterdir())
        return sorted(path for path in found if namespace_of(path.name) is not None and path.name not in known)

    def changed(self, *, by_content: bool) -> list[Path]:
        """The files that are there and not as they were. Raises StorageError where one has to be read and can't be."""
        with fsio.translated(self.old):
            there = [file for file in self.files if file.path.exists()]
            return [file.path for file in there if not file.is_as_it_was(by_content=by_content)]


def origin_of(library: Path) -> Origin | None:
    """What a library was made from; None where it is no library, or was not made by a migration."""
    from stackroom.storage.store import LocalStore

    if not layout.is_library(library):
        return None
    backend = LocalStore(library, mode="r")
    with contextlib.closing(backend), backend.view() as view:
        found = dict(view.attachments(NOTE)).get(NOTE)
    told = json.loads(found or b"{}")
    # Notes of before the first release say less.
    return Origin.from_plain(told, library) if "left_out" in told else None


def written_since(library: Path) -> str | None:
    """What to say where the old files are not as they were when this library was made of them; None where they are, or are gone.

    A look at each file, no more, and never an error: the report beside the catalogue says how they were.
    """
    try:
        told = json.loads((library / switch.REPORT).read_text(encoding="utf-8"))
        origin = Origin.from_plain(told["origin"], library)
        changed = origin.appeared() + origin.changed(by_content=False)
    except (StorageError, OSError, ValueError, LookupError, TypeError):
        return None
    if not changed:
        return None
    more = f" and {len(changed) - 1} more were" if len(changed) > 1 else " was"
    return f"{changed[0]}{more} written after it was migrated, and the library has it as it was. {anew(origin.old)}"


def anew(old: Path) -> str:
    """How to take over what was written to the old store after it was migrated, without losing what was added to the library."""
    return (
        f"To have it as it is now, in a library of its own: stackroom migrate {shlex.quote(str(old))} --library NEW "
        "(library=...)"
    )


def _sha256(path: Path) -> str:
    with fsio.translated(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
