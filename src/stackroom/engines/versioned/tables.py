"""The collections of a library, and how its rows are written.

`records` holds all that is small, a row for each source, document, attachment and so on; `chunks_N` the passages with their vectors
and words; `space_N` the vectors that one of the library's collections has of its own. Rows are looked up by numbers alone: a name is known
by a hash of it, and compared where it is read. So no text of a user ever stands in an expression.

What the fields of `records` mean depends on the kind; `#` is a hash (`number`), and where nothing stands there is 0:

    kind        key               name           owner             mark             flag               data
    SOURCE      its own           # its name     # its id          # its content    ACTIVE and so on   its record
    DOCUMENT    its own           # its id       source's key      its chunks       HIDING and so on   id, title, metadata
    COLLECTION  its own           # its name                                                           name, identity of its own vectors
    ATTACHMENT                    # its name     # its folder                                          name, bytes in base64
    ORIGINAL    document's or                    0 a document's,                                       bytes in base64
                chunk's                          1 a chunk's
    VALUE                         # its field    # field, value                                        field, value
    PIECE       id of its row                                      its place from 1                    more of that row's data
    STATE       its version                                                                            State

`pieces` of a row says how many PIECEs follow on its data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pymilvus import DataType, MilvusClient

from stackroom.errors import UsageError
from stackroom.storage.catalogue.codec import dump_json

FORMAT = 1

Row = dict[str, Any]

RECORDS = "records"
SOURCE, DOCUMENT, COLLECTION, ATTACHMENT, ORIGINAL, VALUE, PIECE, STATE = range(1, 9)

DEFAULT_COLLECTION = 1

FOREVER = 2**62
"""The version that removes a row that nobody removed."""

ROWS_OF_A_COMMIT = 1 << 24
"""Ids of rows are the number of the attempt, and the place in it: no two attempts write the same one."""

ACTIVE, FAILED, BLANK = 1, 2, 4
"""Of a source's `flag`: in the active set; with an error; with pages without text."""
HIDING, RECOGNISED = 1, 2
"""Of a document's."""

MOST_IN_ARRAY = 4096
"""Milvus's bound."""
MOST_DIMENSIONS = 32_768
CELLS = 1024
"""`nlist` of an index of cells: as many as it has at most, in each segment."""

NO_ROW = "id < 0"
"""The condition that nothing meets."""

_PIECE = 15_000
"""Characters of a text in one row: Milvus takes 65,535 bytes."""
_NO_WORD = 2**32 - 2
"""The dimension of passages without words: Milvus takes no sparse vector without any."""

_RECORD_NUMBERS = ("born", "died", "kind", "key", "name", "owner", "mark", "flag", "pieces")
_CHUNK_NUMBERS = (
    "born", "died", "key", "name", "document_key", "source_key", "collection_key", "position", "words", "embedded", "size", "pieces",
)  # fmt: skip

_LOOKED_UP = {
    "records": ("kind", "key", "name", "owner"),
    "chunks": ("key", "name", "document_key", "source_key", "listed", "facts", "terms"),
    "space": ("key",),
}

LIGHT = ("id", "key", "document_key", "collection_key", "position", "words", "embedded", "size", "pieces")
"""What of a chunk is read where neither its text nor its vector is wanted."""


def kind_of(table: str) -> str:
    return table.partition("_")[0]


def schema(table: str, *, dim: int = 2) -> Any:
    """The fields of a table. A collection without a vector is none to Milvus: `records` have one that says nothing."""
    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    made.add_field("id", DataType.INT64, is_primary=True)
    kind = kind_of(table)
    numbers = {"records": _RECORD_NUMBERS, "chunks": _CHUNK_NUMBERS, "space": ("born", "died", "key")}[kind]
    for name in numbers:
        made.add_field(name, DataType.INT64)
    if kind != "space":
        made.add_field("data", DataType.VARCHAR, max_length=65_535)
    if kind == "chunks":
        for name in ("listed", "facts", "terms"):
            made.add_field(name, DataType.ARRAY, element_type=DataType.INT64, max_capacity=MOST_IN_ARRAY)
        made.add_field("counts", DataType.ARRAY, element_type=DataType.INT32, max_capacity=MOST_IN_ARRAY)
        made.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    made.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    return made


