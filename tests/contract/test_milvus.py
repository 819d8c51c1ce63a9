"""What Milvus has of its own: its address, its indexes, and what its rows and answers can't hold."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import stackroom
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.engines import open_engine
from stackroom.errors import EngineAwayError, UnavailableError, UsageError
from stackroom.filters import Condition
from stackroom.types import Chunk
from support import put, texts, unit_rows

pytestmark = pytest.mark.engines

QUERY = unit_rows(1, seed=99)[0]


@pytest.fixture
def url() -> str:
    return f"{os.environ['STACKROOM_TEST_MILVUS']}?library={uuid.uuid4().hex}"


def test_a_password_is_in_no_url_and_no_error() -> None:
    for wrong in ("milvus://me:sesame@127.0.0.1:1/db", "milvus://127.0.0.1:1/db?token=sesame"):
        with pytest.raises(UsageError, match="MILVUS_TOKEN") as caught:
            stackroom.open(wrong)
        assert "sesame" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"


def test_a_server_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "root:sesame")
    with pytest.raises(EngineAwayError, match="is not there") as caught:
        stackroom.open("milvus://127.0.0.1:1/db")
    assert "sesame" not in f"{caught.value}"
    assert caught.value.exit_code == 7


def test_a_database_that_is_not_there_is_said(url: str) -> None:
    with pytest.raises(UnavailableError, match=r"no such database: .*nowhere") as caught:
        stackroom.open(url.replace("/default", "/nowhere"))
    assert not isinstance(caught.value, EngineAwayError)


def test_a_load_that_the_server_loses_is_asked_for_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus import MilvusClient

    load, lost = MilvusClient.load_collection, []

    def loses_it_once(client: Any, name: str, **options: Any) -> None:
        load(client, name, **options)
        if not lost:
            client.release_collection(name)
            lost.append(name)

    monkeypatch.setattr(MilvusClient, "load_collection", loses_it_once)
    with contextlib.closing(open_engine(url)) as store:
        put(store, "s", ["text"])
        assert texts(store) == ["text"]
    assert lost


def test_a_load_that_does_not_end_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus import MilvusClient

    from stackroom.engines.milvus import client

    monkeypatch.setattr(MilvusClient, "load_collection", lambda *arguments, **options: None)
    monkeypatch.setattr(client, "_LOADING", 0.05)
    with pytest.raises(EngineAwayError, match="has not loaded the library"):
        open_engine(url)


@contextlib.contextmanager
def refusing(status: str, said: str) -> Iterator[str]:
    """The URL of a server that answers so: milvus-lite has no users, and is never between other machines."""
    import grpc

    class Refusing(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            def refuse(_: bytes, context: grpc.ServicerContext) -> None:
                context.abort(grpc.StatusCode[status], said)

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Refusing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"milvus://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_a_login_that_is_refused_is_told() -> None:
    with (
        refusing("UNAUTHENTICATED", "auth check failure, please check username and password") as url,
        pytest.raises(UnavailableError, match="refuses the login: auth check failure") as caught,
    ):
        stackroom.open(url)
    assert not isinstance(caught.value, EngineAwayError)
    assert "MILVUS_TOKEN" in (caught.value.hint or "")


def test_a_proxy_without_its_server_is_away_and_another_server_is_not() -> None:
    with (
        refusing("UNAVAILABLE", "Received http2 header with status: 502") as url,
        pytest.raises(EngineAwayError, match="502"),
    ):
        stackroom.open(url)
    with (
        refusing("UNIMPLEMENTED", "Received http2 header with status: 404") as url,
        pytest.raises(UnavailableError, match="does not answer as Milvus does") as caught,
    ):
        stackroom.open(url)
    assert not isinstance(caught.value, EngineAwayError)


def test_a_server_that_is_away_may_be_called_database() -> None:
    """As the error names the host, it was said that there is no such database, and no copy answered."""
    with (
        refusing("UNAVAILABLE", "DNS resolution failed for database-1.example:19530: not found") as url,
        pytest.raises(EngineAwayError, match=r"is not there: .*database-1"),
    ):
        stackroom.open(url)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (103, "collection not fully loaded"),
        (503, "failed to search: node offline[node=16]: channel not available"),
        (601, "segment not loaded"),
        (902, "node offline"),
    ],
)
def test_a_cluster_that_lost_a_node_is_away(store: Any, code: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its segments are being loaded elsewhere: a push waits, and a program may try again."""
    from pymilvus.exceptions import MilvusException

    def lost(*_: object, **_named: object) -> object:
        raise MilvusException(code, f"{said} at a node of the cluster")

    put(store, "a", ["one passage"])
    monkeypatch.setattr(store.database._server._client, "search", lost)
    with store.view() as view, pytest.raises(EngineAwayError, match="lost a part") as caught:
        view.nearest(QUERY, 1, Scope())
    assert f"{said.partition('[')[0]}" in caught.value.message
    assert "What was committed stays" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "wrong",
    ["?library=a-b", "?library=a__b", "?library=_a", "?tls=perhaps", "?timeout=3", "?index=HNSW", "?shards=0", ":port"],
)
def test_an_address_that_means_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        stackroom.open(f"milvus://127.0.0.1{wrong}")


