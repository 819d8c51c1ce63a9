"""Files that come from the browser: each lands in one folder, under its own name, whole or not at all."""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from stackroom.errors import DiskFullError, StorageError, UsageError
from stackroom.storage.disk import fsio

LARGEST = 1024**3
"""Bytes of one file."""
MOST = 20_000
"""Files in one start of the page."""
AT_ONCE = 4
_DEEPEST = 16
_LONGEST = 180
_SPARE = 256 * 1024**2
"""Bytes that uploads leave free on the disk."""

_HARMFUL = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)


class TooMuchError(UsageError):
    """An upload that is larger, or one more, than is taken."""


class Uploads:
    """`folder` is made when the first file comes."""

    def __init__(self, folder: Path, *, largest: int = LARGEST, most: int = MOST) -> None:
        self.folder = folder
        self._largest = largest
        self._most = most
        self._taken = 0
        self._in_hand = 0

    async def take(self, name: str, length: int | None, body: AsyncIterator[bytes]) -> Path:
        """Write one file below the folder; returns where. A file of that name with another content stays, and the new one gets a number.

        `length` is what the request says of itself. Raises UsageError, TooMuchError, StorageError.
        """
        from starlette.concurrency import run_in_threadpool

        parts = safe_parts(name)
        if length is not None and length > self._largest:
            raise self._too_large(name)
        if self._taken >= self._most:
            raise TooMuchError(
                f"{self._most:,} files were taken.", hint="Put the others into a folder, and add the folder."
            )
        if self._in_hand >= AT_ONCE:
            raise TooMuchError(f"{AT_ONCE} files are being taken already.", hint="Send one after the other.")
        self._in_hand += 1
        try:
            with fsio.translated(self.folder):
                target = self._place(parts)
                with self._unfinished(target.parent) as (file, path):
                    await self._copy(name, file, body)
                    file.close()
                    kept = await run_in_threadpool(_settle, path, target)
        finally:
            self._in_hand -= 1
        self._taken += 1
        return kept

    def _place(self, parts: list[str]) -> Path:
        """Where the file goes, its folders made. Raises UsageError where a link leads out."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = self.folder.resolve()
        target = root.joinpath(*parts)
        inside = root
        for part in parts[:-1]:
            inside = inside / part
            inside.mkdir(mode=0o700, exist_ok=True)
            if inside.is_symlink() or not inside.resolve().is_relative_to(root):
                raise UsageError(f"{inside} is a link, and nothing is written through one.", path=inside)
        return target

    @contextlib.contextmanager
    def _unfinished(self, folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
        """A file without a name that any reader knows; gone in the end, unless it was renamed."""
        path = folder / f".{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        file = os.fdopen(os.open(path, flags, 0o600), "wb")
        try:
            yield file, path
        finally:
            file.close()
            path.unlink(missing_ok=True)

    async def _copy(self, name: str, file: BinaryIO, body: AsyncIterator[bytes]) -> None:
        from starlette.concurrency import run_in_threadpool

        size = 0
        async for block in body:
            size += len(block)
            if size > self._largest:
                raise self._too_large(name)
            if block:
                await run_in_threadpool(self._write, file, block)

    def _write(self, file: BinaryIO, block: bytes) -> None:
        if shutil.disk_usage(self.folder).free < _SPARE + len(block):
            raise DiskFullError(
                f"The disk of {self.folder} is nearly full.",
                hint="Free some space, or choose another folder: --documents.",
                path=self.folder,
            )
        file.write(block)

    def _too_large(self, name: str) -> TooMuchError:
        return TooMuchError(
            f"{name[:80]!r} is larger than {self._largest // 1024**2:,} MB.",
            hint="Add it by its path, which copies nothing.",
        )


def safe_parts(name: str) -> list[str]:
    """The folders and the file's name that a browser says, each harmless by itself. Raises UsageError where nothing is left."""
    found = []
    for part in re.split(r"[/\\]", name):
        part = _HARMFUL.sub("_", unicodedata.normalize("NFC", part)).strip().lstrip(".").rstrip(". ")
        if not part:
            continue
        if _DEVICES.match(part):
            part = f"_{part}"
        found.append(_shortened(part))
    if not found or re.split(r"[/\\]", name)[-1].strip(". ") == "":
        raise UsageError(f"{name[:80]!r} is no name for a file.")
    if len(found) > _DEEPEST:
        raise UsageError(f"{name[:80]!r} is more than {_DEEPEST} folders deep.")
    return found


def _shortened(part: str) -> str:
    """At most 180 bytes, the suffix kept."""
    if len(part.encode()) <= _LONGEST:
        return part
    stem, dot, suffix = part.rpartition(".")
    tail = f".{suffix}" if dot and len(suffix.encode()) <= 16 else ""
    return (stem if tail else part).encode()[: _LONGEST - len(tail.encode())].decode("utf-8", "ignore") + tail


def _settle(path: Path, target: Path) -> Path:
    """Give the file its name, or the next free one; where the same file is there already, that one serves."""
    for number in range(1, 10_000):
        name = target if number == 1 else target.with_name(f"{target.stem} ({number}){target.suffix}")
        try:
            os.link(path, name, follow_symlinks=False)
        except FileExistsError:
            if name.is_file() and not name.is_symlink() and filecmp.cmp(path, name, shallow=False):
                return name
            continue
        return name
    raise StorageError(f"There are too many files like {target}.", path=target)