def indexes(table: str, *, metric: str = "cosine", index: str = "FLAT") -> Any:
    """The indexes that Milvus can't do without: of vectors and of words. FLAT is none: rows are compared one by one."""
    made = MilvusClient.prepare_index_params()
    kind = kind_of(table)
    if kind == "records":
        made.add_index("embedding", index_type="FLAT", metric_type="L2")
    else:
        params = {"nlist": CELLS} if index == "IVF_FLAT" else {}
        made.add_index("embedding", index_type=index, metric_type=METRICS[metric], params=params)
    if kind == "chunks":
        made.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    return made


def lookups(table: str) -> list[Any]:
    """The indexes of the fields that rows are found by, one after the other."""
    found = []
    for name in _LOOKED_UP[kind_of(table)]:
        made = MilvusClient.prepare_index_params()
        made.add_index(name, index_type="INVERTED")
        found.append(made)
    return found


METRICS = {"cosine": "COSINE", "dot": "IP", "l2": "L2"}


def gate_schema() -> dict[str, Any]:
    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    made.add_field("id", DataType.INT64, is_primary=True)
    made.add_field("nothing", DataType.FLOAT_VECTOR, dim=2)
    return {"schema": made}


def number(*parts: object) -> int:
    """A number below 2**62 by which such values are looked up."""
    taken = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        taken.update(len(data).to_bytes(8, "little"))
        taken.update(data)
    return int.from_bytes(taken.digest(), "little") >> 2


def term(token: str) -> int:
    """The number of a word."""
    return number("t", token)


def dimension(term_: int) -> int:
    """The dimension of a word in sparse vectors."""
    return term_ % _NO_WORD


def sparse(weights: dict[int, float]) -> dict[int, float]:
    return weights or {_NO_WORD: 1.0}


def record(
    kind: int, *, key: int = 0, name: int = 0, owner: int = 0, mark: int = 0, flag: int = 0, data: Any = None
) -> Row:
    """A row of `records`, without an id; `data` is what JSON can say."""
    return {
        "kind": kind, "key": key, "name": name, "owner": owner, "mark": mark, "flag": flag, "pieces": 0, "data": dump(data),
    }  # fmt: skip


def dump(data: Any) -> str:
    return dump_json(data).decode()


def cut(text: str) -> list[str]:
    """In pieces that fit in a row; at least one."""
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)] or [""]


def some(name: str, values: Iterable[int]) -> str:
    """The expression that a field is one of these numbers."""
    wanted = sorted(map(int, values))
    return f"{name} in {wanted}" if wanted else NO_ROW


@dataclass(slots=True)
class State:
    """What a version says of the library as a whole. Its row's id is that of the version, so that it is found without looking."""

    version: int = 0
    at: float = 0.0
    """when it was made, by its writer's clock: seconds since 1970"""
    table: int = 0
    """the number of the collection of chunks; 0: there is none yet"""
    dim: int = 0
    metric: str = "cosine"
    index: str = "FLAT"
    """of the vectors of chunks"""
    identity: str | None = None
    candidates: int | None = None
    chunks: int = 0
    words: int = 0
    vectors: int = 0
    size: int = 0
    """bytes of the passages' texts and metadata"""
    aborted: list[int] = field(default_factory=list)
    """attempts that never became a version, and may have left rows"""

    @property
    def chunk_table(self) -> str:
        return f"chunks_{self.table}"

    def dump(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, text: str) -> State:
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})


def require_room(values: list[int], what: str) -> list[int]:
    """Raises UsageError where there are more than an array holds."""
    if len(values) > MOST_IN_ARRAY:
        raise UsageError(
            f"Milvus holds {MOST_IN_ARRAY:,} numbers in an array, and {what} need {len(values):,}.",
            hint="Keep this library on a local disk, or on another engine.",
            expected=MOST_IN_ARRAY,
            actual=len(values),
        )
    return values
