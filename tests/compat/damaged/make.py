"""Writes the frozen libraries beside this file: one that is sound, and twins of it that are damaged. `python make.py`, once a format.

They are written by the release that they are of, and never again: what a later one makes of them is what the test is about.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import stackroom
from stackroom.storage.disk import layout
from stackroom.types import Chunk, Document
from support import WordEmbedder

HERE = Path(__file__).parent
FORMAT = 1
DIM = 8


def sound(library: Path) -> None:
    with stackroom.open(library, embedder=WordEmbedder(dim=DIM)) as index:
        index.add_documents(
            Document(f"document{n}", f"source {n}", metadata={"number": n}, chunks=[Chunk(text) for text in texts(n)])
            for n in range(4)
        )
        index.remove(["source 3"])
        index.set_active(["source 1"], False)


def texts(n: int) -> list[str]:
    return [f"passage {part} of document {n} about lanterns" for part in range(3)]


def spoil(path: Path, offset: int, data: bytes) -> None:
    with path.open("rb+") as file:
        file.seek(offset)
        file.write(data)


def rows(library: Path) -> Path:
    return layout.vectors(library) / "1.0001"


def page_of(library: Path, table: str) -> int:
    """Where the first page of a table is."""
    import apsw

    connection = apsw.Connection(str(layout.catalogue(library)))
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    connection.close()
    return int(page - 1) * layout.PAGE_SIZE


TWINS: dict[str, Callable[[Path], object]] = {
    "sound": lambda library: None,
    "vector-flipped": lambda library: spoil(rows(library), layout.VECTOR_HEADER + DIM * 4 + 2, b"\xff"),
    "vectors-missing": lambda library: rows(library).unlink(),
    "vectors-short": lambda library: rows(library).write_bytes(rows(library).read_bytes()[: layout.VECTOR_HEADER + 90]),
    "header-zeroed": lambda library: spoil(layout.catalogue(library), 0, bytes(100)),
    "first-page-zeroed": lambda library: spoil(layout.catalogue(library), 0, bytes(layout.PAGE_SIZE)),
    "chunks-zeroed": lambda library: spoil(
        layout.catalogue(library), page_of(library, "chunks"), bytes(layout.PAGE_SIZE)
    ),
    "documents-zeroed": lambda library: spoil(
        layout.catalogue(library), page_of(library, "documents"), bytes(layout.PAGE_SIZE)
    ),
    "words-zeroed": lambda library: spoil(
        layout.catalogue(library), page_of(library, "words_data"), bytes(layout.PAGE_SIZE)
    ),
    "catalogue-empty": lambda library: layout.catalogue(library).write_bytes(b""),
}


def main() -> None:
    work = Path(tempfile.mkdtemp())
    sound(work / "sound")
    for name, harm in TWINS.items():
        library = work / "library"
        shutil.copytree(work / "sound", library)
        harm(library)
        with tarfile.open(HERE / f"format{FORMAT}-{name}.tar.xz", "w:xz") as archive:
            for path in sorted(library.rglob("*")):
                if path.is_file() and path.stat().st_size:
                    described = tarfile.TarInfo(str(path.relative_to(library)))
                    described.size = path.stat().st_size
                    archive.addfile(described, io.BytesIO(path.read_bytes()))
                elif path.is_file() and path.name == layout.CATALOGUE:
                    archive.addfile(tarfile.TarInfo(path.name))
        shutil.rmtree(library)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
