"""The key-value store: for LlamaIndex's caches and chat stores, in this process and others."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.ingestion import IngestionCache
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore

import stackroom
from llamaindex_support import ids, random_nodes
from stackroom.adapters.llamaindex import StackroomKVStore
from stackroom.errors import UsageError


@pytest.fixture
def store(library: Path) -> StackroomKVStore:
    return StackroomKVStore(library)


def commits(store: StackroomKVStore) -> int:
    with store._shared.index.backend.view() as view:
        return view.version


def test_what_is_put_is_got(store: StackroomKVStore) -> None:
    value: dict[str, Any] = {"a": [1, 2.5, None, True, {"é": "\ud800"}], "b": {}}
    store.put("key/with ü", value)
    found = store.get("key/with ü")
    assert found == value
    assert found is not None
    found["a"] = 1
    assert store.get("key/with ü") == value
    store.put("key/with ü", {"new": 1})
    assert store.get("key/with ü") == {"new": 1}
    assert store.get("key") is None


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_many_are_put_at_once(batch_size: int, store: StackroomKVStore) -> None:
    pairs = [(f"k{i}", {"i": i}) for i in range(10)]
    before = commits(store)
    store.put_all(pairs, collection="c", batch_size=batch_size)
    assert commits(store) == before + 1
    assert store.get_all("c") == dict(pairs)
    store.put_all([], collection="c")
    assert commits(store) == before + 1


def test_deleting_says_whether_there_was_something(store: StackroomKVStore) -> None:
    store.put("k", {"a": 1})
    assert store.delete("k")
    before = commits(store)
    assert not store.delete("k")
    assert commits(store) == before
    assert store.get_all() == {}


def test_collections_and_namespaces_see_nothing_of_each_other(store: StackroomKVStore, library: Path) -> None:
    collections = ["data", "d", "data/x", "4:data", ""]
    stores = [store, *(StackroomKVStore(library, namespace=name) for name in ("", "k", "kv/2:da", "docstore"))]
    for n, one in enumerate(stores):
        for collection in collections:
            one.put("k", {"n": n, "c": collection}, collection)
            one.put("x/k", {"n": n, "c": collection}, collection)
    for n, one in enumerate(stores):
        for collection in collections:
            assert one.get_all(collection) == {key: {"n": n, "c": collection} for key in ("k", "x/k")}


def test_what_is_no_json_is_refused_and_nothing_is_written(store: StackroomKVStore) -> None:
    with pytest.raises(UsageError):
        store.put_all([("good", {"a": 1}), ("bad", {"a": object()})])
    assert store.get_all() == {}


async def test_async_twins_say_the_same_as_llamaindexs_own(store: StackroomKVStore) -> None:
    told = []
    for one in (store, SimpleKVStore()):
        await one.aput("a", {"n": 1})
        await one.aput_all([("b", {"n": 2}), ("c", {"n": 3})])
        await one.aput("a", {"n": 4}, collection="other")
        gone = [await one.adelete("b"), await one.adelete("b")]
        told.append((await one.aget("a"), await one.aget("b"), gone, await one.aget_all(), await one.aget_all("other")))
    assert told[0] == told[1]


def test_values_outlive_the_store(store: StackroomKVStore, library: Path) -> None:
    store.put("k", {"a": 1})
    store.persist(str(library / "kv.json"))
    assert not (library / "kv.json").exists()
    store._shared.index.close()
    assert StackroomKVStore.from_persist_path(str(library / "kv.json")).get("k") == {"a": 1}


def test_a_backup_goes_where_else_it_is_persisted(store: StackroomKVStore, tmp_path: Path) -> None:
    store.put("k", {"a": 1})
    store.persist(str(tmp_path / "elsewhere" / "kv.json"))
    assert StackroomKVStore(tmp_path / "elsewhere").get("k") == {"a": 1}


def test_other_processes_get_it_by_its_path(store: StackroomKVStore) -> None:
    store.put("mine", {"a": 1})
    assert pickle.loads(pickle.dumps(store)).get("mine") == {"a": 1}  # noqa: S301
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(store.put, key, {"from": key}) for key in "xy"]:
            done.result(timeout=60)
    assert set(store.get_all()) == {"mine", "x", "y"}


def test_an_ingestion_cache_lies_in_it(store: StackroomKVStore, library: Path) -> None:
    cache = IngestionCache(cache=store)
    given = random_nodes(5)
    cache.put("hash", given)
    found = IngestionCache(cache=StackroomKVStore(library)).get("hash")
    assert found is not None
    assert ids(found) == ids(given)
    assert found[0].embedding == given[0].embedding
    cache.clear()
    assert cache.get("hash") is None


def test_llamaindexs_own_document_store_runs_on_it(store: StackroomKVStore) -> None:
    docstore = KVDocumentStore(store, batch_size=10)
    docstore.add_documents(random_nodes(5, documents=2))
    assert len(docstore.docs) == 5
    docstore.delete_ref_doc("doc0")
    assert len(docstore.docs) == 2


def test_the_command_line_and_verify_take_no_notice_of_it(store: StackroomKVStore, library: Path) -> None:
    store.put("k", {"a": json.dumps({"nested": "text"})})
    with stackroom.open(library, mode="r") as index:
        assert index.verify().ok
        assert index.stats().chunks == 0
