"""Stores whose vectors lie in one matrix with an entry for each row: what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.migration.records import (
    DEFAULT_NAMESPACE,
    Anomalies,
    OldChunk,
    OldDocument,
    OldIndex,
    OldVector,
    Recent,
    usable,
)
from stackroom.nodes import reading as nodes
from stackroom.types import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FlatStore:
    """An OldStore over entries and a float32 matrix; a row that is None has no vector.

    A passage belongs to the document that its metadata names, a file as a rule.
    """

    def __init__(
        self,
        format: str,
        made_by: str,
        files: Sequence[Path],
        entries: Sequence[tuple[str, str, dict[str, Any], int | None]],
        matrix: NDArray[np.float32],
        *,
        notes: Anomalies | None = None,
    ) -> None:
        """`entries`: (chunk id, text, metadata, row of the matrix)."""
        self.format = format
        self.made_by = made_by
        self.files = files
        self._entries = entries
        self._matrix = matrix
        self._notes = notes or Anomalies()
        self._about: Recent[dict[str, Any]] = Recent()

    def close(self) -> None:
        pass

    def dimensions(self) -> Counter[tuple[str, int]]:
        rows = sum(row is not None for *_, row in self._entries)
        return Counter({(DEFAULT_NAMESPACE, self._matrix.shape[1]): rows} if rows else {})

    def count(self) -> int:
        return len(self._entries)

    def chunks(self, anomalies: Anomalies) -> Iterator[OldChunk]:
        for kind, n in self._notes.counts.items():
            anomalies.note(kind, ", ".join(self._notes.examples[kind]), count=n)
        for chunk_id, text, metadata, row in self._entries:
            vectors = [] if row is None else [OldVector(DEFAULT_NAMESPACE, self._matrix[row].astype(np.float64))]
            if row is None:
                anomalies.note("no vector", chunk_id)
            document_id = nodes.file_of(metadata)
            if document_id is not None:
                self._about[document_id] = metadata
            yield OldChunk(chunk_id, text, metadata, document_id, _place(metadata), vectors)

    def sample(self, n: int) -> Sequence[tuple[str, NDArray[np.float64]]]:
        have = [(chunk_id, row) for chunk_id, _, _, row in self._entries if row is not None]
        chosen = have[:: max(1, len(have) // n)][:n]
        found = [(chunk_id, self._matrix[row].astype(np.float64)) for chunk_id, row in chosen]
        return [(chunk_id, values) for chunk_id, values in found if usable(values)]

    def document(self, document_id: str) -> OldDocument:
        """What all passages of a file say alike is the document's."""
        metadata = self._about.get(document_id, {})
        return OldDocument({}, nodes.title_of(metadata))

    def indexes(self) -> Sequence[OldIndex]:
        return ()

    def attachments(self) -> Iterator[tuple[str, bytes]]:
        return iter(())


def _place(metadata: dict[str, Any]) -> Place:
    return nodes.place_of({}, metadata)
