"""A library to another engine and back: documents, passages, places and vectors as they are, and the proof that they arrived.

Both sides are backends, so that `push` and `pull` are one: the target becomes what the origin is. What a document was sent as is
remembered in the target, by a digest, in the commit that brings it; so a run that was stopped goes on, and the next one sends what changed.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from stackroom.backend import Backend
from stackroom.errors import BusyError, EngineAwayError, MigrationError
from stackroom.progress import CancelToken, Progress, Stopped
from stackroom.reports import TransferProof, TransferReport
from stackroom.transfer import copies
from stackroom.transfer.proof import prove
from stackroom.transfer.sending import Sent, send

_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before the run goes on, each time that it got no further; then the engine is away for good."""

_Done = TypeVar("_Done")

_PROOFS = 3
"""Times that a target is proven to which somebody writes meanwhile."""
_NAMED = 5
"""Differences that an error names; all are in its `actual`."""
_SENT_AGAIN = "Run it again: all of it is compared then, and what differs is sent again."
_NOT_SENT_AGAIN = (
    "All that was compared is there as it was sent, and sending it again would change nothing: what is not right is what searches and filters go by there. "
    "Push under another name (?library=NAME), or delete the library there and push again."
)
_NOT_FETCHED_AGAIN = (
    "All that was compared is here as it is there, and fetching it again would change nothing. Where verify finds nothing, it is the engine that finds otherwise: "
    "push this under another name (?library=NAME)."
)


@dataclass(slots=True)
class _Run:
    sent: Sent = field(default_factory=Sent)
    repeated: int = 0


def push(own: Backend, url: str, *, since_last: bool, progress: Progress, cancel: CancelToken) -> TransferReport:
    """`transfer` to the library at `url`. Raises what that and `open_engine` raise."""
    from stackroom.engines import open_engine

    with contextlib.closing(open_engine(url)) as other:
        names = (own.stats().library, url)
        return transfer(own, other, names=names, since_last=since_last, progress=progress, cancel=cancel)


def pull(
    target: Callable[[], Backend], url: str, *, since_last: bool, progress: Progress, cancel: CancelToken
) -> TransferReport:
    """`transfer` from the library at `url`. `target` is asked for once that is there: where nothing can be pulled, nothing is made.

    Raises what `target`, `transfer` and `open_engine` raise.
    """
    from stackroom.engines import normalised, open_engine

    with contextlib.closing(open_engine(url, mode="r")) as other:
        own = target()
        names = (url, own.stats().library)
        copy_of = normalised(url)
        return transfer(
            other, own, names=names, since_last=since_last, copy_of=copy_of, progress=progress, cancel=cancel
        )


def transfer(
    origin: Backend,
    target: Backend,
    *,
    names: tuple[str, str],
    since_last: bool = False,
    copy_of: str | None = None,
    progress: Progress,
    cancel: CancelToken,
) -> TransferReport:
    """Make `target` hold what `origin` holds. `names` are theirs, for the report; `since_last` proves only what was sent now, unless the target is not what
    the run before had proven: that one did not come to its end, or what it pulled was written to since.

    The target remembers that it is a copy, of the library at the URL `copy_of` (normalised) where that is given; and from the first thing that is
    sent until the proof that a transfer is under way. Where somebody wrote to it during the proof, it is proven again.

    Where an engine goes away it is waited for, longer each time. Raises EngineAwayError once that is in vain: what was committed stays,
    and the next run goes on there. Raises UsageError where the target holds something else, BusyError, EmbedderMismatchError, MigrationError.
    """
    begun = time.monotonic()
    run = _Run()
    sent, proof = run.sent, None
    try:
        _patiently(run, partial(send, origin, target, sent, copy_of=copy_of, progress=progress, cancel=cancel), cancel)
        # What was sent before, and what became of it, was proven only where the target still is as it was proven to be.
        part = sent if since_last and sent.was_proven else None
        proof = _proven(origin, target, names, part, run, copy_of or "", progress, cancel)
    except Stopped:
        pass
    return TransferReport(
        added=sent.added,
        updated=sent.updated,
        unchanged=sent.unchanged,
        removed=sent.removed,
        chunks=sent.chunks,
        reused=sent.vectors,
        vectors=sent.vectors,
        seconds=round(time.monotonic() - begun, 3),
        cancelled=cancel.cancelled,
        origin=names[0],
        target=names[1],
        repeated=run.repeated,
        proof=proof,
        origin_unfinished=sent.origin_unfinished,
    )


def _proven(
    origin: Backend,
    target: Backend,
    names: tuple[str, str],
    part: Sent | None,
    run: _Run,
    url: str,
    progress: Progress,
    cancel: CancelToken,
) -> TransferProof:
    """The proof of what the target is at its end: where somebody wrote to it meanwhile, it is made again."""
    for _ in range(_PROOFS):
        proof, version, curable = _patiently(
            run, partial(prove, origin, target, part, progress=progress, cancel=cancel), cancel
        )
        if not proof.ok:
            shown, more = proof.differences[:_NAMED], len(proof.differences) - _NAMED
            raise MigrationError(
                f"{names[1]} is not what {names[0]} is: {' '.join(shown)}{f' And {more:,} more.' if more > 0 else ''}",
                hint=f"Somebody else may have written to one of them meanwhile{_checks(names)}. {_advice(names, curable)}",
                path=names[1],
                actual=proof.differences,
            )
        if _patiently(run, partial(copies.finish, target, url, run.sent, version), cancel):
            return proof
    raise BusyError(
        f"Somebody wrote to {names[1]} each of the {_PROOFS} times that it was proven: what it is now was not compared.",
        hint="Run it again while nobody writes there.",
        path=names[1],
    )


def _checks(names: tuple[str, str]) -> str:
    """How what is on a disk of one's own is told from what somebody wrote; what an engine keeps it looks after itself."""
    here = [shlex.join(("stackroom", "--library", name, "verify")) for name in names if "://" not in name]
    return f", or a disk may have changed what is kept: {' and '.join(here)}" if here else ""


def _advice(names: tuple[str, str], curable: bool) -> str:
    if curable:
        return _SENT_AGAIN
    return _NOT_SENT_AGAIN if "://" in names[1] else _NOT_FETCHED_AGAIN


def _patiently(run: _Run, step: Callable[[], _Done], cancel: CancelToken) -> _Done:
    """Do it again when an engine was away. What was sent is not sent again; a proof begins anew, and so is never further than before."""
    vain = 0
    while True:
        before = run.sent.commits
        try:
            return step()
        except (EngineAwayError, BusyError) as error:
            if isinstance(error, BusyError) and not run.sent.commits:
                raise
            if run.sent.commits > before:
                vain = 0
            if vain >= len(_DELAYS):
                raise
            if cancel.wait(_DELAYS[vain]):
                raise Stopped from error
            vain += 1
            run.repeated += 1
