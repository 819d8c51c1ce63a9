"""Follow folders: what changes in them is indexed once it has been quiet for a moment.

Each time the folders are walked as `add` walks them, which costs a stat a file, and keeps one set of rules for what is taken, moved or removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from stackroom._optional import require
from stackroom.errors import BusyError, NotFoundError, StorageError, UsageError
from stackroom.ingest.discovery import IGNORE_FILE, is_junk
from stackroom.progress import CancelToken
from stackroom.reports import Report

QUIET = 1.0
"""Seconds without a change after which what has changed is indexed."""
_LONGEST = 30.0
"""Seconds after which it is, quiet or not."""
_TICK = 0.5
"""Seconds after which it is looked whether a folder is back, or another process has ended its ingest."""

Add = Callable[[], Report]


def spare(told: Callable[[Report | str], None]) -> Callable[[int, int], bool]:
    """For `prune`: nothing is removed where much is gone at once, which a drive that was taken out looks like; and `told` hears of it."""

    def refuse(gone: int, total: int) -> bool:
        told(
            f"{gone:,} of {total:,} sources are gone from disk at once: they stay until add --prune is told to remove them."
        )
        return False

    return refuse


def follow(
    paths: Sequence[str | os.PathLike[str]],
    add: Add,
    *,
    told: Callable[[Report | str], None],
    exclude: Collection[Path] = (),
    quiet: float = QUIET,
    cancel: CancelToken,
) -> None:
    """Call `add` now, and after changes, until `cancel`. `told` hears each report, and in words what keeps it from going on.

    Raises UsageError for what is no folder, NotFoundError, MissingExtraError, StorageError; and what the first `add` raises.
    """
    require("watchfiles", extra="watch")
    folders = [Path(os.path.abspath(os.path.expanduser(path))) for path in paths]
    for folder in folders:
        if not folder.exists():
            raise NotFoundError(f"There is no folder {folder}.", hint="Check the spelling.", path=folder)
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder.", hint="Folders can be followed. Add files without --watch.")
    told(add())
    pending = True  # what changed before the folders were watched
    while not cancel.cancelled:
        if (gone := next((folder for folder in folders if not folder.is_dir()), None)) is not None:
            told(f"The folder {gone} is gone; it is waited for. Its passages stay.")
            _wait_for(folders, cancel)
            pending = True
            continue
        pending = _watched(folders, add, told, exclude, quiet, cancel, pending=pending)


def _wait_for(folders: Sequence[Path], cancel: CancelToken) -> None:
    """Until all of them are there, or `cancel`."""
    while not (cancel.cancelled or all(folder.is_dir() for folder in folders)):
        time.sleep(_TICK)


def _watched(
    folders: Sequence[Path],
    add: Add,
    told: Callable[[Report | str], None],
    exclude: Collection[Path],
    quiet: float,
    cancel: CancelToken,
    *,
    pending: bool,
) -> bool:
    """Until a folder is gone, or `cancel`. Returns whether something is left to be done."""
    ours = tuple(os.path.join(os.path.realpath(path), "") for path in exclude)
    busy = False
    # The first of them comes when the folders are watched.
    for changes in _changes(folders, quiet, cancel):
        if cancel.cancelled or not all(folder.is_dir() for folder in folders):
            return True
        pending = pending or any(_matters(path, folders, ours) for path in changes)
        if not pending:
            continue
        try:
            report = add()
        except BusyError as error:
            if not busy:
                told(f"{error.message} It is waited for.")
            busy = True
            continue
        except NotFoundError:
            return True  # a folder went meanwhile
        pending = busy = False
        told(report)
    return pending


def _changes(folders: Sequence[Path], quiet: float, cancel: CancelToken) -> Iterator[set[str]]:
    """The paths that changed, once it is quiet; an empty set now and then. Raises StorageError."""
    import watchfiles

    class Stop:
        def is_set(self) -> bool:
            return cancel.cancelled

    try:
        for changes in watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=int(_LONGEST * 1000),
            step=int(quiet * 1000),
            rust_timeout=int(_TICK * 1000),
            yield_on_timeout=True,
            stop_event=Stop(),
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            yield {path for _, path in changes}
    except FileNotFoundError:
        return  # a folder went before it was watched
    except (OSError, RuntimeError) as error:
        raise StorageError(
            f"{', '.join(map(str, folders))} can't be followed: {error}.",
            hint="On Linux the number of folders is limited by fs.inotify.max_user_watches.",
            path=folders[0],
        ) from error


def _matters(path: str, folders: Sequence[Path], ours: tuple[str, ...]) -> bool:
    """Whether `add` may look at this path: the library itself, hidden files and leftovers of other programs are none."""
    if os.path.join(os.path.realpath(path), "").startswith(ours):
        return False
    folder = next((folder for folder in folders if path.startswith(os.path.join(folder, ""))), None)
    if folder is None:
        return True
    *above, name = os.path.relpath(path, folder).split(os.sep)
    return name == IGNORE_FILE or not (is_junk(name, False) or any(is_junk(part, True) for part in above))
