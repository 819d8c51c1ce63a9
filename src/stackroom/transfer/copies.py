"""A copy that `pull` made remembers of what and when, so that it can answer while its engine is away, and say so."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackroom.backend import Backend
from stackroom.engines import normalised
from stackroom.errors import EngineAwayError, NotFoundError, UnavailableError, UsageError
from stackroom.reports import Fallback, Stats
from stackroom.storage.store import LocalStore

if TYPE_CHECKING:
    from stackroom.transfer.sending import Sent

ORIGIN = "transfer-origin"
"""The attachment that says of what a library is a copy, and of when: its own, and sent nowhere."""


def begin(target: Backend, url: str) -> None:
    """From now on the target is between what it was and what is at `url`; where it was a copy of something else, it is that no more."""
    with target.view() as there:
        known = _origin(there.attachment(ORIGIN))
    if known is None or (known["url"] == url and known["unfinished"]):
        return
    with target.commit() as commit:
        if known["url"] == url:
            commit.attach(ORIGIN, json.dumps({**known, "unfinished": True}).encode())
        else:
            commit.detach(ORIGIN)


def finish(target: Backend, url: str, sent: Sent) -> None:
    """The target is what was at `url` when it was read, and that was proven."""
    origin = {"url": url, "version": sent.version, "taken_at": sent.taken_at, "unfinished": False}
    with target.commit() as commit:
        commit.attach(ORIGIN, json.dumps(origin).encode())


_FACTS = {"url": str, "version": int, "taken_at": str, "unfinished": bool}


def _origin(data: bytes | None) -> dict[str, Any] | None:
    """What the target says of where it is from; None where it says nothing that means something."""
    try:
        found = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return None
    meant = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in _FACTS.items())
    return found if meant else None


class CopyStore(LocalStore):
    """The copy of a library on an engine that is away: for reading, and every write is refused in the engine's name."""

    def __init__(self, folder: Path, url: str, away: EngineAwayError) -> None:
        """`away` is what the engine's opening raised. Raises UsageError where the folder holds no copy of what is at `url`, DamagedError, StorageError."""
        self._away = away.message
        try:
            super().__init__(folder, mode="r")
        except NotFoundError as error:
            raise self._no_copy(url, f"there is no copy in {folder}") from error
        try:
            self.fallback = self._as_copy_of(url)
        except BaseException:
            self.close()
            raise

    def _as_copy_of(self, url: str) -> Fallback:
        with self.view() as view:
            known = _origin(view.attachment(ORIGIN))
        if known is None:
            raise self._no_copy(url, f"{self.path} is no copy of it that was brought to its end")
        if known["url"] != normalised(url):
            raise self._no_copy(url, f"{self.path} is a copy of {known['url']}")
        return Fallback(url, str(self.path), known["version"], known["taken_at"], known["unfinished"])

    def stats(self) -> Stats:
        return replace(super().stats(), library=self.fallback.url, fallback=self.fallback)

    def _check_writable(self) -> None:
        raise UnavailableError(
            f"{self.fallback.url} was away when it was opened, and its copy {self.path} is for reading: nothing was written.",
            hint="Open it again once the engine is there.",
            path=self.fallback.url,
        )

    def _no_copy(self, url: str, why: str) -> UsageError:
        return UsageError(
            f"{self._away.rstrip('.')}, and {why}.",
            hint=f"Name its copy. To make one, once it is there: stackroom --library DIR pull {shlex.quote(url)}",
            path=self.path,
        )
