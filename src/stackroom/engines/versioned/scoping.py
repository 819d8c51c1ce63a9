"""A scope as a condition on chunks: sources, the active set, documents, collection, metadata and words, before anything is ranked."""

from __future__ import annotations

from stackroom.backend import Scope
from stackroom.engines.milvus import facts, words
from stackroom.engines.milvus.asking import EVERYTHING, Asking
from stackroom.engines.milvus.records import Reading, source_id
from stackroom.engines.milvus.tables import ACTIVE, DEFAULT_COLLECTION, RECORDS, SOURCE, some
from stackroom.errors import NotFoundError
from stackroom.storage.derived import Derived


def condition(asking: Asking, reading: Reading, derived: Derived, scope: Scope, *, in_collection: bool = True) -> str:
    """The expression; `in_collection` False leaves the collection out. Raises NotFoundError, InvalidFilterError."""
    parts = [of_collection(reading, scope.collection)] if in_collection else []
    if scope.sources is not None:
        keys: set[int] = set()
        for name in scope.sources:
            meant = reading.find_sources(name)
            if not meant:
                raise NotFoundError(
                    f"No source is called {name!r}.", hint="See what there is: stackroom list", actual=name
                )
            keys.update(one.key for one in meant)
        parts.append(some("source_key", keys))
    if scope.source_ids is not None:
        found = asking.find(RECORDS, "owner", map(source_id, scope.source_ids), ("key",), kind=SOURCE)
        parts.append(some("source_key", (row["key"] for row in found)))
    if scope.documents is not None:
        documents = reading.documents_of(scope.documents).values()
        parts.append(some("document_key", (one.key for one in documents)))
    if scope.keys is not None:
        parts.append(some("key", scope.keys.tolist()))
    if scope.active:
        idle = derived.get("idle", lambda: _idle(asking))
        if idle:
            parts.append(f"not ({some('source_key', idle)})")
    if scope.where is not None:
        parts.append(facts.condition(asking, derived, scope.where))
    if scope.without:
        parts += words.without(asking, scope.without)
    return " and ".join(f"({part})" for part in parts) or EVERYTHING


def _idle(asking: Asking) -> list[int]:
    """The keys of sources that are not in the active set."""
    flags = [flag for flag in range(8) if not flag & ACTIVE]
    rows = asking.rows(RECORDS, f"kind == {SOURCE} and {some('flag', flags)}", ("key",))
    return [int(row["key"]) for row in rows]


def of_collection(reading: Reading, name: str) -> str:
    """The chunks that live in a collection, those listed in it, and those that have a vector of its own. Raises NotFoundError."""
    if name == "default":
        return f"collection_key == {DEFAULT_COLLECTION}"
    found = reading.collection(name)
    if found is None:
        raise NotFoundError(
            f"There is no collection {name!r}.", hint="See what there is: stackroom status", actual=name
        )
    key, _ = found
    # The negative number says that it has a vector of the collection's own.
    return f"collection_key == {key} or array_contains_any(listed, [{key}, {-key}])"
