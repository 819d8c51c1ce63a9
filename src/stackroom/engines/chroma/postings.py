"""Which passages have a number in an array: words, metadata, collections.

What is written at once has its postings in records of their own: `(number, row's id, how often)`, by number and id, packed. Each field's are divided into as many
buckets, by the last bits of their numbers, as make them about `_USUAL` long. So for a number one record is read of each write. A record says by
one number, its slot, which bucket of how many it is, and of which field.

    slot = field << 32 | bits << 24 | last `bits` bits of the number
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.engines.records import readable
from stackroom.engines.versioned.database import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIELDS = ("listed", "facts", "terms")

_USUAL = 500
_MOST_BITS = 12

POSTING = np.dtype([("number", "<i8"), ("id", "<i8"), ("count", "<i8")])

Record = tuple[str, dict[str, Any]]
"""An id and metadata."""


def records(rows: Sequence[Row]) -> list[Record]:
    """The postings of rows that are written at once. Written again they are the same."""
    ids = [row["id"] for row in rows]
    made = []
    for field in FIELDS:
        found = _postings(field, rows)
        bits = min((len(found) // _USUAL).bit_length(), _MOST_BITS)
        last = found["number"] & ((1 << bits) - 1)
        for bucket in np.unique(last).tolist():
            slot = _slot(field, bits, bucket)
            part = {"slot": slot, "first": min(ids), "last": max(ids), "postings": _pack(found[last == bucket])}
            made.append((f"{min(ids)}-{max(ids)}-{slot}", part))
    return made


def _postings(field: str, rows: Sequence[Row]) -> NDArray[Any]:
    found = np.array(
        [
            (number, row["id"], count)
            for row in rows
            for number, count in zip(
                row[field], row["counts"] if field == "terms" else [1] * len(row[field]), strict=True
            )
        ],
        dtype=POSTING,
    )
    return np.sort(found, order=("number", "id"))


def slots(field: str, numbers: Iterable[int]) -> list[int]:
    """Where the postings of these numbers may be."""
    return sorted({_slot(field, bits, n & ((1 << bits) - 1)) for n in numbers for bits in range(_MOST_BITS + 1)})


def _slot(field: str, bits: int, bucket: int) -> int:
    return FIELDS.index(field) << 32 | bits << 24 | bucket


def of(numbers: Iterable[int], packed: Iterable[str]) -> NDArray[Any]:
    """The postings of these numbers in such records, without those that stand there twice."""
    wanted = np.array(sorted(set(numbers)), dtype=np.int64)
    found = [_unpack(text) for text in packed]
    there = [part[np.isin(part["number"], wanted)] for part in found]
    return np.unique(np.concatenate([np.empty(0, dtype=POSTING), *there]))


def without(packed: str, ids: NDArray[np.int64]) -> str:
    """The same without those of these rows; "" where nothing is left."""
    found = _unpack(packed)
    left = found[~np.isin(found["id"], ids)]
    return _pack(left) if len(left) else ""


def _pack(found: NDArray[Any]) -> str:
    # By columns: numbers and ids repeat, or grow by little.
    columns = [np.diff(found[name], prepend=0).tobytes() for name in ("number", "id")]
    return base64.b64encode(zlib.compress(b"".join([*columns, found["count"].tobytes()]), 1)).decode()


@readable(lambda _: "the postings of some words")
def _unpack(text: str) -> NDArray[Any]:
    columns = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i8").reshape(3, -1)
    found = np.empty(columns.shape[1], dtype=POSTING)
    for name, column in zip(("number", "id"), columns[:2], strict=True):
        found[name] = np.cumsum(column)
    found["count"] = columns[2]
    return found
