"""What is in this folder or file? Judged by names, then by the first bytes, then by the keys of a JSON object."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stackroom.errors import NotFoundError, ReadOnlyError, StorageError, UnknownStoreError, UsageError
from stackroom.migration.records import OldStore
from stackroom.migration.stores import (
    faiss_file,
    langchain,
    llamaindex,
    llamaindex_cache,
    llamaindex_faiss,
    llamaindex_v04,
    matrices,
    registry,
)
from stackroom.migration.stores.names import namespace_of
from stackroom.migration.stores.slices import JsonFile, Slice
from stackroom.storage.disk import fsio


@dataclass(frozen=True, slots=True)
class Found:
    """A store that was recognised."""

    format: str
    open: Callable[[], OldStore]
    file: Path | None = None
    """which says what is meant, where a folder has several of this format"""


LOOKED_FOR = """\
a LlamaIndex folder (docstore.json, default__vector_store.json) or file (0.4, 0.5, a to_dict dump, an ingestion cache), with or \
without FAISS; LangChain's index.faiss with index.pkl; documents.json with embeddings.npy; index_registry.json with a folder for each \
document; nano-vectordb's vdb_*.json"""


_KNOWN = {"Chroma": ("chroma.sqlite3",), "Qdrant": ("collection", "meta.json")}
"""Stores that are recognised only to say so, by what they consist of."""


def foreign(path: Path) -> str | None:
    """The program whose store this folder is, where it can't be migrated."""
    return next((program for program, names in _KNOWN.items() if all((path / name).exists() for name in names)), None)


def detect(path: Path) -> list[Found]:
    """Every store that this path may mean. Raises NotFoundError."""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist.", hint="Check the name.", path=path)
    return _in_folder(path) if path.is_dir() else _in_file(path)


def half(path: Path) -> str | None:
    """What to say of FAISS without the texts that belong to it, or the other way round; None where this is neither."""
    folder = path if path.is_dir() else path.parent
    for file in sorted(folder.iterdir()) if path.is_dir() else [path]:
        missing = _other_half(file)
        if missing is not None and not (folder / missing).exists():
            return f"{folder} holds half an index: {file.name} without {missing}. Texts are in one of the two, vectors in the other."
    return None


def _other_half(file: Path) -> str | None:
    if faiss_file.is_faiss(file):
        if file.suffix == ".faiss":
            return f"{file.stem}.pkl"
        return "docstore.json" if namespace_of(file.name) is not None else None
    return f"{file.stem}.faiss" if langchain.is_pickle(file) else None


def open_old(path: Path, format: str | None = None) -> OldStore:
    """Open the one that is meant. Raises UnknownStoreError, UsageError where there are several, DamagedError, StorageError."""
    try:
        with fsio.translated(path):
            return _open(path, format)
    except ReadOnlyError as error:
        # Nothing is written here.
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else "permission denied"
        raise StorageError(
            f"{error.path} can't be read: {why}.", hint="Check its permissions.", path=error.path
        ) from error


def _open(path: Path, format: str | None) -> OldStore:
    found = detect(path)
    if not found:
        if (known := foreign(path)) is not None:
            raise UnknownStoreError(
                f"{path} is {known}'s, which can't be migrated yet.",
                hint="Export it from there as LlamaIndex or LangChain JSON, or add the files themselves: stackroom add",
                path=path,
            )
        if (said := half(path)) is not None:
            raise UnknownStoreError(said, hint="Put the missing file beside it.", path=path)
        if path.is_file() and _in_folder(path.parent):
            folder = shlex.quote(str(path.parent))
            raise UnknownStoreError(
                f"{path} is a part of an index.", hint=f"Give the folder: stackroom migrate {folder}", path=path
            )
        raise UnknownStoreError(
            f"{path} holds no index that Stackroom knows.", hint=f"Looked for: {LOOKED_FOR}.", path=path
        )
    chosen = [item for item in found if format in (None, item.format)]
    if len(chosen) != 1:
        names = ", ".join(item.format for item in found)
        raise UsageError(
            f"{path} holds {'several indexes' if format is None else 'no index'} of the kind wanted: there are {names}.",
            hint=_which(found, chosen),
            path=path,
            actual=names,
        )
    return chosen[0].open()


