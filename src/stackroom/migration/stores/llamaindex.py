"""LlamaIndex's own stores as JSON, of every release from 0.4 to 0.14: a folder, a single file, or one dump.

However they are packed, there are three parts: a docstore (text and metadata), vector stores by namespace, and index
structs that say which index has which node. `Parts` is what a loader finds; the reader joins them on the node's id.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stackroom.errors import DamagedError
from stackroom.migration.records import (
    DEFAULT_NAMESPACE,
    Anomalies,
    MainSpace,
    OldChunk,
    OldDocument,
    OldIndex,
    OldVector,
    Recent,
    usable,
)
from stackroom.migration.stores.faiss_file import is_faiss
from stackroom.migration.stores.names import VECTOR_STORE, namespace_of
from stackroom.migration.stores.slices import JsonFile, Members, Slice
from stackroom.nodes import reading as nodes
from stackroom.nodes.kept import fold

_SEARCHABLE = {"vector_store", "multimodal", "dict", "simple_dict", ""}
_NO_DOCUMENT = "None"


@dataclass(slots=True)
class VectorPart:
    """A vector store: three mappings by node id, each may be missing."""

    vectors: Members | None = None
    documents: Members | None = None
    metadata: Members | None = None

    @classmethod
    def of(cls, value: Slice) -> VectorPart:
        found = {name: item for name, item in value.members() if item.kind == "{"}
        if "simple_vector_store_data_dict" in found:  # 0.4 and 0.5
            found = dict(found["simple_vector_store_data_dict"].members())
        documents = found.get("text_id_to_ref_doc_id") or found.get("text_id_to_doc_id")
        return cls(_members(found.get("embedding_dict")), _members(documents), _members(found.get("metadata_dict")))


@dataclass(slots=True)
class Parts:
    """The parts of a store, wherever they were found."""

    made_by: str
    files: list[JsonFile] = field(default_factory=list)
    nodes: Members | None = None
    hashes: Members | None = None
    documents: Members | None = None
    vectors: dict[str, VectorPart] = field(default_factory=dict)
    indexes: list[tuple[str, Slice]] = field(default_factory=list)
    """index id and its struct, which may be large: it is parsed when it is asked for"""
    attachments: dict[str, Slice] = field(default_factory=dict)

    def take_docstore(self, value: Slice) -> None:
        """Sections are known by the end of their names: what is before the slash is a namespace."""
        for name, section in value.members():
            if section.kind != "{":
                continue
            if name.endswith("/data") or name == "docs":
                self.nodes = section.members()
            elif name.endswith("/metadata"):
                self.hashes = section.members()
            elif name.endswith("/ref_doc_info") or name == "ref_doc_info":
                self.documents = section.members()

    def take_indexes(self, value: Slice) -> None:
        for name, section in value.members():
            if name.endswith("/data"):
                self.indexes += section.members()


def from_folder(folder: Path) -> LlamaIndexStore:
    """A folder as `persist` writes it, from 0.6 on."""
    parts = Parts("")
    namespaces = {}
    for path in sorted(folder.iterdir()):
        namespace = namespace_of(path.name)
        # One that is FAISS's is for another reader; one that is neither is damage, and its vectors are not to be lost without a word.
        if namespace is not None and not is_faiss(path):
            namespaces[namespace] = path
    try:
        for namespace, path in namespaces.items():
            parts.vectors[namespace or DEFAULT_NAMESPACE] = VectorPart.of(_open(parts, path))
        if (folder / "docstore.json").is_file():
            parts.take_docstore(_open(parts, folder / "docstore.json"))
        if (folder / "index_store.json").is_file():
            parts.take_indexes(_open(parts, folder / "index_store.json"))
        for name in ("graph_store.json", "property_graph_store.json"):
            if (folder / name).is_file():
                parts.attachments[name] = _open(parts, folder / name)
    except BaseException:
        for file in parts.files:
            file.close()
        raise
    old = "" in namespaces
    parts.made_by = "LlamaIndex 0.6 or 0.7" if old else "LlamaIndex, 0.8 or newer"
    return LlamaIndexStore(parts, "llamaindex")


def from_dump(path: Path) -> LlamaIndexStore:
    """What `StorageContext.to_dict()` returned, written as one object."""
    parts = Parts("LlamaIndex (StorageContext.to_dict)")
    for name, value in _open(parts, path).members():
        if name == "vector_store":
            found = dict(value.members())
            if "embedding_dict" in found:  # 0.6 and 0.7 had one
                parts.vectors[DEFAULT_NAMESPACE] = VectorPart.of(value)
            else:
                parts.vectors.update({key: VectorPart.of(item) for key, item in found.items() if item.kind == "{"})
        elif name == "doc_store":
            parts.take_docstore(value)
        elif name == "index_store":
            parts.take_indexes(value)
        elif name in ("graph_store", "property_graph_store") and value.kind == "{":
            parts.attachments[f"{name}.json"] = value
    return LlamaIndexStore(parts, "llamaindex-dump")


def from_file(path: Path) -> LlamaIndexStore:
    """The single file of 0.5 (`save_to_disk`); that of 0.4 has a reader of its own."""
    parts = Parts("LlamaIndex 0.5")
    for name, value in _open(parts, path).members():
        inner = _data(value)
        if name == "docstore":
            parts.take_docstore(inner)
        elif name == "vector_store":
            parts.vectors[DEFAULT_NAMESPACE] = VectorPart.of(inner)
        elif name == "index_struct":
            parts.indexes.append((str(index_struct(value).fields.get("index_id") or "index"), value))
    return LlamaIndexStore(parts, "llamaindex-file")


def is_json(path: Path) -> bool:
    """Whether a file begins as a JSON object does; LlamaIndex writes FAISS's binary under the same name."""
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    except OSError:
        return False


