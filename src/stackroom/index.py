"""The noun a user types: an Index over a library. A facade; what it does is done below."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from stackroom import named_sets
from stackroom._numbers import check_number
from stackroom.backend import Backend, Scope, SourceRecord, View
from stackroom.errors import (
    EmbedderMismatchError,
    NotFoundError,
    UnavailableError,
    UnfinishedTransferWarning,
    UsageError,
)
from stackroom.model import LibraryModel
from stackroom.progress import CancelToken, Progress, silent
from stackroom.question import check_words, means, understood
from stackroom.storage.disk.layout import absolute
from stackroom.types import Document, Excerpt, Hit, Mode, Passage, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stackroom.filters import Filter
    from stackroom.named_sets import NamedSet
    from stackroom.protocols import AnyEmbedder, Embedder, Reranker
    from stackroom.reports import (
        Backup,
        Collection,
        Compaction,
        Comparison,
        Fallback,
        LengthEstimate,
        Measurement,
        Repair,
        Report,
        ScanEstimate,
        Stats,
        TransferReport,
        Verification,
    )

    Where = Filter | Mapping[str, Any] | str | Sequence[Any]


LEAST_CANDIDATES = 100
RERANK_SECONDS = 5.0


def _unheard(said: object) -> None:
    del said


class Index:
    """A library to add to and to search; made by `stackroom.open`. A context manager, and usable from several threads."""

    def __init__(
        self,
        backend: Backend,
        *,
        embedder: str | AnyEmbedder | None = None,
        folder: Path | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self._backend = backend
        self._fallback = fallback
        self._model = LibraryModel(backend, embedder)
        self._folder = folder
        self._rerankers: dict[str, Reranker] = {}
        self._closed = False

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release files and locks. Closing twice is no error."""
        self._closed = True
        self._backend.close()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def backend(self) -> Backend:
        """The engine underneath, for adapters: records and keys instead of hits."""
        return self._backend

    @property
    def path(self) -> Path | None:
        """The library's folder; None where the engine is another one."""
        return self._folder

    @property
    def fallback(self) -> Fallback | None:
        """The local copy that answers as long as this Index is open, since the engine was away at its opening; None otherwise."""
        return self._fallback

    def embedder(self) -> Embedder:
        """The model in use: the given one, else the library's own, else the shipped one. Raises EmbedderMismatchError."""
        return self._model()

    def add(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        ignore: Sequence[str] = (),
        also: Sequence[str] = (),
        readers: Sequence[str] = (),
        follow_links: bool = False,
        prune: bool = False,
        retry: bool = False,
        confirm: Callable[[int, int], bool] | None = None,
        ocr: bool = False,
        agree: Callable[[ScanEstimate], bool] | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Report:
        """Index files, folders and globs: what is new or changed. Never removes, unless `prune` is set.

        `retry` reads again what failed before. `prune` removes the sources under the given folders that are gone from disk;
        above a fifth of them `confirm(gone, total)` is asked. `also` names kinds that a folder is left with otherwise: "code",
        "json", "xml", "zim", "picture". `readers` are readers of your own, each as `module:object`; name them with each call. `follow_links` goes
        after symbolic links that lead out of the given folders; what is named itself may be one. A file that can't be read is in the report, not an error;
        so is one that failed `before`, and has not changed since.
        `ocr` recognises pages without text, of PDFs and pictures, once everything else is indexed; `agree(estimate)` is asked before. A file that was
        read so stays so: when it changes, it is recognised again.

        Raises NotFoundError, BusyError, EmbedderMismatchError, UsageError, StorageError; with `ocr` MissingExtraError.
        """
        from stackroom.ingest.pipeline import add_paths

        wanted = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        return add_paths(
            self._backend,
            self._model,
            wanted,
            ignore=ignore,
            also=(also,) if isinstance(also, str) else also,
            readers=(readers,) if isinstance(readers, str) else readers,
            follow_links=follow_links,
            exclude=() if self._folder is None else (self._folder,),
            prune=prune,
            retry=retry,
            confirm=confirm,
            ocr=ocr,
            agree=agree,
            progress=progress or silent,
            cancel=cancel or CancelToken(),
        )

    def watch(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        told: Callable[[Report | str], None] = _unheard,
        ignore: Sequence[str] = (),
        also: Sequence[str] = (),
        readers: Sequence[str] = (),
        follow_links: bool = False,
        prune: bool = False,
        confirm: Callable[[int, int], bool] | None = None,
        ocr: bool = False,
        agree: Callable[[ScanEstimate], bool] | None = None,
        quiet: float = 1.0,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Add folders, and whatever changes in them once it has been quiet for `quiet` seconds, until `cancel`.

        `told` hears the report of each run, and in words what keeps it waiting: a folder that is gone, another ingest. With `prune` sources whose files are
        gone are removed as they go; where more than a fifth of them is gone at once, `confirm(gone, total)` decides, and without it they stay.
        The other options are those of `add`. Raises MissingExtraError, and what `add` raises.
        """
        from stackroom.ingest.watching import follow, spare

        wanted = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        cancel = cancel or CancelToken()

        def add() -> Report:
            return self.add(
                wanted, ignore=ignore, also=also, readers=readers, follow_links=follow_links, prune=prune,
                confirm=confirm or spare(told), ocr=ocr, agree=agree, progress=progress, cancel=cancel,
            )  # fmt: skip

        exclude = () if self._folder is None else (self._folder,)
        follow(wanted, add, told=told, exclude=exclude, quiet=quiet, cancel=cancel)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Report:
        """Insert or replace documents by `document_id`; what has no embedding is embedded, text without chunks is split.

        Raises DimensionMismatchError, EmbedderMismatchError, UsageError, BusyError, StorageError.
        """
        from stackroom.ingest.documents import add_documents

        return add_documents(
            self._backend,
            self._model,
            documents,
            # Vectors that come along are the named model's, where one was named.
            made_by=self._model().identity if self._model.is_given else None,
            progress=progress or silent,
            cancel=cancel or CancelToken(),
        )

    def search(
        self,
        query: str | NDArray[np.float32],
        *,
        k: int = 10,
        mode: Mode | None = None,
        where: Where | None = None,
        sources: Sequence[str] | None = None,
        active: bool = False,
        exact: bool = False,
        per_document: int | None = None,
        context: int = 0,
        explain: bool = False,
        collection: str = "default",
        set_name: str | None = None,
        rerank: str | Reranker | None = None,
        rerank_seconds: float = RERANK_SECONDS,
    ) -> list[Hit]:
        """The `k` best hits, best first; ties go to the older chunk.

        `query` is text (words in "quotes" must stand in each hit, one behind the other; -word excludes, in every mode), or float32 of shape `(dim,)`, which
        means a vector search. `mode` is "hybrid" (the default), "vector" or "text".
        Where the model that made the vectors is not at hand, the default is "text" (`resolve_mode` says so), and the others are errors. `where` is a filter, its dict or its expression; `sources` are names, titles
        or globs; `active` keeps to the active set, `set_name` to a set that was saved (`sets` lists them). `per_document` limits hits of one document; `context` adds neighbouring chunks. `collection` is
        one that a migration made of an index or namespace (`collections` lists them).

        `rerank` is "fastembed:MODEL", or an object with the protocol Reranker: it reads the `3 * k` best (30 at least), and hits have its order and its
        scores. Where it fails, or is not done in `rerank_seconds`, they keep the order that they had, with a NotRerankedWarning.

        Raises UsageError, InvalidFilterError, NotFoundError, DimensionMismatchError, EmbedderMismatchError, DamagedError.
        """
        from stackroom.search.retriever import Request, search

        if isinstance(query, str):
            check_words(query)
        scope = Scope(
            where=None if where is None else _filter(where),
            sources=None if sources is None else tuple(sources),
            active=active or set_name == named_sets.ACTIVE,
            collection=collection,
        )
        check_number("k", k)
        check_number("context", context)
        if per_document is not None:
            check_number("per_document", per_document, least=1)
        reranking = None
        if rerank is not None:
            from stackroom.rerankers import asked

            reranking = asked(rerank, query, k, rerank_seconds, loaded=self._rerankers)
        with self._backend.view() as view:
            if set_name not in (None, named_sets.ACTIVE):
                scope = replace(scope, source_ids=named_sets.members(view, set_name))
            text, vector, chosen, embedder = understood(query, mode, self._model, view, collection)
            request = Request(text, vector, k, chosen, scope, exact, per_document, context, explain, reranking)
            return search(view, request, embedder)

    def resolve_mode(self, mode: Mode | None = None, *, collection: str = "default") -> tuple[Mode, str | None]:
        """The mode in which a text is searched where `mode` is asked for, and why it is not by meaning, where that is so.

        None is the default: hybrid, or text where the model that made the vectors is not at hand. Raises what `search` raises.
        """
        with self._backend.view() as view:
            chosen, _, reason = means(mode, self._model, view, collection)
        return chosen, reason

    def collections(self) -> list[Collection]:
        """The named sets of passages that a search can keep to, "default" first: `search(..., collection=NAME)`."""
        return list(self.stats().collections)

    def sources(self, *, set_name: str | None = None) -> list[Source]:
        """Every source, or those of a set, by path. Raises NotFoundError where there is no such set."""
        with self._backend.view() as view:
            listed = view.listing()
            if set_name is None:
                return listed
            if set_name == named_sets.ACTIVE:
                return [source for source in listed if source.active]
            chosen = set(named_sets.members(view, set_name))
            return [source for source in listed if source.id in chosen]

    def sets(self) -> list[NamedSet]:
        """The sets of sources that were saved, by name."""
        with self._backend.view() as view:
            return named_sets.named_sets(view)

    def save_set(self, name: str, sources: Sequence[str], *, join: bool = False) -> int:
        """Keep these sources (by id, path, title or glob) as a set, in place of what it had or, with `join`, beside it. Returns how many it has now.

        A source that is removed is in no set any more, also when it is added again. Raises NotFoundError, UsageError.
        """
        with self._backend.view() as view:
            ids = [record.source_id for record in self._records(view, sources)]
        return named_sets.save(self._backend, name, ids, join=join)

    def delete_set(self, name: str) -> None:
        """Forget a set; its sources stay. Raises NotFoundError."""
        named_sets.delete(self._backend, [name])

    def find(self, wanted: str) -> list[Source]:
        """The sources of this id, path, title or glob. Raises NotFoundError."""
        with self._backend.view() as view:
            return view.listing(self._records(view, [wanted]))

    def get(self, source: str) -> list[Passage]:
        """The passages of one source, in reading order. Raises NotFoundError, DamagedError; UsageError where several match."""
        with self._backend.view() as view:
            records = self._records(view, [source])
            if len(records) > 1:
                names = ", ".join(record.name for record in records[:3])
                raise UsageError(f"{source!r} means {len(records)} sources: {names} ...", hint="Name one of them.")
            return [
                Passage(
                    item.chunk.chunk_id or "",
                    document.document_id,
                    item.chunk.text,
                    item.chunk.place,
                    item.chunk.metadata,
                )
                for document in view.documents(records[0].key)
                for item in view.chunks(document.key)
            ]

    def read(self, chunk_id: str, *, context: int = 0) -> Excerpt:
        """One passage, with up to `context` passages of its document before and after it. Raises NotFoundError, DamagedError."""
        from stackroom.search.retriever import excerpt

        check_number("context", context)
        with self._backend.view() as view:
            return excerpt(view, chunk_id, context)

    def vectors(self, chunk_ids: Sequence[str]) -> NDArray[np.float32]:
        """The stored vectors, a copy: float32 of shape `(n, dim)`, bit for bit what was added. Raises NotFoundError."""
        with self._backend.view() as view:
            keys = view.chunk_keys(chunk_ids)
            missing = [chunk_id for chunk_id, key in zip(chunk_ids, keys, strict=True) if key is None]
            if missing:
                raise NotFoundError(f"There is no chunk {missing[0]!r}.", actual=missing[0])
            return view.vectors([key for key in keys if key is not None])

    def set_active(self, sources: Sequence[str] | None, active: bool) -> int:
        """Put sources into the active set or take them out; None means all. Returns how many. Raises NotFoundError."""
        with self._backend.view() as view:
            keys = None if sources is None else [record.key for record in self._records(view, sources)]
            count = len(keys) if keys is not None else self._backend.stats().sources
        with self._backend.commit() as commit:
            commit.set_active(keys, active)
        return count

    def remove(
        self,
        sources: Sequence[str],
        *,
        purge: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Report:
        """Remove sources (by id, path, title or glob) with all their passages; with `purge`, until nothing of them is in any file.

        A document is removed by its id with `remove_documents`. Raises NotFoundError.
        """
        from stackroom.removing import Removing, remove_sources

        with self._backend.view() as view:
            records = self._records(view, [sources] if isinstance(sources, str) else sources)
        return remove_sources(self._backend, records, Removing(purge, progress or silent, cancel or CancelToken()))

    def remove_documents(
        self,
        document_ids: Sequence[str],
        *,
        purge: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Report:
        """Remove documents by `document_id` (LlamaIndex's `ref_doc_id`), and sources that have none left through it.

        `removed` of the report counts documents. With `purge`, until nothing of them is in any file. Raises NotFoundError.
        """
        from stackroom.removing import Removing, remove_documents

        wanted = [document_ids] if isinstance(document_ids, str) else document_ids
        return remove_documents(self._backend, wanted, Removing(purge, progress or silent, cancel or CancelToken()))

    def rebuild(
        self,
        sources: Sequence[str] | None = None,
        *,
        embedder: str | AnyEmbedder | None = None,
        back: bool = False,
        readers: Sequence[str] = (),
        confirm: Callable[[Comparison], bool] | None = None,
        agree: Callable[[LengthEstimate], bool] | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Report:
        """Read and embed sources again (None: all files); or, with `embedder`, embed every passage with another model.

        The old index serves until the switch. A cancelled change of model is continued by the next one. Before the switch both models are
        asked the same questions: `comparison` of the report says how they answer, and where `confirm(comparison)` is false there is no switch.
        Where passages are longer than the new model reads, `too_long` says how many, and nothing is done where `agree(too_long)` is false;
        a rebuild of the sources after the switch splits files anew.
        With `back` the model before the last change serves again, whose vectors are kept until `discard_former`; what was added since is embedded with it,
        and `too_long` and `agree` are about that.
        `readers` are those of your own that read some of the sources, as in `add`: without them such a source stays as it is, and is in the report.
        Raises NotFoundError, BusyError, UsageError.
        """
        from stackroom.ingest.pipeline import rebuild_sources

        progress, cancel = progress or silent, cancel or CancelToken()
        if embedder is not None or back:
            if sources is not None:
                raise UsageError(
                    "A library has one model: it is changed for all sources.", hint="Leave the sources out."
                )
            if embedder is None:
                return self._model.go_back(progress, cancel, agree)
            if back:
                raise UsageError("Going back needs no model: the library knows it.", hint="Leave embedder out.")
            return self._model.change(embedder, progress, cancel, confirm, agree)
        with self._backend.view() as view:
            records = view.each_source() if sources is None else self._records(view, sources)
            files = [record.name for record in records if record.is_file]
        named = (readers,) if isinstance(readers, str) else readers
        return rebuild_sources(self._backend, self._model, files, readers=named, progress=progress, cancel=cancel)

    def discard_former(self) -> bool:
        """Give up the vectors of the model before the last change, and with them the way back; False where there are none."""
        return self._backend.discard_former()

    def stats(self) -> Stats:
        """The library in numbers."""
        return self._backend.stats()

    def measure(
        self,
        *,
        questions: int = 100,
        settings: Sequence[int] = (100, 200, 500, 1000, 2000),
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Measurement:
        """How fast and how exact searches of this library are, and what other settings would give: `questions` of its own are asked.

        `settings` are numbers of candidates, as `set_candidates` takes them. Raises UsageError where no passage has a vector.
        """
        from stackroom.search.measuring import measure

        check_number("questions", questions, least=1)
        with self._backend.view() as view:
            try:
                embedder = self._model.for_texts(view, "default")
            except (EmbedderMismatchError, UnavailableError, UsageError):
                embedder = None
        return measure(
            self._backend, embedder, questions, settings, progress=progress or silent, cancel=cancel or CancelToken()
        )

    def set_candidates(
        self,
        candidates: int | None,
        *,
        force: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """How many rows a vector search scores exactly after a quick look at all (100 or more); None: as many as it takes, as at first.

        Measured before: raises UsageError where its recall is below what is promised, unless `force` says that it is wanted so.
        """
        from stackroom.search.measuring import require_promise

        if candidates is not None:
            check_number("candidates", candidates, most=None, least=LEAST_CANDIDATES)
            if not force:
                found = self.measure(settings=[candidates], progress=progress, cancel=cancel)
                if found.cancelled:
                    return
                require_promise(found)
        with self._backend.commit() as commit:
            commit.set_candidates(candidates)

    def verify(self, *, progress: Progress | None = None, cancel: CancelToken | None = None) -> Verification:
        """Check every stored byte that means something; the result names what is damaged."""
        found = self._backend.verify(progress=progress or silent, cancel=cancel or CancelToken())
        if all(one.structure != "repair" for one in found.damage):
            return found
        from stackroom.repairing import naming_model

        return naming_model(self._backend, self._model, found)

    def repair(
        self, *, dry_run: bool = False, progress: Progress | None = None, cancel: CancelToken | None = None
    ) -> Repair:
        """Bring back what can be of a damaged library; the report says what, and what could not. Raises BusyError, DamagedError.

        What is derived is made again; lost vectors are embedded again by the library's model, lost passages read again from files that are as
        they were. What was damaged is put aside in the library's folder. With `dry_run` nothing is changed. A library that can't even be
        opened is repaired by `stackroom.repair`.
        """
        from stackroom.repairing import repair

        return repair(
            self._backend, self._model, dry_run=dry_run, progress=progress or silent, cancel=cancel or CancelToken()
        )

    def compact(
        self, *, purge: bool = False, progress: Progress | None = None, cancel: CancelToken | None = None
    ) -> Compaction:
        """Give the disk back what deletes and updates left behind. Searches go on meanwhile. Raises BusyError.

        With `purge`, until nothing of what was removed is in any file, which is slow; conversations that were shown some of it are deleted.
        """
        from stackroom.removing import Removing, purge_removed

        progress, cancel = progress or silent, cancel or CancelToken()
        if purge:
            purge_removed(self._backend, Removing(purge, progress, cancel))
        return self._backend.compact(progress=progress, cancel=cancel)

    def backup(
        self,
        folder: str | os.PathLike[str],
        *,
        refresh: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Backup:
        """Copy the library to `folder` while others use it: the newest commit, whole or not at all. A folder that holds it already is left as it is.

        `folder` must be absent or empty; with `refresh` it may hold a backup of an earlier state of this library. Raises UsageError (it holds anything else), StorageError, DamagedError.
        """
        return self._backend.backup(
            absolute(folder), refresh=refresh, progress=progress or silent, cancel=cancel or CancelToken()
        )

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        format: Literal["llamaindex-json"] = "llamaindex-json",
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> int:
        """Write the library as a LlamaIndex JSON folder, which 0.12 to 0.14 open; returns how many chunks.

        What a migration brought goes out as it came in. `folder` must be absent or empty. Raises UsageError, StorageError.
        """
        from stackroom.migration.export import export_llamaindex

        if format != "llamaindex-json":
            raise UsageError(f"There is no export format {format!r}.", hint="There is: llamaindex-json.")
        target = absolute(folder)
        return export_llamaindex(self._backend, target, progress=progress or silent, cancel=cancel or CancelToken())

    def push(
        self,
        url: str,
        *,
        since_last: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> TransferReport:
        """Make the library at `url` (`postgresql://host/database?library=NAME`, `milvus://...`) hold what this one holds, and prove it.

        Nothing is embedded again. Run again, it sends what changed and removes what is gone; a run that was stopped goes on. All of the target
        is read back; with `since_last` only what was sent now, unless the run before did not come to its end. Raises UsageError, MissingExtraError, UnavailableError, BusyError,
        EmbedderMismatchError, and MigrationError where the two are not the same afterwards.
        """
        from stackroom.transfer import push

        return push(
            self._backend, url, since_last=since_last, progress=progress or silent, cancel=cancel or CancelToken()
        )

    def pull(
        self,
        url: str,
        *,
        since_last: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> TransferReport:
        """Make this library hold what the one at `url` holds: the way back from `push`, in the same steps. Raises what that raises, and NotFoundError.

        With `since_last` all of it is read back where it was written to since the last pull, or that one did not come to its end. Warns with
        errors.UnfinishedTransferWarning where a push to what is at `url` did not come to its end.
        """
        from stackroom.transfer import pull

        report = pull(
            lambda: self._backend,
            url,
            since_last=since_last,
            progress=progress or silent,
            cancel=cancel or CancelToken(),
        )
        if report.origin_unfinished:
            warnings.warn(report.said_of_origin, UnfinishedTransferWarning, stacklevel=2)
        return report

    def check_embedder(self) -> None:
        """Raises EmbedderMismatchError when the embedder this was opened with is not the library's."""
        self._model.check()

    def _records(self, view: View, wanted: Sequence[str]) -> list[SourceRecord]:
        found: dict[int, SourceRecord] = {}
        for name in wanted:
            records = view.find_sources(name)
            if not records:
                raise NotFoundError(
                    f"No source is called {name!r}.", hint="See what there is: stackroom list", actual=name
                )
            found.update((record.key, record) for record in records)
        return list(found.values())


def _filter(where: Where) -> Filter:
    from stackroom.filters import as_filter

    return as_filter(where)
