"""The proof of a transfer: counts, every passage and vector read back, and the same answers to sampled queries and filters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from stackroom.backend import Backend, DocumentRecord, SourceRecord, View
from stackroom.errors import DamagedError
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped
from stackroom.reports import TransferProof
from stackroom.transfer.answers import compare_answers
from stackroom.transfer.naming import called, described
from stackroom.transfer.sending import Sent
from stackroom.transfer.target import DIFFERS, PREFIX
from stackroom.types import Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

Asked = TypeVar("Asked")
Told = TypeVar("Told")

_BATCH = 512
_SHOWN = 5
"""Names that are told of many."""


class _Differences:
    """What is not in the target as it is in the origin, in words, and the documents that are to be sent again for it."""

    def __init__(self, view: View, told: list[str]) -> None:
        self.told = told
        self.documents: set[str] = set()
        self._view = view
        self._names: dict[str, str] = {}

    def add(self, what: str, passage: Passage, how: str) -> None:
        self.told.append(f"The {what} {passage.chunk_id} of {self._name(passage.document_id)} {how}.")
        self.documents.add(passage.document_id)

    def add_document(self, document_id: str, how: str) -> None:
        self.told.append(f"The document {self._name(document_id)} {how}.")
        self.documents.add(document_id)

    def _name(self, document_id: str) -> str:
        if document_id not in self._names and len(self._names) < _SHOWN:
            self._names[document_id] = called(self._view, document_id)
        return self._names.get(document_id, document_id)


def prove(
    origin: Backend, target: Backend, sent: Sent | None, *, progress: Progress, cancel: CancelToken
) -> tuple[TransferProof, int, bool]:
    """Compare the two as they are now, and say which version of the target that was, and whether the next run sends again what differs.

    `sent` limits to it what is read back; where the counts differ it is all. Only answers that differ while all is there can't be sent again.
    Raises Stopped when cancelled.
    """
    with origin.view() as view, target.view() as there:
        version = there.version
        found = _Differences(view, _counts(view, there))
        part = None if found.told else sent
        wanted = view.live_keys() if part is None else _keys_of(view, part)
        _compare_documents(view, there, part, found, cancel)
        passages, vectors, arrived = _read_back(view, there, wanted, found, progress, cancel)
        _compare_collections(view, there, wanted, arrived, found)
        if part is None:
            _mark_extra(there, arrived, found)
        # Where a part alone was read back, the next run reads back all of it, and finds what makes the answers differ.
        curable = bool(found.told) or part is not None
        queries, recall, filters = 0, None, 0
        is_told = bool(found.told)
        try:
            queries, recall, filters = compare_answers(view, there, found.told, cancel)
        except DamagedError:
            # What can't be read there is told and sent again: then its answers are compared.
            if not is_told:
                raise
    if found.documents:
        with target.commit() as commit:
            for document_id in found.documents:
                commit.attach(PREFIX + document_id, DIFFERS)
    proof = TransferProof(passages, vectors, queries, filters, recall, sent is None, tuple(found.told))
    return proof, version, curable


def _counts(view: View, there: View) -> list[str]:
    """What is not as often in the target as it should be; the first that are too few or too many by name."""
    found = []
    for what, count, names in _COUNTED:
        wanted, arrived = count(view), count(there)
        if wanted != arrived:
            ours, theirs = names(view), names(there)
            told = _first("missing", ours - theirs) + _first("too many", theirs - ours)
            found.append(f"{wanted:,} {what} should be there, and {arrived:,} are{told}.")
    of_each, arrived_of_each = _collections(view), _collections(there)
    for name in sorted((of_each.keys() | arrived_of_each.keys()) - {"default"}):
        wanted, arrived = of_each.get(name, 0), arrived_of_each.get(name, 0)
        if wanted != arrived:
            found.append(f"{wanted:,} passages of the collection {name} should be there, and {arrived:,} are.")
    return found


def _first(what: str, names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"; {what}: {shown}{more}" if names else ""


def _documents(view: View) -> set[str]:
    names = {record.key: record.name for record in view.each_source()}
    return {
        described(names.get(document.source_key, ""), document.document_id, document.title)
        for document in view.each_document()
    }


def _chunk_ids(view: View, keys: NDArray[np.int64]) -> set[str]:
    """Of these passages without those that can't be read, which are told when they are read back."""
    parts = (keys[first : first + _BATCH].tolist() for first in range(0, len(keys), _BATCH))
    return {chunk_id for part in parts for chunk_id in _readable(view.chunk_ids, part) if chunk_id is not None}


def _active(view: View) -> set[str]:
    return {source.path for source in view.listing() if source.active}


def _collections(view: View) -> dict[str, int]:
    return {item.name: item.chunks for item in view.collections() if item.chunks}


_COUNTED: tuple[tuple[str, Callable[[View], int], Callable[[View], set[str]]], ...] = (
    ("sources", lambda view: sum(1 for _ in view.each_source()), lambda view: {one.name for one in view.each_source()}),
    ("documents", lambda view: sum(1 for _ in view.each_document()), _documents),
    ("passages", lambda view: len(view.live_keys()), lambda view: _chunk_ids(view, view.live_keys())),
    (
        "vectors",
        lambda view: len(view.live_keys(with_vector=True)),
        lambda view: _chunk_ids(view, view.live_keys(with_vector=True)),
    ),
    ("active sources", lambda view: len(_active(view)), _active),
)
"""What is counted, and how it is named where the counts differ, which is seldom."""


