"""What is said of engines without one: their names, their URLs, and an extra that is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import stackroom
from stackroom.engines import ENGINES, PORTS, checked, normalised, open_engine
from stackroom.engines.limits import Limits
from stackroom.errors import UsageError
from stackroom.storage.disk.layout import absolute


def test_an_unknown_engine_is_said() -> None:
    with pytest.raises(UsageError, match="mongodb") as caught:
        stackroom.open("mongodb://localhost/db")
    assert "postgresql" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:sesame@db/x",
        "postgresql://db/x?password=sesame",
        "postgres://me:sesame@db",
        "milvus://me:sesame@db/x",
        "milvus://db/x?token=sesame",
        "chroma://:sesame@db",
        "chroma://db?api_key=sesame",
        "qdrant://:sesame@db",
        "qdrant://db?api_key=sesame",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="no password") as caught:
        stackroom.open(url)
    assert "sesame" not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize("engine", ENGINES)
def test_urls_that_are_written_differently_are_the_same(engine: str) -> None:
    url = f"{engine}://db.example?library=papers&tls=true"
    assert normalised(url) == url
    for same in (
        f"{engine.upper()}://DB.Example?library=papers&tls=true",
        f"{engine}://db.example:{PORTS[engine]}?library=papers&tls=true",
        f"{engine}://db.example/?tls=true&library=papers",
        f"{engine}://db.example?connect_timeout=5&library=papers&shards=4&sslmode=require&tls=true",
    ):
        assert normalised(same) == url
    for other in (
        f"{engine}://db.example?library=Papers&tls=true",
        f"{engine}://db.example:1{PORTS[engine]}?library=papers&tls=true",
        f"{engine}://db.example/Papers?library=papers&tls=true",
        f"{engine}://me@db.example?library=papers&tls=true",
        f"{engine}://db.example?library=papers",
    ):
        assert normalised(other) == other
        assert normalised(other) != url


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("postgres://Me@A:5432,B:5433/Db/", "postgresql://Me@a,b:5433/Db"),
        ("postgresql://%2Fvar%2FRun/db?host=%2Ftmp%2FX", "postgresql://%2Fvar%2FRun/db?host=/tmp/X"),
        ("milvus://[2001:DB8::5]:19530", "milvus://[2001:db8::5]"),
        ("milvus://me:sesame@db", "milvus://me@db"),
        (
            "postgresql://a?user=u&port=1&hostaddr=::1&dbname=d",
            "postgresql://a?dbname=d&hostaddr=%3A%3A1&port=1&user=u",
        ),
        ("postgresql://a?service=s&servicefile=f&library=x", "postgresql://a?library=x&service=s&servicefile=f"),
    ],
)
def test_what_is_no_way_of_writing_stays_but_a_password(url: str, normal: str) -> None:
    assert normalised(url) == normal


def test_the_environment_may_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKROOM_LIBRARY", "mongodb://localhost/db")
    with pytest.raises(UsageError, match="mongodb"):
        stackroom.open()


def test_a_url_is_no_folder() -> None:
    with pytest.raises(UsageError, match="in a folder"):
        absolute("postgresql://localhost/db")


CLIENTS = {"chroma": "httpx", "milvus": "pymilvus", "postgresql": "psycopg", "qdrant": "qdrant_client"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_client_is_an_extra(tmp_path: Path, engine: str) -> None:
    code = f"""
import sys
sys.modules["{CLIENTS[engine]}"] = None
import stackroom
try:
    stackroom.open("{engine}://localhost/db")
except stackroom.errors.MissingExtraError as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == f"Install it with: pip install 'stackroom[{engine}]'"


