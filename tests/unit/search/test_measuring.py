"""What `measure` says of a library, and which settings it lets through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import stackroom
from stackroom import CancelToken, Chunk, Document, EmbedderIdentity, ProgressEvent
from stackroom.errors import UsageError
from stackroom.search import measuring
from stackroom.storage.vectors import nearest, sketches
from support import WordEmbedder, unit_rows

SENTENCES = ["Rotate the logs every week. Then rest.", 'A "cat" purrs at night.', "Rivers carry sand.", "\N{SNOWMAN}"]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[stackroom.Index]:
    with stackroom.open(tmp_path / "library", embedder=WordEmbedder()) as opened:
        opened.add_documents([Document(f"d{n}", text=text) for n, text in enumerate(SENTENCES)])
        yield opened


@pytest.fixture
def sketched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stackroom.Index]:
    """1,200 vectors of a model that is not at hand, with a sketch that is used from the first search on."""
    monkeypatch.setattr(sketches, "WORTH_BYTES", 1)
    monkeypatch.setattr(sketches, "LOADING_BYTES", 0)
    monkeypatch.setattr(nearest, "CANDIDATES_A_HIT", 1)
    monkeypatch.setattr(nearest, "SCANNED_BYTES", -(1 << 40))
    rows = unit_rows(1200, 64, seed=1)
    with stackroom.open(tmp_path / "library") as opened:
        with opened.backend.lease("test"):
            opened.add_documents(
                [Document(f"d{n}", chunks=[Chunk(f"text {n}", embedding=row)]) for n, row in enumerate(rows)]
            )
        yield opened


def test_small_libraries_are_searched_exactly(index: stackroom.Index) -> None:
    found = index.measure()
    assert (found.chunks, found.questions, found.recall, found.promised) == (4, 4, 1.0, 0.999)
    assert found.asked == "first sentences, by words"
    assert set(found.searches) == {"vector", "exact", "text", "hybrid"}
    assert all(0 < timing.median <= timing.p99 for timing in found.searches.values())
    assert [(other.candidates, other.recall) for other in found.settings] == [
        (n, 1.0) for n in (100, 200, 500, 1000, 2000)
    ]
    assert not found.cancelled


def test_what_first_questions_load_is_not_counted(index: stackroom.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes by what is asked: a minute for the first two questions of a kind, a millisecond for others."""
    now, asked = 0.0, Counter[str]()
    with index.backend.view() as opened:
        view = type(opened)

    def slow_at_first(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*args: Any, **named: Any) -> Any:
            nonlocal now
            key = f"{kind} {sorted(named.items())}"
            asked[key] += 1
            now += 60.0 if asked[key] <= 2 else 0.001
            return call(*args, **named)

        return ask

    monkeypatch.setattr(view, "nearest", slow_at_first("nearest", view.nearest))
    monkeypatch.setattr(view, "matching", slow_at_first("matching", view.matching))
    monkeypatch.setattr(measuring, "search", slow_at_first("hybrid", measuring.search))
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now))
    found = index.measure(settings=[100])
    slowest = [timing.p99 for timing in (*found.searches.values(), found.settings[0].vector)]
    assert max(slowest) < 10.0


def test_without_the_model_stored_vectors_are_asked_for(sketched: stackroom.Index) -> None:
    found = sketched.measure(questions=20, settings=[10, 1200])
    assert (found.asked, found.questions) == ("stored vectors", 20)
    few, all_ = found.settings
    assert few.recall < all_.recall == 1.0


def test_a_setting_below_the_promise_is_refused_unless_forced(
    sketched: stackroom.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stackroom.index.LEAST_CANDIDATES", 10)
    with pytest.raises(UsageError, match=r"With 10 candidates recall@10 is 0\.\d+, and 0\.999 is promised"):
        sketched.set_candidates(10)
    assert sketched.measure(questions=1, settings=()).candidates is None
    sketched.set_candidates(1200)
    assert sketched.measure(questions=1, settings=()).candidates == 1200
    sketched.set_candidates(10, force=True)
    worse = sketched.measure(questions=20, settings=())
    assert worse.candidates == 10
    assert worse.recall < 0.999
    sketched.set_candidates(None)
    assert sketched.measure(questions=20, settings=()).recall > worse.recall


@pytest.mark.parametrize("candidates", [0, 99, -1, 1.5])
def test_a_setting_that_makes_no_sense(index: stackroom.Index, candidates: int) -> None:
    with pytest.raises(UsageError, match="candidates must not be"):
        index.set_candidates(candidates)


def test_more_than_there_are_means_all(sketched: stackroom.Index) -> None:
    sketched.set_candidates(10**30)
    assert sketched.measure(questions=5, settings=()).recall == 1.0


@pytest.mark.parametrize("value", ["many", -5, 0, 1.5])
def test_a_setting_from_a_stranger_does_no_harm(sketched: stackroom.Index, value: object) -> None:
    with sketched.backend.exclusive() as writer:  # type: ignore[attr-defined]
        writer.connection.execute("INSERT OR REPLACE INTO settings VALUES('candidates', ?)", (value,))
    assert sketched.measure(questions=3, settings=()).candidates is None


def test_nothing_to_measure(tmp_path: Path) -> None:
    with (
        stackroom.open(tmp_path / "empty") as index,
        pytest.raises(UsageError, match="No passage of this library has a vector"),
    ):
        index.measure()


def test_it_can_be_watched_and_stopped(index: stackroom.Index) -> None:
    cancel = CancelToken()
    stages: list[str] = []

    def watch(event: ProgressEvent) -> None:
        stages.append(event.stage)
        cancel.cancel()

    found = index.measure(progress=watch, cancel=cancel)
    assert found.cancelled
    assert stages == ["measure"]
    index.set_candidates(200, cancel=cancel)
    assert index.measure(questions=1).candidates is None


def test_the_promise_goes_by_size() -> None:
    assert [measuring.promised(chunks) for chunks in (1, 100_000, 100_001)] == [0.999, 0.999, 0.99]


def test_other_models_are_no_hindrance(tmp_path: Path) -> None:
    with stackroom.open(tmp_path / "library") as index:
        with index.backend.commit() as commit:
            commit.use_embedder(EmbedderIdentity(name="an application's own", dim=8))
        index.add_documents([Document("d", chunks=[Chunk("text", embedding=np.ones(8, dtype=np.float32))])])
        assert index.measure().asked == "stored vectors"
