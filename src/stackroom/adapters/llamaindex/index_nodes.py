"""The nodes of an index struct: a mapping that is read from the library when somebody looks, and remembers what changed.

LlamaIndex hands an index's whole struct to its store after every insert. With 100,000 nodes in a dict that is eight megabytes of JSON a
call; here it is what was added since.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, Sequence, ValuesView
from typing import TYPE_CHECKING

from stackroom.backend import Scope

if TYPE_CHECKING:
    from stackroom.adapters.llamaindex.library import SharedLibrary


class IndexNodes(MutableMapping[str, str]):
    """Node ids by vector id, which are the same. `collection` None: every passage of the library."""

    def __init__(self, shared: SharedLibrary, collection: str | None, *, index_id: str = "") -> None:
        self._shared = shared
        self.collection = collection
        self.index_id = index_id
        self._changed: dict[str, bool] = {}
        """ids that were added (True) or taken out (False) since the library heard of it"""
        self._loaded: tuple[int, dict[str, str]] | None = None
        self._held: dict[str, str] | None = None
        shared.listings.add(self)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, MutableMapping | dict) and dict(self) == dict(other))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} nodes)"

    def hold(self) -> None:
        """Keep the ids by itself: the library is about to forget which they are."""
        if self.collection is not None:
            self._held = dict(self._ids())

    def take_changes(self) -> dict[str, bool]:
        """What changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    def __setitem__(self, vector_id: str, node_id: str) -> None:
        self._changed[vector_id] = True

    def __delitem__(self, vector_id: str) -> None:
        # LlamaIndex takes nodes out after their vectors are gone: there is nothing left to miss.
        self._changed[vector_id] = False

    def __contains__(self, vector_id: object) -> bool:
        return isinstance(vector_id, str) and self._has(vector_id)

    def __getitem__(self, vector_id: str) -> str:
        if not self._has(vector_id):
            raise KeyError(vector_id)
        return vector_id

    def _has(self, vector_id: str) -> bool:
        if vector_id in self._changed:
            return self._changed[vector_id]
        with self._shared.index.backend.view() as view:
            (key,) = view.chunk_keys([vector_id])
            if key is None or self.collection is None:
                return key is not None
            return vector_id in self._ids()

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def values(self) -> ValuesView[str]:
        return self._ids().values()

    def items(self) -> ItemsView[str, str]:
        return self._ids().items()

    def __len__(self) -> int:
        if self.collection is None and not self._changed:
            with self._shared.index.backend.view() as view:
                return len(view.live_keys())
        return len(self._ids())

    def _ids(self) -> dict[str, str]:
        """Every id; the strings are the same objects until the library changes, which makes lists of them quick to compare."""
        if self._held is not None:
            return self._held
        with self._shared.index.backend.view() as view:
            if self._loaded is None or self._loaded[0] != view.version:
                scope = Scope(collection=self.collection or "default")
                keys = None if self.collection is None else view.select(scope).tolist()
                names = view.chunk_ids(keys)
                self._loaded = (view.version, dict(zip(names, names, strict=True)))
        found = self._loaded[1]
        if not self._changed:
            return found
        changed = self._changed
        return {
            **{name: name for name in found if changed.get(name, True)},
            **{name: name for name, added in changed.items() if added},
        }

    def lists(self, node_ids: Sequence[str]) -> bool:
        """Whether these are the ids of this index, as it handed them out last."""
        if self._loaded is None:
            return False
        found = self._loaded[1]
        return len(found) == len(node_ids) and list(found) == list(node_ids)
