"""Long runs in the background: one after the other where they write, with progress, a way to stop them, and an outcome that stays."""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from stackroom.errors import BusyError, NotFoundError, StackroomError
from stackroom.forms import error_form, plain, plain_error
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped

State = Literal["queued", "waiting", "running", "done", "failed", "cancelled"]
Work = Callable[[Progress, CancelToken], object]
"""What a job does; returns its report. A report with `cancelled` says that it was stopped."""

ENDED: tuple[State, ...] = ("done", "failed", "cancelled")

_KEPT = 20
_SHOWN = 100
_AGAIN = 1.0
"""Seconds after which it is tried again to take the lease that another program has."""


@dataclass
class Job:
    id: str
    kind: str
    title: str
    work: Work
    state: State = "queued"
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    begun: float | None = None
    ended: float | None = None
    event: ProgressEvent | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    cancel: CancelToken = field(default_factory=CancelToken)

    def form(self) -> dict[str, Any]:
        """The job as JSON. `error` says why it failed, or for whom it waits."""
        event = self.event or ProgressEvent("")
        seconds = 0.0 if self.begun is None else (self.ended or time.monotonic()) - self.begun
        return {
            "id": self.id,
            "kind": self.kind,
            "title": plain(self.title),
            "state": self.state,
            "created_at": self.created_at,
            "seconds": round(seconds, 1),
            "progress": {
                "stage": event.stage,
                "done": event.done,
                "total": event.total,
                "chunks": event.chunks,
                "failed": event.failed,
                "rate": None if event.rate is None else round(event.rate, 1),
                "seconds_left": None if event.seconds_left is None else round(event.seconds_left, 1),
                "current": plain(event.current),
            },
            "result": self.result,
            "error": self.error,
        }


class Jobs:
    """Writing jobs run one at a time, in the order they came; those that only look run beside them."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()
        self._writing = ThreadPoolExecutor(1, "stackroom-writing")
        self._looking = ThreadPoolExecutor(1, "stackroom-looking")
        self._revision = 0

    @property
    def revision(self) -> int:
        """Grows with every change of any job."""
        return self._revision

    def start(self, kind: str, title: str, work: Work, *, writes: bool = True) -> Job:
        with self._guard:
            job = Job(str(next(self._numbers)), kind, title, work)
            self._jobs[job.id] = job
            over = [item.id for item in self._jobs.values() if item.state in ENDED][:-_KEPT]
            for name in over:
                del self._jobs[name]
        self._changed()
        (self._writing if writes else self._looking).submit(self._run, job)
        return job

    def get(self, job_id: str) -> Job:
        """Raises NotFoundError."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFoundError(
                f"There is no job {job_id!r}.", hint="Jobs are forgotten when the page's program ends."
            ) from None

    def all(self) -> list[Job]:
        """The newest first."""
        with self._guard:
            return list(reversed(self._jobs.values()))

    def cancel(self, job_id: str) -> Job:
        """Ask it to stop; what is committed stays. One that has ended stays as it is. Raises NotFoundError."""
        job = self.get(job_id)
        job.cancel.cancel()
        with self._guard:
            if job.state == "queued":
                self._end(job, "cancelled")
        self._changed()
        return job

    def close(self) -> None:
        """Stop what runs and what waits, and wait until it has stopped."""
        for job in self.all():
            if job.state not in ENDED:
                job.cancel.cancel()
        for pool in (self._writing, self._looking):
            pool.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> None:
        with self._guard:
            if job.state != "queued":
                return
            job.state, job.begun = "running", time.monotonic()
        self._changed()

        def progress(event: ProgressEvent) -> None:
            job.event, job.error = event, None
            job.state = "running"
            self._changed()

        try:
            self._end(job, *self._outcome(job, progress))
        except StackroomError as error:
            job.error = error_form(error)["error"]
            self._end(job, "failed")
        except Exception as error:
            # A fault of ours ends this job, not those after it.
            traceback.print_exc()
            job.error = plain_error("InternalError", f"{type(error).__name__}: {error}", None)["error"]
            self._end(job, "failed")
        self._changed()

    def _outcome(self, job: Job, progress: Progress) -> tuple[State, object]:
        while True:
            try:
                report = job.work(progress, job.cancel)
            except BusyError as error:
                # Another program is at work: it is said, and waited for.
                job.state, job.error = "waiting", error_form(error)["error"]
                self._changed()
                if job.cancel.wait(_AGAIN):
                    job.error = None
                    return "cancelled", None
            except Stopped:
                return "cancelled", None
            else:
                return ("cancelled" if getattr(report, "cancelled", False) else "done"), report

    def _end(self, job: Job, state: State, report: object = None) -> None:
        if report is not None:
            result = plain(report)
            if "failures" in result:
                result["failures"] = result["failures"][:_SHOWN]
            if "notes" in result:
                result["notes"] = _first_of_each_kind(result["notes"])
            job.result, job.error = result, None
        job.ended, job.state = time.monotonic(), state

    def _changed(self) -> None:
        with self._guard:
            self._revision += 1


def _first_of_each_kind(notes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A hundred scans are no reason to be silent about the one file behind them that is broken."""
    seen: Counter[str] = Counter()
    kept = []
    for note in notes:
        seen[note["kind"]] += 1
        if seen[note["kind"]] <= _SHOWN:
            kept.append(note)
    return kept
