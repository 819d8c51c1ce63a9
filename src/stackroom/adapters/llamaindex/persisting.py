"""What `persist` means where every call is durable: nothing in the library's own folder, a backup in another one."""

from __future__ import annotations

from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stackroom.errors import UsageError
from stackroom.index import Index
from stackroom.storage.disk.layout import is_library


def persist(index: Index, folder: str, fs: fsspec.AbstractFileSystem | None = None) -> None:
    """Back the library up into `folder`, unless that is where it lives. Raises UsageError, StorageError."""
    if fs is not None and not isinstance(fs, LocalFileSystem):
        raise UsageError(
            f"A library can't be written through {type(fs).__name__}.",
            hint="Back it up to a local folder, then upload that.",
        )
    home = index.path
    if not folder or home is None:
        return
    named = Path(folder).expanduser()
    target, home = named.resolve(), home.resolve()
    # An index that was migrated in place lives in a folder within the old one.
    if target in (home, home.parent):
        return
    # `./storage` is what LlamaIndex fills in where nobody named a folder; there may be an old index in it.
    if target == Path.cwd() / "storage" and not is_library(target):
        return
    # By its own name: a link that leads nowhere is refused, for its medium may not be mounted.
    index.backup(named, refresh=True)
