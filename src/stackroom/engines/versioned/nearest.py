"""The vector leg: Milvus finds candidates, and they are scored in float64, as everywhere in Stackroom.

Without an index (FLAT) Milvus compares every row in scope, in float32, and the answer is the exact one. A library that is made with
`index=IVF_FLAT` has cells (Jégou, Douze and Schmid 2011): from `APPROXIMATE` rows on, an ordinary search looks into some of them, an exact
one into all. Nothing is quantised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scored
from stackroom.engines.milvus.asking import MOST, Asking
from stackroom.engines.milvus.tables import CELLS, METRICS, Row
from stackroom.engines.vectors import NOTHING, best
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

APPROXIMATE = 50_000
"""Rows from which on an ordinary search looks into some cells alone."""
PROBES = 64
"""Cells that it looks into, unless `set_candidates` says otherwise."""

_MORE = 50
"""Candidates beyond twice what is wanted: more than float32's rounding can misplace."""
_SLACK = 1e-5
"""Scores nearer than this may be in another order in float32."""


def nearest(
    asking: Asking,
    table: str,
    metric: Metric,
    query: NDArray[np.float32],
    k: int,
    condition: str,
    *,
    probes: int | None,
) -> Scored:
    """The best `k` rows of a table that meet the condition. `probes`: into how many cells to look; None where there are none."""
    params = {} if probes is None else {"nprobe": probes}
    limit = 2 * k + _MORE
    while limit <= MOST:
        found = asking.search(
            table, "embedding", query.tolist(), limit, condition, ("key", "embedding"),
            metric_type=METRICS[metric], params=params,
        )  # fmt: skip
        scored = best([row["key"] for row in found], _rows(found), query, metric, limit)
        # Where the last candidate is as good as the last that is wanted, others may be as well: the older ones are.
        if len(found) < limit or not _is_tied(scored, k):
            return Scored(scored.keys[:k], scored.scores[:k])
        limit *= 4
    return scan(asking, table, metric, query, k, condition)


def _is_tied(scored: Scored, k: int) -> bool:
    last, wanted = float(scored.scores[-1]), float(scored.scores[k - 1])
    return wanted - last <= _SLACK * max(1.0, abs(wanted))


def scan(asking: Asking, table: str, metric: Metric, query: NDArray[np.float32], k: int, condition: str) -> Scored:
    """The same, by reading every row: for more hits than Milvus gives at once, and for many equal rows."""
    kept = NOTHING
    for found in _batches(asking.each(table, condition, ("key", "embedding"), at_once=2_000), 2_000):
        part = best([row["key"] for row in found], _rows(found), query, metric, k)
        keys, scores = np.concatenate([kept.keys, part.keys]), np.concatenate([kept.scores, part.scores])
        order = np.lexsort((keys, -scores))[:k]
        kept = Scored(keys[order], scores[order])
    return kept


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _rows(found: Iterable[Row]) -> list[NDArray[np.float32]]:
    return [as_array(row["embedding"]) for row in found]


def as_array(embedding: object) -> NDArray[np.float32]:
    return np.asarray(embedding, dtype=np.float32)


def probes_of(index: str, rows: int, *, exact: bool, candidates: int | None) -> int | None:
    """Into how many cells a search looks; None where there are none."""
    if index == "FLAT":
        return None
    if exact or rows < APPROXIMATE:
        return CELLS
    return min(max(candidates or PROBES, 1), CELLS)


def sample_keys(asking: Asking, table: str, n: int, rows: int, keys: NDArray[np.int64] | None) -> list[int]:
    """Up to `n` keys of a table's `rows`: spread evenly over `keys` where these are known, otherwise by the hashes of their chunks' ids."""
    if keys is None:
        # Hashes are below 2**62, and evenly spread.
        share = f"embedded == 1 and name < {int(2**62 * min(2 * n / rows, 1.0))}"
        keys = np.sort(
            np.array([row["key"] for row in asking.rows(table, share, ("key",), limit=4 * n)], dtype=np.int64)
        )
    at = np.linspace(0, len(keys) - 1, min(n, len(keys))).astype(np.int64)
    found: list[int] = keys[at].tolist()
    return found
