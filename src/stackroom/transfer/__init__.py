"""A library to another engine and back: documents, passages, places and vectors as they are, and the proof that they arrived.

Both sides are backends, so that `push` and `pull` are one: the target becomes what the origin is. What a document was sent as is
remembered in the target, by a digest, in the commit that brings it; so a run that was stopped goes on, and the next one sends what changed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from stackroom.backend import Backend
from stackroom.errors import BusyError, EngineAwayError, MigrationError
from stackroom.progress import CancelToken, Progress, Stopped
from stackroom.reports import TransferReport
from stackroom.transfer import copies
from stackroom.transfer.proof import prove
from stackroom.transfer.sending import Sent, send

_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before the run goes on, each time that it got no further; then the engine is away for good."""


@dataclass(slots=True)
class _Run:
    sent: Sent = field(default_factory=Sent)
    repeated: int = 0


def with_engine(
    own: Backend, url: str, mode: str, *, since_last: bool, progress: Progress, cancel: CancelToken
) -> TransferReport:
    """`transfer` between a library and the one at `url`: to there with the mode "a", from there with "r". Raises what that and `open_engine` raise."""
    from stackroom.engines import normalised, open_engine

    other = open_engine(url, mode=mode)
    try:
        here = own.stats().library
        origin, target = (own, other) if mode == "a" else (other, own)
        names = (here, url) if mode == "a" else (url, here)
        copy_of = normalised(url) if mode == "r" else None
        return transfer(
            origin, target, names=names, since_last=since_last, copy_of=copy_of, progress=progress, cancel=cancel
        )
    finally:
        other.close()


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
    """Make `target` hold what `origin` holds. `names` are theirs, for the report; `since_last` proves only what was sent now.

    The target remembers that it is a copy of the library at the URL `copy_of` (normalised), where that is given.

    Where an engine goes away it is waited for, longer each time. Raises EngineAwayError once that is in vain: what was committed stays,
    and the next run goes on there. Raises UsageError where the target holds something else, BusyError, EmbedderMismatchError, MigrationError.
    """
    begun = time.monotonic()
    run = _Run()
    proof = None
    try:
        _patiently(run, origin, target, copy_of, progress, cancel)
        proof = prove(origin, target, run.sent if since_last else None, progress=progress, cancel=cancel)
    except Stopped:
        pass
    sent = run.sent
    if proof is not None and not proof.ok:
        raise MigrationError(
            f"{names[1]} is not what {names[0]} is: {proof.differences[0]}"
            + (f" And {len(proof.differences) - 1} more." if len(proof.differences) > 1 else ""),
            hint="Somebody else may have written to one of them meanwhile. Run it again: what differs is sent again.",
            path=names[1],
            actual=proof.differences,
        )
    if copy_of is not None and proof is not None:
        copies.finish(target, copy_of, sent)
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
    )


def _patiently(
    run: _Run, origin: Backend, target: Backend, copy_of: str | None, progress: Progress, cancel: CancelToken
) -> None:
    """Send, and go on where it stopped when an engine was away."""
    vain = 0
    while True:
        before = run.sent.commits
        try:
            send(origin, target, run.sent, copy_of=copy_of, progress=progress, cancel=cancel)
            return
        except (EngineAwayError, BusyError) as error:
            if isinstance(error, BusyError) and not run.sent.commits:
                raise
            vain = 0 if run.sent.commits > before else vain + 1
            if vain >= len(_DELAYS):
                raise
            if cancel.wait(_DELAYS[vain]):
                raise Stopped from error
            run.repeated += 1
