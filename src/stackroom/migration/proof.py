"""What arrived, against what was there: every chunk and vector read back, searches compared, the old files hashed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Backend, Scope, View
from stackroom.migration.others import Others
from stackroom.migration.reading import Comparison, Digests, Evidence
from stackroom.migration.truth import Truth
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped
from stackroom.reports import Proof
from stackroom.storage.disk import fsio

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 512
_TOP = 10
_TIE = 1e-6
"""Scores nearer than this may change places: float32 and float64 round differently."""


class Hashes:
    """Content hashes of the old files, taken in a thread of their own: hashing leaves Python's lock free."""

    def __init__(self, files: Sequence[Path], cancel: CancelToken) -> None:
        self._files = files
        self._cancel = cancel
        self._found: dict[str, str] = {}
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        try:
            for path in self._files:
                with path.open("rb") as file:
                    # SHA-256 has instructions of its own in every processor of today; nothing is faster here.
                    self._found[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            self._error = error

    def result(self) -> dict[str, str]:
        """Path to hash. Raises StorageError; Stopped when cancelled meanwhile."""
        while self._thread.is_alive():
            self._thread.join(0.05)
            if self._cancel.cancelled:
                raise Stopped
        if self._error is not None:
            with fsio.translated(self._files[0]):
                raise self._error
        return self._found


def prove(
    backend: Backend,
    evidence: Evidence,
    elsewhere: Comparison | None,
    others: Others,
    *,
    unchanged: Callable[[], bool],
    progress: Progress,
    cancel: CancelToken,
) -> Proof:
    """Compare all that has come. `elsewhere` compares what `evidence` has no digests of, `others` the collections; `unchanged` the old files' hashes."""
    found: list[str] = []
    with ThreadPoolExecutor(1) as other, backend.view() as view:
        # Products of matrices leave Python's lock free: they are reckoned while passages are read.
        searching = None if evidence.truth is None else other.submit(_searches, backend, evidence.truth, found, cancel)
        chunks, vectors = _read_back(view, evidence, found, progress, cancel)
        if elsewhere is not None and not cancel.cancelled:
            found += elsewhere.result()
        collections = others.compare(view, found, cancel)
        parsed = _parsed_again(view, evidence.samples, found)
        queries = 0 if searching is None else searching.result()
    if cancel.cancelled:
        raise Stopped
    return Proof(
        chunks=chunks,
        texts=chunks,
        vectors=vectors,
        parsed_again=parsed,
        queries=queries,
        queries_skipped=evidence.skipped,
        source_unchanged=unchanged(),
        differences=tuple(found),
        collections=collections,
    )


def _read_back(
    view: View, evidence: Evidence, found: list[str], progress: Progress, cancel: CancelToken
) -> tuple[int, int]:
    """Every text and vector, in the order of keys, against the digests that were taken on the way in."""
    keys = view.live_keys()
    if len(keys) != evidence.chunks:
        found.append(f"{evidence.chunks} chunks went in, {len(keys)} are there.")
        return 0, 0
    with_vector = view.live_keys(with_vector=True)
    if len(with_vector) != evidence.vectors:
        found.append(f"{evidence.vectors} vectors went in, {len(with_vector)} are there.")
        return 0, 0
    compare(view, evidence.texts, evidence.rows, found, progress, cancel)
    return len(keys), len(with_vector)


def compare(
    view: View, texts: Digests, rows: Digests, found: list[str], progress: Progress, cancel: CancelToken
) -> None:
    """Read back the texts and vectors that these digests are of; what differs is said in `found`."""
    keys = view.live_keys()
    for first in range(texts.first, texts.end, _BATCH):
        if cancel.cancelled:
            return
        end = min(first + _BATCH, texts.end)
        for at, passage in enumerate(view.passages(keys[first:end].tolist()), start=first):
            if not texts.agrees(at, passage.text.encode("utf-8", "surrogatepass")):
                found.append(f"The text of {passage.chunk_id} differs.")
        progress(ProgressEvent("verify", done=end - texts.first, total=texts.end - texts.first))
    keys = view.live_keys(with_vector=True)
    for first in range(rows.first, rows.end, _BATCH):
        if cancel.cancelled:
            return
        end = min(first + _BATCH, rows.end)
        for at, row in enumerate(view.vectors(keys[first:end].tolist()), start=first):
            if not rows.agrees(at, row.data):
                found.append(f"The vector of the chunk with key {keys[at]} differs.")


def _parsed_again(view: View, samples: Sequence[tuple[str, NDArray[np.float64]]], found: list[str]) -> int:
    keys = view.chunk_keys([chunk_id for chunk_id, _ in samples])
    equal = 0
    for (chunk_id, values), key in zip(samples, keys, strict=True):
        if key is None:
            found.append(f"{chunk_id} did not arrive.")
            continue
        if view.vectors([key])[0].tobytes() == values.astype(np.float32).tobytes():
            equal += 1
        else:
            found.append(f"The vector of {chunk_id} is not what json.loads reads.")
    return equal


def _searches(backend: Backend, truth: Truth, found: list[str], cancel: CancelToken) -> int:
    """The top ten of each sampled query, ours against the old store's own numbers."""
    equal = 0
    for number, query in enumerate(truth.queries):
        if cancel.cancelled:
            break
        wanted = truth.best(number, _TOP)
        with backend.view() as view:
            scored = view.nearest(query.astype(np.float32), _TOP, Scope(), exact=True)
            passages = view.passages([int(key) for key in scored.keys])
        same = len(passages) == len(wanted) and all(
            passage.chunk_id == answer.chunk_id or abs(float(score) - answer.score) <= _TIE
            for passage, score, answer in zip(passages, scored.scores, wanted, strict=True)
        )
        if same:
            equal += 1
        else:
            found.append(f"Query {number + 1} of {len(truth.queries)} finds other passages.")
    return equal
