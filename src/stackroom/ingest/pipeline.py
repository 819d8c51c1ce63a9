"""Files in, committed passages out: discover, reconcile, parse, split, embed, commit, in bounded batches."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from stackroom.backend import Backend, Commit, DocumentRecord, SourceRecord
from stackroom.errors import MissingExtraError, NotFoundError, ReadError, ScannedError, UsageError
from stackroom.ingest import prune as pruning
from stackroom.ingest import recognition, scans
from stackroom.ingest.batch import Batch, Pending, document_for, fill
from stackroom.ingest.discovery import Discovery, Found
from stackroom.ingest.file_facts import IMPORTED
from stackroom.ingest.matching import OldChunks
from stackroom.ingest.readers import READERS, recipe_of
from stackroom.ingest.readers.common import plugged as plugs
from stackroom.ingest.reconcile import Decision, Reconciler
from stackroom.ingest.splitter import splitter_for
from stackroom.ingest.tally import Tally
from stackroom.ingest.workers import Job, ParsedDocument, ParserPool, RunCancelled
from stackroom.progress import CancelToken, Progress
from stackroom.protocols import Embedder, Reader
from stackroom.reports import Failure, Report
from stackroom.types import HIDDEN_CHARACTERS, INCOMPLETE, RECOGNISED_PAGES

PART = 512
"""Chunks of one document in one commit: a longer document is committed in parts, so that memory does not follow it."""

PART_NAME = "part"
"""The key of a document's metadata that names it within a file of several."""

Confirm = Callable[[int, int], bool]
"""(sources to remove, sources there are) -> go on?"""


