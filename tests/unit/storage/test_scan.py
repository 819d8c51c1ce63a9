"""The exact scan, block by block: the same as scoring every row by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stackroom.storage.vectors import scan
from stackroom.storage.vectors.vector_file import VectorMap
from stackroom.types import Metric


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("unit", [True, False])
def test_runs_that_lie_apart_are_scored_as_each_row_is(
    monkeypatch: pytest.MonkeyPatch, metric: Metric, unit: bool
) -> None:
    monkeypatch.setattr(scan, "_BLOCK", 10)
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((100, 8), dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1)
    vectors = VectorMap(Path("none"), rows / lengths[:, None] if unit else rows, None if unit else lengths)
    query = rng.standard_normal(8, dtype=np.float32)
    every = scan.score_exactly(vectors.rows.astype(np.float64), query.astype(np.float64), metric)
    for ranges in ([[0, 100]], [[3, 4], [7, 19], [20, 20], [40, 75], [99, 100]], [[5, 15], [20, 30]], []):
        chosen = np.array(ranges, dtype=np.int64).reshape(-1, 2)
        inside = np.concatenate([np.arange(*run) for run in ranges]) if ranges else np.empty(0, dtype=np.int64)
        found, scores = scan.nearest_rows(vectors, query, 4, metric=metric, ranges=chosen)
        best = inside[np.argsort(-every[inside], kind="stable")[:4]]
        assert found.tolist() == best.tolist()
        assert scores.tolist() == every[best].tolist()


def test_a_block_has_no_more_rows_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_BLOCK", 10)
    blocks = scan._blocks(np.array([[0, 4], [6, 25], [30, 31]], dtype=np.int64))
    assert [[(run.start, run.stop) for run in block] for block in blocks] == [
        [(0, 4), (6, 12)],
        [(12, 22)],
        [(22, 25), (30, 31)],
    ]


@pytest.mark.parametrize("n", [0, 7, 8, 9, 40])
def test_rows_that_are_gathered_in_portions_are_scored_as_at_once(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """A search that is not sure asks for thousands of candidates: as one copy they took 90 MB at 200,000 passages."""
    rng = np.random.default_rng(6)
    rows, query = rng.standard_normal((50, 8), dtype=np.float32), rng.standard_normal(8, dtype=np.float32)
    vectors, chosen = VectorMap(Path("none"), rows, np.linalg.norm(rows, axis=1)), rng.permutation(50)[:n]
    at_once, slack = scan.first_scores(vectors, chosen, query, "cosine")
    monkeypatch.setattr(scan, "_GATHERED", 8)
    scores, also_slack = scan.first_scores(vectors, chosen, query, "cosine")
    assert scores.shape == (n,)
    assert np.array_equal(scores, at_once)
    assert also_slack == slack
