"""A library in collections of a Milvus server: a Backend. Views are versions of its rows, a commit is a new version."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stackroom.engines.limits import Limits
from stackroom.engines.milvus import purging, records
from stackroom.engines.milvus.asking import RECORD_FIELDS, Asking
from stackroom.engines.milvus.client import Place, Server
from stackroom.engines.milvus.gate import Gate, Mark
from stackroom.engines.milvus.sending import Sender, create
from stackroom.engines.milvus.snapshot import MilvusView
from stackroom.engines.milvus.tables import (
    ACTIVE,
    BLANK,
    DOCUMENT,
    FAILED,
    FORMAT,
    HIDING,
    RECOGNISED,
    RECORDS,
    ROWS_OF_A_COMMIT,
    SOURCE,
    STATE,
    State,
    gate_schema,
    some,
)
from stackroom.engines.milvus.writing import MilvusCommit
from stackroom.errors import (
    BusyError,
    ClosedError,
    FormatVersionError,
    NotALibraryError,
    NotFoundError,
    ReadOnlyError,
    StackroomError,
    StorageError,
    UsageError,
)
from stackroom.reports import Collection, Failure, Stats
from stackroom.storage.derived import Derived, Newest

if TYPE_CHECKING:
    from stackroom.backend import Capability
    from stackroom.progress import CancelToken

_SHOWN_FAILURES = 10
_SEALED = 1_000
"""Rows for which a segment is sealed."""
_MAKING = 20.0
"""Seconds in which another client that makes the same library has made it."""


class MilvusStore(Limits):
    """Usable from several threads; a forked child opens a connection of its own."""

    capabilities: frozenset[Capability] = frozenset()
    engine = "Milvus"
    instead: dict[Capability, str] = {  # noqa: RUF012 - a table of constants
        "verify": "Milvus keeps checksums of its files itself; `push` compares every passage and vector with the library they came from.",
        "repair": "Restore it with milvus-backup, or push it again from a library that is whole.",
        "compact": "The server does that by itself; what was removed is given back to it a day later.",
        "backup": "Use milvus-backup, or: stackroom --library NEW pull URL",
        "purge": "Removed rows are deleted a day later; how long the server's files keep them is its own setting (dataCoord.gc).",
        "reembed": "Pull it into a local library, change the model there, and push it under another name.",
    }

    def __init__(self, url: str, *, mode: str = "a") -> None:
        """Modes are those of `stackroom.open`. Raises UsageError, NotFoundError, NotALibraryError, UnavailableError."""
        self.place = Place.of(url)
        self.read_only = mode == "r"
        self._connect()
        try:
            self._prepare(mode)
        except BaseException:
            self._server.close()
            raise

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._guard = threading.Lock()
        self._derived = Newest()
        self._unsealed = 0
        self._server = Server(self.place)
        self._gate = Gate(self._server, self.place.collection(f"format_{FORMAT}_at_"), gate_schema())
        self._ingest = Gate(self._server, self.place.collection("ingest_"), gate_schema())

    def _prepare(self, mode: str) -> None:
        mark = self._gate.look()
        if mark is not None and mode == "x":
            raise NotALibraryError(
                f"{self.place.url} holds a library already.",
                hint="Open it with mode='a', or choose another name.",
                path=self.place.url,
            )
        if mark is None:
            self._refuse_newer()
            if mode == "r":
                raise NotFoundError(
                    f"There is no library at {self.place.url}.",
                    hint="Send one there: stackroom push URL",
                    path=self.place.url,
                )
            self._create()
            return
        state = self._state(mark)
        if state.table and self.place.index_type not in (None, state.index):
            raise UsageError(
                f"The library {self.place.url} was made with the index {state.index}.",
                hint="Open it without index=, or push it under another name.",
                expected=state.index,
                actual=self.place.index_type,
            )

    def _refuse_newer(self) -> None:
        """The format stands in the gate's name: a newer one is another gate."""
        prefix = self.place.collection("format_")
        for name in self._server.names():
            if name.startswith(prefix):
                found = name.removeprefix(prefix).partition("_")[0]
                raise FormatVersionError(
                    f"The library {self.place.url} was written by a newer Stackroom (format {found}).",
                    hint="Upgrade with: pip install --upgrade stackroom",
                    path=self.place.url,
                    expected=FORMAT,
                    actual=found,
                )

    def _create(self) -> None:
        """Its records and its gate. The records get their name by a rename, which one client alone can do: it makes the gate."""
        name = self.place.collection(RECORDS)
        if not self._server.call("has_collection", name):
            mine = self.place.collection(f"new_{uuid.uuid4().hex}")
            create(self._server, RECORDS, mine)
            try:
                self._server.call("rename_collection", mine, name)
                self._server.call("load_collection", name)
                self._gate.create()
                return
            except StorageError:
                self._server.call("drop_collection", mine)
                if not self._server.call("has_collection", name):
                    raise
        end = time.monotonic() + _MAKING
        while self._gate.look() is None:
            if time.monotonic() > end:
                # Whoever began has stopped.
                self._server.call("load_collection", name)
                self._gate.create()
                return

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            # A parent's connection is its own: it is left as it is.
            _ORPHANS.append(self._server)
            self._connect()
        if self._closed:
            raise ClosedError(f"The library {self.place.url} was closed.", hint="Open it again.", path=self.place.url)

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise ReadOnlyError(
                f"{self.place.url} was opened read-only.", hint="Open it with mode='a'.", path=self.place.url
            )

    def _mark(self) -> Mark:
        mark = self._gate.look()
        if mark is None:
            raise NotFoundError(
                f"There is no library at {self.place.url} any more.", hint="Open another one.", path=self.place.url
            )
        return mark

    def _known(self, mark: Mark) -> Derived:
        return self._derived.of(mark.version, mark.commit.encode())

    def _state(self, mark: Mark) -> State:
        if not mark.version:
            return State()
        return self._known(mark).get("state", lambda: self._load(mark.version))

    def _load(self, version: int) -> State:
        rows = self._server.call(
            "query",
            self.place.collection(RECORDS),
            filter=f"id == {version * ROWS_OF_A_COMMIT} and kind == {STATE}",
            output_fields=list(RECORD_FIELDS),
            consistency_level="Strong",
        )
        if not rows:
            raise StorageError(
                f"The library {self.place.url} says that it has version {version}, and has it not.",
                hint="Restore it with milvus-backup, or push it again under another name.",
                path=self.place.url,
            )
        asking = Asking(self._server, State(version=version))
        return State.load(asking.whole(list(rows))[0]["data"])

    @contextlib.contextmanager
    def view(self) -> Iterator[MilvusView]:
        """The newest version. Raises ClosedError, UnavailableError."""
        self._check_open()
        mark = self._mark()
        yield MilvusView(Asking(self._server, self._state(mark)), self._known(mark))

    @contextlib.contextmanager
    def commit(self, *, wait: float = 30.0) -> Iterator[MilvusCommit]:
        """One commit: durable and visible when the block ends, nothing when it raises. Raises BusyError, UnavailableError."""
        self._check_writable()
        hold = self._gate.take("commit", wait=wait, url=self.place.url)
        sender: Sender | None = None
        try:
            before = self._state(hold.before)
            sender = Sender(self._server, hold, before)
            commit = MilvusCommit(Asking(self._server, before), self._known(hold.before), hold.attempt)
            yield commit
            commit.finish()
            sender.send(commit)
        except BaseException:
            # A gate that can't be left now is taken from us by our next commit.
            with contextlib.suppress(StackroomError):
                hold.release(used=sender is not None and sender.has_sent)
            raise
        hold.publish(lambda now: hold.attempt in self._state(now).aborted)
        self._unsealed += sender.sent

    @contextlib.contextmanager
    def lease(self, purpose: str, *, wait: float = 0.0) -> Iterator[None]:
        """Hold the right to run a long ingest. Raises BusyError naming the holder."""
        self._check_writable()
        if self._ingest.look() is None:
            self._ingest.create()
        hold = self._ingest.take(f"stackroom {purpose}", wait=wait, url=self.place.url)
        try:
            yield
        finally:
            with contextlib.suppress(StackroomError):
                hold.release(used=True)
        self.maintain()

    def maintain(self, *, cancel: CancelToken | None = None) -> None:
        """Have what was written since sealed, which is searched quicker, and give back what was removed more than a day ago.

        Nothing where somebody writes.
        """
        self._check_writable()
        self._seal()
        with contextlib.suppress(BusyError):
            hold = self._gate.take("maintenance", wait=0.0, url=self.place.url)
            try:
                purging.purge(self._server, Asking(self._server, self._state(hold.before)), hold, cancel)
            finally:
                with contextlib.suppress(StackroomError):
                    hold.release(used=False)

    def _seal(self) -> None:
        """Milvus indexes rows once their segment is sealed; of few rows it would make a small segment, and does it later by itself."""
        if self._unsealed < _SEALED:
            return
        state = self._state(self._mark())
        # A server may refuse to do it so often, which is no harm.
        with contextlib.suppress(StorageError, BusyError):
            self._server.call("flush", self.place.collection(state.chunk_table))
            self._unsealed = 0

    def stats(self) -> Stats:
        """The newest commit in numbers."""
        with self.view() as view:
            asking, state = view.asking, view.asking.state

            def count(kind: int, bits: int | None = None) -> int:
                flagged = "" if bits is None else f" and {some('flag', [flag for flag in range(8) if flag & bits])}"
                return asking.count(RECORDS, f"kind == {kind}{flagged}")

            failing = some("flag", [flag for flag in range(8) if flag & FAILED])
            blank = some("flag", [flag for flag in range(8) if flag & BLANK])
            failed = sorted(map(records.to_source, asking.records(SOURCE, failing)), key=lambda one: one.name)
            pages = [records.to_source(row).pages_without_text or 0 for row in asking.records(SOURCE, blank)]
            identity = view.identity
            dim = None if identity is None else identity.dim
            vectors = state.vectors * (dim or 0) * 4
            return Stats(
                library=self.place.url,
                format_version=FORMAT,
                sources=count(SOURCE),
                documents=count(DOCUMENT),
                chunks=state.chunks,
                active_sources=count(SOURCE, ACTIVE),
                embedder=identity,
                # As they were sent: Milvus does not say what its files and copies take.
                bytes={"texts": state.size, "vectors": vectors, "total": state.size + vectors},
                failed=tuple(
                    Failure(one.name, one.error or "", one.error_kind or "") for one in failed[:_SHOWN_FAILURES]
                ),
                failed_count=len(failed),
                # Its sources may be files of any machine.
                missing=0,
                pages_without_text=sum(pages),
                sqlite="",
                engine=f"Milvus {self._server.call('get_server_version')}",
                needs_embedding=state.chunks - state.vectors,
                collections=tuple(
                    Collection(
                        item.name, item.chunks, item.identity.dim if item.identity else dim, item.identity is not None
                    )
                    for item in view.collections()
                ),
                hiding=count(DOCUMENT, HIDING),
                recognised=count(DOCUMENT, RECOGNISED),
            )

    def close(self) -> None:
        if self._closed or self._pid != os.getpid():
            return
        with self._guard:
            self._closed = True
        self._server.close()


_ORPHANS: list[Server] = []
"""Connections of a forked child's parent: closing them would end the parent's."""
