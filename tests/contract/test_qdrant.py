"""What Qdrant has of its own: its address, and vectors that it would change for its cosine."""

from __future__ import annotations

import os
import uuid
from typing import Any

import numpy as np
import pytest

import stackroom
from engine_servers import answering
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import BusyError, EngineAwayError, UnavailableError, UsageError
from stackroom.types import Chunk
from support import unit_rows

pytestmark = pytest.mark.engines


@pytest.fixture
def url() -> str:
    return f"{os.environ['STACKROOM_TEST_QDRANT']}?library={uuid.uuid4().hex}"


@pytest.mark.parametrize("wrong", ["qdrant://:sesame@127.0.0.1:1", "qdrant://127.0.0.1:1?api_key=sesame"])
def test_a_key_is_in_no_url_and_no_error(wrong: str) -> None:
    with pytest.raises(UsageError, match="QDRANT_API_KEY") as caught:
        stackroom.open(wrong)
    assert "sesame" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_server_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "sesame")
    with pytest.raises(EngineAwayError, match="is not there") as caught:
        stackroom.open("qdrant://127.0.0.1:1")
    assert "sesame" not in f"{caught.value}"
    assert caught.value.exit_code == 7


def test_a_key_that_is_refused_is_told_and_a_proxy_without_its_server_is_away() -> None:
    with answering(401, '{"message": "Must provide an API key"}') as port:
        with pytest.raises(UnavailableError, match=r"without its key: .*API key") as caught:
            stackroom.open(f"qdrant://127.0.0.1:{port}")
        assert not isinstance(caught.value, EngineAwayError)
    with answering(502, '{"message": "no upstream"}') as port, pytest.raises(EngineAwayError, match="no upstream"):
        stackroom.open(f"qdrant://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "wrong",
    [
        "h?library=a-b",
        "h?library=a__b",
        "h?tls=perhaps",
        "h?timeout=3",
        "h?index=HNSW",
        "h?shards=0",
        "h:port",
        "/folder",
    ],
)
def test_an_address_that_means_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        stackroom.open(f"qdrant://{wrong}")


def test_vectors_of_any_length_come_back_bit_for_bit_and_are_ranked_by_their_cosine(store: Any) -> None:
    rows = unit_rows(40)
    rows *= np.geomspace(1e-3, 1e3, 40, dtype=np.float32)[:, None]
    rows[7] = unit_rows(1, seed=5)[0]
    rows[8] = 0.0
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        keys = commit.add_chunks(document, [Chunk(f"text {n}", embedding=row) for n, row in enumerate(rows)])
    query = 30.0 * unit_rows(1, seed=99)[0]
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    wanted = (rows @ query.astype(np.float64)) / np.where(lengths, lengths, 1.0) / np.linalg.norm(query)
    with store.view() as view:
        assert view.vectors(keys).tobytes() == rows.tobytes()
        found = view.nearest(query, 10, Scope())
        assert found.keys.tolist() == [keys[at] for at in np.argsort(-wanted, kind="stable")[:10]]
        assert found.scores == pytest.approx(np.sort(wanted)[::-1][:10])


def test_a_write_is_answered_when_all_replicas_have_it(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int | None, ...]] = []
    call = store.database._server.call

    def watched(verb: str, *given: Any, **options: Any) -> Any:
        if verb == "create_collection":
            wanted = ("shard_number", "replication_factor", "write_consistency_factor")
            asked.append(tuple(options.pop(one) for one in wanted))
        return call(verb, *given, **options)

    monkeypatch.setattr(store.database._server, "call", watched)
    monkeypatch.setattr(store.database, "_options", {"shards": "4", "replicas": "2"})
    store.database.make("chunks_9", dim=0, metric="cosine", index="")
    assert asked == [(4, 2, 2)]


def test_a_search_that_need_not_be_exact_says_so(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, int | None]] = []
    call = store.database._server.call

    def watched(verb: str, *given: Any, **options: Any) -> Any:
        if verb == "query_points":
            asked.append((options["search_params"].exact, options["search_params"].hnsw_ef))
        return call(verb, *given, **options)

    monkeypatch.setattr(store.database._server, "call", watched)
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        commit.add_chunks(document, [Chunk("x", embedding=row) for row in unit_rows(20)])
    query = unit_rows(1, seed=99)[0]
    with store.view() as view:
        view.nearest(query, 3, Scope())
        monkeypatch.setattr("stackroom.engines.versioned.nearest.APPROXIMATE", 20)
        view.nearest(query, 3, Scope())
        view.nearest(query, 3, Scope(), candidates=7)
        view.nearest(query, 3, Scope(), exact=True, candidates=7)
    assert asked == [(True, None), (False, 400), (False, 7), (True, None)]


def test_what_is_not_carried_out_in_time_is_not_committed(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qdrant_client import models

    call = store.database._server.call

    def slow(verb: str, *given: Any, **options: Any) -> Any:
        done = call(verb, *given, **options)
        return models.UpdateResult(status=models.UpdateStatus.ACKNOWLEDGED) if verb == "upsert" else done

    with monkeypatch.context() as patched:
        patched.setattr(store.database._server, "call", slow)
        with pytest.raises(BusyError, match="too much to do"), store.commit() as commit:
            commit.put_source(SourceRecord(name="s"))
    with store.view() as view:
        assert view.source("s") is None
    with store.commit() as commit:
        commit.put_source(SourceRecord(name="t"))
    with store.view() as view:
        assert [source.name for source in view.each_source()] == ["t"]
