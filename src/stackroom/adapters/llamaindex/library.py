"""What the stores over one library share in a process: hashes that wait, ids that were handed out, and where each is kept."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.adapters.opening import AnyLibrary, Migrate, obtain
from stackroom.backend import Commit, View
from stackroom.index import Index
from stackroom.migration.reading import dump

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.adapters.llamaindex.index_nodes import IndexNodes

INDEXES = "index/"
"""Attachments: an index struct each, as a migration keeps them too."""
DOCSTORE = "docstore"
"""The docstore's own namespace, in which the library's passages are seen as well."""


def attachment_name(store: str, collection: str, key: str) -> str:
    """Where a store's value is kept. No other store, collection and key have the same name."""
    return f"{attachment_prefix(store, collection)}{key}"


def attachment_prefix(store: str, collection: str) -> str:
    return f"{store}/{len(collection)}:{collection}/"


class SharedLibrary:
    """The state that LlamaIndex's four stores share over one Index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.guard = threading.RLock()
        self.waiting: dict[str, str] = {}
        """hashes of documents of which nothing is stored yet"""
        self.replaced: set[str] = set()
        """ids of nodes that were there before they were added again"""
        self.listings: weakref.WeakSet[IndexNodes] = weakref.WeakSet()
        """the nodes of each index struct that was handed out"""
        self.others: dict[str, dict[str, str]] = {}
        """image and index nodes that a self-contained store's index lists; its text nodes are in no list"""
        self._resolved: tuple[list[str], int, NDArray[np.int64]] | None = None
        self._known: tuple[list[str], str | None] | None = None
        # What waits is lost with a crash, which is right: those documents are not whole. The end of a program is no crash.
        weakref.finalize(index, _flush_at_end, index.backend, self.waiting)

    def flush(self) -> None:
        """Keep the hashes that wait."""
        with self.guard:
            if self.waiting:
                with self.index.backend.commit() as commit:
                    self.keep_hashes(commit, self.waiting)
                self.waiting.clear()

    def keep_hashes(self, commit: Commit, hashes: Mapping[str, str]) -> None:
        """With their document where it has passages, under a name of their own where not."""
        with self.index.backend.view() as view:
            found = view.document_of(list(hashes))
            kept = view.kept("document", [document.key for document, _ in found.values()])
        for document_id, told in hashes.items():
            if document_id in found:
                key = found[document_id][0].key
                record = json.loads(kept.get(key, b"{}"))
                record["docstore"] = {**record.get("docstore", {}), "doc_hash": told}
                record["hashed"] = True
                commit.keep("document", [(key, dump(record))])
            else:
                before = _entry(self.index, document_id)
                name = attachment_name(DOCSTORE, "metadata", document_id)
                commit.attach(name, json.dumps({**before, "doc_hash": told}).encode())

    def restriction(self, view: View, node_ids: Sequence[str] | None) -> tuple[NDArray[np.int64] | None, str | None]:
        """What a query's node ids mean: the keys of chunks, or the name of an index whose nodes they all are.

        None and an empty list restrict nothing. A list that was seen before costs nothing, however long it is.
        """
        if not node_ids:
            return None, None
        with self.guard:
            if self._known is not None and self._known[0] is node_ids and len(node_ids) == len(self._known[0]):
                return None, self._known[1]
            if any(len(listed) == len(node_ids) and list(listed) == list(node_ids) for listed in self.others.values()):
                return None, None
            for listing in list(self.listings):
                if listing.lists(node_ids):
                    if isinstance(node_ids, list):
                        self._known = (node_ids, listing.collection)
                    return None, listing.collection
            seen = self._resolved
            if seen is not None and seen[1] == view.version and seen[0] == node_ids:
                return seen[2], None
            found = view.chunk_keys(node_ids)
            keys = np.array([key for key in found if key is not None], dtype=np.int64)
            self._resolved = (list(node_ids), view.version, keys)
            return keys, None

    def forget(self, document_ids: Iterable[str]) -> list[str]:
        """Names of attachments with hashes of documents whose vectors go; what waits of them is gone at once."""
        names = []
        for document_id in document_ids:
            self.waiting.pop(document_id, None)
            names.append(attachment_name(DOCSTORE, "metadata", document_id))
        return names


def _entry(index: Index, document_id: str) -> dict[str, Any]:
    with index.backend.view() as view:
        found = view.attachment(attachment_name(DOCSTORE, "metadata", document_id))
    return dict(json.loads(found)) if found else {}


def _flush_at_end(backend: Any, waiting: dict[str, str]) -> None:
    """Hashes that nobody kept before the program ended, of documents that have nothing but their hash."""
    if not waiting:
        return
    import contextlib

    from stackroom.errors import StackroomError

    with contextlib.suppress(StackroomError), backend.commit(wait=1.0) as commit:
        for document_id, told in waiting.items():
            commit.attach(attachment_name(DOCSTORE, "metadata", document_id), json.dumps({"doc_hash": told}).encode())


_shared: weakref.WeakValueDictionary[int, SharedLibrary] = weakref.WeakValueDictionary()
_guard = threading.Lock()


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
