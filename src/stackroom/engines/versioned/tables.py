"""The tables of a library, and how its rows are written.

`records` holds all that is small, a row for each source, document, attachment and so on; `chunks_N` the passages with their vectors
and words; `space_N` the vectors that one of the library's collections has of its own. Rows are looked up by numbers alone: a name is known
by a hash of it, and compared where it is read. So no text of a user ever stands in a condition.

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
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from stackroom.engines.versioned.conditions import Condition, among
from stackroom.engines.versioned.database import Row
from stackroom.storage.catalogue.codec import dump_json

FORMAT = 1

RECORDS = "records"
SOURCE, DOCUMENT, COLLECTION, ATTACHMENT, ORIGINAL, VALUE, PIECE, STATE = range(1, 9)

DEFAULT_COLLECTION = 1

FOREVER = 2**62
"""The version that removes a row that nobody removed."""

ROWS_OF_A_COMMIT = 1 << 24
"""Ids of rows are the number of the attempt, and the place in it: no two attempts write the same one."""

ACTIVE, FAILED, BLANK, UNFINISHED = 1, 2, 4, 8
"""Of a source's `flag`: in the active set; with an error; with pages without text; not read to its end."""
HIDING, RECOGNISED = 1, 2
"""Of a document's."""

_PIECE = 15_000
"""Characters of a text in one row: 60,000 bytes at most, which every database takes."""
_NO_WORD = 2**32 - 2
"""The dimension that no word has."""

NUMBERS = {
    "records": ("born", "died", "kind", "key", "name", "owner", "mark", "flag", "pieces"),
    "chunks": (
        "born", "died", "key", "name", "document_key", "source_key", "collection_key", "position", "words", "embedded", "size", "pieces",
    ),
    "space": ("born", "died", "key"),
}  # fmt: skip
"""The fields of one number of each kind of table, besides the row's `id`. `records` and `chunks` have the text `data`, `chunks` and `space` the
vector `embedding`, and `chunks` the words' vector `sparse`."""

ARRAYS = ("listed", "facts", "terms", "counts")
"""The fields of several numbers, of chunks alone; those of `counts` belong to those of `terms`, one to one."""

ASKED = {
    "records": ("born", "died", "kind", "key", "name", "owner", "mark", "flag"),
    "chunks": ("born", "died", "key", "name", "document_key", "source_key", "collection_key", "embedded", "listed", "facts", "terms"),
    "space": ("born", "died", "key"),
}  # fmt: skip
"""The fields that conditions are about, besides `id`."""
RANGED = ("born", "died", "key", "name")
"""Those of which ranges are asked for."""

LIGHT = ("id", "key", "document_key", "collection_key", "position", "words", "embedded", "size", "pieces")
"""What of a chunk is read where neither its text nor its vector is wanted."""


def kind_of(table: str) -> str:
    return table.partition("_")[0]


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


def flagged(bits: int) -> Condition:
    """That one of these bits is set in `flag`."""
    return among("flag", (flag for flag in range(16) if flag & bits))


@dataclass(slots=True)
class State:
    """What a version says of the library as a whole. Its row's id is that of the version, so that it is found without looking."""

    version: int = 0
    at: float = 0.0
    """when it was made, by its writer's clock: seconds since 1970"""
    table: int = 0
    """the number of the table of chunks; 0: there is none yet"""
    dim: int = 0
    metric: str = "cosine"
    index: str = ""
    """of the vectors of chunks, as the database names it"""
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
