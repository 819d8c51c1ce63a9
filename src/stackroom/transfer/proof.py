"""The proof of a transfer: counts, every passage and vector read back, and the same answers to sampled queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from stackroom.backend import Backend, Scope, Scored, View
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped
from stackroom.reports import TransferProof
from stackroom.transfer.sending import PREFIX, Sent
from stackroom.types import Passage

_BATCH = 512
_SHOWN = 5
"""Names that are told of many."""
_QUERIES = 20
_TOP = 10
_TIE = 1e-6
"""Scores nearer than this may change places: keys, which decide between equals, are each engine's own."""


def prove(
    origin: Backend, target: Backend, sent: Sent | None, *, progress: Progress, cancel: CancelToken
) -> tuple[TransferProof, int]:
    """Compare the two as they are now, and say which version of the target that was; `sent` limits what is read back to it.

    What differs is sent again by the next run. Raises Stopped when cancelled.
    """
    with origin.view() as view, target.view() as there:
        version = there.version
        found = _counts(view, there)
        wanted = view.live_keys() if sent is None else _keys_of(view, sent)
        passages, vectors, documents = _read_back(view, there, wanted.tolist(), found, progress, cancel)
        queries, recall = _searches(view, there, found, cancel)
    if documents:
        # Without its digest a document is sent anew.
        with target.commit() as commit:
            for document_id in documents:
                commit.detach(PREFIX + document_id)
    return TransferProof(passages, vectors, queries, recall, sent is None, tuple(found)), version


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
        _told(names.get(document.source_key, ""), document.document_id, document.title)
        for document in view.each_document()
    }


def _active(view: View) -> set[str]:
    return {source.path for source in view.listing() if source.active}


def _collections(view: View) -> dict[str, int]:
    return {item.name: item.chunks for item in view.collections() if item.chunks}


_COUNTED: tuple[tuple[str, Callable[[View], int], Callable[[View], set[str]]], ...] = (
    ("sources", lambda view: sum(1 for _ in view.each_source()), lambda view: {one.name for one in view.each_source()}),
    ("documents", lambda view: sum(1 for _ in view.each_document()), _documents),
    ("passages", lambda view: len(view.live_keys()), lambda view: set(view.chunk_ids())),
    (
        "vectors",
        lambda view: len(view.live_keys(with_vector=True)),
        lambda view: set(view.chunk_ids(view.live_keys(with_vector=True).tolist())),
    ),
    ("active sources", lambda view: len(_active(view)), _active),
)
"""What is counted, and how it is named where the counts differ, which is seldom."""


def _told(source: str, document_id: str, title: str) -> str:
    """A document for a person: by its source, and by its title where that says more."""
    return f"{source} (document {document_id}{f', {title}' if title else ''})"


def _keys_of(view: View, sent: Sent) -> np.ndarray:
    found = view.document_of(sorted(sent.documents))
    keys = [key for document, _ in found.values() for key in view.keys_of(document.key)]
    return np.array(sorted(keys), dtype=np.int64)


def _read_back(
    view: View, there: View, keys: Sequence[int], found: list[str], progress: Progress, cancel: CancelToken
) -> tuple[int, int, set[str]]:
    """How many passages and vectors are the same, and the documents of those that are not."""
    with_vector = set(view.live_keys(with_vector=True).tolist())
    have_vector = set(there.live_keys(with_vector=True).tolist())
    passages = vectors = 0
    differing: set[str] = set()
    names: dict[str, str] = {}

    def differs(what: str, passage: Passage, how: str) -> None:
        document_id = passage.document_id
        if document_id not in names and len(names) < _SHOWN:
            document, source = view.document_of([document_id])[document_id]
            names[document_id] = _told(source.name, document_id, document.title)
        found.append(f"The {what} {passage.chunk_id} of {names.get(document_id, document_id)} {how}.")
        differing.add(document_id)

    for first in range(0, len(keys), _BATCH):
        if cancel.cancelled:
            raise Stopped
        part = list(keys[first : first + _BATCH])
        own = view.passages(part)
        others = there.chunk_keys([passage.chunk_id for passage in own])
        theirs = dict(
            zip(
                [key for key in others if key is not None],
                there.passages([key for key in others if key is not None]),
                strict=True,
            )
        )
        same = []
        for key, passage, other in zip(part, own, others, strict=True):
            if other is None or theirs[other] != passage:
                differs("passage", passage, "is missing" if other is None else "differs")
            else:
                passages += 1
                same.append((key, other, passage))
        pairs = [(key, other, passage) for key, other, passage in same if key in with_vector]
        for _, other, passage in pairs:
            if other not in have_vector:
                differs("vector of", passage, "is missing")
        pairs = [pair for pair in pairs if pair[1] in have_vector]
        rows = view.vectors([key for key, _, _ in pairs])
        arrived = there.vectors([other for _, other, _ in pairs])
        for (_, _, passage), row, other_row in zip(pairs, rows, arrived, strict=True):
            if row.tobytes() == other_row.tobytes():
                vectors += 1
            else:
                differs("vector of", passage, "differs")
        progress(ProgressEvent("verify", min(first + _BATCH, len(keys)), len(keys)))
    return passages, vectors, differing


def _searches(view: View, there: View, found: list[str], cancel: CancelToken) -> tuple[int, float | None]:
    """How many sampled queries have the same ten best on both sides, and how many of these an ordinary search finds."""
    every = view.live_keys(with_vector=True)
    sample = every[np.linspace(0, len(every) - 1, min(_QUERIES, len(every))).astype(np.int64)].tolist()
    equal, shares = 0, []
    for key, query in zip(sample, view.vectors(sample), strict=True):
        if cancel.cancelled:
            raise Stopped
        best = view.nearest(query, _TOP, Scope(), exact=True)
        other = there.nearest(query, _TOP, Scope(), exact=True)
        equal += _same(view, there, best, other, f"the vector of chunk {key}", found)
        usual = set(there.nearest(query, _TOP, Scope()).keys.tolist())
        shares.append(len(usual & set(other.keys.tolist())) / max(len(other.keys), 1))
    for passage in view.passages(sample):
        words = " ".join(sorted(set(re.findall(r"\w{4,}", passage.text)), key=lambda word: (-len(word), word))[:3])
        if words:
            best, _ = view.matching(words, _TOP, Scope())
            other, _ = there.matching(words, _TOP, Scope())
            equal += _same(view, there, best, other, repr(words), found)
    return equal, float(np.mean(shares)) if shares else None


def _same(view: View, there: View, best: Scored, other: Scored, query: str, found: list[str]) -> bool:
    own, theirs = view.chunk_ids(best.keys.tolist()), there.chunk_ids(other.keys.tolist())
    same = len(own) == len(theirs) and all(
        one == two or abs(score - other_score) <= _TIE
        for one, two, score, other_score in zip(own, theirs, best.scores.tolist(), other.scores.tolist(), strict=True)
    )
    if not same:
        found.append(f"{query} finds other passages.")
    return same
