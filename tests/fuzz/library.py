"""One input of the fuzzer as damage to a small library: bytes of its files, or values of its catalogue. It answers, or says that it is damaged."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import apsw
import numpy as np

import stackroom
from stackroom import Chunk, Document
from stackroom.errors import StackroomError
from stackroom.storage.disk import layout
from stackroom.storage.vectors import nearest, sketches
from stackroom.storage.words import word_files
from support import WordEmbedder

DIM = 16
_work = Path(tempfile.mkdtemp(prefix="fuzz-"))


def attempt(data: bytes) -> None:
    if len(data) < 2:
        return
    whole, files, columns = template()
    library = _work / "library"
    shutil.rmtree(library, ignore_errors=True)
    shutil.copytree(whole, library)
    if data[0] % 2:
        spoil_values(library, data[1:], columns)
    else:
        path = library / files[data[1] % len(files)]
        path.write_bytes(spoiled(path.read_bytes(), data[2:]))
    use(library)


def use(library: Path) -> None:
    embedder = WordEmbedder(dim=DIM)
    try:
        with stackroom.open(library, mode="r", embedder=embedder) as index:
            for call in (
                lambda: index.search("alpha 東京", mode="text", where="n >= 3"),
                lambda: index.search("alpha", mode="vector"),
                lambda: index.search("beta gamma", per_document=1, context=1, active=True),
                lambda: [index.get(source.id) for source in index.sources()[:3]],
                index.stats,
                index.collections,
                lambda: index.vectors(["c1", "c2"]),
                index.verify,
            ):
                with suppress(StackroomError):
                    call()
    except StackroomError:
        pass


def spoiled(content: bytes, patches: bytes) -> bytes:
    """Each patch: where (2 bytes, of 65,536 parts of the file), how many bytes, and these. A length of 0 cuts the file there."""
    found = bytearray(content)
    while len(patches) >= 4:
        at = int.from_bytes(patches[:2], "big") * len(content) >> 16
        size = patches[2] % 64
        if size == 0:
            del found[at:]
        found[at : at + size] = patches[3 : 3 + size]
        patches = patches[3 + size :]
    return bytes(found)


def spoil_values(library: Path, data: bytes, columns: list[tuple[str, str]]) -> None:
    """Each change: which column, which row, a kind of value, its length, and it."""
    with closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        while len(data) >= 4:
            table, column = columns[data[0] % len(columns)]
            value = _value(data[2], data[4 : 4 + data[3]])
            rows = connection.execute(f"SELECT count(*) FROM {table}").get
            try:
                where = f"(SELECT {column} FROM {table} LIMIT 1 OFFSET {data[1] % max(rows, 1)})"
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = {where}", (value,))
            except (apsw.Error, OverflowError):
                pass  # a type that the column does not take
            data = data[4 + data[3] :]


def _value(kind: int, data: bytes) -> Any:
    match kind % 5:
        case 0:
            return int.from_bytes(data[:8], "big", signed=True)
        case 1:
            return data.decode("utf-8", "replace")
        case 2:
            return data
        case 3:
            return float(int.from_bytes(data[:4], "big", signed=True)) / 7
        case _:
            return None


@cache
def template() -> tuple[Path, list[Path], list[tuple[str, str]]]:
    """A small library with every kind of file, the files, and the columns of its catalogue."""
    sketches.WORTH_BYTES = 200 * DIM * 4
    sketches.LOADING_BYTES = 0
    nearest.CANDIDATES, nearest.SCANNED_BYTES = 100, -(1 << 40)
    word_files.LEAST = word_files.WORTH = 100
    whole = _work / "whole"
    rng = np.random.default_rng(7)
    words = ["alpha", "beta", "gamma", "delta", "東京都", "epsilon", "zeta"]
    with stackroom.open(whole, embedder=WordEmbedder(dim=DIM)) as index:
        for at in range(4):
            rows = rng.standard_normal((60, DIM)).astype(np.float32)
            index.add_documents(
                [
                    Document(
                        document_id=f"d{at}",
                        source=f"/s/{at}.txt",
                        title=f"T{at}",
                        metadata={"n": at, "tags": ["a", at]},
                        chunks=[
                            Chunk(
                                " ".join(rng.choice(words, 8)),
                                f"c{at * 60 + n}",
                                {"n": n, "odd": n % 2 == 1},
                                embedding=row,
                            )
                            for n, row in enumerate(rows)
                        ],
                    )
                ]
            )
        index.remove_documents(["d2"])
        index.set_active(["/s/1.txt"], False)
        index.backend.maintain()
    with closing(apsw.Connection(str(layout.catalogue(whole)))) as connection:
        connection.execute("PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)")
        tables = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
            )
            if not row[0].startswith("words")
        ]
        columns = [(table, row[1]) for table in tables for row in connection.execute(f"PRAGMA table_info({table})")]
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    return whole, files, columns


def seeds() -> Iterator[bytes]:
    _, files, columns = template()
    for at in range(len(files)):
        yield bytes([0, at, 0, 0, 4, 1, 2, 3, 4, 128, 0, 2, 255, 255])
        yield bytes([0, at, 200, 0, 0])
    for at in range(len(columns)):
        yield bytes([1, at, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7])
        yield bytes([1, at, 1, 1, 3]) + b"abc"
        yield bytes([1, at, 1, 2, 9]) + bytes(range(9))
