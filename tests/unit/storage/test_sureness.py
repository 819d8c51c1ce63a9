"""How many candidates it takes: few where they stand out, many where nothing does, and all where that can't be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.vectors import nearest, scan, sketches, sureness
from stackroom.storage.vectors.spaces import Space
from stackroom.storage.vectors.vector_file import VectorMap
from stackroom.types import EmbedderIdentity, Metric


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests have left; and a sketch is asked also where a scan would be quicker."""
    monkeypatch.setattr(nearest, "CANDIDATES", 300)
    monkeypatch.setattr(nearest, "CANDIDATES_A_HIT", 8)
    monkeypatch.setattr(nearest, "SCANNED_BYTES", -(1 << 40))


def world(n: int, dim: int, latent: int | None, metric: Metric, scale: float) -> tuple[VectorMap, NDArray[np.float32]]:
    """Rows, and queries of the same kind: `latent` dimensions and some noise, or equally far in all directions."""
    shape = np.random.default_rng(0).standard_normal((latent or 1, dim))

    def rows(n: int, seed: int) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((n, dim))
        found = noise if latent is None else rng.standard_normal((n, latent)) @ shape + np.sqrt(0.1 * latent) * noise
        return (scale * found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    made = rows(n, 1)
    norms = None if scale == 1 else np.linalg.norm(made, axis=1).astype(np.float32)
    return VectorMap(Path("rows"), made, norms), rows(30, 2)


def sketch_of(path: Path, vectors: VectorMap, metric: Metric) -> sketches.Sketch:
    n, dim = vectors.rows.shape
    identity = EmbedderIdentity(name="rows", dim=dim, metric=metric)
    space = Space(1, "serving", identity, dim, metric, vectors.norms is None, "1.0001", bytes(16), n)
    sketches.build(path, space, vectors, 0, n, check=lambda: None)
    made = sketches.load(path, space, sketches.Entry(0, n, path.name))
    assert made is not None
    return made


@pytest.mark.parametrize("k", [10, 60])
@pytest.mark.parametrize(
    ("dim", "latent", "metric", "scale"),
    [
        (32, 12, "cosine", 1.0),
        (64, None, "cosine", 1.0),
        (128, None, "dot", 1.0),
        (128, 24, "dot", 3.0),
        (128, 24, "l2", 1.0),
        (384, 48, "l2", 3.0),
        (384, None, "cosine", 3.0),
    ],
)
def test_of_the_best_one_in_a_thousand_is_missed(
    tmp_path: Path, dim: int, latent: int | None, metric: Metric, scale: float, k: int
) -> None:
    vectors, queries = world(8000, dim, latent, metric, scale)
    sketch, among = sketch_of(tmp_path / "sketch", vectors, metric), KeySet(np.array([[0, 8000]]))
    found = 0
    for query in queries * np.float32(2.5):
        quick, scores = nearest.nearest_rows(vectors, [sketch], query, k, metric=metric, among=among)
        exact, exactly = scan.nearest_rows(vectors, query, k, metric=metric, ranges=among.ranges)
        found += len(set(quick[:k].tolist()) & set(exact[:k].tolist()))
        assert scores[0] == exactly[0]
    # One more may be bad luck.
    assert k * len(queries) - found <= 1 + sureness.MISSED * k * len(queries)


AT_FIRST = nearest.CANDIDATES + nearest.CANDIDATES * 8000 // nearest.IN_HAND


def looked(query: NDArray[np.float32], vectors: VectorMap, sketch: sketches.Sketch, **asked: int) -> list[int]:
    """How many candidates were asked for, look by look."""
    wanted: list[int] = []
    original = sketches.Sketch.candidates

    def candidates(self: sketches.Sketch, query: NDArray[np.float32], k: int, within: KeySet) -> object:
        wanted.append(k)
        return original(self, query, k, within)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches.Sketch, "candidates", candidates)
        among = KeySet(np.array([[0, len(vectors.rows)]]))
        nearest.nearest_rows(vectors, [sketch], query, 10, metric="cosine", among=among, **asked)
    return wanted


