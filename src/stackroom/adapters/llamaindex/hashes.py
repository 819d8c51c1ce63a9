"""The hash of a document, in the form of the LlamaIndex release that is installed.

Releases before 0.12 hashed a Document's text and metadata in another way. A hash that one of them left says nothing to a newer one, which would
embed the document again. Where the passages of a document still give its text, which its old hash proves, the new hash is
computed from that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llama_index.core.schema import Document

from stackroom.adapters.llamaindex import nodes
from stackroom.backend import DocumentRecord, StoredChunk, View
from stackroom.migration import node_records
from stackroom.migration.stores.nodes import metadata_of, source_of

_GAPS = ("", " ", "\n", "\n\n")
"""What may stand between two passages that were cut apart."""


def of_document(view: View, document: DocumentRecord) -> str | None:
    """None where nobody said what the document was like."""
    record = nodes.loads(view.kept("document", [document.key]).get(document.key))
    told = (record.get("docstore") or {}).get("doc_hash") or record.get("hash")
    if not told or record.get("hashed"):
        return told or None
    for text, metadata in _candidates(view, document, record):
        new = Document(text=text, metadata=metadata).hash
        if told in (new, node_records.node_hash(text, metadata)):
            return new
    return str(told)


def _candidates(view: View, document: DocumentRecord, record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Texts that the document may have had, with its metadata."""
    body = record.get("node")
    if isinstance(body, dict) and isinstance(body.get("text"), str):
        yield body["text"], metadata_of(body) or {}
    chunks = list(view.chunks(document.key))
    if not chunks:
        return
    first = chunks[0]
    kept = nodes.loads(view.kept("chunk", [first.key]).get(first.key)).get("node")
    metadata = source_of(kept)[1] if isinstance(kept, dict) else dict(document.metadata)
    yield first.chunk.text, metadata
    for gap in _GAPS:
        text = _joined(chunks, gap)
        if text is not None:
            yield text, metadata
            # Splitters drop the white space around a text, and some loaders leave a line's end.
            yield text + "\n", metadata


def _joined(chunks: list[StoredChunk], gap: str) -> str | None:
    """Passages put together by their places, overlaps once; None where they have no places, or do not agree."""
    text = ""
    for item in sorted(chunks, key=lambda item: item.chunk.place.start or 0):
        start = item.chunk.place.start
        if start is None or (start > len(text) and not gap):
            return None
        while start > len(text):
            text += gap
        overlap = len(text) - start
        if item.chunk.text[:overlap].rstrip() != text[start : start + len(item.chunk.text)].rstrip():
            return None
        text = text[:start] + item.chunk.text if overlap < len(item.chunk.text) else text
    return text
