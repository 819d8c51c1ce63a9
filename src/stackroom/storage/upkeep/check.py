"""Verification: every stored byte that means something is compared with what it should be."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from stackroom.backend import EMBED_AGAIN, indexed_metadata
from stackroom.errors import DamagedError, StackroomError, StorageError
from stackroom.progress import CancelToken, Progress, ProgressEvent
from stackroom.reports import Damage, Verification
from stackroom.storage.catalogue import codec, database, ids, metadata, originals, records, runs, sums, tables, waiting
from stackroom.storage.catalogue.codec import Codec
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.disk import layout
from stackroom.storage.vectors import extents, sketches, spaces, vector_file
from stackroom.storage.words import checksums, postings

if TYPE_CHECKING:
    from stackroom.storage.snapshot import Snapshot
    from stackroom.storage.store import LocalStore

_EVERY = 1000
_MOST_DAMAGE = 1000

_EVERY_ROW = """
    SELECT first_row, first_row + n FROM extents WHERE space_key = :space
    UNION ALL SELECT first_row, first_row + n FROM dead_rows WHERE space_key = :space
    ORDER BY 1, 2"""
"""Merged from two tables that are in this order."""


def verify(store: LocalStore, *, progress: Progress, cancel: CancelToken, refusing: bool = False) -> Verification:
    """Check the catalogue's pages, every record and chunk, every live row, and that the derived indexes agree.

    What the system refuses to read is named as damage too; with `refusing` it is raised: StorageError.
    """
    check = _Check(store, progress, cancel, refusing)
    with store.view() as view:
        connection = check.connection = view.connection
        check.part("catalogue", lambda: check.structure(connection))
        check.part("catalogue", lambda: check.records(connection))
        check.part("catalogue", lambda: check.small_tables(connection))
        check.part("chunks", lambda: check.chunks(connection, view.codec))
        check.part("runs", lambda: check.keys(connection))
        check.part("vectors", lambda: check.every_space(view))
        check.part("sketches", lambda: check.sketches(connection))
        check.part("originals", lambda: check.originals(connection, view.codec))
        check.part("full text", lambda: check.words(connection))
        check.part("repair", lambda: check.waiting(connection))
        check.part("sources", lambda: check.unfinished(connection))
        check.part("metadata", lambda: check.metadata(connection, view.codec))
    damage = tuple(islice(check.damage, _MOST_DAMAGE))
    return Verification(check.checked_chunks, check.checked_rows, damage, tuple(check.incomplete))


def file_of(library: Path, path: str | os.PathLike[str] | None) -> str | None:
    """A file as `Damage` names it; None for what does not lie below the library's folder."""
    if path is None or not Path(path).is_relative_to(library) or Path(path) == library:
        return None
    return Path(path).relative_to(library).as_posix()


def vectors_of(space: spaces.Space) -> str:
    """The vector file of a space, as `Damage` names it."""
    return f"{layout.VECTORS}/{space.file}"