def _open(parts: Parts, path: Path) -> Slice:
    file = JsonFile(path)
    parts.files.append(file)
    return file.root()


def _members(value: Slice | None) -> Members | None:
    return value.members() if value is not None and value.kind == "{" else None


class IndexStruct(NamedTuple):
    """What an index is: its type, what it says of itself, and the nodes it lists, which stay unparsed."""

    kind: str
    fields: dict[str, Any]
    nodes: Members | None


def index_struct(value: Slice) -> IndexStruct:
    """The body is JSON within JSON, or a plain object in some older files."""
    outer = dict(value.members()) if value.kind == "{" else {}
    kind = outer["__type__"].load() if "__type__" in outer else ""
    body = outer.get("__data__", value)
    if body.kind == '"':
        with contextlib.suppress(DamagedError):
            body = body.inner().root()
    fields = dict(body.members()) if body.kind == "{" else {}
    listed = fields.pop("nodes_dict", None)
    kept = {name: field.load() for name, field in fields.items()}
    return IndexStruct(str(kind), kept, _members(listed))


def index_fields(value: Slice) -> dict[str, Any]:
    """All of an index struct, parsed."""
    entry = value.load()
    body = entry.get("__data__", entry) if isinstance(entry, dict) else {}
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            body = {}
    return body if isinstance(body, dict) else {}


def _data(value: Slice) -> Slice:
    if value.kind == "{":
        for name, inner in value.members():
            if name == "__data__" and inner.kind == "{":
                return inner
    return value


