"""Taking sources and documents out of a library, and with a purge out of every file of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stackroom import named_sets
from stackroom.backend import Backend, Scope, SourceRecord
from stackroom.errors import NotFoundError
from stackroom.progress import CancelToken, Progress
from stackroom.reports import Report

_MANY = 2_000
"""Removed passages after which a call waits for the space that they have left."""


class Removing(NamedTuple):
    """How to: with `purge`, until nothing of what is removed is in any file."""

    purge: bool
    progress: Progress
    cancel: CancelToken


def remove_sources(backend: Backend, records: Sequence[SourceRecord], how: Removing) -> Report:
    """Raises UsageError where the backend has no purge that is wanted."""
    if how.purge:
        backend.require("purge")
    with backend.view() as view:
        chunks = sum(source.chunks for source in view.listing(records))
    with backend.commit() as commit:
        for record in records:
            commit.remove_source(record.key)
    return _cleared(backend, len(records), chunks, how)


def remove_documents(backend: Backend, document_ids: Sequence[str], how: Removing) -> Report:
    """Remove documents, and sources that have none left through it. Raises NotFoundError, and UsageError as `remove_sources`."""
    if how.purge:
        backend.require("purge")
    wanted = list(dict.fromkeys(document_ids))
    with backend.view() as view:
        records = [view.document(document_id) for document_id in wanted]
        for document_id, record in zip(wanted, records, strict=True):
            if record is None:
                raise NotFoundError(
                    f"There is no document {document_id!r}.",
                    hint="Sources are removed with remove().",
                    actual=document_id,
                )
        keys = view.select(Scope(documents=wanted)).tolist()
    with backend.commit() as commit:
        commit.discard(keys)
        for record in records:
            if record is not None and not record.chunks:
                commit.remove_document(record.key)
    return _cleared(backend, len(wanted), len(keys), how)


def _cleared(backend: Backend, removed: int, chunks: int, how: Removing) -> Report:
    """Give back what so many removed chunks have left; where they are few, a thread does it once it is worth it."""
    if how.purge:
        purge_removed(backend, how)
    elif chunks >= _MANY:
        backend.maintain(cancel=how.cancel)
    return Report(removed=removed, chunks=chunks, cancelled=how.purge and how.cancel.cancelled)


def purge_removed(backend: Backend, how: Removing) -> None:
    """Answers may repeat what is to be gone: conversations that were shown it go first."""
    from stackroom.conversations import delete_of_removed

    if how.purge:
        backend.require("purge")
    delete_of_removed(backend)
    named_sets.forget_removed(backend)
    backend.purge(progress=how.progress, cancel=how.cancel)
