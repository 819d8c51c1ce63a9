"""LlamaIndex's vector store over a library: vectors, bodies and hashes of nodes in one commit, and every kind of query."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import fsspec
import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, RelatedNodeInfo
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from stackroom.adapters import passages
from stackroom.adapters.llamaindex import hashes, nodes, queries
from stackroom.adapters.llamaindex.embedding import StackroomEmbedding
from stackroom.adapters.llamaindex.filters import check, to_filter
from stackroom.adapters.llamaindex.library import SharedLibrary, shared
from stackroom.adapters.llamaindex.naming import DOCSTORE, attachment_name, attachment_prefix
from stackroom.adapters.llamaindex.persisting import persist
from stackroom.adapters.opening import AnyLibrary, Migrate
from stackroom.backend import Commit, Scope, View
from stackroom.errors import UsageError
from stackroom.identity import require_same
from stackroom.index import Index
from stackroom.ingest.file_facts import IMPORTED
from stackroom.nodes.kept import dump
from stackroom.types import EmbedderIdentity

RECIPE = f"{IMPORTED}llamaindex"


class StackroomVectorStore(BasePydanticVectorStore):
    """A vector store in a library.

    `stores_text` True: an index keeps nothing beside it (`VectorStoreIndex.from_vector_store`). False: an index lists its nodes and asks the
    docstore for them, as it does with LlamaIndex's own SimpleVectorStore; `storage_context` sets it so. `collection` other than "default" is
    a set of nodes with vectors of its own. `text_only` accepts nodes without embeddings, which are found by their words. `strict_filters`
    raises where a filter compares what can't be compared, in place of a warning. `active` keeps queries to the library's active sources,
    whatever they are by then; a query may say otherwise (`vector_store_kwargs={"active": True}`). `identity` names the model of the
    vectors, so that other faces of the library may embed queries.

    Raises what `stackroom.open` raises. Queries in HYBRID mode rank by both legs: with `alpha` None by reciprocal ranks (Cormack et al.
    2009), else linearly by scores scaled to [0, 1]. Similarities are cosines (or what the library's metric says), higher is better.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    flat_metadata: bool = False
    library: str = ""
    collection: str = "default"
    text_only: bool = False
    strict_filters: bool = False
    active: bool = False

    _shared: SharedLibrary = PrivateAttr()
    _identity: EmbedderIdentity | None = PrivateAttr()
    _reranker: Any = PrivateAttr()
    _embedder: Any = PrivateAttr()
    _tried: bool = PrivateAttr()

    def __init__(
        self,
        library: AnyLibrary | SharedLibrary,
        *,
        stores_text: bool = True,
        collection: str = "default",
        text_only: bool = False,
        strict_filters: bool = False,
        active: bool = False,
        identity: EmbedderIdentity | None = None,
        embed_model: Any = None,
        reranker: Any = None,
        migrate: Migrate = "auto",
    ) -> None:
        state = shared(library, migrate=migrate)
        super().__init__(  # type: ignore[call-arg]
            stores_text=stores_text,
            library=str(state.index.path or ""),
            collection=collection,
            text_only=text_only,
            strict_filters=strict_filters,
            active=active,
        )
        self._shared = state
        if isinstance(embed_model, str):
            embed_model = StackroomEmbedding(embed_model)
        self._identity = identity if identity is not None else getattr(embed_model, "stackroom_identity", None)
        self._embedder = embed_model
        self._tried = False
        if self._identity is not None and collection == "default":
            with state.index.backend.view() as view:
                stored = view.identity
            if stored is not None:
                require_same(stored, self._identity)
        self._reranker = reranker

    @classmethod
    def class_name(cls) -> str:
        return "StackroomVectorStore"

    @classmethod
    def from_persist_dir(
        cls, persist_dir: str, namespace: str = "default", fs: fsspec.AbstractFileSystem | None = None, **options: Any
    ) -> StackroomVectorStore:
        """The store over the library in this folder; `namespace` is its collection."""
        del fs
        return cls(persist_dir, collection=namespace, **options)

    @classmethod
    def from_persist_path(
        cls, persist_path: str, fs: fsspec.AbstractFileSystem | None = None, **options: Any
    ) -> StackroomVectorStore:
        """The store over the library that this path is, or lies in."""
        del fs
        return cls(persist_path if os.path.isdir(persist_path) else os.path.dirname(persist_path), **options)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Where it is and how it was made; not what is in it."""
        del kwargs
        return {name: getattr(self, name) for name in _OPTIONS} | {"class_name": self.class_name()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> StackroomVectorStore:
        return cls(**{name: data[name] for name in _OPTIONS if name in data}, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {"options": {name: getattr(self, name) for name in _OPTIONS}, "identity": self._identity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["options"], identity=state["identity"])  # type: ignore[misc]

    @property
    def client(self) -> Index:
        """The `stackroom.Index` underneath."""
        return self._shared.index

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Insert or replace nodes by their ids, in one durable commit; returns the ids.

        Raises ValueError for a node without an embedding (unless `text_only`), of another dimension, or with metadata that is no JSON.
        """
        del kwargs
        if not nodes:
            return []
        entries = [self._entry(node) for node in nodes]
        named = self._embedder if isinstance(self._embedder, StackroomEmbedding) else None
        if (self._identity is None or named is not None) and not self._tried and self.collection == "default":
            queries.require_like(self._shared.index, nodes, named)
            self._tried = True
        ids = [entry.chunk.chunk_id or "" for entry in entries]
        backend = self._shared.index.backend
        with backend.view() as view:
            stored = view.chunk_keys(ids)
            self._shared.replaced.update(name for name, key in zip(ids, stored, strict=True) if key is not None)
            bodies = _bodies(view, ids)
        if self.collection == "default":
            version = -1

            def also(commit: Commit, documents: dict[str, int]) -> None:
                nonlocal version
                self._about(commit, documents, nodes, bodies)
                with backend.view() as view:
                    version = view.version + 1  # nobody else commits meanwhile

            passages.write(backend, entries, recipe=RECIPE, identity=self._identity, also=also)
            records = {entry.chunk.chunk_id or "": entry.original for entry in entries if entry.original is not None}
            self._shared.written = version, records
        else:
            self._add_elsewhere(entries, nodes, bodies)
        return [node.node_id for node in nodes]

    def _entry(self, node: BaseNode) -> passages.Entry:
        if node.embedding is None:
            if not self.text_only:
                raise UsageError(
                    f"The node {node.node_id} has no embedding.",
                    hint="Embed it first, or set text_only=True to search it by words.",
                )
            return nodes.to_entry(node, None)
        return nodes.to_entry(node, queries.as_vector(node.embedding))

    def _add_elsewhere(self, entries: list[passages.Entry], nodes: Sequence[BaseNode], bodies: list[str]) -> None:
        """Into a collection with vectors of its own; a node that the library has gets this vector beside its others."""
        backend = self._shared.index.backend
        ids = [entry.chunk.chunk_id or "" for entry in entries]
        with backend.view() as view:
            known = dict(zip(ids, view.chunk_keys(ids), strict=True))
            present = [key for key in known.values() if key is not None]
            records = view.kept("chunk", present)
            shared_ = set(view.select(Scope(keys=np.array(present, dtype=np.int64))).tolist())
            own_vector = set(view.live_keys(with_vector=True).tolist()) & shared_
            changed: dict[str, list[passages.Entry]] = {"default": [], self.collection: []}
            for entry in entries:
                key = known[entry.chunk.chunk_id or ""]
                if key is not None and records.get(key) == entry.original:
                    continue
                row = view.vectors([key])[0] if key in own_vector and key is not None else None
                bare = replace(entry, chunk=replace(entry.chunk, embedding=row))
                changed["default" if key in shared_ else self.collection].append(bare)
        for home, written in changed.items():
            if written:
                passages.write(
                    backend,
                    written,
                    recipe=RECIPE,
                    collection=home,
                    also=lambda commit, documents: self._about(commit, documents, nodes, bodies),
                )
        with backend.commit() as commit, backend.view() as view:
            found = [(key, entry) for key, entry in zip(view.chunk_keys(ids), entries, strict=True) if key is not None]
            rows = {key: entry.chunk.embedding for key, entry in found}
            commit.enlist(self.collection, list(rows))
            commit.add_vectors(self.collection, [(key, row) for key, row in rows.items() if row is not None])

    def _discard(self, commit: Commit, keys: list[int]) -> None:
        """Nodes go; one that another collection shares only leaves this one."""
        if self.collection == "default":
            commit.discard(keys)
            return
        with self._shared.index.backend.view() as view:
            elsewhere = set(view.select(Scope(keys=np.array(keys, dtype=np.int64))).tolist())
        if elsewhere:
            commit.leave(self.collection, [key for key in keys if key in elsewhere])
        commit.discard([key for key in keys if key not in elsewhere])

    def _about(self, commit: Commit, documents: dict[str, int], added: Sequence[BaseNode], bodies: list[str]) -> None:
        """What the docstore will say of these nodes' documents; a body that it kept itself is the library's from now on."""
        for name in bodies:
            commit.detach(name)
        told: dict[str, dict[str, Any]] = {}
        for node in added:
            source = nodes.source_of(node)
            if source is not None:
                told.setdefault(source.node_id, _told_of(node, source, listed=self.collection in _SHARED_COLLECTIONS))
        with self._shared.index.backend.view() as view:
            partial = _partial(view, added)
            kept = view.kept("document", [key for name, key in documents.items() if name in told])
        records = []
        for document_id, record in told.items():
            key = documents.get(document_id)
            if key is None:
                continue
            before = nodes.loads(kept.get(key))
            if document_id not in partial:
                waited = self._shared.waiting.pop(document_id, None)
                if waited is not None:
                    record |= {"docstore": {"doc_hash": waited}, "hashed": True}
                before.pop(hashes.PARTIAL, None)
            elif hashes.told_in(before) is None:
                # A hash would say that all of it is here.
                record = {"ref_doc_info": record["ref_doc_info"], hashes.PARTIAL: True}
            records.append((key, dump({**record, **before, **_newer(record)})))
        commit.keep("document", records)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove a document's nodes and what is known of it; a document that is not there is no error."""
        del delete_kwargs
        if not ref_doc_id or ref_doc_id == nodes.NO_DOCUMENT:
            return
        backend = self._shared.index.backend
        names = self._shared.forget([ref_doc_id])
        with backend.view() as view:
            keys = self._members(view, Scope(documents=[ref_doc_id])).tolist()
            names = [name for name in names if view.attachment(name) is not None]
        if not keys and not names:
            return
        with backend.commit() as commit:
            self._discard(commit, keys)
            for name in names:
                commit.detach(name)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Remove the nodes of these ids that pass the filters. Raises ValueError where neither says anything: see `clear`."""
        del delete_kwargs
        where = to_filter(filters)
        if node_ids is None and where is None:
            raise UsageError("This would delete every node.", hint="Give node_ids or filters, or call clear().")
        if node_ids is not None and not node_ids:
            return
        backend = self._shared.index.backend
        with backend.view() as view:
            keys = self._members(view, Scope(where=where, keys=_keys(view, node_ids))).tolist()
            emptied = self._shared.emptied(view, keys)
        if keys:
            with backend.commit() as commit:
                self._discard(commit, keys)
            self._shared.forget(emptied)

    def clear(self) -> None:
        """Remove every node, in one commit."""
        backend = self._shared.index.backend
        with backend.view() as view:
            keys = self._members(view, Scope()).tolist()
        if keys:
            with backend.commit() as commit:
                self._discard(commit, keys)

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, *, limit: int | None = None
    ) -> list[BaseNode]:
        """The nodes of these ids that pass the filters, in the order asked; unknown ids are left out.

        Raises ValueError where neither ids nor filters nor `limit` say anything.
        """
        where = to_filter(filters)
        if node_ids is None and where is None and limit is None:
            raise UsageError("This would read every node.", hint="Give node_ids or filters, or a limit.")
        with self._shared.index.backend.view() as view:
            if node_ids is None:
                keys = self._members(view, Scope(where=where)).tolist()
            else:
                asked = [key for key in view.chunk_keys(node_ids) if key is not None]
                allowed = set(self._members(view, Scope(where=where, keys=np.array(asked, dtype=np.int64))).tolist())
                keys = [key for key in asked if key in allowed]
            return nodes.read(view, keys[:limit])

    def get(self, text_id: str) -> list[float]:
        """A node's stored vector, as SimpleVectorStore's `get`. Raises NotFoundError, which is a LookupError."""
        with self._shared.index.backend.view() as view:
            keys = [key for key in view.chunk_keys([text_id]) if key is not None]
            if not keys:
                raise KeyError(text_id)
            return [float(value) for value in view.vectors(keys, collection=self.collection)[0]]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best nodes with their ids and similarities. Raises ValueError for a query that says too little, and for another dimension."""
        where = to_filter(query.filters)
        prepared = self._prepared(query)
        with self._shared.index.backend.view() as view:
            check(where, view.kinds, strict=self.strict_filters)
            keys, index = self._shared.restriction(view, query.node_ids, self_contained=self.stores_text)
            active = bool(kwargs.get("active", self.active))
            within = Scope(where, active=active, documents=query.doc_ids or None, keys=keys)
            scope = self._scope(view, within, index)
            if scope is None or query.similarity_top_k <= 0:
                return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
            ranked = queries.rank(view, prepared, scope, kwargs)
            found = nodes.read(view, ranked.keys.tolist())
        scores = [float(score) for score in ranked.scores]
        if query.mode == VectorStoreQueryMode.SEMANTIC_HYBRID and self._reranker is not None:
            found, scores = queries.reranked(self._reranker, query.query_str or "", found, scores)
        return VectorStoreQueryResult(nodes=found, similarities=scores, ids=[node.node_id for node in found])

    def _prepared(self, query: VectorStoreQuery) -> VectorStoreQuery:
        """The query with its embedding, where it needs one and a model is at hand. Raises ValueError where none is.

        A model may take seconds, and a view that is open that long holds up what wants to tidy the library.
        """
        if query.query_embedding is not None or not queries.needs_vector(query):
            return query
        if self._embedder is None or not query.query_str:
            raise UsageError(
                f"A query in the mode {query.mode.value!r} needs query_embedding.",
                hint="Give it, or give query_str and make the store with embed_model=...",
            )
        return replace(query, query_embedding=self._embedder.get_query_embedding(query.query_str))

    def _scope(self, view: View, scope: Scope, index: str | None) -> Scope | None:
        """The scope within this collection and index; None where that holds nothing yet."""
        if index is not None and self.collection == "default":
            return replace(scope, collection=index)
        if not view.has_collection(self.collection):
            return None
        return replace(scope, collection=self.collection)

    def _members(self, view: View, scope: Scope) -> Any:
        within = self._scope(view, scope, None)
        return np.empty(0, dtype=np.int64) if within is None else view.select(within)

    def persist(self, persist_path: str = "", fs: fsspec.AbstractFileSystem | None = None) -> None:
        """Nothing waits to be written; with a path in another folder, a backup of the library goes there."""
        self._shared.flush()
        persist(self._shared.index, os.path.dirname(persist_path), fs)

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        await asyncio.to_thread(self.clear)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **kwargs: Any
    ) -> list[BaseNode]:
        return await asyncio.to_thread(self.get_nodes, node_ids, filters, **kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        return await asyncio.to_thread(self.query, query, **kwargs)


_SHARED_COLLECTIONS = ("default", "image")
"""Those of `storage_context`, which share a docstore; others are somebody else's."""
_OPTIONS = ("library", "stores_text", "collection", "text_only", "strict_filters", "active")


def _keys(view: View, node_ids: list[str] | None) -> Any:
    if node_ids is None:
        return None
    return np.array([key for key in view.chunk_keys(node_ids) if key is not None], dtype=np.int64)


def _bodies(view: View, node_ids: list[str]) -> list[str]:
    """Names of what the docstore keeps of these nodes by itself."""
    if next(view.attachments(attachment_prefix(DOCSTORE, "data")), None) is None:
        return []
    names = [attachment_name(DOCSTORE, part, node_id) for node_id in node_ids for part in ("data", "metadata")]
    return [name for name in names if view.attachment(name) is not None]


def _told_of(node: BaseNode, source: RelatedNodeInfo, *, listed: bool) -> dict[str, Any]:
    """What a node says of its document. `listed`: whether the docstore counts that document among its own."""
    record: dict[str, Any] = {"ref_doc_info": {"metadata": node.metadata}}
    if source.hash:
        record |= {"docstore": {"doc_hash": source.hash}} if listed else {"hash": source.hash}
        record["hashed"] = True
    return record


def _partial(view: View, added: Sequence[BaseNode]) -> set[str]:
    """Ids of documents of which a node says that another follows, which is not there."""
    present = {node.node_id for node in added}
    awaited = {after: node for node in added if (after := nodes.following(node)) is not None and after not in present}
    keys = zip(awaited.values(), view.chunk_keys(list(awaited)), strict=True)
    sources = (nodes.source_of(node) for node, key in keys if key is None)
    return {source.node_id for source in sources if source is not None}


def _newer(record: dict[str, Any]) -> dict[str, Any]:
    """Of what nodes say of their document, the hash counts more than what was known."""
    return {name: record[name] for name in ("docstore", "hash", "hashed") if name in record}
