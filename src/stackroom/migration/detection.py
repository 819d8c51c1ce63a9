"""What is in this folder or file? Judged by names, then by the first bytes, then by the keys of a JSON object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stackroom.errors import NotFoundError, UnknownStoreError, UsageError
from stackroom.migration import llamaindex
from stackroom.migration.records import OldStore
from stackroom.migration.slices import JsonFile


@dataclass(frozen=True, slots=True)
class Found:
    """A store that was recognised."""

    format: str
    open: Callable[[], OldStore]


LOOKED_FOR = """\
a LlamaIndex folder (docstore.json, default__vector_store.json) or file (0.4, 0.5, a to_dict dump, an ingestion cache), with or \
without FAISS; LangChain's index.faiss with index.pkl; documents.json with embeddings.npy; index_registry.json with a folder for each \
document; nano-vectordb's vdb_*.json"""


def detect(path: Path) -> list[Found]:
    """Every store that this path may mean. Raises NotFoundError."""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist.", hint="Check the name.", path=path)
    return _in_folder(path) if path.is_dir() else _in_file(path)


def open_old(path: Path, format: str | None = None) -> OldStore:
    """Open the one that is meant. Raises UnknownStoreError, UsageError where there are several, DamagedError."""
    found = detect(path)
    if not found:
        raise UnknownStoreError(
            f"{path} holds no index that Stackroom knows.", hint=f"Looked for: {LOOKED_FOR}.", path=path
        )
    chosen = [item for item in found if format in (None, item.format)]
    if len(chosen) != 1:
        names = ", ".join(item.format for item in found)
        raise UsageError(
            f"{path} holds {'several indexes' if format is None else 'no index'} of the kind wanted: there are {names}.",
            hint="Say which: --from " + found[0].format,
            path=path,
            actual=names,
        )
    return chosen[0].open()


def _in_folder(folder: Path) -> list[Found]:
    names = {path.name for path in folder.iterdir() if path.is_file()}
    found: list[Found] = []
    json_vectors = any(
        llamaindex.namespace_of(name) is not None and llamaindex.is_json(folder / name) for name in names
    )
    if json_vectors or "docstore.json" in names:
        found.append(Found("llamaindex", lambda: llamaindex.from_folder(folder)))
    return found


def _in_file(path: Path) -> list[Found]:
    if not llamaindex.is_json(path):
        return []
    with JsonFile(path) as file:
        keys = {name: value.kind for name, value in file.root().members()}
    if {"vector_store", "doc_store", "index_store"} <= keys.keys():
        return [Found("llamaindex-dump", lambda: llamaindex.from_dump(path))]
    if "docstore" in keys and ("index_struct" in keys or "index_struct_id" in keys):
        return [Found("llamaindex-file", lambda: llamaindex.from_file(path))]
    return []
