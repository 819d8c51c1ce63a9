"""Verbs for the library as a whole, each a job: verify, repair, compact, rebuild, backup, export, push, pull, measure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import stackroom
from stackroom.errors import DamagedError, UsageError
from stackroom.forms import plain
from stackroom.progress import CancelToken, Progress
from stackroom.reports import Comparison
from stackroom.web.api.shapes import JOB
from stackroom.web.api.writing import SOURCES, job_form, post, whole_path
from stackroom.web.endpoint import Given, flag, or_null, record, text, whole
from stackroom.web.workspace import Workspace


class _Told(dict[str, Any]):
    """A report that does not say itself whether it was stopped."""

    def __init__(self, told: dict[str, Any], *, cancelled: bool) -> None:
        super().__init__(told)
        self.cancelled = cancelled


def verify(workspace: Workspace, given: Given) -> object:
    del given
    index = workspace.library.index()

    def work(progress: Progress, cancel: CancelToken) -> object:
        found = index.verify(progress=progress, cancel=cancel)
        shown = replace(found, damage=found.damage[:100], incomplete=found.incomplete[:100])
        return _Told({"ok": found.ok, **plain(shown)}, cancelled=cancel.cancelled)

    return job_form(workspace.jobs.start("verify", "Check every stored byte", work, writes=False))


def repair(workspace: Workspace, given: Given) -> object:
    path, dry_run = workspace.library.where, given["dry_run"]
    if workspace.library.is_old():
        raise UsageError(f"{path} holds an old index, which is migrated.", hint="POST /api/migrate")

    def work(progress: Progress, cancel: CancelToken) -> object:
        try:
            index = workspace.library.index()
        except DamagedError:
            done = stackroom.repair(path, dry_run=dry_run, progress=progress, cancel=cancel)
        else:
            done = index.repair(dry_run=dry_run, progress=progress, cancel=cancel)
            workspace.library.changed()
        return _Told({"ok": done.ok, **plain(done)}, cancelled=cancel.cancelled)

    return job_form(workspace.jobs.start("repair", "Bring back what is damaged", work))


def compact(workspace: Workspace, given: Given) -> object:
    index = workspace.library.index()

    def work(progress: Progress, cancel: CancelToken) -> object:
        return _Told(
            plain(index.compact(purge=given["purge"], progress=progress, cancel=cancel)), cancelled=cancel.cancelled
        )

    return job_form(workspace.jobs.start("compact", "Give disk space back", work))


def rebuild(workspace: Workspace, given: Given) -> object:
    names, embedder, back = given["sources"], given["embedder"], given["back"]
    if (names is not None) + (embedder is not None) + back > 1:
        raise UsageError("sources, embedder and back are for one each.")
    index = workspace.library.index()
    found = {source.id: source.title for name in names or () for source in index.find(name)}
    chosen = None if names is None else list(found)

    def agreed(comparison: Comparison) -> bool:
        return given["even_if_worse"] or not comparison.is_worse

    def work(progress: Progress, cancel: CancelToken) -> object:
        try:
            return index.rebuild(chosen, embedder=embedder, back=back, confirm=agreed, progress=progress, cancel=cancel)
        finally:
            workspace.library.changed()

    if embedder or back:
        title = f"Change the model to {embedder}" if embedder else "Go back to the model before"
    else:
        title = f"Read {next(iter(found.values())) if len(found) == 1 else len(found) or 'all'} again"
    return job_form(workspace.jobs.start("rebuild", title, work))


def backup(workspace: Workspace, given: Given) -> object:
    index, folder = workspace.library.index(), whole_path(given["folder"])

    def work(progress: Progress, cancel: CancelToken) -> object:
        done = index.backup(folder, refresh=given["refresh"], progress=progress, cancel=cancel)
        return _Told({"folder": folder, "copied": done.copied}, cancelled=done.cancelled)

    return job_form(workspace.jobs.start("backup", f"Copy the library to {folder}", work, writes=False))


def export(workspace: Workspace, given: Given) -> object:
    index, folder = workspace.library.index(), whole_path(given["folder"])

    def work(progress: Progress, cancel: CancelToken) -> object:
        chunks = index.export(folder, progress=progress, cancel=cancel)
        return _Told({"folder": folder, "chunks": chunks}, cancelled=cancel.cancelled)

    return job_form(workspace.jobs.start("export", f"Write the library to {folder}", work, writes=False))


def push(workspace: Workspace, given: Given) -> object:
    index, url = workspace.library.index(), given["url"]

    def work(progress: Progress, cancel: CancelToken) -> object:
        return index.push(url, since_last=given["since_last"], progress=progress, cancel=cancel)

    return job_form(workspace.jobs.start("push", "Copy the library to an engine", work))


def pull(workspace: Workspace, given: Given) -> object:
    index, url = workspace.library.index(), given["url"]

    def work(progress: Progress, cancel: CancelToken) -> object:
        try:
            return index.pull(url, since_last=given["since_last"], progress=progress, cancel=cancel)
        finally:
            workspace.library.changed()

    return job_form(workspace.jobs.start("pull", "Copy a library from an engine", work))


def measure(workspace: Workspace, given: Given) -> object:
    index = workspace.library.index()

    def work(progress: Progress, cancel: CancelToken) -> object:
        return _Told(
            plain(index.measure(questions=given["questions"], progress=progress, cancel=cancel)),
            cancelled=cancel.cancelled,
        )

    return job_form(workspace.jobs.start("measure", "Measure searches of this library", work, writes=False))


_FOLDER = text("A whole path, to a folder that is empty or not there yet.", minLength=1, maxLength=4096)
_ENGINE = record(
    {
        "url": text(
            "postgresql://HOST/DATABASE?library=NAME or milvus://HOST:PORT/DATABASE?library=NAME, without a password.",
            minLength=1,
            maxLength=4096,
        )
    },
    {"since_last": flag("Prove only what is copied now, not all that is there.")},
)

ENDPOINTS = [
    post("/api/verify", "verify", "Check every stored byte.", verify, JOB, status=202, errors=(409,)),
    post(
        "/api/repair",
        "repair",
        "Bring back what can be of a damaged library; what was damaged is put aside in its folder.",
        repair,
        JOB,
        record({}, {"dry_run": flag("Only say what would be done.")}),
        status=202,
        errors=(409,),
    ),
    post(
        "/api/compact",
        "compact",
        "Give disk space back.",
        compact,
        JOB,
        record({}, {"purge": flag("Leave nothing of what was removed in any file; slow.")}),
        status=202,
        errors=(409,),
    ),
    post(
        "/api/rebuild",
        "rebuild",
        "Read sources again, all files where none is named; or embed every passage with another model.",
        rebuild,
        JOB,
        record(
            {},
            {
                "sources": or_null({**SOURCES, "description": "Only these."}),
                "embedder": text("The other model, as rebuild --embedder names it.", minLength=1, maxLength=1000),
                "back": flag("Go back to the model before the last change."),
                "even_if_worse": flag("Switch to a model also where it finds less."),
            },
        ),
        status=202,
    ),
    post(
        "/api/backup",
        "backup",
        "Copy the library while it is used.",
        backup,
        JOB,
        record({"folder": _FOLDER}, {"refresh": flag("The folder may hold an earlier backup of this library.")}),
        status=202,
        errors=(409,),
    ),
    post(
        "/api/export",
        "export",
        "Write the library as a LlamaIndex JSON folder.",
        export,
        JOB,
        record({"folder": _FOLDER}),
        status=202,
        errors=(409,),
    ),
    post(
        "/api/push",
        "push",
        "Make an engine hold what this library holds, and prove it.",
        push,
        JOB,
        _ENGINE,
        status=202,
        errors=(409,),
    ),
    post(
        "/api/pull",
        "pull",
        "Make this library hold what one on an engine holds, and prove it.",
        pull,
        JOB,
        _ENGINE,
        status=202,
        errors=(409,),
    ),
    post(
        "/api/measure",
        "measure",
        "How fast and how exact searches of this library are: some of its own passages are asked for.",
        measure,
        JOB,
        record({}, {"questions": whole("How many.", minimum=1, maximum=10_000, default=100)}),
        status=202,
        errors=(409,),
    ),
]
