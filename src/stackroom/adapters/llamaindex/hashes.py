"""The hash of a document, in the form of the LlamaIndex release that is installed.

Releases before 0.12 hashed a Document's text and metadata in another way. A hash that one of them left says nothing to a newer one, which would
embed the document again. Where the passages of a document still give its text, which its old hash proves, the new hash is
computed from that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llama_index.core.schema import BaseNode, Document, MetadataMode

from stackroom.adapters.llamaindex import nodes, old_texts
from stackroom.backend import DocumentRecord, View
from stackroom.nodes import writing
from stackroom.nodes.reading import metadata_of, source_of

UNFINISHED = "unfinished"
"""The hash of a document of which some passages are there, and others were to follow."""
PARTIAL, BY_NODE = "partial", "by_node"
"""Marks in a document's record: passages were to follow; hashes are compared by node, not by document."""

_found: dict[tuple[str, int], str] = {}
"""new hashes by old hash and number of passages"""


def of_document(view: View, document: DocumentRecord) -> str | None:
    """None where nobody said what the document was like."""
    record = nodes.loads(view.kept("document", [document.key]).get(document.key))
    if record.get(BY_NODE):
        return None
    if record.get(PARTIAL) or _lacks_passages(view, document):
        return UNFINISHED
    told = told_in(record)
    if told is None or record.get("hashed"):
        return told
    known = told, document.chunks
    if known not in _found:
        _found[known] = _renewed(told, view, document, record)
    return _found[known]


def _lacks_passages(view: View, document: DocumentRecord) -> bool:
    """Whether a repair has lost some of its source: a run that compares hashes is to give it again."""
    if document.source_key not in {key for key, _ in view.waiting().read}:
        return False
    found = view.document_of([document.document_id]).get(document.document_id)
    return found is not None and found[1].lacks_passages


def told_in(record: dict[str, Any]) -> str | None:
    """The hash in a document's record, in the form in which it came."""
    told = (record.get("docstore") or {}).get("doc_hash") or record.get("hash")
    return str(told) if told else None


def is_old_hash_of(told: str | None, document: BaseNode) -> bool:
    """Whether this is how releases before 0.12 hashed this document."""
    text = document.get_content(metadata_mode=MetadataMode.NONE)
    return told is not None and told == writing.node_hash(text, document.metadata)


def _renewed(told: str, view: View, document: DocumentRecord, record: dict[str, Any]) -> str:
    for text, metadata in _candidates(view, document, record):
        if told == writing.node_hash(text, metadata):
            return Document(text=text, metadata=metadata).hash
    return told


def _candidates(view: View, document: DocumentRecord, record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Texts that the document may have had, with its metadata."""
    body = record.get("node")
    if isinstance(body, dict) and isinstance(body.get("text"), str):
        yield body["text"], metadata_of(body) or {}
    chunks = list(view.chunks(document.key))
    if not chunks:
        return
    kept = nodes.loads(view.kept("chunk", [chunks[0].key]).get(chunks[0].key)).get("node")
    metadata = source_of(kept)[1] if isinstance(kept, dict) else dict(document.metadata)
    for text in old_texts.candidates(chunks):
        yield text, metadata
