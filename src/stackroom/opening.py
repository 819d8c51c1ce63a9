"""Opening a library: where it is, whether an old index has to be migrated first, and with which model."""

from __future__ import annotations

import contextlib
import os
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stackroom import copied
from stackroom.errors import (
    DamagedError,
    EngineAwayError,
    EngineAwayWarning,
    MigrationNeeded,
    NoCopyWarning,
    NotALibraryError,
    NotFoundError,
    NoVectorsWarning,
    OldFilesChangedWarning,
    UnfinishedTransferWarning,
    UsageError,
)
from stackroom.index import Index
from stackroom.storage.disk.layout import absolute, is_library, lacks_catalogue, without_catalogue

if TYPE_CHECKING:
    from stackroom.progress import CancelToken, Progress
    from stackroom.protocols import AnyEmbedder
    from stackroom.reports import Copied, Repair


def open(
    path: str | os.PathLike[str] | None = None,
    *,
    mode: Literal["r", "a", "x"] = "a",
    embedder: str | AnyEmbedder | None = None,
    migrate: Literal["ask", "auto", "never"] = "ask",
    copy: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Index:
    """Open the library at `path`; the default one where it is None (`STACKROOM_LIBRARY`, else the user's data folder).

    `path` may also be the URL of a library on an engine (`postgresql://host/database?library=NAME`, `milvus://...`, `qdrant://...`, `chroma://...`): docs/engines.md.
    Where that engine is away, the folder `copy` (else `STACKROOM_COPY`) answers instead, which `Index.pull` made of this very URL: for reading, as it was
    then, and until the Index is closed. `Index.fallback` says so, and every write raises UnavailableError.

    `mode`: "r" reads only; "a" opens, and creates in an absent or empty folder; "x" creates only. `embedder`: a name, an object with
    the Embedder protocol, an embedding object of LangChain or LlamaIndex, or None for the library's own model (a new library's is the shipped one).

    Where `path` is another program's index (LlamaIndex's, for example), its migrated library is opened; where there is none yet,
    `migrate` decides: "ask" raises MigrationNeeded with what is in there, "auto" migrates first, "never" takes it for no library.
    `progress` and `cancel` are the migration's (and of the look at the old index, where it asks); one that was stopped raises
    MigrationNeeded without an inventory, and the next one goes on there. With mode "r" nothing is migrated: "auto" asks too.

    Raises NotALibraryError, NotFoundError, DamagedError (a library whose catalogue is missing: no new one is made in its place), FormatVersionError,
    EmbedderMismatchError, MigrationNeeded, StorageError, UnavailableError; UsageError
    where `copy` is no copy of what is at the URL. Warns with errors.OldFilesChangedWarning where another program wrote to the old index after it was
    migrated, with errors.NoVectorsWarning where an old index that is migrated now has texts and no vectors, and with errors.EngineAwayWarning where
    the copy answers; with errors.NoCopyWarning where the engine does, and `copy` could not, and with errors.UnfinishedTransferWarning where a transfer to
    the library, or to what it is a copy of, did not come to its end.
    """
    if mode not in ("r", "a", "x"):
        raise UsageError(f"There is no mode {mode!r}.", hint="Use 'r', 'a' or 'x'.")
    return opened(path, mode, embedder, migrate, copy, progress, cancel)


def opened(
    path: str | os.PathLike[str] | None,
    mode: str,
    embedder: str | AnyEmbedder | None = None,
    migrate: str = "ask",
    copy: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Index:
    """`open`, also with mode "w": to write to what is there, which raises NotFoundError where nothing is."""
    if migrate not in ("ask", "auto", "never"):
        raise UsageError(f"migrate must not be {migrate!r}.", hint="Use 'ask', 'auto' or 'never'.")
    if (url := _url(path)) is not None:
        return _on_engine(url, mode, embedder, copy or os.environ.get("STACKROOM_COPY"))
    if copy is not None:
        raise UsageError(
            "A copy stands in for a library on an engine, and this one is in a folder.", hint="Leave it out."
        )
    from stackroom.storage.store import LocalStore

    folder = default_library() if path is None else absolute(path)
    asked = folder
    if not is_library(folder) and folder.exists():
        folder = _migrated(folder, mode, embedder, migrate, progress, cancel)
    try:
        backend = LocalStore(folder, mode=mode)
    except NotFoundError as error:
        if path is None and not isinstance(error, NotALibraryError):
            error.hint = "Make one: stackroom add PATH"
        raise
    index = Index(backend, embedder=embedder, folder=folder)
    try:
        index.check_embedder()
        # A library that is damaged is opened too: `verify` tells of it.
        with contextlib.suppress(DamagedError):
            _warn_of_part(backend.copied(), str(folder), stacklevel=4)
        if folder != asked:
            # A migration that ended before its last step, which this one left to a thread in any case.
            backend.maintain_beside()
    except BaseException:
        index.close()
        raise
    return index


def repair(
    path: str | os.PathLike[str] | None = None,
    *,
    embedder: str | AnyEmbedder | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Repair:
    """`Index.repair` for a library that may not even open. `path` and `embedder` are those of `open`.

    Raises NotFoundError where there is no library, BusyError while others use it, DamagedError where its catalogue is missing or nothing can be read of it.
    """
    from stackroom.model import LibraryModel
    from stackroom.progress import CancelToken, silent
    from stackroom.repairing import repair as bring_back
    from stackroom.storage.store import LocalStore

    if (url := _url(path)) is not None:
        with _on_engine(url, "r", embedder) as index:
            return index.repair(dry_run=dry_run, progress=progress, cancel=cancel)
    folder = default_library() if path is None else absolute(path)
    if not is_library(folder) and folder.exists():
        from stackroom.migration import switch

        folder = switch.migrated(folder) or folder
    if not is_library(folder):
        raise without_catalogue(folder) if lacks_catalogue(folder) else _no_library(folder)
    backend = LocalStore.damaged(folder)
    try:
        return bring_back(
            backend,
            LibraryModel(backend, embedder),
            dry_run=dry_run,
            progress=progress or silent,
            cancel=cancel or CancelToken(),
        )
    finally:
        backend.close()


def _no_library(folder: Path) -> NotFoundError:
    """What to say of a folder that is to be repaired and holds nothing of a library."""
    kind, there = (NotALibraryError, "is no Stackroom library") if folder.exists() else (NotFoundError, "is not there")
    return kind(
        f"{folder} {there}: there is nothing to repair, and nothing was touched.",
        hint="Name the folder of the library that is damaged: --library DIR",
        path=folder,
    )


def _url(path: str | os.PathLike[str] | None) -> str | None:
    """The URL where a library on an engine is meant."""
    named = os.environ.get("STACKROOM_LIBRARY") if path is None else path
    return named if isinstance(named, str) and "://" in named else None


def _on_engine(
    url: str, mode: str, embedder: str | AnyEmbedder | None, copy: str | os.PathLike[str] | None = None
) -> Index:
    from stackroom.engines import open_engine

    try:
        index = Index(open_engine(url, mode=mode), embedder=embedder)
        try:
            with index.backend.view() as view:
                found = copied.read(view.attachment(copied.RECORD), view.version)
            _warn_of_part(found, url, stacklevel=5)
            if copy:
                _warn_of_no_copy(url, absolute(copy))
        except BaseException:
            index.close()
            raise
    except EngineAwayError as away:
        if not copy or mode == "x":
            raise
        index = _from_copy(url, absolute(copy), embedder, away)
    try:
        index.check_embedder()
    except BaseException:
        index.close()
        raise
    return index


def _warn_of_part(found: Copied | None, name: str, stacklevel: int) -> None:
    """A library that holds a part of what it is to hold answers like any other."""
    if found is not None and (found.begun_at or found.origin_unfinished):
        said = f"{name} may hold a part of what it is to hold: {found.said}."
        warnings.warn(said, UnfinishedTransferWarning, stacklevel=stacklevel)


def _warn_of_no_copy(url: str, folder: Path) -> None:
    """Now, and not when it is needed."""
    from stackroom.transfer.copies import unfit

    if (why := unfit(folder, url)) is not None:
        warnings.warn(
            f"If the engine of {url} were away, nothing could stand in for it: {why}. "
            f"To make a copy: stackroom --library DIR pull {shlex.quote(url)}",
            NoCopyWarning,
            stacklevel=5,
        )


def _from_copy(url: str, folder: Path, embedder: str | AnyEmbedder | None, away: EngineAwayError) -> Index:
    from stackroom.transfer.copies import CopyStore

    backend = CopyStore(folder, url, away)
    said = f"{away.message.rstrip('.')}. Answered from {backend.fallback.said}."
    warnings.warn(said, EngineAwayWarning, stacklevel=5)
    return Index(backend, embedder=embedder, fallback=backend.fallback)


def _migrated(
    old: Path,
    mode: str,
    embedder: str | AnyEmbedder | None,
    migrate: str,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> Path:
    """The library of an old index, migrated now if need be; `old` itself where it is no such index."""
    from stackroom.migration import switch

    found = switch.migrated(old)
    if found is not None:
        from stackroom.migration.origin import written_since

        if (said := written_since(found)) is not None:
            warnings.warn(said, OldFilesChangedWarning, stacklevel=4)
        return found
    from stackroom.migration.stores.detection import detect, half

    if migrate == "never" or mode == "x":
        return old
    if not detect(old):
        if (said := half(old)) is not None:
            raise NotALibraryError(said, hint="Put the missing file beside it.", path=old)
        return old
    from stackroom import migration

    command = f"stackroom migrate {shlex.quote(str(old))}"
    if migrate == "auto" and mode == "a":
        report = migration.migrate(old, embedder=embedder, sketch=False, progress=progress, cancel=cancel)
        if report.cancelled:
            raise MigrationNeeded(
                f"The migration of {old} was stopped.", hint=f"The next one goes on there: {command}", path=old
            )
        if report.chunks and not report.vectors:
            warnings.warn(
                f"None of the {report.chunks:,} passages of {old} had a vector: they are found by their words alone. "
                f"To embed them: stackroom --library {shlex.quote(report.library)} rebuild --embedder minilm",
                NoVectorsWarning,
                stacklevel=4,
            )
        return Path(report.library)
    needed = MigrationNeeded(
        f"{old} holds an old index.",
        hint=f'Migrate it, which takes seconds: {command}, or in Python open(..., migrate="auto")',
        path=old,
    )
    needed.inventory = migration.inventory(old, embedder=embedder, progress=progress, cancel=cancel)
    raise needed


def default_library() -> Path:
    """`STACKROOM_LIBRARY`, or `stackroom` in the folder where this platform keeps a user's data."""
    named = os.environ.get("STACKROOM_LIBRARY")
    return absolute(named) if named else data_folder() / "stackroom"


def data_folder() -> Path:
    """Where this platform keeps a user's data."""
    import sys

    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
