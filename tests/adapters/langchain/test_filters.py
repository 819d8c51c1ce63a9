"""Filters as dicts: LangChain's operators on data made to tell them apart, and against plain Python."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_support import Table
from stackroom.adapters.langchain import StackroomVectorStore
from stackroom.adapters.langchain.filters import to_filter
from stackroom.errors import InvalidFilterError

DATA: dict[str, dict[str, Any]] = {
    "a": {"k": 5, "tags": ["x", "y"], "s": "Hello", "doc_id": "mine", "document_id": "own", "e": ""},
    "b": {"k": 7, "tags": [], "s": "World"},
    "c": {"z": None, "k": 5.5},
    "d": {"t": True, "odd $key.": 1},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StackroomVectorStore:
    table = Table({name: [1.0, float(n)] for n, name in enumerate(DATA)} | {"q": [1.0, 1.0]})
    folder = tmp_path_factory.mktemp("filters") / "library"
    return StackroomVectorStore.from_texts(list(DATA), table, list(DATA.values()), ids=list(DATA), library=folder)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, "abcd"),
        ({"k": 5}, "a"),
        ({"k": "5"}, ""),
        ({"k": {"$eq": 5}}, "a"),
        ({"k": 5.0}, "a"),
        ({"k": {"$ne": 5}}, "bcd"),
        ({"k": {"$neq": 5}}, "bcd"),
        ({"k": {"$gt": 5}}, "bc"),
        ({"k": {"$gte": 5}}, "abc"),
        ({"k": {"$lt": 7}}, "ac"),
        ({"k": {"$lte": 7}}, "abc"),
        ({"k": {"$gt": 5, "$lt": 7}}, "c"),
        ({"s": {"$gt": "I"}}, "b"),
        ({"s": {"$gt": 3}}, ""),
        ({"k": {"$in": [5, 9]}}, "a"),
        ({"k": {"$in": []}}, ""),
        ({"k": {"$nin": [5, 7]}}, "cd"),
        ({"k": {"$nin": []}}, "abcd"),
        ({"k": {"$in": [5, None]}}, "ad"),
        ({"k": [5, 7]}, "ab"),
        ({"tags": ["x", "y"]}, "a"),
        ({"tags": []}, "b"),
        ({"tags": {"$eq": ["x", "y"]}}, "a"),
        ({"tags": {"$contains": "x"}}, "a"),
        ({"s": {"$contains": "ell"}}, "a"),
        ({"k": {"$contains": "5"}}, ""),
        ({"k": {"$exists": True}}, "abc"),
        ({"k": {"$exists": False}}, "d"),
        ({"e": {"$exists": True}}, "a"),
        ({"tags": {"$exists": True}}, "ab"),
        ({"z": {"$exists": True}}, ""),
        ({"never": {"$exists": False}}, "abcd"),
        ({"k": None}, "d"),
        ({"k": {"$ne": None}}, "abc"),
        ({"z": None}, "abcd"),
        ({"t": True}, "d"),
        ({"t": 1}, "d"),
        ({"k": 5, "s": "Hello"}, "a"),
        ({"$and": [{"k": 5}, {"s": "World"}]}, ""),
        ({"$or": [{"k": 5}, {"s": "World"}]}, "ab"),
        ({"$or": [{"k": 7, "s": "Hello"}, {"t": True}]}, "d"),
        ({"$not": {"k": 5}}, "bcd"),
        ({"$not": [{"k": 5}, {"k": 7}]}, "cd"),
        ({"k": {"$not": {"$gt": 5}}}, "ad"),
        ({"k": {"$not": 5}}, "bcd"),
        (
            {"$and": [{"$or": [{"k": 5}, {"k": 7}]}, {"$not": {"s": {"$contains": "W"}}}], "tags": {"$exists": True}},
            "a",
        ),
        ({"doc_id": "mine"}, "a"),
        ({"document_id": "own"}, "a"),
        ({"document_id": {"$ne": "own"}}, "bcd"),
        ({"document_id": {"$exists": False}}, "bcd"),
        ({"ref_doc_id": {"$exists": True}}, ""),
        ({"odd $key.": 1}, "d"),
    ],
    ids=str,
)
def test_every_operator(store: StackroomVectorStore, filter: dict[str, Any], expected: str) -> None:
    assert {item.id for item in store.similarity_search("q", k=9, filter=filter)} == set(expected)


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        ({"k": {"$regex": "a"}}, "'\\$regex' is not an operator"),
        ({"k": {"$gte": 1, "gt": 2}}, "'gt' is not an operator"),
        ({"$nor": [{"k": 1}]}, "'\\$nor' is not an operator"),
        ({"k": {}}, "no operator"),
        ({"$and": {"k": 1}}, "list"),
        ({"$or": []}, "list"),
        ({"$or": ["k"]}, "not a filter"),
        ({"k": {"$in": "abc"}}, "list"),
        ({"k": {"$nin": 5}}, "list"),
        ({"k": {"$exists": 1}}, "true or false"),
        ({"k": {"$gt": None}}, "compared"),
        ({"k": {"$gt": [1]}}, "compared"),
        ({"k": 1j}, "compared"),
        ({5: 1}, "key"),
    ],
    ids=str,
)
def test_a_filter_that_means_nothing_is_refused(store: StackroomVectorStore, filter: Any, said: str) -> None:
    with pytest.raises(InvalidFilterError, match=said):
        store.similarity_search("q", filter=filter)


def test_a_filter_without_end_is_refused() -> None:
    deep: dict[str, Any] = {"k": 1}
    for _ in range(2000):
        deep = {"$and": [deep]}
    with pytest.raises(InvalidFilterError, match="deep"):
        to_filter(deep)
    inner: Any = 1
    for _ in range(2000):
        inner = {"$not": inner}
    with pytest.raises(InvalidFilterError, match="deep"):
        to_filter({"k": inner})


scalars = (
    st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.5, 1.0, 2**53 + 1, -0.0])
    | st.sampled_from(["", "a", "ab", "é", "%", "1"])
)
values = scalars | st.none() | st.lists(scalars, max_size=2)
keys = st.sampled_from(["a", "b", "doc_id", "document_id", "odd.$", ""])
metadata = st.dictionaries(keys, values, max_size=3)

operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), values),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$contains"]), scalars),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars | st.none(), max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
)
fields = st.dictionaries(
    keys,
    values | st.lists(operators, min_size=1, max_size=2).map(dict) | operators.map(lambda one: {"$not": dict([one])}),
    max_size=2,
)
dicts: st.SearchStrategy[dict[str, Any]] = st.recursive(
    fields,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)


def passes(filter: dict[str, Any], told: dict[str, Any]) -> bool:
    """What a dict means, in plain Python."""

    def entry(key: str, value: Any) -> bool:
        if key == "$and":
            return all(passes(part, told) for part in value)
        if key == "$or":
            return any(passes(part, told) for part in value)
        if key == "$not":
            return not passes(value, told)
        return field(told.get(key), value)

    def field(stored: Any, wanted: Any) -> bool:
        if isinstance(wanted, dict):
            return all(holds(operator, stored, operand) for operator, operand in wanted.items())
        return stored == wanted or (isinstance(wanted, list) and stored in wanted)

    def holds(operator: str, stored: Any, operand: Any) -> bool:
        if operator == "$not":
            return not field(stored, operand)
        if operator in ("$ne", "$nin"):
            return not holds({"$ne": "$eq", "$nin": "$in"}[operator], stored, operand)
        if operator == "$exists":
            return (stored is not None) == operand
        if stored is None:
            return operator in ("$eq", "$in") and (operand is None or (isinstance(operand, list) and None in operand))
        try:
            return {
                "$eq": lambda: stored == operand,
                "$in": lambda: stored in operand,
                "$gt": lambda: stored > operand,
                "$gte": lambda: stored >= operand,
                "$lt": lambda: stored < operand,
                "$lte": lambda: stored <= operand,
                "$contains": lambda: operand in stored,
            }[operator]()
        except TypeError:
            return False

    return all(entry(key, value) for key, value in filter.items())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(metadata, min_size=1, max_size=5), st.lists(dicts, min_size=1, max_size=6))
def test_a_filter_means_what_it_means_in_python(described: list[dict[str, Any]], asked: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        store = StackroomVectorStore(Path(scratch) / "library", Table({"t": [1.0, 0.0]}))
        store.add_texts(["t"] * len(described), described, ids=[str(n) for n in range(len(described))])
        for filter in asked:
            expected = {str(n) for n, told in enumerate(described) if passes(filter, told)}
            assert {item.id for item in store.similarity_search("t", k=9, filter=filter)} == expected, filter
        store.index.close()
