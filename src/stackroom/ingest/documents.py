"""Documents that an application hands over, in place of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

from stackroom.backend import Backend, DocumentRecord, SourceRecord
from stackroom.errors import UsageError
from stackroom.ingest.batch import Batch, Pending, fill
from stackroom.ingest.matching import OldChunks
from stackroom.ingest.splitter import splitter_for
from stackroom.ingest.tally import Tally
from stackroom.progress import CancelToken, Progress
from stackroom.protocols import Embedder, Section
from stackroom.reports import Report
from stackroom.types import Chunk, Document, EmbedderIdentity

_PART = 256

_MANY = 2_000
"""Passages after which a call waits for what makes searches quick."""


def add_documents(
    backend: Backend,
    embedder: Callable[[], Embedder],
    documents: Iterable[Document],
    *,
    made_by: EmbedderIdentity | None,
    progress: Progress,
    cancel: CancelToken,
) -> Report:
    """Insert or replace by `document_id`, several to a commit. `documents` may be a generator of any length.

    `made_by` is the model of the vectors that chunks bring along, None where nobody says.
    Chunks that a document had before and still has keep their vectors. Raises UsageError, DimensionMismatchError,
    EmbedderMismatchError.
    """
    tally = Tally(progress)
    once = cache(embedder)
    batch = Batch(backend, once, tally, cancel, size=_PART, made_by=made_by)
    for document in documents:
        if cancel.cancelled:
            break
        if not isinstance(document, Document):
            raise UsageError(f"{type(document).__name__} is not a Document.", hint="Use stackroom.Document.")
        _require_text_keys(document)
        for pending in _parts(backend, once, document):
            batch.add(pending)
    batch.flush()
    tally.tell(last=True)
    report = tally.report(cancelled=cancel.cancelled)
    if report.chunks >= _MANY:
        # Otherwise a thread does it, which ends when the library is closed: as a program does that has just filled one.
        backend.maintain(cancel=cancel)
    return report


def _require_text_keys(document: Document) -> None:
    for metadata in (document.metadata, *(chunk.metadata for chunk in document.chunks)):
        keys = [key for key in metadata if type(key) is not str]
        if keys:
            raise UsageError(
                f"A key of the metadata of {document.document_id or document.title or 'a document'!r} is {keys[0]!r}.",
                hint="Keys are text.",
            )


def _parts(backend: Backend, embedder: Callable[[], Embedder], document: Document) -> Iterator[Pending]:
    """One document, in parts where it is long."""
    with backend.view() as view:
        known = view.document(document.document_id) if document.document_id else None
        # The caller's ids and vectors rule: only chunks that it left to us are matched with what is there.
        named = {chunk.chunk_id for chunk in document.chunks if chunk.chunk_id}
        stored = view.chunks(known.key) if known else iter(())
        old = OldChunks.of(item for item in stored if item.chunk.chunk_id not in named)
    name = document.source or document.document_id or ""
    source = SourceRecord(name=name, title=document.title or "", type="record")
    record = DocumentRecord(document.document_id or "", 0, document.title or "", document.metadata)
    kind = "updated" if known else "added"
    chunks = iter(document.chunks or _split(embedder, document))
    position = 0
    pending = Pending(_named(source), record, kind)
    while part := list(islice(chunks, _PART)):
        for chunk in part:
            if chunk.chunk_id or chunk.embedding is not None:
                pending.new.append((position, chunk))
            else:
                fill(pending, chunk, position, old)
            position += 1
        if len(part) < _PART:
            break
        if pending.document.document_id:
            yield replace(pending, last=False)
            pending = Pending(pending.source, record, kind)
    pending.vanished = old.left()
    yield pending


def _named(source: SourceRecord) -> SourceRecord:
    """A document without a source and without an id is its own source, under a name that nobody else has."""
    if source.name:
        return source
    import uuid

    return replace(source, name=str(uuid.uuid4()))


def _split(embedder: Callable[[], Embedder], document: Document) -> Iterator[Chunk]:
    return splitter_for(embedder()).split([Section(document.text or "")])
