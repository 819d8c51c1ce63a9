"""The vector leg: pgvector finds candidates, by its index or by a scan; they are scored in float64, as everywhere in Stackroom.

Without an index pgvector scans every row in scope, in float32, and the answer is the exact one. An index (HNSW; Malkov and Yashunin 2018)
is made by `sketch` for `INDEXED` rows or more, of the vectors themselves up to 2,000 dimensions and of half-precision copies up to 4,000;
beyond that PostgreSQL has none, and rows are scanned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from stackroom.backend import Scored
from stackroom.engines.postgresql.asking import Asking, Where
from stackroom.engines.vectors import best
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEXED = 50_000
"""Rows from which on an index is made: at 25,000 of 384 dimensions a scan takes no longer than a search of it that misses little."""

MOST_DIMENSIONS = 16_000
_WHOLE, _HALF = 2_000, 4_000
_OPERATORS = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_CLASSES = {"cosine": "cosine_ops", "dot": "ip_ops", "l2": "l2_ops"}

_MORE = 50
"""Candidates beyond twice what is wanted: more than float32's rounding can misplace."""

_LEAST_SEARCHED, _MOST_SEARCHED = 400, 1_000
"""`hnsw.ef_search`: at 25,000 rows 70 finds 0.83 of the ten best, 200 finds 0.975 and 400 0.995; pgvector takes no more than 1,000."""


def nearest(
    asking: Asking,
    space_key: int,
    identity: EmbedderIdentity,
    query: NDArray[np.float32],
    k: int,
    where: Where,
    *,
    indexed: int | None,
    candidates: int | None,
) -> Scored:
    """`indexed` is the dimension of the index's kind as `index_of` says it; None scans."""
    operator, wanted = _OPERATORS[identity.metric], 2 * k + _MORE
    tables, condition = "vectors v", f"v.space_key = {space_key:d}"
    if where.parts or where.tables != "chunks c":
        tables, condition = f"vectors v, {where.tables}", f"{condition} AND v.key = c.key AND {where.condition}"
    if indexed is None:
        # The cosine of a row of zeros is no number: 0, as for every engine. Equal rows: the older first.
        order = f"coalesce(nullif(v.embedding {operator} %s, 'NaN'), 1), v.key"
    else:
        order = f"v.embedding::{_kind(identity.dim)} {operator} %s::{_kind(identity.dim)}"
        searched = min(max(wanted, candidates or _LEAST_SEARCHED), _MOST_SEARCHED)
        asking.execute(f"SET LOCAL hnsw.ef_search = {searched:d}")
        # Until as many are found as are wanted, whatever the scope leaves.
        asking.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    rows = asking.rows(
        f"SELECT v.key, v.embedding FROM {tables} WHERE {condition} ORDER BY {order} LIMIT {wanted:d}",
        (*(where.values if "c.key" in condition else ()), query),
        binary=True,
    )
    return best([key for key, _ in rows], [embedding for _, embedding in rows], query, identity.metric, k)


def embeddings(asking: Asking, space_key: int, keys: Iterable[int]) -> dict[int, NDArray[np.float32]]:
    """The vectors of these chunks, by key; those that have none are left out."""
    rows = asking.rows(
        "SELECT key, embedding FROM vectors WHERE space_key = %s AND key = ANY(%s)",
        (space_key, list(map(int, keys))),
        binary=True,
    )
    return dict(rows)


def sample(asking: Asking, space_key: int, n: int) -> NDArray[np.float64]:
    """Vectors spread evenly over the space's, the same for every query of one version: float64 of shape (n, dim)."""
    total = asking.value("SELECT count(*) FROM vectors WHERE space_key = %s", (space_key,))
    at = np.linspace(0, total - 1, min(n, total)).astype(np.int64).tolist()
    rows = asking.rows(
        """SELECT embedding FROM vectors WHERE space_key = %s AND key IN (
               SELECT key FROM (SELECT key, row_number() OVER (ORDER BY key) - 1 AS place FROM vectors WHERE space_key = %s) one
               WHERE place = ANY(%s))""",
        (space_key, space_key, at),
        binary=True,
    )
    return np.stack([row[0] for row in rows]).astype(np.float64) if rows else np.empty((0, 0))


def _kind(dim: int) -> str:
    return f"vector({dim:d})" if dim <= _WHOLE else f"halfvec({dim:d})"


def _name(space_key: int) -> str:
    return f"vectors_nearest_{space_key:d}"


def index_of(asking: Asking, space_key: int) -> int | None:
    """1 where there is a whole index of this space."""
    found: int | None = asking.value(
        """SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
           WHERE c.relname = %s AND c.relnamespace = current_schema()::regnamespace AND i.indisvalid""",
        (_name(space_key),),
    )
    return found


def make_index(asking: Asking, space_key: int, identity: EmbedderIdentity) -> None:
    """Make the index of a space that is due for one; the connection is outside of a transaction, and writers go on meanwhile."""
    if identity.dim > _HALF or index_of(asking, space_key) is not None:
        return
    if asking.value("SELECT count(*) FROM vectors WHERE space_key = %s", (space_key,)) < INDEXED:
        return
    kind = _kind(identity.dim)
    # What a stopped one has left.
    asking.execute(f"DROP INDEX IF EXISTS {_name(space_key)}")
    with contextlib.closing(asking.execute("SET maintenance_work_mem = '256MB'")):
        asking.execute(
            f"""CREATE INDEX CONCURRENTLY {_name(space_key)} ON vectors
                USING hnsw ((embedding::{kind}) {kind.partition("(")[0]}_{_CLASSES[identity.metric]})
                WHERE space_key = {space_key:d}"""
        )
