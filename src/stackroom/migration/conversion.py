"""The writing half of a migration: batches of judged chunks into a library, each with a cursor, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from stackroom.backend import Backend, Commit, DocumentRecord, SourceRecord
from stackroom.ingest.file_facts import IMPORTED, FileFacts
from stackroom.migration.judging import Choices
from stackroom.migration.reading import Accepted, Batch, Reading
from stackroom.nodes import reading as nodes
from stackroom.nodes.kept import dump
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.types import Chunk, EmbedderIdentity

CURSOR = "migration-cursor.json"


class Conversion:
    """One run; it goes on where an interrupted one stopped."""

    def __init__(
        self,
        backend: Backend,
        reading: Reading,
        *,
        choices: Choices,
        identity: EmbedderIdentity | None,
        fingerprint: str,
        facts: FileFacts,
        progress: Progress,
        cancel: CancelToken,
    ) -> None:
        self._backend = backend
        self._reading = reading
        self._head = reading.head()
        self._fingerprint = fingerprint
        self._facts = facts
        self._progress = progress
        self._cancel = cancel
        dim = self._head.main.dim
        self._identity = identity or EmbedderIdentity(name="", dim=dim, metric=choices.metric or "cosine")
        self._sources: dict[str, int] = {}
        self._documents: dict[str, tuple[int, int]] = {}

    def run(self) -> bool:
        """Store everything; False when cancelled."""
        done = self._resume()
        total = self._head.count
        for batch in self._reading.batches():
            if self._cancel.cancelled:
                return False
            if batch.seen > done:
                self._commit(batch)
            self._progress(ProgressEvent("migrate", done=batch.seen, total=max(total, batch.seen), chunks=batch.seen))
        self._finish()
        return not self._cancel.cancelled

    def _resume(self) -> int:
        """How many chunks of the store an interrupted run has committed; what it stored is known from then on."""
        with self._backend.view() as view:
            cursor = json.loads(dict(view.attachments()).get(CURSOR, b"{}"))
            if cursor.get("fingerprint") != self._fingerprint:
                return 0
            for source in view.each_source():
                self._sources[source.name] = source.key
                for document in view.documents(source.key):
                    self._documents[document.document_id] = (document.key, document.chunks)
        return int(cursor["done"])

    def _commit(self, batch: Batch) -> None:
        with self._backend.commit() as commit:
            if self._identity.dim:
                commit.use_embedder(self._identity)
            keys: list[int] = []
            for document_id, group in groupby(batch.accepted, key=lambda item: item.document):
                if document_id not in self._documents:
                    self._begin_document(commit, document_id, batch)
                keys += self._add(commit, document_id, list(group))
            for collection, positions in batch.listed.items():
                commit.enlist(collection, [keys[position] for position in positions])
            commit.attach(CURSOR, json.dumps({"fingerprint": self._fingerprint, "done": batch.seen}).encode())

    def _add(self, commit: Commit, document_id: str, group: list[Accepted]) -> list[int]:
        """Consecutive chunks of one document; returns their keys."""
        document_key, position = self._documents[document_id]
        chunks = [Chunk(item.text, item.chunk_id, item.metadata, item.place, item.vector) for item in group]
        keys = commit.add_chunks(document_key, chunks, position=position)
        self._documents[document_id] = (document_key, position + len(group))
        stored = list(zip(keys, group, strict=True))
        commit.keep("chunk", [(key, item.original) for key, item in stored if item.original is not None])
        for key, item in stored:
            for collection, row in item.others:
                commit.add_vectors(collection, [(key, row)])
        return keys

    def _begin_document(self, commit: Commit, document_id: str, batch: Batch) -> None:
        """A document that is met for the first time, with its source."""
        old = batch.documents[document_id]
        first = next(item for item in batch.accepted if item.document == document_id)
        told = {**first.metadata, **old.metadata}
        path = nodes.file_of(told)
        name = path or document_id
        if name not in self._sources:
            self._sources[name] = commit.put_source(self._source(name, path, old.title, told))
            if not old.active:
                commit.set_active([self._sources[name]], False)
        key = commit.put_document(DocumentRecord(document_id, self._sources[name], old.title, old.metadata))
        if old.original is not None:
            commit.keep("document", [(key, dump(old.original))])
        self._documents[document_id] = (key, 0)

    def _source(self, name: str, path: str | None, title: str, metadata: Mapping[str, Any]) -> SourceRecord:
        record = SourceRecord(
            name=name,
            title=title or (os.path.basename(path) if path else ""),
            type=self._facts.type_of(path) if path else "record",
            recipe=f"{IMPORTED}{self._head.format}",
            indexed_at=self._facts.now,
        )
        return self._facts.describe(record, path, metadata)

    def _finish(self) -> None:
        with self._backend.commit() as commit:
            for name, data in self._reading.attachments():
                commit.attach(name, data)


def fingerprint(files: Iterable[Path]) -> str:
    """Which files, as they are now: names, sizes and times."""
    seen = [(str(path), *((status := path.stat()).st_size, status.st_mtime_ns)) for path in files]
    return hashlib.blake2b(json.dumps(seen).encode(), digest_size=16).hexdigest()
