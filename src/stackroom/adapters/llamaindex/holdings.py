"""What one docstore holds, as one view of its library shows it, and what a change of that comes to.

The library's passages are nodes of the docstore whose namespace is its own. A document that has passages is described by its record in the
library: its hash, and its body where somebody gave one. Everything else (parents of a hierarchy, nodes of other namespaces,
documents without passages) is kept beside the passages, in three parts as LlamaIndex has them.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore.types import RefDocInfo

from stackroom.adapters.llamaindex import hashes, nodes
from stackroom.adapters.llamaindex.documents import Changes, Hashes
from stackroom.adapters.llamaindex.naming import DOCSTORE, attachment_name, attachment_prefix
from stackroom.backend import DocumentRecord, View

_DATA, _METADATA, _DOCUMENTS = "data", "metadata", "ref_doc_info"
_PARTS = (_DATA, _METADATA, _DOCUMENTS)


class Holdings:
    """Reads, and plans changes; `store` is the docstore's name among attachments."""

    def __init__(self, view: View, store: str) -> None:
        self._view = view
        self._store = store
        self._sees_passages = store == DOCSTORE

    def _name(self, part: str, key: str) -> str:
        return attachment_name(self._store, part, key)

    def _kept(self, part: str, key: str) -> dict[str, Any] | None:
        data = self._view.attachment(self._name(part, key))
        return None if data is None else dict(json.loads(data))

    def _each_kept(self, part: str) -> Iterator[tuple[str, dict[str, Any]]]:
        prefix = attachment_prefix(self._store, part)
        for name, data in self._view.attachments(prefix):
            yield name.removeprefix(prefix), json.loads(data)

    def _keys(self, ids: Sequence[str]) -> dict[str, int]:
        """Keys of the nodes that are passages."""
        if not self._sees_passages:
            return {}
        found = zip(ids, self._view.chunk_keys(ids), strict=True)
        return {node_id: key for node_id, key in found if key is not None}

    def _document(self, document_id: str) -> DocumentRecord | None:
        """A document that has passages."""
        found = self._view.document(document_id) if self._sees_passages else None
        return found if found is not None and found.chunks else None

    def _record(self, document: DocumentRecord) -> dict[str, Any]:
        return nodes.loads(self._view.kept("document", [document.key]).get(document.key))

    def _records(self) -> Iterator[tuple[DocumentRecord, dict[str, Any]]]:
        """Documents of which something is kept."""
        if not self._sees_passages:
            return
        documents = {document.key: document for document in self._view.each_document()}
        for key, data in self._view.kept("document", list(documents)).items():
            yield documents[key], nodes.loads(data)

    def ids(self) -> list[str]:
        """Of every node: passages in the order in which they came, then bodies of documents, then all others."""
        passages = self._view.chunk_ids() if self._sees_passages else []
        bodies = (document.document_id for document, record in self._records() if "node" in record)
        prefix = attachment_prefix(self._store, _DATA)
        kept = (name.removeprefix(prefix) for name, _ in self._view.attachments(prefix))
        return list(dict.fromkeys([*passages, *bodies, *kept]))

    def read(self, ids: Sequence[str]) -> dict[str, BaseNode]:
        """The nodes of these ids that there are."""
        keys = self._keys(ids)
        found = dict(zip(keys, nodes.read(self._view, list(keys.values())), strict=True))
        for node_id in ids:
            if node_id not in found:
                body = self._body(node_id)
                if body is not None:
                    found[node_id] = nodes.from_record(str(body.get("type", "1")), body["node"])
        return found

    def _body(self, node_id: str) -> dict[str, Any] | None:
        """Type and record of a node that is no passage."""
        document = self._document(node_id)
        for record in (self._kept(_DATA, node_id), None if document is None else self._record(document)):
            if record and isinstance(record.get("node"), dict):
                return record
        return None

    def exists(self, node_id: str) -> bool:
        return bool(self._keys([node_id])) or self._body(node_id) is not None

    def info(self, document_id: str) -> RefDocInfo | None:
        """A document's nodes, and what is known of it; None where it has none."""
        kept = self._kept(_DOCUMENTS, document_id) or {}
        document = self._document(document_id)
        ids: list[str] = []
        metadata: dict[str, Any] = {}
        if document is not None:
            keys = self._view.keys_of(document.key)
            records = self._view.kept("chunk", keys)
            ids = self._view.chunk_ids([key for key in keys if not nodes.loads(records.get(key)).get("parentless")])
            told = self._record(document).get("ref_doc_info") or {}
            metadata = told.get("metadata") or told.get("extra_info") or dict(document.metadata)
        ids += [node_id for node_id in kept.get("node_ids", ()) if node_id not in ids and self._is_kept(node_id)]
        return RefDocInfo(node_ids=ids, metadata=metadata or kept.get("metadata", {})) if ids else None

    def _is_kept(self, node_id: str) -> bool:
        """Whether it is still there, and no passage: the list of a document's kept nodes may be older than that."""
        return self._kept(_METADATA, node_id) is not None and not self._keys([node_id])

    def infos(self) -> dict[str, RefDocInfo]:
        known = [document.document_id for document in self._view.each_document()] if self._sees_passages else []
        ids = dict.fromkeys([*known, *(document_id for document_id, _ in self._each_kept(_DOCUMENTS))])
        found = ((document_id, self.info(document_id)) for document_id in ids)
        return {document_id: info for document_id, info in found if info is not None}

    def has_something(self, document_id: str) -> bool:
        """Whether anything is stored of a document, or under the id of a node."""
        return (
            bool(self._keys([document_id]))
            or self._document(document_id) is not None
            or any(self._kept(part, document_id) is not None for part in _PARTS)
        )

    def hash_of(self, node_id: str) -> str | None:
        """The hash of a document or node, in the form of the installed release."""
        kept = self._kept(_METADATA, node_id)
        key = self._keys([node_id]).get(node_id)
        if key is not None:
            record = nodes.loads(self._view.kept("chunk", [key]).get(key))
            told = kept or record.get("docstore") or {}
            return str(told.get("doc_hash") or nodes.read(self._view, [key])[0].hash)
        document = self._document(node_id)
        if document is not None:
            return hashes.of_document(self._view, document)
        return None if kept is None or kept.get("passage") else kept.get("doc_hash")

    def hashes(self, *, besides: Container[str] = ()) -> Hashes:
        """Of the documents that came through a docstore: no passages, and nothing that other programs added."""
        kept = {node_id: record for node_id, record in self._each_kept(_METADATA) if "ref_doc_id" not in record}
        kept = {node_id: record for node_id, record in kept.items() if node_id not in besides}
        present = self._keys([node_id for node_id, record in kept.items() if record.get("passage")])
        found = Hashes()
        for node_id, record in kept.items():
            if record.get("doc_hash") and (node_id in present or not record.get("passage")):
                found.put(record["doc_hash"], node_id)
        for document, record in self._records():
            told = (record.get("docstore") or {}).get("doc_hash") and hashes.of_document(self._view, document)
            if told and told != hashes.UNFINISHED and document.document_id not in besides:
                found.put(told, document.document_id)
        return found

    def is_kept_only(self, document_id: str) -> bool:
        """Whether something is stored of a document, and no passages: with passages comes their document's hash."""
        return self._document(document_id) is None and self.has_something(document_id)

    def told(self, node_id: str) -> str | None:
        """The hash as it was told, in whatever form; None where nobody told one."""
        document = self._document(node_id)
        if document is not None and not self._keys([node_id]):
            record = self._record(document)
            return None if record.get(hashes.PARTIAL) or record.get(hashes.BY_NODE) else hashes.told_in(record)
        return (self._kept(_METADATA, node_id) or {}).get("doc_hash")

    def plan_hashes(self, told: Mapping[str, str], changes: Changes) -> None:
        """Keep hashes: with a document's record where it has passages, else under a name of their own."""
        keys = self._keys(list(told))
        for node_id, value in told.items():
            document = self._document(node_id)
            name = self._name(_METADATA, node_id)
            if node_id in keys:
                changes.attached[name] = {"doc_hash": value, "passage": True}
                self._plan_by_node(keys[node_id], changes)
            elif document is not None:
                record = changes.documents.get(document.key) or self._record(document)
                known = {**(record.get("docstore") or {}), "doc_hash": value}
                rest = {mark: kept for mark, kept in record.items() if mark not in (hashes.PARTIAL, hashes.BY_NODE)}
                changes.documents[document.key] = {**rest, "docstore": known, "hashed": True}
            else:
                changes.attached[name] = {**(self._kept(_METADATA, node_id) or {}), "doc_hash": value}

    def _plan_by_node(self, key: int, changes: Changes) -> None:
        """Whoever compares nodes and not documents is not to find the hash that a node has of its document: other nodes of that
        document may follow."""
        (passage,) = self._view.passages([key])
        document = self._document(passage.document_id)
        if document is not None and document.document_id != passage.chunk_id:
            record = changes.documents.get(document.key) or self._record(document)
            if not record.get(hashes.BY_NODE):
                changes.documents[document.key] = {**record, hashes.BY_NODE: True}

    def plan_node(self, node: BaseNode, store_text: bool, changes: Changes) -> None:
        """Keep a node: where the library has it as it is, nothing is to be done."""
        body = nodes.body_of(node)
        source = nodes.source_of(node)
        key = self._keys([node.node_id]).get(node.node_id)
        if key is not None:
            self._plan_passage(node, key, body, changes)
            return
        document = self._document(node.node_id) if source is None else None
        kind = nodes.type_of(node)
        if document is not None:
            self.plan_hashes({node.node_id: node.hash}, changes)
            if store_text:
                changes.documents[document.key] |= {"type": kind, "node": body}
            return
        told = {"doc_hash": node.hash, **({"ref_doc_id": source.node_id} if source else {})}
        changes.attached[self._name(_METADATA, node.node_id)] = told
        if store_text:
            changes.attached[self._name(_DATA, node.node_id)] = {"type": kind, "node": body}
        if source is not None:
            self._plan_listing(node, source.node_id, changes)

    def _plan_passage(self, node: BaseNode, key: int, body: dict[str, Any], changes: Changes) -> None:
        """What the docstore says of a passage; its vector stays that of the text that was embedded, as in LlamaIndex's own stores."""
        (passage,) = self._view.passages([key])
        record = nodes.record_of(node, body, passage.text)
        if record != self._view.kept("chunk", [key]).get(key):
            changes.records.append((key, record))

    def _plan_listing(self, node: BaseNode, document_id: str, changes: Changes) -> None:
        name = self._name(_DOCUMENTS, document_id)
        info = changes.attached.get(name) or self._kept(_DOCUMENTS, document_id) or {"node_ids": [], "metadata": {}}
        if node.node_id not in info["node_ids"]:
            info["node_ids"].append(node.node_id)
        info["metadata"] = info["metadata"] or dict(node.metadata)
        changes.attached[name] = info

    def plan_deletion(self, node_ids: Iterable[str], changes: Changes) -> None:
        """Delete nodes, and the passages that they are; a document goes with the last of its nodes."""
        gone = set(node_ids)
        owners: set[str | None] = set()
        for key in self._keys(list(gone)).values():
            changes.discarded.append(key)
            owners.add(self._view.passages([key])[0].document_id)
        for node_id in gone:
            metadata = self._kept(_METADATA, node_id)
            if metadata is not None:
                owners.add(metadata.get("ref_doc_id"))
            self._plan_detaching(node_id, (_DATA, _METADATA), changes)
        for owner in owners - gone - {None}:
            self._plan_leaving(str(owner), gone, changes)

    def _plan_leaving(self, document_id: str, gone: set[str], changes: Changes) -> None:
        """Take nodes off the list of their document, which is forgotten with the last one."""
        info = self.info(document_id)
        if info is None or gone.issuperset(info.node_ids):
            self._plan_detaching(document_id, _PARTS, changes)
            changes.forgotten.add(document_id)
            return
        kept = self._kept(_DOCUMENTS, document_id)
        if kept is not None and not gone.isdisjoint(kept["node_ids"]):
            kept["node_ids"] = [node_id for node_id in kept["node_ids"] if node_id not in gone]
            changes.attached[self._name(_DOCUMENTS, document_id)] = kept

    def _plan_detaching(self, key: str, parts: Iterable[str], changes: Changes) -> None:
        names = (self._name(part, key) for part in parts)
        changes.detached += [name for name in names if self._view.attachment(name) is not None]

    def plan_body_deletion(self, document_id: str, changes: Changes) -> bool:
        """Delete the body of a document; False where nothing is known of it. Its hash goes with its passages, not before:
        whoever is about to delete these, and dies, finds it again."""
        document = self._document(document_id)
        record = {} if document is None else self._record(document)
        if document is None or not (record.get("docstore") or "node" in record):
            return False
        if "node" in record:
            changes.documents[document.key] = {
                name: value for name, value in record.items() if name not in ("node", "type")
            }
        return True

    def plan_document_deletion(self, document_id: str, changes: Changes) -> bool:
        """Delete a document with all its nodes; False where it has none."""
        info = self.info(document_id)
        if info is None:
            return False
        self.plan_deletion(info.node_ids, changes)
        self._plan_detaching(document_id, _PARTS, changes)
        return True
