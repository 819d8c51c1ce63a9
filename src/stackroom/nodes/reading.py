"""One node of a LlamaIndex docstore, of any release from 0.4 on, as a chunk.

The releases differ in names: `extra_info` became `metadata`, `node_info` became character offsets, relationships were plain ids
before they were objects, and a Document's text moved into a resource. What a release calls a thing does not matter here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stackroom.types import Place

RESERVED = frozenset({"document_id", "doc_id", "ref_doc_id", "_node_type", "_node_content"})
"""Keys that LlamaIndex's vector stores add to a node's metadata."""

_SOURCE = "1"
_DOCUMENT_TYPES = {"4", "Document"}


def unwrap(record: Any) -> tuple[str, dict[str, Any]]:
    """Type and body of a docstore's entry; before 0.6 the type stands within the body."""
    if not isinstance(record, dict):
        return "", {}
    body = record.get("__data__")
    if isinstance(body, dict):
        return str(record.get("__type__", "1")), body
    return str(record.get("__type__", "1")), record


def is_document(kind: str) -> bool:
    return kind in _DOCUMENT_TYPES


def text_of(body: Mapping[str, Any]) -> str | None:
    """The text of a node or document, None where it has none."""
    text = body.get("text")
    if isinstance(text, str):
        return text
    resource = body.get("text_resource")
    if isinstance(resource, dict) and isinstance(resource.get("text"), str):
        return str(resource["text"])
    return None


def metadata_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    for name in ("metadata", "extra_info"):
        found = body.get(name)
        if isinstance(found, dict):
            return found
    return None


def embedding_of(body: Mapping[str, Any]) -> Any:
    """A vector that the node brings itself, as it was written."""
    return body.get("embedding")


def source_of(body: Mapping[str, Any]) -> tuple[str | None, dict[str, Any], str | None]:
    """Id, metadata and hash of the document that a node is from, as far as the node knows."""
    related = body.get("relationships")
    found = related.get(_SOURCE) if isinstance(related, dict) else None
    if isinstance(found, list):
        found = found[0] if found else None
    if isinstance(found, str):
        return found or None, {}, None
    if isinstance(found, dict):
        metadata = found.get("metadata")
        document_id, digest = found.get("node_id"), found.get("hash")
        return (
            document_id if isinstance(document_id, str) and document_id else None,
            metadata if isinstance(metadata, dict) else {},
            digest if isinstance(digest, str) else None,
        )
    direct = body.get("ref_doc_id")
    return (direct if isinstance(direct, str) and direct else None), {}, None


def place_of(body: Mapping[str, Any], metadata: Mapping[str, Any]) -> Place:
    """Offsets and page, as far as they are known."""
    info = body.get("node_info")
    info = info if isinstance(info, dict) else {}
    start = _offset(body.get("start_char_idx"), info.get("start"))
    end = _offset(body.get("end_char_idx"), info.get("end"))
    label = metadata.get("page_label")
    page = metadata.get("page")
    return Place(
        start=start,
        end=end,
        # LangChain's loaders count pages from 0, and say so nowhere; they write `page_label` beside it.
        page=page + 1 if isinstance(page, int) and not isinstance(page, bool) and page >= 0 else None,
        page_label=str(label) if isinstance(label, str | int) and str(label) else None,
    )


def _offset(*candidates: Any) -> int | None:
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62:
            return value
    return None


def file_of(metadata: Mapping[str, Any]) -> str | None:
    """The file that a document was read from, by the keys that loaders use."""
    for name in ("file_path", "source", "path"):
        value = metadata.get(name)
        if isinstance(value, str) and value.strip() and "\x00" not in value:
            return value
    return None


def title_of(metadata: Mapping[str, Any]) -> str:
    for name in ("title", "file_name", "filename"):
        value = metadata.get(name)
        if isinstance(value, str) and value.strip():
            return re.sub(r"\s+", " ", value).strip()[:500]
    return ""


def stored_metadata(node: Mapping[str, Any], metadata: Mapping[str, Any], document_id: str | None) -> dict[str, Any]:
    """What LlamaIndex's vector stores keep of a node's metadata: its own, and four keys that overwrite it."""
    reference = dict.fromkeys(("document_id", "doc_id", "ref_doc_id"), document_id or "None")
    return {**metadata, "_node_type": node.get("class_name", "TextNode"), **reference}
