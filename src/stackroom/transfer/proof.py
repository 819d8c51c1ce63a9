"""The proof of a transfer: counts, every passage and vector read back, and the same answers to sampled queries."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from stackroom.backend import Backend, Scope, Scored, View
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped
from stackroom.reports import TransferProof
from stackroom.transfer.sending import PREFIX, Sent

_BATCH = 512
_QUERIES = 20
_TOP = 10
_TIE = 1e-6
"""Scores nearer than this may change places: keys, which decide between equals, are each engine's own."""


def prove(
    origin: Backend, target: Backend, sent: Sent | None, *, progress: Progress, cancel: CancelToken
) -> TransferProof:
    """Compare the two as they are now; `sent` limits what is read back to it. What differs is sent again by the next run.

    Raises Stopped when cancelled.
    """
    with origin.view() as view, target.view() as there:
        found = _counts(view, there)
        wanted = view.live_keys() if sent is None else _keys_of(view, sent)
        passages, vectors, documents = _read_back(view, there, wanted.tolist(), found, progress, cancel)
        queries, recall = _searches(view, there, found, cancel)
    if documents:
        # Without its digest a document is sent anew.
        with target.commit() as commit:
            for document_id in documents:
                commit.detach(PREFIX + document_id)
    return TransferProof(passages, vectors, queries, recall, sent is None, tuple(found))


def _counts(view: View, there: View) -> list[str]:
    numbers = (
        ("sources", lambda one: sum(1 for _ in one.each_source())),
        ("documents", lambda one: sum(1 for _ in one.each_document())),
        ("passages", lambda one: len(one.live_keys())),
        ("vectors", lambda one: len(one.live_keys(with_vector=True))),
        ("active sources", lambda one: sum(source.active for source in one.listing())),
        ("collections", lambda one: sorted((item.name, item.chunks) for item in one.collections() if item.chunks)),
    )
    found = []
    for what, count in numbers:
        here, other = count(view), count(there)
        if here != other:
            found.append(f"{here} {what} are here, and {other} there.")
    return found


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
                found.append(f"The passage {passage.chunk_id} {'is missing' if other is None else 'differs'}.")
                differing.add(passage.document_id)
            else:
                passages += 1
                same.append((key, other, passage))
        pairs = [(key, other, passage) for key, other, passage in same if key in with_vector]
        for _, other, passage in pairs:
            if other not in have_vector:
                found.append(f"The vector of {passage.chunk_id} is missing.")
                differing.add(passage.document_id)
        pairs = [pair for pair in pairs if pair[1] in have_vector]
        rows = view.vectors([key for key, _, _ in pairs])
        arrived = there.vectors([other for _, other, _ in pairs])
        for (_, _, passage), row, other_row in zip(pairs, rows, arrived, strict=True):
            if row.tobytes() == other_row.tobytes():
                vectors += 1
            else:
                found.append(f"The vector of {passage.chunk_id} differs.")
                differing.add(passage.document_id)
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
