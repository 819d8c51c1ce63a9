"""LlamaIndex with FAISS: texts in JSON stores, vectors in a FAISS file that knows them by number."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.migration.records import DEFAULT_NAMESPACE, Anomalies, OldChunk, OldVector, usable
from stackroom.migration.stores import faiss_file
from stackroom.migration.stores.llamaindex import LlamaIndexStore, Parts, from_folder, index_struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID_MAP = "id_map.json"
_MOST_BYTES = 256 * 1024 * 1024


def from_faiss_folder(folder: Path, index: Path) -> FaissStore:
    """The JSON stores of a folder with the FAISS file that belongs to them. Raises DamagedError."""
    found = faiss_file.read(index)
    try:
        store = from_folder(folder)
        return FaissStore(store.parts, folder, index, found)
    except BaseException:
        found.close()
        raise


class FaissStore(LlamaIndexStore):
    """An OldStore whose vectors are rows of a matrix, by node id."""

    def __init__(self, parts: Parts, folder: Path, index: Path, found: faiss_file.FaissRows) -> None:
        super().__init__(parts, "llamaindex-faiss")
        parts.vectors = {name: part for name, part in parts.vectors.items() if part.vectors}
        id_map = folder / ID_MAP
        self.made_by = f"LlamaIndex with FAISS ({found.kind}{', FaissMap' if id_map.is_file() else ''})"
        self.files = [*self.files, index, *([id_map] if id_map.is_file() else [])]
        self._found = found
        claims = claims_in(id_map) if id_map.is_file() else self._listed_positions()
        self._rows, self._shared, self._unclaimed = _assign(claims, found.ids)

    def close(self) -> None:
        super().close()
        self._found.close()

    def _listed_positions(self) -> list[tuple[str, int]]:
        """(node id, position), as the index structs have it: `nodes_dict` from position to node."""
        claims = []
        for _, value in self.parts.indexes:
            for position, node in index_struct(value).nodes or ():
                if isinstance(node_id := node.load(), str) and position.isdecimal():
                    claims.append((node_id, int(position)))
        return claims

    def _count_dimensions(self) -> Counter[tuple[str, int]]:
        found = super()._count_dimensions() if self.parts.vectors else Counter()
        if self._rows:
            found[DEFAULT_NAMESPACE, self._found.rows.shape[1]] += len(self._rows)
        return found

    def count(self) -> int:
        return 0 if self.parts.nodes is None else len(self.parts.nodes)

    def chunks(self, anomalies: Anomalies) -> Iterator[OldChunk]:
        anomalies.note("a vector that no node has", self.files[-1].name, count=self._unclaimed)
        for node_id in sorted(self._shared):
            anomalies.note("ids that share a vector", node_id)
        if self._found.lossy:
            anomalies.note("vectors were quantised", self._found.kind, count=len(self._rows))
        yield from super().chunks(anomalies)

    def _vectors(
        self, node_id: str, body: Mapping[str, Any], unseen: Mapping[str, np.ndarray[Any, Any]]
    ) -> list[OldVector]:
        row = self._rows.get(node_id)
        beside = super()._vectors(node_id, body, unseen)
        if row is None and node_id not in self._shared:
            return beside
        own = [] if row is None else [OldVector(DEFAULT_NAMESPACE, self._found.rows[row].astype(np.float64))]
        return own + [vector for vector in beside if vector.namespace != DEFAULT_NAMESPACE]

    def sample(self, n: int) -> Sequence[tuple[str, NDArray[np.float64]]]:
        known = [node_id for node_id in self._rows if self._is_node(node_id)]
        chosen = known[:: max(1, len(known) // n)][:n]
        found = [(node_id, self._found.rows[self._rows[node_id]].astype(np.float64)) for node_id in chosen]
        return [(node_id, values) for node_id, values in found if usable(values)]


def _assign(claims: Sequence[tuple[str, int]], ids: NDArray[np.int64]) -> tuple[dict[str, int], set[str], int]:
    """Row by node id; the nodes whose vector can't be told; and how many vectors no node claims.

    FaissMap reuses ids after a delete: an id that two nodes claim, or that two vectors have, says nothing about either.
    """
    rows: dict[int, list[int]] = {}
    for row, number in enumerate(ids.tolist()):
        rows.setdefault(number, []).append(row)
    owners: dict[int, set[str]] = {}
    numbers: dict[str, set[int]] = {}
    for node_id, number in claims:
        owners.setdefault(number, set()).add(node_id)
        numbers.setdefault(node_id, set()).add(number)
    found: dict[str, int] = {}
    shared: set[str] = set()
    for node_id, claimed in numbers.items():
        known = [number for number in claimed if number in rows]
        sure = [number for number in known if len(rows[number]) == 1 and len(owners[number]) == 1]
        if len(known) == 1 and sure:
            found[node_id] = rows[known[0]][0]
        elif known:
            shared.add(node_id)
    unclaimed = sum(len(held) for number, held in rows.items() if number not in owners)
    return found, shared, unclaimed


def claims_in(path: Path) -> list[tuple[str, int]]:
    """(node id, faiss id) from FaissMap's side file; both directions are read, since a collision shows in only one.

    Older releases wrote Python's notation, which is read as a literal and never run.
    """
    if path.stat().st_size > _MOST_BYTES:
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            value = {}
    claims: list[tuple[str, int]] = []
    if isinstance(value, dict):
        forward, backward = value.get("node_id_to_faiss_id_map"), value.get("faiss_id_to_node_id_map")
        for node_id, number in forward.items() if isinstance(forward, dict) else ():
            claims += _claim(node_id, number)
        for number, node_id in backward.items() if isinstance(backward, dict) else ():
            claims += _claim(node_id, number)
    return claims


def _claim(node_id: Any, number: Any) -> list[tuple[str, int]]:
    try:
        return [(str(node_id), int(number))]
    except (TypeError, ValueError):
        return []