def _which(found: list[Found], chosen: list[Found]) -> str:
    """How to say which of several is meant: by format, or by file where formats are the same."""
    names = sorted({item.format for item in chosen or found})
    if len(names) > 1 or not chosen:
        return "Say which: " + " or ".join(f"--from {name}" for name in names) + " (format=...)."
    files = [item.file for item in chosen if item.file is not None]
    return "Say which: " + " or ".join(f"stackroom migrate {shlex.quote(str(file))}" for file in files)


def _in_folder(folder: Path) -> list[Found]:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    # A FAISS file means something only beside the texts that belong to it.
    texts = "docstore.json" in names or any(name.endswith(".pkl") for name in names)
    binary = [name for name in names if texts and faiss_file.is_faiss(folder / name)]
    stores = [name for name in names if namespace_of(name) is not None and name not in binary]
    # Where FAISS has the place of a vector store, JSON stores beside it are other namespaces of the same index.
    companions = any(namespace_of(name) is not None for name in binary)
    found: list[Found] = []
    if not companions and (_has_vectors(folder, stores) or ("docstore.json" in names and not binary)):
        found.append(Found("llamaindex", lambda: llamaindex.from_folder(folder)))
    for name in binary:
        found += _with_faiss(folder, name, names)
    if matrices.DOCUMENTS in names and matrices.EMBEDDINGS in names:
        found.append(Found("documents-npy", lambda: matrices.from_documents(folder)))
    if registry.REGISTRY in names or (folder / "doc_indexes" / registry.REGISTRY).is_file():
        found.append(Found("registry", lambda: registry.from_registry(folder)))
    vdbs = [name for name in names if name.startswith("vdb_") and name.endswith(".json")]
    if len(vdbs) == 1:
        found.append(Found("nano-vectordb", lambda: matrices.from_nano(folder / vdbs[0])))
    elif vdbs:
        raise UsageError(
            f"{folder} holds several stores of nano-vectordb: {', '.join(vdbs)}.",
            hint=f"Name one of them: stackroom migrate {shlex.quote(str(folder / vdbs[0]))}",
            path=folder,
        )
    if not found and "llama_cache" in names:
        return _in_file(folder / "llama_cache")
    if not found and len(names) == 1:
        return _in_file(folder / names[0])
    return found


def _with_faiss(folder: Path, name: str, names: list[str]) -> list[Found]:
    """What a FAISS file belongs to: LangChain's pickle of the same name, or LlamaIndex's JSON stores."""
    stem, _, suffix = name.rpartition(".")
    if suffix == "faiss" and f"{stem}.pkl" in names:
        return [Found("langchain-faiss", lambda: langchain.from_folder(folder, stem), folder / name)]
    if "docstore.json" in names:
        return [
            Found("llamaindex-faiss", lambda: llamaindex_faiss.from_faiss_folder(folder, folder / name), folder / name)
        ]
    return []


def _has_vectors(folder: Path, stores: list[str]) -> bool:
    """Whether any JSON vector store holds more than empty mappings: LlamaIndex writes one for images beside any other."""
    return any(llamaindex.is_json(folder / name) and (folder / name).stat().st_size > _EMPTY_STORE for name in stores)


_EMPTY_STORE = 200


def _is_early(root: Slice) -> bool:
    """Whether the docstore is 0.4's, which lists everything under `docs`."""
    docstore = root.members().get("docstore")
    return docstore is not None and docstore.kind == "{" and "docs" in docstore.members()


def _in_file(path: Path) -> list[Found]:
    if faiss_file.is_faiss(path):
        return _with_faiss(path.parent, path.name, [item.name for item in path.parent.iterdir() if item.is_file()])
    if not llamaindex.is_json(path):
        return []
    with JsonFile(path) as file:
        root = file.root()
        early = _is_early(root)
        keys = {name: value.kind for name, value in root.members()}
        cache = llamaindex_cache.is_cache(root)
    if {"vector_store", "doc_store", "index_store"} <= keys.keys():
        return [Found("llamaindex-dump", lambda: llamaindex.from_dump(path))]
    if "docstore" in keys and "index_struct_id" in keys and early:
        return [Found("llamaindex-0.4", lambda: llamaindex_v04.from_v04_file(path))]
    if "docstore" in keys and ("index_struct" in keys or "index_struct_id" in keys):
        return [Found("llamaindex-file", lambda: llamaindex.from_file(path))]
    if {"embedding_dim", "data", "matrix"} <= keys.keys():
        return [Found("nano-vectordb", lambda: matrices.from_nano(path))]
    if cache:
        return [Found("llamaindex-cache", lambda: llamaindex_cache.from_cache(path))]
    return []
