"""Passages read back as they were written: decoded, their checksums verified, and each in its own document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from stackroom.backend import StoredChunk
from stackroom.errors import DamagedError, NotFoundError
from stackroom.storage.catalogue import codec, ids, runs
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.types import Chunk, Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_STORED = "key, chunk_id, document_key, chunks.checksum, details, text"
_OWN = """EXISTS(SELECT 1 FROM runs WHERE runs.document_key = chunks.document_key AND first_key <= key AND first_key + n > key)"""
"""Whether the document has the passage as well: no checksum says whose it is."""
_PASSAGE = f"SELECT {_STORED}, document_id, {_OWN} FROM chunks LEFT JOIN documents USING(document_key)"


class Passages:
    """The passages of one snapshot, by key. Whatever is not as it was written raises DamagedError."""

    def __init__(self, connection: Connection, blobs: Codec, library: Path) -> None:
        self._connection = connection
        self._codec = blobs
        self._library = library

    def of_keys(self, keys: Sequence[int]) -> list[Passage]:
        """In the order given."""
        # One question for all: a search asks for ten, a proof or an export for thousands.
        asked = self._connection.execute(
            f"{_PASSAGE} WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),)
        )
        rows = {row[0]: row for row in asked}
        return [self._passage(row) for row in self._each(rows, keys)]

    def of_document(
        self, document_key: int, embedding: Callable[[int], NDArray[np.float32] | None] | None = None
    ) -> Iterator[StoredChunk]:
        """All that a document has, in order; `embedding` gives a chunk's vector by its key."""
        rows = self._connection.execute(
            f"SELECT {_OWN}, position, {_STORED} FROM chunks WHERE document_key = ? ORDER BY position, key",
            (document_key,),
        )
        left = runs.of_documents(self._connection, [document_key]).count
        for own, position, *row in rows:
            left -= 1
            key, chunk_id, text, place, metadata = self._decoded(tuple(row))
            if not own:
                raise self.damaged(chunk_id, document_key)
            vector = None if embedding is None else embedding(key)
            yield StoredChunk(key, position, Chunk(text, chunk_id, metadata, place, vector))
        if left:
            raise DamagedError(
                f"The document with key {document_key} has not the passages that it should have.",
                hint="See what is hit: stackroom verify",
                path=self._library,
                actual=document_key,
            )

    def neighbours(self, key: int, context: int) -> tuple[list[Passage], list[Passage]]:
        """Up to `context` before and after this one in its document, in reading order."""
        found = self._connection.row("SELECT document_key, position FROM chunks WHERE key = ?", (key,))
        if found is None:
            return [], []
        document_key, position = found
        before = self._connection.rows(
            f"{_PASSAGE} WHERE document_key = ? AND position < ? ORDER BY position DESC LIMIT ?",
            (document_key, position, context),
        )
        after = self._connection.rows(
            f"{_PASSAGE} WHERE document_key = ? AND position > ? ORDER BY position LIMIT ?",
            (document_key, position, context),
        )
        return [self._passage(row) for row in reversed(before)], [self._passage(row) for row in after]

    def texts(self, keys: Sequence[int]) -> list[tuple[int, int, str]]:
        """`(key, document_key, text)` of those that are still there."""
        rows = [self._connection.row(f"SELECT {_STORED} FROM chunks WHERE key = ?", (int(key),)) for key in keys]
        return [(int(row[0]), int(row[2]), self._decoded(row)[2]) for row in rows if row is not None]

    def document_keys(self, keys: Sequence[int]) -> list[int]:
        """The document of each, in the order given; no text is read."""
        asked = "SELECT key, document_key FROM chunks WHERE key IN (SELECT value FROM json_each(?))"
        return self._each(dict(self._connection.rows(asked, (json.dumps(list(keys)),))), keys)

    def keys_of(self, document_key: int) -> list[int]:
        """Those of a document, in order."""
        rows = self._connection.rows(
            "SELECT key FROM chunks WHERE document_key = ? ORDER BY position, key", (document_key,)
        )
        return [key for (key,) in rows]

    def keys_of_ids(self, chunk_ids: Sequence[str]) -> list[int | None]:
        """In the order given; None where there is no such chunk."""
        found = []
        for chunk_id in chunk_ids:
            row = self._connection.row("SELECT key FROM chunks WHERE chunk_id = ?", (ids.pack_id(chunk_id),))
            found.append(None if row is None else int(row[0]))
        return found

    def ids_of_keys(self, keys: Sequence[int]) -> list[str]:
        """In the order given. Raises NotFoundError."""
        found = self._ids(KeySet.from_keys(np.array(keys, dtype=np.int64)))
        try:
            return [found[key] for key in keys]
        except KeyError as error:
            raise NotFoundError(f"There is no chunk with key {error}.", actual=str(error)) from None

    def ids_of(self, among: KeySet) -> list[str]:
        """In the order of their keys."""
        return list(self._ids(among).values())

    def _ids(self, among: KeySet) -> dict[int, str]:
        found: dict[int, str] = {}
        for first, end in among.ranges.tolist():
            for key, packed in self._connection.rows(
                "SELECT key, chunk_id FROM chunks WHERE key >= ? AND key < ?", (first, end)
            ):
                found[key] = ids.unpack_id(packed)
        return found

    def _each(self, found: Mapping[int, T], keys: Sequence[int]) -> list[T]:
        """What was found for each key."""
        try:
            return [found[key] for key in keys]
        except KeyError as error:
            raise DamagedError(
                f"The index names the passage {error}, which the catalogue does not hold.",
                hint="See what is hit: stackroom verify",
                path=self._library,
                actual=error.args[0],
            ) from None

    def _passage(self, row: tuple[Any, ...]) -> Passage:
        """Of a row of `_PASSAGE`."""
        *stored, document_id, own = row
        _, chunk_id, text, place, metadata = self._decoded(tuple(stored))
        if document_id is None or not own:
            raise self.damaged(chunk_id, stored[2])
        return Passage(chunk_id, ids.unpack_id(document_id), text, place, metadata)

    def _decoded(self, row: tuple[Any, ...]) -> tuple[int, str, str, Any, dict[str, Any]]:
        """Key, id, text, place and metadata of a row of `_STORED`, its checksum verified."""
        key, packed_id, document_key, checksum, details, text = row
        chunk_id = ids.unpack_id(packed_id)
        try:
            plain = self._codec.decode(text)
            described = None if details is None else self._codec.decode(details)
        except DamagedError as error:
            raise self.damaged(chunk_id, document_key) from error
        if codec.chunk_checksum(chunk_id, plain, described) != checksum:
            raise self.damaged(chunk_id, document_key)
        place, metadata = codec.load_details(described)
        return key, chunk_id, codec.to_text(plain), place, metadata

    def damaged(self, chunk_id: str, document_key: int) -> DamagedError:
        """What to say of a passage that is not what was written, its vector included."""
        row = self._connection.row(
            "SELECT document_id, name FROM documents JOIN sources USING(source_key) WHERE document_key = ?",
            (document_key,),
        )
        where = f"document {ids.unpack_id(row[0])} ({ids.unpack_text(row[1])})" if row else "no document"
        return DamagedError(
            f"The passage {chunk_id} of {where} is not what was written.",
            hint="See what is hit: stackroom verify. Bring back what can be: stackroom repair",
            path=self._library,
            actual=chunk_id,
        )
