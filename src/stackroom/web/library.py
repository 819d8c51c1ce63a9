"""The library behind the page: opened at its first use, with its list of sources kept as long as it is true."""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import stackroom
from stackroom.errors import MigrationNeeded, NotALibraryError, StackroomError
from stackroom.index import Index
from stackroom.opening import default_library
from stackroom.storage.disk.layout import absolute
from stackroom.types import Source

if TYPE_CHECKING:
    from stackroom.protocols import Embedder

State = Literal["ready", "old", "failed"]

_PAUSE = 2.0
"""Seconds for which the version of a library on an engine is taken as it was: an open page asks five times a second."""

_PATIENCE = 4.0
"""A list that took a second to make may be this many seconds old, so that a large library does nothing else while it is indexed."""


class Library:
    """`path` is a folder or a URL; None is the default one. It is made where nothing is; an old index is told of, and left alone until it is migrated.

    `embedder` and `copy` are those of `stackroom.open`.
    """

    def __init__(
        self, path: str | None = None, embedder: str | Embedder | None = None, *, copy: str | None = None
    ) -> None:
        named = path or os.environ.get("STACKROOM_LIBRARY", "")
        self.folder = None if "://" in named else default_library() if path is None else absolute(path)
        self.where = named if self.folder is None else str(self.folder)
        self.name = _name_of(named) if self.folder is None else self.folder.name
        self.embedder = embedder
        self._copy = copy
        self._guard = threading.Lock()
        self._index: Index | None = None
        self._version: tuple[int, float] | None = None
        self._listing: tuple[int, float, float, list[Source]] | None = None

    def index(self) -> Index:
        """Raises MigrationNeeded, and what `stackroom.open` raises."""
        with self._guard:
            if self._index is None:
                self._index = self._open()
            return self._index

    def _open(self) -> Index:
        try:
            with warnings.catch_warnings():
                # That old files changed is said by the status.
                warnings.simplefilter("ignore")
                return stackroom.open(
                    self.folder or self.where, embedder=self.embedder, migrate="never", copy=self._copy
                )
        except NotALibraryError:
            if self.is_old():
                raise MigrationNeeded(
                    f"{self.where} holds an old index.",
                    hint="Migrate it: nothing is embedded again, and the old files stay.",
                    path=self.where,
                ) from None
            raise

    def is_old(self) -> bool:
        from stackroom.migration.stores.detection import detect

        return self.folder is not None and bool(detect(self.folder))

    def state(self) -> tuple[State, StackroomError | None]:
        """Whether it can be used, and why not."""
        try:
            self.index()
        except MigrationNeeded as needed:
            return "old", needed
        except StackroomError as error:
            return "failed", error
        return "ready", None

    def version(self) -> int:
        """Grows with every commit, of whichever process; -1 while there is no library."""
        if self._index is None:
            return -1
        now = time.monotonic()
        known = self._version
        if self.folder is None and known is not None and now - known[1] < _PAUSE:
            return known[0]
        with self._index.backend.view() as view:
            version = view.version
        self._version = version, now
        return version

    def sources(self) -> list[Source]:
        """Every source, by path. While commits come one after the other, it may be some seconds old where making it takes long."""
        index = self.index()
        version = self.version()
        kept = self._listing
        if kept is not None:
            made_for, made_at, took, sources = kept
            if made_for == version or time.monotonic() - made_at < _PATIENCE * took:
                return sources
        begun = time.monotonic()
        sources = index.sources()
        ended = time.monotonic()
        self._listing = version, ended, ended - begun, sources
        return sources

    def changed(self) -> None:
        """What the list says was changed here: the next one is made anew, however young this one is."""
        self._listing = self._version = None

    def close(self) -> None:
        with self._guard:
            if self._index is not None:
                self._index.close()
                self._index = None


def _name_of(url: str) -> str:
    named = re.search(r"[?&]library=([^&#]+)", url)
    return named[1] if named else "library"


def facets(sources: Sequence[Source]) -> dict[str, Any]:
    """What sources can be chosen by: types, and folders with at most three levels below their common one."""
    types = Counter(source.type or "unknown" for source in sources)
    folders = Counter(
        str(Path(source.path).parent) for source in sources if source.path.startswith("/") or ":" in source.path[:3]
    )
    return {
        "types": [{"name": name, "sources": count} for name, count in types.most_common()],
        "folders": [{"path": path, "sources": count} for path, count in sorted(folders.items())],
        "states": {
            "active": sum(source.active for source in sources),
            "failed": sum(source.error is not None for source in sources),
            "without_text": sum(bool(source.pages_without_text) for source in sources),
            "recognised": sum(bool(source.recognised_pages) for source in sources),
        },
    }
