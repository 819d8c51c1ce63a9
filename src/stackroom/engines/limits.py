"""What engines leave to those who run them: each call says so, and what does the same there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stackroom.errors import UsageError

if TYPE_CHECKING:
    from stackroom.backend import Capability, EmbedTexts, Judge
    from stackroom.progress import CancelToken, Progress
    from stackroom.reports import Backup, Compaction, Repair, Verification
    from stackroom.types import EmbedderIdentity

_LOCALLY = "Pull it into a local library, and do it there: stackroom --library NEW pull URL"


class Limits:
    """The part of a Backend that an engine has not. An engine names its own ways in `instead`."""

    capabilities: frozenset[Capability] = frozenset()
    engine = "the engine"
    instead: dict[Capability, str] = {}  # noqa: RUF012 - a table of constants

    def require(self, capability: Capability) -> None:
        if capability not in self.capabilities:
            self._refuse(capability)

    def _refuse(self, capability: Capability) -> NoReturn:
        raise UsageError(
            f"A library on {self.engine} has no {capability!r}.",
            hint=self.instead.get(capability, _LOCALLY),
            actual=capability,
        )

    def verify(self, *, progress: Progress, cancel: CancelToken) -> Verification:
        del progress, cancel
        self._refuse("verify")

    def repair(self, *, dry_run: bool, progress: Progress, cancel: CancelToken) -> Repair:
        del dry_run, progress, cancel
        self._refuse("repair")

    def compact(self, *, progress: Progress, cancel: CancelToken) -> Compaction:
        del progress, cancel
        self._refuse("compact")

    def backup(self, folder: Path, *, refresh: bool, progress: Progress, cancel: CancelToken) -> Backup:
        del folder, refresh, progress, cancel
        self._refuse("backup")

    def purge(self, *, progress: Progress, cancel: CancelToken) -> None:
        del progress, cancel
        self._refuse("purge")

    def reembed(
        self,
        identity: EmbedderIdentity,
        embed: EmbedTexts,
        *,
        judge: Judge | None = None,
        progress: Progress,
        cancel: CancelToken,
    ) -> tuple[int, bool]:
        del identity, embed, judge, progress, cancel
        self._refuse("reembed")

    def discard_former(self) -> bool:
        self._refuse("reembed")
