"""The vector leg: the database finds candidates, and they are scored in float64, as everywhere in Stackroom.

An exact search has every row in scope compared, in float32. From `APPROXIMATE` rows on an ordinary one may go by an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scored
from stackroom.engines.vectors import NOTHING, best
from stackroom.engines.versioned.asking import Asking
from stackroom.engines.versioned.conditions import Among, Condition, Within, both
from stackroom.engines.versioned.database import Row
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

APPROXIMATE = 50_000
"""Rows from which on an ordinary search need not be exact."""

EMBEDDED = Among("embedded", (1,))
"""That a chunk has a vector."""

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
    condition: Condition,
    *,
    index: str,
    exact: bool,
    candidates: int | None,
) -> Scored:
    """The best `k` rows of a table that meet the condition; the rest as in `Database.nearest`."""
    limit = 2 * k + _MORE
    while limit <= asking.database.bounds.rows:
        found = asking.nearest(
            table, query, limit, condition, ("key", "embedding"),
            metric=metric, index=index, exact=exact, candidates=candidates,
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


def scan(
    asking: Asking, table: str, metric: Metric, query: NDArray[np.float32], k: int, condition: Condition
) -> Scored:
    """The same, by reading every row: for more hits than the database gives at once, and for many equal rows."""
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
    return [row["embedding"] for row in found]


def sample_keys(asking: Asking, table: str, n: int, rows: int, keys: NDArray[np.int64] | None) -> list[int]:
    """Up to `n` keys of a table's `rows`: spread evenly over `keys` where these are known, otherwise by the hashes of their chunks' ids."""
    if keys is None:
        # Hashes are below 2**62, and evenly spread.
        share = both(EMBEDDED, Within("name", below=int(2**62 * min(2 * n / rows, 1.0))))
        keys = np.sort(
            np.array([row["key"] for row in asking.rows(table, share, ("key",), limit=4 * n)], dtype=np.int64)
        )
    at = np.linspace(0, len(keys) - 1, min(n, len(keys))).astype(np.int64)
    found: list[int] = keys[at].tolist()
    return found