def _keys_of(view: View, sent: Sent) -> NDArray[np.int64]:
    found = view.document_of(sorted(sent.documents))
    keys = [key for document, _ in found.values() for key in view.keys_of(document.key)]
    return np.array(sorted(keys), dtype=np.int64)


def _compare_documents(view: View, there: View, sent: Sent | None, found: _Differences, cancel: CancelToken) -> None:
    """Whether each document is there, with its title, its metadata and its source."""
    ids = [document.document_id for document in view.each_document()] if sent is None else sorted(sent.documents)
    for first in range(0, len(ids), _BATCH):
        if cancel.cancelled:
            raise Stopped
        part = ids[first : first + _BATCH]
        arrived = there.document_of(part)
        for document_id, record in view.document_of(part).items():
            if document_id in arrived:
                ours, theirs = _facts(*record), _facts(*arrived[document_id])
                differing = [name for name, fact in ours.items() if theirs[name] != fact]
                if differing:
                    found.add_document(document_id, f"differs in {' and '.join(differing)}")
            else:
                found.add_document(document_id, "is missing")


def _facts(document: DocumentRecord, source: SourceRecord) -> dict[str, str]:
    metadata = json.dumps(dict(document.metadata), sort_keys=True)
    return {"title": document.title, "metadata": metadata, "source": source.source_id}


def _read_back(
    view: View,
    there: View,
    keys: NDArray[np.int64],
    found: _Differences,
    progress: Progress,
    cancel: CancelToken,
) -> tuple[int, int, NDArray[np.int64]]:
    """How many passages and vectors are the same, and the key that each passage has in the target, int64 like `keys`; -1 where it is missing."""
    with_vector = set(view.live_keys(with_vector=True).tolist())
    have_vector = set(there.live_keys(with_vector=True).tolist())
    passages = vectors = 0
    arrived = np.full(len(keys), -1, dtype=np.int64)
    for first in range(0, len(keys), _BATCH):
        if cancel.cancelled:
            raise Stopped
        part = keys[first : first + _BATCH].tolist()
        own = view.passages(part)
        others = _readable(there.chunk_keys, [passage.chunk_id for passage in own])
        arrived[first : first + _BATCH] = [-1 if key is None else key for key in others]
        known = [key for key in others if key is not None]
        theirs = dict(zip(known, _readable(there.passages, known), strict=True))
        pairs = []
        for key, passage, other in zip(part, own, others, strict=True):
            if other is None or theirs[other] != passage:
                found.add("passage", passage, "is missing" if other is None else "differs")
                continue
            passages += 1
            if key in with_vector and other in have_vector:
                pairs.append((key, other, passage))
            elif key in with_vector:
                found.add("vector of", passage, "is missing")
            elif other in have_vector:
                found.add("vector of", passage, "is one too many")
        rows = view.vectors([key for key, _, _ in pairs])
        other_rows = _readable(lambda of: list(there.vectors(of)), [other for _, other, _ in pairs])
        for (_, _, passage), row, other_row in zip(pairs, rows, other_rows, strict=True):
            if other_row is not None and row.tobytes() == other_row.tobytes():
                vectors += 1
            else:
                found.add("vector of", passage, "can't be read" if other_row is None else "differs")
        progress(ProgressEvent("verify", min(first + _BATCH, len(keys)), len(keys)))
    return passages, vectors, arrived


def _readable(ask: Callable[[Sequence[Asked]], Sequence[Told | None]], of: Sequence[Asked]) -> list[Told | None]:
    """What is answered of each; None where it can't be read, which the others are not to suffer from."""
    try:
        return list(ask(of))
    except DamagedError:
        if len(of) == 1:
            return [None]
        half = len(of) // 2
        return _readable(ask, of[:half]) + _readable(ask, of[half:])


def _compare_collections(
    view: View, there: View, keys: NDArray[np.int64], arrived: NDArray[np.int64], found: _Differences
) -> None:
    """Whether each passage that arrived is in the collections that it was in, and in no other ones."""
    names = {item.name for one in (view, there) for item in one.collections()}
    if names <= {"default"}:
        return
    for name in sorted(names):
        wanted, have = np.isin(keys, _members(view, name)), np.isin(arrived, _members(there, name))
        wrong = np.flatnonzero((wanted != have) & (arrived >= 0))
        for first in range(0, len(wrong), _BATCH):
            part = wrong[first : first + _BATCH]
            for passage, lost in zip(view.passages(keys[part].tolist()), wanted[part].tolist(), strict=True):
                how = f"is not in the collection {name}" if lost else f"is in the collection {name}, and should not be"
                found.add("passage", passage, how)


def _members(view: View, collection: str) -> NDArray[np.int64]:
    return np.array(view.members(collection) if view.has_collection(collection) else [], dtype=np.int64)


def _mark_extra(there: View, arrived: NDArray[np.int64], found: _Differences) -> None:
    """Passages that only the target has are counted and named before; here are the documents that lose them by being sent again."""
    extra = np.setdiff1d(there.live_keys(), arrived)
    for first in range(0, len(extra), _BATCH):
        part = _readable(there.passages, extra[first : first + _BATCH].tolist())
        found.documents.update(passage.document_id for passage in part if passage is not None)
