"""A folder of LlamaIndex folders, one a document, with a registry that says which file each is of and whether it is active."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackroom.errors import DamagedError
from stackroom.migration.records import Anomalies, OldChunk, OldDocument, OldIndex, Recent
from stackroom.migration.stores import matrices
from stackroom.migration.stores.flat import FlatStore
from stackroom.migration.stores.llamaindex import LlamaIndexStore, from_folder
from stackroom.migration.stores.slices import JsonFile
from stackroom.nodes import reading as nodes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REGISTRY = "index_registry.json"
_FOLDERS = "doc_indexes"


def from_registry(folder: Path) -> RegistryStore:
    """Raises DamagedError."""
    path = folder / REGISTRY
    if not path.is_file():
        path = folder / _FOLDERS / REGISTRY
    with JsonFile(path) as file:
        told = file.root().load()
    documents = told.get("documents", told) if isinstance(told, dict) else {}
    if not isinstance(documents, dict):
        raise DamagedError(f"{path} lists no documents.", hint="Nothing was changed.", path=path)
    within = path.parent / _FOLDERS if (path.parent / _FOLDERS).is_dir() else path.parent
    return RegistryStore(path, within, {key: entry for key, entry in documents.items() if isinstance(entry, dict)})


class RegistryStore:
    """An OldStore over one store a document; they are opened one at a time, so that thousands of them need no memory."""

    format = "registry"
    made_by = "one LlamaIndex folder a document, with a registry"

    def __init__(self, registry: Path, within: Path, documents: dict[str, dict[str, Any]]) -> None:
        self._entries = documents
        self._folders = {}
        for folder in sorted(path for path in within.iterdir() if path.is_dir()):
            owner = max((key for key in documents if folder.name.startswith(f"{key}_")), key=len, default=None)
            if _holds_one(folder) and (owner is not None or folder.name in documents):
                self._folders[folder] = owner or folder.name
        stores = [_open(folder) for folder in self._folders]
        self.files: Sequence[Path] = [registry, *(path for store in stores for path in store.files)]
        self._dimensions = sum((store.dimensions() for store in stores), Counter[tuple[str, int]]())
        # Vectors with and without a model's prefixes must not be mixed; only the stores with a matrix say how it was.
        self._ways = {store.made_by for store in stores if isinstance(store, FlatStore)}
        self._count = sum(store.count() for store in stores)
        for store in stores:
            store.close()
        self._documents: Recent[OldDocument] = Recent()

    def close(self) -> None:
        pass

    def dimensions(self) -> Counter[tuple[str, int]]:
        return self._dimensions

    def count(self) -> int:
        return self._count

    def chunks(self, anomalies: Anomalies) -> Iterator[OldChunk]:
        seen: set[int] = set()
        if len(self._ways) > 1:
            anomalies.note("embedded in more than one way", "; ".join(sorted(self._ways)), count=len(self._ways))
        for key in self._entries.keys() - set(self._folders.values()):
            anomalies.note("a document whose folder is missing", key)
        for folder, key in self._folders.items():
            store = _open(folder)
            try:
                for chunk in store.chunks(anomalies):
                    if hash(chunk.chunk_id) in seen:
                        anomalies.note("the same id in two indexes", chunk.chunk_id)
                        continue
                    seen.add(hash(chunk.chunk_id))
                    self._remember(store, key, chunk)
                    yield chunk
            finally:
                store.close()

    def _remember(self, store: LlamaIndexStore | FlatStore, key: str, chunk: OldChunk) -> None:
        """The document of a chunk, with what the registry knows of it."""
        document_id = chunk.document_id or chunk.chunk_id
        if document_id in self._documents:
            return
        entry = self._entries[key]
        found = store.document(document_id)
        path = entry.get("path") or entry.get("file_path")
        metadata = dict(found.metadata)
        if isinstance(path, str) and nodes.file_of(metadata) is None:
            metadata["file_path"] = path
        active = entry.get("active", entry.get("is_active", True)) is not False
        title = found.title or nodes.title_of(entry)
        self._documents[document_id] = OldDocument(metadata, title, active, found.original)

    def sample(self, n: int) -> Sequence[tuple[str, NDArray[np.float64]]]:
        found: list[tuple[str, NDArray[np.float64]]] = []
        seen: set[str] = set()
        each = max(1, n // max(1, len(self._folders)))
        for folder in self._folders:
            store = _open(folder)
            found += [item for item in store.sample(each) if item[0] not in seen]
            seen.update(chunk_id for chunk_id, _ in found)
            store.close()
            if len(found) >= n:
                break
        return found[:n]

    def document(self, document_id: str) -> OldDocument:
        return self._documents.get(document_id) or OldDocument()

    def indexes(self) -> Sequence[OldIndex]:
        return ()

    def attachments(self) -> Iterator[tuple[str, bytes]]:
        yield "index_registry.json", self.files[0].read_bytes()


def _holds_one(folder: Path) -> bool:
    return (folder / "docstore.json").is_file() or (folder / matrices.DOCUMENTS).is_file()


def _open(folder: Path) -> LlamaIndexStore | FlatStore:
    return from_folder(folder) if (folder / "docstore.json").is_file() else matrices.from_documents(folder)
