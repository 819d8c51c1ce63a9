"""Golden stores by llama-index-core 0.10 to 0.14: python llamaindex_core.py FOLDER."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import content
from llama_index.core import Settings, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionCache
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

RELEASE = version("llama-index-core")
MADE_BY = f"llama-index-core {RELEASE}"


def nodes(*, embedded: bool = True) -> list[TextNode]:
    made = []
    for number, chunk in enumerate(content.chunks()):
        node = TextNode(
            id_=chunk["chunk_id"],
            text=chunk["text"],
            metadata=chunk["metadata"],
            embedding=chunk["vector"] if embedded else None,
            start_char_idx=chunk["start"],
            end_char_idx=chunk["end"],
            excluded_embed_metadata_keys=content.EXCLUDED if number % 2 else [],
        )
        document = next((item for item in content.DOCUMENTS if item["id"] == chunk["document_id"]), None)
        if document is not None:
            node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(
                node_id=document["id"], node_type="4", metadata=document["metadata"], hash="0" * 64
            )
        before, after = content.neighbours(number)
        if before:
            node.relationships[NodeRelationship.PREVIOUS] = RelatedNodeInfo(node_id=before, node_type="1")
        if after:
            node.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id=after, node_type="1")
        made.append(node)
    return made


def plain(root: Path, name: str) -> None:
    written = content.begin(root, name)
    VectorStoreIndex(nodes=nodes()).storage_context.persist(str(written))
    content.expect(written.parent, MADE_BY, content.chunks())


class Fixed(BaseEmbedding):
    def _get_query_embedding(self, query: str) -> list[float]:
        return content.vector(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return content.vector(text)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return content.vector(query)


def documents(root: Path, name: str) -> None:
    """Documents that this release splits itself, so that it keeps what they were like."""
    written = content.begin(root, name)
    made = [Document(id_=item["id"], text=item["text"], metadata=item["metadata"]) for item in content.WHOLE]
    splitter = SentenceSplitter(chunk_size=content.CHUNK_SIZE, chunk_overlap=content.CHUNK_OVERLAP)
    index = VectorStoreIndex.from_documents(made, transformations=[splitter], embed_model=Fixed())
    index.storage_context.persist(str(written))
    nodes = list(index.docstore.docs.values())
    content.expect(
        written.parent, MADE_BY, content.whole(nodes, lambda node: node.get_content(metadata_mode=MetadataMode.EMBED))
    )


def dump(root: Path, name: str) -> None:
    written = content.begin(root, name)
    told = VectorStoreIndex(nodes=nodes()).storage_context.to_dict()
    (written / "storage.json").write_text(json.dumps(told), encoding="utf-8")
    content.expect(written.parent, MADE_BY, content.chunks())


def two_indexes(root: Path, name: str) -> None:
    """Two indexes over one storage, overlapping; the last passage is in neither."""
    written = content.begin(root, name)
    storage = StorageContext.from_defaults()
    made = nodes()
    for index_id, part in (("papers", made[:6]), ("notes", made[4:9])):
        index = VectorStoreIndex(nodes=part, storage_context=storage)
        index.set_index_id(index_id)
    storage.docstore.add_documents(made[9:])
    storage.vector_store.add(made[9:])
    storage.persist(str(written))
    members = {"papers": [node.node_id for node in made[:6]], "notes": [node.node_id for node in made[4:9]]}
    content.expect(written.parent, MADE_BY, content.chunks(), indexes=members)


def namespaces(root: Path, name: str) -> None:
    """Vectors of three dimensions under other names, one of them with the separator in it."""
    written = content.begin(root, name)
    index = VectorStoreIndex(nodes=nodes())
    found = content.chunks()
    others: dict[str, dict[str, list[float]]] = {}
    for namespace, numbers in (("image", (5, 6)), ("my__ns", (7,))):
        store = SimpleVectorStore()
        for number in numbers:
            node = nodes()[number]
            node.embedding = content.vector(f"{namespace} {number}", 3)
            store.add([node])
            others.setdefault(namespace, {})[node.node_id] = node.embedding
        index.storage_context.add_vector_store(store, namespace)
    index.storage_context.persist(str(written))
    content.expect(written.parent, MADE_BY, found, others=others)


def docstore_only(root: Path, name: str) -> None:
    written = content.begin(root, name)
    store = SimpleDocumentStore()
    store.add_documents(nodes())
    store.persist(str(written / "docstore.json"))
    content.expect(written.parent, MADE_BY, content.chunks())


def cache(root: Path, name: str) -> None:
    written = content.begin(root, name)
    store = IngestionCache()
    store.put("0" * 64, nodes(embedded=False))
    store.put("1" * 64, nodes())
    store.persist(str(written / "llama_cache"))
    content.expect(written.parent, MADE_BY, content.chunks())


def with_faiss(root: Path) -> None:
    import faiss
    from llama_index.vector_stores.faiss import FaissMapVectorStore, FaissVectorStore

    made_by = f"{MADE_BY}, llama-index-vector-stores-faiss {version('llama-index-vector-stores-faiss')}"
    dim = content.DIM
    kinds: dict[str, Any] = {
        "flat-ip": lambda: faiss.IndexFlatIP(dim),
        "flat-l2": lambda: faiss.IndexFlatL2(dim),
        "hnsw": lambda: faiss.IndexHNSWFlat(dim, 8),
        "ivf": lambda: trained(faiss.index_factory(dim, "IVF2,Flat")),
        "sq8": lambda: trained(faiss.index_factory(dim, "SQ8")),
    }
    for kind, make in kinds.items():
        written = content.begin(root, f"llamaindex-faiss-{kind}")
        storage = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss_index=make()))
        VectorStoreIndex(nodes=nodes(), storage_context=storage).storage_context.persist(str(written))
        content.expect(written.parent, made_by, content.chunks(), lossy=kind == "sq8")

    written = content.begin(root, "llamaindex-faiss-beside")
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(dim))
    storage = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes=nodes(), storage_context=storage)
    index.storage_context.docstore.persist(str(written / "docstore.json"))
    index.storage_context.index_store.persist(str(written / "index_store.json"))
    store.persist(str(written / "faiss_index"))
    content.expect(written.parent, made_by, content.chunks())

    # An IndexIDMap can't give its vectors back by id; an IndexIDMap2 can.
    for name, mapped, collide in (
        ("map", faiss.IndexIDMap2, False),
        ("map-collided", faiss.IndexIDMap2, True),
        ("idmap", faiss.IndexIDMap, False),
    ):
        written = content.begin(root, f"llamaindex-faiss-{name}")
        store = FaissMapVectorStore(faiss_index=mapped(faiss.IndexFlatL2(dim)))
        storage = StorageContext.from_defaults(vector_store=store)
        made = nodes()
        found = content.chunks()
        if collide:
            # Ids are the count of vectors: after a delete the next node gets one that is in use.
            index = VectorStoreIndex(nodes=made[:9], storage_context=storage)
            store.delete_nodes([made[0].node_id])
            index.insert_nodes(made[9:])
            for number in (8, 9):
                found[number]["vector"] = None
            found[0]["vector"] = None
        else:
            VectorStoreIndex(nodes=made, storage_context=storage)
        storage.persist(str(written))
        content.expect(written.parent, made_by, found)


def trained(index: Any) -> Any:
    import numpy as np

    index.train(np.array([chunk["vector"] for chunk in content.chunks()] * 8, dtype=np.float32))
    return index


def main() -> None:
    root = Path(sys.argv[1])
    content.fixed_uuids()
    Settings.embed_model, Settings.llm = MockEmbedding(content.DIM), MockLLM()
    plain(root, f"llamaindex-{RELEASE}")
    documents(root, f"llamaindex-{RELEASE}-documents")
    if RELEASE.startswith("0.14"):
        dump(root, f"llamaindex-{RELEASE}-todict")
        two_indexes(root, f"llamaindex-{RELEASE}-two-indexes")
        namespaces(root, f"llamaindex-{RELEASE}-namespaces")
        docstore_only(root, f"llamaindex-{RELEASE}-docstore-only")
        cache(root, f"llamaindex-{RELEASE}-cache")
        with_faiss(root)


main()