class _Check:
    def __init__(self, store: LocalStore, progress: Progress, cancel: CancelToken, refusing: bool) -> None:
        self._store = store
        self._refusing = refusing
        self._progress = progress
        self._cancel = cancel
        self.connection: Connection | None = None
        self.damage: dict[Damage, None] = {}
        """in the order in which it was found, each thing once"""
        self.incomplete: list[Damage] = []
        self._refused: set[str] = set()
        """what has kept parts from being looked at: it is told with the first of them"""
        self.checked_chunks = 0
        self.checked_rows = 0

    def _found(
        self,
        structure: str,
        message: str,
        connection: Connection | None = None,
        document: int = 0,
        *,
        file: str | None = layout.CATALOGUE,
    ) -> None:
        row = None
        if connection is not None and document:
            row = connection.row(
                "SELECT document_id, name FROM documents LEFT JOIN sources USING(source_key) WHERE document_key = ?",
                (document,),
            )
        if row is None:
            of = f" It is of the document with key {document}, which is not there." if document else ""
            found = Damage(structure, message + of, file=file)
        else:
            source = None if row[1] is None else ids.unpack_text(row[1])
            found = Damage(structure, message, ids.unpack_id(row[0]), source, file)
        self.damage.setdefault(found)

    def part(self, structure: str, look: Callable[[], None]) -> None:
        """Where one part can't even be read, that is damage, and the others are looked at all the same."""
        try:
            with database.translated(layout.catalogue(self._store.path), self.connection):
                look()
        except (StackroomError, *database.STRANGE) as error:
            if self._refusing and isinstance(error, StorageError | MemoryError):
                raise
            said = database.in_words(error)
            if isinstance(error, StackroomError) and said in self._refused:
                said = "It can't be checked, for the same reason."
            else:
                self._refused.add(said)
            path = getattr(error, "path", None)
            self._found(structure, said, file=file_of(self._store.path, path) or layout.CATALOGUE)

    def structure(self, connection: Connection) -> None:
        """SQLite's own check of its pages, trees and indexes."""
        # A query has FTS5 look at its structure anew; its part of the check trusts what this connection saw last.
        with contextlib.suppress(apsw.CorruptError):
            connection.rows("SELECT rowid FROM words WHERE words MATCH 'a' LIMIT 1")
        for (said,) in connection.execute("PRAGMA integrity_check(100)"):
            for line in said.splitlines():
                if line != "ok" and not line.startswith("***"):
                    self._found("catalogue", f"SQLite's check of its pages says: {line}")
        # SQLite looks for each row in these indexes, and does not count what else is in them.
        for name, (_, of, where) in tables.PARTIAL_INDEXES.items():
            table = of.partition("(")[0]
            by_index, by_table = (
                connection.value(f"SELECT count(*) FROM {table} {way} WHERE {where}")
                for way in (f"INDEXED BY {name}", "NOT INDEXED")
            )
            if by_index != by_table:
                self._found("catalogue", f"The index {name} does not hold the same rows as its table.")

    def records(self, connection: Connection) -> None:
        for table, decode, columns in (
            ("sources", records.to_source, records.SOURCE_COLUMNS),
            ("documents", records.to_document, records.DOCUMENT_COLUMNS),
        ):
            for row in connection.execute(f"SELECT {columns} FROM {table}"):
                try:
                    decode(row)
                except (StackroomError, *database.STRANGE) as error:
                    self._found(table, database.in_words(error))
        orphans = connection.row(
            "SELECT count(*) FROM documents WHERE source_key NOT IN (SELECT source_key FROM sources)"
        )
        if orphans and orphans[0]:
            said = "1 document belongs" if orphans[0] == 1 else f"{orphans[0]:,} documents belong"
            self._found("documents", f"{said} to no source.")

    def small_tables(self, connection: Connection) -> None:
        for table in sums.differing(connection):
            self._found("catalogue", f"The table {table} is not what was written.")

    def chunks(self, connection: Connection, blobs: Codec) -> None:
        for key, chunk_id, document, checksum, details, text in connection.execute(
            "SELECT key, chunk_id, document_key, checksum, details, text FROM chunks"
        ):
            if self._cancel.cancelled:
                return
            self.checked_chunks += 1
            if self.checked_chunks % _EVERY == 0:
                self._progress(ProgressEvent("verify", done=self.checked_chunks))
            try:
                name = ids.unpack_id(chunk_id)
                plain = blobs.decode(text)
                described = None if details is None else blobs.decode(details)
                good = codec.chunk_checksum(name, plain, described) == checksum
            except (DamagedError, *database.STRANGE):
                good = False
            if not good:
                self._found("chunks", f"The passage with key {key} is not what was written.", connection, document)

    def keys(self, connection: Connection) -> None:
        """Runs and chunks must tell of the same keys."""
        for document, first, n in connection.execute("SELECT document_key, first_key, n FROM runs"):
            row = connection.row(
                "SELECT count(*) FROM chunks WHERE key >= ? AND key < ? AND document_key = ?",
                (first, first + n, document),
            )
            if row is None or row[0] != n:
                self._found(
                    "runs", f"Its list of passages, from key {first} on, is not what is there.", connection, document
                )
        for document, n, stored in connection.execute(
            """SELECT document_key, count(*) AS n,
                   (SELECT coalesce(sum(n), 0) FROM runs WHERE runs.document_key = chunks.document_key) AS stored
               FROM chunks GROUP BY document_key HAVING n <> stored"""
        ):
            self._found(
                "runs", f"Passages that are its own: {n:,}; in its list of them: {stored:,}.", connection, document
            )

    def every_space(self, view: Snapshot) -> None:
        for space in spaces.every(view.connection):
            self._space(view, space)

    def _space(self, view: Snapshot, space: spaces.Space) -> None:
        """Every live row against its checksum; live and dead rows together must be the whole file."""
        connection, name = view.connection, vectors_of(space)
        try:
            mapped = view.mapped(space)
        except FileNotFoundError as error:
            gone = file_of(self._store.path, error.filename) or name
            self._found("vectors", f"The vector file {error.filename} is missing.", file=gone)
            return
        except DamagedError as error:
            self._found("vectors", error.message, file=file_of(self._store.path, error.path) or name)
            return
        universe = runs.everything(connection)
        for extent in extents.each(connection, space.key):
            if self._cancel.cancelled:
                return
            inside = extent.first_row >= 0 and extent.first_row + extent.n <= space.rows
            # How many there are is believed once there is a checksum for each: a number alone may be of any size.
            counted = len(extent.checksums) == 4 * extent.n
            keys = np.arange(extent.first_key, extent.first_key + extent.n) if inside and counted else None
            if keys is None or not universe.contains(keys).all():
                self._found(
                    "extents",
                    f"What it says of the rows of {name} from {extent.first_row} on can't be.",
                    connection,
                    extent.document_key,
                )
                continue
            self._rows(connection, mapped, extent, name)
        end = 0
        for first, stop in connection.execute(_EVERY_ROW, {"space": space.key}):
            if first != end:
                self._found(
                    "extents",
                    f"It gives the rows {min(first, end)} to {max(first, end)} of {name} to no passage, or to two.",
                )
            end = stop
        if end != space.rows:
            self._found("extents", f"Of {name} it knows {end:,} rows, and {space.rows:,} were written.")

    def sketches(self, connection: Connection) -> None:
        """One that is gone is no damage: what it would have found is found without it."""
        for table, is_damaged in (("sketches", sketches.is_damaged), ("word_files", postings.is_damaged)):
            for (name,) in connection.execute(f"SELECT file FROM {table}"):
                path = layout.sketches(self._store.path) / (name if layout.is_name(name) else "?")
                if not layout.is_name(name) or is_damaged(path):
                    self._found(
                        "sketches",
                        f"{path} is not what was written. It is made again by: stackroom compact",
                        file=file_of(self._store.path, path),
                    )

    def _rows(self, connection: Connection, mapped: vector_file.VectorMap, extent: extents.Extent, name: str) -> None:
        rows = mapped.rows[extent.first_row : extent.first_row + extent.n]
        sums = np.frombuffer(extent.checksums, dtype="<u4")
        for offset, row in enumerate(rows):
            self.checked_rows += 1
            if codec.row_checksum(extent.first_key + offset, row.data.cast("B")) != int(sums[offset]):
                self._found(
                    "vectors",
                    f"The vector of the passage with key {extent.first_key + offset} is not what was written.",
                    connection,
                    extent.document_key,
                    file=name,
                )
        if mapped.norms is not None:
            norms = mapped.norms[extent.first_row : extent.first_row + extent.n]
            if not vector_file.are_norms(norms, np.asarray(rows)):
                self._found(
                    "vectors",
                    f"The lengths of the vectors from row {extent.first_row} on are not what was written.",
                    connection,
                    extent.document_key,
                    file=layout.norms_of(Path(name)).as_posix(),
                )

    def originals(self, connection: Connection, blobs: Codec) -> None:
        for message in originals.damage(connection, blobs, runs.everything(connection)):
            self._found("originals", message)

    def words(self, connection: Connection) -> None:
        """The full-text index must hold the keys of the chunks, no more and no fewer, and be what was written."""
        indexed = connection.row("SELECT count(*), coalesce(sum(id), 0) FROM words_docsize")
        stored = connection.row("SELECT count(*), coalesce(sum(key), 0) FROM chunks")
        if indexed != stored:
            self._found("full text", "It does not hold the same passages as the catalogue.")
        elif wrong := checksums.differing(connection):
            self._found("full text", f"It is not what was written, in {wrong:,} of its parts.")

    def waiting(self, connection: Connection) -> None:
        """What a repair could not do yet, and what it has tried in vain: that is recorded with the source."""
        left = waiting.get(connection)
        if left.embed:
            what = "1 passage waits" if len(left.embed) == 1 else f"{len(left.embed):,} passages wait"
            self._found("repair", f"{what} {EMBED_AGAIN}")
        untried = 0
        for key, _ in left.read:
            source = records.source_by_key(connection, key)
            if source is None or source.state == "indexed":
                continue
            if source.error is None:
                untried += 1
            else:
                self.incomplete.append(Damage("sources", f"{source.name}: {source.error}", None, source.name))
        if untried:
            what = "1 source that lost passages was" if untried == 1 else f"{untried:,} sources that lost passages were"
            self._found("repair", f"{what} not read again yet: stackroom repair")

    def unfinished(self, connection: Connection) -> None:
        """What no run has read to its end, and what lacks passages that another library has lost: all that is stored of it is as it was written."""
        told = {key for key, _ in waiting.get(connection).read}
        query = "SELECT source_key, name, is_file, error FROM sources WHERE state = 'partial' AND (error IS NULL OR error_kind = ?)"
        for key, packed, is_file, error in connection.execute(query, (DamagedError.__name__,)):
            if key in told:
                continue
            name = ids.unpack_text(packed)
            again = "read to its end; the next add of it goes on" if is_file else "stored to its end; give it again"
            said = f"{name}: {error or f'It was not {again}.'}"
            self.incomplete.append(Damage("sources", said, None, name))

    def metadata(self, connection: Connection, blobs: Codec) -> None:
        """What the filter index says of each live record, and what the record says itself."""
        live = {
            metadata.DOCUMENT: runs.to_keys(
                connection.numbers("SELECT document_key, document_key + 1 FROM documents", columns=2)
            ),
            metadata.CHUNK: runs.everything(connection),
        }
        for owner, described in (
            (metadata.DOCUMENT, self._documents(connection)),
            (metadata.CHUNK, self._described_chunks(connection, blobs)),
        ):
            # A field's sum of its values' hashes, each as often as it occurs: the values themselves may be as many as records.
            sums: Counter[str] = Counter()
            for found in described:
                for name, value in metadata.expected_memberships(found):
                    sums[name] += hash((name, value))
            for name, value, keys in metadata.memberships(connection, owner):
                sums[name] -= hash((name, value)) * keys.intersection(live[owner]).count
            for name in sorted(name for name, left in sums.items() if left):
                self._found("metadata", f"The filter index of {name!r} does not agree with the records.")

    def _documents(self, connection: Connection) -> Iterator[Mapping[str, Any]]:
        """Of every document whose record can be read; the others were named before."""
        for (key,) in connection.execute("SELECT document_key FROM documents"):
            try:
                document = records.document_by_key(connection, key)
                source = None if document is None else records.source_by_key(connection, document.source_key)
            except (StackroomError, *database.STRANGE):
                continue
            if document is not None and source is not None:
                yield indexed_metadata(document, source)

    def _described_chunks(self, connection: Connection, blobs: Codec) -> Iterator[Mapping[str, Any]]:
        for (details,) in connection.execute("SELECT details FROM chunks WHERE details IS NOT NULL"):
            try:
                described = codec.load_details(blobs.decode(details))[1]
            except (DamagedError, *database.STRANGE):
                continue
            if described:
                yield described
