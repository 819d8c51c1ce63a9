"""One ranking from two legs: neither may spoil what the other knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stackroom.backend import Scored, TextStatistics
from stackroom.index import Index
from stackroom.search.familiarity import familiarity
from stackroom.search.fusion import fuse, upper_bound
from stackroom.storage.snapshot import Snapshot
from stackroom.types import Chunk, Document, Passage
from support import WordEmbedder


def scored(**scores: float) -> Scored:
    pairs = sorted(((int(name[1:]), value) for name, value in scores.items()), key=lambda pair: -pair[1])
    return Scored(np.array([key for key, _ in pairs], dtype=np.int64), np.array([value for _, value in pairs]))


def ranked(cosines: dict[int, float], text: Scored, *, known: float = 1.0, full: bool = False) -> list[int]:
    keys = np.array(sorted(cosines), dtype=np.int64)
    statistics = TextStatistics(("a", "b"), (2, 3), 1000)
    fused = fuse(
        keys, np.array([cosines[key] for key in keys.tolist()]), text, statistics,
        background=(0.1, 0.1), familiarity=known, text_is_full=full,
    )  # fmt: skip
    assert np.all((fused.scores >= 0) & (fused.scores <= 1))
    assert np.all(np.diff(fused.scores) <= 0)
    return fused.keys.tolist()


def test_without_words_the_vectors_order_stays() -> None:
    assert ranked({1: 0.2, 2: 0.9, 3: 0.5}, scored()) == [2, 3, 1]


def test_a_weak_text_leg_does_not_overturn_the_vectors() -> None:
    assert ranked({1: 0.9, 2: 0.3}, scored(_2=0.3)) == [1, 2]


def test_a_strong_text_leg_lifts_what_it_explains() -> None:
    assert ranked({1: 0.45, 2: 0.4}, scored(_2=20.0)) == [2, 1]


def test_a_model_that_does_not_know_the_language_is_hardly_heard() -> None:
    assert ranked({1: 0.9, 2: 0.1}, scored(_2=6.0), known=1.0)[0] == 1
    assert ranked({1: 0.9, 2: 0.1}, scored(_2=6.0), known=0.0)[0] == 2


def test_a_chunk_without_a_vector_is_ranked_by_its_words() -> None:
    assert ranked({1: 0.1, 2: float("nan")}, scored(_2=20.0)) == [2, 1]


def test_equal_scores_go_to_the_older() -> None:
    assert ranked({3: 0.5, 1: 0.5, 2: 0.5}, scored()) == [1, 2, 3]


def test_the_bound_holds_for_any_match() -> None:
    assert upper_bound(TextStatistics(("a",), (10,), 1000)) > upper_bound(TextStatistics(("a",), (500,), 1000)) > 0
    assert upper_bound(TextStatistics((), (), 0)) == 0


def test_familiarity_tells_languages_apart() -> None:
    from stackroom.ingest.embedders import resolve

    tokenizer = resolve("minilm").tokenizer
    english = familiarity(tokenizer, ["Which team won the championship in the year of the great storm?"])
    german = familiarity(tokenizer, ["Welche Mannschaft gewann die Meisterschaft im Jahr des großen Sturms?"])
    chinese = familiarity(tokenizer, ["哪支球队在大风暴那一年赢得了冠军?"])
    assert english > 0.7 > german > chinese
    assert chinese < 0.2
    assert familiarity(None, ["anything"]) == 1.0


@pytest.fixture
def filled(index: Index) -> Index:
    index.add_documents(
        [
            Document(
                f"d{n}",
                source=f"s{n % 3}",
                metadata={"n": n},
                chunks=[Chunk(f"common text number{n} part{i}", f"c{n}-{i}") for i in range(4)],
            )
            for n in range(30)
        ]
    )
    return index


def test_modes_agree_on_a_clear_case(filled: Index) -> None:
    for mode in ("hybrid", "vector", "text"):
        assert filled.search("common text number7 part2", mode=mode, k=1)[0].chunk_id == "c7-2"


def test_explain_names_both_legs(filled: Index) -> None:
    (hit,) = filled.search("number7 part2", k=1, explain=True)
    assert hit.explain is not None
    assert hit.explain.text is not None
    assert hit.explain.vector is not None
    assert hit.explain.text.share + hit.explain.vector.share == pytest.approx(hit.score)
    assert hit.explain.matched == ("number7", "part2")
    assert filled.search("number7", k=1)[0].explain is None


def test_per_document_and_context(filled: Index) -> None:
    hits = filled.search("number7 number8 common", k=20, per_document=1)
    assert len(hits) == 20
    assert len({hit.document.id for hit in hits}) == 20
    (hit,) = filled.search("number7 part2", k=1, context=2)
    assert [passage.chunk_id for passage in (*hit.before, *hit.after)] == ["c7-0", "c7-1", "c7-3"]


@pytest.mark.parametrize("k", [1, 3, 10, 25])
def test_fewer_hits_by_meaning_give_the_same_best(filled: Index, k: int) -> None:
    """An explained search takes a hundred of each leg, any other one as many as can matter."""
    for query in (
        "number7 part2",
        "number3 common part1 elsewhere",
        "common",
        "part0 number1 number2 number30",
        "unheard",
    ):
        plain = filled.search(query, k=k, mode="hybrid")
        explained = filled.search(query, k=k, mode="hybrid", explain=True)
        assert [(hit.chunk_id, hit.score) for hit in plain] == [(hit.chunk_id, hit.score) for hit in explained]


def test_limiting_documents_reads_no_text_but_that_of_hits(filled: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = Snapshot.passages

    def passages(self: Snapshot, keys: Sequence[int]) -> list[Passage]:
        read.extend(keys)
        return original(self, keys)

    monkeypatch.setattr(Snapshot, "passages", passages)
    assert len(filled.search("number7 common", k=20, per_document=1, mode="text")) == 20
    assert len(read) <= 20


def test_a_filter_that_leaves_one_of_many_finds_it(filled: Index) -> None:
    for mode in ("hybrid", "vector", "text"):
        hits = filled.search("common text", mode=mode, where="n == 29", k=10)
        assert {hit.document.id for hit in hits} == {"d29"}
        assert len(hits) == 4


def test_a_vector_as_query(filled: Index, embedder: WordEmbedder) -> None:
    hits = filled.search(embedder.embed_query("common text number3 part1"), k=2)
    assert hits[0].chunk_id == "c3-1"
    assert hits[0].score == pytest.approx(1.0, abs=1e-6)
