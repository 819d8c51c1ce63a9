"""LlamaIndex's index store: what each index says of itself, without the list of its nodes, which is the library."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import fsspec
import numpy as np
from llama_index.core.data_structs.data_structs import IndexDict, IndexStruct
from llama_index.core.storage.index_store.types import BaseIndexStore
from llama_index.core.storage.index_store.utils import json_to_index_struct

from stackroom.adapters.llamaindex.index_nodes import IndexNodes
from stackroom.adapters.llamaindex.library import SharedLibrary, shared
from stackroom.adapters.llamaindex.naming import INDEXES
from stackroom.adapters.llamaindex.persisting import persist
from stackroom.adapters.opening import AnyLibrary, Migrate
from stackroom.backend import Commit, View

_WHOLE = "00000000-0000-0000-0000-000000000000"
"""The index over a library in which no LlamaIndex ever made one."""


class StackroomIndexStore(BaseIndexStore):
    """Index structs in a library.

    An index has the whole library as long as it is the only one and lists all of it; else its nodes are a collection. A library that
    has passages and no index shows one over everything. `lists_nodes` is False beside a vector store with `stores_text`, whose
    indexes list none of their text nodes.

    Raises what `stackroom.open` raises.
    """

    def __init__(
        self, library: AnyLibrary | SharedLibrary, *, lists_nodes: bool = True, migrate: Migrate = "auto"
    ) -> None:
        self._shared = shared(library, migrate=migrate)
        self._lists_nodes = lists_nodes

    @classmethod
    def from_persist_dir(
        cls, persist_dir: str, fs: fsspec.AbstractFileSystem | None = None, **options: Any
    ) -> StackroomIndexStore:
        del fs
        return cls(persist_dir, **options)

    def add_index_struct(self, index_struct: IndexStruct) -> None:
        if isinstance(index_struct, IndexDict):
            self._add(index_struct)
        else:
            body = json.loads(index_struct.to_json())
            kept = {"type": str(index_struct.get_type().value), "struct": body, "listed": False}
            self._attach_if_new(index_struct.index_id, kept)
        self._shared.flush(stored_only=True)

    def _add(self, struct: IndexDict) -> None:
        """What changed in an index; all of it where it is new here."""
        nodes_ = struct.nodes_dict
        if not isinstance(nodes_, IndexNodes) or nodes_.index_id != struct.index_id:
            listed = self._begin(struct)
            if self._lists_nodes:
                struct.nodes_dict = listed  # type: ignore[assignment]
            return
        changes = nodes_.changes
        with self._shared.index.backend.view() as view:
            own = view.has_collection(nodes_.index_id)
            added = [node_id for node_id, there in changes.items() if there]
            keys = [key for key in view.chunk_keys(added) if key is not None]
        if nodes_.index_id == _WHOLE:
            # What is written to is there from now on: the next index that is made stands beside it.
            self._attach_if_new(_WHOLE, _over_everything())
        if own and keys:
            with self._shared.index.backend.commit() as commit:
                commit.enlist(nodes_.index_id, keys)
        nodes_.settled(changes)

    def _begin(self, struct: IndexDict) -> IndexNodes:
        """Keep an index that this store has not handed out, and say which passages are its own."""
        index_id = struct.index_id
        body = {name: value for name, value in json.loads(_without_nodes(struct)).items() if name != "nodes_dict"}
        kept: dict[str, Any] = {"type": str(struct.get_type().value), "struct": body, "listed": True}
        if not self._lists_nodes:
            # Of a self-contained store's index these are its image and index nodes, and no choice of passages.
            if struct.nodes_dict:
                kept["nodes"] = dict(struct.nodes_dict)
            self._shared.others[index_id] = struct.nodes_dict
            self._attach_if_new(index_id, kept)
            return IndexNodes(self._shared, index_id)
        with self._shared.index.backend.view() as view:
            live = view.live_keys()
            own = np.array([key for key in view.chunk_keys(list(struct.nodes_dict)) if key is not None], dtype=np.int64)
            others = {name: kept for name, kept in _stored(view).items() if name != index_id and kept.get("listed")}
            collections = {name for name in (index_id, *others) if view.has_collection(name)}
            again = [key for key in view.chunk_keys(list(self._shared.replaced)) if key is not None]
        whole = not len(own) or len(np.unique(own)) == len(live)
        with self._shared.index.backend.commit() as commit:
            if others or not whole:
                commit.disband(index_id)
                commit.enlist(index_id, own.tolist())
                self._settle(commit, [name for name in others if name not in collections], live, own, again)
            elif index_id in collections:
                commit.disband(index_id)
            commit.attach(INDEXES + index_id, _dumped(kept))
        return IndexNodes(self._shared, index_id)

    def _settle(self, commit: Commit, names: list[str], live: Any, own: Any, again: list[int]) -> None:
        """Indexes that had the whole library keep what they had before this one's nodes came."""
        before = np.union1d(np.setdiff1d(live, own), np.intersect1d(own, np.array(again, dtype=np.int64)))
        for name in names:
            commit.enlist(name, before.tolist())

    def _attach_if_new(self, index_id: str, kept: dict[str, Any]) -> None:
        data = _dumped(kept)
        with self._shared.index.backend.view() as view:
            if view.attachment(INDEXES + index_id) == data:
                return
        with self._shared.index.backend.commit() as commit:
            commit.attach(INDEXES + index_id, data)

    def delete_index_struct(self, key: str) -> None:
        """Forget an index; its passages stay, as they do in LlamaIndex's own stores."""
        for listing in list(self._shared.listings):
            if listing.index_id == key:
                # An index gets another id by deleting it under the old one.
                listing.hold()
        with self._shared.index.backend.commit() as commit:
            commit.detach(INDEXES + key)
            commit.disband(key)

    def get_index_struct(self, struct_id: str | None = None) -> IndexStruct | None:
        """The struct of that id; None: the only one. Raises ValueError where there are several."""
        if struct_id is None:
            found = self.index_structs()
            if len(found) != 1:
                raise ValueError(f"There are {len(found)} indexes, and struct_id says none of them.")
            return found[0]
        with self._shared.index.backend.view() as view:
            kept = _structs(view).get(struct_id)
            return None if kept is None else self._struct(struct_id, kept)

    def index_structs(self) -> list[IndexStruct]:
        with self._shared.index.backend.view() as view:
            return [self._struct(index_id, kept) for index_id, kept in _structs(view).items()]

    def _struct(self, index_id: str, kept: dict[str, Any]) -> IndexStruct:
        body = {**kept["struct"], "index_id": index_id}
        if not kept.get("listed"):
            return json_to_index_struct({"__type__": kept["type"], "__data__": json.dumps(body)})
        body["nodes_dict"] = {}
        struct = json_to_index_struct({"__type__": kept["type"] or "vector_store", "__data__": json.dumps(body)})
        assert isinstance(struct, IndexDict)
        if self._lists_nodes:
            nodes_ = IndexNodes(self._shared, index_id)
            struct.nodes_dict = nodes_  # type: ignore[assignment]
        else:
            struct.nodes_dict = self._shared.others[index_id] = dict(kept.get("nodes", {}))
        return struct

    def persist(self, persist_path: str = "", fs: fsspec.AbstractFileSystem | None = None) -> None:
        """Nothing waits to be written; with the path of another folder, a backup of the library goes there."""
        self._shared.flush()
        persist(self._shared.index, os.path.dirname(persist_path), fs)

    async def async_add_index_struct(self, index_struct: IndexStruct) -> None:
        await asyncio.to_thread(self.add_index_struct, index_struct)

    async def adelete_index_struct(self, key: str) -> None:
        await asyncio.to_thread(self.delete_index_struct, key)

    async def aget_index_struct(self, struct_id: str | None = None) -> IndexStruct | None:
        return await asyncio.to_thread(self.get_index_struct, struct_id)

    async def async_index_structs(self) -> list[IndexStruct]:
        return await asyncio.to_thread(self.index_structs)


def _stored(view: View) -> dict[str, dict[str, Any]]:
    """What is kept of each index, by its id."""
    return {name.removeprefix(INDEXES): json.loads(data) for name, data in view.attachments(INDEXES)}


def _structs(view: View) -> dict[str, dict[str, Any]]:
    """What is kept of each index, by its id; one over everything where there is none."""
    found = _stored(view)
    return {_WHOLE: _over_everything()} if not found and len(view.live_keys()) else found


def _over_everything() -> dict[str, Any]:
    body: dict[str, Any] = {"summary": None, "doc_id_dict": {}, "embeddings_dict": {}}
    return {"type": "vector_store", "struct": body, "listed": True}


def _without_nodes(struct: IndexDict) -> str:
    """The struct as JSON; its nodes, which may be many, are left out before it is written, not after."""
    nodes_, struct.nodes_dict = struct.nodes_dict, {}
    try:
        return struct.to_json()
    finally:
        struct.nodes_dict = nodes_


def _dumped(kept: dict[str, Any]) -> bytes:
    return json.dumps(kept, sort_keys=True).encode()
