"""What every adapter writes: passages of a document, beside those it has, in one commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from stackroom.backend import Backend, Commit, DocumentRecord, SourceRecord
from stackroom.ingest.file_facts import FileFacts
from stackroom.nodes.kept import same
from stackroom.types import Chunk, EmbedderIdentity, Metadata


@dataclass(slots=True)
class Entry:
    """A passage on its way in, with all of its metadata. `path` is the file that its document was read from, as far as its metadata says."""

    chunk: Chunk
    document_id: str
    source: str
    title: str = ""
    path: str | None = None
    metadata: Metadata = field(default_factory=dict)
    """what its document says of itself"""
    original: bytes | None = None
    """its record as the framework has it"""


def write(
    backend: Backend,
    entries: Sequence[Entry],
    *,
    recipe: str,
    collection: str = "default",
    identity: EmbedderIdentity | None = None,
    also: Callable[[Commit, dict[str, int]], None] | None = None,
) -> list[int]:
    """Insert or replace passages by their ids; returns their keys. The last one of an id counts.

    A document that is there keeps what it says of itself. `also` joins the commit, with the keys of the documents. Raises
    DimensionMismatchError, EmbedderMismatchError, UsageError, BusyError, StorageError.
    """
    last = {entry.chunk.chunk_id: entry for entry in entries}
    entries = [entry for entry in entries if last[entry.chunk.chunk_id] is entry]
    facts = FileFacts(time.time())
    keys: dict[str | None, int] = {}
    # The view is of what the commit changes: nobody else writes meanwhile.
    with backend.commit() as commit, backend.view() as view:
        known = view.document_of(list({entry.document_id for entry in entries}))
        sources = {entry.source: view.source(entry.source) for entry in entries}
        ids = [entry.chunk.chunk_id or "" for entry in entries]
        replaced = {chunk_id: key for chunk_id, key in zip(ids, view.chunk_keys(ids), strict=True) if key is not None}
        before = dict(zip(replaced, view.passages(list(replaced.values())), strict=True))
        moved = [
            key for chunk_id, key in replaced.items() if before[chunk_id].document_id != last[chunk_id].document_id
        ]
        if identity is not None:
            commit.use_embedder(identity)
        if moved:
            commit.discard(moved)
        documents: dict[str, int] = {}
        for document_id, group in groupby(
            sorted(entries, key=_first_seen(entries)), key=lambda entry: entry.document_id
        ):
            passages = list(group)
            record, source = known.get(document_id, (None, None))
            if source is None:
                source = sources[passages[0].source] or _new_source(passages[0], facts, recipe)
            if not source.is_file and not source.lacks_passages:
                source = replace(source, state="indexed", error=None, error_kind=None)
            source_key = commit.put_source(replace(source, key=0))
            if record is None:
                record = DocumentRecord(document_id, 0, passages[0].title, passages[0].metadata)
            documents[document_id] = commit.put_document(replace(record, source_key=source_key))
            commit.given(documents[document_id], {entry.chunk.chunk_id or "" for entry in passages})
            chunks = [_beside(record.metadata, entry.chunk) for entry in passages]
            stored = commit.add_chunks(documents[document_id], chunks, position=None, collection=collection)
            keys.update((entry.chunk.chunk_id, key) for entry, key in zip(passages, stored, strict=True))
            originals = [(key, entry.original) for key, entry in zip(stored, passages, strict=True)]
            commit.keep("chunk", [(key, original) for key, original in originals if original is not None])
        if also is not None:
            also(commit, documents)
    return [keys[entry.chunk.chunk_id] for entry in entries]


def _beside(about: Metadata, chunk: Chunk) -> Chunk:
    """The chunk with what it says beyond its document, as that is stored."""
    return replace(chunk, metadata=own_metadata(chunk.metadata, about)) if about else chunk


def _first_seen(entries: Iterable[Entry]) -> Callable[[Entry], int]:
    """Documents in the order in which they are met, each with its passages together."""
    order: dict[str, int] = {}
    for entry in entries:
        order.setdefault(entry.document_id, len(order))
    return lambda entry: order[entry.document_id]


def _new_source(entry: Entry, facts: FileFacts, recipe: str) -> SourceRecord:
    record = SourceRecord(
        name=entry.source,
        title=entry.title,
        type=facts.type_of(entry.path) if entry.path else "record",
        recipe=recipe,
        indexed_at=facts.now,
    )
    return facts.describe(record, entry.path, entry.metadata)


def own_metadata(metadata: Metadata, about: Metadata) -> dict[str, object]:
    """What a passage says beyond its document; null for what its document says and it does not."""
    own = {name: value for name, value in metadata.items() if name not in about or not same(about[name], value)}
    own.update((name, None) for name in about if name not in metadata)
    return own
