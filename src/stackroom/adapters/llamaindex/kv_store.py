"""LlamaIndex's key-value store in a library: for ingestion caches and chat stores."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import fsspec
from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseInMemoryKVStore

from stackroom.adapters.llamaindex.library import SharedLibrary, shared
from stackroom.adapters.llamaindex.naming import attachment_name, attachment_prefix, store_name
from stackroom.adapters.llamaindex.persisting import persist
from stackroom.adapters.opening import AnyLibrary, Migrate
from stackroom.errors import UsageError


class StackroomKVStore(BaseInMemoryKVStore):
    """Values, which are JSON, by collection and key; each call is one durable commit. Picklable by the library's path.

    Stores of other `namespace`s in the library see nothing of each other. Raises what `stackroom.open` raises.
    """

    def __init__(
        self, library: AnyLibrary | SharedLibrary, *, namespace: str = "kv", migrate: Migrate = "auto"
    ) -> None:
        self._shared = shared(library, migrate=migrate)
        self._namespace = namespace
        self._store = store_name("kv", namespace)

    def __getstate__(self) -> dict[str, Any]:
        return {"library": str(self._shared.index.path), "namespace": self._namespace}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        self.put_all([(key, val)], collection)

    def put_all(
        self, kv_pairs: list[tuple[str, dict[str, Any]]], collection: str = DEFAULT_COLLECTION, batch_size: int = 1
    ) -> None:
        """Put several in one commit, whatever `batch_size` says. Raises ValueError for a value that is no JSON."""
        del batch_size
        pairs = [(attachment_name(self._store, collection, key), _dumped(key, value)) for key, value in kv_pairs]
        if pairs:
            with self._shared.index.backend.commit() as commit:
                for name, data in pairs:
                    commit.attach(name, data)

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        with self._shared.index.backend.view() as view:
            found = view.attachment(attachment_name(self._store, collection, key))
        return None if found is None else dict(json.loads(found))

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        prefix = attachment_prefix(self._store, collection)
        with self._shared.index.backend.view() as view:
            return {name.removeprefix(prefix): json.loads(data) for name, data in view.attachments(prefix)}

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """False where there was no such key."""
        name = attachment_name(self._store, collection, key)
        with self._shared.index.backend.view() as view:
            if view.attachment(name) is None:
                return False
        with self._shared.index.backend.commit() as commit:
            return commit.detach(name)

    def persist(self, persist_path: str, fs: fsspec.AbstractFileSystem | None = None) -> None:
        """Nothing waits to be written; with a path in another folder, a backup of the library goes there."""
        persist(self._shared.index, os.path.dirname(persist_path), fs)

    @classmethod
    def from_persist_path(cls, persist_path: str) -> StackroomKVStore:
        """The store of the library that this path is, or lies in."""
        return cls(persist_path if os.path.isdir(persist_path) else os.path.dirname(persist_path))

    async def aput(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        await asyncio.to_thread(self.put, key, val, collection)

    async def aput_all(
        self, kv_pairs: list[tuple[str, dict[str, Any]]], collection: str = DEFAULT_COLLECTION, batch_size: int = 1
    ) -> None:
        await asyncio.to_thread(self.put_all, kv_pairs, collection, batch_size)

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        return await asyncio.to_thread(self.get, key, collection)

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        return await asyncio.to_thread(self.get_all, collection)

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        return await asyncio.to_thread(self.delete, key, collection)


def _dumped(key: str, value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"The value of {key!r} can't be stored as JSON: {error}.") from error
