"""What is missing in the target is sent, in batches; one thread reads ahead while another one sends."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from stackroom import copied
from stackroom.backend import Backend, Commit, DocumentRecord, SourceRecord, View
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped
from stackroom.transfer import copies
from stackroom.transfer.reading import Parcel, batches, chunk_count, parcels
from stackroom.transfer.target import (
    BROUGHT,
    HISTORY,
    PREFIX,
    SOURCES,
    is_mark,
    library_of,
    require_fit,
    require_nothing_lost,
)
from stackroom.types import EmbedderIdentity

_BYTES = 8 << 20
_CHUNKS = 1_000
_AHEAD = 2
"""Batches that wait to be sent."""
_GONE_AT_ONCE = 500
_SOURCES_AT_ONCE = 10_000
"""A commit has room for so many, however many there are."""


@dataclass(slots=True)
class Sent:
    """What a transfer has done so far. Counts of documents, but for `chunks`, `vectors` and `commits`."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    vectors: int = 0
    commits: int = 0
    documents: set[str] = field(default_factory=set)
    """the ids of those that were sent"""
    attempted: dict[str, bool] = field(default_factory=dict)
    """those that a commit was to bring, and whether each was there before: a commit may be durable whose answer never came"""
    version: int = 0
    """the origin's commit that was read"""
    taken_at: str = ""
    """when that was the newest one: ISO 8601 in UTC"""
    origin_unfinished: bool = False
    """whether a transfer to the origin, or to what that is a copy of, had not come to its end then"""
    was_proven: bool | None = None
    """whether the target was, before anything was sent, as the transfer before had proven it to be; None: it was not looked at"""

    def count(self, document_id: str, chunks: int, vectors: int) -> None:
        """A document that has arrived."""
        self.updated += self.attempted[document_id]
        self.added += not self.attempted[document_id]
        self.chunks += chunks
        self.vectors += vectors
        self.documents.add(document_id)


