"""What the stores over one library share in a process: hashes that wait, ids that were handed out, and where each is kept."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stackroom._forking import in_children, tell_in_children
from stackroom.adapters.llamaindex.documents import Changes, change
from stackroom.adapters.llamaindex.holdings import Holdings
from stackroom.adapters.llamaindex.index_nodes import index_of
from stackroom.adapters.llamaindex.naming import DOCSTORE, attachment_name
from stackroom.adapters.opening import AnyLibrary, Migrate, obtain
from stackroom.backend import View
from stackroom.index import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.adapters.llamaindex.index_nodes import IndexNodes


class SharedLibrary:
    """The state that LlamaIndex's four stores share over one Index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.begin_anew()
        tell_in_children(self)
        self.waiting: dict[str, str] = {}
        """hashes of documents of which nothing is stored yet, told to the docstore of the library's own namespace"""
        self._elsewhere: dict[str, dict[str, str]] = {DOCSTORE: self.waiting}
        self.replaced: set[str] = set()
        """ids of nodes that were there before they were added again"""
        self.written: tuple[int, dict[str, bytes]] = -1, {}
        """the version of the library that the newest nodes came with, and their records: a docstore is told of them next, one by one"""
        self.listings: weakref.WeakSet[IndexNodes] = weakref.WeakSet()
        """the nodes of each index struct that was handed out"""
        self.others: dict[str, dict[str, str]] = {}
        """image and index nodes that a self-contained store's index lists; its text nodes are in no list"""
        self._resolved: tuple[list[str], int, NDArray[np.int64]] | None = None

    def begin_anew(self) -> None:
        """In a forked child too, where another thread of the parent may have held the guard."""
        self.guard = threading.RLock()

    def waiting_in(self, store: str) -> dict[str, str]:
        """Hashes that wait in a docstore of another namespace."""
        with self.guard:
            return self._elsewhere.setdefault(store, {})

    def is_written(self, view: View, node_id: str, record: bytes) -> bool:
        """Whether the newest commit wrote this node, and so."""
        version, records = self.written
        return version == view.version and records.get(node_id) == record

    def flush(self, *, stored_only: bool = False) -> None:
        """Keep the hashes that wait; with `stored_only` those of documents whose nodes have come since.

        Of the others nobody knows whether they are empty or were given up half-way, until the user calls `persist`.
        """
        told: dict[str, dict[str, str]] = {}

        def plan(view: View) -> Changes:
            changes = Changes()
            with self.guard:
                waiting = {store: dict(hashes) for store, hashes in self._elsewhere.items()}
            for store, hashes in waiting.items():
                held = Holdings(view, store)
                told[store] = {
                    document_id: value
                    for document_id, value in hashes.items()
                    if not stored_only or held.is_kept_only(document_id)
                }
                held.plan_hashes(told[store], changes)
            return changes

        if not any(self._elsewhere.values()):
            return
        # The guard is not held here: whoever searches needs it, and is not to wait for another process that writes.
        change(self.index.backend, plan)
        with self.guard:
            for store, found in told.items():
                for document_id, value in found.items():
                    # Others take theirs out without the guard.
                    if self._elsewhere[store].get(document_id) == value:
                        self._elsewhere[store].pop(document_id, None)

    def restriction(
        self, view: View, node_ids: Sequence[str] | None, *, self_contained: bool
    ) -> tuple[NDArray[np.int64] | None, str | None]:
        """What a query's node ids mean: the keys of chunks, or the name of an index whose nodes they all are.

        None restricts nothing. An index beside a self-contained store asks for no ids, or for those few that it lists: that means all. Elsewhere
        an index that lists nothing finds nothing.
        """
        if node_ids is None or (self_contained and (not node_ids or self._lists_others(node_ids))):
            return None, None
        index_id = index_of(node_ids)
        if index_id is not None:
            return None, index_id if view.has_collection(index_id) else None
        with self.guard:
            seen = self._resolved
            if seen is None or seen[1] != view.version or seen[0] != node_ids:
                found = np.array([key for key in view.chunk_keys(node_ids) if key is not None], dtype=np.int64)
                seen = self._resolved = (list(node_ids), view.version, found)
            return seen[2], None

    def _lists_others(self, node_ids: Sequence[str]) -> bool:
        return any(len(listed) == len(node_ids) and list(listed) == list(node_ids) for listed in self.others.values())

    def begin(self) -> None:
        """An application starts anew on the library: what an earlier run told of documents that never came is no longer so."""
        with self.guard:
            self.waiting.clear()

    def emptied(self, view: View, keys: Iterable[int]) -> list[str]:
        """The documents whose hashes wait, and which have no passage left without these."""
        gone = set(keys)
        known = ((document_id, view.document(document_id)) for document_id in list(self.waiting))
        return [
            name for name, document in known if document is not None and gone.issuperset(view.keys_of(document.key))
        ]

    def forget(self, document_ids: Iterable[str]) -> list[str]:
        """Names of attachments with hashes of documents whose vectors go; what waits of them is gone at once."""
        names = []
        for document_id in document_ids:
            self.waiting.pop(document_id, None)
            names.append(attachment_name(DOCSTORE, "metadata", document_id))
        return names


_shared: weakref.WeakValueDictionary[int, SharedLibrary] = weakref.WeakValueDictionary()
_guard = threading.Lock()


def _begin_anew() -> None:
    global _guard
    _guard = threading.Lock()


in_children(_begin_anew)


def shared(library: AnyLibrary | SharedLibrary, *, migrate: Migrate = "auto") -> SharedLibrary:
    """The state of this library in this process. Raises what `stackroom.open` raises."""
    if isinstance(library, SharedLibrary):
        return library
    index = obtain(library, migrate=migrate)
    with _guard:
        found = _shared.get(id(index))
        if found is None:
            found = _shared[id(index)] = SharedLibrary(index)
        return found
