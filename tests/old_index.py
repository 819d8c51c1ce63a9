"""A small LlamaIndex folder as 0.14 writes it, to be spoiled in one way or another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from support import unit_rows

DIM = 4


class OldIndex:
    """The three stores as dictionaries; `write` makes the folder."""

    def __init__(self, chunks: int = 6, documents: int = 2, dim: int = DIM) -> None:
        self.ids = [f"node-{number}" for number in range(chunks)]
        self.owner = {node: f"doc-{at * documents // chunks}" for at, node in enumerate(self.ids)}
        rows = unit_rows(chunks, dim, seed=3)
        self.embeddings: dict[str, Any] = {
            node: [float(value) for value in row] for node, row in zip(self.ids, rows, strict=True)
        }
        self.references: dict[str, str] = dict(self.owner)
        self.nodes = {node: self.node(node, f"Text of {node}, about subject {at}.") for at, node in enumerate(self.ids)}
        self.listed: dict[str, dict[str, str]] = {"the-index": {node: node for node in self.ids}}
        self.other_stores: dict[str, Any] = {}

    def node(self, node_id: str, text: str, **metadata: Any) -> dict[str, Any]:
        document = self.owner.get(node_id)
        about = {"file_path": f"/nowhere/{document}.txt", "file_name": f"{document}.txt"}
        source = {"node_id": document, "node_type": "4", "metadata": about, "hash": "0" * 64}
        body = {
            "id_": node_id,
            "embedding": None,
            "metadata": {**about, **metadata},
            "excluded_embed_metadata_keys": [],
            "excluded_llm_metadata_keys": [],
            "relationships": {"1": {**source, "class_name": "RelatedNodeInfo"}} if document else {},
            "metadata_template": "{key}: {value}",
            "metadata_separator": "\n",
            "text": text,
            "mimetype": "text/plain",
            "start_char_idx": 0,
            "end_char_idx": len(text),
            "text_template": "{metadata_str}\n\n{content}",
            "class_name": "TextNode",
        }
        return {"__data__": body, "__type__": "1"}

    def vector_store(self) -> dict[str, Any]:
        metadata = {}
        for node in self.embeddings:
            body = self.nodes.get(node, {}).get("__data__", {})
            reference = dict.fromkeys(("document_id", "doc_id", "ref_doc_id"), self.references.get(node, "None"))
            metadata[node] = {**body.get("metadata", {}), "_node_type": "TextNode", **reference}
        return {
            "embedding_dict": self.embeddings,
            "text_id_to_ref_doc_id": {node: self.references.get(node, "None") for node in self.embeddings},
            "metadata_dict": metadata,
        }

    def docstore(self) -> dict[str, Any]:
        documents: dict[str, Any] = {}
        hashes: dict[str, Any] = {}
        for node, document in self.owner.items():
            documents.setdefault(document, {"node_ids": [], "metadata": {}})["node_ids"].append(node)
            hashes[node] = {"doc_hash": "1" * 64, "ref_doc_id": document}
            hashes[document] = {"doc_hash": "2" * 64}
        return {
            "docstore/data": self.nodes,
            "docstore/metadata": hashes,
            "docstore/ref_doc_info": documents,
        }

    def index_store(self) -> dict[str, Any]:
        entries = {}
        for name, listed in self.listed.items():
            struct = {"index_id": name, "summary": None, "nodes_dict": listed, "doc_id_dict": {}, "embeddings_dict": {}}
            entries[name] = {"__type__": "vector_store", "__data__": json.dumps(struct)}
        return {"index_store/data": entries}

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in {
            "default__vector_store.json": self.vector_store(),
            "docstore.json": self.docstore(),
            "index_store.json": self.index_store(),
            "graph_store.json": {"graph_dict": {}},
            **self.other_stores,
        }.items():
            (folder / name).write_text(json.dumps(value), encoding="utf-8")
        return folder

    def vector(self, node: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.array(self.embeddings[node], dtype=np.float64).astype(np.float32)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes and its time."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
