"""One Index for each library in this process, however many stores of a framework are made over it."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Literal

from stackroom.index import Index
from stackroom.index import open as open_index
from stackroom.protocols import Embedder

AnyLibrary = str | os.PathLike[str] | Index
Migrate = Literal["ask", "auto", "never"]

_indexes: weakref.WeakValueDictionary[Path, Index] = weakref.WeakValueDictionary()
_guard = threading.Lock()


def obtain(library: AnyLibrary, *, embedder: str | Embedder | None = None, migrate: Migrate = "auto") -> Index:
    """The Index of this library: the caller's own, the one that is open already, or a new one.

    It is closed when the last store that uses it is gone, or at the end of the program. Raises what `stackroom.open` raises.
    """
    if isinstance(library, Index):
        return library
    path = Path(library).expanduser().resolve()
    with _guard:
        found = _indexes.get(path)
        if found is None or found.closed:
            found = _indexes[path] = open_index(path, embedder=embedder, migrate=migrate)
            weakref.finalize(found, found.backend.close)
        return found
