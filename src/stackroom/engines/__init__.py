"""Engines that others build and run: a library lives on one of them, and `Index` works on it as on a folder.

Each is a room of its own, whose client is an extra and is imported when a library of its kind is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from stackroom._optional import require
from stackroom.errors import UsageError

if TYPE_CHECKING:
    from stackroom.backend import Backend

ENGINES = {"chroma": "ChromaStore", "milvus": "MilvusStore", "postgresql": "PostgresStore", "qdrant": "QdrantStore"}
"""The schemes of the URLs by which libraries on engines are named, each with its Backend; scheme, room and extra have one name."""
PORTS = {"chroma": 8000, "milvus": 19530, "postgresql": 5432, "qdrant": 6333}
"""Where each engine listens unless a URL says otherwise."""

_NAMING = {"library", "tls", "host", "hostaddr", "port", "dbname", "user", "service", "servicefile"}
"""The options of URLs that say which library is meant; most are those of PostgreSQL's own client."""


def open_engine(url: str, *, mode: str = "a") -> Backend:
    """The library at this URL; `mode` as in `stackroom.open`. Raises UsageError, NotFoundError, MissingExtraError, UnavailableError."""
    scheme = checked(url)
    room = require(f"stackroom.engines.{scheme}.store", extra=scheme)
    opened: Backend = getattr(room, ENGINES[scheme])(url, mode=mode)
    return opened


def checked(url: str) -> str:
    """The engine that this URL names, of which nothing is asked. Raises UsageError where it names none, or holds a password."""
    if "://" not in url:
        # It is not repeated: a URL that lacks its beginning may hold a password.
        raise UsageError("That is no URL of a library on an engine.", hint=_EXAMPLE)
    scheme = _scheme(url)
    if scheme not in ENGINES:
        raise UsageError(f"There is no engine {scheme!r}.", hint=f"There is: {', '.join(ENGINES)}.", actual=scheme)
    _refuse_password(url, scheme)
    return scheme


def normalised(url: str) -> str:
    """The same for URLs that mean one library: whatever the case of scheme and host, the usual port, a slash at the end, the order of options,
    and options that say how it is reached or made (`connect_timeout`, `shards`).

    No password is left in it.
    """
    scheme, parts = _scheme(url), urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    usual = f":{PORTS.get(scheme)}"
    # PostgreSQL takes several, and a socket's folder, whose letters count.
    where = ",".join((host if "%" in host else host.lower()).removesuffix(usual) for host in hosts.split(","))
    options = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode(sorted((name, value) for name, value in options if name in _NAMING))
    return urlunsplit((scheme, user.partition(":")[0] + at + where, parts.path.rstrip("/"), query, ""))


def _scheme(url: str) -> str:
    scheme = url.partition("://")[0].lower()
    return "postgresql" if scheme == "postgres" else scheme


_EXAMPLE = "For example: postgresql://host:5432/database?library=NAME"
_INSTEAD = {
    "chroma": "Put it into the environment: CHROMA_API_KEY.",
    "milvus": "Put it into the environment: MILVUS_TOKEN, or MILVUS_USER and MILVUS_PASSWORD.",
    "postgresql": "Put it into the environment (PGPASSWORD), or into ~/.pgpass.",
    "qdrant": "Put it into the environment: QDRANT_API_KEY.",
}
_SECRETS = {"api_key", "apikey", "password", "sslpassword", "token"}


def _refuse_password(url: str, scheme: str) -> None:
    """A URL is told in errors, logs and lists of processes; what is secret goes another way. The password is not repeated here."""
    try:
        parts = urlsplit(url)
        named = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:
        raise UsageError("This URL can't be read.", hint=_EXAMPLE) from None
    if parts.password or _SECRETS & set(named):
        raise UsageError(
            "A library's URL holds no password: others could read it.",
            hint=_INSTEAD[scheme],
        )
