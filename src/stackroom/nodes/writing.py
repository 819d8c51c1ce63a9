"""A passage as LlamaIndex 0.12 to 0.14 record a TextNode: for exports, and for the adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.types import Passage, Place


def text_node(
    passage: Passage,
    metadata: Mapping[str, Any],
    owner: str | None,
    about: Mapping[str, Any],
    *,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a TextNode. `owner` is its document's id, `about` that document's metadata.

    `like` is an older record, for what it says of templates and keys.
    """
    like = like or {}
    relationships: dict[str, Any] = {}
    if owner is not None:
        relationships["1"] = related(owner, "4", about, "")
    separator = like.get("metadata_separator", like.get("metadata_seperator"))
    return {
        "id_": passage.chunk_id,
        "embedding": None,
        "metadata": dict(metadata),
        "excluded_embed_metadata_keys": like.get("excluded_embed_metadata_keys") or [],
        "excluded_llm_metadata_keys": like.get("excluded_llm_metadata_keys") or [],
        "relationships": relationships,
        "metadata_template": like.get("metadata_template") or "{key}: {value}",
        "metadata_separator": "\n" if separator is None else separator,
        "text": passage.text,
        "mimetype": "text/plain",
        "start_char_idx": passage.place.start,
        "end_char_idx": passage.place.end,
        "text_template": like.get("text_template") or "{metadata_str}\n\n{content}",
        "class_name": "TextNode",
    }


def related(node_id: str, kind: str, metadata: Mapping[str, Any], text: str) -> dict[str, Any]:
    """What one node says of another."""
    return {
        "node_id": node_id,
        "node_type": kind,
        "metadata": dict(metadata),
        "hash": node_hash(text, metadata),
        "class_name": "RelatedNodeInfo",
    }


def node_hash(text: str, metadata: Any) -> str:
    """The hash of a TextNode in every release, and of a Document before 0.12."""
    return hashlib.sha256(f"{text}{metadata}".encode("utf-8", "surrogatepass")).hexdigest()


def chunk_metadata(place: Place, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A passage's metadata with the page that it is on, or the row, line, record or second that it begins with."""
    label = place.page_label or (None if place.page is None else str(place.page))
    known = label is None or "page" in metadata
    counted = {} if place.unit is None else {place.unit: place.first}
    return {**({} if known else {"page_label": label}), **counted, **metadata}


def document_metadata(document: DocumentRecord, source: SourceRecord) -> dict[str, Any]:
    """A document's metadata with the file that it was read from."""
    path = {"file_path": source.name} if source.is_file else {}
    return {**path, **document.metadata}
