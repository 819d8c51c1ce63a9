"""Counts of a run as they become true, and the progress that is told from them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from stackroom.progress import Progress, ProgressEvent
from stackroom.reports import Failure, Note, Report

_EVERY_SECONDS = 0.1


class Tally:
    """What a run has done so far: only what is committed is counted, but for `embedded`."""

    def __init__(self, progress: Progress, stage: str = "index") -> None:
        self._progress = progress
        self._stage = stage
        self._begun = time.monotonic()
        self._told = 0.0
        self._sources: Counter[str] = Counter()
        self._chunks = 0
        self._embedded = 0
        self._reused = 0
        self._blank = 0
        self._failures: list[Failure] = []
        self._notes: list[Note] = []
        self._blanks: dict[str, tuple[str, int]] = {}
        self._before: dict[str, str] = {}
        self.total: int | None = None
        self.done = 0
        self.current: str | None = None
        self.skipped: Mapping[str, int] = {}
        self.outside = 0

    def scanned(self, count: int) -> None:
        self._progress(ProgressEvent("scan", done=count))

    def embedded(self, count: int) -> None:
        self._embedded += count
        self.tell()

    def stored(self, new: int, kept: int) -> None:
        self._chunks += new + kept
        self._reused += kept

    def finished(self, kind: str, *, name: str = "", blank: int = 0, pages: int = 0, incomplete: str = "") -> None:
        """A source is done; `kind` is a field of Report. One that was taken back is what it was then.

        `blank` of its `pages` hold no text; `incomplete` says what of it could not be read.
        """
        kind = self._before.pop(name, kind) if kind in ("added", "updated") else kind
        self._sources[kind] += 1
        self._blank += blank
        if blank:
            self._blanks[name] = (kind, blank)
            self._notes.append(Note(name, f"{blank:,} of its {pages:,} pages without text.", "pages_without_text"))
        if incomplete:
            self._notes.append(Note(name, incomplete, "incomplete"))
        self.done += 1
        self.tell()

    def take_back(self, name: str) -> None:
        """This source is gone over once more: it is not done, and what was said of it does not count."""
        kept = [failure for failure in self._failures if failure.path != name]
        self._notes = [note for note in self._notes if note.path != name]
        kind, pages = self._blanks.pop(name, ("unchanged", 0))
        if len(kept) < len(self._failures):
            self._failures, kind = kept, "failed"
        if self._sources[kind]:
            self._sources[kind] -= 1
            self._blank -= pages
            self.done -= 1
        if kind in ("added", "updated"):
            self._before[name] = kind

    def failed(self, failure: Failure) -> None:
        self._failures.append(failure)
        self.finished("failed", name=failure.path)

    def tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._told < _EVERY_SECONDS:
            return
        self._told = now
        seconds = max(now - self._begun, 1e-6)
        share = self.done / self.total if self.total else 0
        self._progress(
            ProgressEvent(
                self._stage,
                done=self.done,
                total=self.total,
                chunks=max(self._chunks, self._embedded),
                failed=len(self._failures),
                rate=self._embedded / seconds if self._embedded else None,
                seconds_left=seconds / share * (1 - share) if share > 0.005 else None,
                current=self.current,
            )
        )

    def report(self, *, cancelled: bool) -> Report:
        return Report(
            added=self._sources["added"],
            updated=self._sources["updated"],
            unchanged=self._sources["unchanged"],
            moved=self._sources["moved"],
            removed=self._sources["removed"],
            failed=len(self._failures),
            chunks=self._chunks,
            embedded=self._embedded,
            reused=self._reused,
            seconds=round(time.monotonic() - self._begun, 3),
            cancelled=cancelled,
            # Where only the first are shown, what is new is among them.
            failures=tuple(sorted(self._failures, key=lambda failure: failure.before)),
            pages_without_text=self._blank,
            notes=tuple(self._notes),
            skipped=dict(self.skipped),
            outside=self.outside,
        )
