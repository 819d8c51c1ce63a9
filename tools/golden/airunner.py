"""Golden stores in the three shapes of the assistant AI Runner: python airunner.py FOLDER.

The application itself is not run. Its indexes are written by the llama-index-core that it pinned; what it writes with plain
json and numpy is written here with the same arguments.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import content
import numpy as np
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode

MADE_BY = f"llama-index-core {version('llama-index-core')}, as AI Runner calls it"
THIRD = "/home/reader/Rezepte & Küche.epub"
PATHS = [content.REPORT["file_path"], content.NOTES["file_path"], THIRD]
# What SimpleDirectoryReader keeps from the embedder.
EXCLUDED = ["file_name", "file_type", "file_size", "creation_date", "last_modified_date", "last_accessed_date"]


class Fixed(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return content.vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return content.vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return content.vector(query)


def file_id(path: str) -> str:
    return hashlib.md5(path.encode()).hexdigest()[:16]


def about(path: str) -> dict[str, Any]:
    name = Path(path).name
    return {"file_path": path, "file_name": name, "file_type": Path(path).suffix, "doc_id": file_id(path)}


def texts(path: str) -> list[tuple[str | None, list[str]]]:
    """The passages of a file, by the label of their page."""
    if path == THIRD:
        return [(None, ["Käsespätzle: reib den Käse.", "煮面条十分钟。 🍜"])]
    found: dict[str | None, list[str]] = {}
    for chunk in content.chunks():
        if chunk["metadata"].get("file_path") == path:
            found.setdefault(chunk["metadata"].get("page_label"), []).append(chunk["text"])
    return list(found.items())


def documents(path: str) -> list[Document]:
    """A Document a page; the key `doc_id` is the application's, and a reserved one of LlamaIndex."""
    made = []
    for label, passages in texts(path):
        metadata = {**({"page_label": label} if label else {}), **about(path)}
        made.append(Document(text="\n".join(passages), metadata=metadata, excluded_embed_metadata_keys=EXCLUDED))
    return made


def expected(index: VectorStoreIndex) -> list[dict[str, Any]]:
    return [
        {
            "chunk_id": node.node_id,
            "document_id": node.ref_doc_id,
            "text": node.text,
            "metadata": node.metadata,
            "vector": content.vector(node.get_content(metadata_mode=MetadataMode.EMBED)),
            "namespace": "default",
        }
        for node in index.docstore.docs.values()
    ]


def told(made: list[Document]) -> list[dict[str, Any]]:
    return [{"document_id": document.doc_id, "metadata": document.metadata} for document in made]


def unified(root: Path) -> None:
    """One index of all files."""
    written = content.begin(root, "airunner-a")
    made = [document for path in PATHS for document in documents(path)]
    index = VectorStoreIndex.from_documents(made)
    index.storage_context.persist(str(written))
    content.expect(written.parent, MADE_BY, expected(index), documents=told(made))


def by_file(root: Path) -> None:
    """One index a file, and a registry. Which files are active is in the application's database, not here."""
    written = content.begin(root, "airunner-b")
    chunks: list[dict[str, Any]] = []
    made: list[Document] = []
    counts = {}
    for path in PATHS:
        pages = documents(path)
        index = VectorStoreIndex.from_documents(pages)
        index.storage_context.persist(str(folder(written, path)))
        chunks += expected(index)
        made += pages
        counts[path] = len(pages)
    registry(written, counts, "1.0")
    content.expect(written.parent, MADE_BY, chunks, documents=told(made))


def by_matrix(root: Path) -> None:
    """One list of passages and one matrix a file, and a registry."""
    written = content.begin(root, "airunner-c")
    chunks: list[dict[str, Any]] = []
    for path in PATHS:
        passages = [text for _, page in texts(path) for text in page]
        place = folder(written, path)
        place.mkdir(parents=True)
        told = [{"page_content": text, "metadata": about(path)} for text in passages]
        rows = np.asarray([content.vector(text) for text in passages], dtype=np.float32)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        write(place / "documents.json", told, ensure_ascii=False)
        np.save(place / "embeddings.npy", rows)
        write(place / "index_metadata.json", {"embedding_strategy": "e5-prefix-v1"})
        for text, row in zip(passages, rows.tolist(), strict=True):
            common = {"chunk_id": None, "document_id": path, "metadata": about(path), "namespace": "default"}
            chunks.append({**common, "text": text, "vector": row})
    registry(written, dict.fromkeys(PATHS, 1), "2.0")
    content.expect(written.parent, "the shape that AI Runner writes with json and numpy", chunks)


def folder(written: Path, path: str) -> Path:
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in Path(path).name)
    return written / "doc_indexes" / f"{file_id(path)}_{name}"


def registry(written: Path, counts: dict[str, int], form: str) -> None:
    """`chunk_count` is the number of Documents: of pages, not of passages."""
    entries = {
        file_id(path): {
            "path": path,
            "file_hash": hashlib.sha256(path.encode()).hexdigest(),
            "indexed_at": "2025-10-09T12:00:00.123456",
            "chunk_count": count,
            "file_name": Path(path).name,
        }
        for path, count in counts.items()
    }
    write(written / "doc_indexes" / "index_registry.json", {"documents": entries, "version": form})


def write(path: Path, value: Any, **more: Any) -> None:
    path.write_text(json.dumps(value, indent=2, **more), encoding="utf-8")


def main() -> None:
    root = Path(sys.argv[1])
    content.fixed_uuids()
    Settings.embed_model, Settings.llm = Fixed(), MockLLM()
    # A tokenizer of its own, because the usual ones are fetched from the network.
    Settings.node_parser = SentenceSplitter(
        chunk_size=28, chunk_overlap=4, tokenizer=str.split, chunking_tokenizer_fn=lambda text: text.splitlines(True)
    )
    unified(root)
    by_file(root)
    by_matrix(root)


main()
