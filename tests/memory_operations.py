"""Everything that has a ceiling, one in a process: imports what it needs, says "ready", waits for a line, and does it.

python tests/memory_operations.py OPERATION ARGUMENT...
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

import stackroom
from stackroom import Chunk, Document, EmbedderIdentity, Index
from stackroom.storage.vectors import nearest, sketches

QUERIES = 20
CHUNKS_A_DOCUMENT = 8
OF_BOTH_HALVES = ("even", "odd")


class Cheap:
    """An embedder that costs next to nothing and remembers nothing: a vector is drawn by its text's checksum."""

    tokenizer = None

    def __init__(self, dim: int, name: str = "cheap") -> None:
        self.identity = EmbedderIdentity(name, dim, max_tokens=254)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        row = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.identity.dim, dtype=np.float32)
        return row / np.linalg.norm(row)


def documents(chunks: int, dim: int) -> Iterator[Document]:
    """Made as they are asked for. Each chunk says something of itself that no other one does, and something that a third says."""
    rng = np.random.default_rng(1)
    for first in range(0, chunks, CHUNKS_A_DOCUMENT):
        rows = rng.standard_normal((CHUNKS_A_DOCUMENT, dim), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        words = np.minimum(rng.zipf(1.3, (CHUNKS_A_DOCUMENT, 60)), 50_000).tolist()
        number = first // CHUNKS_A_DOCUMENT
        yield Document(
            document_id=f"document {number}",
            source=f"{OF_BOTH_HALVES[number % 2]}/{number}",
            chunks=[
                Chunk(
                    " ".join(f"w{word}" for word in text),
                    embedding=row,
                    metadata={"serial": first + i, "third": (first + i) % 3 == 0},
                )
                for i, (text, row) in enumerate(zip(words, rows, strict=True))
            ],
        )


def opened(library: str) -> Index:
    return stackroom.open(library, embedder=Cheap(dim_of(library)))


def dim_of(library: str) -> int:
    with stackroom.open(library, mode="r") as index:
        found = index.stats().embedder
    assert found is not None
    return found.dim


def add_documents(library: str, chunks: str, dim: str) -> None:
    with stackroom.open(library, embedder=Cheap(int(dim))) as index:
        assert index.add_documents(documents(int(chunks), int(dim))).chunks == int(chunks)


def add_documents_in_batches(library: str, chunks: str, dim: str) -> None:
    stream = documents(int(chunks), int(dim))
    with stackroom.open(library, embedder=Cheap(int(dim))) as index:
        while batch := list(islice(stream, 25)):
            index.add_documents(batch)


def add_files(library: str, folder: str) -> None:
    with stackroom.open(library, embedder=Cheap(64)) as index:
        report = index.add(folder)
    assert report.added
    assert not report.failed


def add_files_again(library: str, folder: str) -> None:
    with stackroom.open(library, embedder=Cheap(64)) as index:
        assert index.add(folder).unchanged


def rebuild_files(library: str) -> None:
    with stackroom.open(library, embedder=Cheap(64)) as index:
        assert index.rebuild().updated


def open_and_close(library: str) -> None:
    stackroom.open(library, mode="r").close()


def status(library: str) -> None:
    with stackroom.open(library, mode="r") as index:
        assert index.stats().chunks


def search(library: str, how: str) -> None:
    """`how` is a mode, or "exact", or "filtered", which is a hybrid search too."""
    # What a process does that has searched for a while: it has loaded the sketches, where there are any.
    sketches.LOADING_BYTES, nearest.SCANNED_BYTES = 0, -(1 << 40)
    embedder = Cheap(dim_of(library))
    with stackroom.open(library, mode="r", embedder=embedder) as index:
        for number in range(QUERIES):
            # One word that many passages have, two that few have.
            query = f"w2 w{40 + number} w{900 + number}"
            if how == "filtered":
                hits = index.search(query, where="third == true")
            elif how == "exact":
                hits = index.search(embedder.embed_query(query), exact=True)
            elif how == "vector":
                hits = index.search(embedder.embed_query(query))
            else:
                hits = index.search(query, mode="text" if how == "text" else "hybrid")
            assert len(hits) == 10


def remove(library: str) -> None:
    with opened(library) as index:
        assert index.remove(["even/*"]).removed


def remove_documents(library: str) -> None:
    with opened(library) as index:
        with index.backend.view() as view:
            wanted = [record.document_id for record in view.each_document() if record.key % 2]
        assert index.remove_documents(wanted).removed


def compact(library: str) -> None:
    with opened(library) as index:
        assert index.compact().rows_dropped


def purge(library: str) -> None:
    with opened(library) as index:
        index.compact(purge=True)


def sketch(library: str) -> None:
    with opened(library) as index:
        index.backend.maintain()


def verify(library: str) -> None:
    with stackroom.open(library, mode="r") as index:
        assert index.verify().ok


def repair(library: str) -> None:
    found = stackroom.repair(library, embedder=Cheap(dim_of(library)))
    assert found.damage
    assert found.lost


def change_model(library: str) -> None:
    with opened(library) as index:
        assert index.rebuild(embedder=Cheap(32, "another")).embedded


def backup(library: str, target: str) -> None:
    with stackroom.open(library, mode="r") as index:
        assert index.backup(target).copied


def export(library: str, target: str) -> None:
    with stackroom.open(library, mode="r") as index:
        assert index.export(target)


OPERATIONS: dict[str, Callable[..., None]] = {
    operation.__name__: operation
    for operation in (
        add_documents, add_documents_in_batches, add_files, add_files_again, rebuild_files, open_and_close, status, search, remove,
        remove_documents, compact, purge, sketch, verify, repair, change_model, backup, export,
    )
}  # fmt: skip


def import_everything() -> None:
    """Imports are no part of what an operation takes."""
    importlib.import_module("faiss")
    for room in ("storage", "search", "ingest", "migration", "nodes"):
        package = importlib.import_module(f"stackroom.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


if __name__ == "__main__":
    import_everything()
    print("ready", flush=True)
    sys.stdin.readline()
    OPERATIONS[sys.argv[1]](*sys.argv[2:])
