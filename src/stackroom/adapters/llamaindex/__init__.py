"""Stackroom as LlamaIndex's storage: `storage_context("library/")` in place of the Simple stores, nothing else changed.

Needs the extra `llamaindex`.
"""

from __future__ import annotations

from stackroom._optional import needing

with needing("llamaindex"):
    from stackroom.adapters.llamaindex.context import storage_context
    from stackroom.adapters.llamaindex.document_store import StackroomDocumentStore
    from stackroom.adapters.llamaindex.embedding import StackroomEmbedding
    from stackroom.adapters.llamaindex.index_store import StackroomIndexStore
    from stackroom.adapters.llamaindex.kv_store import StackroomKVStore
    from stackroom.adapters.llamaindex.vector_store import StackroomVectorStore

__all__ = [
    "StackroomDocumentStore",
    "StackroomEmbedding",
    "StackroomIndexStore",
    "StackroomKVStore",
    "StackroomVectorStore",
    "storage_context",
]
