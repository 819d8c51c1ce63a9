"""What a user's program does with an index from its first day to its last, on any stores and any release from 0.11 on.

python user_script.py simple|stackroom|self-contained FOLDER TRANSCRIPT

Two processes: the first builds and persists, the second opens what is there and goes on. What each step returned goes to TRANSCRIPT as JSON:
two kinds of stores are equal when their transcripts are.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

_WORDS = [
    "harbour",
    "tower",
    "keeper",
    "lamp",
    "oil",
    "storm",
    "ship",
    "rope",
    "anchor",
    "tide",
    "gull",
    "wind",
    "bread",
    "oven",
    "flour",
    "village",
    "road",
    "bridge",
    "mill",
    "river",
]


class HashedWords(BaseEmbedding):
    """Each word has a fixed direction; a text is their sum."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        total = [0.01] * 24
        for word in re.findall(r"\w+", text.lower()):
            digest = hashlib.sha256(word.encode()).digest()
            total = [value + byte / 255 - 0.5 for value, byte in zip(total, digest[:24], strict=True)]
        return total


def documents(version: int) -> list[Document]:
    made = []
    for i in range(8):
        # No two passages are alike, so that no two stores may order them differently.
        words = [_WORDS[byte % len(_WORDS)] for byte in hashlib.shake_256(bytes([i])).digest(160)]
        text = ". ".join(" ".join(words[start : start + 8]) for start in range(0, 160, 8))
        if i == 2 and version > 1:
            text += ". A late addition about the storm"
        made.append(
            Document(
                text=text,
                id_=f"doc{i}",
                metadata={"number": i, "kind": "odd" if i % 2 else "even", "tags": [f"t{i % 3}"]},
            )
        )
    return made


def context(kind: str, folder: str) -> Any:
    if kind == "simple":
        there = (Path(folder) / "docstore.json").exists()
        return StorageContext.from_defaults(persist_dir=folder if there else None)
    from stackroom.adapters.llamaindex import storage_context

    return storage_context(folder, stores_text=kind == "self-contained")


def found(nodes: Any) -> list[Any]:
    return [[item.node.node_id, float(item.score), item.node.get_content(), item.node.metadata] for item in nodes]


def first_day(kind: str, folder: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    storage = context(kind, folder)
    index = VectorStoreIndex.from_documents(documents(1), storage_context=storage)
    told["asked"] = found(index.as_retriever(similarity_top_k=6).retrieve("keeper of the tower lamp"))
    index.set_index_id("main")
    storage.persist(persist_dir=folder)
    return told


def later(kind: str, folder: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    storage = context(kind, folder)
    index = load_index_from_storage(storage, index_id="main")
    told["opened"] = found(index.as_retriever(similarity_top_k=6).retrieve("keeper of the tower lamp"))

    index.insert(
        Document(
            text="The gull followed the ship. The rope held the anchor.",
            id_="extra",
            metadata={"number": 99, "kind": "odd"},
        )
    )
    told["inserted"] = found(index.as_retriever(similarity_top_k=3).retrieve("gull ship rope anchor"))
    told["nothing new"] = index.refresh_ref_docs(documents(1))
    told["refreshed"] = index.refresh_ref_docs(documents(2))
    told["after refresh"] = found(index.as_retriever(similarity_top_k=6).retrieve("a late addition about the storm"))

    index.delete_ref_doc("doc5", delete_from_docstore=True)
    index.delete_nodes(["doc6-0"], delete_from_docstore=True)
    index.insert_nodes([TextNode(id_="loose", text="A loose leaf about the mill", metadata={"number": 5})])
    told["after deletes"] = found(index.as_retriever(similarity_top_k=50).retrieve("mill river bridge"))

    for name, filters in filters_of().items():
        retriever = index.as_retriever(similarity_top_k=20, filters=filters)
        told[f"filter {name}"] = found(retriever.retrieve("bread and flour"))
    told["nodes"] = sorted(node_id for node_id in ids_in(index, kind))
    engine = index.as_query_engine(similarity_top_k=2)
    told["answer"] = str(engine.query("Who keeps the lamp?"))
    chat = index.as_chat_engine(chat_mode="context", similarity_top_k=2)
    told["chat"] = [item.node.node_id for item in chat.chat("Who keeps the lamp?").source_nodes]
    storage.persist(persist_dir=folder)

    again = load_index_from_storage(context(kind, folder), index_id="main")
    told["closed"] = found(again.as_retriever(similarity_top_k=50).retrieve("harbour"))
    return told


def ids_in(index: Any, kind: str) -> list[str]:
    """Every node, by the way of these stores."""
    if kind == "self-contained":
        return [node.node_id for node in index.vector_store.get_nodes(limit=1000)]
    return list(index.docstore.docs)


def filters_of() -> dict[str, MetadataFilters]:
    def one(key: str, value: Any, operator: str = "==") -> MetadataFilter:
        return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))

    return {
        "equal": MetadataFilters(filters=[one("kind", "odd")]),
        "range": MetadataFilters(filters=[one("number", 2, ">="), one("number", 6, "<")]),
        "either": MetadataFilters(filters=[one("number", 1), one("kind", "even")], condition=FilterCondition.OR),
        "within": MetadataFilters(filters=[one("number", [1, 4, 99], "in")]),
        "document": MetadataFilters(filters=[one("ref_doc_id", "doc3")]),
    }


def main() -> None:
    kind, folder, transcript, *stage = sys.argv[1:]
    Settings.embed_model, Settings.llm = HashedWords(), MockLLM()
    Settings.transformations = [
        SentenceSplitter(chunk_size=72, chunk_overlap=8, id_func=lambda i, doc: f"{doc.id_}-{i}")
    ]
    path = Path(transcript)
    if not stage:
        told = first_day(kind, folder)
        path.write_text(json.dumps(told), encoding="utf-8")
        subprocess.run([sys.executable, *sys.argv, "later"], check=True)
    else:
        told = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**told, **later(kind, folder)}), encoding="utf-8")


if __name__ == "__main__":
    main()
