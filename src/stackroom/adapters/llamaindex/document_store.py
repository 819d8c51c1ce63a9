"""LlamaIndex's document store over a library: the bodies of nodes are its passages, and what is no passage is kept beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import fsspec
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.storage.docstore.types import RefDocInfo

from stackroom.adapters.llamaindex import hashes, nodes
from stackroom.adapters.llamaindex.document_twins import AsyncDocumentStore
from stackroom.adapters.llamaindex.documents import Changes, Hashes, Nodes, change
from stackroom.adapters.llamaindex.holdings import Holdings
from stackroom.adapters.llamaindex.library import SharedLibrary, shared
from stackroom.adapters.llamaindex.naming import DOCSTORE, store_name
from stackroom.adapters.llamaindex.persisting import persist
from stackroom.adapters.opening import AnyLibrary, Migrate
from stackroom.backend import Backend, View


class StackroomDocumentStore(AsyncDocumentStore):
    """A document store in a library.

    In the namespace "docstore" the passages of the library are its nodes: whatever wrote them, and stored once. Nodes that are no passages
    (documents of a pipeline, parents of a hierarchy) are kept beside them; in other namespaces all are. Deleting a node deletes its
    passage. Every call is durable when it returns, but for hashes of documents of which nothing is stored yet: see `set_document_hashes`.

    Raises what `stackroom.open` raises.
    """

    def __init__(
        self, library: AnyLibrary | SharedLibrary, *, namespace: str = DOCSTORE, migrate: Migrate = "auto"
    ) -> None:
        self._shared = shared(library, migrate=migrate)
        self._namespace = namespace
        self._store = DOCSTORE if namespace == DOCSTORE else store_name(DOCSTORE, namespace)
        self._waiting = self._shared.waiting_in(self._store)

    def __getstate__(self) -> dict[str, Any]:
        return {"library": str(self._shared.index.path), "namespace": self._namespace}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @classmethod
    def from_persist_dir(
        cls,
        persist_dir: str,
        namespace: str | None = None,
        fs: fsspec.AbstractFileSystem | None = None,
        **options: Any,
    ) -> StackroomDocumentStore:
        del fs
        return cls(persist_dir, namespace=namespace or DOCSTORE, **options)

    @classmethod
    def from_persist_path(
        cls, persist_path: str, namespace: str | None = None, fs: fsspec.AbstractFileSystem | None = None
    ) -> StackroomDocumentStore:
        """The store over the library that this path is, or lies in."""
        folder = persist_path if os.path.isdir(persist_path) else os.path.dirname(persist_path)
        return cls.from_persist_dir(folder, namespace, fs)

    def persist(self, persist_path: str = "", fs: fsspec.AbstractFileSystem | None = None) -> None:
        """Keep the hashes that wait; with a path in another folder, a backup of the library goes there."""
        self._shared.flush()
        persist(self._shared.index, os.path.dirname(persist_path), fs)

    @property
    def _backend(self) -> Backend:
        return self._shared.index.backend

    def _held(self, view: View) -> Holdings:
        return Holdings(view, self._store)

    @property
    def docs(self) -> Mapping[str, BaseNode]:  # type: ignore[override]
        """Every node by its id: a mapping that reads when it is asked."""
        return Nodes(self._every_id, self._read)

    def _every_id(self) -> list[str]:
        with self._backend.view() as view:
            return self._held(view).ids()

    def _read(self, ids: Sequence[str]) -> dict[str, BaseNode]:
        with self._backend.view() as view:
            return self._held(view).read(ids)

    def add_documents(
        self,
        docs: Sequence[BaseNode],
        allow_update: bool = True,
        batch_size: int | None = None,
        store_text: bool = True,
    ) -> None:
        """Keep nodes, in one commit whatever `batch_size` says; one that the library holds as it is costs no write.

        Raises ValueError for an id that exists where `allow_update` is False, and for metadata that is no JSON.
        """
        del batch_size
        told = {node.node_id: self._waiting[node.node_id] for node in docs if node.node_id in self._waiting}

        def plan(view: View) -> Changes:
            changes, held = Changes(), self._held(view)
            if not allow_update and (known := next((node for node in docs if held.exists(node.node_id)), None)):
                raise ValueError(f"node_id {known.node_id} already exists. Set allow_update to True to overwrite.")
            for node in docs:
                if not self._is_written(view, node):
                    held.plan_node(node, store_text, changes)
            stored = {node_id: value for node_id, value in told.items() if held.has_something(node_id)}
            held.plan_hashes(stored, changes)
            return changes

        change(self._backend, plan)
        for node_id in told:
            self._waiting.pop(node_id, None)

    def _is_written(self, view: View, node: BaseNode) -> bool:
        """Whether the vector store wrote this node a moment ago, as it is: LlamaIndex tells both of every one."""
        if self._store != DOCSTORE or node.node_id not in self._shared.written[1]:
            return False
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        return self._shared.is_written(view, node.node_id, nodes.record_of(node, nodes.body_of(node), text))

    def get_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        """The node of this id. Raises ValueError where there is none, or returns None with `raise_error=False`."""
        found = self._read([doc_id]).get(doc_id)
        if found is None and raise_error:
            raise ValueError(f"doc_id {doc_id} not found.")
        return found

    def get_nodes(self, node_ids: list[str], raise_error: bool = True) -> list[BaseNode]:
        """The nodes of these ids, in their order; an id that is asked twice is answered twice."""
        found = self._read(node_ids)
        missing = next((node_id for node_id in node_ids if node_id not in found), None)
        if missing is not None and raise_error:
            raise ValueError(f"doc_id {missing} not found.")
        return [found[node_id] for node_id in node_ids if node_id in found]

    def document_exists(self, doc_id: str) -> bool:
        with self._backend.view() as view:
            return self._held(view).exists(doc_id)

    def delete_document(self, doc_id: str, raise_error: bool = True) -> None:
        """Delete a node, and the passage that it is; of a document that has passages only its body.

        Raises ValueError where nothing is known of that id.
        """
        waited = doc_id in self._waiting
        forgotten = {doc_id}

        def plan(view: View) -> Changes:
            changes, held = Changes(), self._held(view)
            forgotten.intersection_update({doc_id})
            held.plan_deletion([doc_id], changes)
            if not (held.plan_body_deletion(doc_id, changes) or changes or waited) and raise_error:
                raise ValueError(f"doc_id {doc_id} not found.")
            forgotten.update(changes.forgotten)
            return changes

        change(self._backend, plan)
        for document_id in forgotten:
            self._waiting.pop(document_id, None)

    def get_ref_doc_info(self, ref_doc_id: str) -> RefDocInfo | None:
        with self._backend.view() as view:
            return self._held(view).info(ref_doc_id)

    def get_all_ref_doc_info(self) -> dict[str, RefDocInfo] | None:
        with self._backend.view() as view:
            return self._held(view).infos()

    def ref_doc_exists(self, ref_doc_id: str) -> bool:
        return self.get_ref_doc_info(ref_doc_id) is not None

    def delete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        """Delete a document's nodes, and what is known of it. Raises ValueError where there is no such document."""
        found = False

        def plan(view: View) -> Changes:
            nonlocal found
            changes = Changes()
            found = self._held(view).plan_document_deletion(ref_doc_id, changes)
            if not found and raise_error:
                raise ValueError(f"ref_doc_id {ref_doc_id} not found.")
            return changes

        change(self._backend, plan)
        if found:
            self._waiting.pop(ref_doc_id, None)

    def set_document_hash(self, doc_id: str, doc_hash: str) -> None:
        self.set_document_hashes({doc_id: doc_hash})

    def set_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        """Remember what documents are like.

        Of a document that is not as it is told, or of which nothing is stored yet, it waits in this process: for its nodes, its body, or
        `persist`. So a run that fails or dies in the middle leaves no document that looks whole, or new.
        """
        known: dict[str, str | None] = {}

        def plan(view: View) -> Changes:
            changes, held = Changes(), self._held(view)
            known.clear()
            known.update((node_id, held.told(node_id)) for node_id in doc_hashes if held.has_something(node_id))
            held.plan_hashes({node_id: doc_hashes[node_id] for node_id, told in known.items() if told is None}, changes)
            return changes

        change(self._backend, plan)
        with self._shared.guard:
            for node_id, told in doc_hashes.items():
                if node_id in known and known[node_id] in (None, told):
                    self._waiting.pop(node_id, None)
                else:
                    self._waiting[node_id] = told

    def get_document_hash(self, doc_id: str) -> str | None:
        if doc_id in self._waiting:
            return self._waiting[doc_id]
        with self._backend.view() as view:
            return self._held(view).hash_of(doc_id)

    def get_all_document_hashes(self) -> dict[str, str]:
        """Ids by hash of the documents that came through a docstore: no passages, and nothing that other programs added.

        Where several have the same hash, `values()` has all their ids.
        """
        with self._backend.view() as view:
            found: Hashes = self._held(view).hashes(besides=self._waiting)
        for document_id, told in list(self._waiting.items()):
            found.put(told, document_id)
        return found

    def recognise_documents(self, docs: Sequence[BaseNode]) -> list[str]:
        """Before the first `refresh_ref_docs` or pipeline run over an index of LlamaIndex 0.11 or older: the ids of the documents that are as
        they were then.

        Those releases hashed a document in another way. Where its old hash proves that it has not changed, the new one takes its
        place, and nothing is embedded again. Of most documents the store finds that out by itself, from their passages; but where white
        space was dropped between passages, only whoever has the document knows.
        """
        known: dict[str, str] = {}

        def plan(view: View) -> Changes:
            changes, held = Changes(), self._held(view)
            known.clear()
            known.update((doc.node_id, doc.hash) for doc in docs if hashes.is_old_hash_of(held.told(doc.node_id), doc))
            held.plan_hashes(known, changes)
            return changes

        change(self._backend, plan)
        return list(known)
