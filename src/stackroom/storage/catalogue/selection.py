"""A scope as a set of keys: sources, the active set, metadata and collection, resolved before anything is ranked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

from stackroom.backend import Scope, indexed_metadata
from stackroom.errors import NotFoundError
from stackroom.storage.catalogue import codec, collections, records, runs, schema
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.derived import Derived, Remembered

if TYPE_CHECKING:
    from stackroom.filters import Filter

_NAMES = 1024
"""Sources that are known by name in a version: a conversation keeps to the same ones."""


class Sets:
    """The sets of chunks that one version is made of, each read once. It does not know the view that asks, which goes as soon as it is left."""

    def __init__(self, connection: Connection, derived: Derived) -> None:
        self._connection = connection
        self._derived = derived

    def everything(self) -> KeySet:
        return self._derived.get("everything", lambda: runs.everything(self._connection))

    def of(self, collection: str) -> KeySet | None:
        """The chunks of a collection; None where those are all."""
        return self._derived.get(
            f"members {collection}",
            lambda: collections.members(self._connection, collection, self.everything, self.homes),
        )

    def sources_called(self, name: str) -> list[int]:
        """The keys of the sources that a user means by this."""
        known = self._derived.get("sources by name", lambda: Remembered[str, int](_NAMES))
        found = known.get(name)
        if found is None:
            found = records.source_called(self._connection, name)
            if found is None:
                # Means something else in another folder.
                return records.find_sources(self._connection, name)
            known.put(name, found)
        return [found]

    def homes(self) -> dict[int, KeySet]:
        return self._derived.get("homes", lambda: collections.homes(self._connection))


class Selector:
    """Resolves scopes against one snapshot."""

    def __init__(self, connection: Connection, blobs: Codec, sets: Sets) -> None:
        self._connection = connection
        self._codec = blobs
        self._sets = sets
        self._last: tuple[Scope, KeySet | None] | None = None

    def select(self, scope: Scope) -> KeySet | None:
        """The keys that qualify, or None when every live chunk does. Both legs of a search ask for the same scope."""
        if self._last is None or self._last[0] is not scope:
            self._last = scope, self._select(scope)
        return self._last[1]

    def _select(self, scope: Scope) -> KeySet | None:
        parts: list[KeySet] = []
        if scope.sources is not None:
            parts.append(runs.of_sources(self._connection, self._source_keys(scope.sources)))
        if scope.source_ids is not None:
            parts.append(runs.of_sources(self._connection, records.source_keys(self._connection, scope.source_ids)))
        if scope.documents is not None:
            parts.append(self._of_documents(scope.documents))
        if scope.keys is not None:
            parts.append(KeySet.from_keys(scope.keys).intersection(self._sets.everything()))
        if scope.active:
            active = self._active()
            if active is not None:
                parts.append(active)
        collection = self._sets.of(scope.collection)
        if collection is not None:
            parts.append(collection)
        if scope.where is not None:
            parts.append(self._matching(scope.where))
        if scope.without or scope.phrases:
            from stackroom.storage.words import fulltext

            if scope.without:
                parts.append(self._sets.everything().difference(fulltext.holding(self._connection, scope.without)))
            if scope.phrases:
                parts.append(fulltext.holding_all(self._connection, scope.phrases))
        return reduce(KeySet.intersection, parts) if parts else None

    def _source_keys(self, wanted: Sequence[str]) -> set[int]:
        keys: set[int] = set()
        for name in wanted:
            found = self._sets.sources_called(name)
            if not found:
                raise NotFoundError(
                    f"No source is called {name!r}.", hint="See what there is: stackroom list", actual=name
                )
            keys.update(found)
        return keys

    def _of_documents(self, document_ids: Sequence[str]) -> KeySet:
        found = (records.document_by_id(self._connection, document_id) for document_id in document_ids)
        return runs.of_documents(self._connection, [document.key for document in found if document is not None])

    def _active(self) -> KeySet | None:
        """The chunks of active sources; None when every source is active."""
        connection, members = self._connection, (schema.ACTIVE_SET,)
        total = connection.value("SELECT count(*) FROM sources")
        active = connection.value("SELECT count(*) FROM set_members WHERE set_key = ?", members)
        if active == total:
            return None
        if active * 2 > total:
            idle = connection.numbers(
                """SELECT first_key, first_key + n FROM sources s JOIN documents USING(source_key)
                   JOIN runs USING(document_key) WHERE NOT EXISTS(
                       SELECT 1 FROM set_members m WHERE m.set_key = ? AND m.source_key = s.source_key)""",
                members,
                columns=2,
            )
            return self._sets.everything().difference(runs.to_keys(idle))
        rows = connection.numbers(
            """SELECT first_key, first_key + n FROM set_members JOIN documents USING(source_key)
               JOIN runs USING(document_key) WHERE set_key = ?""",
            members,
            columns=2,
        )
        return runs.to_keys(rows)

    def _matching(self, where: Filter) -> KeySet:
        from stackroom import filters
        from stackroom.storage.catalogue import metadata

        condition = filters.rename_keys(where, records.RESERVED)
        return metadata.select(self._connection, condition, universe=self._sets.everything(), load=self._load_metadata)

    def _load_metadata(self, owner: int, key: int) -> dict[str, object]:
        from stackroom.storage.catalogue import metadata

        if owner == metadata.DOCUMENT:
            document = records.document_by_key(self._connection, key)
            source = None if document is None else records.source_by_key(self._connection, document.source_key)
            return {} if document is None or source is None else indexed_metadata(document, source)
        row = self._connection.row("SELECT details FROM chunks WHERE key = ?", (key,))
        return codec.load_details(self._codec.decode(row[0]))[1] if row and row[0] else {}
