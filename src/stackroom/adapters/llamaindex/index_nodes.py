"""The nodes of an index struct: a mapping that is read from the library when somebody looks, and remembers what changed.

LlamaIndex hands an index's whole struct to its store after every insert. With 100,000 nodes in a dict that is eight megabytes of JSON a
call; here it is what was added since.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING

from stackroom.backend import Scope

if TYPE_CHECKING:
    from stackroom.adapters.llamaindex.library import SharedLibrary


class Listed(str):
    """The first id of a list that an index handed out: it says which index, and how long the list was."""

    index_id: str
    length: int

    @classmethod
    def mark(cls, ids: list[str], index_id: str) -> list[str]:
        if ids:
            first = cls(ids[0])
            first.index_id, first.length = index_id, len(ids)
            ids[0] = first
        return ids


def index_of(node_ids: Sequence[str]) -> str | None:
    """The index whose nodes these are, all of them; None where they are a choice of the caller's."""
    first = node_ids[0] if node_ids else None
    return first.index_id if isinstance(first, Listed) and first.length == len(node_ids) else None


class IndexNodes(MutableMapping[str, str]):
    """Node ids by vector id, which are the same. An index without a collection of its own has every passage of the library."""

    def __init__(self, shared: SharedLibrary, index_id: str) -> None:
        self._shared = shared
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
        self._held = dict(self._ids())

    @property
    def changes(self) -> dict[str, bool]:
        """What changed since `settled`."""
        return dict(self._changed)

    def settled(self, changes: dict[str, bool]) -> None:
        """The library knows of these."""
        self._changed = {name: there for name, there in self._changed.items() if changes.get(name) != there}

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
            if key is None or not view.has_collection(self.index_id):
                return key is not None
            return vector_id in self._ids()

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def values(self) -> list[str]:  # type: ignore[override]
        """The ids, as a list that a query knows again however long it is."""
        return Listed.mark(list(self._ids()), self.index_id)

    def items(self) -> ItemsView[str, str]:
        return self._ids().items()

    def __len__(self) -> int:
        return len(self._ids())

    def _ids(self) -> dict[str, str]:
        """Every id, read again when the library has changed."""
        if self._held is not None:
            return self._held
        with self._shared.index.backend.view() as view:
            if self._loaded is None or self._loaded[0] != view.version:
                own = view.has_collection(self.index_id)
                names = view.chunk_ids(view.select(Scope(collection=self.index_id)).tolist() if own else None)
                self._loaded = (view.version, dict(zip(names, names, strict=True)))
        found = self._loaded[1]
        if not self._changed:
            return found
        changed = self._changed
        return {
            **{name: name for name in found if changed.get(name, True)},
            **{name: name for name, added in changed.items() if added},
        }
