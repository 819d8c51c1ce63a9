"""LlamaIndex's ingestion cache: results of a pipeline by hash; those of its last step are nodes with vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stackroom.migration.records import Anomalies, OldChunk
from stackroom.migration.stores.llamaindex import LlamaIndexStore, Parts
from stackroom.migration.stores.slices import JsonFile, Slice
from stackroom.nodes import reading as nodes


def is_cache(root: Slice) -> bool:
    """One object whose values hold lists of nodes, whatever the collection is called."""
    members = root.members()
    if len(members) != 1 or members.value(0).kind != "{":
        return False
    entries = members.value(0).members()
    return len(entries) > 0 and all(_is_entry(entries.value(row)) for row in range(min(len(entries), 3)))


def _is_entry(value: Slice) -> bool:
    found = value.load() if value.kind == "{" else None
    return isinstance(found, dict) and isinstance(found.get("nodes"), list)


def from_cache(path: Path) -> CacheStore:
    file = JsonFile(path)
    parts = Parts("LlamaIndex's ingestion cache", files=[file])
    return CacheStore(parts, file.root().members().value(0))


class CacheStore(LlamaIndexStore):
    """An OldStore over the nodes of every entry; of a node that occurs twice the first one with a vector counts."""

    def __init__(self, parts: Parts, entries: Slice) -> None:
        super().__init__(parts, "llamaindex-cache")
        self._entries = entries

    def count(self) -> int:
        return len(self._entries.members())

    def chunks(self, anomalies: Anomalies) -> Iterator[OldChunk]:
        seen: set[int] = set()
        for _, entry in self._entries.members():
            found = entry.load()
            for record in found.get("nodes", ()) if isinstance(found, dict) else ():
                kind, body = nodes.unwrap(record)
                node_id = _id_of(body)
                if node_id is None:
                    anomalies.note("a node without an id", f"byte {entry.start:,}")
                    continue
                if not isinstance(nodes.embedding_of(body), list) or hash(node_id) in seen:
                    continue
                seen.add(hash(node_id))
                yield self._chunk(node_id, kind, body, self._vectors(node_id, body, {}))


def _id_of(body: Mapping[str, Any]) -> str | None:
    found = body.get("id_") or body.get("doc_id")
    return found if isinstance(found, str) and found else None
