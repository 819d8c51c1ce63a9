"""What a reader will take from one file before it calls it hostile, and the text that it may hand on."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from stackroom.errors import ReadError

MEMBER_BYTES = 256 * 1024 * 1024
ARCHIVE_BYTES = 1024 * 1024 * 1024
RATIO = 200
CELLS = 20_000_000
"""Filled cells of one table file; Excel's largest sheet has a thousand times as many."""
COLUMNS = 16_384
"""As many as a spreadsheet can have; a row of a CSV may have no more."""
NESTING = 200
"""How deep elements, objects, messages or braces may lie within each other."""
EXPANSION = 50
"""Characters of text for each byte of a file (unpacked, where it is packed)."""
HEADING = 1000
"""Characters of one heading, title or name; what is longer is cut."""
HEADINGS = 20
"""Headings above a passage; a passage keeps a copy of them."""
DESCRIPTION = 100_000
"""Characters of what a file says of itself, all together."""
PAGES = 100_000
"""Pages of one PDF that are read."""
PARTS = 65_535
"""Members of an archive: as many as one has without the extension for large ones."""
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How Microsoft's compound files begin: the Office of before 2007, and what it keeps behind a password since."""
_FORGIVEN = 1024 * 1024
_PROLOG = 4096

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_NEWLINES = re.compile("\r\n?|\x0b|\x0c|\u2028|\u2029|\x85")


def clean(text: str) -> str:
    """Text with one kind of line end and without characters that are no text."""
    return _CONTROL.sub("", _NEWLINES.sub("\n", text))


def names_in(path: Path, head: bytes) -> list[str]:
    """What a zip file says is in it; nothing where it is none, or broken."""
    if not head.startswith(b"PK\x03\x04"):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []
    return names if len(names) <= PARTS else []


class SafeArchive:
    """A zip file read within limits: what one member, and all together, may unpack to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spent = 0
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ReadError(f"{path} is no intact archive: {error}.", hint="Get a fresh copy.", path=path) from error
        self.names = self._zip.namelist()
        if len(self.names) > PARTS:
            self._zip.close()
            raise ReadError(
                f"{path} has {len(self.names)} parts, which no document has.", hint="Get a fresh copy.", path=path
            )

    def __enter__(self) -> SafeArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str, *, ratio: bool = True) -> bytes:
        """One member. Raises ReadError when it is missing, broken, encrypted or too large to be honest.

        `ratio` False forgives what packs well by its nature, as a blank picture does.
        """
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            raise ReadError(
                f"{self._path} lacks its part {name!r}.", hint="Get a fresh copy.", path=self._path
            ) from None
        self._allow(info, ratio=ratio)
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except Exception as error:  # zlib, lzma, RuntimeError for encrypted members: none has a common base
            raise self._unpackable(name, error) from error
        self._spent += len(data)
        return data

    def check_markup(self) -> int:
        """For a library that unpacks by itself: that all members are within limits, and that no XML defines entities.

        Returns what they unpack to. A member can't give more than it says: zipfile reads so much and no more.
        """
        for info in self._zip.infolist():
            markup = info.filename.lower().endswith((".xml", ".rels", ".vml"))
            self._allow(info, ratio=markup)
            self._spent += info.file_size
            if not markup:
                continue
            try:
                with self._zip.open(info) as member:
                    head = member.read(_PROLOG)
            except Exception as error:  # as in read
                raise self._unpackable(info.filename, error) from error
            if b"<!DOCTYPE" in head.replace(b"\x00", b""):
                raise ReadError(
                    f"{self._path}: its part {info.filename!r} defines entities, which no honest program does.",
                    hint="Get a fresh copy.",
                    path=self._path,
                )
        return self._spent

    def _unpackable(self, name: str, error: Exception) -> ReadError:
        return ReadError(
            f"{self._path}: its part {name!r} can't be unpacked ({error}).", hint="Get a fresh copy.", path=self._path
        )

    def _allow(self, info: zipfile.ZipInfo, *, ratio: bool) -> None:
        suspicious = ratio and info.file_size > _FORGIVEN and info.file_size > RATIO * max(info.compress_size, 1)
        if suspicious or info.file_size > MEMBER_BYTES or self._spent + info.file_size > ARCHIVE_BYTES:
            raise ReadError(
                f"{self._path} unpacks to far more than it holds ({info.filename!r}: {info.file_size} bytes).",
                hint="If you trust it, unpack it and add its files.",
                path=self._path,
            )


class Expansion:
    """Counts the text that a file gives: formats whose parts are named many times can make terabytes of a megabyte."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._left = _FORGIVEN + EXPANSION * size

    def took(self, characters: int) -> None:
        """Raises ReadError once there was more than is honest."""
        self._left -= characters
        if self._left < 0:
            raise ReadError(
                f"{self._path} gives far more text than it holds.",
                hint="If you trust it, save it as plain text, and add that.",
                path=self._path,
            )
