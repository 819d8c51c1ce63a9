"""LlamaIndex on its own stores and on a library: open, insert, delete and refresh one document, as a VectorStoreIndex does it.

python bench/dropin.py [--sizes 1000 100000] [--stores simple faiss stackroom self-contained] [--report docs/benchmarks/dropin.md]

Each store and size is a process of its own. Embedding costs nothing here (a fixed direction for each word), so that the figures are the stores'. Durable
means: what was changed is on the disk when the call is over; LlamaIndex's own stores write all their files for that (`persist`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import machine

DIM = 128
NODES_A_DOCUMENT = 10
TIMES = {"simple": 3, "faiss": 3, "stackroom": 200, "self-contained": 200}
"""Repetitions; every persist of the others writes everything there is."""


def embedding() -> Any:
    import numpy as np
    from llama_index.core.base.embeddings.base import BaseEmbedding

    class Hashed(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return np.random.default_rng(abs(hash(text)) % 2**32).standard_normal(DIM).tolist()

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

    return Hashed()


def text_of(document: int, version_: int = 1) -> str:
    sentences = (
        f"Document {document} says in sentence {i} of version {version_} what nobody else says." for i in range(60)
    )
    return " ".join(sentences)


def nodes_of(documents: range) -> list[Any]:
    import numpy as np
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    rng = np.random.default_rng(documents.start)
    made = []
    for number in documents:
        text = text_of(number)
        size = len(text) // NODES_A_DOCUMENT
        for i, row in enumerate(rng.standard_normal((NODES_A_DOCUMENT, DIM)).tolist()):
            node = TextNode(
                id_=f"{number}-{i}", text=text[i * size : (i + 1) * size], metadata={"number": number}, embedding=row
            )
            node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"doc{number}", hash="0")
            made.append(node)
    return made


def context(store: str, folder: str) -> Any:
    from llama_index.core import StorageContext

    there = (Path(folder) / "docstore.json").exists()
    if store == "simple":
        return StorageContext.from_defaults(persist_dir=folder if there else None)
    if store == "faiss":
        import faiss
        from llama_index.vector_stores.faiss import FaissVectorStore

        vectors = FaissVectorStore.from_persist_dir(folder) if there else FaissVectorStore(faiss.IndexFlatIP(DIM))
        return StorageContext.from_defaults(vector_store=vectors, persist_dir=folder if there else None)
    from stackroom.adapters.llamaindex import storage_context

    return storage_context(folder, stores_text=store == "self-contained")


def durably(store: str, folder: str, index: Any, change: Callable[[], Any]) -> float:
    started = time.perf_counter()
    change()
    if store in ("simple", "faiss"):
        index.storage_context.persist(folder)
    return time.perf_counter() - started


def build(store: str, folder: str, size: int) -> dict[str, Any]:
    from llama_index.core import Settings, VectorStoreIndex

    Settings.embed_model = embedding()
    index = VectorStoreIndex([], storage_context=context(store, folder))
    started = time.perf_counter()
    for first in range(0, size // NODES_A_DOCUMENT, 200):
        index.insert_nodes(nodes_of(range(first, min(first + 200, size // NODES_A_DOCUMENT))))
    if store in ("simple", "faiss"):
        index.storage_context.persist(folder)
    return {"build": time.perf_counter() - started}


def use(store: str, folder: str, size: int) -> dict[str, Any]:
    from llama_index.core import Document, Settings, load_index_from_storage
    from llama_index.core.node_parser import SentenceSplitter

    Settings.embed_model = embedding()
    Settings.transformations = [SentenceSplitter(chunk_size=128, chunk_overlap=0)]
    if store in ("stackroom", "self-contained"):
        import stackroom.adapters.llamaindex  # noqa: F401
    started = time.perf_counter()
    index = load_index_from_storage(context(store, folder))
    opened = time.perf_counter()
    retriever = index.as_retriever(similarity_top_k=10)
    retriever.retrieve("Document 7 says what nobody else says")
    answered = time.perf_counter()
    told: dict[str, Any] = {"open": opened - started, "answer": answered - started}
    query = [_timed(lambda i=i: retriever.retrieve(f"sentence {i} of version 1")) for i in range(30)]
    told["query"] = statistics.median(query)
    insert, refresh, delete = [], [], []
    for i in range(TIMES[store]):
        document = Document(text=text_of(size + i), id_=f"new{i}", metadata={"number": i})
        insert.append(durably(store, folder, index, lambda document=document: index.insert(document)))
        changed = Document(text=text_of(size + i, 2), id_=f"new{i}", metadata={"number": i})
        if store != "faiss":
            refresh.append(durably(store, folder, index, lambda changed=changed: index.refresh_ref_docs([changed])))
            delete.append(
                durably(store, folder, index, lambda i=i: index.delete_ref_doc(f"new{i}", delete_from_docstore=True))
            )
    for name, seconds in (("insert", insert), ("refresh", refresh), ("delete", delete)):
        if seconds:
            told[name] = statistics.median(seconds)
            told[f"{name} p99"] = sorted(seconds)[int(len(seconds) * 0.99)] if len(seconds) > 50 else None
    return told


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


IMPORTS = ("llama_index.core", "stackroom.adapters.llamaindex")


def imports() -> dict[str, float]:
    """Seconds of CPU time that each takes after the one before, in a fresh process: the median of nine."""
    timed = "import time\nfor name in {}:\n  t = time.process_time(); __import__(name); print(time.process_time() - t)"
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(9):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", timed.format(IMPORTS)], capture_output=True, text=True, check=True
        )
        for name, seconds in zip(IMPORTS, done.stdout.split(), strict=True):
            found[name].append(float(seconds))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def measured(stage: str, store: str, folder: Path, size: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--stage", stage, store, str(folder), str(size)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--stores", nargs="+", default=["simple", "faiss", "stackroom", "self-contained"])
    parser.add_argument("--report", type=Path)
    parser.add_argument("--stage", nargs=4)
    arguments = parser.parse_args()
    if arguments.stage:
        stage, store, folder, size = arguments.stage
        print(json.dumps({"build": build, "use": use}[stage](store, folder, int(size))))
        return
    rows = []
    for size in arguments.sizes:
        for store in arguments.stores:
            folder = Path(tempfile.mkdtemp(prefix="dropin-"))
            try:
                told = measured("build", store, folder / "index", size)
                told |= measured("use", store, folder / "index", size) if "error" not in told else {}
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            rows.append({"size": size, "store": store, **told})
            print(json.dumps(rows[-1]), flush=True)
    cost = imports()
    print(json.dumps(cost))
    if arguments.report:
        arguments.report.write_text(report(rows, cost), encoding="utf-8")


_NAMES = {
    "simple": "SimpleVectorStore",
    "faiss": "FaissVectorStore",
    "stackroom": "Stackroom",
    "self-contained": "Stackroom, `stores_text=True`",
}
_COLUMNS = (
    "open",
    "answer",
    "query",
    "insert",
    "insert p99",
    "refresh",
    "refresh p99",
    "delete",
    "delete p99",
    "build",
)


def report(rows: list[dict[str, Any]], cost: dict[str, float]) -> str:
    lines = [
        "# LlamaIndex on its own stores, and on a library",
        "",
        f"Made by `bench/dropin.py`: a `VectorStoreIndex` over passages of {DIM} dimensions, {NODES_A_DOCUMENT} a document. Milliseconds, medians, and each change is durable: "
        "LlamaIndex's own stores write all their files for that. *Answer* is from the call that opens to ten nodes. FaissVectorStore can't delete, so it can't refresh. "
        f"{machine.describe()}, llama-index-core {version('llama-index-core')}.",
    ]
    for size in sorted({row["size"] for row in rows}):
        lines += [
            "",
            f"## {size:,} passages",
            "",
            f"| store | {' | '.join(_COLUMNS)} |",
            "|---|" + "---|" * len(_COLUMNS),
        ]
        for row in rows:
            if row["size"] == size:
                cells = (f"{row[name] * 1000:,.1f}" if row.get(name) is not None else "" for name in _COLUMNS)
                lines.append(f"| {_NAMES[row['store']]} | {' | '.join(cells)} |")
    by_name = {name: f"{seconds * 1000:.0f} ms" for name, seconds in cost.items()}
    lines += [
        "",
        "## Importing",
        "",
        f"CPU time: `import llama_index.core` {by_name[IMPORTS[0]]}, and the adapter {by_name[IMPORTS[1]]} more.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
