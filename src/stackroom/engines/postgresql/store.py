"""A library in a schema of a PostgreSQL database: a Backend. Views are snapshots of the server, a commit is a transaction."""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from psycopg import IsolationLevel

from stackroom import copied
from stackroom.engines.postgresql import nearest, tables
from stackroom.engines.postgresql.asking import Asking
from stackroom.engines.postgresql.client import Connection, Place, connect, ready_for_vectors, translated
from stackroom.engines.postgresql.snapshot import PostgresView
from stackroom.engines.postgresql.values import unpack
from stackroom.engines.postgresql.writing import PostgresCommit
from stackroom.engines.records import load_identity, unreadable_of
from stackroom.engines.store import SHOWN_FAILURES, EngineStore
from stackroom.errors import (
    BusyError,
    NotALibraryError,
    UsageError,
)
from stackroom.reports import Failure, Stats
from stackroom.storage.derived import Newest

if TYPE_CHECKING:
    from stackroom.backend import Capability
    from stackroom.progress import CancelToken

_WRITER, _INGEST = 1, 2
_LOOKS = 0.02
"""Seconds between two looks at a lock that somebody holds."""


class PostgresStore(EngineStore):
    capabilities: frozenset[Capability] = frozenset()
    engine = "PostgreSQL"
    instead: dict[Capability, str] = {  # noqa: RUF012 - a table of constants
        "verify": "The server checks its pages by itself where it was made with --data-checksums; amcheck looks at indexes.",
        "repair": "Restore it from the server's backup, or push it again from a library that is whole.",
        "compact": "The server does that by itself (autovacuum).",
        "backup": "Use pg_dump --schema, or: stackroom --library NEW pull URL",
        "purge": "After a removal: VACUUM FULL on the server. Its backups and its log of changes are its own.",
        "reembed": "Pull it into a local library, change the model there, and push it under another name.",
    }

    def __init__(self, url: str, *, mode: str = "a") -> None:
        """Modes are those of `stackroom.open`. Raises UsageError, NotFoundError, NotALibraryError, UnavailableError."""
        self.place = Place.of(url)
        super().__init__(url, mode=mode)
        connection = connect(self.place, autocommit=True)
        try:
            with translated(self.place):
                self._prepare(Asking(connection), mode)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def _connect(self) -> None:
        self._idle: list[Connection] = []
        self._guard = threading.Lock()
        self._derived = Newest()

    def _connections(self) -> object:
        return self._idle

    def _prepare(self, asking: Asking, mode: str) -> None:
        schema = self.place.schema
        exists = asking.value("SELECT to_regnamespace(%s) IS NOT NULL", (f'"{schema}"',))
        self._check_mode(mode, exists=exists)
        if not exists:
            self._create(asking)
        # By its whole name: without permission for the schema the server says so, and a search path would pass it over.
        if asking.value("SELECT to_regclass(%s) IS NULL", (f'"{schema}".settings',)):
            raise NotALibraryError(
                f"The schema {schema} of {self.url} is no Stackroom library.",
                hint="Choose another name: ?library=NAME",
                path=self.url,
            )
        found = asking.value("SELECT value FROM settings WHERE name = 'format'")
        if found is None or found > tables.FORMAT:
            raise self._newer(tables.FORMAT, found)

    def _create(self, asking: Asking) -> None:
        """The schema with its tables, in one transaction."""
        if asking.value("SHOW server_encoding") != "UTF8":
            raise UsageError(
                f"The database of {self.url} does not hold Unicode.",
                hint="Make one: CREATE DATABASE ... ENCODING 'UTF8'",
                path=self.url,
            )
        # Not within the transaction: others may make it at the same time, and then it is there.
        asking.execute("SELECT pg_advisory_lock(%s, %s)", self._lock(_WRITER))
        try:
            ready_for_vectors(asking.connection, self.place)
            if asking.value("SELECT to_regnamespace(%s) IS NULL", (f'"{self.place.schema}"',)):
                with asking.connection.transaction():
                    asking.execute(f'CREATE SCHEMA "{self.place.schema}"')
                    for statement in tables.TABLES:
                        asking.execute(statement)
        finally:
            with contextlib.suppress(Exception):
                asking.execute("SELECT pg_advisory_unlock(%s, %s)", self._lock(_WRITER))

    def _lock(self, kind: int) -> tuple[int, int]:
        """The numbers by which the server knows a lock of this library."""
        number = zlib.crc32(self.place.schema.encode())
        return (number - (1 << 32) if number >= 1 << 31 else number), kind

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Asking]:
        """A connection outside of a transaction, that is put back whole."""
        self._check_open()
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        with translated(self.place):
            if connection is None or connection.broken:
                connection = connect(self.place, autocommit=True)
            try:
                yield Asking(connection)
            finally:
                self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        from psycopg.pq import TransactionStatus

        with self._guard:
            whole = connection.info.transaction_status == TransactionStatus.IDLE
            keep = self._is_mine and whole
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    @contextlib.contextmanager
    def view(self) -> Iterator[PostgresView]:
        """A snapshot of the newest commit. Raises ClosedError, UnavailableError."""
        with unreadable_of(self.url), self._connected() as asking, asking.connection.transaction():
            asking.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found: dict[str, int] = dict(
                asking.rows("SELECT name, value FROM settings WHERE name IN ('commits', 'commit_id')")
            )
            version, commit_id = int(found["commits"]), str(found.get("commit_id", "")).encode()
            yield PostgresView(asking, self._derived.of(version, commit_id), version)

    @contextlib.contextmanager
    def commit(self, *, wait: float = 30.0) -> Iterator[PostgresCommit]:
        """One commit: durable and visible when the block ends, nothing when it raises. Raises BusyError, UnavailableError."""
        self._check_writable()
        with unreadable_of(self.url), self._connected() as asking, asking.connection.transaction():
            asking.execute(f"SET TRANSACTION ISOLATION LEVEL {IsolationLevel.READ_COMMITTED.name.replace('_', ' ')}")
            self._take(asking, "SELECT pg_try_advisory_xact_lock(%s, %s)", _WRITER, wait)
            commit = PostgresCommit(asking)
            yield commit
            commit.finish()

    def _take(self, asking: Asking, statement: str, kind: int, wait: float) -> None:
        end = time.monotonic() + wait
        while not asking.value(statement, self._lock(kind)):
            if time.monotonic() >= end:
                holder = self._holder(asking, kind)
                raise BusyError(
                    f"{holder} is writing to {self.url}.",
                    hint="Wait until it is done, then try again.",
                    path=self.url,
                    actual=holder,
                )
            time.sleep(_LOOKS)

    def _holder(self, asking: Asking, kind: int) -> str:
        number, _ = self._lock(kind)
        row = asking.row(
            """SELECT a.application_name, a.client_addr::text, a.pid FROM pg_locks l JOIN pg_stat_activity a USING(pid)
               WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = %s AND l.objid = %s""",
            (number & 0xFFFFFFFF, kind),
        )
        if row is None:
            return "Somebody else"
        name, address, pid = row
        return f"{name or 'A client'} ({address or 'this machine'}, server process {pid})"

    @contextlib.contextmanager
    def lease(self, purpose: str, *, wait: float = 0.0) -> Iterator[None]:
        """Hold the right to run a long ingest. Raises BusyError naming the holder."""
        self._check_writable()
        with self._connected() as asking:
            self._take(asking, "SELECT pg_try_advisory_lock(%s, %s)", _INGEST, wait)
            asking.execute("SELECT set_config('application_name', %s, false)", (f"stackroom {purpose}"[:60],))
            try:
                yield
            finally:
                # A connection that broke has lost its locks.
                with contextlib.suppress(Exception):
                    asking.execute("SELECT pg_advisory_unlock(%s, %s)", self._lock(_INGEST))
                    asking.execute("SET application_name = 'stackroom'")
        self.maintain()

    def maintain(self, *, cancel: CancelToken | None = None) -> None:
        """Make the vector index that is due, while others read and write, and let the server count its rows."""
        del cancel
        self._check_writable()
        with unreadable_of(self.url), self._connected() as asking:
            if not asking.value("SELECT pg_try_advisory_lock(%s, %s)", self._lock(_INGEST)):
                return
            try:
                for space_key, identity in asking.rows("SELECT space_key, identity FROM spaces"):
                    nearest.make_index(asking, space_key, load_identity(identity))
                for table in ("sources", "documents", "chunks", "vectors"):
                    asking.execute(f"ANALYZE {table}")
            finally:
                with contextlib.suppress(Exception):
                    asking.execute("SELECT pg_advisory_unlock(%s, %s)", self._lock(_INGEST))
        self._derived.forget()

    def stats(self) -> Stats:
        """The newest commit in numbers."""
        with self.view() as view:
            asking = view._asking
            sizes: dict[str, int] = dict(
                asking.rows(
                    """SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c
                       WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'"""
                )
            )
            made = asking.value(
                """SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint FROM pg_class c
                   WHERE c.relnamespace = current_schema()::regnamespace AND c.relname LIKE 'vectors_nearest_%'"""
            )
            vectors = sizes.pop("vectors", 0) - made
            failed = asking.rows(
                f"SELECT name, error, error_kind FROM sources WHERE error IS NOT NULL ORDER BY name LIMIT {SHOWN_FAILURES}"
            )
            (counts,) = asking.rows(
                f"""SELECT (SELECT count(*) FROM sources), (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks),
                       (SELECT count(*) FROM sources WHERE active), (SELECT count(*) FROM sources WHERE error IS NOT NULL),
                       (SELECT count(*) FROM sources WHERE state = 'partial' AND error IS NULL),
                       (SELECT coalesce(sum(pages_without_text), 0)::bigint FROM sources),
                       (SELECT count(*) FROM vectors WHERE space_key = {tables.SERVING}),
                       (SELECT count(*) FROM documents WHERE facts ? 'hidden_characters'),
                       (SELECT count(*) FROM documents WHERE facts ? 'recognised_pages')"""
            )
            sources, documents, chunks, active, failures, unfinished, blank, with_vector, hiding, recognised = counts
            version = asking.value("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            return Stats(
                library=self.url,
                format_version=tables.FORMAT,
                sources=sources,
                documents=documents,
                chunks=chunks,
                active_sources=active,
                embedder=view.identity,
                bytes={
                    "catalogue": sum(sizes.values()),
                    "vectors": vectors,
                    "sketches": made,
                    "total": sum(sizes.values()) + vectors + made,
                },
                failed=tuple(Failure(unpack(name), unpack(error), kind or "") for name, error, kind in failed),
                failed_count=failures,
                unfinished=unfinished,
                # Its sources may be files of any machine.
                missing=0,
                pages_without_text=blank,
                sqlite="",
                engine=f"PostgreSQL {asking.value('SHOW server_version')}, pgvector {version}",
                needs_embedding=chunks - with_vector,
                collections=self._collections(view),
                hiding=hiding,
                recognised=recognised,
                copied=copied.read(view.attachment(copied.RECORD), view.version),
            )

    def close(self) -> None:
        if not self._is_mine:
            return
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
