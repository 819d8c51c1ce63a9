"""A scope as a condition on chunks: sources, the active set, documents, collection, metadata and words, before anything is ranked."""

from __future__ import annotations

from stackroom.backend import Scope
from stackroom.engines.snapshot import no_collection
from stackroom.engines.versioned import facts, words
from stackroom.engines.versioned.asking import Asking, of_kind
from stackroom.engines.versioned.conditions import Among, Condition, Either, Not, among, both
from stackroom.engines.versioned.records import Reading, source_id
from stackroom.engines.versioned.tables import ACTIVE, DEFAULT_COLLECTION, RECORDS, SOURCE, flagged
from stackroom.errors import NotFoundError
from stackroom.storage.derived import Derived


def condition(
    asking: Asking, reading: Reading, derived: Derived, scope: Scope, *, in_collection: bool = True
) -> Condition:
    """`in_collection` False leaves the collection out. Raises NotFoundError, InvalidFilterError."""
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
        parts.append(among("source_key", keys))
    if scope.source_ids is not None:
        found = asking.find(RECORDS, "owner", map(source_id, scope.source_ids), ("key",), kind=SOURCE)
        parts.append(among("source_key", (row["key"] for row in found)))
    if scope.documents is not None:
        documents = reading.documents_of(scope.documents).values()
        parts.append(among("document_key", (one.key for one in documents)))
    if scope.keys is not None:
        parts.append(among("key", scope.keys.tolist()))
    if scope.active:
        idle = derived.get("idle", lambda: _idle(asking))
        if idle:
            parts.append(Not(among("source_key", idle)))
    if scope.where is not None:
        parts.append(facts.condition(asking, derived, scope.where))
    if scope.without:
        parts += words.without(asking, scope.without)
    if scope.phrases:
        parts += words.holding(asking, scope.phrases)
    return both(*parts)


def _idle(asking: Asking) -> list[int]:
    """The keys of sources that are not in the active set."""
    rows = asking.rows(RECORDS, of_kind(SOURCE, Not(flagged(ACTIVE))), ("key",))
    return [int(row["key"]) for row in rows]


def of_collection(reading: Reading, name: str) -> Condition:
    """The chunks that live in a collection, those listed in it, and those that have a vector of its own. Raises NotFoundError."""
    if name == "default":
        return Among("collection_key", (DEFAULT_COLLECTION,))
    found = reading.collection(name)
    if found is None:
        raise no_collection(name)
    key, _ = found
    # The negative number says that it has a vector of the collection's own.
    return Either((Among("collection_key", (key,)), Among("listed", (-key, key))))
