"""A library's tables as collections of Milvus: their fields and indexes."""

from __future__ import annotations

from typing import Any

from pymilvus import DataType, MilvusClient

from stackroom.engines.versioned.tables import ARRAYS, NUMBERS, kind_of

MOST_ROWS = 16_384
"""Of one answer: Milvus's bound."""
MOST_IN_ARRAY = 4096
MOST_DIMENSIONS = 32_768
CELLS = 1024
"""`nlist` of an index of cells: as many as it has at most, in each segment."""

METRICS = {"cosine": "COSINE", "dot": "IP", "l2": "L2"}

_LOOKED_UP = {
    "records": ("kind", "key", "name", "owner"),
    "chunks": ("key", "name", "document_key", "source_key", "listed", "facts", "terms"),
    "space": ("key",),
}
"""The fields that rows are found by."""

_LONGEST_TEXT = 65_535
_BYTES = 90_000_000
"""Of one answer: Milvus gives up to 100 MB."""
_LONGEST = {
    "data": _LONGEST_TEXT,
    "listed": 8 * MOST_IN_ARRAY,
    "facts": 8 * MOST_IN_ARRAY,
    "terms": 8 * MOST_IN_ARRAY,
    "counts": 4 * MOST_IN_ARRAY,
    "sparse": 8 * MOST_IN_ARRAY,
    "embedding": 4 * MOST_DIMENSIONS,
}
"""Bytes that a field may have; others are numbers."""


def most_of(fields: Any) -> int:
    """Rows that fit into one answer, however long these fields are."""
    return min(MOST_ROWS, max(_BYTES // sum(_LONGEST.get(name, 8) for name in fields), 1))


def schema(table: str, *, dim: int) -> Any:
    """A collection without a vector is none to Milvus: `records`, and gates, have one that says nothing."""
    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    made.add_field("id", DataType.INT64, is_primary=True)
    kind = kind_of(table)
    for name in NUMBERS.get(kind, ()):
        made.add_field(name, DataType.INT64)
    if kind in ("records", "chunks"):
        made.add_field("data", DataType.VARCHAR, max_length=_LONGEST_TEXT)
    if kind == "chunks":
        for name in ARRAYS:
            number = DataType.INT32 if name == "counts" else DataType.INT64
            made.add_field(name, DataType.ARRAY, element_type=number, max_capacity=MOST_IN_ARRAY)
        made.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    made.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    return made


def indexes(table: str, *, metric: str, index: str) -> Any:
    """The indexes that Milvus can't do without: of vectors and of words. FLAT is none: rows are compared one by one."""
    made = MilvusClient.prepare_index_params()
    params = {"nlist": CELLS} if index == "IVF_FLAT" else {}
    made.add_index("embedding", index_type=index, metric_type=METRICS[metric], params=params)
    if kind_of(table) == "chunks":
        made.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    return made


def lookups(table: str) -> list[Any]:
    """The indexes of these, one after the other."""
    found = []
    for name in _LOOKED_UP[kind_of(table)]:
        made = MilvusClient.prepare_index_params()
        made.add_index(name, index_type="INVERTED")
        found.append(made)
    return found
