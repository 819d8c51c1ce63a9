"""What a target says of the transfers to it, and whether it may become what the origin is: what somebody else has put there would go."""

from __future__ import annotations

from stackroom import copied
from stackroom.backend import SourceRecord, View
from stackroom.engines import normalised
from stackroom.errors import DamagedError, EmbedderMismatchError, UsageError
from stackroom.history import History
from stackroom.identity import interchangeable

PREFIX = "transfer/"
"""The names of attachments that say by a digest as what a document was sent."""
DIFFERS = b"differs"
"""In place of a digest: the document is there, and not as it was sent. It goes again."""

SOURCES = "transfer-source/"
"""The names of attachments that say of a source which library brought it, by that one's id; b"" where it was pulled.

A copy keeps them of sources that are removed there, so that it may remove them where it came from, too.
"""
HISTORY = "transfer-history/"
"""The names of attachments that say up to which commit of a library the target has come by pushes from it."""

BROUGHT = "transfer"
"""The attachment that names the others that came by a transfer: what the target's own users keep there stays."""

_NAMED = 5
"""Sources that an error names."""
_ANOTHER = "another target: on an engine another name (?library=NAME), on disk an empty folder."


def is_mark(name: str) -> bool:
    """Whether an attachment is of these: they are the target's own, and sent nowhere."""
    return name in (BROUGHT, copied.RECORD) or name.startswith((PREFIX, SOURCES, HISTORY))


def library_of(view: View) -> bytes:
    """As `SOURCES` names the origin: an engine has no id."""
    return b"" if view.history is None else view.history.library.hex().encode()


def require_fit(
    view: View,
    there: View,
    sources: list[SourceRecord],
    mine: dict[str, SourceRecord],
    whose: dict[str, bytes],
    copy_of: str | None,
    *,
    was_sent: bool,
) -> None:
    """That nothing but what came from the origin would have to go. `sources` are the origin's, `mine` the target's, by id, and `whose` says who brought them;
    `was_sent`: a transfer has brought documents.

    Raises UsageError, EmbedderMismatchError.
    """
    if not was_sent and len(there.live_keys()):
        raise UsageError(
            "The target holds passages that no transfer brought: they would have to go.", hint=f"Choose {_ANOTHER}"
        )
    _require_model(view, there)
    if not _is_kin(view, there, copy_of) and mine and mine.keys().isdisjoint(record.source_id for record in sources):
        raise UsageError(
            f"The target is a copy of another library: none of its {len(mine):,} sources came from this one, even if they are of the same files, and all of them would have to go.",
            hint=f"Choose {_ANOTHER}",
        )
    # A target that was made before sources were marked has no mark at all.
    if whose or not was_sent:
        _require_brought(view, sources, mine, whose)


def require_nothing_lost(view: View, sources: list[SourceRecord], mine: dict[str, SourceRecord]) -> None:
    """That no source of the origin, of which a repair has lost passages, would replace one of the target that may have them. Raises DamagedError."""
    # Those that a repair has not come to yet have no error.
    untried = {key for key, _ in view.waiting().read}
    names = sorted(
        record.name
        for record in sources
        if (record.lacks_passages or (record.unfinished and record.key in untried))
        and record.source_id in mine
        and not mine[record.source_id].lacks_passages
    )
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        raise DamagedError(
            f"A repair has lost passages of {', '.join(names[:_NAMED])}{more}, and the target, which may have them, was left as it is.",
            hint="See why: stackroom list --failed. Give them again or remove them, and send them then. Or have the target beside this library: stackroom --library NEW pull URL",
            actual=len(names),
        )


def _is_kin(view: View, there: View, copy_of: str | None) -> bool:
    """Whether a transfer from this library was begun before. Raises UsageError where that was from a later state of it."""
    history = view.history
    if history is None:
        known = copied.read(there.attachment(copied.RECORD), there.version)
        return known is not None and bool(copy_of and known.url) and normalised(known.url) == copy_of
    before = History.load(there.attachment(HISTORY + history.library.hex()) or b"")
    if before is not None and before != history and not before.precedes(history):
        apart = before.commits <= history.commits
        which, this = (
            ("another", "went on apart from it") if apart else ("a later", "was brought back from an older copy")
        )
        raise UsageError(
            f"The target holds {which} state of this library, up to its commit {before.commits:,}: this is one that {this}, up to commit {history.commits:,}.",
            hint=f"What is {'other' if apart else 'later'} there would have to go. Bring it here first: stackroom --library NEW pull URL. Or choose {_ANOTHER}",
        )
    return before is not None


def _require_brought(
    view: View, sources: list[SourceRecord], mine: dict[str, SourceRecord], whose: dict[str, bytes]
) -> None:
    """Raises UsageError where somebody else has brought sources, of which the origin has none and never had any."""
    names, library = {record.name for record in sources}, library_of(view)
    had = {record.source_id for record in sources} | {
        name.removeprefix(SOURCES) for name, _ in view.attachments(SOURCES)
    }
    added = sorted(
        record.name
        for source_id, record in mine.items()
        if source_id not in had and record.name not in names and whose.get(source_id) != library
    )
    if added:
        was = "source was" if len(added) == 1 else "sources were"
        more = f" and {len(added) - _NAMED:,} more" if len(added) > _NAMED else ""
        raise UsageError(
            f"{len(added):,} {was} added to the target, not by this library, and would have to go: {', '.join(added[:_NAMED])}{more}.",
            hint=f"Add them here as well, or remove them from the target. Or choose {_ANOTHER}",
        )


def _require_model(view: View, there: View) -> None:
    own, other = view.identity, there.identity
    if own is None or other is None or not other.name or interchangeable(other, own):
        return
    raise EmbedderMismatchError(
        f"The vectors in the target are of {other.name!r} ({other.dim} dimensions), and these of {own.name!r} ({own.dim} dimensions).",
        hint="A library whose model was changed is sent anew: choose another name for it (?library=NAME).",
        expected=other,
        actual=own,
    )
