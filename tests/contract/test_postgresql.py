"""What PostgreSQL has of its own: credentials, roles, and an index of vectors."""

from __future__ import annotations

import os
import re
import socket
import threading
import uuid
from pathlib import Path

import pytest

import stackroom
from engine_servers import server_of
from stackroom.backend import Scope, View
from stackroom.errors import (
    EngineAwayError,
    MigrationError,
    NotALibraryError,
    ReadOnlyError,
    UnavailableError,
    UsageError,
)
from stackroom.types import Chunk, Document
from support import WordEmbedder, unit_rows

pytestmark = pytest.mark.engines


@pytest.fixture
def url() -> str:
    base = os.environ["STACKROOM_TEST_POSTGRESQL"]
    return f"{base}{'&' if '?' in base else '?'}library={uuid.uuid4().hex}"


DOCUMENTS = [
    Document(
        "one", "one.txt", metadata={"year": 1999}, chunks=[Chunk("The lighthouse of Pharos."), Chunk("It burned.")]
    ),
    Document("two", "two.txt", metadata={"year": 2010}, chunks=[Chunk("Rotate the logs every week.")]),
]


def test_a_password_is_in_no_url_and_no_error() -> None:
    for wrong in ("postgresql://me:sesame@127.0.0.1:1/db", "postgresql://me@127.0.0.1:1/db?password=sesame"):
        with pytest.raises(UsageError, match="PGPASSWORD") as caught:
            stackroom.open(wrong)
        assert "sesame" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"


def test_a_server_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "sesame")
    with pytest.raises(EngineAwayError, match="is not there") as caught:
        stackroom.open("postgresql://me@127.0.0.1:1/db")
    assert "sesame" not in f"{caught.value}"
    assert caught.value.exit_code == 7


def _refused(url: str, copy: Path) -> str:
    with pytest.raises(UnavailableError, match="refuses the login") as caught:
        stackroom.open(url, copy=copy)
    # Which no copy would answer, and nobody would wait for.
    assert not isinstance(caught.value, EngineAwayError)
    assert "PGPASSWORD" in (caught.value.hint or "")
    return f"{caught.value}"


def test_another_server_that_speaks_first_is_none_that_is_away(tmp_path: Path) -> None:
    """A copy answered for it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.recv(100)

        threading.Thread(target=answer, daemon=True).start()
        url = f"postgresql://me@127.0.0.1:{listening.getsockname()[1]}/db"
        with pytest.raises(UnavailableError, match="does not answer as PostgreSQL does") as caught:
            stackroom.open(url, copy=tmp_path)
        assert not isinstance(caught.value, EngineAwayError)


@pytest.mark.parametrize("wrong", ["user=nobody_of_that_name", "dbname=nowhere"])
def test_who_is_not_let_in_is_told_so(wrong: str, url: str, tmp_path: Path) -> None:
    assert "does not exist" in _refused(f"{url}&{wrong}", tmp_path)


def test_a_wrong_password_is_told_whatever_language_the_server_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    from stackroom.engines.postgresql import client

    monkeypatch.setattr(client, "_REFUSED", re.compile("English"))
    with server_of("postgresql") as server:
        with psycopg.connect(server.url, autocommit=True) as owner:
            owner.execute("CREATE ROLE alice LOGIN PASSWORD 'open'")
            rules = Path(str(owner.execute("SHOW hba_file").fetchone()[0]))
            rules.write_text(f"local all alice scram-sha-256\n{rules.read_text()}")
        # A server that is started anew has read its rules.
        server.kill()
        server.start()
        theirs = f"{server.url}&user=alice"
        _refused(theirs, tmp_path)
        monkeypatch.setenv("PGPASSWORD", "sesame")
        assert "sesame" not in _refused(theirs, tmp_path)


def test_a_role_that_may_only_read_reads(url: str) -> None:
    import psycopg

    role = f"reader_{uuid.uuid4().hex}"
    with stackroom.open(url, embedder=WordEmbedder()) as index:
        index.add_documents(DOCUMENTS)
        place = index.backend.place
    with psycopg.connect(place.server, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN")
        owner.execute(f'GRANT USAGE ON SCHEMA "{place.schema}" TO {role}')
        owner.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{place.schema}" TO {role}')
    theirs = f"{url}&user={role}"
    with stackroom.open(theirs, mode="r", embedder=WordEmbedder()) as index:
        assert [hit.document.id for hit in index.search("rotate logs", where="year > 2000")] == ["two"]
        assert index.stats().chunks == 3
    with stackroom.open(theirs, embedder=WordEmbedder()) as index, pytest.raises(ReadOnlyError, match="refuses"):
        index.remove(["one.txt"])


def test_who_may_not_enter_the_schema_is_told_so(url: str) -> None:
    """It was said that this is no library, and to choose another name."""
    import psycopg

    role = f"outsider_{uuid.uuid4().hex}"
    with stackroom.open(url, embedder=WordEmbedder()) as index:
        place = index.backend.place
    with psycopg.connect(place.server, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN")
        for _ in range(2):
            with pytest.raises(ReadOnlyError, match="permission denied"):
                stackroom.open(f"{url}&user={role}", mode="r")
            owner.execute(f'GRANT USAGE ON SCHEMA "{place.schema}" TO {role}')


def test_a_schema_without_its_tables_is_no_library(url: str) -> None:
    """Also where there is a table of that name in `public`, which the search path has."""
    import psycopg

    from stackroom.engines.postgresql.client import Place

    place = Place.of(url)
    with psycopg.connect(place.server, autocommit=True) as owner:
        owner.execute(f'CREATE SCHEMA "{place.schema}"')
    with pytest.raises(NotALibraryError, match="no Stackroom library"):
        stackroom.open(url)


def test_a_url_without_a_host_is_taken(url: str) -> None:
    """As libpq's own programs take it; a folder with a slash at its end is the same."""
    from urllib.parse import parse_qs, urlsplit

    parts = urlsplit(url)
    socket = parse_qs(parts.query)["host"][0]
    stackroom.open(url).close()
    library = parse_qs(parts.query)["library"][0]
    theirs = f"postgresql://{parts.path}?host={socket}/&user=postgres&library={library}"
    assert theirs.startswith("postgresql:///")
    with stackroom.open(theirs, mode="r") as index:
        assert index.stats().library == theirs


