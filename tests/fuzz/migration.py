"""One input of the fuzzer as an old store: its first byte says what it stands for. Only errors of ours may come of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from old_index import OldIndex
from stackroom import migration
from stackroom.errors import StackroomError
from stackroom.migration.stores import langchain, llamaindex_faiss

NAMES = (
    "index.json",
    "default__vector_store.json",
    "docstore.json",
    "index_store.json",
    "index.pkl",
    "embeddings.npy",
    "documents.json",
    "id_map.json",
    "vdb_chunks.json",
    "llama_cache",
)
"""What the bytes after the first are the content of."""

_KINDS = {"storage.json": "index.json", "vector_store.json": "default__vector_store.json"}
_GOLDEN = Path(__file__).parents[1] / "compat/golden"
_WHOLE = OldIndex(chunks=3, documents=1)
_work = Path(tempfile.mkdtemp(prefix="fuzz-"))


def attempt(data: bytes) -> None:
    if not data:
        return
    name, content = NAMES[data[0] % len(NAMES)], data[1:]
    folder = _work / "old"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if name in ("default__vector_store.json", "docstore.json", "index_store.json"):
        _WHOLE.write(folder)
    if name == "documents.json":
        shutil.copy(_GOLDEN / "documents-npy/written/embeddings.npy", folder)
    if name == "embeddings.npy":
        shutil.copy(_GOLDEN / "documents-npy/written/documents.json", folder)
    path = folder / name
    path.write_bytes(content)
    try:
        if name == "index.pkl":
            langchain.load_pickle(path)
        elif name == "id_map.json":
            llamaindex_faiss.claims_in(path)
        else:
            migration.inventory(path if name in ("index.json", "vdb_chunks.json", "llama_cache") else folder)
    except StackroomError:
        pass


def seeds() -> Iterator[bytes]:
    """The golden stores, file by file."""
    for path in sorted(_GOLDEN.glob("*/written/**/*")):
        name = _KINDS.get(path.name, path.name)
        if path.is_file() and name in NAMES and path.read_bytes()[:1] != b"I":
            yield bytes([NAMES.index(name)]) + path.read_bytes()
