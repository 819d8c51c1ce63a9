"""MOBI and AZW3 (Kindle's books), unpacked by the library mobi: a book of the newer kind is an EPUB inside, one of the older kind a page.
An extra: mobi is under the GPL."""

from __future__ import annotations

import os
import re
import shutil
import struct
import tempfile
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import EncryptedError, NoTextError, ReadError
from stackroom.ingest.readers import epub, html
from stackroom.ingest.readers.common.limits import HEADING, HEADINGS, MEMBER_BYTES, Expansion, clean
from stackroom.protocols import Reading, Section

_KINDS = (b"BOOKMOBI", b"TEXtREAd")
_KIND_AT = 60
_FIRST_RECORD_AT = 78
_ENCRYPTION_AT = 12
_COUNT_AT = 76
_FONT_FLAGS_AT = 8
_ANCHOR = re.compile(r"""<a\s[^>]{0,200}?\bid="(filepos\d{1,12})\"""")


class MobiReader:
    name = "mobi"
    version = 3
    suffixes: tuple[str, ...] = (".mobi", ".azw", ".azw3", ".prc")

    def accepts(self, path: Path, head: bytes) -> bool:
        del path
        return head[_KIND_AT : _KIND_AT + 8] in _KINDS

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError (DRM), NoTextError, ReadError."""
        with warnings.catch_warnings():
            # It imports what Python 3.13 has no more, and what stands in for it there.
            warnings.simplefilter("ignore", DeprecationWarning)
            unpacking = require("mobi.kindleunpack", extra="mobi")
        require("loguru", extra="mobi").logger.disable("mobi")
        _refuse_encrypted(path)
        with tempfile.TemporaryDirectory(prefix="stackroom-") as folder:
            # It names what it writes after the file, whose name may be anything.
            book, out = Path(folder, "book.mobi"), Path(folder, "out")
            shutil.copyfile(path, book)
            _disarm(book, path)
            try:
                unpacking.unpackBook(str(book), str(out), epubver="A")
            except MemoryError:
                raise
            except Exception as error:  # its own, and what it trips over: struct.error, IndexError, zlib.error
                raise ReadError(f"{path} is a broken book: {error}.", hint="Get a fresh copy.", path=path) from error
            if (packed := out / "mobi8" / "book.epub").exists():
                found = _newer(packed, path)
            elif (page := out / "mobi7" / "book.html").exists():
                found = _older(page, path)
            else:
                raise NoTextError(
                    f"{path} holds pictures of pages (a print replica), and no text.",
                    hint="Add the PDF that it was made of.",
                    path=path,
                )
        expansion = Expansion(path, path.stat().st_size)
        expansion.took(sum(len(section.text) for section in found.sections))
        return found


def _refuse_encrypted(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(_FIRST_RECORD_AT + 4)
        if len(start) < _FIRST_RECORD_AT + 4:
            raise ReadError(f"{path} is a broken book: it is cut short.", hint="Get a fresh copy.", path=path)
        file.seek(struct.unpack_from(">L", start, _FIRST_RECORD_AT)[0] + _ENCRYPTION_AT)
        if file.read(2) in (b"\x00\x01", b"\x00\x02"):
            raise EncryptedError(f"{path} is encrypted (DRM).", hint="Add a copy without it.", path=path)


def _disarm(book: Path, path: Path) -> None:
    """Refuse records within each other, each of which would be written to the disk by itself; and leave fonts packed, which nobody reads."""
    with book.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(_COUNT_AT)
        (count,) = struct.unpack(">H", file.read(2))
        table = file.read(8 * count)
        starts = [start for start, _ in struct.iter_unpack(">LL", table)] if len(table) == 8 * count else [size + 1]
        if any(after < before for before, after in pairwise([_FIRST_RECORD_AT, *starts, size])):
            raise ReadError(
                f"{path} is a broken book: its records are not where it says.", hint="Get a fresh copy.", path=path
            )
        for start in starts:
            file.seek(start)
            if file.read(4) == b"FONT" and start + _FONT_FLAGS_AT + 4 <= size:
                file.seek(start + _FONT_FLAGS_AT)
                file.write(bytes(4))


def _newer(packed: Path, path: Path) -> Reading:
    """A book that is an EPUB inside. Its errors name the book itself."""
    try:
        found = epub.EpubReader().read(packed)
    except ReadError as error:
        raise type(error)(error.message.replace(str(packed), str(path)), hint=error.hint, path=path) from error
    found.type = "mobi"
    return found


def _older(page: Path, path: Path) -> Reading:
    """A book that is one page: its chapters begin where the table of contents says."""
    if page.stat().st_size > MEMBER_BYTES:
        raise ReadError(f"{path} unpacks to far more than it holds.", hint="Get a fresh copy.", path=path)
    title: str | None = None
    metadata: dict[str, Any] = {}
    titles: dict[str, tuple[str, ...]] = {}
    description, contents = page.with_name("content.opf"), page.with_name("toc.ncx")
    if description.exists():
        title, metadata = epub.facts(epub.parsed(description.read_bytes(), path))
    if contents.exists():
        titles = _titles(epub.parsed(contents.read_bytes(), path))
    text = html.decode(page.read_bytes())
    sections = list(_chapters(text, titles))
    if not any(section.text.strip() for section in sections):
        raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
    return Reading("mobi", sections, title, metadata)


def _titles(contents: Any) -> dict[str, tuple[str, ...]]:
    """The titles above each anchor, outermost first."""
    titles: dict[str, tuple[str, ...]] = {}
    above: list[tuple[Any, str]] = []
    for point in contents.iter():
        if epub.local(point) != "navPoint":
            continue
        while above and point.getparent() is not above[-1][0]:
            above.pop()
        above.append((point, " ".join(clean(epub.label_of(point)).split())[:HEADING]))
        anchor = next(iter(epub.attributes(point, "content", "src")), "").partition("#")[2]
        if len(above) <= HEADINGS:
            titles.setdefault(anchor, tuple(name for _, name in above if name))
    return titles


def _chapters(text: str, titles: dict[str, tuple[str, ...]]) -> Iterator[Section]:
    starts = [(0, ()), *((found.start(), titles[found[1]]) for found in _ANCHOR.finditer(text) if found[1] in titles)]
    for (start, above), (end, _) in zip(starts, [*starts[1:], (len(text), ())], strict=True):
        tree = html.parse(text[start:end])
        root = tree.body or tree.root
        if root is not None:
            yield from html.sections(root, above)
