"""Passages of a library as LangChain's Documents, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document

from stackroom.backend import View
from stackroom.types import Hit, Metadata, Place


class Candidate(Document):
    """A Document that also answers like its metadata: what a filter function gets.

    LangChain's stores differ in that: FAISS hands over the metadata, the in-memory store the Document.
    """

    def __getitem__(self, name: str) -> Any:
        return self.metadata[name]

    def __contains__(self, name: object) -> bool:
        return name in self.metadata

    def get(self, name: str, default: Any = None) -> Any:
        return self.metadata.get(name, default)

    def keys(self) -> Any:
        return self.metadata.keys()

    def values(self) -> Any:
        return self.metadata.values()

    def items(self) -> Any:
        return self.metadata.items()


def of_hit(hit: Hit, kind: type[Document] = Document) -> Document:
    metadata = effective(
        hit.metadata,
        hit.document.metadata,
        hit.place,
        None if hit.document.id == hit.chunk_id else hit.document.path,
    )
    return kind(id=hit.chunk_id, page_content=hit.text, metadata=metadata)


def of_keys(view: View, keys: Sequence[int]) -> list[Document]:
    """In the order given."""
    passages = view.passages(keys)
    known = view.document_of(list({passage.document_id for passage in passages}))
    found = []
    for passage in passages:
        document, source = known[passage.document_id]
        name = None if passage.document_id == passage.chunk_id else source.name
        metadata = effective(passage.metadata, document.metadata, passage.place, name)
        found.append(Document(id=passage.chunk_id, page_content=passage.text, metadata=metadata))
    return found


def effective(own: Metadata, about: Metadata, place: Place, source: str | None) -> dict[str, Any]:
    """What LangChain sees of a passage: its document's metadata under its own, with `source`, and its page (or row, line, record, second) where it is known.

    `source` is None for a passage that is its own document: nobody said where it is from. To a passage that LangChain wrote
    nothing is added: its place comes from its metadata, and so does its source. Its null hides what its document says.
    """
    metadata = {**about, **own}
    for name in about:
        if own.get(name, "") is None:
            del metadata[name]
    if source is not None:
        metadata.setdefault("source", source)
    if place.page is not None:
        # LangChain's loaders count pages from 0.
        metadata.setdefault("page", place.page - 1)
    if place.page_label is not None:
        metadata.setdefault("page_label", place.page_label)
    if place.unit is not None:
        metadata.setdefault(place.unit, place.first)
    return metadata
