"""LlamaIndex 0.4's single file: passages lie within the index struct, by number, and their vectors in one of three places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stackroom.migration.records import DEFAULT_NAMESPACE, Anomalies, OldChunk, OldVector
from stackroom.migration.stores.llamaindex import LlamaIndexStore, Parts, VectorPart, as_numbers
from stackroom.migration.stores.slices import JsonFile, Slice


def from_v04_file(path: Path) -> FirstStore:
    """Raises DamagedError."""
    file = JsonFile(path)
    parts = Parts("LlamaIndex 0.4", files=[file])
    structs: list[dict[str, Slice]] = []
    for name, value in file.root().members():
        if name == "vector_store" and value.kind == "{":
            parts.vectors[DEFAULT_NAMESPACE] = VectorPart.of(value)
        elif name == "docstore" and value.kind == "{":
            docs = value.members().get("docs")
            for _, entry in docs.members() if docs is not None and docs.kind == "{" else ():
                fields = dict(entry.members()) if entry.kind == "{" else {}
                if "nodes_dict" in fields and fields["nodes_dict"].kind == "{":
                    structs.append(fields)
    return FirstStore(parts, structs)


class FirstStore(LlamaIndexStore):
    """An OldStore over index structs."""

    def __init__(self, parts: Parts, structs: list[dict[str, Slice]]) -> None:
        super().__init__(parts, "llamaindex-0.4")
        self._structs = structs

    def count(self) -> int:
        return sum(len(fields["nodes_dict"].members()) for fields in self._structs)

    def _count_dimensions(self) -> Counter[tuple[str, int]]:
        return super()._count_dimensions() or self._dimensions_in_nodes()

    def chunks(self, anomalies: Anomalies) -> Iterator[OldChunk]:
        unseen = {name: self._unseen(part, anomalies) for name, part in self.parts.vectors.items()}
        for fields in self._structs:
            ids = {str(number): text_id for text_id, number in _object(fields.get("id_map")).items()}
            own = fields.get("embeddings_dict")
            vectors = own.members() if own is not None and own.kind == "{" else None
            for number, value in fields["nodes_dict"].members():
                body = value.load()
                if not isinstance(body, dict):
                    continue
                node_id = ids.get(number) or str(body.get("doc_id") or number)
                found = self._vectors(node_id, body, unseen)
                kept = vectors.get(node_id) if vectors is not None and not found else None
                values = as_numbers(kept.load()) if kept is not None and kept.kind == "[" else None
                if values is not None and len(values):
                    found = [OldVector(DEFAULT_NAMESPACE, values)]
                if not found:
                    anomalies.note("no vector", node_id)
                yield self._chunk(node_id, "1", body, found)
        yield from self._orphans(unseen, anomalies)

    def _is_node(self, node_id: str) -> bool:
        return any(node_id in _object(fields.get("id_map")) for fields in self._structs)


def _object(value: Slice | None) -> Mapping[str, Any]:
    found = value.load() if value is not None else None
    return found if isinstance(found, dict) else {}
