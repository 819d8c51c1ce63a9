"""The way back: a library as a LlamaIndex JSON folder that LlamaIndex 0.12 to 0.14 opens.

What an import brought goes out as it came in; everything else is written as those releases would write it. The files are written as
streams, so that memory does not follow their size.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import Backend, DocumentRecord, SourceRecord, StoredChunk, View
from stackroom.errors import UsageError
from stackroom.ingest.file_facts import IMPORTED
from stackroom.migration.records import DEFAULT_NAMESPACE
from stackroom.nodes import reading as nodes
from stackroom.nodes import writing
from stackroom.nodes.kept import unfold
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.disk import fsio
from stackroom.types import Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TEXT_NODE, _DOCUMENT = "1", "4"
_NEAR = ("2", "3")
"""The relationships of a node to the ones before and after it."""
_IDS = 4096
"""Ids of nodes that are held in memory."""

_INDEX, _FILE = "index/", "file/"

LATER = "stackroom"
"""The index of what came after the migration, where no index of the library is the one that it must belong to."""


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
        fsio.make_folder(staging)
        try:
            with backend.view() as view:
                written = _Export(view, staging, progress, cancel).run()
            if cancel.cancelled:
                return 0
            fsio.sync_tree(staging)
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
    changed: bool = False
    """whether it has a passage that Stackroom read"""

    @property
    def imported(self) -> bool:
        return self.source.recipe.startswith(IMPORTED)


class _Export:
    def __init__(self, view: View, folder: Path, progress: Progress, cancel: CancelToken) -> None:
        self._view = view
        self._folder = folder
        self._progress = progress
        self._cancel = cancel
        self._parts: dict[str, _Section] = {}
        self._vectors: dict[str, _VectorSections] = {}
        self._own = {
            item.name: KeySet.from_keys(self._members(item.name))
            for item in view.collections()
            if item.identity is not None
        }
        self._later = array("q")
        """passages with a vector that no migration brought: an index must list them, or LlamaIndex never finds them"""
        self._written = 0

    def run(self) -> int:
        self._store(DEFAULT_NAMESPACE)
        self._store("image")
        for source in self._view.each_source():
            for record in self._view.documents(source.key):
                if self._cancel.cancelled:
                    return self._written
                if record.chunks:
                    kept = self._view.kept("document", [record.key]).get(record.key)
                    self._document(_Document(record, source, _loads(kept)))
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
        neighbours: list[StoredChunk] = []
        for item in self._view.chunks(document.record.key, vectors=True):
            neighbours.append(item)
            if len(neighbours) == 3:
                neighbours.pop(0)
            self._chunk(document, item, neighbours[-2] if len(neighbours) > 1 else None)
        node = document.original.get("node")
        # Where Stackroom has read the file again, the old record tells what it was.
        if isinstance(node, dict) and not document.changed:
            self._put_node(document.record.document_id, document.original.get("type", _DOCUMENT), node)
        self._about(document)
        self._progress(ProgressEvent("export", done=self._written))

    def _about(self, document: _Document) -> None:
        document_id, original = document.record.document_id, document.original
        told = original.get("docstore")
        new = document.changed or not original
        if new and document.node_ids and not original.get("hashed"):
            # No text has this hash: a program that refreshes by hashes reads the document once more.
            told = {**(told or {}), "doc_hash": writing.node_hash("", document.record.metadata)}
        if told is not None:
            self._part("docstore/metadata").put(document_id, told)
        if "ref_doc_info" in original:
            info = {"node_ids": document.node_ids, **original["ref_doc_info"]}
        elif document.node_ids and (new or original.get("hashed")):
            info = {"node_ids": document.node_ids, "metadata": _about(document)}
        else:
            return
        self._part("docstore/ref_doc_info").put(document_id, info)

    def _chunk(self, document: _Document, item: StoredChunk, before: StoredChunk | None) -> None:
        original = _loads(self._view.kept("chunk", [item.key]).get(item.key))
        vectors = dict(self._vectors_of(item))
        chunk_id = item.chunk.chunk_id or ""
        owner: str | None = document.record.document_id
        if original:
            owner = None if original.get("parentless") else owner
        else:
            document.changed = True
        node, kind = self._node(document, item, original, before, vectors.get(DEFAULT_NAMESPACE), owner)
        if node is not None:
            self._put_node(chunk_id, kind, node)
            if owner is not None:
                document.node_ids.append(chunk_id)
        if not original and owner is not None:
            entry = {"doc_hash": writing.node_hash(item.chunk.text, item.chunk.metadata), "ref_doc_id": owner}
            self._part("docstore/metadata").put(chunk_id, entry)
        elif "docstore" in original:
            self._part("docstore/metadata").put(chunk_id, original["docstore"])
        self._put_vectors(chunk_id, owner, node or {}, original, vectors)
        if node is not None and item.chunk.embedding is not None and not (original and document.imported):
            self._later.append(item.key)
        self._written += 1

    def _vectors_of(self, item: StoredChunk) -> Iterator[tuple[str, Any]]:
        if item.chunk.embedding is not None:
            yield DEFAULT_NAMESPACE, item.chunk.embedding.tolist()
        for name, members in self._own.items():
            if members.contains(np.array([item.key]))[0]:
                yield name, self._view.vectors([item.key], collection=name)[0].tolist()

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
            node = unfold(folded, text=item.chunk.text, vector=vector)
            if not document.imported:
                self._drop_gone(node)
            kind = str(original.get("type", _TEXT_NODE))
            if "class_name" in node:
                return node, kind
            metadata = nodes.metadata_of(node) or {}
            return writing.text_node(_passage(item), metadata, owner, _about(document), like=node), _TEXT_NODE
        if original:
            return None, _TEXT_NODE
        own = writing.chunk_metadata(item.chunk.place, item.chunk.metadata)
        node = writing.text_node(_passage(item), {**_about(document), **own}, owner, _about(document))
        if before is not None:
            node["relationships"]["2"] = writing.related(before.chunk.chunk_id or "", _TEXT_NODE, {}, before.chunk.text)
        return node, _TEXT_NODE

    def _drop_gone(self, node: dict[str, Any]) -> None:
        """A neighbour that an edit took away is none: LlamaIndex would look for it."""
        related = node.get("relationships")
        if not isinstance(related, dict):
            return
        near = {kind: other["node_id"] for kind, other in related.items() if kind in _NEAR and _is_named(other)}
        keys = self._view.chunk_keys(list(near.values()))
        gone = {kind for kind, key in zip(near, keys, strict=True) if key is None}
        node["relationships"] = {kind: other for kind, other in related.items() if kind not in gone}

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
        kinds: dict[str, str] = {}
        listed: dict[str, NDArray[np.int64]] = {}
        structs: dict[str, dict[str, Any]] = {}
        collections = {item.name for item in self._view.collections()}
        for name, data in self._view.attachments():
            if name.startswith(_FILE):
                (self._folder / Path(name.removeprefix(_FILE)).name).write_bytes(data)
            elif name.startswith(_INDEX):
                index_id = name.removeprefix(_INDEX)
                kept = json.loads(data)
                structs[index_id] = kept["struct"]
                kind = kept["type"]
                if kept.get("listed"):
                    own = index_id in collections
                    listed[index_id] = self._members(index_id) if own else self._view.live_keys()
                    kind = kind if kind == "multimodal" else "vector_store"
                kinds[index_id] = kind
        if not kinds:
            index_id = str(uuid.uuid4())
            structs[index_id] = _struct(index_id)
            listed[index_id] = self._view.live_keys(with_vector=True)
            kinds[index_id] = "vector_store"
        later = np.array(self._later, dtype=np.int64)
        for keys in listed.values():
            later = np.setdiff1d(later, keys)
        if len(later):
            index_id = next(iter(listed)) if len(listed) == 1 else LATER
            structs.setdefault(index_id, _struct(index_id))
            listed[index_id] = np.concatenate([listed.get(index_id, later[:0]), later])
            kinds.setdefault(index_id, "vector_store")
        with (self._folder / "index_store.json").open("w", encoding="utf-8") as file:
            file.write('{"index_store/data": {')
            for number, (index_id, kind) in enumerate(kinds.items()):
                head = f'{json.dumps(index_id)}: {{"__type__": {json.dumps(kind)}, "__data__": "'
                file.write(f"{', ' if number else ''}{head}")
                for text in self._struct_with_nodes(structs[index_id], listed.get(index_id)):
                    # It is JSON within a string of JSON.
                    file.write(json.dumps(text)[1:-1])
                file.write('"}')
            file.write("}}")
        graph = self._folder / "graph_store.json"
        if not graph.exists():
            graph.write_text('{"graph_dict": {}}', encoding="utf-8")

    def _struct_with_nodes(self, struct: dict[str, Any], keys: NDArray[np.int64] | None) -> Iterator[str]:
        """An index struct as JSON, in parts; it lists the nodes of these keys, or what it lists already."""
        if keys is None:
            yield json.dumps(struct)
            return
        yield "{"
        for number, (name, value) in enumerate({**struct, "nodes_dict": None}.items()):
            yield f"{', ' if number else ''}{json.dumps(name)}: "
            if name == "nodes_dict":
                yield from self._nodes_dict(keys)
            else:
                yield json.dumps(value)
        yield "}"

    def _members(self, collection: str) -> NDArray[np.int64]:
        return np.array(self._view.members(collection), dtype=np.int64)

    def _nodes_dict(self, keys: NDArray[np.int64]) -> Iterator[str]:
        yield "{"
        for first in range(0, len(keys), _IDS):
            ids = map(json.dumps, self._view.chunk_ids(keys[first : first + _IDS].tolist()))
            yield (", " if first else "") + ", ".join(f"{name}: {name}" for name in ids)
        yield "}"

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


def _struct(index_id: str) -> dict[str, Any]:
    return {"index_id": index_id, "summary": None, "nodes_dict": {}, "doc_id_dict": {}, "embeddings_dict": {}}


def _is_named(other: Any) -> bool:
    return isinstance(other, dict) and isinstance(other.get("node_id"), str)


def _loads(data: bytes | None) -> dict[str, Any]:
    return dict(json.loads(data)) if data else {}


def _about(document: _Document) -> dict[str, Any]:
    return writing.document_metadata(document.record, document.source)


def _passage(item: StoredChunk) -> Passage:
    chunk = item.chunk
    return Passage(chunk.chunk_id or "", "", chunk.text, chunk.place, chunk.metadata)
