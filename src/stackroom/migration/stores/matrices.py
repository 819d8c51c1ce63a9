"""Small stores with one matrix: documents.json beside embeddings.npy, and nano-vectordb's file."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.errors import DamagedError
from stackroom.migration.stores.flat import FlatStore
from stackroom.migration.stores.slices import JsonFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOCUMENTS, EMBEDDINGS, ABOUT = "documents.json", "embeddings.npy", "index_metadata.json"
_NAMES = uuid.UUID("6f2f3c5e-6a0b-4f7e-9d38-0c3a4d0f5b11")
"""Passages without ids get one from their place and text, the same in every run."""


def from_documents(folder: Path) -> FlatStore:
    """A list of `{"page_content", "metadata"}` and a matrix of as many rows. Raises DamagedError."""
    path = folder / DOCUMENTS
    with JsonFile(path) as file:
        documents = file.root().load()
    matrix = _matrix(folder / EMBEDDINGS)
    if not isinstance(documents, list) or len(documents) != len(matrix):
        found = len(documents) if isinstance(documents, list) else 0
        raise _disagree(folder, f"{DOCUMENTS} has {found} passages, {EMBEDDINGS} has {len(matrix)} rows")
    entries: list[tuple[str, str, dict[str, Any], int | None]] = []
    for row, item in enumerate(documents):
        item = item if isinstance(item, dict) else {}
        metadata = item.get("metadata")
        text = item.get("page_content") or item.get("text") or ""
        text = text if isinstance(text, str) else json.dumps(text)
        chunk_id = _name(f"{folder.name}\x00{row}\x00{text}")
        entries.append((chunk_id, text, metadata if isinstance(metadata, dict) else {}, row))
    about = folder / ABOUT
    files = [path, folder / EMBEDDINGS, *([about] if about.is_file() else [])]
    return FlatStore("documents-npy", f"documents and a matrix{_strategy(about)}", files, entries, matrix)


def _strategy(about: Path) -> str:
    """How the passages were embedded, where the folder says: two strategies must never be mixed."""
    try:
        named = json.loads(about.read_text(encoding="utf-8")).get("embedding_strategy")
    except (OSError, ValueError, AttributeError):
        named = None
    return f" (embedded as {named!r})" if named else " (no word on prefixes)"


def _matrix(path: Path) -> NDArray[np.float32]:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # its header is Python's notation, and a broken one raises whatever its parser does
        raise DamagedError(f"{path} is no whole matrix: {error}.", hint="Nothing was changed.", path=path) from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.shape[1]:
        raise DamagedError(
            f"{path} holds {matrix.dtype} of shape {matrix.shape}, not a matrix of floats.",
            hint="Nothing was changed.",
            path=path,
        )
    return matrix  # type: ignore[no-any-return]


def from_nano(path: Path) -> FlatStore:
    """LightRAG's `vdb_*.json`: entries with `__id__`, and the matrix as base64. Raises DamagedError."""
    with JsonFile(path) as file:
        store = file.root().load()
        dim, data, encoded = store.get("embedding_dim"), store.get("data"), store.get("matrix")
        try:
            rows = np.frombuffer(base64.b64decode(encoded, validate=True), dtype="<f4").reshape(-1, dim)
        except (binascii.Error, ValueError, TypeError) as error:
            raise _disagree(path, f"its matrix can't be read ({error})") from error
    if not isinstance(data, list) or len(rows) != len(data):
        raise _disagree(path, f"it has {len(data) if isinstance(data, list) else 0} entries and {len(rows)} rows")
    entries: list[tuple[str, str, dict[str, Any], int | None]] = []
    for row, item in enumerate(data):
        item = item if isinstance(item, dict) else {}
        chunk_id = item.get("__id__")
        text = next((item[name] for name in ("content", "text") if isinstance(item.get(name), str)), "")
        metadata = {name: value for name, value in item.items() if name not in ("__id__", "content", "text", "vector")}
        chunk_id = chunk_id if isinstance(chunk_id, str) and chunk_id else _name(f"{row}\x00{text}")
        entries.append((chunk_id, text, metadata, row))
    return FlatStore("nano-vectordb", "nano-vectordb (LightRAG)", [path], entries, rows)


def _name(what: str) -> str:
    return str(uuid.uuid5(_NAMES, what.encode("utf-8", "replace").decode()))


def _disagree(path: Path, what: str) -> DamagedError:
    return DamagedError(f"{path} is not whole: {what}.", hint="Nothing was changed. Restore it.", path=path)
