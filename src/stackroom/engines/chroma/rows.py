"""Rows as records of Chroma's: a row's numbers are the record's id, in base64; its texts, arrays and vector are metadata.

A record's id, as a row of a table of passages has it, is twelve numbers of 64 bits. So a list of ids, which Chroma reads quickly, is an array of numbers, and the
same row has the same id whenever it is written again. `died` alone changes: it is metadata, and not there while nobody removed the row.

The vector that Chroma indexes is a copy, which need not be the same bit for bit: the row's own is metadata as well.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.engines.records import AGAIN, readable
from stackroom.engines.versioned.database import Row
from stackroom.engines.versioned.tables import ARRAYS, FOREVER, NUMBERS, kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKED_UP = {
    "records": ("id", "key", "name", "owner", "mark"),
    "chunks": ("id", "key", "name", "document_key", "source_key"),
    "space": ("id", "key"),
}
"""The numbers that are metadata as well, by which Chroma finds rows."""

METADATA = ("data", "embedding", "died", *ARRAYS)
"""Fields that are read from metadata."""

_INTEGERS, _FLOATS = np.dtype("<i8"), np.dtype("<f4")


def fields_of(table: str) -> tuple[str, ...]:
    """The numbers of an id."""
    return ("id", *(name for name in NUMBERS[kind_of(table)] if name != "died"))


class Columns:
    """Rows that Chroma named: their ids, and the numbers in them."""

    def __init__(self, table: str, ids: Sequence[str]) -> None:
        self.table = table
        self._fields = fields_of(table)
        self.ids = list(ids)
        self.numbers = _numbers(self.ids, len(self._fields))

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, field: str) -> NDArray[np.int64]:
        return self.numbers[:, self._fields.index(field)]

    def those(self, which: NDArray[np.bool_]) -> Columns:
        return Columns(self.table, [self.ids[at] for at in np.flatnonzero(which)])

    def first(self, limit: int | None) -> Columns:
        return self if limit is None else Columns(self.table, self.ids[:limit])

    def rows(self, fields: Sequence[str]) -> list[Row]:
        """With those of these fields that are numbers of the id."""
        wanted = [at for at, name in enumerate(self._fields) if name in fields]
        names = [self._fields[at] for at in wanted]
        return [dict(zip(names, numbers, strict=True)) for numbers in self.numbers[:, wanted].tolist()]


@readable(lambda *_: "the ids of a collection of Chroma's")
def _numbers(ids: Sequence[str], width: int) -> NDArray[np.int64]:
    return np.frombuffer(base64.b64decode("".join(ids)), dtype=_INTEGERS).reshape(len(ids), width)


def record_id(table: str, row: Row) -> str:
    return _text(np.array([row[name] for name in fields_of(table)], dtype=_INTEGERS))


def metadata(table: str, row: Row) -> dict[str, Any]:
    """All of a record's: Chroma lays what is written again over what is there."""
    made: dict[str, Any] = {name: row[name] for name in LOOKED_UP[kind_of(table)]}
    if "data" in row:
        made["data"] = row["data"]
    if row.get("embedding") is not None:
        made["embedding"] = _text(row["embedding"].astype(_FLOATS))
    if kind_of(table) == "chunks":
        made["arrays"] = _pack([row[name] for name in ARRAYS])
    return made


@readable(lambda *_: "a record of Chroma's", AGAIN)
def from_metadata(said: dict[str, Any], fields: Sequence[str]) -> Row:
    """Those of these fields that are metadata."""
    row: Row = {}
    if "data" in fields:
        # Where there is none, who reads what it holds says whose it is.
        row["data"] = said.get("data", "")
    if "died" in fields:
        row["died"] = said.get("died", FOREVER)
    if "embedding" in fields:
        packed = said.get("embedding")
        row["embedding"] = (
            None if packed is None else np.frombuffer(base64.b64decode(packed, validate=True), dtype=_FLOATS)
        )
    if any(name in fields for name in ARRAYS):
        row.update((name, array) for name, array in zip(ARRAYS, _unpack(said["arrays"]), strict=True) if name in fields)
    return row


def deaths(said: Sequence[dict[str, Any]]) -> NDArray[np.int64]:
    """When each of them died, as their metadata have it; never where they say what is no time, so that who replaces the row finds it."""
    died = (one.get("died", FOREVER) for one in said)
    return np.array([when if isinstance(when, int) else FOREVER for when in died], dtype=np.int64)


def indexed(id_: int, vector: NDArray[np.float32] | None, dim: int, *, is_cosine: bool) -> str:
    """The vector of a record that Chroma indexes: of length 1 where the angle counts; of one that has none, one that says nothing."""
    if vector is None:
        # Not all the same: an index of equal vectors is slow, and does not reach all.
        return _text(np.float32(1e-6) * np.random.default_rng(id_).standard_normal(dim, dtype=np.float32))
    return _text(of_length_one(vector) if is_cosine else vector.astype(_FLOATS))


def of_length_one(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    exact = vector.astype(np.float64)
    length = float(np.linalg.norm(exact))
    return (exact / length if length else exact).astype(_FLOATS)


def _pack(arrays: Sequence[Sequence[int]]) -> str:
    """Their lengths, and what is in them."""
    numbers = np.array([*map(len, arrays), *chain.from_iterable(arrays)], dtype=_INTEGERS)
    return base64.b64encode(zlib.compress(numbers.tobytes(), 1)).decode()


def _unpack(text: str) -> list[list[int]]:
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=_INTEGERS)
    lengths, there = numbers[: len(ARRAYS)], numbers[len(ARRAYS) :]
    return [part.tolist() for part in np.split(there, np.cumsum(lengths)[:-1])]


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
