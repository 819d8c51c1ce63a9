"""What Chroma has of its own: its address, states of a gate that are records, and an index that may miss rows or be lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stackroom
from engine_servers import Server, server_of
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.engines import open_engine
from stackroom.engines.versioned.database import AbsentError
from stackroom.errors import EngineAwayError, MigrationError, StorageError, UnavailableError, UsageError
from stackroom.types import Chunk, Document
from support import chunks, unit_rows

pytestmark = pytest.mark.engines

QUERY = unit_rows(1, seed=99)[0]


@pytest.fixture
def url() -> str:
    return f"{os.environ['STACKROOM_TEST_CHROMA']}?library={uuid.uuid4().hex}"


@pytest.fixture
def server() -> Iterator[Server]:
    with server_of("chroma") as started:
        yield started


def put(store: Any, name: str, given: list[Chunk]) -> list[int]:
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord(f"doc:{name}", commit.put_source(SourceRecord(name=name))))
        return commit.add_chunks(document, given)


def test_a_server_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_API_KEY", "sesame")
    with pytest.raises(EngineAwayError, match="is not there") as caught:
        stackroom.open("chroma://127.0.0.1:1")
    assert "sesame" not in f"{caught.value}"
    assert caught.value.exit_code == 7


def test_the_key_goes_with_every_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_API_KEY", "sesame")
    with contextlib.closing(open_engine(url)) as store:
        assert store.database._server._client.headers["x-chroma-token"] == "sesame"


def test_a_key_that_no_header_can_hold_is_refused_and_not_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("ses\name", "ses\u00e4me"):
        monkeypatch.setenv("CHROMA_API_KEY", key)
        with pytest.raises(UsageError, match="CHROMA_API_KEY") as caught:
            open_engine(url)
        assert key[:3] not in f"{caught.value} {caught.value.hint} {vars(caught.value)}"


def test_a_database_or_a_tenant_that_is_not_there_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="no database 'nowhere'"):
        open_engine(url.replace("?", "/nowhere?"))
    monkeypatch.setenv("CHROMA_TENANT", "nobody")
    with pytest.raises(UnavailableError, match="'nobody'"):
        open_engine(url)


@pytest.mark.parametrize("wrong", ["h?library=a-b", "me@h", "h?tls=perhaps", "h?index=HNSW", "h:port"])
def test_an_address_that_means_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        stackroom.open(f"chroma://{wrong}")


def test_of_several_who_change_a_gate_one_does(url: str) -> None:
    stores = [open_engine(url) for _ in range(3)]
    stores[0].database.put_name("a_0")
    last = "a_0"
    for turn in range(1, 11):
        together = threading.Barrier(len(stores))
        changed: list[str] = []

        def change(store: Any, new: str, old: str, together: threading.Barrier, changed: list[str]) -> None:
            together.wait()
            with contextlib.suppress(AbsentError):
                store.database.rename(old, new)
                changed.append(new)

        threads = [
            threading.Thread(target=change, args=(store, f"a_{turn}_{at}", last, together, changed))
            for at, store in enumerate(stores)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (last,) = changed
        assert last in stores[0].database.names()
    for store in stores:
        store.close()


def test_who_is_slow_brings_no_state_back(store: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = store.database._gates
    gates.put("a_0")
    seen = gates._newest()
    with contextlib.closing(open_engine(url)) as other:
        for turn in range(3):
            other.database.rename(f"a_{turn}", f"a_{turn + 1}")
        with monkeypatch.context() as patched:
            patched.setattr(gates, "_newest", lambda: seen)
            with pytest.raises(AbsentError):
                gates.rename("a_0", "b")
        assert [name for name in other.database.names() if name[:1] in "ab"] == ["a_3"]
        other.database.rename("a_3", "a_4")
        assert [name for name in gates.names() if name[:1] in "ab"] == ["a_4"]


def test_vectors_of_any_length_come_back_bit_for_bit_and_are_ranked_by_their_cosine(store: Any) -> None:
    rows = unit_rows(40)
    rows *= np.geomspace(1e-3, 1e3, 40, dtype=np.float32)[:, None]
    rows[7] = unit_rows(1, seed=5)[0]
    rows[8] = 0.0
    keys = put(store, "s", [Chunk(f"text {n}", embedding=row) for n, row in enumerate(rows)])
    query = 30.0 * QUERY
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    wanted = (rows @ query.astype(np.float64)) / np.where(lengths, lengths, 1.0) / np.linalg.norm(query)
    with store.view() as view:
        assert view.vectors(keys).tobytes() == rows.tobytes()
        found = view.nearest(query, 10, Scope())
        assert found.keys.tolist() == [keys[at] for at in np.argsort(-wanted, kind="stable")[:10]]
        assert found.scores == pytest.approx(np.sort(wanted)[::-1][:10])


def test_rows_that_the_index_does_not_reach_are_found(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = put(store, "s", chunks(f"text {n}" for n in range(40)))
    put(store, "removed", chunks(["removed"]))
    with store.commit() as commit:
        commit.remove_source(commit.put_source(SourceRecord(name="removed")))
    with store.view() as view:
        wanted = view.nearest(QUERY, 5, Scope())
        some = view.nearest(QUERY, 5, Scope(keys=np.array(keys[::2])))
    ask = store.database._server.ask

    def missing(name: str, verb: str, **body: Any) -> Any:
        answer = ask(name, verb, **body)
        return {**answer, "ids": [answer["ids"][0][3:]]} if verb == "query" else answer

    monkeypatch.setattr(store.database._server, "ask", missing)
    with store.view() as view:
        for scope, known in ((Scope(), wanted), (Scope(keys=np.array(keys[::2])), some)):
            found = view.nearest(QUERY, 5, scope, exact=True)
            assert (found.keys.tolist(), found.scores.tolist()) == (known.keys.tolist(), known.scores.tolist())


def test_an_ordinary_search_asks_for_more_where_few_are_in_scope(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackroom.engines.versioned.nearest.APPROXIMATE", 0)
    monkeypatch.setattr("stackroom.engines.versioned.nearest._MORE", 0)
    monkeypatch.setattr("stackroom.engines.chroma.database.EFFORT", 3)
    keys = put(store, "s", chunks(f"text {n}" for n in range(100)))
    asked: list[int] = []
    ask = store.database._server.ask

    def watched(name: str, verb: str, **body: Any) -> Any:
        asked.extend([body["n_results"]] if verb == "query" else [])
        return ask(name, verb, **body)

    monkeypatch.setattr(store.database._server, "ask", watched)
    with store.view() as view:
        assert len(view.nearest(QUERY, 1, Scope()).keys) == 1
        assert asked == [3]
        assert len(view.nearest(QUERY, 2, Scope(), candidates=50).keys) == 2
        assert asked == [3, 50]
        one = np.array([int(view.nearest(QUERY, 100, Scope(), exact=True).keys[-1])])
        asked.clear()
        assert view.nearest(QUERY, 1, Scope(keys=one)).keys.tolist() == one.tolist()
        assert asked == [3, 12, 48, 100]
        assert one[0] in keys


def test_removed_words_are_in_no_posting_after_a_day(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "s", chunks(["the lighthouse burned"]))
    put(store, "t", chunks(["logs are rotated"]))

    def written() -> set[int]:
        with store.view() as view:
            table = f"postings_of_{view.asking.state.chunk_table}"
        return {said["first"] for said in store.database._server.ask(table, "get", include=["metadatas"])["metadatas"]}

    assert len(written()) == 2
    with store.commit() as commit:
        commit.remove_source(commit.put_source(SourceRecord(name="s")))
    assert len(written()) == 2
    monkeypatch.setattr("stackroom.engines.versioned.purging.KEPT", 0.0)
    store.maintain()
    assert len(written()) == 1
    with store.view() as view:
        assert len(view.matching("rotated", 5, Scope())[0].keys) == 1


def test_a_server_that_has_lost_its_index_loses_no_passage_and_no_vector(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chroma writes the index of a collection in place; who is killed meanwhile has none that can be read. Its folders may be deleted."""
    monkeypatch.setattr("stackroom.engines.chroma.client._SYNC", 2)
    with contextlib.closing(open_engine(server.url)) as store:
        keys = put(store, "s", chunks(f"text {n}" for n in range(20)))
        with store.view() as view:
            rows, wanted = view.vectors(keys), view.nearest(QUERY, 5, Scope())
        server.kill()
        indexes = [folder for folder in server.folder.iterdir() if folder.is_dir()]
        assert indexes
        for folder in indexes:
            for file in folder.iterdir():
                file.write_bytes(b"")
        server.start()
        with pytest.raises(StorageError, match="index of a collection") as caught, store.view() as view:
            view.vectors(keys)
        assert "docs/engines.md" in caught.value.hint
        server.kill()
        for folder in indexes:
            shutil.rmtree(folder)
        server.start()
        with store.view() as view:
            assert view.vectors(keys).tobytes() == rows.tobytes()
            found = view.nearest(QUERY, 5, Scope())
            assert found.keys.tolist() == wanted.keys.tolist()
            assert found.scores.tolist() == wanted.scores.tolist()
        put(store, "t", chunks((f"more {n}" for n in range(20)), seed=1))
        monkeypatch.setattr("stackroom.engines.versioned.nearest.APPROXIMATE", 0)
        monkeypatch.setattr("stackroom.engines.versioned.nearest._MORE", 0)
        monkeypatch.setattr("stackroom.engines.chroma.database.EFFORT", 3)
        with store.view() as view:
            assert len(view.live_keys()) == 40
            # The index has enough of the later ones for an answer.
            exact, ordinary = view.nearest(QUERY, 5, Scope(), exact=True), view.nearest(QUERY, 5, Scope())
            assert set(exact.keys.tolist()) & set(keys)
            assert ordinary.keys.tolist() == exact.keys.tolist()
            assert ordinary.scores.tolist() == exact.scores.tolist()


def test_lost_postings_are_told_by_searches_and_filters(store: Any, url: str, tmp_path: Path) -> None:
    """The advice was to wait for indexes, for ever."""
    with stackroom.open(tmp_path / "local") as index:
        index.add_documents([Document("d", metadata={"year": 1999}, chunks=chunks(["a lighthouse", "another word"]))])
        assert index.push(url).proof.ok
        with store.view() as view:
            table = f"postings_of_{view.asking.state.chunk_table}"
        server = store.database._server
        server.ask(table, "delete", ids=server.ask(table, "get", include=[])["ids"])
        for _ in range(2):
            with pytest.raises(MigrationError) as caught:
                index.push(url)
            told = "\n".join(caught.value.actual)
            assert "The filter year == 1999 finds other passages: 2 of 2 differ" in told
            assert "A search for 'lighthouse', of the passage" in told
            assert "Push under another name" in caught.value.hint
