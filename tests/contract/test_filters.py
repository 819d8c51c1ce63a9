"""Every engine finds what the filter tree's own reference finds, on data made to tell them apart."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strategies import filters, metadata

from stackroom.backend import Backend, DocumentRecord, Scope, SourceRecord
from stackroom.filters import Condition, Filter, matches, rename_keys
from stackroom.storage.catalogue.records import RESERVED
from stackroom.types import Chunk

documents = st.lists(st.tuples(metadata, st.lists(metadata, min_size=1, max_size=4)), min_size=1, max_size=4)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@example([({}, [{"a": [1]}])], [Condition("a", ">", ()), Condition("a", "<", [2])])
@example([({}, [{"a": "\x00"}, {"a": "\ud800"}])], [Condition("a", ">", "0"), Condition("a", "text_match", "00")])
@given(documents, st.lists(filters, min_size=1, max_size=6))
def test_the_engine_agrees_with_the_reference(backend: Backend, described: list, conditions: list[Filter]) -> None:
    effective: dict[int, dict] = {}
    with backend.commit() as commit:
        # One library for all examples: the one before makes way.
        commit.remove_source(commit.put_source(SourceRecord(name="s", title="t", type="record")))
        source = commit.put_source(SourceRecord(name="s", title="t", type="record"))
        for number, (of_document, of_chunks) in enumerate(described):
            document = commit.put_document(DocumentRecord(f"d{number}", source, metadata=of_document))
            facts = {"source": "s", "title": "t", "type": "record", **of_document, "document_id": f"d{number}"}
            keys = commit.add_chunks(document, [Chunk("text", metadata=own) for own in of_chunks])
            effective.update((key, {**facts, **own}) for key, own in zip(keys, of_chunks, strict=True))
    with backend.view() as view:
        for condition in conditions:
            wanted = rename_keys(condition, RESERVED)
            expected = [key for key, facts in effective.items() if matches(wanted, facts)]
            assert view.select(Scope(where=condition)).tolist() == expected, condition
