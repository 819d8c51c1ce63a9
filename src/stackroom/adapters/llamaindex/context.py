"""The one line that an application changes: a StorageContext whose stores are one library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
from llama_index.core import Settings
from llama_index.core.graph_stores.simple import SimpleGraphStore, SimpleGraphStoreData
from llama_index.core.storage.storage_context import StorageContext

from stackroom.adapters.llamaindex.document_store import StackroomDocumentStore
from stackroom.adapters.llamaindex.embedding import StackroomEmbedding
from stackroom.adapters.llamaindex.index_store import StackroomIndexStore
from stackroom.adapters.llamaindex.library import SharedLibrary, shared
from stackroom.adapters.llamaindex.vector_store import StackroomVectorStore
from stackroom.adapters.opening import AnyLibrary, Migrate
from stackroom.types import EmbedderIdentity

_GRAPH = "file/graph_store.json"


def storage_context(
    library: AnyLibrary,
    *,
    stores_text: bool = False,
    active: bool = False,
    migrate: Migrate = "auto",
    embed_model: Any = None,
    identity: EmbedderIdentity | None = None,
) -> StorageContext:
    """Vector store, document store, index store and graph store over the library at this path; an `Index` will do too.

    An old index in that folder is migrated first (`migrate`: as in `stackroom.open`). `stores_text` and `active` are those of the
    vector store. `embed_model` embeds queries that are words alone, and names the library's model where it is a StackroomEmbedding (by default that of
    LlamaIndex's `Settings`, if it is one); `identity` names another one. Raises what `stackroom.open` raises.
    """
    state = shared(library, migrate=migrate)
    state.begin()
    if embed_model is None and isinstance(Settings._embed_model, StackroomEmbedding):
        # Asking for `embed_model` itself would load OpenAI's where none was set.
        embed_model = Settings._embed_model

    def vectors(collection: str) -> StackroomVectorStore:
        return StackroomVectorStore(
            state,
            stores_text=stores_text,
            collection=collection,
            active=active,
            embed_model=embed_model,
            identity=identity,
        )

    return StorageContext(
        docstore=StackroomDocumentStore(state),
        index_store=StackroomIndexStore(state, lists_nodes=not stores_text),
        vector_stores={"default": vectors("default"), "image": vectors("image")},
        graph_store=_GraphStore(state),
    )


class _GraphStore(SimpleGraphStore):
    """LlamaIndex's own graph store, kept in the library by `persist`."""

    def __init__(self, state: SharedLibrary) -> None:
        with state.index.backend.view() as view:
            kept = view.attachment(_GRAPH)
        super().__init__(SimpleGraphStoreData.from_dict(json.loads(kept)) if kept else None)
        self._state = state
        self._kept = self._data.to_dict()

    def persist(self, persist_path: str | Path = "", fs: fsspec.AbstractFileSystem | None = None) -> None:
        del persist_path, fs
        told = self._data.to_dict()
        if told != self._kept:
            with self._state.index.backend.commit() as commit:
                commit.attach(_GRAPH, json.dumps(told).encode())
            self._kept = told
