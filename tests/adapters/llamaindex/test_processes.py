"""Two processes read through LlamaIndex while a third one writes: no one ever sees half of a document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from llama_index.core import VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

import stackroom
from llamaindex_support import WordEmbedding, node, vector_of
from stackroom.adapters.llamaindex import storage_context

DOCUMENTS, NODES, KEPT, READERS = 30, 4, 6, 2
FIRST = "doc-first"


def document(name: str) -> list[TextNode]:
    return [node(f"{name}-{i}", f"harbour report of {name}, part {i}", name) for i in range(NODES)]


def write(library: Path) -> None:
    index = load_index_from_storage(storage_context(library), embed_model=WordEmbedding())
    while len(list(library.parent.glob("reader-*"))) < READERS:
        time.sleep(0.01)
    for number in range(DOCUMENTS):
        index.insert_nodes(document(f"doc-{number}"))
        if number >= KEPT:
            index.delete_ref_doc(f"doc-{number - KEPT}", delete_from_docstore=True)
    (library.parent / "done").touch()


def read(library: Path) -> None:
    """Look again and again, until the writer is done and once more; prints how many states it saw."""
    index = load_index_from_storage(storage_context(library), embed_model=WordEmbedding())
    retriever = index.as_retriever(similarity_top_k=2)
    seen, last = set(), False
    while not last:
        last = (library.parent / "done").exists()
        found = index.vector_store.query(
            VectorStoreQuery(query_embedding=vector_of("harbour report"), similarity_top_k=1000)
        )
        counts = Counter(item.ref_doc_id for item in found.nodes)
        assert set(counts.values()) == {NODES}, counts
        assert all(item.get_content().startswith(f"harbour report of {item.ref_doc_id}, ") for item in found.nodes)
        assert len(retriever.retrieve(f"harbour report of {FIRST}")) == 2
        seen.add(frozenset(counts))
        (library.parent / f"reader-{os.getpid()}").touch()
    print(json.dumps({"states": len(seen), "last": sorted(counts)}))


def test_two_readers_and_a_writer(tmp_path: Path) -> None:
    library = tmp_path / "library"
    VectorStoreIndex(document(FIRST), storage_context=storage_context(library), embed_model=WordEmbedding())
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_processes; test_processes."
    folder = str(Path(__file__).parent)
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", f"{code}{what}(__import__('pathlib').Path({str(library)!r}))"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for what in (*["read"] * READERS, "write")
    ]
    ends = [(process.communicate(), process.returncode) for process in started]
    for (_, error), code_ in ends:
        assert code_ == 0, error[-2000:]
    expected = sorted([FIRST, *(f"doc-{number}" for number in range(DOCUMENTS - KEPT, DOCUMENTS))])
    for (output, _), _ in ends[:READERS]:
        told = json.loads(output.splitlines()[-1])
        assert told["last"] == expected
        assert told["states"] > 1
    with stackroom.open(library, mode="r") as found:
        assert found.verify().ok
