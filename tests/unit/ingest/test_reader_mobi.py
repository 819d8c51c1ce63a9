"""MOBI and AZW3: a page of a handbook as calibre makes books of it, of both kinds."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of
from stackroom.errors import EncryptedError, MissingExtraError, ReadError
from stackroom.index import Index
from stackroom.ingest.readers import reader_for

NEWER, OLDER = FILES / "mobi/backup.azw3", FILES / "mobi/backup.mobi"
BOTH = pytest.mark.parametrize("path", [NEWER, OLDER], ids=["newer", "older"])


@BOTH
def test_chapters_are_the_place(path: Path) -> None:
    reading, sections = read(path)
    assert (reading.type, reading.title) == ("mobi", "Backup")
    assert reading.metadata["author"] == "Raphaël Hertzog, Roland Mas"
    assert reading.metadata["language"] == "en"
    found = chunk_with(path, "Desktop computers, which are not bac")
    assert found.place.section[-1] == "9.10.2. Restoring Machines without Backups"
    assert [section.headings[-1] for section in sections if section.headings][:3] == [
        "9.10. Backup",
        "9.10.1. Backing Up with rsync",
        "9.10.2. Restoring Machines without Backups",
    ]


def test_the_text_is_that_of_the_page(samples: Path) -> None:
    """Word for word, from the chapter's title on; what stands around it is the converter's."""

    def words(path: Path) -> list[str]:
        text = text_of(path)
        start = text.index("Making backups is one")
        return text[start : text.index("cannot be backed up by simply copying", start)].split()

    page = words(samples / "handbook/backup.html")
    assert len(page) > 1000
    assert words(NEWER) == words(OLDER) == page


@BOTH
def test_known_by_its_content(path: Path, tmp_path: Path) -> None:
    assert reader_for(given(tmp_path, "a.bin", path.read_bytes())).name == "mobi"


def test_in_a_library(index: Index, folder: Path) -> None:
    given(folder, "tail.azw3", NEWER.read_bytes())
    assert index.add(folder).added == 1
    hit = index.search("reinstall from custom DVD-ROMs prepared with simple-cdd", k=1)[0]
    assert (hit.document.title, hit.document.type) == ("Backup", "mobi")
    assert hit.place.section[-1] == "9.10.2. Restoring Machines without Backups"


@BOTH
def test_broken_books(path: Path, tmp_path: Path) -> None:
    survives(path.read_bytes(), tmp_path / path.name)
    fails(given(tmp_path, "short.mobi", path.read_bytes()[:70]), ReadError, "cut short")


@BOTH
def test_nothing_is_left_behind(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    os.mkdir(tmp_path / "tmp")
    read(path)
    with pytest.raises(ReadError):
        read(given(tmp_path, "a.mobi", path.read_bytes()[:2000]))
    assert os.listdir(tmp_path / "tmp") == []


@BOTH
def test_with_drm(path: Path, tmp_path: Path) -> None:
    whole = bytearray(path.read_bytes())
    first = struct.unpack_from(">L", whole, 78)[0]
    struct.pack_into(">H", whole, first + 12, 2)
    fails(given(tmp_path, "a.azw", bytes(whole)), EncryptedError, "DRM")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mobi.kindleunpack", None)
    with pytest.raises(MissingExtraError, match=r"stackroom\[mobi\]"):
        reader_for(NEWER).read(NEWER)
