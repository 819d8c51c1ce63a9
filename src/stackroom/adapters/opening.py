"""One Index for each library in this process, however many stores of a framework are made over it."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Literal

from stackroom._forking import in_children
from stackroom.index import Index
from stackroom.opening import open as open_index
from stackroom.protocols import AnyEmbedder
from stackroom.storage.disk import layout

AnyLibrary = str | os.PathLike[str] | Index
Migrate = Literal["ask", "auto", "never"]

_indexes: weakref.WeakValueDictionary[Path, Index] = weakref.WeakValueDictionary()
_identities: weakref.WeakKeyDictionary[Index, tuple[int, int] | None] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def _begin_anew() -> None:
    """In a forked child, where another thread of the parent may have held it."""
    global _guard
    _guard = threading.Lock()


in_children(_begin_anew)


def obtain(library: AnyLibrary, *, embedder: str | AnyEmbedder | None = None, migrate: Migrate = "auto") -> Index:
    """The Index of this library: the caller's own, the one that is open already, or a new one.

    It is closed when the last store that uses it is gone, or at the end of the program. Raises what `stackroom.open` raises.
    """
    if isinstance(library, Index):
        return library
    path = Path(library).expanduser().resolve()
    with _guard:
        found = _open(path)
        if found is None:
            # The URL of a library on an engine is no path; as a key it serves.
            found = open_index(library if "://" in str(library) else path, embedder=embedder, migrate=migrate)
            # An index that was migrated in place lies within the folder that was asked for, and may be open by its own path.
            home = (found.path or path).resolve()
            other = _open(home)
            if other is not None:
                found.close()
                found = other
            else:
                weakref.finalize(found, found.backend.close)
                _identities[found] = _identity(home)
            _indexes[path] = _indexes[home] = found
        return found


def _open(path: Path) -> Index | None:
    """The Index that is open over this folder, where the folder is still the one that it opened."""
    found = _indexes.get(path)
    if found is None or found.closed or found not in _identities:
        return None
    return found if _identities[found] == _identity((found.path or path).resolve()) else None


def _identity(home: Path) -> tuple[int, int] | None:
    """Which file the catalogue is: a folder that was deleted and made again has another one."""
    try:
        status = os.stat(layout.catalogue(home))
    except OSError:
        return None
    return status.st_dev, status.st_ino
