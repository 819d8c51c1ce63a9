"""Golden stores by llama-index 0.4 to 0.9, each in its own way of making an index: python llamaindex_early.py FOLDER."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import content

RELEASE = version("llama-index")
MINOR = int(RELEASE.split(".")[1])
MADE_BY = f"llama-index {RELEASE}"


class Words:
    """Stands for tiktoken, which fetches its vocabulary from the network."""

    @staticmethod
    def encode(text: str, *given: Any, **more: Any) -> list[str]:
        del given, more
        return text.split()


def offline() -> None:
    import tiktoken

    tiktoken.get_encoding = lambda *_: Words()
    tiktoken.encoding_for_model = lambda *_: Words()


def by_metadata(written: Path) -> None:
    """0.6 to 0.9: TextNode, persist to a folder."""
    from llama_index import ServiceContext, StorageContext, VectorStoreIndex
    from llama_index.schema import NodeRelationship, RelatedNodeInfo, TextNode
    from llama_index.vector_stores import SimpleVectorStore

    made = []
    for number, chunk in enumerate(content.chunks()):
        node = TextNode(
            id_=chunk["chunk_id"],
            text=chunk["text"],
            metadata=chunk["metadata"],
            embedding=chunk["vector"],
            start_char_idx=chunk["start"],
            end_char_idx=chunk["end"],
            excluded_embed_metadata_keys=content.EXCLUDED if number % 2 else [],
        )
        document = next((item for item in content.DOCUMENTS if item["id"] == chunk["document_id"]), None)
        if document is not None:
            about = RelatedNodeInfo(node_id=document["id"], metadata=document["metadata"], hash="0" * 64)
            node.relationships[NodeRelationship.SOURCE] = about
        for kind, other in zip(
            (NodeRelationship.PREVIOUS, NodeRelationship.NEXT), content.neighbours(number), strict=True
        ):
            if other:
                node.relationships[kind] = RelatedNodeInfo(node_id=other)
        made.append(node)
    stores: dict[str, Any] = {}
    more: dict[str, Any] = {}
    service = ServiceContext.from_defaults(embed_model=embedder(), **no_model())
    index = VectorStoreIndex(made, service_context=service, storage_context=StorageContext.from_defaults(**stores))
    index.storage_context.persist(str(written))
    if MINOR == 9:
        images = SimpleVectorStore()
        node = made[5].copy()
        node.embedding = content.vector("image 5", 3)
        images.add([node])
        images.persist(str(written / "image__vector_store.json"))
        more["others"] = {"image": {node.node_id: node.embedding}}
    content.expect(written.parent, MADE_BY, content.chunks(), **more)


def documents(written: Path) -> None:
    """0.9: documents that this release splits itself, so that it keeps what they were like."""
    from llama_index import Document, ServiceContext, VectorStoreIndex
    from llama_index.schema import MetadataMode
    from llama_index.text_splitter import SentenceSplitter

    made = [Document(id_=item["id"], text=item["text"], metadata=item["metadata"]) for item in content.WHOLE]
    splitter = SentenceSplitter(chunk_size=content.CHUNK_SIZE, chunk_overlap=content.CHUNK_OVERLAP)
    service = ServiceContext.from_defaults(embed_model=embedder(), node_parser=splitter, **no_model())
    index = VectorStoreIndex.from_documents(made, service_context=service)
    index.storage_context.persist(str(written))
    nodes = list(index.docstore.docs.values())
    content.expect(
        written.parent, MADE_BY, content.whole(nodes, lambda node: node.get_content(metadata_mode=MetadataMode.EMBED))
    )


def by_extra_info(written: Path) -> None:
    """0.5: Node, one file; every node must be of a document."""
    from llama_index import GPTSimpleVectorIndex, ServiceContext
    from llama_index.data_structs.node_v2 import DocumentRelationship, Node

    made = []
    found = [chunk for chunk in content.chunks() if chunk["document_id"]]
    for number, chunk in enumerate(found):
        before, after = content.neighbours(number)
        related = {
            DocumentRelationship.SOURCE: chunk["document_id"],
            DocumentRelationship.PREVIOUS: before,
            DocumentRelationship.NEXT: after,
        }
        made.append(
            Node(
                text=chunk["text"],
                doc_id=chunk["chunk_id"],
                embedding=chunk["vector"],
                extra_info=chunk["metadata"] or None,
                node_info={"start": chunk["start"], "end": chunk["end"]},
                relationships={kind: other for kind, other in related.items() if other},
            )
        )
    service = ServiceContext.from_defaults(embed_model=embedder(), **no_model())
    GPTSimpleVectorIndex(made, service_context=service).save_to_disk(str(written / "index.json"))
    content.expect(written.parent, MADE_BY, found)


def by_text(written: Path) -> None:
    """0.4: Documents that are split, one file; ids of passages are made by the release."""
    from llama_index import Document, GPTSimpleVectorIndex

    documents = []
    found = [chunk for chunk in content.chunks() if chunk["document_id"]]
    for chunk in found:
        about = chunk["metadata"]
        documents.append(Document(text=chunk["text"], doc_id=f"text {about['number']}", extra_info=about))
    index = GPTSimpleVectorIndex(documents, embed_model=embedder(), **no_model())
    index.save_to_disk(str(written / "index.json"))
    struct = index.index_struct
    ids = {number: text_id for text_id, number in struct.id_map.items()}
    told = [
        {
            "chunk_id": ids[number],
            "document_id": node.ref_doc_id,
            "text": node.text,
            "metadata": node.extra_info,
            "vector": content.vector(node.get_text()),
            "namespace": "default",
        }
        for number, node in struct.nodes_dict.items()
    ]
    content.expect(written.parent, MADE_BY, told)


def no_model() -> dict[str, Any]:
    if MINOR >= 9:
        return {"llm": None}
    if MINOR == 8:
        from llama_index.llms import MockLLM

        return {"llm": MockLLM()}
    from langchain.llms.fake import FakeListLLM
    from llama_index import LLMPredictor

    return {"llm_predictor": LLMPredictor(llm=FakeListLLM(responses=["-"]))}


def embedder() -> Any:
    from llama_index.embeddings.base import BaseEmbedding

    class Fixed(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return content.vector(query)

        def _get_text_embedding(self, text: str) -> list[float]:
            return content.vector(text)

        @classmethod
        def class_name(cls) -> str:
            return "Fixed"

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return content.vector(query)

    return Fixed()


def main() -> None:
    offline()
    content.fixed_uuids()
    written = content.begin(Path(sys.argv[1]), f"llamaindex-{RELEASE}")
    {4: by_text, 5: by_extra_info}.get(MINOR, by_metadata)(written)
    if MINOR == 9:
        documents(content.begin(Path(sys.argv[1]), f"llamaindex-{RELEASE}-documents"))


main()
