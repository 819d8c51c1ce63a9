"""What of an old store's chunks is stored: the user's choices, the vectors that are fit, and which index has which chunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stackroom.migration.records import Anomalies, MainSpace, OldChunk, OldIndex
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user may decide."""

    keep_orphans: bool = False
    split_dims: bool = False
    index_id: str | None = None
    metric: Metric | None = None
    """how scores are to be reckoned, where it is not to be by cosine"""


class Judge:
    """Decides what of each chunk is stored, and counts what is not as it should be."""

    def __init__(self, main: MainSpace, dimensions: Counter[tuple[str, int]], choices: Choices, notes: Anomalies):
        self._main = main
        self._choices = choices
        self._notes = notes
        self._usual = {
            namespace: MainSpace.of(Counter({key: n for key, n in dimensions.items() if key[0] == namespace})).dim
            for namespace, _ in dimensions
        }

    def accept(
        self, old: OldChunk
    ) -> tuple[NDArray[np.float32] | None, list[tuple[str, NDArray[np.float32]]], dict[str, list[float]]] | None:
        """The library's vector, those of collections, and those set aside; None where the chunk is left out."""
        if old.orphan and not self._choices.keep_orphans:
            return None
        main: NDArray[np.float32] | None = None
        others: list[tuple[str, NDArray[np.float32]]] = []
        aside: dict[str, list[float]] = {}
        for vector in old.vectors:
            values = vector.values
            if values is None:
                self._notes.note("not a list of numbers", old.chunk_id)
                continue
            row = single(values)
            if not np.isfinite(row).all():
                self._notes.note("NaN or infinity", old.chunk_id)
                aside[vector.namespace] = values.tolist()
            elif (vector.namespace, len(row)) == self._main:
                if not row.any():
                    self._notes.note("all zeros", old.chunk_id)
                main = row
            elif len(row) == self._usual[vector.namespace]:
                others.append((vector.namespace, row))
            else:
                self._notes.note("another dimension", f"{old.chunk_id} ({len(row)})")
                if self._choices.split_dims:
                    others.append((f"{vector.namespace}-{len(row)}", row))
                else:
                    aside[vector.namespace] = values.tolist()
        return main, others, aside


def single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """One cast, nothing else; what is beyond float32 becomes infinity and is set aside."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


class Listed:
    """Which index has which chunk, by hash, so that memory is eight bytes a chunk."""

    def __init__(self, indexes: Iterable[OldIndex], only: str | None) -> None:
        self._hashes = {index.name: index.members for index in indexes if index.members is not None}
        self._only = only if only in self._hashes else None

    def wants(self, chunk_id: str) -> bool:
        """Whether a chunk is of the index that was chosen; every one is where none was."""
        return self._only is None or bool(self._has(self._only, [chunk_id])[0])

    def _has(self, name: str, chunk_ids: Sequence[str]) -> NDArray[np.bool_]:
        hashes = self._hashes[name]
        if not len(hashes):
            return np.zeros(len(chunk_ids), dtype=bool)
        wanted = np.fromiter(map(hash, chunk_ids), dtype=np.int64, count=len(chunk_ids))
        at = np.minimum(hashes.searchsorted(wanted), len(hashes) - 1)
        found: NDArray[np.bool_] = hashes[at] == wanted
        return found

    def of(self, chunk_ids: Sequence[str]) -> dict[str, list[int]]:
        """For each index the positions of its chunks among these."""
        if self._only is not None:
            return {}
        found = {name: np.flatnonzero(self._has(name, chunk_ids)).tolist() for name in self._hashes}
        return {name: positions for name, positions in found.items() if positions}