def test_an_index_of_the_vectors_finds_what_a_scan_finds(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.postgresql import nearest

    monkeypatch.setattr(nearest, "INDEXED", 500)
    rows = unit_rows(1000, dim=24)
    with stackroom.open(url) as index:
        documents = [
            Document(
                f"d{n}",
                f"s{n}",
                metadata={"n": n},
                chunks=[Chunk("x", embedding=row) for row in rows[n * 100 : n * 100 + 100]],
            )
            for n in range(10)
        ]
        index.add_documents(documents)
        index.backend.maintain()
        assert index.stats().bytes["sketches"] > 0
        found = wanted = 0
        with index.backend.view() as view:
            assert nearest.index_of(view._asking, 1) == 1
            for query in unit_rows(30, dim=24, seed=9):
                exact = set(view.nearest(query, 10, Scope(), exact=True).keys.tolist())
                found += len(exact & set(view.nearest(query, 10, Scope()).keys.tolist()))
                wanted += 10
        assert found >= 0.98 * wanted
        # However few a filter leaves, as many are found as are wanted.
        assert len(index.search(rows[0], k=20, where="n == 7")) == 20


def test_words_are_counted_once_a_version(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By each process, whoever writes; a view keeps to the counts of its own version."""
    from stackroom.engines.postgresql.asking import Asking

    counted: list[int] = []
    rows = Asking.rows

    def watched(asking: Asking, statement: str, *values: object, **options: bool) -> list[tuple[object, ...]]:
        counted.append(statement.count("SELECT count(*) FROM chunks WHERE lexemes"))
        return rows(asking, statement, *values, **options)

    monkeypatch.setattr(Asking, "rows", watched)

    def asked(view: View, query: str) -> tuple[tuple[int, ...], int]:
        counted.clear()
        return view.matching(query, 10, Scope())[1].document_frequency, sum(counted)

    with stackroom.open(url) as index, stackroom.open(url) as other:
        index.add_documents([Document("a", chunks=[Chunk("one two"), Chunk("one three")])])
        with index.backend.view() as view:
            assert asked(view, "one two") == ((2, 1), 2)
            assert asked(view, "two one four") == ((1, 2, 0), 1)
            other.add_documents([Document("b", chunks=[Chunk("one four")])])
            assert asked(view, "one four") == ((2, 0), 0)
            with index.backend.view() as newer:
                assert asked(newer, "one four") == ((3, 1), 2)
            assert asked(view, "one two") == ((2, 1), 0)
        with index.backend.view() as view:
            assert asked(view, "one four") == ((3, 1), 0)
            added = view.document("b")
        with other.backend.commit() as commit:
            # As where the library is dropped and made anew, with as many commits.
            commit._asking.execute("UPDATE settings SET value = value - 1 WHERE name = 'commits'")
            commit.remove_document(added.key)
        with index.backend.view() as view:
            assert asked(view, "one four") == ((2, 0), 2)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE documents SET facts = '{}'", "The filter year == 1999 finds other passages: 2 of 3 differ"),
        ("UPDATE chunks SET lexemes = ''", "A search for 'Rotate every logs', of the passage"),
    ],
)
def test_what_searches_go_by_is_proven_and_can_only_be_sent_to_another_place(
    url: str, tmp_path: Path, damage: str, told: str
) -> None:
    """All filters were wrong and it was proven to be the same; words were lost, and the advice was to wait for indexes."""
    import psycopg

    server, _, name = url.rpartition("library=")
    with stackroom.open(tmp_path / "local", embedder=WordEmbedder()) as index:
        index.add_documents(DOCUMENTS)
        assert index.push(url).proof.ok
        with psycopg.connect(server.rstrip("?&"), autocommit=True) as owner:
            owner.execute(f'SET search_path TO "stackroom_{name}"')
            owner.execute(damage)
        for _ in range(2):
            with pytest.raises(MigrationError) as caught:
                index.push(url)
            assert told in "\n".join(caught.value.actual)
            assert "Push under another name" in caught.value.hint
        assert index.push(f"{url}2").proof.ok