def test_an_answer_is_no_longer_than_milvus_gives(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.milvus import tables
    from stackroom.engines.versioned.asking import CHUNK_FIELDS

    monkeypatch.setattr(tables, "_BYTES", 1_500_000)
    fit = tables.most_of(CHUNK_FIELDS)
    assert 1 < fit < 8
    keys = put(store, "s", [f"text {n}" for n in range(20)], year=1)
    attached = os.urandom(400_000)
    with store.commit() as commit:
        commit.attach("a", attached)
    answers: list[tuple[int, int]] = []
    call = store.database._server.call

    def measured(verb: str, *given: Any, **options: Any) -> Any:
        answer = call(verb, *given, **options)
        if verb == "query" and "count(*)" not in options["output_fields"]:
            answers.append((len(answer), tables.most_of(options["output_fields"])))
        elif verb == "query_iterator":
            answers.append((options["batch_size"], tables.most_of(options["output_fields"])))
        return answer

    monkeypatch.setattr(store.database._server, "call", measured)
    with store.view() as view:
        source = view.source("s")
        assert view.attachment("a") == attached
    with store.commit() as commit:
        commit.put_document(DocumentRecord("doc:s", source.key, metadata={"year": 2}))
    with store.view() as view:
        assert view.select(Scope(where=Condition("year", "==", 2))).tolist() == keys
        assert [passage.text for passage in view.passages(keys)] == [f"text {n}" for n in range(20)]
    assert any(length == fit for length, _ in answers)
    assert all(length <= most for length, most in answers)


def test_an_ordinary_search_looks_into_some_cells(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit_rows(600)
    for index in ("", "&index=IVF_FLAT&shards=2"):
        asked: list[int | None] = []
        with contextlib.closing(open_engine(f"{url}{len(index)}{index}")) as store:
            call = store.database._server.call

            def watched(verb: str, *given: Any, call: Any = call, asked: Any = asked, **options: Any) -> Any:
                if verb == "search":
                    asked.append(options["search_params"]["params"].get("nprobe"))
                return call(verb, *given, **options)

            monkeypatch.setattr(store.database._server, "call", watched)
            with store.commit() as commit:
                document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
                commit.add_chunks(document, [Chunk("x", embedding=row) for row in vectors])
            with store.view() as view:
                wanted = np.argsort(-(vectors @ QUERY), kind="stable")[:10]
                found = view.nearest(QUERY, 10, Scope(), exact=True).keys.tolist()
                assert found == view.live_keys()[wanted].tolist()
                assert view.nearest(QUERY, 10, Scope()).keys.tolist() == found
                with monkeypatch.context() as patched:
                    patched.setattr("stackroom.engines.versioned.nearest.APPROXIMATE", 500)
                    view.nearest(QUERY, 10, Scope())
                    view.nearest(QUERY, 10, Scope(), candidates=7)
                    view.nearest(QUERY, 10, Scope(), exact=True)
        assert asked == ([1024, 1024, 64, 7, 1024] if index else 5 * [None])
    with pytest.raises(UsageError, match="made with the index IVF_FLAT"):
        open_engine(f"{url}{len(index)}&index=FLAT")


def test_too_much_metadata_is_refused_and_nothing_else(store: Any) -> None:
    put(store, "s", ["text"])
    with pytest.raises(UsageError, match="4,096"):
        put(store, "t", ["text"], **{f"field {n}": n for n in range(2_000)})
    assert texts(store) == ["text"]
