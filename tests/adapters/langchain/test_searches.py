"""Every kind of search: scores, relevance, diversity, words, restrictions, retrievers, and their async twins."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_support import Table, WordEmbeddings, document, ids, vector_of
from stackroom.adapters.langchain import StackroomRetriever, StackroomVectorStore
from stackroom.errors import NotFoundError, UsageError
from stackroom.types import EmbedderIdentity

TEXTS = {
    "cats": "cats purr and hunt mice at night",
    "dogs": "dogs bark and hunt rabbits at dawn",
    "logs": "logrotate compresses logs every week",
    "bread": "bread rises slowly where it is cold",
    "zero": "E4711",
}


@pytest.fixture
def store(library: Path) -> StackroomVectorStore:
    made = StackroomVectorStore(library, WordEmbeddings())
    made.add_texts(
        list(TEXTS.values()),
        [{"source": f"{name}.md", "n": n, "animal": name in ("cats", "dogs")} for n, name in enumerate(TEXTS)],
        ids=list(TEXTS),
    )
    return made


def cosine(one: Any, other: Any) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def test_scores_are_cosines_and_higher_is_better(store: StackroomVectorStore) -> None:
    found = store.similarity_search_with_score("cats hunt", k=5)
    expected = {name: cosine(vector_of("cats hunt"), vector_of(text)) for name, text in TEXTS.items()}
    assert [item.id for item, _ in found] == sorted(TEXTS, key=lambda name: -expected[name])
    for item, score in found:
        assert type(score) is float
        assert score == pytest.approx(expected[str(item.id)], abs=1e-6)
    assert found == store.similarity_search_with_score_by_vector(vector_of("cats hunt"), k=5)
    assert [item for item, _ in found] == store.similarity_search("cats hunt", k=5)
    assert store.similarity_search_with_score(TEXTS["cats"], k=1)[0][1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("mode", ["vector", "hybrid", "text"])
def test_k_of_any_size(store: StackroomVectorStore, mode: str) -> None:
    assert store.similarity_search("hunt", k=0, mode=mode) == store.similarity_search("hunt", k=-1, mode=mode) == []
    assert len(store.similarity_search("hunt", k=10_000, mode=mode)) == (2 if mode == "text" else 5)
    assert len(store.similarity_search("hunt", mode=mode)) == (2 if mode == "text" else 4)
    with pytest.raises(UsageError):
        store.similarity_search("hunt", k="2", mode=mode)  # type: ignore[arg-type]


def test_k_larger_than_what_the_filter_keeps(store: StackroomVectorStore) -> None:
    assert ids(store.similarity_search("bread", k=10, filter={"n": 2})) == ["logs"]
    assert store.similarity_search("bread", k=10, filter={"n": 99}) == []
    assert len(store.similarity_search("bread", k=10, filter={})) == len(store.similarity_search("bread", k=10)) == 5


def test_zero_vectors_score_zero(library: Path) -> None:
    table = Table({"a": [0.0, 0.0], "b": [1.0, 0.0], "c": [-1.0, 0.0], "q": [1.0, 0.0], "none": [0.0, 0.0]})
    store = StackroomVectorStore.from_texts(["a", "b", "c"], table, ids=["a", "b", "c"], library=library)
    assert [(item.id, score) for item, score in store.similarity_search_with_score("q")] == [
        ("b", 1.0),
        ("a", 0.0),
        ("c", -1.0),
    ]
    assert [score for _, score in store.similarity_search_with_score("none")] == [0.0] * 3
    assert ids(store.similarity_search("none")) == ["a", "b", "c"]
    assert [score for _, score in store.similarity_search_with_relevance_scores("q")] == [1.0, 0.0, 0.0]
    assert ids(store.max_marginal_relevance_search("none", k=3)) == ["a", "b", "c"]


def test_relevance_is_between_0_and_1_in_every_mode(store: StackroomVectorStore) -> None:
    for mode in ("vector", "hybrid", "text"):
        found = store.similarity_search_with_relevance_scores("cats hunt E4711", k=5, mode=mode)
        assert all(0 <= score <= 1 for _, score in found)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        best = found[0][1]
        kept = store.similarity_search_with_relevance_scores("cats hunt E4711", k=5, mode=mode, score_threshold=best)
        assert [item.id for item, _ in kept] == [found[0][0].id]
    assert store.similarity_search_with_relevance_scores("xyzzy", mode="text") == []
    assert store._select_relevance_score_fn()(0.25) == 0.25


@pytest.mark.parametrize(("metric", "scores"), [("l2", [1.0, 0.5, 0.25]), ("dot", [1.0, 1.0, 0.0])])
def test_relevance_of_other_metrics(library: Path, metric: Any, scores: list[float]) -> None:
    table = Table({"a": [1.0, 0.0], "b": [2.0, 0.0], "c": [-2.0, 0.0]})
    identity = EmbedderIdentity("table", 2, metric, normalised=False)
    store = StackroomVectorStore(library, table, identity=identity)
    store.add_texts(["a", "b", "c"])
    found = store.similarity_search_with_relevance_scores("a", k=3)
    assert [score for _, score in found] == pytest.approx(scores)


def test_a_threshold_on_the_score_itself(store: StackroomVectorStore) -> None:
    scored = store.similarity_search_with_score("cats hunt", k=5)
    assert store.similarity_search_with_score("cats hunt", k=5, score_threshold=scored[1][1]) == scored[:2]
    assert store.similarity_search("cats hunt", k=5, score_threshold=1.1) == []


@pytest.mark.parametrize("lambda_mult", [0.0, 0.3, 0.5, 1.0])
def test_maximal_marginal_relevance_is_langchains(store: StackroomVectorStore, lambda_mult: float) -> None:
    query = np.array(vector_of("hunt at night"))
    nearest = store.similarity_search_by_vector(query.tolist(), k=4)
    rows = [vector_of(item.page_content) for item in nearest]
    chosen = maximal_marginal_relevance(query, rows, k=3, lambda_mult=lambda_mult)
    expected = [nearest[at].id for at in chosen]
    options: dict[str, Any] = {"k": 3, "fetch_k": 4, "lambda_mult": lambda_mult}
    assert ids(store.max_marginal_relevance_search("hunt at night", **options)) == expected
    assert ids(store.max_marginal_relevance_search_by_vector(query.tolist(), **options)) == expected
    scored = store.max_marginal_relevance_search_with_score_by_vector(query.tolist(), **options)
    assert [item.id for item, _ in scored] == expected
    for item, score in scored:
        assert score == pytest.approx(cosine(query, vector_of(item.page_content)), abs=1e-6)


def test_maximal_marginal_relevance_within_a_filter(store: StackroomVectorStore) -> None:
    assert set(ids(store.max_marginal_relevance_search("bread", k=5, filter={"animal": True}))) == {"cats", "dogs"}
    for fetch_k in (0, 1):
        assert len(store.max_marginal_relevance_search("bread", k=4, fetch_k=fetch_k)) == 4
    with pytest.raises(UsageError, match="by vectors"):
        store.max_marginal_relevance_search("bread", mode="hybrid")
    assert store.max_marginal_relevance_search("bread", k=0) == []
    with pytest.warns(UserWarning, match="filter function"):
        found = store.max_marginal_relevance_search("bread", k=5, filter=lambda item: item.metadata["animal"])
    assert set(ids(found)) == {"cats", "dogs"}


def test_words_and_hybrid_find_what_vectors_do_not(store: StackroomVectorStore) -> None:
    assert ids(store.similarity_search("E4711", mode="text")) == ["zero"]
    assert ids(store.search("rabbits", "text")) == ["dogs"]
    assert ids(store.search("logs compresses", "hybrid", k=1)) == ["logs"]
    scored = store.similarity_search_with_score("cats hunt", mode="hybrid")
    assert all(0 <= score <= 1 for _, score in scored)
    by_default = StackroomVectorStore(store.index, WordEmbeddings(), mode="text")
    assert ids(by_default.similarity_search("E4711")) == ["zero"]
    assert len(by_default.similarity_search("E4711", mode="vector")) == 4
    assert len(by_default.similarity_search_by_vector(vector_of("E4711"))) == 4
    assert len(by_default.max_marginal_relevance_search("E4711")) == 4


def test_search_types_are_langchains_and_two_more(store: StackroomVectorStore) -> None:
    for kind in ("similarity", "mmr", "hybrid"):
        assert store.search("cats hunt", kind, k=1)[0].id == "cats"
    least = store.similarity_search_with_score("cats hunt")[1][1]
    assert len(store.search("cats hunt", "similarity_score_threshold", score_threshold=least)) == 2
    with pytest.raises(ValueError, match="not allowed"):
        store.search("cats", "fuzzy")


def test_only_some_sources(store: StackroomVectorStore) -> None:
    assert ids(store.similarity_search("hunt", k=5, sources=["logs.md"])) == ["logs"]
    assert set(ids(store.similarity_search("hunt", k=5, sources=["*og*.md"]))) == {"dogs", "logs"}
    assert ids(store.similarity_search("hunt", k=5, sources="cats.md")) == ["cats"]
    assert ids(store.similarity_search("hunt", k=5, sources=["*og*.md"], filter={"animal": True})) == ["dogs"]
    assert ids(store.max_marginal_relevance_search("hunt", k=5, sources=["logs.md"])) == ["logs"]
    with pytest.raises(NotFoundError):
        store.similarity_search("hunt", sources=["missing.md"])


def test_only_the_active_set(store: StackroomVectorStore) -> None:
    store.index.set_active(["cats.md", "dogs.md"], False)
    assert set(ids(store.similarity_search("hunt", k=5, active=True))) == {"logs", "bread", "zero"}
    assert store.similarity_search("rabbits", active=True, mode="text") == []
    assert len(store.similarity_search("hunt", k=5)) == 5


@pytest.mark.parametrize("call", ["similarity_search", "max_marginal_relevance_search", "similarity_search_with_score"])
def test_an_option_that_means_nothing_is_refused(store: StackroomVectorStore, call: str) -> None:
    with pytest.raises(UsageError, match="filters"):
        getattr(store, call)("cats", filters={"n": 1})
    with pytest.raises(UsageError, match="not a filter"):
        getattr(store, call)("cats", filter="n == 1")
    with pytest.raises(UsageError, match="no query"):
        getattr(store, call)(None)
    with pytest.raises(UsageError):
        store.similarity_search("cats", mode="fuzzy")


def test_a_filter_function_sees_as_many_as_it_takes(library: Path) -> None:
    store = StackroomVectorStore(library, WordEmbeddings())
    store.add_texts(
        [f"cat number {n}" for n in range(200)], [{"n": n} for n in range(200)], ids=[str(n) for n in range(200)]
    )
    wanted = {str(n) for n in range(200) if n % 40 == 7}
    calls: list[str] = []

    def keep(item: Document) -> bool:
        calls.append(str(item.id))
        return item.metadata["n"] % 40 == 7

    with pytest.warns(UserWarning, match="filter function"):
        assert set(ids(store.similarity_search("cat", k=5, filter=keep))) == wanted
    assert len(calls) == len(set(calls))
    # Warned once; and every mode takes a function.
    assert set(ids(store.similarity_search("cat", k=10, filter=keep, mode="text"))) == wanted
    assert set(ids(store.similarity_search("cat number", k=10, filter=keep, mode="hybrid", fetch_k=3))) == wanted
    calls.clear()
    assert len(store.similarity_search("cat", k=1, filter=lambda item: not calls.append(""))) == 1
    assert len(calls) <= 32
    assert store.similarity_search("cat", k=2, filter=lambda item: False) == []
    ranked = store.similarity_search_with_score("cat number 7", k=200)
    expected = [(item, score) for item, score in ranked if item.metadata["n"] % 40 == 7]
    assert store.similarity_search_with_score("cat number 7", k=5, filter=keep) == expected


def test_a_filter_function_may_take_the_document_or_its_metadata(store: StackroomVectorStore) -> None:
    functions = [
        lambda item: item.metadata["n"] == 1,
        lambda item: item["n"] == 1,
        lambda item: item.get("n") == 1 and item.get("missing", 5) == 5,
        lambda item: "n" in item and "missing" not in item and item["n"] == 1,
        lambda item: (
            dict(item.items())["n"] == 1 and set(item.keys()) == {"source", "n", "animal"} and 1 in item.values()
        ),
        lambda item: item.page_content.startswith("dogs"),
    ]
    with pytest.warns(UserWarning, match="filter function"):
        found = [ids(store.similarity_search("cats", k=5, filter=function)) for function in functions]
    assert found == [["dogs"]] * len(functions)
    assert all(type(item) is Document for item in store.similarity_search("cats", filter=lambda item: True))


def test_retrievers(store: StackroomVectorStore) -> None:
    def ask(kind: str, **kwargs: Any) -> list[str | None]:
        retriever = store.as_retriever(search_type=kind, search_kwargs=kwargs)
        assert isinstance(retriever, StackroomRetriever)
        assert "WordEmbeddings" in (retriever.tags or [])
        return ids(retriever.invoke("cats hunt"))

    assert store.as_retriever().invoke("cats hunt") == store.similarity_search("cats hunt")
    assert ask("similarity", k=1) == ["cats"]
    assert ask("similarity", k=5, filter={"n": {"$gte": 2}}, sources=["*ea*"]) == ["bread"]
    assert ask("similarity", k=1, mode="hybrid") == ask("hybrid", k=1) == ask("text", k=1) == ["cats"]
    assert len(ask("mmr", k=2, fetch_k=5, lambda_mult=0.1)) == 2
    least = store.similarity_search_with_score("cats hunt")[1][1]
    assert len(ask("similarity_score_threshold", score_threshold=least)) == 2
    assert ask("similarity_score_threshold", score_threshold=0.99) == []
    assert ids(store.as_retriever(search_type="text").invoke("hunt", k=1, sources=["dogs.md"])) == ["dogs"]
    assert store.as_retriever(tags=["mine"]).tags == ["mine"]
    with pytest.raises(ValueError, match="not allowed"):
        store.as_retriever(search_type="fuzzy")


async def test_async_twins_say_the_same(store: StackroomVectorStore) -> None:
    row = vector_of("cats hunt")
    assert await store.asimilarity_search("cats hunt", k=3) == store.similarity_search("cats hunt", k=3)
    assert await store.asimilarity_search_with_score("cats hunt", mode="hybrid") == store.similarity_search_with_score(
        "cats hunt", mode="hybrid"
    )
    assert await store.asimilarity_search_by_vector(row, k=2) == store.similarity_search_by_vector(row, k=2)
    assert await store.asimilarity_search_with_relevance_scores(
        "cats hunt", score_threshold=0.4
    ) == store.similarity_search_with_relevance_scores("cats hunt", score_threshold=0.4)
    assert await store.amax_marginal_relevance_search("cats hunt", k=2) == store.max_marginal_relevance_search(
        "cats hunt", k=2
    )
    assert await store.amax_marginal_relevance_search_by_vector(row, k=2, filter={"animal": True}) == (
        store.max_marginal_relevance_search_by_vector(row, k=2, filter={"animal": True})
    )
    for kind in ("similarity", "mmr", "hybrid", "text"):
        assert await store.asearch("cats hunt", kind, k=2) == store.search("cats hunt", kind, k=2)
        retriever = store.as_retriever(search_type=kind, search_kwargs={"k": 2})
        assert await retriever.ainvoke("cats hunt") == retriever.invoke("cats hunt")
    assert await store.aadd_texts(["new"], [{"n": 9}], ids=["new"]) == ["new"]
    assert await store.aadd_documents([document("newer", "newer")]) == ["newer"]
    assert await store.aadd_texts([]) == []
    assert ids(await store.aget_by_ids(["new", "newer"])) == ["new", "newer"]
    assert await store.adelete(["new", "missing"]) is True
    assert ids(store.get_by_ids(["new", "newer"])) == ["newer"]
    with pytest.raises(ValueError, match="everything"):
        await store.adelete()


async def test_async_twins_leave_the_loop_alone(store: StackroomVectorStore) -> None:
    """A model and a library that take their time: the loop goes on meanwhile."""
    loop_thread = threading.get_ident()
    threads: set[int] = set()

    class Slow(WordEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            threads.add(threading.get_ident())
            time.sleep(0.05)
            return super().embed_documents(texts)

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    slow = StackroomVectorStore(store.index, Slow())
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with store.index.backend.commit():
        # The writer lock is taken: a write has to wait, but not in the loop.
        adding = asyncio.create_task(slow.aadd_texts(["new"], ids=["new"]))
        await asyncio.sleep(0.15)
        assert not adding.done()
    assert await adding == ["new"]
    await slow.asimilarity_search("cats")
    await slow.amax_marginal_relevance_search("cats")
    await slow.as_retriever(search_type="hybrid").ainvoke("cats")
    ticking.cancel()
    assert loop_thread not in threads
    assert ticks >= 10


async def test_a_model_with_async_methods_of_its_own_is_asked_by_them(library: Path) -> None:
    class Native(WordEmbeddings):
        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            await asyncio.sleep(0)
            return [vector_of(text) for text in texts]

        async def aembed_query(self, text: str) -> list[float]:
            await asyncio.sleep(0)
            return vector_of(text)

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise AssertionError

        embed_query = embed_documents  # type: ignore[assignment]

    store = StackroomVectorStore(library, Native())
    await store.aadd_texts(["cats purr"], ids=["cats"])
    assert ids(await store.asimilarity_search("cats")) == ["cats"]
