"""The filter index against the filter tree's own reference, on data made to tell them apart."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import filters, metadata

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.filters import Filter, as_filter, from_dict, matches, rename_keys, to_dict
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue.records import RESERVED
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk
from support import unit_rows

documents = st.lists(st.tuples(metadata, st.lists(metadata, min_size=1, max_size=4)), min_size=1, max_size=4)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(documents, st.lists(filters, min_size=1, max_size=6))
def test_the_index_agrees_with_the_reference(described: list, conditions: list[Filter]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        store = LocalStore(Path(scratch) / "library")
        effective: dict[int, dict] = {}
        with store.commit() as commit:
            source = commit.put_source(SourceRecord(name="s", title="t", type="record"))
            for number, (of_document, of_chunks) in enumerate(described):
                document = commit.put_document(DocumentRecord(f"d{number}", source, metadata=of_document))
                rows = unit_rows(len(of_chunks), seed=number)
                chunks = [Chunk("text", metadata=own, embedding=row) for own, row in zip(of_chunks, rows, strict=True)]
                facts = {"source": "s", "title": "t", "type": "record", **of_document, "document_id": f"d{number}"}
                for key, own in zip(commit.add_chunks(document, chunks), of_chunks, strict=True):
                    effective[key] = {**facts, **own}
        with store.view() as view:
            for condition in conditions:
                wanted = rename_keys(condition, RESERVED)
                expected = [key for key, facts in effective.items() if matches(wanted, facts)]
                got = view.nearest(np.ones(16, np.float32), 1000, Scope(where=condition)).keys
                assert sorted(got.tolist()) == expected, condition
        assert store.verify(progress=silent, cancel=CancelToken()).ok
        store.close()


@given(filters)
def test_a_filter_survives_its_dict_form(condition: Filter) -> None:
    assert from_dict(to_dict(condition)) == condition
    assert as_filter(to_dict(condition)) == condition
