"""Engines that others build and run: a library lives on one of them, and `Index` works on it as on a folder.

Each is a room of its own, whose client is an extra and is imported when a library of its kind is opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from stackroom._optional import require
from stackroom.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from stackroom.backend import Backend

ENGINES = {"chroma": "ChromaStore", "milvus": "MilvusStore", "postgresql": "PostgresStore", "qdrant": "QdrantStore"}
"""The schemes of the URLs by which libraries on engines are named, each with its Backend; scheme, room and extra have one name."""
PORTS = {"chroma": 8000, "milvus": 19530, "postgresql": 5432, "qdrant": 6333}
"""Where each engine listens unless a URL says otherwise."""

_NAMING = {"library", "tls", "host", "hostaddr", "port", "dbname", "user", "service", "servicefile"}
"""The options of URLs that say which library is meant; most are those of PostgreSQL's own client."""

_PORT = re.compile(r":[0-9]*$")


def open_engine(url: str, *, mode: str = "a") -> Backend:
    """The library at this URL; `mode` as in `stackroom.open`. Raises UsageError, NotFoundError, MissingExtraError, UnavailableError."""
    scheme = checked(url)
    room = require(f"stackroom.engines.{scheme}.store", extra=scheme)
    opened: Backend = getattr(room, ENGINES[scheme])(url, mode=mode)
    return opened


def checked(url: str) -> str:
    """The engine that this URL names, of which nothing is asked. Raises UsageError where it names none or a host that can't be, holds a password, or says something twice."""
    if "://" not in url:
        # It is not repeated: a URL that lacks its beginning may hold a password.
        raise UsageError("That is no URL of a library on an engine.", hint=_EXAMPLE)
    scheme = _scheme(url)
    if scheme not in ENGINES:
        raise UsageError(f"There is no engine {scheme!r}.", hint=f"There is: {', '.join(ENGINES)}.", actual=scheme)
    named = _options_of(url, scheme)
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}= stands twice in {url}.", hint="Say it once.", actual=twice)
    _require_hosts(url)
    return scheme


def _require_hosts(url: str) -> None:
    """Raises UsageError for a host that can't be one: clients fail each in its own way."""
    parts = urlsplit(url)
    named = [parts.netloc.rpartition("@")[2], *(value for name, value in options_of(parts.query) if name == "host")]
    for host in ",".join(named).split(","):
        name = _PORT.sub("", host)
        if name.startswith(("/", "%")):
            continue
        try:
            name.encode("idna")
        except UnicodeError:
            raise UsageError(
                f"{name!r} of {url} can't be the name of a host.", hint="Correct the URL.", actual=name
            ) from None


def normalised(url: str) -> str:
    """The same for URLs that mean one library: whatever the case of scheme and host, the usual port, a slash at the end (also of a socket's folder),
    the order of options, and options that say how it is reached or made (`connect_timeout`, `shards`).

    No password is left in it.
    """
    scheme, parts = _scheme(url), urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    usual = f":{PORTS.get(scheme)}"
    # PostgreSQL takes several, and a socket's folder, whose letters count.
    where = ",".join((host if "%" in host else host.lower()).removesuffix(usual) for host in hosts.split(","))
    options = options_of(parts.query)
    naming = [(name, _folders(value) if name == "host" else value) for name, value in options if name in _NAMING]
    # For people too: a folder is told as they write it.
    query = query_of(sorted(naming), safe="/,")
    return joined(scheme, user.partition(":")[0] + at + where, parts.path.rstrip("/"), query)


def joined(scheme: str, netloc: str, path: str, query: str) -> str:
    """The parts as a URL. `urlunsplit` leaves out the slashes before a host that is empty, and PostgreSQL's client takes no URL without."""
    return f"{scheme}://{netloc}{path}{'?' if query else ''}{query}"


def options_of(query: str) -> list[tuple[str, str]]:
    """What stands behind the `?`. PostgreSQL's client takes a + as it stands, and so it is no space here."""
    return parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)


def query_of(options: Sequence[tuple[str, str]], *, safe: str = "") -> str:
    """The same again."""
    return urlencode(options, safe=safe, quote_via=quote)


def _folders(hosts: str) -> str:
    """Folders of sockets without a slash at the end."""
    return ",".join((host.rstrip("/") or "/") if host.startswith("/") else host for host in hosts.split(","))


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


def _options_of(url: str, scheme: str) -> list[str]:
    """The names of what stands behind the `?`. Raises UsageError for a password, which is not repeated: URLs are told in errors, logs and lists of processes."""
    try:
        parts = urlsplit(url)
        named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:
        raise UsageError("This URL can't be read.", hint=_EXAMPLE) from None
    if parts.password or not _SECRETS.isdisjoint(map(str.lower, named)):
        raise UsageError(
            "A library's URL holds no password: others could read it.",
            hint=_INSTEAD[scheme],
        )
    return named


def something_else(url: str, engine: str, said: str) -> UnavailableError:
    """Another server, or none of its kind. It is not away, so that no copy answers for a mistyped port, and nobody waits for it."""
    return UnavailableError(
        f"What answers at {url} does not answer as {engine} does: {said}",
        hint="Correct the URL: its host, its port, and whether it says tls=true.",
        path=url,
    )
