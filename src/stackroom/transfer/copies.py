"""A copy remembers of what and when it was made, and says where that did not come to its end; what `pull` made can answer while its engine is away."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stackroom import copied
from stackroom.backend import Backend, View
from stackroom.engines import normalised
from stackroom.errors import EngineAwayError, NotFoundError, StackroomError, UnavailableError, UsageError
from stackroom.reports import Copied, Fallback, Stats
from stackroom.storage.store import LocalStore

if TYPE_CHECKING:
    from stackroom.transfer.sending import Sent


def begun(there: View, url: str) -> bytes:
    """What the target keeps from the first commit on that brings something: it is between what it was and what is at `url` ("": where a push is from)."""
    known = copied.read(there.attachment(copied.RECORD), there.version)
    if known is None or (known.url and normalised(known.url)) != url:
        known = Copied(url, 0, "")
    return copied.written(replace(known, begun_at=_now()), own=0)


def finish(target: Backend, url: str, sent: Sent, proven: int) -> bool:
    """The target is what the origin was when it was read, and its version `proven` was compared; False where it has another one by now."""
    now = Copied(url, sent.version, sent.taken_at, origin_unfinished=sent.origin_unfinished)
    with target.commit() as commit:
        # Nobody else commits meanwhile.
        with target.view() as there:
            version = there.version
        if version == proven:
            commit.attach(copied.RECORD, copied.written(now, own=version + 1))
    return version == proven


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def unfit(folder: Path, url: str) -> str | None:
    """Why what is in the folder could not stand in for what is at `url`; None where it could."""
    try:
        with contextlib.closing(LocalStore(folder, mode="r")) as store:
            known_copy(store, url)
    except NotFoundError:
        return f"there is no copy in {folder}"
    except StackroomError as error:
        return error.message.rstrip(".")
    return None


def known_copy(store: LocalStore, url: str) -> Copied:
    """What the store says of itself. Raises UsageError where it is no copy of what is at `url`."""
    with store.view() as view:
        known = copied.read(view.attachment(copied.RECORD), view.version)
    if known is None or not known.url or not known.taken_at:
        raise UsageError(f"{store.path} is no copy of it that was brought to its end.")
    if normalised(known.url) != normalised(url):
        raise UsageError(f"{store.path} is a copy of {known.url}.")
    return known


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
        try:
            known = known_copy(self, url)
        except UsageError as error:
            raise self._no_copy(url, error.message.rstrip(".")) from error
        return Fallback(
            url,
            str(self.path),
            known.version,
            known.taken_at,
            unfinished=bool(known.begun_at),
            changed=known.changed,
            origin_unfinished=known.origin_unfinished,
        )

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
