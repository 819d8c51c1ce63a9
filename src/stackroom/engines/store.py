"""What stores on engines have in common: how they are found or not, opened, closed, and taken along by a forked process."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from stackroom.engines.limits import Limits
from stackroom.errors import ClosedError, FormatVersionError, NotALibraryError, NotFoundError, ReadOnlyError
from stackroom.reports import Collection

if TYPE_CHECKING:
    from stackroom.backend import View

SHOWN_FAILURES = 10


class EngineStore(Limits):
    """Usable from several threads; a forked child opens connections of its own."""

    def __init__(self, url: str, *, mode: str) -> None:
        """Modes are those of `stackroom.open`, and "w": to write to what is there."""
        self.url = url
        self.read_only = mode == "r"
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._connect()

    def _connect(self) -> None:
        """Make what a process needs for itself."""
        raise NotImplementedError

    def _connections(self) -> object:
        """What of it belongs to the process that made it."""
        raise NotImplementedError

    def _check_mode(self, mode: str, *, exists: bool) -> None:
        """Raises NotALibraryError, NotFoundError."""
        if exists and mode == "x":
            raise NotALibraryError(
                f"{self.url} holds a library already.",
                hint="Open it with mode='a', or choose another name.",
                path=self.url,
            )
        if not exists and mode in ("r", "w"):
            raise NotFoundError(
                f"There is no library at {self.url}.",
                hint=f"Send one there: stackroom --library DIR push {shlex.quote(self.url)}",
                path=self.url,
            )

    def _newer(self, expected: int, found: object) -> FormatVersionError:
        return FormatVersionError(
            f"The library {self.url} was written by a newer Stackroom (format {found}).",
            hint="Upgrade with: pip install --upgrade stackroom",
            path=self.url,
            expected=expected,
            actual=found,
        )

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            # A parent's connections are its own: they are left as they are.
            _ORPHANS.append(self._connections())
            self._begin()
        if self._closed:
            raise ClosedError(f"The library {self.url} was closed.", hint="Open it again.", path=self.url)

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise ReadOnlyError(f"{self.url} was opened read-only.", hint="Open it with mode='a'.", path=self.url)

    @property
    def _is_mine(self) -> bool:
        """Whether there is something to close, of this process."""
        return not self._closed and self._pid == os.getpid()

    @staticmethod
    def _collections(view: View) -> tuple[Collection, ...]:
        """As `Stats` has them."""
        serving = None if view.identity is None else view.identity.dim
        return tuple(
            Collection(one.name, one.chunks, one.identity.dim if one.identity else serving, one.identity is not None)
            for one in view.collections()
        )


_ORPHANS: list[object] = []
"""Connections of a forked child's parent: closing them would end the parent's."""
