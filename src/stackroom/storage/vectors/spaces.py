"""Embedding spaces: a model's identity, a dimension and a metric, with a vector file of their own."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from stackroom.errors import DamagedError
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.types import EmbedderIdentity, Metric

SERVING = "serving"
BUILDING = "building"
FORMER = "former"
"""That of the model before, to which a library can go back."""
OWN = "own"


@dataclass(frozen=True, slots=True)
class Space:
    """A row of `spaces`. `unit`: every row is of unit length, so that no norms file is needed."""

    key: int
    state: str
    identity: EmbedderIdentity
    dim: int
    metric: Metric
    unit: bool
    file: str
    file_uuid: bytes
    rows: int

    def path(self, library: Path) -> Path:
        return layout.vectors(library) / self.file


_FILE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")

_COLUMNS = "space_key, state, identity, dim, metric, unit, file, file_uuid, rows"


def to_space(row: tuple[Any, ...]) -> Space:
    key, state, identity, dim, metric, unit, file, file_uuid, rows = row
    # A library from a stranger may name files of other folders.
    if not isinstance(file, str) or not _FILE.fullmatch(file):
        raise DamagedError(
            f"The catalogue names {file!r} as a vector file.",
            hint="Restore the library from a backup.",
            actual=file,
        )
    known = {field.name for field in fields(EmbedderIdentity)}
    try:
        described = {name: value for name, value in json.loads(identity).items() if name in known}
        space = Space(key, state, EmbedderIdentity(**described), dim, metric, bool(unit), file, file_uuid, rows)
        sound = _is_sound(space)
    except (TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise DamagedError(
            f"The record of the embedding space {key} is damaged.",
            hint="Bring back what can be: stackroom repair",
            actual=key,
        )
    return space


def _is_sound(space: Space) -> bool:
    """Whether the columns are of the kind that they should be, and agree with the identity."""
    named, identity = layout.is_name(space.file), space.identity
    agree = (identity.dim, identity.metric) == (space.dim, space.metric) and space.metric in get_args(Metric)
    return named and agree and len(space.file_uuid) == 16 and 0 < space.dim < 1 << 24 and 0 <= space.rows < 1 << 48


def with_state(connection: Connection, state: str) -> Space | None:
    row = connection.row(f"SELECT {_COLUMNS} FROM spaces WHERE state = ?", (state,))
    return None if row is None else to_space(row)


def of_key(connection: Connection, key: int) -> Space | None:
    row = connection.row(f"SELECT {_COLUMNS} FROM spaces WHERE space_key = ?", (key,))
    return None if row is None else to_space(row)


def serving(connection: Connection) -> Space | None:
    return with_state(connection, SERVING)


def every(connection: Connection) -> list[Space]:
    return [to_space(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM spaces ORDER BY space_key")]


def create(connection: Connection, library: Path, identity: EmbedderIdentity, state: str) -> Space:
    """A new, empty space with its file."""
    from stackroom.storage.vectors import vector_file

    key = connection.value("SELECT coalesce(max(space_key), 0) + 1 FROM spaces")
    file = new_file_name(connection, library, key)
    file_uuid = vector_file.create(layout.vectors(library) / file, identity.dim)
    space = Space(key, state, identity, identity.dim, identity.metric, True, file, file_uuid, 0)
    insert(connection, space)
    return space


def insert(connection: Connection, space: Space) -> None:
    """Name a space whose file is there."""
    fields_ = (space.key, space.state, _dump(space.identity), space.dim, space.metric, int(space.unit))
    connection.execute(
        f"INSERT INTO spaces({_COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*fields_, space.file, space.file_uuid, space.rows),
    )


def new_file_name(connection: Connection, library: Path, space_key: int) -> str:
    """A name that no file of this space has, or had while the catalogue remembers: SPACE.NNNN."""
    taken = {row[0] for row in connection.execute("SELECT file FROM spaces")}
    number = 1
    while f"{space_key}.{number:04d}" in taken or (layout.vectors(library) / f"{space_key}.{number:04d}").exists():
        number += 1
    return f"{space_key}.{number:04d}"


def set_rows(connection: Connection, space: Space, *, rows: int, unit: bool) -> None:
    connection.execute("UPDATE spaces SET rows = ?, unit = ? WHERE space_key = ?", (rows, int(unit), space.key))


def set_file(connection: Connection, space: Space, *, file: str, file_uuid: bytes, rows: int, unit: bool) -> None:
    """Its rows are in another file from now on; sketches of the old one are none of the new one."""
    connection.execute("DELETE FROM sketches WHERE space_key = ?", (space.key,))
    connection.execute(
        "UPDATE spaces SET file = ?, file_uuid = ?, rows = ?, unit = ? WHERE space_key = ?",
        (file, file_uuid, rows, int(unit), space.key),
    )


def set_identity(connection: Connection, space: Space, identity: EmbedderIdentity) -> None:
    connection.execute("UPDATE spaces SET identity = ? WHERE space_key = ?", (_dump(identity), space.key))


def switch(connection: Connection, new: Space) -> None:
    """Let `new` serve; the one that served is kept as the former one, in the place of another that was kept."""
    kept = with_state(connection, FORMER)
    if kept is not None and kept.key != new.key:
        drop(connection, kept)
    connection.execute("UPDATE spaces SET state = ? WHERE state = ?", (FORMER, SERVING))
    connection.execute("UPDATE spaces SET state = ? WHERE space_key = ?", (SERVING, new.key))


def drop(connection: Connection, space: Space) -> None:
    for table in ("extents", "dead_rows", "sketches", "spaces"):
        connection.execute(f"DELETE FROM {table} WHERE space_key = ?", (space.key,))


def _dump(identity: EmbedderIdentity) -> str:
    return json.dumps(asdict(identity), sort_keys=True)