def add_paths(
    backend: Backend,
    embedder: Callable[[], Embedder],
    paths: Sequence[str | os.PathLike[str]],
    *,
    ignore: Sequence[str] = (),
    exclude: Collection[Path] = (),
    also: Sequence[str] = (),
    readers: Sequence[str] = (),
    follow_links: bool = False,
    prune: bool = False,
    retry: bool = False,
    force: bool = False,
    confirm: Confirm | None = None,
    ocr: bool = False,
    agree: scans.Agree | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> Report:
    """Index what is new or changed under these paths. `embedder` is called when it is first needed.

    With `ocr` pages without text are recognised once all else is indexed, if `agree` is content with the estimate.

    Raises NotFoundError for a path that is not there, BusyError when another ingest runs, EmbedderMismatchError.
    """
    tally = Tally(progress)
    plugged = plugs.load(readers)
    more = frozenset(suffix for reader in plugged for suffix in reader.suffixes)
    with backend.lease("add " + " ".join(os.fspath(path) for path in paths)[:200]):
        walk = partial(Discovery, paths, ignore, exclude, also, more, follow_links)
        known = _added_before(backend, walk(), plugged)
        count = 0
        for count, _ in enumerate(walk(known), start=1):
            if count % 1000 == 0:
                tally.scanned(count)
            if cancel.cancelled:
                return tally.report(cancelled=True)
        tally.total = count
        discovery = walk(known)
        tally.skipped = discovery.skipped
        once = cache(embedder)
        run = _Run(backend, once, tally, cancel, retry=retry, force=force, readers=readers, plugged=plugged)
        run.over(discovery)
        for failure in discovery.unreadable:
            tally.failed(failure)
        tally.outside = discovery.outside
        if ocr and not cancel.cancelled:
            again = walk(known)
            run = _Run(
                backend, once, tally, cancel, retry=True, force=False, readers=readers, plugged=plugged, ocr=True
            )
            run.over_scans(again, agree)
        if prune and not cancel.cancelled:
            removed = pruning.prune(backend, discovery, confirm)
            for _ in range(removed):
                tally.finished("removed")
    tally.tell(last=True)
    return tally.report(cancelled=cancel.cancelled)


def _added_before(backend: Backend, walk: Discovery, plugged: tuple[Reader, ...]) -> frozenset[str]:
    """Files under the given folders that a walk passes over, and that were added by name: they are to be as new as the others."""
    readers = {reader.name for reader in (*plugged, *READERS)}
    with backend.view() as view:
        return frozenset(
            record.name
            for root in walk.roots
            if root.is_dir()
            for record in view.each_source(under=str(root))
            if record.is_file and walk.passes_over(record.name) and _read_by(record) in ("", *readers)
        )


def rebuild_sources(
    backend: Backend,
    embedder: Callable[[], Embedder],
    names: Sequence[str],
    *,
    readers: Sequence[str] = (),
    progress: Progress,
    cancel: CancelToken,
) -> Report:
    """Read and embed these files again; each serves as it was until its own commit. Raises BusyError, UsageError (a reader)."""
    tally = Tally(progress, "rebuild")
    plugged = plugs.load(readers)
    tally.total = len(names)

    def found() -> Iterator[Found]:
        for name in names:
            try:
                status = os.stat(name)
            except OSError as error:
                tally.failed(Failure(name, f"It can't be read: {error.strerror}. Its passages stay.", "OSError"))
            else:
                yield Found(Path(name), status.st_size, status.st_mtime_ns)

    with backend.lease("rebuild"):
        run = _Run(backend, cache(embedder), tally, cancel, retry=True, force=True, readers=readers, plugged=plugged)
        run.over(found())
    tally.tell(last=True)
    return tally.report(cancelled=cancel.cancelled)


class _Run:
    """One run over a stream of files."""

    def __init__(
        self,
        backend: Backend,
        embedder: Callable[[], Embedder],
        tally: Tally,
        cancel: CancelToken,
        *,
        retry: bool,
        force: bool,
        readers: Sequence[str] = (),
        plugged: tuple[Reader, ...] = (),
        ocr: bool = False,
    ) -> None:
        self._backend = backend
        self._tally = tally
        self._cancel = cancel
        self._force = force
        self._splitter = splitter_for(embedder())
        known = (*plugged, *READERS)
        self._plugged = readers
        self._ocr = ocr
        self._recipes = recipe_of(known)
        names = frozenset(f"{reader.name}:{reader.version}" for reader in known)
        self._known = frozenset(reader.name for reader in known)
        self._reconciler = Reconciler(
            backend, self._recipes, self._splitter, names, retry, force, cancel, recognise=ocr
        )
        self._batch = Batch(backend, embedder, tally, cancel)
        # A second file of the same content waits until the first is committed, then copies from it.
        self._in_hand: set[bytes] = set()
        self._deferred: list[Found] = []
        # The keys that a long file had before its first part was committed.
        self._begun: set[int] | None = None

    def over_scans(self, found: Iterable[Found], agree: scans.Agree | None) -> None:
        """Recognise what waits for it among these files. Raises MissingExtraError, UnavailableError."""
        files = list(scans.waiting(self._backend, found))
        if not files:
            return
        with self._pool() as pool:
            try:
                expected = scans.estimate(files, pool, self._cancel)
            except RunCancelled:
                return
            if agree is not None and not agree(expected):
                return
            for item, _ in files:
                self._tally.take_back(str(item.path))
            self._go_over((item for item, _ in files), pool)

    def _pool(self) -> ParserPool:
        return ParserPool(self._splitter, readers=self._plugged, heard=self._heard)

    def _heard(self, path: Path, page: int) -> None:
        self._tally.current = f"{path} (page {page})"
        self._tally.tell()

    def over(self, found: Iterable[Found]) -> None:
        with self._pool() as pool:
            self._go_over(found, pool)

    def _go_over(self, found: Iterable[Found], pool: ParserPool) -> None:
        for document in pool.stream(self._jobs(found), self._cancel):
            self._index(document)
        self._batch.flush()
        if self._cancel.cancelled:
            return
        # What waited for a twin that failed, or changed meanwhile, is read for itself.
        again = [decision for decision in self._reconciler.decide(self._deferred) if self._settle(decision)]
        for document in pool.stream(map(self._job, again), self._cancel):
            self._index(document)
        self._batch.flush()

    def _jobs(self, found: Iterable[Found]) -> Iterator[Job]:
        """Settle what needs no parser at once; what does goes on to it."""
        for decision in self._reconciler.decide(found):
            content = decision.content_hash
            if decision.action == "parse" and content in self._in_hand and not self._force:
                self._deferred.append(decision.found)
            elif self._settle(decision):
                if content is not None:
                    self._in_hand.add(content)
                yield self._job(decision)

    def _job(self, decision: Decision) -> Job:
        """A file whose pages were recognised once is read so again: they would be lost otherwise."""
        record = decision.record
        before = record is not None and recognition.is_marked(record.recipe)
        return Job(decision.found.path, decision, ocr=self._ocr or before)

    def _settle(self, decision: Decision) -> bool:
        """Do what can be done without parsing; whether it must be parsed."""
        found, record, other = decision.found, decision.record, decision.other
        tally = self._tally
        if decision.action == "parse":
            return not self._lacks_reader(decision)
        if decision.action == "unchanged":
            tally.finished("unchanged")
        elif decision.action in ("failed", "vanished"):
            failed = other or record
            pages = None if other is None else other.pages_without_text
            kind = (failed and failed.error_kind) or "ReadError"
            before = decision.action == "failed" and other is None
            self._fail(decision, decision.reason, kind, pages, before=before)
        elif decision.action == "touched" and record is not None:
            self._put(replace(record, size=found.size, mtime_ns=found.mtime_ns), "unchanged")
        elif decision.action == "moved" and other is not None:
            self._move(found, other)
        elif other is not None:
            self._copy(decision, other)
        return False

    def _lacks_reader(self, decision: Decision) -> bool:
        """Whether the file was read by a reader of the caller's that was not named now: another one would make something else of it.

        Nothing is noted of it: the record goes on to say who read it.
        """
        record = decision.record
        if record is None or not (record.state == "partial" or (record.state == "indexed" and record.error is None)):
            return False
        name = _read_by(record)
        if not name or name in self._known:
            return False
        reason = f"It was read by {name!r}, a reader of your own: name it with --reader MODULE:OBJECT (readers=[...]). Its passages stay."
        self._tally.failed(Failure(str(decision.found.path), reason, UsageError.__name__))
        return True

    def _put(self, record: SourceRecord, kind: str) -> None:
        def change(commit: Commit) -> None:
            commit.put_source(record)

        self._batch.also(change, lambda: self._tally.finished(kind))

    def _move(self, found: Found, other: SourceRecord) -> None:
        """The same file under a new name: ids, passages and the active switch stay. Done at once: it changes what is there."""
        renamed = replace(other, name=str(found.path), size=found.size, mtime_ns=found.mtime_ns)
        with self._backend.view() as view:
            documents = view.documents(other.key)
        # Removed meanwhile: then it is new to the next run.
        with contextlib.suppress(NotFoundError), self._backend.commit() as commit:
            commit.put_source(renamed)
            for document in documents:
                commit.put_document(replace(document, metadata={**document.metadata, **_file_facts(found)}))
        self._tally.finished("moved")

    def _fail(
        self, decision: Decision, reason: str, kind: str, pages: int | None = None, *, before: bool = False
    ) -> None:
        """Record why; what an earlier reading found goes on serving. `pages`: those of a scan; `before`: it was not read now."""
        found, record = decision.found, decision.record
        looked = self._ocr or (record is not None and recognition.is_marked(record.recipe))
        read_by = recognition.with_mark(self._recipes) if looked else self._recipes
        base = record or SourceRecord(name=str(found.path), is_file=True, state="failed")
        failed = replace(
            base,
            size=found.size,
            mtime_ns=found.mtime_ns,
            content_hash=decision.content_hash,
            # What only lacks a package is tried again by the next run.
            recipe=read_by.removeprefix(self._recipes)
            if kind == MissingExtraError.__name__
            else f"{read_by} {self._splitter.recipe}",
            error=reason,
            error_kind=kind,
        )
        if pages is not None:
            failed = replace(failed, pages=pages, pages_without_text=pages)
        failure = Failure(str(found.path), reason, kind, before)

        def change(commit: Commit) -> None:
            commit.put_source(failed)

        self._batch.also(change, lambda: self._tally.failed(failure))

    def _copy(self, decision: Decision, other: SourceRecord) -> None:
        """A duplicate: the other's passages and vectors under ids of its own; nothing is embedded."""
        found = decision.found
        source = replace(
            other,
            key=decision.record.key if decision.record else 0,
            source_id="",
            name=str(found.path),
            size=found.size,
            mtime_ns=found.mtime_ns,
        )
        kind = _kind(decision.record)
        with self._backend.view() as view:
            documents = view.documents(other.key)
            mine = view.documents(decision.record.key) if decision.record else []
            vanished = [key for document in mine for key in view.keys_of(document.key)]
        several = len(documents) > 1 and all(PART_NAME in document.metadata for document in documents)
        lost = (document.metadata.get(INCOMPLETE) for document in documents)
        incomplete = next((said for said in lost if isinstance(said, str)), "")
        # What another program kept as several documents (the pages of a PDF) becomes one, as a reading of our own would.
        for group in [[document] for document in documents] if several else [documents]:
            with self._backend.view() as view:
                chunks = [item.chunk for document in group for item in view.chunks(document.key, vectors=True)]
            metadata = {**(group[0].metadata if group else {}), **_file_facts(found)}
            title = group[0].title if group else ""
            last = not several or group[0] is documents[-1]
            self._batch.add(
                Pending(
                    source,
                    DocumentRecord(str(uuid.uuid4()), 0, title, metadata)
                    if several
                    else document_for(mine, title=title, metadata=metadata),
                    kind=kind,
                    new=[(at, replace(chunk, chunk_id=None)) for at, chunk in enumerate(chunks)],
                    vanished=vanished if last else [],
                    gone=[document.key for document in mine] if several and last else [],
                    last=last,
                    incomplete=incomplete,
                )
            )

    def _index(self, document: ParsedDocument) -> None:
        decision = document.job.tag
        if not isinstance(decision, Decision):
            raise UsageError("A job without its decision.")
        self._tally.current = str(decision.found.path)
        self._tally.tell()
        try:
            self._take(document, decision)
        except RunCancelled:
            return
        except ReadError as error:
            self._take_back(decision)
            scan = error if isinstance(error, ScannedError) else None
            # What to do about a scan nobody guesses; other hints say little.
            reason, pages = (error.message, None) if scan is None else (str(scan), scan.pages)
            self._fail(decision, reason, str(error.actual or type(error).__name__), pages)

    def _take(self, document: ParsedDocument, decision: Decision) -> None:
        self._begun = None
        document.open()
        if document.several:
            self._take_several(document, decision)
            return
        record = decision.record
        with self._backend.view() as view:
            existing = view.documents(record.key) if record else []
            stored = (item for kept in existing for item in view.chunks(kept.key))
            old = OldChunks.of(stored)
            before = [key for kept in existing for key in view.keys_of(kept.key)] if self._force else []
        if self._force:
            old = OldChunks()
        source = self._source(document, decision)
        described = document_for(
            existing, title=document.title or "", metadata={**document.metadata, **_file_facts(decision.found)}
        )
        kind = _kind(record)
        pending = Pending(source, described, kind, last=False)
        position = 0
        for chunks in document.chunks():
            for chunk in chunks:
                fill(pending, chunk, position, old)
                position += 1
            if len(pending.new) + len(pending.moves) >= PART:
                source, described = self._part(pending)
                pending = Pending(source, described, kind, last=False)
        pending.vanished = old.left() + before
        pending.source = replace(
            pending.source, pages=document.pages, pages_without_text=document.pages_without_text, error=None
        )
        found = {
            HIDDEN_CHARACTERS: document.hidden,
            RECOGNISED_PAGES: document.recognised,
            INCOMPLETE: document.incomplete,
        }
        if told := {name: value for name, value in found.items() if value}:
            pending.document = replace(pending.document, metadata={**pending.document.metadata, **told})
        pending.incomplete = document.incomplete
        pending.last = True
        self._batch.add(pending)

    def _take_several(self, document: ParsedDocument, decision: Decision) -> None:
        """A file of several documents: each is known again by its name within the file.

        What vanishes does so with the last of them, so that a reading that fails leaves the one before as it was.
        """
        record = decision.record
        with self._backend.view() as view:
            existing = view.documents(record.key) if record else []
            self._begun = {key for kept in existing for key in view.keys_of(kept.key)}
        known = {str(kept.metadata.get(PART_NAME)): kept for kept in existing if PART_NAME in kept.metadata}
        left = {kept.key for kept in existing}
        source = self._source(document, decision)
        kind = _kind(record)
        vanished: list[int] = []
        pending: Pending | None = None
        for part in document.parts():
            before = known.pop(part.name, None)
            with self._backend.view() as view:
                stored = list(view.chunks(before.key)) if before else []
            old = OldChunks() if self._force else OldChunks.of(stored)
            described = DocumentRecord(
                before.document_id if before else str(uuid.uuid4()),
                0,
                part.title or "",
                {**part.metadata, **_file_facts(decision.found), PART_NAME: part.name},
            )
            position = 0
            for chunks in document.chunks():
                if pending is None or position == 0 or len(pending.new) + len(pending.moves) >= PART:
                    if pending is not None:
                        self._batch.add(pending)
                    pending = Pending(source, described, kind, last=False)
                for chunk in chunks:
                    fill(pending, chunk, position, old)
                    position += 1
            vanished += [item.key for item in stored] if self._force else old.left()
            if before is not None and position:
                left.discard(before.key)
        if pending is not None:
            pending.vanished, pending.gone, pending.last = vanished, sorted(left), True
            pending.incomplete = document.incomplete
            self._batch.add(pending)

    def _take_back(self, decision: Decision) -> None:
        """Remove what a long file's reading has committed before it failed: an earlier reading goes on serving, whole."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        name = str(decision.found.path)
        self._batch.drop(name)
        with self._backend.view() as view:
            source = view.source(name)
            documents = view.documents(source.key) if source else []
            keys = {document.key: view.keys_of(document.key) for document in documents}
            added = [key for held in keys.values() for key in held if key not in begun]
            new = [key for key, held in keys.items() if held and begun.isdisjoint(held)]
        with self._backend.commit() as commit:
            if source is not None and decision.record is None:
                commit.remove_source(source.key)
            else:
                commit.remove_chunks(added)
                if len(new) < len(documents):
                    for key in new:
                        commit.remove_document(key)

    def _part(self, pending: Pending) -> tuple[SourceRecord, DocumentRecord]:
        """Commit a part of a long document; the records of what follows know its keys and ids."""
        if self._begun is None:
            with self._backend.view() as view:
                source = view.source(pending.source.name)
                documents = view.documents(source.key) if source else []
                self._begun = {key for document in documents for key in view.keys_of(document.key)}
        self._batch.add(pending)
        self._batch.flush()
        if self._cancel.cancelled:
            raise RunCancelled
        with self._backend.view() as view:
            source = view.source(pending.source.name)
            documents = view.documents(source.key) if source else []
        if source is None or not documents:
            raise RunCancelled
        return replace(pending.source, key=source.key), replace(pending.document, document_id=documents[0].document_id)

    def _source(self, document: ParsedDocument, decision: Decision) -> SourceRecord:
        found, record = decision.found, decision.record
        settled = _unchanged_since(found)
        return SourceRecord(
            name=str(found.path),
            title=document.title or "",
            type=document.type,
            is_file=True,
            # A file that changed while it was read is read again by the next run.
            size=found.size if settled else None,
            mtime_ns=found.mtime_ns if settled else None,
            content_hash=decision.content_hash if settled else None,
            recipe=f"{document.reader} {self._splitter.recipe}",
            key=record.key if record else 0,
        )


def own_reader(recipe: str) -> str:
    """The name of the caller's own reader that read a file of this recipe; "" where it was one of ours, or another program."""
    name = _name_of_reader(recipe)
    return "" if name in {reader.name for reader in READERS} else name


def _read_by(record: SourceRecord) -> str:
    """The name of the reader that read it; "" where it was none of ours or of the caller's."""
    return _name_of_reader(record.recipe)


def _name_of_reader(recipe: str) -> str:
    return "" if recipe.startswith(IMPORTED) else recipe.partition(" ")[0].partition(":")[0]


def _kind(record: SourceRecord | None) -> str:
    """What a reading is to the report; one that only failed before is new."""
    return "updated" if record is not None and record.indexed_at is not None else "added"


def _file_facts(found: Found) -> dict[str, object]:
    return {"file_name": found.path.name, "folder": str(found.path.parent)}


def _unchanged_since(found: Found) -> bool:
    try:
        status = os.stat(found.path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (found.size, found.mtime_ns)