def test_few_candidates_suffice_where_the_best_stand_out(tmp_path: Path) -> None:
    vectors, queries = world(8000, 384, 16, "cosine", 1)
    sketch = sketch_of(tmp_path / "sketch", vectors, "cosine")
    assert {tuple(looked(query, vectors, sketch)) for query in queries} == {(AT_FIRST,)}


def test_a_second_look_is_taken_where_nothing_does_but_not_with_a_setting(tmp_path: Path) -> None:
    vectors, queries = world(8000, 64, None, "cosine", 1)
    sketch = sketch_of(tmp_path / "sketch", vectors, "cosine")
    first, second, *_ = looked(queries[0], vectors, sketch)
    assert first == AT_FIRST < second
    assert looked(queries[0], vectors, sketch, candidates=300) == [300]


def test_a_large_sketch_has_more_in_hand_and_looks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = world(8000, 64, None, "cosine", 1)
    sketch, among = sketch_of(tmp_path / "sketch", vectors, "cosine"), KeySet(np.array([[0, 8000]]))
    monkeypatch.setattr(nearest, "IN_HAND", 600)
    assert {tuple(looked(query, vectors, sketch)) for query in queries} == {(nearest.CANDIDATES + 4000,)}
    assert looked(queries[0], vectors, sketch, candidates=300) == [300]
    scored: list[int] = []
    original = scan.first_scores

    def first_scores(vectors: VectorMap, rows: NDArray[np.int64], *rest: object) -> object:
        scored.append(len(rows))
        return original(vectors, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scan, "first_scores", first_scores)
    found, _ = nearest.nearest_rows(vectors, [sketch], queries[0], 10, metric="cosine", among=among)
    exact, _ = scan.nearest_rows(vectors, queries[0], 10, metric="cosine", ranges=among.ranges)
    assert set(found[:10].tolist()) == set(exact[:10].tolist())
    assert scored[0] == nearest.CANDIDATES < scored[1] < 4300


def test_what_is_in_hand_is_no_reason_to_scan_where_what_is_wanted_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of hits among a million rows: with as many again in hand, and again, a scan would take less."""
    vectors, queries = world(8000, 384, 16, "cosine", 1)
    sketch = sketch_of(tmp_path / "sketch", vectors, "cosine")
    monkeypatch.setattr(nearest, "IN_HAND", 300)
    assert looked(queries[0], vectors, sketch) == [nearest.CANDIDATES]


def test_equal_rows_need_no_second_look(tmp_path: Path) -> None:
    vectors, _ = world(8000, 64, 8, "cosine", 1)
    vectors.rows[:1000] = vectors.rows[0]
    sketch = sketch_of(tmp_path / "sketch", vectors, "cosine")
    assert looked(vectors.rows[0].copy(), vectors, sketch) == [AT_FIRST]


def test_what_is_no_number_is_never_sure() -> None:
    estimates = np.linspace(0, 1, 200, dtype=np.float32)
    scores = estimates.copy()
    assert sureness.needed(estimates, scores, 10, most=5000) == 200
    scores[7] = np.nan
    assert sureness.needed(estimates, scores, 10, most=5000) == 5000


def test_rows_that_are_damaged_or_beyond_float32_hide_no_others() -> None:
    rows = np.eye(8, dtype=np.float32)
    rows[2] = np.nan
    rows[3] *= np.float32(3e38)
    norms = np.array([1, 1, np.nan, np.inf, 1, 1, 1, 1], dtype=np.float32)
    ranges = np.array([[0, 8]])
    for metric in ("cosine", "dot", "l2"):
        vectors = VectorMap(Path("rows"), rows, norms)
        found, scores = scan.nearest_rows(vectors, rows[1], 3, metric=metric, ranges=ranges)
        assert found[:2].tolist() == [1, 0]
        assert len(found) >= 3
        assert np.isfinite(scores).all()
