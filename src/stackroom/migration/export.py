"""The way back: a library as a LlamaIndex JSON folder that LlamaIndex 0.12 to 0.14 opens.

What an import brought goes out as it came in; everything else is written as those releases would write it. The files are written as
streams, so that memory does not follow their size.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from stackroom.backend import Backend, DocumentRecord, SourceRecord, StoredChunk, View
from stackroom.errors import UsageError
from stackroom.migration.records import DEFAULT_NAMESPACE
from stackroom.migration.stores import nodes
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.storage import fsio

_TEXT_NODE, _DOCUMENT = "1", "4"
_INDEX, _FILE = "index/", "file/"


def export_llamaindex(backend: Backend, folder: Path, *, progress: Progress, cancel: CancelToken) -> int:
    """Write the folder, which must be absent or empty; returns how many chunks. Raises UsageError, StorageError.

    It appears by a rename when it is whole; a cancelled export leaves nothing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty.", hint="Choose another folder.", actual=str(folder))
    staging = folder.with_name(f".{folder.name}.stackroom.tmp")
    with fsio.translated(folder):
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir(parents=True)
        try:
            with backend.view() as view:
                written = _Export(view, staging, progress, cancel).run()
            if cancel.cancelled:
                return 0
            if folder.exists():
                folder.rmdir()
            os.rename(staging, folder)
            fsio.sync_directory(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return written


@dataclass(slots=True)
class _Section:
    """One JSON object on its way to a file of its own."""

    file: IO[str]
    count: int = 0

    def put(self, key: str, value: Any) -> None:
        self.file.write(f"{', ' if self.count else ''}{json.dumps(key)}: {json.dumps(value)}")
        self.count += 1


@dataclass(slots=True)
class _VectorSections:
    vectors: _Section
    documents: _Section
    metadata: _Section


@dataclass(slots=True)
class _Document:
    """A document while its chunks go by."""

    record: DocumentRecord
    source: SourceRecord
    original: dict[str, Any]
    node_ids: list[str] = field(default_factory=list)


class _Export:
    def __init__(self, view: View, folder: Path, progress: Progress, cancel: CancelToken) -> None:
        self._view = view
        self._folder = folder
        self._progress = progress
        self._cancel = cancel
        self._parts: dict[str, _Section] = {}
        self._vectors: dict[str, _VectorSections] = {}
        self._own = {
            item.name: set(view.members(item.name)) for item in view.collections() if item.identity is not None
        }
        self._with_vector = set(view.live_keys(with_vector=True).tolist())
        self._written = 0

    def run(self) -> int:
        self._store(DEFAULT_NAMESPACE)
        self._store("image")
        for source in self._view.each_source():
            for record in self._view.documents(source.key):
                if self._cancel.cancelled:
                    return self._written
                self._document(
                    _Document(record, source, _loads(self._view.kept("document", [record.key]).get(record.key)))
                )
        self._join(
            "docstore.json",
            {name: self._part(name) for name in ("docstore/data", "docstore/metadata", "docstore/ref_doc_info")},
        )
        for namespace, sections in self._vectors.items():
            self._join(
                f"{namespace}__vector_store.json",
                {
                    "embedding_dict": sections.vectors,
                    "text_id_to_ref_doc_id": sections.documents,
                    "metadata_dict": sections.metadata,
                },
            )
        self._indexes()
        return self._written

    def _document(self, document: _Document) -> None:
        """A document's chunks, then what the docstore says of it."""
        node = document.original.get("node")
        if isinstance(node, dict):
            self._put_node(document.record.document_id, document.original.get("type", _DOCUMENT), node)
        neighbours: list[StoredChunk] = []
        for item in self._view.chunks(document.record.key):
            neighbours.append(item)
            if len(neighbours) == 3:
                neighbours.pop(0)
            self._chunk(document, item, neighbours[-2] if len(neighbours) > 1 else None)
        self._about(document)
        self._progress(ProgressEvent("export", done=self._written))

    def _about(self, document: _Document) -> None:
        document_id, original = document.record.document_id, document.original
        if "docstore" in original:
            self._part("docstore/metadata").put(document_id, original["docstore"])
        elif not original and document.node_ids:
            self._part("docstore/metadata").put(document_id, {"doc_hash": _hash("", document.record.metadata)})
        if "ref_doc_info" in original:
            info = {"node_ids": document.node_ids, **original["ref_doc_info"]}
        elif not original and document.node_ids:
            info = {"node_ids": document.node_ids, "metadata": _document_metadata(document)}
        else:
            return
        self._part("docstore/ref_doc_info").put(document_id, info)

    def _chunk(self, document: _Document, item: StoredChunk, before: StoredChunk | None) -> None:
        original = _loads(self._view.kept("chunk", [item.key]).get(item.key))
        vectors = dict(self._vectors_of(item.key))
        chunk_id = item.chunk.chunk_id or ""
        owner: str | None = document.record.document_id
        if original:
            owner = None if original.get("parentless") else owner
        node, kind = self._node(document, item, original, before, vectors.get(DEFAULT_NAMESPACE), owner)
        if node is not None:
            self._put_node(chunk_id, kind, node)
            if owner is not None:
                document.node_ids.append(chunk_id)
        if not original and owner is not None:
            entry = {"doc_hash": _hash(item.chunk.text, item.chunk.metadata), "ref_doc_id": owner}
            self._part("docstore/metadata").put(chunk_id, entry)
        elif "docstore" in original:
            self._part("docstore/metadata").put(chunk_id, original["docstore"])
        self._put_vectors(chunk_id, owner, node or {}, original, vectors)
        self._written += 1

    def _vectors_of(self, key: int) -> Iterator[tuple[str, Any]]:
        if key in self._with_vector:
            yield DEFAULT_NAMESPACE, self._view.vectors([key])[0].tolist()
        for name, members in self._own.items():
            if key in members:
                yield name, self._view.vectors([key], collection=name)[0].tolist()

    def _node(
        self,
        document: _Document,
        item: StoredChunk,
        original: dict[str, Any],
        before: StoredChunk | None,
        vector: Any,
        owner: str | None,
    ) -> tuple[dict[str, Any] | None, str]:
        """The record of a chunk as LlamaIndex has it, and its type; None for a vector that never had one."""
        folded = original.get("node")
        if isinstance(folded, dict):
            node = nodes.unfold(folded, text=item.chunk.text, vector=vector)
            kind = str(original.get("type", _TEXT_NODE))
            return (node, kind) if "class_name" in node else (_modern(item, node, owner, document), _TEXT_NODE)
        if original:
            return None, _TEXT_NODE
        node = _modern(item, {"metadata": {**_document_metadata(document), **_chunk_metadata(item)}}, owner, document)
        if before is not None:
            node["relationships"]["2"] = _related(before.chunk.chunk_id or "", _TEXT_NODE, {}, before.chunk.text)
        return node, _TEXT_NODE

    def _put_node(self, node_id: str, kind: str, node: dict[str, Any]) -> None:
        self._part("docstore/data").put(node_id, {"__data__": node, "__type__": kind})

    def _put_vectors(
        self, chunk_id: str, owner: str | None, node: dict[str, Any], original: dict[str, Any], vectors: dict[str, Any]
    ) -> None:
        said: dict[str, Any] = original.get("metadata") or {}
        vectors |= original.get("quarantined") or {}
        for namespace, values in vectors.items():
            sections = self._store(namespace)
            sections.vectors.put(chunk_id, values)
            reference = (original.get("ref_doc_id") or {}).get(namespace, owner or "None")
            sections.documents.put(chunk_id, reference)
            metadata = nodes.metadata_of(node) or {}
            sections.metadata.put(chunk_id, said.get(namespace) or nodes.stored_metadata(node, metadata, owner))

    def _indexes(self) -> None:
        """The index structs; one over everything where no import brought any."""
        entries: dict[str, Any] = {}
        collections = {item.name for item in self._view.collections()}
        for name, data in self._view.attachments():
            if name.startswith(_FILE):
                (self._folder / Path(name.removeprefix(_FILE)).name).write_bytes(data)
            elif name.startswith(_INDEX):
                index_id = name.removeprefix(_INDEX)
                kept = json.loads(data)
                struct = kept["struct"]
                if kept.get("listed"):
                    keys = self._view.members(index_id) if index_id in collections else self._view.live_keys().tolist()
                    struct = {**struct, "nodes_dict": self._nodes_dict(keys)}
                kind = "vector_store" if kept.get("listed") and kept["type"] != "multimodal" else kept["type"]
                entries[index_id] = {"__type__": kind, "__data__": json.dumps(struct)}
        if not entries:
            index_id = str(uuid.uuid4())
            struct = {
                "index_id": index_id,
                "summary": None,
                "nodes_dict": self._nodes_dict(self._view.live_keys(with_vector=True).tolist()),
                "doc_id_dict": {},
                "embeddings_dict": {},
            }
            entries[index_id] = {"__type__": "vector_store", "__data__": json.dumps(struct)}
        (self._folder / "index_store.json").write_text(json.dumps({"index_store/data": entries}), encoding="utf-8")
        graph = self._folder / "graph_store.json"
        if not graph.exists():
            graph.write_text('{"graph_dict": {}}', encoding="utf-8")

    def _nodes_dict(self, keys: list[int]) -> dict[str, str]:
        ids = (passage.chunk_id for passage in self._view.passages(keys))
        return {chunk_id: chunk_id for chunk_id in ids}

    def _part(self, name: str) -> _Section:
        if name not in self._parts:
            path = self._folder / f".{len(self._parts)}.part"
            self._parts[name] = _Section(path.open("w+", encoding="utf-8"))
        return self._parts[name]

    def _store(self, namespace: str) -> _VectorSections:
        if namespace not in self._vectors:
            self._vectors[namespace] = _VectorSections(
                *(self._part(f"{namespace}/{name}") for name in ("vectors", "documents", "metadata"))
            )
        return self._vectors[namespace]

    def _join(self, name: str, sections: dict[str, _Section]) -> None:
        """The sections as one object in one file; their own files go."""
        with (self._folder / name).open("w", encoding="utf-8") as file:
            for number, (key, section) in enumerate(sections.items()):
                file.write(f"{', ' if number else '{'}{json.dumps(key)}: {{")
                section.file.seek(0)
                shutil.copyfileobj(section.file, file)
                section.file.close()
                os.unlink(section.file.name)
                file.write("}")
            file.write("}")
            file.flush()
            os.fsync(file.fileno())


def _loads(data: bytes | None) -> dict[str, Any]:
    return dict(json.loads(data)) if data else {}


def _chunk_metadata(item: StoredChunk) -> dict[str, Any]:
    place = item.chunk.place
    label = place.page_label or (None if place.page is None else str(place.page))
    known = label is None or "page" in item.chunk.metadata
    return {**({} if known else {"page_label": label}), **item.chunk.metadata}


def _document_metadata(document: _Document) -> dict[str, Any]:
    path = {"file_path": document.source.name} if document.source.is_file else {}
    return {**path, **document.record.metadata}


def _modern(item: StoredChunk, node: dict[str, Any], owner: str | None, document: _Document) -> dict[str, Any]:
    """A TextNode as 0.12 to 0.14 write it, with what an older record says of templates and keys."""
    relationships: dict[str, Any] = {}
    if owner is not None:
        relationships["1"] = _related(owner, _DOCUMENT, _document_metadata(document), "")
    separator = node.get("metadata_separator", node.get("metadata_seperator"))
    return {
        "id_": item.chunk.chunk_id,
        "embedding": None,
        "metadata": nodes.metadata_of(node) or {},
        "excluded_embed_metadata_keys": node.get("excluded_embed_metadata_keys") or [],
        "excluded_llm_metadata_keys": node.get("excluded_llm_metadata_keys") or [],
        "relationships": relationships,
        "metadata_template": node.get("metadata_template") or "{key}: {value}",
        "metadata_separator": "\n" if separator is None else separator,
        "text": item.chunk.text,
        "mimetype": "text/plain",
        "start_char_idx": item.chunk.place.start,
        "end_char_idx": item.chunk.place.end,
        "text_template": node.get("text_template") or "{metadata_str}\n\n{content}",
        "class_name": "TextNode",
    }


def _related(node_id: str, kind: str, metadata: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "node_type": kind,
        "metadata": metadata,
        "hash": _hash(text, metadata),
        "class_name": "RelatedNodeInfo",
    }


def _hash(text: str, metadata: Any) -> str:
    return hashlib.sha256(f"{text}{metadata}".encode("utf-8", "surrogatepass")).hexdigest()
