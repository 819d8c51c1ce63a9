"""Verbs that change what is in the library, and the jobs that do what takes long."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from stackroom.errors import UsageError
from stackroom.progress import CancelToken, Progress
from stackroom.web.api.shapes import JOB
from stackroom.web.endpoint import Endpoint, Given, Schema, flag, or_null, record, ref, several, text, whole
from stackroom.web.jobs import Job
from stackroom.web.workspace import Workspace

_UNDO = 3600


def active(workspace: Workspace, given: Given) -> object:
    index = workspace.library.index()
    changed = index.set_active(given["sources"], given["active"])
    workspace.library.changed()
    stats = index.stats()
    return {"changed": changed, "active_sources": stats.active_sources, "sources": stats.sources}


def remove(workspace: Workspace, given: Given) -> object:
    index = workspace.library.index()
    if given["undo_seconds"] and given["purge"]:
        raise UsageError("A purge can't be undone.", hint="Leave out undo_seconds, or purge.")
    hidden = workspace.removals.hidden()
    found = {source.id: source for name in given["sources"] for source in index.find(name) if source.id not in hidden}
    chunks = sum(source.chunks for source in found.values())
    if given["undo_seconds"]:
        removal = workspace.removals.schedule(list(found), given["undo_seconds"])
        return {"removed": len(found), "chunks": chunks, "removal": removal.id}
    if found:
        index.remove(list(found), purge=given["purge"])
        workspace.library.changed()
    return {"removed": len(found), "chunks": chunks, "removal": None}


def undo(workspace: Workspace, given: Given) -> object:
    return {"restored": len(workspace.removals.undo(given["removal"]).source_ids)}


def add(workspace: Workspace, given: Given) -> object:
    paths: list[str] = given["paths"]
    full = [whole_path(path) for path in paths]
    title = os.path.basename(full[0].rstrip("/\\")) or full[0]
    title = title if len(full) == 1 else f"{title} and {len(full) - 1:,} more"
    options = {name: given[name] for name in ("retry", "prune", "also", "ignore", "follow_links", "ocr")}
    return job_form(workspace.add(full, title, **options))


def refresh(workspace: Workspace, given: Given) -> object:
    del given
    there = [
        source.path for source in workspace.sources() if os.path.isabs(source.path) and os.path.lexists(source.path)
    ]
    if not there:
        raise UsageError("No file of the library is there to be read again.", hint="Add a file or a folder.")
    return job_form(workspace.add(there, "what has changed"))


def retry(workspace: Workspace, given: Given) -> object:
    del given
    failed = [source.path for source in workspace.sources() if source.error is not None and os.path.isabs(source.path)]
    there = [path for path in failed if os.path.lexists(path)]
    if not there:
        raise UsageError("No file failed that could be read again.", hint="See: GET /api/sources?state=failed")
    return job_form(workspace.add(there, f"{len(there):,} that failed", retry=True))


def migrate(workspace: Workspace, given: Given) -> object:
    from stackroom import migration

    path, embedder = workspace.library.folder, workspace.library.embedder
    if path is None or not workspace.library.is_old():
        raise UsageError(
            f"{workspace.library.where} holds no old index.",
            hint="Start the page with the old index as its library: --library OLD",
        )
    if not given["dry_run"]:

        def convert(progress: Progress, cancel: CancelToken) -> object:
            return migration.migrate(path, embedder=embedder, progress=progress, cancel=cancel)

        return job_form(workspace.jobs.start("migrate", f"Convert {path.name}", convert))

    def look(progress: Progress, cancel: CancelToken) -> object:
        return migration.inventory(path, embedder=embedder, progress=progress, cancel=cancel)

    return job_form(workspace.jobs.start("inventory", f"Look at {path.name}", look, writes=False))


def jobs(workspace: Workspace, given: Given) -> object:
    del given
    return {"jobs": [job.form() for job in workspace.jobs.all()]}


def job(workspace: Workspace, given: Given) -> object:
    return job_form(workspace.jobs.get(given["job_id"]))


def cancel(workspace: Workspace, given: Given) -> object:
    return job_form(workspace.jobs.cancel(given["job_id"]))


def whole_path(path: str) -> str:
    """Raises UsageError where it would depend on where the page was started."""
    if "\0" in path or not os.path.isabs(os.path.expanduser(path)):
        raise UsageError(f"{path!r} is no whole path.", hint="Begin with / or ~, or with a drive.")
    return os.path.expanduser(path)


def job_form(job: Job) -> dict[str, Any]:
    return {"job": job.form()}


SOURCES = several(
    text("An id, a title, a path, or a glob over these.", minLength=1, maxLength=4096), "", minItems=1, maxItems=100_000
)
NOTHING = record({})
_JOB_NAME = {"job_id": text("The job's id.", minLength=1)}


def post(
    path: str,
    name: str,
    summary: str,
    answer: Callable[[Workspace, Given], object],
    returns: Schema,
    body: Schema = NOTHING,
    *,
    status: int = 200,
    errors: tuple[int, ...] = (404, 409),
    path_names: dict[str, Schema] | None = None,
) -> Endpoint:
    return Endpoint(
        "POST",
        path,
        name,
        summary,
        answer,
        returns,
        body=body,
        status=status,
        errors=errors,
        path_names=path_names or {},
    )


ENDPOINTS = [
    post(
        "/api/active",
        "setActive",
        "Put sources into the active set, or take them out.",
        active,
        record({"changed": whole(""), "active_sources": whole(""), "sources": whole("")}),
        record(
            {"sources": or_null({**SOURCES, "description": "null: all of them"}), "active": flag("", None)},
        ),
    ),
    post(
        "/api/remove",
        "remove",
        "Take sources out of the library. With undo_seconds they are hidden at once, and removed after that time.",
        remove,
        record(
            {
                "removed": whole("How many sources."),
                "chunks": whole("How many passages."),
                "removal": or_null(text("What to say to undo it.")),
            }
        ),
        record(
            {"sources": SOURCES},
            {
                "purge": flag("Leave nothing of them in any file; slow."),
                "undo_seconds": whole("How long it can be undone.", minimum=0, maximum=_UNDO, default=0),
            },
        ),
    ),
    post(
        "/api/undo",
        "undo",
        "Take a removal back, while there is time.",
        undo,
        record({"restored": whole("How many sources.")}),
        record({"removal": text("As remove answered.", minLength=1, maxLength=20)}),
        errors=(404,),
    ),
    post(
        "/api/add",
        "add",
        "Index files, folders or globs of the machine that runs the page, in the background.",
        add,
        JOB,
        record(
            {"paths": several(text("A whole path.", minLength=1, maxLength=4096), "", minItems=1, maxItems=10_000)},
            {
                "retry": flag("Read again what failed before."),
                "prune": flag("Remove sources under these folders that are gone from disk."),
                "also": several(
                    text("", enum=["code", "json", "xml", "zim", "picture"]),
                    "Of folders take these too.",
                    default=[],
                    maxItems=5,
                ),
                "ignore": several(
                    text("", maxLength=4096), "Skip files or folders like this.", default=[], maxItems=100
                ),
                "follow_links": flag("Follow symbolic links that lead out of these folders."),
                "ocr": flag("Then recognise pages without text: scans, and pictures. It may take seconds a page."),
            },
        ),
        status=202,
        errors=(409,),
    ),
    post(
        "/api/refresh",
        "refresh",
        "Read again every file of the library that has changed.",
        refresh,
        JOB,
        status=202,
        errors=(409,),
    ),
    post("/api/retry", "retry", "Read again all that failed.", retry, JOB, status=202, errors=(409,)),
    post(
        "/api/migrate",
        "migrate",
        "Turn the old index in the library's folder into a library; with dry_run only say what is in there.",
        migrate,
        JOB,
        record({}, {"dry_run": flag("Only look.")}),
        status=202,
        errors=(404,),
    ),
    Endpoint(
        "GET",
        "/api/jobs",
        "jobs",
        "What runs, waits or ended, the newest first.",
        jobs,
        record({"jobs": several(ref("Job"), "")}),
    ),
    Endpoint("GET", "/api/jobs/{job_id}", "job", "One job.", job, JOB, path_names=_JOB_NAME, errors=(404,)),
    post(
        "/api/jobs/{job_id}/cancel",
        "cancel",
        "Stop a job; what is committed stays.",
        cancel,
        JOB,
        errors=(404,),
        path_names=_JOB_NAME,
    ),
]
