"""Hits in the order of a reranker, and in the order that they had where it fails or takes too long."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

import stackroom
import tiny_models
from stackroom import Document, Index
from stackroom.cli.main import cli
from stackroom.errors import MissingExtraError, NotRerankedWarning, UnavailableError, UsageError
from stackroom.rerankers import FastembedReranker
from support import WordEmbedder

TEXTS = [f"report {n} about ships, part {n}" for n in range(60)]


class Backwards:
    """The higher a text's number, the better."""

    name = "backwards"

    def __init__(self) -> None:
        self.read: list[str] = []

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.read += texts
        return [float(text.split()[1]) for text in texts]


class Failing(Backwards):
    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        raise ConnectionError("the line is cut")


class Nonsense(Backwards):
    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return [float("nan") for _ in texts]


class Short(Backwards):
    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return [1.0]


class Stuck(Backwards):
    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.released.wait()
        return super().scores(query, texts)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with stackroom.open(tmp_path / "library", embedder=WordEmbedder()) as opened:
        opened.add_documents([Document(str(n), text=text, source=f"s{n % 5}") for n, text in enumerate(TEXTS)])
        yield opened


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_hits_have_its_order_and_its_scores(index: Index, mode: stackroom.types.Mode) -> None:
    reranker = Backwards()
    before = [hit.text for hit in index.search("ships", k=30, mode=mode)]
    hits = index.search("ships", k=5, mode=mode, rerank=reranker, explain=True)
    assert sorted(reranker.read) == sorted(before)
    wanted = sorted(before, key=lambda text: -float(text.split()[1]))[:5]
    assert [hit.text for hit in hits] == wanted
    assert [hit.score for hit in hits] == [float(text.split()[1]) for text in wanted]
    explained = [hit.explain.rerank for hit in hits if hit.explain is not None and hit.explain.rerank is not None]
    assert [leg.rank for leg in explained] == [1, 2, 3, 4, 5]
    assert all(hit.explain is not None and (hit.explain.vector or hit.explain.text) for hit in hits)


def test_it_reads_three_times_as_many_as_are_wanted(index: Index) -> None:
    reranker = Backwards()
    assert len(index.search("ships", k=15, rerank=reranker)) == 15
    assert len(reranker.read) == 45
    assert len(index.search("ships", k=60, rerank=Backwards())) == 60
    assert index.search("sea -ships", rerank=reranker) == []


def test_hits_of_one_document_are_limited_after_it(index: Index) -> None:
    hits = index.search("ships", k=3, per_document=1, rerank=Backwards())
    assert len({hit.document.id for hit in hits}) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize(
    ("reranker", "said"),
    [(Failing(), "ConnectionError: the line is cut"), (Nonsense(), "ValueError"), (Short(), "ValueError")],
)
def test_one_that_fails_leaves_the_order_and_says_so(index: Index, reranker: Backwards, said: str) -> None:
    before = index.search("ships part 7")
    with pytest.warns(NotRerankedWarning, match=said):
        assert index.search("ships part 7", rerank=reranker) == before


def test_one_that_takes_too_long_leaves_the_order_and_says_so(index: Index) -> None:
    stuck = Stuck()
    try:
        before = index.search("ships part 7")
        with pytest.warns(NotRerankedWarning, match=r"backwards was not done within 0\.01 s"):
            assert index.search("ships part 7", rerank=stuck, rerank_seconds=0.01) == before
    finally:
        stuck.released.set()


def test_what_is_no_reranker_is_refused(index: Index) -> None:
    for wrong, said in (
        ("nonsense", "no reranker called"),
        ("fastembed:", "no reranker called"),
        (object(), "not a reranker"),
    ):
        with pytest.raises(UsageError, match=said):
            index.search("ships", rerank=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a vector is none"):
        index.search(WordEmbedder().embed_query("ships"), rerank=Backwards())


def test_without_the_extra_it_says_which(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fastembed", None)
    with pytest.raises(MissingExtraError) as told:
        index.search("ships", rerank="fastembed:any")
    assert "stackroom[fastembed]" in (told.value.hint or "")


@pytest.mark.skipif(importlib.util.find_spec("fastembed") is None, reason="the extra fastembed is not installed")
def test_a_cross_encoder_of_fastembed(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    name = "test/tiny-cross-encoder"
    if name not in {model["model"] for model in TextCrossEncoder.list_supported_models()}:
        TextCrossEncoder.add_custom_model(name, sources=ModelSource(hf=name), model_file="model.onnx")
    folder = tiny_models.cross_encoder(tmp_path / "model", {str(n): float(n % 10) for n in range(60)})
    reranker = FastembedReranker(name, specific_model_path=str(folder))
    # Each text has its number twice, the question has none.
    assert reranker.scores("ships", [TEXTS[7], TEXTS[12], TEXTS[20]]) == [14.0, 4.0, 0.0]
    read = [int(hit.text.split()[1]) for hit in index.search("ships", k=30)]
    hits = index.search("ships", k=3, rerank=reranker)
    assert [hit.score for hit in hits] == sorted((2.0 * (n % 10) for n in read), reverse=True)[:3]
    with pytest.raises(UnavailableError, match="no-such-model") as told:
        index.search("ships", rerank="fastembed:no-such-model")
    assert name in (told.value.hint or "")


def test_the_command_line_says_so(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.close()
    made: list[str] = []

    def resolve(name: str) -> Backwards:
        made.append(name)
        return Failing() if "failing" in name else Backwards()

    monkeypatch.setattr(
        "stackroom.rerankers.resolve", lambda given: resolve(given) if isinstance(given, str) else given
    )
    at = ["--library", str(tmp_path / "library"), "search", "ships", "-k", "2", "--mode", "text", "--rerank"]
    done = CliRunner().invoke(cli, [*at, "fastembed:good"], standalone_mode=False)
    assert (done.return_value, done.exception) == (0, None)
    assert "reranker" not in done.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = CliRunner().invoke(cli, [*at, "fastembed:failing"], standalone_mode=False)
    assert (done.return_value, done.exception) == (0, None)
    assert "The reranker backwards failed (ConnectionError: the line is cut)" in done.stderr
    assert made == ["fastembed:good", "fastembed:failing"]
