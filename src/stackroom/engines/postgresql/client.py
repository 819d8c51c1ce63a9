"""The client: connections to a server, vectors as numpy arrays, and its errors in Stackroom's words."""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import psycopg
from psycopg import conninfo, errors, pq
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.types import TypeInfo

from stackroom.engines import joined, options_of, query_of, something_else
from stackroom.engines.postgresql.asking import Row
from stackroom.errors import (
    BusyError,
    DiskFullError,
    EngineAwayError,
    ReadOnlyError,
    StackroomError,
    StorageError,
    UnavailableError,
    UsageError,
)

Connection = psycopg.Connection[Row]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_DEFAULT_NAME = "library"
_SECONDS = 10
"""A server that does not answer for so long is away; `connect_timeout` in the URL or PGCONNECT_TIMEOUT says otherwise."""


class Place(NamedTuple):
    """Where a library is: what the server is asked by, and the schema. Neither holds a password."""

    url: str
    """As the user wrote it."""
    server: str
    schema: str

    @classmethod
    def of(cls, url: str) -> Place:
        """`postgresql://[user@]host[:port]/database?library=NAME`. Raises UsageError."""
        parts = urlsplit(url)
        options = options_of(parts.query)
        library = dict(options).get("library", _DEFAULT_NAME)
        if not _NAME.fullmatch(library):
            raise UsageError(
                f"{library!r} can't be a library's name on PostgreSQL.",
                hint="Use up to 40 letters, digits, _ and -: postgresql://host/database?library=NAME",
                actual=library,
            )
        query = query_of([(name, value) for name, value in options if name != "library"])
        return cls(url, joined("postgresql", parts.netloc, parts.path, query), f"stackroom_{library}")


class _VectorDumper(Dumper):
    """float32 of shape (dim,) as pgvector's binary form: the dimension, two bytes for nothing, and the numbers, big-endian."""

    format = pq.Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        numbers: bytes = obj.astype(">f4").tobytes()
        return struct.pack(">HH", len(obj), 0) + numbers


class _VectorLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> Any:
        return np.frombuffer(bytes(data[4:]), dtype=">f4").astype("<f4")


def connect(place: Place, *, autocommit: bool = False) -> Connection:
    """A connection whose statements mean this library. Raises UnavailableError, UsageError."""
    try:
        named = conninfo.conninfo_to_dict(place.server)
    except psycopg.ProgrammingError as error:
        raise UsageError(
            f"{place.url} is no address of PostgreSQL: {_first_line(error)}",
            hint="It is postgresql://USER@HOST:PORT/DATABASE?library=NAME, with what else libpq knows behind it.",
            path=place.url,
        ) from error
    with translated(place):
        options: dict[str, Any] = {"application_name": "stackroom", **named}
        if "PGCONNECT_TIMEOUT" not in os.environ:
            options.setdefault("connect_timeout", _SECONDS)
        connection: Connection = psycopg.connect(**options, autocommit=True)
        # The schema's name is of letters, digits, _ and - alone.
        connection.execute(f'SET search_path = "{place.schema}", public'.encode())
        connection.execute(b"SET client_encoding = 'UTF8'")
        _register(connection)
        connection.autocommit = autocommit
        return connection


def _register(connection: Connection) -> None:
    """Let vectors come and go as arrays; a database without pgvector yet has none."""
    info = TypeInfo.fetch(connection, "vector")
    if info is None:
        return
    info.register(connection)
    connection.adapters.register_dumper(np.ndarray, type("VectorDumper", (_VectorDumper,), {"oid": info.oid}))
    connection.adapters.register_loader(info.oid, _VectorLoader)


def ready_for_vectors(connection: Connection, place: Place) -> None:
    """Have pgvector in the database. Raises UnavailableError."""
    try:
        connection.execute(b"CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    except (errors.FeatureNotSupported, errors.UndefinedFile, errors.InsufficientPrivilege) as error:
        raise UnavailableError(
            f"The database of {place.url} has no pgvector ({_first_line(error)}).",
            hint="Install pgvector on the server, then in the database: CREATE EXTENSION vector",
            path=place.url,
        ) from error
    _register(connection)


@contextlib.contextmanager
def translated(place: Place) -> Iterator[None]:
    """Errors of the client become Stackroom's; what they say names no password."""
    try:
        yield
    except psycopg.Error as error:
        raise _translation(error, place) from error


def _translation(error: psycopg.Error, place: Place) -> StackroomError:
    said, state = _first_line(error), error.sqlstate or ""
    if isinstance(error, errors.DiskFull):
        return DiskFullError(
            f"The server of {place.url} has no space left.",
            hint="Make space there; the library is as it was before the commit.",
            path=place.url,
        )
    if isinstance(error, errors.InsufficientPrivilege | errors.ReadOnlySqlTransaction):
        return ReadOnlyError(f"The server of {place.url} refuses: {said}", hint="Ask who runs it.", path=place.url)
    if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected | errors.LockNotAvailable):
        return BusyError(f"Somebody else changes {place.url}.", hint="Try again.", path=place.url)
    if state[:2] in ("28", "3D") or (not state and _refuses(error, said)):
        return UnavailableError(
            f"The server of {place.url} refuses the login: {said}",
            hint="Correct the URL; credentials come from PGUSER, PGPASSWORD and ~/.pgpass.",
            path=place.url,
        )
    if not state and "invalid response to SSL negotiation" in said:
        return something_else(place.url, "PostgreSQL", said)
    # Classes 08 and 57P: the connection, and a server that goes down. Without a state: there was no answer.
    if state[:2] in ("", "08", "53") or state[:3] == "57P":
        return EngineAwayError(
            f"The server of {place.url} is not there: {said}",
            hint="Start it, or correct the URL. What was committed stays.",
            path=place.url,
        )
    return StorageError(f"The server of {place.url} failed ({state}): {said}", path=place.url)


_REFUSED = re.compile(r"FATAL: .*(authentication failed|pg_hba\.conf|does not exist|not permitted|permission denied)")

_BUSY = re.compile(
    r"connection slots are reserved|too many (clients|connections)|terminating connection|closed the connection"
    r"|starting up|shutting down|recovery mode|refused|timeout"
)
"""What a server says that has taken a password, and serves nobody now."""


def _refuses(error: psycopg.Error, said: str) -> bool:
    """Whether a connection failed by its login. libpq gives no state for that: it tells of passwords, and of the rest there is the text alone."""
    tried = error.pgconn
    if _BUSY.search(said):
        return False
    return (tried is not None and (tried.needs_password or tried.used_password)) or bool(_REFUSED.search(said))


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return text.strip().partition("\n")[0] or type(error).__name__