def test_a_client_is_loaded_for_its_engine_alone(tmp_path: Path) -> None:
    code = (
        "import stackroom, sys; stackroom.open('library').close(); "
        f"print([name for name in {sorted(CLIENTS.values())} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_an_engine_without_anything_refuses_everything() -> None:
    assert Limits.capabilities == frozenset()


@pytest.mark.parametrize("url", ["postgresql://me@db/x?librar=other", "postgresql:///%zz"])
def test_what_is_no_address_is_not_called_away(url: str, tmp_path: Path) -> None:
    """A mistyped option was a server that is not there, for which a copy may answer."""
    pytest.importorskip("psycopg")
    with pytest.raises(UsageError, match="no address of PostgreSQL"):
        stackroom.open(url, copy=tmp_path)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ('FATAL:  password authentication failed for user "me"', True),
        ("FATAL:  Passwort-Authentifizierung fehlgeschlagen", True),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", False),
        ("FATAL:  terminating connection due to administrator command", False),
        ("server closed the connection unexpectedly", False),
    ],
)
def test_a_server_that_took_a_password_may_be_full_or_going_down(said: str, refused: bool) -> None:
    pytest.importorskip("psycopg")
    from stackroom.engines.postgresql import client

    class Tried:
        needs_password, used_password = False, True

    class Failed:
        pgconn = Tried()

    assert client._refuses(Failed(), said) is refused


@pytest.mark.parametrize("engine", ENGINES)
def test_an_option_that_stands_twice_is_refused(engine: str) -> None:
    """The last one counted on some engines, and said nothing."""
    url = f"{engine}://db.example/x?library=a&library=b"
    with pytest.raises(UsageError, match="library= stands twice") as caught:
        stackroom.open(url)
    assert url in caught.value.message


def test_a_value_that_cannot_be_is_told_with_those_that_can() -> None:
    from stackroom.engines.versioned.place import Place

    with pytest.raises(UsageError, match="shards=99") as caught:
        Place.of("qdrant://h?shards=99", engine="Qdrant", port=1, options={"shards": ("1", "2", "3", "4")})
    assert caught.value.hint == "Use shards=1 to 4."


def test_a_url_without_a_host_keeps_its_slashes() -> None:
    pytest.importorskip("psycopg")
    from stackroom.engines.postgresql.client import Place

    place = Place.of("postgres:///db?host=/tmp/s&user=me&library=a")
    assert place.server == "postgresql:///db?host=%2Ftmp%2Fs&user=me"
    assert place.schema == "stackroom_a"


@pytest.mark.parametrize("same", ["?host=/tmp/s/&library=a", "?library=a&host=%2Ftmp%2Fs", "/?host=/tmp/s&library=a"])
def test_the_folder_of_a_socket_may_end_in_a_slash_and_is_told_as_a_folder(same: str) -> None:
    assert normalised(f"postgresql:///db{same}") == "postgresql:///db?host=/tmp/s&library=a"
    assert normalised("postgresql:///db?host=/tmp/s/,/tmp/t/,c") == "postgresql:///db?host=/tmp/s,/tmp/t,c"


def test_a_space_and_a_plus_in_an_option_stay_what_they_are() -> None:
    """A space became a +, which PostgreSQL's client takes as it stands."""
    conninfo = pytest.importorskip("psycopg.conninfo")
    from stackroom.engines.postgresql.client import Place

    place = Place.of("postgresql:///db?host=/tmp/p%20g+h&options=-c%20statement_timeout%3D5s&library=a")
    named = conninfo.conninfo_to_dict(place.server)
    assert (named["host"], named["options"]) == ("/tmp/p g+h", "-c statement_timeout=5s")
    normal = "postgresql:///db?host=/tmp/p%20g%2Bh&library=a"
    assert normalised(place.url) == normalised(normal) == normal


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_can_be_no_host_is_no_server_that_is_away(engine: str, host: str) -> None:
    """Each client failed in its own way; of Chroma it was said that it answers, and not in JSON."""
    for url in (f"{engine}://{host}:1?library=x", f"{engine}://me@ok,{host}/x", f"postgresql:///x?host={host}"):
        with pytest.raises(UsageError, match="can't be the name of a host") as caught:
            checked(url)
        assert caught.value.actual == host


def test_hosts_of_every_kind_can_be() -> None:
    for host in (
        "",
        "a",
        "a.",
        "[::1]:8000",
        "%2Ftmp%2Fa..b",
        f"{'x' * 63}:19530",
        "bücher.example",
        "127.0.0.1:1,b:2",
    ):
        assert checked(f"postgresql://{host}/x?host=/tmp/a..b,/c") == "postgresql"


def test_a_host_that_chromas_client_refuses_is_told() -> None:
    pytest.importorskip("httpx")
    with pytest.raises(UsageError, match="can't be asked"):
        open_engine("chroma://a☃b")
