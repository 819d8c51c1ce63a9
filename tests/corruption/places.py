"""Where to harm a library by hand."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw

from stackroom.storage.disk import layout


def sql(library: Path, *statements: str) -> None:
    """Change the catalogue behind the library's back."""
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        for statement in statements:
            connection.execute(statement)


def loosely(library: Path, table: str, statement: str) -> None:
    """As a flipped bit does it: values of any kind, and none, in a table that takes only its own."""
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        (before,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    loose = before.replace(") STRICT, WITHOUT", ") WITHOUT").removesuffix(" STRICT").replace("NOT NULL", "")
    for schema, change in ((loose, statement), (before, "")):
        with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (schema, table))
        with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
            connection.execute(change)


def value(library: Path, statement: str) -> object:
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        row = connection.execute(statement).fetchone()
        return None if row is None else row[0]


def pages(library: Path) -> dict[str, list[int]]:
    """Where the pages of each table and index of the catalogue begin, in bytes; the first one is its root."""
    found: dict[str, list[int]] = {}
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        for name, offset in connection.execute("SELECT name, pgoffset FROM dbstat ORDER BY length(path), pgoffset"):
            found.setdefault(name, []).append(offset)
    return found


def swap_pages(library: Path, one: int, other: int) -> None:
    path = layout.catalogue(library)
    data = path.read_bytes()
    size = layout.PAGE_SIZE
    spoil(path, one, data[other : other + size])
    spoil(path, other, data[one : one + size])


def spoil(path: Path, offset: int, data: bytes) -> None:
    """Write over some bytes of a file."""
    with path.open("rb+") as file:
        file.seek(offset)
        file.write(data)


def row_file(library: Path, space: int) -> Path:
    """The vector file of a space."""
    (found,) = (p for p in layout.vectors(library).glob(f"{space}.*") if p.suffix != ".norms")
    return found


def norms_file(library: Path) -> Path:
    return layout.norms_of(row_file(library, 1))
