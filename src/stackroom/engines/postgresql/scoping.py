"""A scope as a condition on chunks: sources, the active set, documents, collection, metadata and words, before anything is ranked."""

from __future__ import annotations

from stackroom.backend import Scope
from stackroom.engines.postgresql import filtering, words
from stackroom.engines.postgresql.asking import Asking, Where
from stackroom.engines.postgresql.records import find_sources
from stackroom.engines.postgresql.tables import DEFAULT_COLLECTION
from stackroom.engines.postgresql.values import pack
from stackroom.engines.snapshot import no_collection
from stackroom.errors import NotFoundError


def where(asking: Asking, scope: Scope) -> Where:
    """Raises NotFoundError, InvalidFilterError."""
    found = in_collection(asking, Where(), scope.collection)
    if scope.sources is not None:
        keys: set[int] = set()
        for name in scope.sources:
            meant = find_sources(asking, name)
            if not meant:
                raise NotFoundError(
                    f"No source is called {name!r}.", hint="See what there is: stackroom list", actual=name
                )
            keys.update(meant)
        found = found.joined().also("d.source_key = ANY(%s)", list(keys))
    if scope.source_ids is not None:
        found = found.joined().also("s.source_id = ANY(%s)", list(map(pack, scope.source_ids)))
    if scope.documents is not None:
        found = found.joined().also("d.document_id = ANY(%s)", list(map(pack, scope.documents)))
    if scope.keys is not None:
        found = found.also("c.key = ANY(%s)", scope.keys.tolist())
    if scope.active and asking.value("SELECT EXISTS(SELECT 1 FROM sources WHERE NOT active)"):
        found = found.joined().also("s.active")
    if scope.where is not None:
        text, values = filtering.condition(asking, scope.where)
        found = found.joined().also(text, *values)
    if scope.without:
        excluded = words.any_of(words.terms(scope.without))
        if excluded is not None:
            found = found.also("NOT c.lexemes @@ %s::tsquery", excluded)
    for phrase in words.terms(scope.phrases):
        if phrase.query is not None:
            found = found.also("c.lexemes @@ %s::tsquery", phrase.query)
    return found


def in_collection(asking: Asking, found: Where, name: str) -> Where:
    """The chunks that live in a collection, those listed in it, and those that have a vector of its own. Raises NotFoundError."""
    if name == "default":
        # Nothing is asked where all live in it.
        elsewhere = f"SELECT EXISTS(SELECT 1 FROM chunks WHERE collection_key <> {DEFAULT_COLLECTION})"
        return found.also(f"c.collection_key = {DEFAULT_COLLECTION}") if asking.value(elsewhere) else found
    row = asking.row("SELECT collection_key, space_key FROM collections WHERE name = %s", (pack(name),))
    if row is None:
        raise no_collection(name)
    return found.also(
        """c.collection_key = %s OR EXISTS(SELECT 1 FROM listed l WHERE l.collection_key = %s AND l.key = c.key)
           OR EXISTS(SELECT 1 FROM vectors o WHERE o.space_key = %s AND o.key = c.key)""",
        row[0], row[0], row[1],
    )  # fmt: skip