class LlamaIndexStore:
    """An OldStore over the parts."""

    def __init__(self, parts: Parts, format: str) -> None:
        self.parts = parts
        self.format = format
        self.made_by = parts.made_by
        self.files: Sequence[Path] = [file.path for file in parts.files]
        self._told: Recent[tuple[Mapping[str, Any], str | None]] = Recent()
        """what nodes say of their documents: metadata and hash"""
        self._dimensions: Counter[tuple[str, int]] | None = None
        self._indexes: Sequence[OldIndex] | None = None

    def close(self) -> None:
        for file in self.parts.files:
            file.close()

    def dimensions(self) -> Counter[tuple[str, int]]:
        if self._dimensions is None:
            self._dimensions = self._count_dimensions()
        return self._dimensions

    def _count_dimensions(self) -> Counter[tuple[str, int]]:
        found: Counter[tuple[str, int]] = Counter()
        for namespace, part in self.parts.vectors.items():
            for row in range(0 if part.vectors is None else len(part.vectors)):
                assert part.vectors is not None
                value = part.vectors.value(row)
                if value.kind == "[":
                    found[namespace, value.count_numbers()] += 1
        found.update(self._dimensions_in_nodes() if not found else {})
        return Counter({key: n for key, n in found.items() if key[1]})

    def _dimensions_in_nodes(self) -> Counter[tuple[str, int]]:
        """Of vectors that the nodes bring themselves."""
        found: Counter[tuple[str, int]] = Counter()
        for chunk in self.chunks(Anomalies()):
            for vector in chunk.vectors:
                if vector.values is not None:
                    found[vector.namespace, len(vector.values)] += 1
        return found

    def count(self) -> int:
        nodes_, stores = self.parts.nodes, self.parts.vectors.values()
        vectors = sum(len(part.vectors) for part in stores if part.vectors is not None)
        return vectors or (0 if nodes_ is None else len(nodes_))

    def chunks(self, anomalies: Anomalies) -> Iterator[OldChunk]:
        parts = self.parts
        superseded = self._superseded(parts.nodes, anomalies)
        listed = self._listed()
        alone = self._only_documents()
        with_vector = False
        unseen = {namespace: self._unseen(part, anomalies) for namespace, part in parts.vectors.items()}
        for row in range(0 if parts.nodes is None else len(parts.nodes)):
            assert parts.nodes is not None
            if row in superseded:
                continue
            node_id, value = parts.nodes.key(row), parts.nodes.value(row)
            kind, body = nodes.unwrap(value.load())
            vectors = self._vectors(node_id, body, unseen)
            if nodes.is_document(kind) and not vectors and not alone:
                continue
            if not node_id:
                anomalies.note("a node without an id", f"byte {value.start:,} of {value.file.path.name}")
                continue
            with_vector = with_vector or bool(vectors)
            if not vectors:
                anomalies.note("no vector", node_id)
            elif listed is not None and not _holds(listed, node_id):
                anomalies.note("in no index", node_id)
            yield self._chunk(node_id, kind, body, vectors)
        yield from self._orphans(unseen, anomalies)
        self._note_missing(anomalies)
        if not with_vector and DEFAULT_NAMESPACE not in parts.vectors and listed is not None:
            anomalies.note("a vector store that is missing", f"{DEFAULT_NAMESPACE}__{VECTOR_STORE}")

    def _note_missing(self, anomalies: Anomalies) -> None:
        """Lists of nodes that are nowhere: they are dropped."""
        for document_id, value in self.parts.documents or ():
            info = value.load()
            listed = (info.get("node_ids") or info.get("doc_ids")) if isinstance(info, dict) else None
            for node_id in listed if isinstance(listed, list) else ():
                if not self._is_known(node_id):
                    anomalies.note("a list of nodes that are gone", f"{node_id} of {document_id}")
        known = self._known()
        for (index_id, value), index in zip(self.parts.indexes, self.indexes(), strict=True):
            # Nearly always all of them are known, which is seen without parsing the index again.
            if index.members is not None and np.isin(index.members, known).all():
                continue
            for _, node in index_struct(value).nodes or ():
                if not self._is_known(node_id := node.load()):
                    anomalies.note("a list of nodes that are gone", f"{node_id} of {index_id}")

    def _known(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The hashes of every id that has a text or a vector."""
        sections = [self.parts.nodes, *(part.vectors for part in self.parts.vectors.values())]
        found = [section.hashes() for section in sections if section is not None]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _is_known(self, node_id: Any) -> bool:
        if not isinstance(node_id, str) or (self.parts.nodes is not None and node_id in self.parts.nodes):
            return True
        return any(part.vectors is not None and node_id in part.vectors for part in self.parts.vectors.values())

    def _superseded(self, members: Members | None, anomalies: Anomalies) -> set[int]:
        rows = set() if members is None else set(members.superseded())
        for row in rows:
            assert members is not None
            anomalies.note("written twice, the last one counts", members.key(row))
        return rows

    def _unseen(self, part: VectorPart, anomalies: Anomalies) -> np.ndarray[Any, Any]:
        """Which vectors no node has taken yet: one bool each."""
        unseen = np.ones(0 if part.vectors is None else len(part.vectors), dtype=bool)
        for row in self._superseded(part.vectors, anomalies):
            unseen[row] = False
        return unseen

    def _listed(self) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """Sorted hashes of the ids that any index lists; None where no index says."""
        found = [index.members for index in self.indexes() if index.members is not None and len(index.members)]
        return np.unique(np.concatenate(found)) if found else None

    def _only_documents(self) -> bool:
        """Whether the docstore holds documents and no node of them, as a pipeline's does: then they are the text."""
        members = self.parts.nodes
        if members is None or any(part.vectors for part in self.parts.vectors.values()):
            return False
        return all(nodes.is_document(nodes.unwrap(value.load())[0]) for _, value in members)

    def _vectors(
        self, node_id: str, body: Mapping[str, Any], unseen: Mapping[str, np.ndarray[Any, Any]]
    ) -> list[OldVector]:
        found = []
        for namespace, part in self.parts.vectors.items():
            row = None if part.vectors is None else part.vectors.row(node_id)
            if row is not None and part.vectors is not None:
                unseen[namespace][row] = False
                found.append(_vector(namespace, part.vectors.value(row)))
        found = [vector for vector in found if vector.values is None or len(vector.values)]
        own = nodes.embedding_of(body)
        if not found and isinstance(own, list) and own:
            found.append(OldVector(DEFAULT_NAMESPACE, as_numbers(own)))
        return found

    def _chunk(self, node_id: str, kind: str, body: dict[str, Any], vectors: Sequence[OldVector]) -> OldChunk:
        text = nodes.text_of(body) or ""
        metadata = nodes.metadata_of(body)
        if metadata is None:
            metadata = self._stored_metadata(node_id)
        document_id, about, digest = nodes.source_of(body)
        document_id = document_id or self._document_id(node_id)
        if nodes.is_document(kind):
            document_id = document_id or node_id
        if document_id is not None and document_id not in self._told:
            self._told[document_id] = about, digest
        original = {
            "type": kind,
            "node": fold(body, text=text),
            **({"parentless": True} if document_id is None else {}),
            **self._beside(node_id, nodes.stored_metadata(body, metadata, document_id), document_id),
        }
        return OldChunk(node_id, text, metadata, document_id, nodes.place_of(body, metadata), vectors, original)

    def _beside(self, node_id: str, expected: Mapping[str, Any], document_id: str | None) -> dict[str, Any]:
        """What the docstore and the vector stores say of a node beside its own record, where it is not as `expected`."""
        found: dict[str, Any] = {}
        hashes = None if self.parts.hashes is None else self.parts.hashes.get(node_id)
        if hashes is not None:
            found["docstore"] = hashes.load()
        for namespace, part in self.parts.vectors.items():
            entry = part.metadata.get(node_id) if part.metadata is not None else None
            if entry is not None and not entry.is_plainly(expected) and (stored := entry.load()) != expected:
                found.setdefault("metadata", {})[namespace] = stored
            owner = part.documents.get(node_id) if part.documents is not None else None
            named = document_id or _NO_DOCUMENT
            if owner is not None and not owner.is_plainly(named) and (said := owner.load()) != named:
                found.setdefault("ref_doc_id", {})[namespace] = said
        return found

    def _stored_metadata(self, node_id: str) -> dict[str, Any]:
        for part in self.parts.vectors.values():
            entry = part.metadata.get(node_id) if part.metadata is not None else None
            found = entry.load() if entry is not None else None
            if isinstance(found, dict):
                return {name: value for name, value in found.items() if name not in nodes.RESERVED}
        return {}

    def _document_id(self, node_id: str) -> str | None:
        """The document of a node that does not say itself."""
        hashes = None if self.parts.hashes is None else self.parts.hashes.get(node_id)
        entry = hashes.load() if hashes is not None else None
        if isinstance(entry, dict) and isinstance(entry.get("ref_doc_id"), str) and entry["ref_doc_id"]:
            return str(entry["ref_doc_id"])
        for part in self.parts.vectors.values():
            for members, name in ((part.documents, None), (part.metadata, "ref_doc_id")):
                value = members.get(node_id) if members is not None else None
                found = value.load() if value is not None else None
                if name is not None and isinstance(found, dict):
                    found = found.get(name)
                if isinstance(found, str) and found and found != _NO_DOCUMENT:
                    return found
        return None

    def _orphans(self, unseen: Mapping[str, np.ndarray[Any, Any]], anomalies: Anomalies) -> Iterator[OldChunk]:
        """Vectors whose node the docstore does not have."""
        for namespace, part in self.parts.vectors.items():
            for row in np.flatnonzero(unseen[namespace]).tolist():
                assert part.vectors is not None
                node_id = part.vectors.key(row)
                if not node_id:
                    anomalies.note("a node without an id", f"byte {part.vectors.value(row).start:,}")
                    continue
                anomalies.note("a vector without text", node_id)
                metadata = self._stored_metadata(node_id)
                beside = self._beside(node_id, {}, self._document_id(node_id))
                yield OldChunk(
                    node_id,
                    "",
                    metadata,
                    self._document_id(node_id),
                    vectors=[_vector(namespace, part.vectors.value(row))],
                    original={"orphan": True, **beside},
                    orphan=True,
                )

    def sample(self, n: int) -> Sequence[tuple[str, np.ndarray[Any, np.dtype[np.float64]]]]:
        main = MainSpace.of(self.dimensions())
        part = self.parts.vectors.get(main.namespace)
        if part is None or part.vectors is None:
            return []
        rows = np.unique(np.linspace(0, len(part.vectors) - 1, min(4 * n, len(part.vectors))).astype(int))
        found = []
        for row in rows.tolist():
            node_id = part.vectors.key(row)
            if not self._is_node(node_id) or part.vectors.row(node_id) != row:
                continue
            values = as_numbers(part.vectors.value(row).load())
            if values is not None and len(values) == main.dim and usable(values):
                found.append((node_id, values))
        return found[:: max(1, len(found) // n)][:n]

    def _is_node(self, node_id: str) -> bool:
        return self.parts.nodes is not None and node_id in self.parts.nodes

    def document(self, document_id: str) -> OldDocument:
        parts = self.parts
        original: dict[str, Any] = {}
        metadata: Mapping[str, Any] = {}
        body_value = None if parts.nodes is None else parts.nodes.get(document_id)
        if body_value is not None:
            kind, body = nodes.unwrap(body_value.load())
            if nodes.is_document(kind):
                metadata = nodes.metadata_of(body) or {}
                original |= {"type": kind, "node": body}
        info = None if parts.documents is None else parts.documents.get(document_id)
        entry = info.load() if info is not None else None
        if isinstance(entry, dict):
            rest = {name: value for name, value in entry.items() if name not in ("node_ids", "doc_ids")}
            original["ref_doc_info"] = rest
        hashes = None if parts.hashes is None else parts.hashes.get(document_id)
        if hashes is not None:
            original["docstore"] = hashes.load()
        about, digest = self._told.get(document_id, ({}, None))
        if hashes is None and digest is not None:
            original["hash"] = digest
        if not metadata:
            metadata = about
        if not metadata and isinstance(entry, dict):
            metadata = nodes.metadata_of(entry) or {}
        return OldDocument(metadata, nodes.title_of(metadata), original=original or None)

    def indexes(self) -> Sequence[OldIndex]:
        if self._indexes is None:
            self._indexes = [self._index(index_id, value) for index_id, value in self.parts.indexes]
        return self._indexes

    def _index(self, index_id: str, value: Slice) -> OldIndex:
        struct = index_struct(value)
        searchable = struct.kind in _SEARCHABLE and struct.nodes is not None
        members = hashes(node.load() for _, node in struct.nodes) if searchable and struct.nodes else None
        # Of an index of another kind all is kept as it is.
        fields = struct.fields if searchable else index_fields(value)
        kept = json.dumps({"type": struct.kind, "struct": fields, "listed": searchable}).encode()
        return OldIndex(index_id, members, kept)

    def attachments(self) -> Iterator[tuple[str, bytes]]:
        for name, value in self.parts.attachments.items():
            yield name, value.raw()


def _vector(namespace: str, value: Slice) -> OldVector:
    return OldVector(namespace, value.numbers())


def hashes(ids: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.unique(np.fromiter((hash(item) for item in ids if isinstance(item, str)), dtype=np.int64))


def _holds(sorted_hashes: np.ndarray[Any, np.dtype[np.int64]], node_id: str) -> bool:
    wanted = hash(node_id)
    at = int(sorted_hashes.searchsorted(wanted))
    return at < len(sorted_hashes) and bool(sorted_hashes[at] == wanted)


def as_numbers(value: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """A list of numbers as float64, None where it holds something else."""
    if not isinstance(value, list) or not all(
        isinstance(item, int | float) and not isinstance(item, bool) for item in value
    ):
        return None
    try:
        return np.array(value, dtype=np.float64)
    except OverflowError:
        return None
