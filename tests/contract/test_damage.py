"""Rows of an engine that are not what was written there: said as damage of that library, and sent again where that can be."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stackroom
from stackroom import Chunk
from stackroom.backend import Backend, DocumentRecord, SourceRecord, View
from stackroom.engines import open_engine
from stackroom.engines.versioned.conditions import Among
from stackroom.engines.versioned.database import Row
from stackroom.engines.versioned.tables import ARRAYS, DOCUMENT, NUMBERS, RECORDS, SOURCE, kind_of
from stackroom.errors import DamagedError, MigrationError
from stackroom.storage.store import LocalStore
from support import DIM, put

pytestmark = pytest.mark.engines

VERSIONED = ["chroma", "milvus", "qdrant"]
NAMES = ("/a", "/b", "/c")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[stackroom.Index]:
    with contextlib.closing(LocalStore(tmp_path / "home")) as store:
        for name in NAMES:
            put(store, name, [f"the okapi of {name}", f"the hall of {name}"])
        with stackroom.Index(store) as index:
            yield index


def pushed(home: stackroom.Index, engine: str) -> str:
    base = os.environ[f"STACKROOM_TEST_{engine.upper()}"]
    url = f"{base}{'&' if '?' in base else '?'}library={uuid.uuid4().hex}"
    assert home.push(url).proof.ok
    return url


def rewrite(url: str, table: str, condition: Any, data: str | None) -> None:
    """Put other data into a row of such an engine; None: delete it."""
    with contextlib.closing(open_engine(url)) as store, store.view() as view:
        table = view.asking.state.chunk_table if table == "chunks" else table
        wide = ("data", *ARRAYS, "sparse", "embedding") if kind_of(table) == "chunks" else ("data",)
        row = store.database.rows(table, condition, ("id", *NUMBERS[kind_of(table)], *wide))[0]
        if data is None:
            store.database.delete(table, Among("id", (row["id"],)))
        else:
            store.database.put(table, [{**row, "data": data}])


def execute(url: str, statement: str) -> None:
    import psycopg

    from stackroom.engines.postgresql.client import Place

    place = Place.of(url)
    with psycopg.connect(place.server, autocommit=True) as connection:
        connection.execute(f'SET search_path = "{place.schema}"')
        assert connection.execute(statement).rowcount == 1


def key_of(url: str, document_id: str) -> int:
    with contextlib.closing(open_engine(url)) as store, store.view() as view:
        return view.document(document_id).key


def damage_passage(url: str, engine: str, data: str) -> None:
    key = key_of(url, "doc:/b")
    if engine == "postgresql":
        execute(url, f"UPDATE chunks SET details = '{data}' WHERE document_key = {key} AND position = 0")
    else:
        rewrite(url, "chunks", Among("document_key", (key,)), data)


ROWS = ["nojson", "{}", '["a"]', '["a", "b", "c", [0, 0, 0, 0, 0, 0, "text"]]']


@pytest.mark.parametrize(
    ("engine", "data"),
    [
        *(("postgresql", data) for data in ("nojson", "{}", '[0, 0, 0, 0, 0, 0, "text"]')),
        *((engine, data) for engine in VERSIONED for data in ROWS),
    ],
)
def test_a_passage_that_cannot_be_read_is_said_and_sent_again(
    home: stackroom.Index, engine: str, data: str, tmp_path: Path
) -> None:
    """It was an internal fault of every push, pull and search that met it."""
    url = pushed(home, engine)
    damage_passage(url, engine, data)
    with pytest.raises(DamagedError, match="can't be read") as caught, stackroom.open(tmp_path / "copy") as copy:
        copy.pull(url)
    assert url in caught.value.message
    assert "doc:/b" in caught.value.message
    assert caught.value.path == url
    assert "Push the library" in caught.value.hint
    with stackroom.open(url) as there, pytest.raises(DamagedError, match="can't be read"):
        there.search("okapi", k=10, mode="text")
    with pytest.raises(MigrationError, match="doc:/b") as told:
        home.push(url)
    assert "sent again" in told.value.hint
    assert home.push(url).updated == 1
    with stackroom.open(tmp_path / "whole") as copy:
        assert copy.pull(url).proof.ok


@pytest.mark.parametrize("engine", VERSIONED)
def test_a_passage_that_cannot_be_read_beside_one_that_is_lost_is_sent_again(
    home: stackroom.Index, engine: str
) -> None:
    """What is missing was named by reading all, which failed before anything was noted as to be sent again: so did every later push."""
    url = pushed(home, engine)
    damage_passage(url, engine, "nojson")
    with contextlib.closing(open_engine(url)) as store:
        with store.view() as view:
            lost = view.keys_of(view.document("doc:/c").key)[:1]
        with store.commit() as commit:
            commit.remove_chunks(lost)
    with pytest.raises(MigrationError, match="6 passages should be there, and 5 are; missing: ") as told:
        home.push(url)
    assert "sent again" in told.value.hint
    report = home.push(url)
    assert (report.proof.ok, report.updated) == (True, 2)


@pytest.mark.parametrize("engine", VERSIONED)
def test_documents_whose_source_is_lost_are_sent_again(home: stackroom.Index, engine: str, tmp_path: Path) -> None:
    """It was an internal fault (KeyError) of every push, pull and search, for good."""
    url = pushed(home, engine)
    with contextlib.closing(open_engine(url)) as store, store.view() as view:
        key = view.source("/b").key
    rewrite(url, RECORDS, Among("key", (key,)), None)
    with (
        pytest.raises(DamagedError, match="the source of the document doc:/b is not there") as caught,
        stackroom.open(tmp_path / "copy") as copy,
    ):
        copy.pull(url)
    assert url in caught.value.message
    with stackroom.open(url) as there, pytest.raises(DamagedError, match="doc:/b is not there"):
        there.search("okapi", k=10, mode="text")
    report = home.push(url)
    assert report.proof.ok
    assert report.added == 1
    with stackroom.open(tmp_path / "whole") as copy:
        assert copy.pull(url).proof.ok
        assert len(copy.search("okapi", k=10, mode="text")) == 3


@pytest.mark.parametrize("data", ["nojson", "[]", '["a","b","c"]'])
@pytest.mark.parametrize("engine", VERSIONED)
@pytest.mark.parametrize("kind", [SOURCE, DOCUMENT])
def test_a_record_that_cannot_be_read_is_said(
    home: stackroom.Index, engine: str, kind: int, data: str, tmp_path: Path
) -> None:
    url = pushed(home, engine)
    rewrite(url, RECORDS, Among("kind", (kind,)), data)
    _said_of(home, url, tmp_path)


def test_a_document_of_postgresql_that_cannot_be_read_is_said(home: stackroom.Index, tmp_path: Path) -> None:
    for number, data in enumerate(("nojson", "[]")):
        url = pushed(home, "postgresql")
        execute(url, f"UPDATE documents SET metadata = '{data}' WHERE document_id = 'doc:/b'")
        error = _said_of(home, url, tmp_path / str(number))
        assert "doc:/b" in error.message


def _said_of(home: stackroom.Index, url: str, folder: Path) -> DamagedError:
    with contextlib.closing(open_engine(url)) as store:
        _said_by(store, lambda view: [view.documents(view.source(name).key) for name in NAMES])
        _said_by(store, lambda view: [(view.source(name), view.document(f"doc:{name}")) for name in NAMES])
    with pytest.raises(DamagedError, match="can't be read") as pulled, stackroom.open(folder / "copy") as copy:
        copy.pull(url)
    with pytest.raises(DamagedError, match="can't be read") as caught:
        home.push(url)
    for error in (pulled.value, caught.value):
        assert url in error.message
        assert "under another name" in error.hint
    return caught.value


def _said_by(store: Backend, ask: Callable[[View], object]) -> None:
    with pytest.raises(DamagedError, match="can't be read"), store.view() as view:
        ask(view)


def test_a_passage_of_chroma_without_its_data_is_said_and_sent_again(home: stackroom.Index) -> None:
    url = pushed(home, "chroma")
    with contextlib.closing(open_engine(url)) as store, store.view() as view:
        rows = store.database.rows(
            view.asking.state.chunk_table,
            Among("document_key", (view.document("doc:/b").key,)),
            ("id", *NUMBERS["chunks"]),
        )
        _change(store, view.asking.state.chunk_table, rows[0], data=None)
    with pytest.raises(MigrationError, match="doc:/b"):
        home.push(url)
    assert home.push(url).updated == 1


@pytest.mark.parametrize("vector", ["@@", "AACAPw==", None])
def test_a_vector_of_chroma_that_cannot_be_read_is_sent_again(
    home: stackroom.Index, vector: str | None, tmp_path: Path
) -> None:
    """It ended the proof, of every push; a pull blamed the model, or went without it. The second is a single number."""
    url = pushed(home, "chroma")
    _spoil_vector(url, lambda store, table, row: _change(store, table, row, embedding=vector))
    _heals(home, url, tmp_path)


@pytest.mark.parametrize("vector", ["@@", "AACAPw==", "AAC=", 7])
def test_a_vector_of_qdrant_that_cannot_be_read_is_sent_again(
    tmp_path: Path, home: stackroom.Index, vector: object
) -> None:
    """A vector that is not of length one has its bytes beside what is searched."""
    with home.backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="/b2"))
        chunk = Chunk("a long one", embedding=np.full(DIM, 3.0, dtype=np.float32))
        commit.add_chunks(commit.put_document(DocumentRecord("long", source)), [chunk])
    url = pushed(home, "qdrant")

    def spoil(store: Backend, table: str, row: Row) -> None:
        from qdrant_client import models

        this = models.Filter(must=[models.HasIdCondition(has_id=[row["id"]])])
        store.database._server.call(
            "set_payload", store.database._named(table), payload={"embedding": vector}, points=this
        )

    _spoil_vector(url, spoil, "long")
    _heals(home, url, tmp_path)


def _spoil_vector(url: str, spoil: Callable[[Any, str, Row], None], document: str = "doc:/b") -> None:
    with contextlib.closing(open_engine(url)) as store, store.view() as view:
        table = view.asking.state.chunk_table
        key = view.document(document).key
        spoil(store, table, store.database.rows(table, Among("document_key", (key,)), ("id", *NUMBERS["chunks"]))[0])


def _heals(home: stackroom.Index, url: str, folder: Path) -> None:
    with pytest.raises(DamagedError, match="can't be read") as told, stackroom.open(folder / "copy") as copy:
        copy.pull(url)
    assert url in told.value.message
    with pytest.raises(MigrationError, match=r"vector of .* can't be read"):
        home.push(url)
    report = home.push(url)
    assert report.proof is not None
    assert (report.proof.ok, report.updated) == (True, 1)


def test_a_strangers_record_among_those_of_chroma_is_damage(home: stackroom.Index) -> None:
    url = pushed(home, "chroma")

    def add(store: Any, table: str, _: Row) -> None:
        store.database._server.ask(table, "add", ids=["stranger"], metadatas=[{"a": 1}], embeddings=[[0.1] * DIM])

    _spoil_vector(url, add)
    with pytest.raises(DamagedError, match="can't be read") as told:
        home.push(url)
    assert url in told.value.message


def test_a_row_of_chroma_of_which_it_cannot_be_read_when_it_died_is_alive(home: stackroom.Index) -> None:
    """It was an internal fault of every push."""
    url = pushed(home, "chroma")
    _spoil_vector(url, lambda store, table, row: _change(store, table, row, died="x"))
    report = home.push(url)
    assert report.proof is not None
    assert report.proof.ok


def test_a_record_of_chroma_without_its_data_needs_another_name(home: stackroom.Index, tmp_path: Path) -> None:
    for kind in (SOURCE, DOCUMENT):
        url = pushed(home, "chroma")
        with contextlib.closing(open_engine(url)) as store:
            row = store.database.rows(RECORDS, Among("kind", (kind,)), ("id", *NUMBERS["records"]))[0]
            _change(store, RECORDS, row, data=None)
        _said_of(home, url, tmp_path / str(kind))


def _change(store: Backend, table: str, row: Row, **metadata: str | None) -> None:
    from stackroom.engines.chroma.rows import record_id

    store.database._server.ask(table, "update", ids=[record_id(table, row)], metadatas=[metadata])
