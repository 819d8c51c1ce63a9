"""Filters mean what LlamaIndex's own `build_metadata_filter_fn` says, and where that raises, nothing matches."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn, node_to_metadata_dict

from llamaindex_support import ids, node
from stackroom.adapters.llamaindex import StackroomVectorStore
from stackroom.errors import InvalidFilterError

A = node("a", "one", "A", {"k": 5, "tags": ["x", "y"], "s": "Hello", "doc_id": "mine", "e": "", "t": True})
B = node("b", "two", "B", {"k": 7, "tags": []})
C = node("c", "three", "C", {"z": None})

TABLE = [
    ("k", "==", 5, "a"), ("k", "==", "5", ""), ("k", "==", 5.0, "a"), ("t", "==", 1, "a"),
    ("k", ">", 5, "b"), ("k", ">=", 5, "ab"), ("k", "<", 7, "a"), ("k", "<=", 7, "ab"),
    ("k", "!=", 5, "bc"), ("k", "nin", [5], "bc"), ("k", "in", [5, 9], "a"), ("s", "in", "Hello world", "a"),
    ("tags", "contains", "x", "a"), ("tags", "any", ["x"], "a"), ("tags", "all", ["x", "y"], "a"),
    ("tags", "all", [], "ab"), ("tags", "any", [], ""), ("s", "contains", "ell", "a"),
    ("s", "text_match", "hell", ""), ("s", "text_match_insensitive", "hell", "a"), ("s", "text_match", "_el%", ""),
    ("e", "is_empty", None, "abc"), ("tags", "is_empty", None, "bc"), ("z", "is_empty", None, "abc"),
    ("_node_type", "==", "TextNode", "abc"), ("_node_type", "!=", "TextNode", ""), ("_node_type", "in", ["ImageNode"], ""),
    ("ref_doc_id", "in", ["A", "B"], "ab"), ("document_id", "==", "C", "c"), ("doc_id", "==", "A", "a"),
    ("doc_id", "==", "mine", ""), ("metadata.doc_id", "==", "mine", "a"), ("missing", "==", "x", ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StackroomVectorStore:
    made = StackroomVectorStore(tmp_path_factory.mktemp("filters") / "library")
    made.add([A, B, C])
    return made


def found(store: StackroomVectorStore, filters: MetadataFilters) -> str:
    return "".join(ids(store.get_nodes(filters=filters, limit=99)))


def unchecked(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter.model_construct(key=key, operator=FilterOperator(operator), value=value)


@pytest.mark.parametrize(("key", "operator", "value", "expected"), TABLE)
def test_the_table_of_operators(
    store: StackroomVectorStore, key: str, operator: str, value: Any, expected: str
) -> None:
    assert found(store, MetadataFilters(filters=[unchecked(key, operator, value)])) == expected


def test_nested_conditions(store: StackroomVectorStore) -> None:
    five, seven = MetadataFilter(key="k", value=5), MetadataFilter(key="k", value=7)
    either = MetadataFilters(filters=[five, seven], condition=FilterCondition.OR)
    neither = MetadataFilters(filters=[either], condition=FilterCondition.NOT)
    assert found(store, either) == "ab"
    assert found(store, neither) == "c"
    assert found(store, MetadataFilters(filters=[either, MetadataFilter(key="s", value="Hello")])) == "a"
    assert found(store, MetadataFilters(filters=[])) == "abc"


def test_what_can_not_be_compared_does_not_match_and_says_so(store: StackroomVectorStore) -> None:
    from llama_index.core.vector_stores.types import VectorStoreQuery

    for key, operator, value in (("s", ">", 3), ("k", "text_match", "5"), ("k", "contains", "x")):
        filters = MetadataFilters(filters=[unchecked(key, operator, value)])
        query = VectorStoreQuery(query_embedding=A.embedding, similarity_top_k=9, filters=filters)
        with pytest.warns(UserWarning, match=f"{key!r} holds"):
            assert store.query(query).ids == []
        strict = StackroomVectorStore(store.client, strict_filters=True)
        with pytest.raises(InvalidFilterError, match=f"{key!r} holds"):
            strict.query(query)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = MetadataFilters(filters=[MetadataFilter(key="k", value=3, operator=FilterOperator.GT)])
        store.query(VectorStoreQuery(query_embedding=A.embedding, similarity_top_k=9, filters=fine))


def test_an_unknown_operator_is_an_error(store: StackroomVectorStore) -> None:
    with pytest.raises(ValueError, match="~"):
        found(store, MetadataFilters(filters=[MetadataFilter.model_construct(key="k", operator="~", value=1)]))


def test_values_that_went_past_the_model_are_checked(store: StackroomVectorStore) -> None:
    with pytest.raises(ValueError, match="dict"):
        found(store, MetadataFilters(filters=[unchecked("k", "==", {"a": 1})]))


def test_a_node_class_is_a_filter(library: Path) -> None:
    from llama_index.core.schema import ImageNode

    mixed = StackroomVectorStore(library)
    mixed.add([node("text", "one"), ImageNode(id_="image", text="two", embedding=A.embedding)])
    assert found(mixed, MetadataFilters(filters=[MetadataFilter(key="_node_type", value="TextNode")])) == "text"
    assert found(mixed, MetadataFilters(filters=[MetadataFilter(key="_node_type", value="ImageNode")])) == "image"


def test_a_users_own_key_of_a_reserved_name(library: Path) -> None:
    own = StackroomVectorStore(library)
    own.add([node("a", "one", "A", {"document_id": "mine"}), node("b", "two", "B")])
    assert found(own, MetadataFilters(filters=[MetadataFilter(key="document_id", value="A")])) == "a"
    assert found(own, MetadataFilters(filters=[MetadataFilter(key="document_id", value="mine")])) == ""


def test_what_only_the_document_has_is_not_the_nodes(library: Path) -> None:
    """A node may say less than its document: its own metadata counts."""
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo

    store = StackroomVectorStore(library)
    for name, metadata in (("a", {"year": 1}), ("b", {})):
        made = node(name, name, None, metadata)
        made.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="doc", metadata={"year": 1})
        store.add([made])
    assert found(store, MetadataFilters(filters=[MetadataFilter(key="year", value=1)])) == "a"


_keys = st.sampled_from(["k", "a.b", 'q"uo`te', "$x", "with space", "é", "[0]", ""])
_scalars = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, 1.0, 2.0**53, 2**63, -(2**70)]), st.booleans(),
    st.sampled_from(["", "x", "X y", "%", "_", "é", "é", "5", "1"]),
)  # fmt: skip
_values = st.one_of(
    _scalars, st.none(), st.lists(_scalars, max_size=3), st.dictionaries(st.sampled_from("ab"), _scalars, max_size=1)
)
_metadata = st.dictionaries(_keys, _values, max_size=4)


@st.composite
def _filters(draw: st.DrawFn) -> MetadataFilter:
    operator = draw(st.sampled_from([item.value for item in FilterOperator]))
    if operator in ("any", "all", "nin"):
        value: Any = draw(st.lists(_scalars, max_size=3))
    elif operator == "in":
        value = draw(st.one_of(st.lists(_scalars, max_size=3), st.sampled_from(["x y z", "5"])))
    else:
        value = draw(_scalars)
    return unchecked(draw(_keys), operator, value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metadata=st.lists(_metadata, min_size=1, max_size=6),
    filters=st.lists(_filters(), min_size=1, max_size=3),
    condition=st.sampled_from(list(FilterCondition)),
)
def test_filters_agree_with_llamaindex(
    tmp_path_factory: pytest.TempPathFactory,
    metadata: list[dict[str, Any]],
    filters: list[MetadataFilter],
    condition: FilterCondition,
) -> None:
    store = StackroomVectorStore(tmp_path_factory.mktemp("library"))
    nodes = [node(f"n{i}", f"text {i}", f"d{i}", item) for i, item in enumerate(metadata)]
    store.add(nodes)
    given_filters = MetadataFilters.model_construct(filters=filters, condition=condition)
    stored = {item.node_id: node_to_metadata_dict(item, remove_text=True, flat_metadata=False) for item in nodes}
    expected = [name for name in stored if _agrees(stored[name], filters, condition)]
    assert ids(store.get_nodes(filters=given_filters, limit=99)) == expected
    store.client.close()


def _agrees(metadata: dict[str, Any], filters: list[MetadataFilter], condition: FilterCondition) -> bool:
    """LlamaIndex's own word on each filter; one that raises matches nothing."""
    results = []
    for item in filters:
        alone = MetadataFilters.model_construct(filters=[item], condition=FilterCondition.AND)
        try:
            results.append(bool(build_metadata_filter_fn(lambda _: metadata, alone)("n")))
        except TypeError:
            results.append(False)
    if condition == FilterCondition.AND:
        return all(results)
    return any(results) if condition == FilterCondition.OR else not any(results)


def test_a_node_that_comes_again_is_found_by_what_it_says_now(library: Path) -> None:
    """Also where its document was stored with what it said before."""
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo

    store = StackroomVectorStore(library)
    for name, year in (("a", 2020), ("a", 2021), ("b", 2022)):
        made = node(name, name, None, {"year": year})
        made.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="doc", metadata={"year": year})
        store.add([made])
    years = [found(store, MetadataFilters(filters=[MetadataFilter(key="year", value=y)])) for y in (2020, 2021, 2022)]
    assert years == ["", "a", "b"]
