"""Stackroom as LangChain's vector store: `StackroomVectorStore("library/", embedding=...)`, nothing else changed.

Needs the extra `langchain`.
"""

from __future__ import annotations

from stackroom._optional import needing

with needing("langchain"):
    from stackroom.adapters.langchain.embeddings import StackroomEmbeddings
    from stackroom.adapters.langchain.retriever import StackroomRetriever
    from stackroom.adapters.langchain.vector_store import StackroomVectorStore

__all__ = ["StackroomEmbeddings", "StackroomRetriever", "StackroomVectorStore"]