def send(
    origin: Backend,
    target: Backend,
    sent: Sent,
    *,
    copy_of: str | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> None:
    """Everything of one snapshot of the origin that the target has not; `copy_of` as in `transfer`. Raises Stopped when cancelled."""
    with target.lease("transfer"), origin.view() as view:
        sent.version, sent.taken_at = view.version, datetime.now(UTC).isoformat(timespec="seconds")
        itself = copied.read(view.attachment(copied.RECORD), view.version)
        sent.origin_unfinished = itself is not None and (bool(itself.begun_at) or itself.origin_unfinished)
        with target.view() as there:
            if sent.was_proven is None:
                known = copied.read(there.attachment(copied.RECORD), there.version)
                sent.was_proven = known is not None and known.is_proven
            new = there.version == 0
            mark = copies.begun(there, copy_of or "")
            digests = {name.removeprefix(PREFIX): digest for name, digest in there.attachments(PREFIX)}
            whose = {name.removeprefix(SOURCES): library for name, library in there.attachments(SOURCES)}
            sources = list(view.each_source())
            mine = {record.source_id: record for record in there.each_source()}
            require_fit(view, there, sources, mine, whose, copy_of, was_sent=bool(digests))
            require_nothing_lost(view, sources, mine)
            # Somebody may have written to the copy: what is gone there is sent again, and what is new in a source of the origin's goes.
            documents = list(there.each_document())
            held = {document.document_id for document in documents}
            arrived = {document_id: digest for document_id, digest in digests.items() if document_id in held}
            replaced = _replaced(sources, documents, mine)
        total = len(view.live_keys())
        active = {source.id: source.active for source in view.listing()}
        for document_ids in replaced.values():
            for document_id in document_ids:
                arrived.pop(document_id, None)
                digests.pop(document_id, None)
                held.discard(document_id)
        if cancel.cancelled and not new:
            # A copy stays what it is said to be.
            raise Stopped
        keys = _send_sources(view, target, mark, sources, mine, whose, active, replaced, sent, cancel)
        seen = _send_documents(view, target, arrived, keys, sent, total, progress, cancel)
        _remove_documents(target, (held | digests.keys()) - seen, sent, cancel)
        _settle(view, target, {record.source_id for record in sources}, mine.keys(), active, sent)


def _replaced(
    sources: list[SourceRecord], documents: list[DocumentRecord], mine: dict[str, SourceRecord]
) -> dict[int, list[str]]:
    """Sources of the target whose name another source has now, and those that are lost while their documents are not, by key, with the ids of their
    documents.
    """
    here, names = {record.source_id for record in sources}, {record.name for record in sources}
    known = {record.key for record in mine.values()}
    found: dict[int, list[str]] = {
        record.key: [] for record in mine.values() if record.source_id not in here and record.name in names
    }
    for document in documents:
        if document.source_key in found or document.source_key not in known:
            found.setdefault(document.source_key, []).append(document.document_id)
    return found


def _send_sources(
    view: View,
    target: Backend,
    mark: bytes,
    sources: list[SourceRecord],
    mine: dict[str, SourceRecord],
    whose: dict[str, bytes],
    active: dict[str, bool],
    replaced: dict[int, list[str]],
    sent: Sent,
    cancel: CancelToken,
) -> dict[str, int]:
    """Have every source in the target as it is in the origin, in portions; returns their keys there, by id. Raises Stopped.

    `mark` goes with the first of them: from there on the target says that something is under way.
    """
    keys: dict[str, int] = {}
    history, library = view.history, library_of(view)
    changed = []
    for record in sources:
        known = mine.get(record.source_id)
        if known is not None and record.source_id in whose and known == replace(record, key=known.key):
            keys[record.source_id] = known.key
        else:
            changed.append(replace(record, key=0 if known is None else known.key))
    holders = {record.name: record.source_id for record in mine.values()}
    in_the_way = {
        holders[record.name] for record in changed if holders.get(record.name, record.source_id) != record.source_id
    }
    changed.sort(key=lambda record: record.source_id not in in_the_way)
    # Without any, one commit makes a library that is empty.
    portions = [changed[at : at + _SOURCES_AT_ONCE] for at in range(0, len(changed), _SOURCES_AT_ONCE)] or [[]]
    for number, portion in enumerate(portions):
        if number and cancel.cancelled:
            raise Stopped
        with target.commit() as commit:
            if number == 0:
                commit.attach(copied.RECORD, mark)
                if history is not None:
                    commit.attach(HISTORY + history.library.hex(), history.dump())
                _make_way(
                    commit, replaced, [mine[record.source_id] for record in changed if record.source_id in in_the_way]
                )
            for record in portion:
                keys[record.source_id] = commit.put_source(record)
                if record.source_id not in whose:
                    commit.attach(SOURCES + record.source_id, library)
            idle = [keys[record.source_id] for record in portion if not active[record.source_id]]
            if idle:
                commit.set_active(idle, False)
        sent.commits += 1
    return keys


def _make_way(commit: Commit, replaced: dict[int, list[str]], renamed: list[SourceRecord]) -> None:
    """Free the names that other sources have now: who is given a name removes whoever still has it, with all documents.

    `renamed` get others in this run, as where files are rotated.
    """
    for key, document_ids in replaced.items():
        commit.remove_source(key)
        for document_id in document_ids:
            commit.detach(PREFIX + document_id)
    for record in renamed:
        commit.put_source(replace(record, name=record.source_id))


def _send_documents(
    view: View,
    target: Backend,
    known: dict[str, bytes],
    keys: dict[str, int],
    sent: Sent,
    total: int,
    progress: Progress,
    cancel: CancelToken,
) -> set[str]:
    """Send what is new or changed; returns the ids of all documents of the origin."""
    seen: set[str] = set()
    passed = 0
    unchanged = 0
    late: list[tuple[str, int, int]] = []
    begun = time.monotonic()

    def fresh() -> Iterator[Parcel]:
        nonlocal passed, unchanged
        for parcel in parcels(view):
            seen.add(parcel.document.document_id)
            if known.get(parcel.document.document_id) == parcel.digest:
                passed += len(parcel.chunks)
                if parcel.document.document_id in sent.attempted and parcel.document.document_id not in sent.documents:
                    late.append(_size(parcel))
                else:
                    unchanged += parcel.document.document_id not in sent.documents
            else:
                yield parcel

    done, identity = 0, view.identity
    for batch in _ahead(batches(fresh(), most_bytes=_BYTES, most_chunks=_CHUNKS), cancel):
        _send_batch(target, batch, identity, known, keys, sent)
        done += chunk_count(batch)
        rate = done / max(time.monotonic() - begun, 1e-6)
        left = (total - passed - done) / rate
        progress(ProgressEvent("send", passed + done, total, sent.chunks, rate=rate, seconds_left=max(left, 0.0)))
    if cancel.cancelled:
        raise Stopped
    for size in late:
        sent.count(*size)
    sent.unchanged = unchanged
    return seen


def _ahead(found: Iterator[list[Parcel]], cancel: CancelToken) -> Iterator[list[Parcel]]:
    """The same batches, read in a thread of their own while the one before is sent."""
    waiting: queue.Queue[list[Parcel] | BaseException | None] = queue.Queue(_AHEAD)
    left = threading.Event()

    def put(item: list[Parcel] | BaseException | None) -> bool:
        while not left.is_set() and not cancel.cancelled:
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for batch in found:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:
            put(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while not cancel.cancelled:
            try:
                item = waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        # The view is the caller's, and is left only when nobody reads from it.
        left.set()
        reader.join()


def _send_batch(
    target: Backend,
    batch: list[Parcel],
    identity: EmbedderIdentity | None,
    known: dict[str, bytes],
    keys: dict[str, int],
    sent: Sent,
) -> None:
    """One commit: documents with all that belongs to them, and their digests. Sent twice, it is there once."""
    ids = [parcel.document.document_id for parcel in batch]
    with target.view() as there:
        old = {
            document_id: there.keys_of(document.key) for document_id, (document, _) in there.document_of(ids).items()
        }
    for document_id in ids:
        sent.attempted.setdefault(document_id, document_id in known)
    with target.commit() as commit:
        if identity is not None:
            # Known with the first vectors, and checked with all others.
            commit.use_embedder(identity)
        for parcel in batch:
            document_id = parcel.document.document_id
            commit.remove_chunks(old.get(document_id, []))
            _put(commit, parcel, keys[parcel.source])
            commit.attach(PREFIX + document_id, parcel.digest)
    sent.commits += 1
    for parcel in batch:
        sent.count(*_size(parcel))


def _size(parcel: Parcel) -> tuple[str, int, int]:
    """A document's id, its chunks, and those that have a vector."""
    vectors = sum(item.chunk.embedding is not None for item in parcel.chunks)
    return parcel.document.document_id, len(parcel.chunks), vectors


def _put(commit: Commit, parcel: Parcel, source_key: int) -> None:
    document_key = commit.put_document(replace(parcel.document, source_key=source_key, key=0))
    commit.given(document_key)
    there: list[int] = []
    for first, end in parcel.runs():
        run = parcel.chunks[first:end]
        there += commit.add_chunks(
            document_key, [item.chunk for item in run], position=run[0].position, collection=parcel.homes[first]
        )
    for name, places in parcel.listed.items():
        commit.enlist(name, [there[at] for at in places])
    for name, vectors in parcel.own_vectors.items():
        commit.add_vectors(name, [(there[at], row) for at, row in vectors])
    if parcel.original is not None:
        commit.keep("document", [(document_key, parcel.original)])
    if parcel.originals:
        commit.keep("chunk", [(there[at], data) for at, data in parcel.originals.items()])


def _remove_documents(target: Backend, gone: set[str], sent: Sent, cancel: CancelToken) -> None:
    ids = sorted(gone)
    for first in range(0, len(ids), _GONE_AT_ONCE):
        if cancel.cancelled:
            raise Stopped
        part = ids[first : first + _GONE_AT_ONCE]
        with target.view() as there:
            keys = {document_id: document.key for document_id, (document, _) in there.document_of(part).items()}
        with target.commit() as commit:
            for document_id in part:
                if document_id in keys:
                    commit.remove_document(keys[document_id])
                commit.detach(PREFIX + document_id)
        sent.removed += len(part)
        sent.commits += 1


def _settle(
    view: View, target: Backend, sources: set[str], known: Set[str], active: dict[str, bool], sent: Sent
) -> None:
    """What belongs to no document: sources that are gone, the active set, what is kept under names, the setting of searches.

    Of the target's sources only those that were there when the run began (`known`) may go.
    """
    kept = _attached(view)
    with target.view() as there:
        mine = list(there.each_source())
        gone = [record for record in mine if record.source_id in known and record.source_id not in sources]
        stay = {record.source_id for record in mine} - {record.source_id for record in gone}
        marks = [name for name, _ in there.attachments(SOURCES) if name.removeprefix(SOURCES) not in stay]
        shown = {source.id: source.active for source in there.listing()}
        turned = [record for record in mine if record.source_id in sources]
        turned = [record for record in turned if shown[record.source_id] != active[record.source_id]]
        others = _attached(there)
        brought = json.loads(there.attachment(BROUGHT) or b"[]")
        candidates = there.candidates
    changed = {name: data for name, data in kept.items() if others.get(name) != data}
    vanished = (others.keys() & set(brought)) - kept.keys()
    if not (gone or marks or turned or changed or vanished or candidates != view.candidates):
        return
    with target.commit() as commit:
        for record in gone:
            commit.remove_source(record.key)
        for name in marks:
            commit.detach(name)
        for record in turned:
            commit.set_active([record.key], active[record.source_id])
        for name, data in changed.items():
            commit.attach(name, data)
        for name in vanished:
            commit.detach(name)
        commit.attach(BROUGHT, json.dumps(sorted(kept)).encode())
        commit.set_candidates(view.candidates)
    sent.commits += 1


def _attached(view: View) -> dict[str, bytes]:
    return {name: data for name, data in view.attachments() if not is_mark(name)}
