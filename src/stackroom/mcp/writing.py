"""The tools that change the library, which an agent gets only where its user says --allow-writes: add, remove and set_active."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations

from stackroom.errors import StackroomError, UsageError
from stackroom.forms import plain
from stackroom.mcp.telling import refusal
from stackroom.progress import CancelToken, ProgressEvent

if TYPE_CHECKING:
    from stackroom.index import Index

_MOST_FAILURES = 20
_T = TypeVar("_T")


def offer(server: MCPServer[Any], index: Index, folders: Sequence[Path]) -> None:
    """`folders`: what may be added is under one of these; with none of them, whatever the user can read."""

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True))
    async def add(paths: list[str], context: Context) -> dict[str, Any]:
        """Index files, or folders with all that is in them, of the user's machine. What is indexed already and has not changed costs next to
        nothing. paths: whole paths. It may take minutes; where it is cancelled, what was indexed stays."""
        allowed = _told(lambda: [_allowed(path, folders) for path in paths])
        return await _run(lambda progress, cancel: index.add(allowed, progress=progress, cancel=cancel), context)

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True))
    def remove(documents: list[str]) -> dict[str, Any]:
        """Take documents out of the library. Their files are not touched. documents: ids as list_documents gives them, titles or paths."""
        return _told(lambda: _remove(index, documents))

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True))
    def set_active(active: bool, documents: list[str] | None = None) -> dict[str, Any]:
        """Switch documents on or off, which is what `active` of search keeps to. documents: ids, titles, paths or globs; all without it."""
        return _told(lambda: _set_active(index, documents, active))


def _allowed(given: str, folders: Sequence[Path]) -> str:
    """Raises UsageError."""
    path = os.path.expanduser(given)
    if "\0" in path or not os.path.isabs(path):
        raise UsageError(f"{given!r} is no whole path.", hint="Begin with / or ~, or with a drive.")
    if folders and any(mark in path for mark in "*?["):
        # A part of it may be a link, which is known only where it is followed.
        raise UsageError(f"{given!r} is a glob.", hint="Name files and folders.")
    # Where it leads, not how it is called: a link may lead anywhere.
    real = Path(os.path.realpath(path))
    if folders and not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
        raise UsageError(
            f"{given!r} is under none of the folders that may be added.",
            hint=f"There are: {', '.join(map(str, folders))}.",
        )
    return path


def _remove(index: Index, documents: list[str]) -> dict[str, Any]:
    if not documents:
        raise UsageError("No document is named.")
    return {"removed": index.remove(documents).removed}


def _set_active(index: Index, documents: list[str] | None, active: bool) -> dict[str, Any]:
    if documents is not None and not documents:
        raise UsageError("No document is named.", hint="Leave documents out, to switch all of them.")
    changed = index.set_active(documents, active)
    stats = index.stats()
    return {"changed": changed, "active": stats.active_sources, "documents": stats.sources}


def _told(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except StackroomError as error:
        raise refusal(error) from error


async def _run(work: Callable[[Callable[[ProgressEvent], None], CancelToken], Any], context: Context) -> dict[str, Any]:
    """In a thread. An agent that cancels the call, or goes away, stops it at the next occasion."""
    cancel = CancelToken()

    def progress(event: ProgressEvent) -> None:
        # That nobody listens is no reason to fail.
        with contextlib.suppress(RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            if not cancel.cancelled:
                anyio.from_thread.run(context.report_progress, float(event.done), event.total, event.stage)

    try:
        report = await anyio.to_thread.run_sync(_told, lambda: work(progress, cancel), abandon_on_cancel=True)
    finally:
        cancel.cancel()
    told: dict[str, Any] = plain(report)
    told["failures"] = told.get("failures", [])[:_MOST_FAILURES]
    return told
