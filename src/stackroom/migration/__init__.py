"""Other programs' indexes become a library: looked at, converted without embedding anything, proven, and taken back if wanted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stackroom.errors import StackroomError
from stackroom.progress import CancelToken, Progress, silent
from stackroom.reports import Inventory, MigrationReport
from stackroom.types import Metric, Source

if TYPE_CHECKING:
    from stackroom.protocols import AnyEmbedder

__all__ = ["discard_old", "inventory", "make_quick", "migrate", "roll_back"]

AnyPath = str | os.PathLike[str]


def inventory(
    old: AnyPath,
    *,
    library: AnyPath | None = None,
    format: str | None = None,
    embedder: str | AnyEmbedder | None = None,
    keep_orphans: bool = False,
    split_dims: bool = False,
    index_id: str | None = None,
    metric: Metric | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Inventory:
    """What an old index holds, and what migrating it takes: a dry run that writes nothing. The arguments are those of `migrate`.

    Cancelled, it returns what was counted so far. Raises NotFoundError, UnknownStoreError, UsageError where several indexes may be meant, DamagedError with file and offset.
    """
    from stackroom.migration import survey
    from stackroom.migration.judging import Choices

    return survey.inventory(
        _path(old),
        library=None if library is None else _path(library),
        format=format,
        embedder=embedder,
        choices=Choices(keep_orphans, split_dims, index_id, metric),
        progress=progress or silent,
        cancel=cancel or CancelToken(),
    )


def migrate(
    old: AnyPath,
    *,
    library: AnyPath | None = None,
    format: str | None = None,
    embedder: str | AnyEmbedder | None = None,
    keep_orphans: bool = False,
    split_dims: bool = False,
    index_id: str | None = None,
    metric: Metric | None = None,
    sketch: bool = True,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> MigrationReport:
    """Turn an old index into a library, without embedding anything, and prove it. The old files are only read.

    `library` None: in place, as `old/stackroom`, which `stackroom.open(old)` finds. `format` says which index is meant where a folder
    holds several. `embedder` names the model of the vectors; the claim is checked. `keep_orphans` keeps vectors without text; `split_dims`
    keeps vectors of another dimension in a collection; `index_id` takes one of several indexes. `metric` keeps scores as they were, "l2" for
    most FAISS indexes ("cosine" by default), and claims no model. A run that was stopped is continued by the
    next; a second run does nothing and says so (`already`). In the end, when the library is in its place, what makes searches
    quick is made (`make_quick`), unless `sketch` is False; cancelled there, the report is of a migration that is done.

    Raises NotFoundError, UnknownStoreError, UsageError, DamagedError with file and offset, MigrationError, DiskFullError, ReadOnlyError,
    BusyError, StorageError. Whatever it raises: the old files are as they were, and no library appeared.
    """
    from stackroom.migration import run
    from stackroom.migration.judging import Choices

    progress, cancel = progress or silent, cancel or CancelToken()
    report = run.migrate(
        _path(old),
        library=None if library is None else _path(library),
        format=format,
        embedder=embedder,
        choices=Choices(keep_orphans, split_dims, index_id, metric),
        progress=progress,
        cancel=cancel,
    )
    if sketch and not report.cancelled and not report.already:
        # Somebody may have taken the library away by now, which is not this run's failure.
        with contextlib.suppress(StackroomError):
            make_quick(report.library, progress=progress, cancel=cancel)
    return report


def make_quick(library: AnyPath, *, progress: Progress | None = None, cancel: CancelToken | None = None) -> None:
    """Make what searches of a large library are quick by (sketches and postings files), for a library that was migrated without.

    `library` may be the old index of one that was migrated in place. It finds the same before, during and after; cancelled, what is missing is made by
    the next `add`. Raises NotFoundError where there is no library.
    """
    from stackroom.migration import afterwards

    afterwards.make_quick(_path(library), progress or silent, cancel or CancelToken())


def roll_back(old: AnyPath, *, confirm: Callable[[Sequence[Source]], bool] | None = None) -> bool:
    """Remove the library that a migration in place made, or what a stopped one had written; the old files serve again.

    False where `confirm` said no. `confirm` is asked with the sources that were added or changed since, which would be lost; without it their presence is an error.
    Raises NotFoundError where nothing was migrated; UsageError, whatever `confirm` says, where an old file is gone or not as it was;
    BusyError.
    """
    from stackroom.migration import afterwards

    return afterwards.roll_back(_path(old), confirm)


def discard_old(old: AnyPath, *, even_what_was_left_out: bool = False) -> int:
    """Delete the old files that were migrated in place, after verifying the library once more; returns the bytes freed.

    What did not come along (`MigrationReport.left_out`) is deleted only where `even_what_was_left_out` says so.
    Raises NotFoundError where nothing was migrated, UsageError where the old files changed since or hold more, DamagedError.
    """
    from stackroom.migration import afterwards

    return afterwards.discard_old(_path(old), even_what_was_left_out=even_what_was_left_out)


def _path(path: AnyPath) -> Path:
    return Path(path).expanduser().absolute()
