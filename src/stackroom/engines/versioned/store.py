"""A library in a database without transactions: a Backend. Views are versions of its rows, a commit is a new version."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stackroom import copied
from stackroom.engines.records import readable, unreadable_of
from stackroom.engines.store import SHOWN_FAILURES, EngineStore
from stackroom.engines.versioned import purging, records
from stackroom.engines.versioned.asking import RECORD_FIELDS, Asking, of_kind
from stackroom.engines.versioned.conditions import Among, both
from stackroom.engines.versioned.database import Database, Row
from stackroom.engines.versioned.gate import Gate, Mark
from stackroom.engines.versioned.sending import Sender
from stackroom.engines.versioned.snapshot import VersionedView
from stackroom.engines.versioned.tables import (
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
    UNFINISHED,
    State,
    flagged,
)
from stackroom.engines.versioned.writing import VersionedCommit
from stackroom.errors import BusyError, NotFoundError, StackroomError, StorageError, UsageError
from stackroom.reports import Failure, Stats
from stackroom.storage.derived import Derived, Newest

if TYPE_CHECKING:
    from stackroom.backend import Capability
    from stackroom.progress import CancelToken

_SEALED = 1_000
"""Chunks after which a table is sealed."""
_MAKING = 20.0
"""Seconds in which another client that makes the same library has made it."""


class VersionedStore(EngineStore):
    """An engine's own says which database it is on, and names its own ways in `instead`."""

    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, url: str, *, mode: str = "a") -> None:
        """Modes are those of `stackroom.open`. Raises UsageError, NotFoundError, NotALibraryError, UnavailableError."""
        super().__init__(url, mode=mode)
        try:
            with unreadable_of(url):
                self._prepare(mode)
        except BaseException:
            self.database.close()
            raise

    def _open(self) -> Database:
        """A new connection. Raises UsageError, UnavailableError."""
        raise NotImplementedError

    def _connect(self) -> None:
        self._derived = Newest()
        self._unsealed = 0
        self.database = self._open()
        self._gate = Gate(self.database, f"format_{FORMAT}_at_")
        self._ingest = Gate(self.database, "ingest_")

    def _connections(self) -> object:
        return self.database

    def _prepare(self, mode: str) -> None:
        mark = self._gate.look()
        if mark is None:
            self._refuse_newer()
        self._check_mode(mode, exists=mark is not None)
        if mark is None:
            self._create()
            return
        state = self._state(mark)
        if state.table and self.database.index not in (None, state.index):
            raise UsageError(
                f"The library {self.url} was made with the index {state.index}.",
                hint="Open it without index=, or push it under another name.",
                expected=state.index,
                actual=self.database.index,
            )

    def _refuse_newer(self) -> None:
        """The format stands in the gate's name: a newer one is another gate."""
        for name in self.database.names():
            if name.startswith("format_"):
                raise self._newer(FORMAT, name.removeprefix("format_").partition("_")[0])

    def _create(self) -> None:
        """Its records and its gate. One client alone makes the records, and it makes the gate."""
        end = time.monotonic() + _MAKING
        made = self._make_records()
        while not made and self._gate.look() is None:
            # Where it takes so long, whoever began has stopped.
            made = time.monotonic() > end
        if made:
            self._gate.create()

    def _make_records(self) -> bool:
        return self.database.make(RECORDS, dim=0, metric="l2", index=self.database.indexes[0])

    def _mark(self) -> Mark:
        mark = self._gate.look()
        if mark is None:
            raise NotFoundError(f"There is no library at {self.url} any more.", hint="Open another one.", path=self.url)
        return mark

    def _known(self, mark: Mark) -> Derived:
        return self._derived.of(mark.version, mark.commit.encode())

    def _state(self, mark: Mark) -> State:
        if not mark.version:
            return State()
        return self._known(mark).get("state", lambda: self._load(mark.version))

    def _load(self, version: int) -> State:
        its_row = of_kind(STATE, Among("id", (version * ROWS_OF_A_COMMIT,)))
        rows = self.database.rows(RECORDS, its_row, RECORD_FIELDS)
        if not rows:
            raise StorageError(
                f"The library {self.url} says that it has version {version}, and has it not.",
                hint="Restore it from the server's backup, or push it again under another name.",
                path=self.url,
            )
        asking = Asking(self.database, State(version=version))
        return _loaded(asking.whole(rows)[0])

    @contextlib.contextmanager
    def view(self) -> Iterator[VersionedView]:
        """The newest version. Raises ClosedError, UnavailableError."""
        self._check_open()
        mark = self._mark()
        with unreadable_of(self.url):
            yield VersionedView(Asking(self.database, self._state(mark)), self._known(mark))

    @contextlib.contextmanager
    def commit(self, *, wait: float = 30.0) -> Iterator[VersionedCommit]:
        """One commit: durable and visible when the block ends, nothing when it raises. Raises BusyError, UnavailableError."""
        self._check_writable()
        hold = self._gate.take("commit", wait=wait)
        sender: Sender | None = None
        try:
            with unreadable_of(self.url):
                before = self._state(hold.before)
                sender = Sender(self.database, hold, before)
                commit = VersionedCommit(Asking(self.database, before), self._known(hold.before), hold.attempt)
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
        hold = self._ingest.take(f"stackroom {purpose}", wait=wait)
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
            hold = self._gate.take("maintenance", wait=0.0)
            try:
                purging.purge(Asking(self.database, self._state(hold.before)), hold, cancel)
            finally:
                with contextlib.suppress(StackroomError):
                    hold.release(used=False)

    def _seal(self) -> None:
        if self._unsealed < _SEALED:
            return
        state = self._state(self._mark())
        # A server may refuse to do it so often, which is no harm.
        with contextlib.suppress(StorageError, BusyError):
            self.database.seal(state.chunk_table)
            self._unsealed = 0

    def stats(self) -> Stats:
        """The newest commit in numbers."""
        with self.view() as view:
            asking, state = view.asking, view.asking.state

            def count(kind: int, bits: int | None = None) -> int:
                return asking.count(RECORDS, both(of_kind(kind), *(() if bits is None else (flagged(bits),))))

            failed = sorted(map(records.to_source, asking.records(SOURCE, flagged(FAILED))), key=lambda one: one.name)
            pages = [records.to_source(row).pages_without_text or 0 for row in asking.records(SOURCE, flagged(BLANK))]
            identity = view.identity
            vectors = state.vectors * (0 if identity is None else identity.dim) * 4
            return Stats(
                library=self.url,
                format_version=FORMAT,
                sources=count(SOURCE),
                documents=count(DOCUMENT),
                chunks=state.chunks,
                active_sources=count(SOURCE, ACTIVE),
                embedder=identity,
                # As they were sent: what files, indexes and copies take, the server knows.
                bytes={"texts": state.size, "vectors": vectors, "total": state.size + vectors},
                failed=tuple(
                    Failure(one.name, one.error or "", one.error_kind or "") for one in failed[:SHOWN_FAILURES]
                ),
                failed_count=len(failed),
                unfinished=count(SOURCE, UNFINISHED),
                # Its sources may be files of any machine.
                missing=0,
                pages_without_text=sum(pages),
                sqlite="",
                engine=f"{self.engine} {self.database.version()}",
                needs_embedding=state.chunks - state.vectors,
                collections=self._collections(view),
                hiding=count(DOCUMENT, HIDING),
                recognised=count(DOCUMENT, RECOGNISED),
                copied=copied.read(view.attachment(copied.RECORD), view.version),
            )

    def close(self) -> None:
        if self._is_mine:
            self._closed = True
            self.database.close()


@readable(lambda row: f"what it says of its version {row['key']}")
def _loaded(row: Row) -> State:
    return State.load(row["data"])
