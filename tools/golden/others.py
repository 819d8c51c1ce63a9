"""Golden stores of other programs: python others.py langchain|nano|plain FOLDER, each with the packages it needs."""

from __future__ import annotations

import base64
import json
import pickle
import sys
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import content


def langchain(root: Path) -> None:
    from langchain_community.vectorstores import FAISS
    from langchain_core.embeddings import Embeddings

    class Fixed(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [content.vector(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return content.vector(text)

    made_by = f"langchain-community {version('langchain-community')}"
    found = content.chunks()
    written = content.begin(root, "langchain-faiss")
    store = FAISS.from_texts(
        [chunk["text"] for chunk in found],
        Fixed(),
        metadatas=[langchain_metadata(chunk) for chunk in found],
        ids=[chunk["chunk_id"] for chunk in found],
    )
    store.delete([found[3]["chunk_id"]])
    store.save_local(str(written))
    told = [
        {**chunk, "document_id": chunk["metadata"].get("file_path"), "metadata": langchain_metadata(chunk)}
        for chunk in found
        if chunk is not found[3]
    ]
    content.expect(written.parent, made_by, told)

    evil = content.begin(root, "langchain-faiss-evil")
    (evil / "index.faiss").write_bytes((written / "index.faiss").read_bytes())
    (evil / "index.pkl").write_bytes(pickle.dumps((Evil(), {0: "a"})))
    (evil.parent / "expected.json").write_text('{"made_by": "by hand: a pickle that would run a command"}\n')


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch stackroom-was-here",)


def langchain_metadata(chunk: dict[str, Any]) -> dict[str, Any]:
    path = chunk["metadata"].get("file_path")
    return {**({"source": path, "page": 0} if path else {}), **chunk["metadata"]}


def nano(root: Path) -> None:
    """As LightRAG fills it: the vector a second time in float16, packed, beside the text."""
    import numpy as np
    from nano_vectordb import NanoVectorDB

    found = content.chunks()
    written = content.begin(root, "nano-vectordb")
    store = NanoVectorDB(content.DIM, storage_file=str(written / "vdb_chunks.json"))
    store.upsert(
        [
            {
                "__id__": chunk["chunk_id"],
                "__vector__": np.array(chunk["vector"], dtype=np.float32),
                "__created_at__": 1761000000,
                "vector": packed(chunk["vector"]),
                "content": chunk["text"],
                "full_doc_id": f"doc-{chunk['document_id']}",
                "file_path": chunk["metadata"].get("file_path", "unknown_source"),
            }
            for chunk in found
        ]
    )
    store.save()
    # It stores what it normalised itself.
    rows = {
        item["__id__"]: row.tolist() for item, row in zip(stored(store, "data"), stored(store, "matrix"), strict=True)
    }
    told = [{**chunk, "document_id": None, "metadata": None, "vector": rows[chunk["chunk_id"]]} for chunk in found]
    content.expect(written.parent, f"nano-vectordb {version('nano-vectordb')}", told)


def packed(values: list[float]) -> str:
    import numpy as np

    return base64.b64encode(zlib.compress(np.array(values, dtype=np.float16).tobytes())).decode()


def stored(store: Any, part: str) -> Any:
    return store._NanoVectorDB__storage[part]


def plain(root: Path) -> None:
    """documents.json beside a matrix, and a registry over folders: files that applications write themselves."""
    import numpy as np

    found = content.chunks()
    written = content.begin(root, "documents-npy")
    documents = [{"page_content": chunk["text"], "metadata": chunk["metadata"]} for chunk in found]
    (written / "documents.json").write_text(json.dumps(documents), encoding="utf-8")
    np.save(written / "embeddings.npy", np.array([chunk["vector"] for chunk in found], dtype=np.float32))
    (written / "index_metadata.json").write_text('{"embedding_strategy": "e5-prefix-v1"}', encoding="utf-8")
    told = [{**chunk, "chunk_id": None, "document_id": chunk["metadata"].get("file_path")} for chunk in found]
    content.expect(written.parent, "an application of its own", told)


def registry(root: Path) -> None:
    """One LlamaIndex folder a document, as llama-index-core writes it, with a registry and active flags."""
    from llama_index.core import Settings, VectorStoreIndex
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.llms import MockLLM
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    Settings.embed_model, Settings.llm = MockEmbedding(content.DIM), MockLLM()
    written = content.begin(root, "registry")
    documents: dict[str, Any] = {}
    for number, path in enumerate((content.REPORT["file_path"], content.NOTES["file_path"])):
        made = []
        for chunk in content.chunks():
            if chunk["metadata"].get("file_path") == path:
                about = RelatedNodeInfo(node_id=chunk["document_id"], node_type="4", metadata={"file_path": path})
                made.append(
                    TextNode(
                        id_=chunk["chunk_id"],
                        text=chunk["text"],
                        metadata=chunk["metadata"],
                        embedding=chunk["vector"],
                        relationships={NodeRelationship.SOURCE: about},
                    )
                )
        name = Path(str(path)).name
        folder = (
            written / "doc_indexes" / f"doc{number}_{''.join(c if c.isalnum() or c in '._-' else '_' for c in name)}"
        )
        VectorStoreIndex(nodes=made).storage_context.persist(str(folder))
        entry = {"path": path, "file_hash": "0" * 64, "indexed_at": "2025-10-09T12:00:00", "chunk_count": len(made)}
        documents[f"doc{number}"] = {**entry, "file_name": name, "active": number == 0}
    told = json.dumps({"documents": documents, "version": "1.0"}, indent=2)
    (written / "doc_indexes" / "index_registry.json").write_text(told, encoding="utf-8")
    content.expect(
        written.parent,
        f"llama-index-core {version('llama-index-core')}, one folder a document",
        [chunk for chunk in content.chunks() if chunk["document_id"]],
        inactive=[content.NOTES["file_path"]],
    )


def main() -> None:
    content.fixed_uuids()
    {"langchain": langchain, "nano": nano, "plain": plain, "registry": registry}[sys.argv[1]](Path(sys.argv[2]))


main()
