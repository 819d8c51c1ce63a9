"""What the two sides of a transfer answer to sampled queries and filters: the part of the proof that reads nothing back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.backend import Scope, Scored, View, indexed_metadata
from stackroom.filters import Condition
from stackroom.progress import CancelToken, Stopped
from stackroom.transfer.naming import named
from stackroom.types import Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUERIES = 20
_TOP = 10
_TIE = 1e-6
"""Scores nearer than this may change places: keys, which decide between equals, are each engine's own."""
_FILTERS = 10
_FILTERED = 200
"""Passages that filters are asked about: a library of a million is not looked through for each. milvus-lite takes four times as long for a thousand."""
_LONGEST = 100
"""Characters of a name or a text that a filter asks for: it is told where answers differ."""


def compare_answers(view: View, there: View, found: list[str], cancel: CancelToken) -> tuple[int, float | None, int]:
    """How many sampled queries find the same, the share of these that an ordinary search finds, and how many filters find the same.

    What differs is added to `found`, in words. Raises Stopped when cancelled, DamagedError.
    """
    scope = Scope(collection=_largest(view))
    if not there.has_collection(scope.collection):
        return 0, None, 0
    queries, recall = _searches(view, there, scope, found, cancel)
    return queries, recall, _filters(view, there, scope, found, cancel)


def _largest(view: View) -> str:
    """The collection in which searches and filters are compared: the one that has most passages, with the library's own vectors."""
    return max((one for one in view.collections() if one.identity is None), key=lambda one: one.chunks).name


def _searches(view: View, there: View, scope: Scope, found: list[str], cancel: CancelToken) -> tuple[int, float | None]:
    """How many sampled queries have the same ten best on both sides, and how many of these an ordinary search finds."""
    every = view.live_keys(with_vector=True)
    sample = _spread(every, _QUERIES)
    passages = view.passages(sample)
    equal, shares = 0, []
    for passage, query in zip(passages, view.vectors(sample), strict=True):
        if cancel.cancelled:
            raise Stopped
        best = view.nearest(query, _TOP, scope, exact=True)
        other = there.nearest(query, _TOP, scope, exact=True)
        if _same(view, there, best, other):
            equal += 1
        else:
            found.append(f"A search by the vector of the passage {named(view, passage)} finds other passages.")
        usual = set(there.nearest(query, _TOP, scope).keys.tolist())
        if len(other.keys):
            shares.append(len(usual & set(other.keys.tolist())) / len(other.keys))
    for passage in passages:
        words = " ".join(sorted(set(re.findall(r"\w{4,}", passage.text)), key=lambda word: (-len(word), word))[:3])
        if words:
            best, _ = view.matching(words, _TOP, scope)
            other, _ = there.matching(words, _TOP, scope)
            if _same(view, there, best, other):
                equal += 1
            else:
                found.append(f"A search for {words!r}, of the passage {named(view, passage)}, finds other passages.")
    return equal, float(np.mean(shares)) if shares else None


def _spread(keys: NDArray[np.int64], most: int) -> list[int]:
    found: list[int] = keys[np.linspace(0, len(keys) - 1, min(most, len(keys))).astype(np.int64)].tolist()
    return found


def _same(view: View, there: View, best: Scored, other: Scored) -> bool:
    own, theirs = view.chunk_ids(best.keys.tolist()), there.chunk_ids(other.keys.tolist())
    return len(own) == len(theirs) and all(
        one == two or abs(score - other_score) <= _TIE
        for one, two, score, other_score in zip(own, theirs, best.scores.tolist(), other.scores.tolist(), strict=True)
    )


def _filters(view: View, there: View, scope: Scope, found: list[str], cancel: CancelToken) -> int:
    """How many sampled filters find the same of sampled passages on both sides: an engine filters by what it makes of metadata, which is not read back."""
    sample = _spread(view.live_keys(), _FILTERED)
    sampled = view.passages(sample)
    others = there.chunk_keys([passage.chunk_id for passage in sampled])
    passages = [passage for passage, other in zip(sampled, others, strict=True) if other is not None]
    own = np.array([key for key, other in zip(sample, others, strict=True) if other is not None], dtype=np.int64)
    theirs = np.array([other for other in others if other is not None], dtype=np.int64)
    equal = 0
    for where in _conditions(view, passages):
        if cancel.cancelled:
            raise Stopped
        wanted = np.isin(own, view.select(replace(scope, where=where, keys=own)))
        have = np.isin(theirs, there.select(replace(scope, where=where, keys=theirs)))
        wrong = np.flatnonzero(wanted != have)
        if len(wrong):
            asked = f"{where.key} == {json.dumps(where.value, ensure_ascii=False)}"
            found.append(
                f"The filter {asked} finds other passages: {len(wrong):,} of {len(own):,} differ, such as {named(view, passages[wrong[0]])}."
            )
        equal += not len(wrong)
    return equal


def _conditions(view: View, passages: Sequence[Passage]) -> list[Condition]:
    """What can be asked for: fields of passages, of documents, and those that every library has, in turn."""
    records = view.document_of(sorted({passage.document_id for passage in passages}))
    owners: list[dict[str, dict[Any, Condition]]] = [{}, {}, {}]
    for passage in passages:
        document, source = records[passage.document_id]
        known = indexed_metadata(document, source)
        for name, value in {**known, **passage.metadata, "document_id": passage.document_id}.items():
            if _can_be_asked_for(name) and _can_be_asked_for(value):
                owner = 0 if name in passage.metadata else 1 if name in document.metadata else 2
                owners[owner].setdefault(name, {})[value] = Condition(name, "==", value)
    return _in_turn([_in_turn([values.values() for values in fields.values()]) for fields in owners])[:_FILTERS]


def _can_be_asked_for(value: Any) -> bool:
    """Whether every engine answers it without looking at all values of the field, and a person can read it."""
    if isinstance(value, str):
        return 0 < len(value) <= _LONGEST and value.isprintable()
    return isinstance(value, int | float) and abs(value) < 2**53


def _in_turn(found: Iterable[Iterable[Condition]]) -> list[Condition]:
    """The first of each, then the second of each, and so on."""
    return [one for ones in zip_longest(*found) for one in ones if one is not None]
