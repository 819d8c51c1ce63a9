"""LlamaIndex's document store over a library: the bodies of nodes are its passages, and what is no passage is kept beside them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fsspec
from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore.types import BaseDocumentStore, RefDocInfo

from stackroom.adapters.llamaindex import hashes, nodes
from stackroom.adapters.llamaindex.documents import Changes, Hashes, Nodes
from stackroom.adapters.llamaindex.library import DOCSTORE, SharedLibrary, attachment_name, attachment_prefix, shared
from stackroom.adapters.llamaindex.persisting import persist
from stackroom.adapters.opening import AnyLibrary, Migrate
from stackroom.backend import Scope, View
from stackroom.migration.reading import dump

UNFINISHED = "unfinished"
"""The hash of a document that has passages, and of which nobody said that they are all."""


class StackroomDocumentStore(BaseDocumentStore):
    """A document store in a library.

    In the namespace "docstore" the passages of the library are its nodes: whatever wrote them, and stored once. Nodes that are no passages
    (documents of a pipeline, parents of a hierarchy) are kept under the namespace's own name. Deleting a node deletes its passage.

    Raises what `stackroom.open` raises.
    """

    def __init__(
        self, library: AnyLibrary | SharedLibrary, *, namespace: str = DOCSTORE, migrate: Migrate = "auto"
    ) -> None:
        self._shared = shared(library, migrate=migrate)
        self._namespace = namespace
        self._sees_passages = namespace == DOCSTORE
        self._waiting = self._shared.waiting if self._sees_passages else {}

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
        """Nothing waits to be written; with a path in another folder, a backup of the library goes there."""
        self._flush()
        persist(self._shared.index, os.path.dirname(persist_path), fs)

    def _flush(self) -> None:
        self._shared.flush()

    def _view(self) -> Any:
        return self._shared.index.backend.view()

    def _commit(self) -> Any:
        return self._shared.index.backend.commit()

    def _name(self, part: str, key: str) -> str:
        return attachment_name(self._namespace, part, key)

    @property
    def docs(self) -> Mapping[str, BaseNode]:  # type: ignore[override]
        """Every node by its id: a mapping that reads when it is asked."""
        return Nodes(self._every_id, self._read_some, self._count)

    def _every_id(self) -> list[str]:
        with self._view() as view:
            return self._ids(view)

    def _read_some(self, ids: Sequence[str]) -> dict[str, BaseNode]:
        with self._view() as view:
            return self._read(view, ids)

    def _count(self) -> int:
        return len(self._every_id())

    def _kept_ids(self, view: View) -> list[str]:
        """Ids of the nodes that are no passages."""
        prefix = attachment_prefix(self._namespace, "data")
        return [name.removeprefix(prefix) for name, _ in view.attachments(prefix)]

    def _ids(self, view: View) -> list[str]:
        kept = self._kept_ids(view)
        passages = view.chunk_ids() if self._sees_passages else []
        seen = set(passages)
        imported = [document_id for document_id in self._imported(view) if document_id not in seen]
        seen.update(imported)
        return [*passages, *imported, *(node_id for node_id in kept if node_id not in seen)]

    def _imported(self, view: View) -> list[str]:
        """Ids of documents whose bodies an import brought."""
        if not self._sees_passages:
            return []
        return [document_id for document_id, record in _records(view) if isinstance(record.get("node"), dict)]

    def _read(self, view: View, ids: Sequence[str]) -> dict[str, BaseNode]:
        """The nodes of these ids that there are."""
        found: dict[str, BaseNode] = {}
        if self._sees_passages:
            keys = {node_id: key for node_id, key in zip(ids, view.chunk_keys(ids), strict=True) if key is not None}
            found.update(zip(keys, nodes.read(view, list(keys.values())), strict=True))
        for node_id in ids:
            if node_id in found:
                continue
            data = view.attachment(self._name("data", node_id))
            record = json.loads(data) if data else self._imported_record(view, node_id)
            if isinstance(record.get("node"), dict):
                found[node_id] = nodes.from_record(str(record.get("type", "1")), record["node"])
        return found

    def _imported_record(self, view: View, document_id: str) -> dict[str, Any]:
        document = view.document(document_id) if self._sees_passages else None
        return {} if document is None else nodes.loads(view.kept("document", [document.key]).get(document.key))

    def _exists(self, view: View, node_id: str) -> bool:
        return bool(self._read(view, [node_id]))

    def add_documents(
        self,
        docs: Sequence[BaseNode],
        allow_update: bool = True,
        batch_size: int | None = None,
        store_text: bool = True,
    ) -> None:
        """Keep nodes, in one commit; one that the library holds as it is costs no write.

        Raises ValueError for an id that exists where `allow_update` is False, and for metadata that is no JSON.
        """
        del batch_size
        changes = Changes()
        with self._view() as view:
            for node in docs:
                if not allow_update and self._exists(view, node.node_id):
                    raise ValueError(f"node_id {node.node_id} already exists. Set allow_update to True to overwrite.")
            known = self._known_records(view, [node.node_id for node in docs])
            for node in docs:
                self._plan(view, node, known.get(node.node_id), store_text, changes)
        self._apply(changes)

    def _known_records(self, view: View, ids: list[str]) -> dict[str, tuple[int, bytes]]:
        """Key and record of the nodes that are passages."""
        if not self._sees_passages:
            return {}
        keys = {node_id: key for node_id, key in zip(ids, view.chunk_keys(ids), strict=True) if key is not None}
        records = view.kept("chunk", list(keys.values()))
        return {node_id: (key, records.get(key, b"")) for node_id, key in keys.items()}

    def _plan(
        self, view: View, node: BaseNode, known: tuple[int, bytes] | None, store_text: bool, changes: Changes
    ) -> None:
        body = node.to_dict()
        body["embedding"] = None
        text = node.get_content()
        record = nodes.record_of(node, body, text)
        if known is not None:
            key, before = known
            if before == record:
                return
            (passage,) = view.passages([key])
            if passage.text == text:
                changes.records.append((key, record))
                return
            # Another text under the id of a passage: its vector is of the old one, which goes.
            changes.discarded.append(key)
        source = nodes.source_of(node)
        told = {"doc_hash": node.hash, **({"ref_doc_id": source.node_id} if source else {})}
        changes.attached[self._name("metadata", node.node_id)] = told
        if store_text:
            whole = {"type": json.loads(record)["type"], "node": body}
            changes.attached[self._name("data", node.node_id)] = whole
        self._waiting.pop(node.node_id, None)
        if source is not None:
            name = self._name("ref_doc_info", source.node_id)
            info = changes.attached.get(name) or _loads(view.attachment(name)) or {"node_ids": [], "metadata": {}}
            if node.node_id not in info["node_ids"]:
                info["node_ids"].append(node.node_id)
            info["metadata"] = info["metadata"] or dict(node.metadata)
            changes.attached[name] = info

    def _apply(self, changes: Changes) -> None:
        attached = [(name, dump(value)) for name, value in changes.attached.items()]
        if not (attached or changes.records or changes.discarded or changes.detached or changes.forgotten):
            return
        with self._commit() as commit:
            commit.discard(changes.discarded)
            commit.keep("chunk", changes.records)
            commit.keep("document", [(key, b"{}") for key in changes.forgotten])
            for name in changes.detached:
                commit.detach(name)
            for name, data in attached:
                commit.attach(name, data)

    def get_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        """The node of this id. Raises ValueError where there is none, or returns None with `raise_error=False`."""
        with self._view() as view:
            found = self._read(view, [doc_id]).get(doc_id)
        if found is None and raise_error:
            raise ValueError(f"doc_id {doc_id} not found.")
        return found

    def get_nodes(self, node_ids: list[str], raise_error: bool = True) -> list[BaseNode]:
        """The nodes of these ids, in their order; an id that is asked twice is answered twice."""
        with self._view() as view:
            found = self._read(view, node_ids)
        missing = next((node_id for node_id in node_ids if node_id not in found), None)
        if missing is not None and raise_error:
            raise ValueError(f"doc_id {missing} not found.")
        return [found[node_id] for node_id in node_ids if node_id in found]

    def document_exists(self, doc_id: str) -> bool:
        with self._view() as view:
            return self._exists(view, doc_id)

    def delete_document(self, doc_id: str, raise_error: bool = True) -> None:
        """Delete a node, and the passage that it is. Raises ValueError where there is neither node nor hash of that id."""
        with self._view() as view:
            changes = self._deletion(view, [doc_id])
        if not changes.found and raise_error:
            raise ValueError(f"doc_id {doc_id} not found.")
        self._apply(changes)

    def _deletion(self, view: View, ids: list[str]) -> Changes:
        changes = Changes()
        for node_id in ids:
            changes.found |= self._waiting.pop(node_id, None) is not None
            if self._sees_passages:
                changes.discarded += [key for key in view.chunk_keys([node_id]) if key is not None]
            for part in ("data", "metadata"):
                name = self._name(part, node_id)
                data = view.attachment(name)
                if data is not None:
                    changes.detached.append(name)
                    self._leave(view, node_id, json.loads(data).get("ref_doc_id"), changes)
            document = view.document(node_id) if self._sees_passages and not changes.discarded else None
            if document is not None and nodes.loads(view.kept("document", [document.key]).get(document.key)):
                changes.found = True
                changes.forgotten.append(document.key)
        changes.found |= bool(changes.discarded or changes.detached)
        return changes

    def _leave(self, view: View, node_id: str, document_id: str | None, changes: Changes) -> None:
        """Take a node off the list of its document, which is gone with the last one."""
        if document_id is None:
            return
        name = self._name("ref_doc_info", document_id)
        info = changes.attached.get(name) or _loads(view.attachment(name))
        if info is None or node_id not in info["node_ids"]:
            return
        info["node_ids"].remove(node_id)
        changes.attached[name] = info
        if not info["node_ids"]:
            del changes.attached[name]
            changes.detached += [self._name(part, document_id) for part in ("ref_doc_info", "metadata", "data")]

    def get_ref_doc_info(self, ref_doc_id: str) -> RefDocInfo | None:
        with self._view() as view:
            return self._info(view, ref_doc_id)

    def _info(self, view: View, document_id: str) -> RefDocInfo | None:
        found = _loads(view.attachment(self._name("ref_doc_info", document_id))) or {}
        ids: list[str] = []
        metadata: dict[str, Any] = {}
        document = view.document(document_id) if self._sees_passages else None
        if document is not None:
            keys = view.select(Scope(documents=[document_id])).tolist()
            records = view.kept("chunk", keys)
            keys = [key for key in keys if not nodes.loads(records.get(key)).get("parentless")]
            ids = view.chunk_ids(keys)
            told = nodes.loads(view.kept("document", [document.key]).get(document.key)).get("ref_doc_info") or {}
            metadata = told.get("metadata") or told.get("extra_info") or dict(document.metadata)
        ids += [node_id for node_id in found.get("node_ids", []) if node_id not in set(ids)]
        if not ids:
            return None
        return RefDocInfo(node_ids=ids, metadata=metadata or found.get("metadata", {}))

    def get_all_ref_doc_info(self) -> dict[str, RefDocInfo] | None:
        prefix = attachment_prefix(self._namespace, "ref_doc_info")
        with self._view() as view:
            ids = [name.removeprefix(prefix) for name, _ in view.attachments(prefix)]
            if self._sees_passages:
                ids += [document_id for document_id in _document_ids(view) if document_id not in set(ids)]
            found = {document_id: self._info(view, document_id) for document_id in ids}
        return {document_id: info for document_id, info in found.items() if info is not None}

    def ref_doc_exists(self, ref_doc_id: str) -> bool:
        return self.get_ref_doc_info(ref_doc_id) is not None

    def delete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        """Delete a document's nodes, and what is known of it. Raises ValueError where there is no such document."""
        with self._view() as view:
            info = self._info(view, ref_doc_id)
            if info is None and raise_error:
                raise ValueError(f"ref_doc_id {ref_doc_id} not found.")
            changes = self._deletion(view, [*(info.node_ids if info else []), ref_doc_id])
            changes.detached += [self._name("ref_doc_info", ref_doc_id)]
            changes.attached.pop(self._name("ref_doc_info", ref_doc_id), None)
        self._apply(changes)

    def set_document_hash(self, doc_id: str, doc_hash: str) -> None:
        self.set_document_hashes({doc_id: doc_hash})

    def set_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        """Remember what documents are like.

        Of a document of which nothing is stored yet it waits: for its nodes, for the index that lists them, or for `persist`. So a run that
        dies in the middle leaves no document that looks whole.
        """
        with self._view() as view:
            there = {document_id for document_id in doc_hashes if self._has_something(view, document_id)}
            told = {document_id: self._stored_hash(view, document_id) for document_id in there}
        now = {
            document_id: doc_hashes[document_id]
            for document_id in there
            if told[document_id] != doc_hashes[document_id]
        }
        with self._shared.guard:
            self._waiting.update((name, value) for name, value in doc_hashes.items() if name not in there)
        if now:
            with self._commit() as commit:
                if self._sees_passages:
                    self._shared.keep_hashes(commit, now)
                else:
                    for document_id, value in now.items():
                        commit.attach(self._name("metadata", document_id), json.dumps({"doc_hash": value}).encode())

    def _has_something(self, view: View, document_id: str) -> bool:
        if not self._sees_passages:
            return True
        if view.attachment(self._name("metadata", document_id)) is not None:
            return True
        return view.document(document_id) is not None

    def _stored_hash(self, view: View, document_id: str) -> str | None:
        """The hash as it is kept, in the form of the installed release."""
        (key,) = view.chunk_keys([document_id]) if self._sees_passages else (None,)
        if key is not None:
            record = nodes.loads(view.kept("chunk", [key]).get(key))
            told = (record.get("docstore") or {}).get("doc_hash")
            return str(told) if told else nodes.read(view, [key])[0].hash
        document = view.document(document_id) if self._sees_passages else None
        if document is not None and document.chunks:
            return hashes.of_document(view, document) or UNFINISHED
        data = view.attachment(self._name("metadata", document_id))
        return None if data is None else json.loads(data).get("doc_hash")

    def get_document_hash(self, doc_id: str) -> str | None:
        if doc_id in self._waiting:
            return self._waiting[doc_id]
        with self._view() as view:
            return self._stored_hash(view, doc_id)

    def get_all_document_hashes(self) -> dict[str, str]:
        """Ids by hash of the documents that came through a docstore: no passages, and nothing that other programs added.

        Where several have the same hash, `values()` has all their ids.
        """
        prefix = attachment_prefix(self._namespace, "metadata")
        found = Hashes()
        with self._view() as view:
            for name, data in view.attachments(prefix):
                record = json.loads(data)
                if record.get("doc_hash") and "ref_doc_id" not in record:
                    found.put(record["doc_hash"], name.removeprefix(prefix))
            if self._sees_passages:
                for document_id, record in _records(view):
                    if (record.get("docstore") or {}).get("doc_hash"):
                        document = view.document(document_id)
                        told = None if document is None else hashes.of_document(view, document)
                        if told:
                            found.put(told, document_id)
        for document_id, told in self._waiting.items():
            found.put(told, document_id)
        return found

    async def async_add_documents(
        self,
        docs: Sequence[BaseNode],
        allow_update: bool = True,
        batch_size: int | None = None,
        store_text: bool = True,
    ) -> None:
        await asyncio.to_thread(self.add_documents, docs, allow_update, batch_size, store_text)

    async def aget_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        return await asyncio.to_thread(self.get_document, doc_id, raise_error)

    async def aget_nodes(self, node_ids: list[str], raise_error: bool = True) -> list[BaseNode]:
        return await asyncio.to_thread(self.get_nodes, node_ids, raise_error)

    async def adelete_document(self, doc_id: str, raise_error: bool = True) -> None:
        await asyncio.to_thread(self.delete_document, doc_id, raise_error)

    async def adocument_exists(self, doc_id: str) -> bool:
        return await asyncio.to_thread(self.document_exists, doc_id)

    async def aset_document_hash(self, doc_id: str, doc_hash: str) -> None:
        await asyncio.to_thread(self.set_document_hash, doc_id, doc_hash)

    async def aset_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        await asyncio.to_thread(self.set_document_hashes, doc_hashes)

    async def aget_document_hash(self, doc_id: str) -> str | None:
        return await asyncio.to_thread(self.get_document_hash, doc_id)

    async def aget_all_document_hashes(self) -> dict[str, str]:
        return await asyncio.to_thread(self.get_all_document_hashes)

    async def aget_ref_doc_info(self, ref_doc_id: str) -> RefDocInfo | None:
        return await asyncio.to_thread(self.get_ref_doc_info, ref_doc_id)

    async def aget_all_ref_doc_info(self) -> dict[str, RefDocInfo] | None:
        return await asyncio.to_thread(self.get_all_ref_doc_info)

    async def aref_doc_exists(self, ref_doc_id: str) -> bool:
        return await asyncio.to_thread(self.ref_doc_exists, ref_doc_id)

    async def adelete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        await asyncio.to_thread(self.delete_ref_doc, ref_doc_id, raise_error)


def _loads(data: bytes | None) -> dict[str, Any] | None:
    return dict(json.loads(data)) if data else None


def _records(view: View) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is kept of each document, by its id; those of which nothing is kept are left out."""
    ids = {document.key: document.document_id for document in view.each_document()}
    for key, data in view.kept("document", list(ids)).items():
        yield ids[key], nodes.loads(data)


def _document_ids(view: View) -> Iterator[str]:
    return (document.document_id for document in view.each_document())
