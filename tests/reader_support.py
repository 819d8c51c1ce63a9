"""What the tests of readers share."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from stackroom.errors import ReadError
from stackroom.ingest.readers import reader_for
from stackroom.ingest.splitter import TokenSplitter
from stackroom.protocols import Reading, Section
from stackroom.types import Chunk

FILES = Path(__file__).parent / "unit/ingest/files"


def read(path: Path) -> tuple[Reading, list[Section]]:
    reading = reader_for(path).read(path)
    return reading, list(reading.sections)


def text_of(path: Path) -> str:
    return "".join(section.text for section in read(path)[1])


def chunks_of(path: Path, limit: int = 60) -> list[Chunk]:
    """The file's chunks; their texts are the text at their places."""
    sections = read(path)[1]
    text = "".join(section.text for section in sections)
    chunks = list(TokenSplitter(None, limit, 0).split(sections))
    assert all(chunk.text == text[chunk.place.start : chunk.place.end] for chunk in chunks)
    return chunks


def chunk_with(path: Path, words: str, limit: int = 60) -> Chunk:
    return next(chunk for chunk in chunks_of(path, limit) if words in chunk.text)


def given(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fails(path: Path, kind: type[ReadError] = ReadError, words: str = "") -> ReadError:
    """Reading ends with this very class, and it says which file, why, and what to do."""
    with pytest.raises(ReadError) as caught:
        read(path)
    assert type(caught.value) is kind, caught.value
    assert caught.value.path == str(path)
    assert str(path) in caught.value.message
    assert words in str(caught.value)
    assert caught.value.hint
    return caught.value


def zipped(files: dict[str, str | bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else None)
    return held.getvalue()


def unzipped(path: Path) -> dict[str, str | bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def survives(whole: bytes, path: Path) -> None:
    """Cut and scrambled twins of a file give text, or an error that says which file and what to do."""
    size = len(whole)
    damaged = [
        whole[: size // 10], whole[: size // 2], whole[: size * 9 // 10], whole[:-10], whole[: size // 3] + bytes(size // 3) + whole[size * 2 // 3 :],
        whole[: size // 2] + b"\xff\xfe\x00<&{[(\"" * 20 + whole[size // 2 :], whole[size // 2 :],
    ]  # fmt: skip
    for content in damaged:
        path.write_bytes(content)
        try:
            sections = read(path)[1]
        except ReadError as error:
            assert str(path) in error.message
            assert error.hint
        else:
            assert all(isinstance(section.text, str) for section in sections)
