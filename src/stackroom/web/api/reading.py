"""Verbs that only look: search, list, show, passages, status, folders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stackroom.errors import NotFoundError, StackroomError, StorageError
from stackroom.forms import error_form, fallback_form, hits_form, passage_form, plain, status_form
from stackroom.search.marking import mark
from stackroom.types import Source
from stackroom.web.endpoint import Endpoint, Given, flag, or_null, record, ref, several, text, whole
from stackroom.web.library import facets
from stackroom.web.workspace import Workspace

_SPAN = 2_000
"""Characters of a passage in which matches are marked: marking is for the eye, and a passage of a stranger may have no end."""

_SORTS: dict[str, Callable[[Source], Any]] = {
    "path": lambda source: source.path.casefold(),
    "title": lambda source: source.title.casefold(),
    "type": lambda source: (source.type, source.path.casefold()),
    "chunks": lambda source: source.chunks,
    "size": lambda source: source.size or 0,
    "indexed": lambda source: source.indexed_at or "",
    "modified": lambda source: source.modified_at or "",
}

_MODES = ["hybrid", "vector", "text"]


def search(workspace: Workspace, given: Given) -> object:
    query: str = given["q"]
    index = workspace.library.index()
    mode, reason = index.resolve_mode(given["mode"], collection=given["collection"])
    hidden = workspace.removals.hidden()
    begun = time.perf_counter()
    hits = index.search(
        query,
        k=given["k"] + (50 if hidden else 0),
        mode=mode,
        where=given["where"] or None,
        sources=_wanted(workspace, given["in"], given["since"], given["until"]),
        active=given["active"],
        set_name=given["set"],
        exact=given["exact"],
        per_document=given["per_document"],
        context=given["context"],
        explain=given["explain"],
        collection=given["collection"],
    )
    took = (time.perf_counter() - begun) * 1000
    shown = [hit for hit in hits if hit.document.source_id not in hidden][: given["k"]]
    form = plain(hits_form(query, mode, took, shown, explain=given["explain"]))
    for rank, (hit, item) in enumerate(zip(shown, form["hits"], strict=True), start=1):
        item["rank"] = rank
        item["marks"] = [] if mode == "vector" else [list(span) for span in mark(hit.text[:_SPAN], query)]
    return {**form, "reason": reason, **fallback_form(index.fallback)}


def _wanted(
    workspace: Workspace, names: Sequence[str] | None, since: str | None, until: str | None
) -> list[str] | None:
    """The sources that a search keeps to: by name, and by the day of the file (of the reading, where there is no file)."""
    if since is None and until is None:
        return list(names) if names else None
    found: Sequence[Source] = workspace.sources()
    if names:
        index = workspace.library.index()
        chosen = {source.id for name in names for source in index.find(name)}
        found = [source for source in found if source.id in chosen]
    within = [source.id for source in found if _within(source, since, until)]
    # A scope that leaves nothing out costs time in a large library.
    return within if names or len(within) < len(found) or workspace.removals.hidden() else None


def _within(source: Source, since: str | None, until: str | None) -> bool:
    day = (source.modified_at or source.indexed_at or "")[:10]
    return bool(day) and (since is None or day >= since) and (until is None or day <= until)


def sources(workspace: Workspace, given: Given) -> object:
    found = workspace.sources()
    if given["source"] is not None:
        chosen = {source.id for source in workspace.library.index().find(given["source"])}
        found = [source for source in found if source.id in chosen]
    total = len(found)
    if given["set"] is not None:
        chosen = {source.id for source in workspace.library.index().sources(set_name=given["set"])}
        found = [source for source in found if source.id in chosen]
    found = [source for source in found if _matches(source, given)]
    if given["sort"] != "path" or given["descending"]:
        found = sorted(found, key=_SORTS[given["sort"]], reverse=given["descending"])
    end = None if given["limit"] is None else given["offset"] + given["limit"]
    listed = {"sources": plain(found[given["offset"] : end]), "total": len(found), "library_total": total}
    return {**listed, **fallback_form(workspace.library.index().fallback)}


def _matches(source: Source, given: Given) -> bool:
    words = (given["filter"] or "").casefold().split()
    state = given["state"]
    return (
        (not words or all(word in f"{source.title}\n{source.path}".casefold() for word in words))
        and (given["type"] is None or source.type == given["type"])
        and (
            state is None
            or (state == "active" and source.active)
            or (state == "inactive" and not source.active)
            or (state == "failed" and source.error is not None)
            or (state == "without_text" and bool(source.pages_without_text))
            or (state == "recognised" and bool(source.recognised_pages))
        )
    )


def source(workspace: Workspace, given: Given) -> object:
    found = workspace.source(given["source_id"])
    index = workspace.library.index()
    passages = index.get(found.id)
    end = given["offset"] + given["limit"]
    return {
        "source": plain(found),
        "passages": plain([passage_form(passage) for passage in passages[given["offset"] : end]]),
        "total": len(passages),
        **fallback_form(index.fallback),
    }


def passage(workspace: Workspace, given: Given) -> object:
    index = workspace.library.index()
    found = index.read(given["chunk_id"], context=given["context"])
    return plain(
        {
            "document": found.document,
            "passage": passage_form(found.passage),
            "before": [passage_form(item) for item in found.before],
            "after": [passage_form(item) for item in found.after],
            **fallback_form(index.fallback),
        }
    )


def status(workspace: Workspace, given: Given) -> object:
    """Answers whatever state the library is in."""
    del given
    state, error = workspace.library.state()
    shown: dict[str, Any] = {
        "state": state,
        "path": workspace.library.where,
        "uploads": str(workspace.uploads.folder),
        "error": None if error is None else error_form(error)["error"],
        "status": None,
        "facets": None,
    }
    if state == "ready":
        try:
            shown["status"] = status_form(workspace.library.index().stats())
            shown["facets"] = facets(workspace.sources())
            shown["sets"] = [one.name for one in workspace.library.index().sets()]
            _, shown["words_only"] = workspace.library.index().resolve_mode()
        except StackroomError as damaged:
            shown.update(state="failed", error=error_form(damaged)["error"])
    return plain(shown)


def folders(workspace: Workspace, given: Given) -> object:
    del workspace
    path = Path(given["path"] or "~").expanduser()
    if "\0" in given["path"] or not path.is_absolute() or not path.is_dir():
        raise NotFoundError(f"There is no folder {given['path']!r}.", hint="Give a whole path.")
    inside: list[str] = []
    files = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    inside.append(entry.name)
                else:
                    files += 1
    except OSError as error:
        raise StorageError(
            f"{path} can't be listed: {error.strerror}.", hint="Choose another one.", path=path
        ) from error
    inside.sort(key=str.casefold)
    parent = None if path.parent == path else str(path.parent)
    return plain({"path": str(path), "parent": parent, "folders": inside[:1000], "files": files})


_FREE = {"type": "object", "additionalProperties": True}
_SET = text("Only in the sources of this set.", minLength=1, maxLength=200)
_NAME = text("A title, a path, or a glob over these.", minLength=1, maxLength=4096)

ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/search",
        "search",
        "Passages that answer a query, best first.",
        search,
        {
            **record(
                {
                    "query": text("The query."),
                    "mode": text("How it was searched.", enum=_MODES),
                    "took_ms": {"type": "number"},
                    "hits": several(ref("Hit"), "Best first."),
                    "reason": or_null(text("Why only words were searched, where nobody asked for that.")),
                }
            ),
            "additionalProperties": True,
        },
        query={
            "q": text(
                'The query. Words in "quotes" must stand as they are; -word excludes.', minLength=1, maxLength=10_000
            )
            | {"x-required": True},
            "k": whole("How many hits.", minimum=1, maximum=200, default=10),
            "mode": text("Both, meaning, or words; hybrid where the library's model is at hand.", enum=_MODES),
            "in": several(_NAME, "Only in these sources.", maxItems=100),
            "where": several(
                text("A filter: key OP value.", minLength=1, maxLength=4096), "All must hold.", maxItems=100
            ),
            "active": flag("Only in active sources."),
            "set": _SET,
            "since": text("Only files of this day or later.", format="date"),
            "until": text("Only files of this day or earlier.", format="date"),
            "collection": text("Only in this collection.", default="default", minLength=1, maxLength=4096),
            "exact": flag("Scan every vector."),
            "per_document": whole("At most so many hits of one document.", minimum=1, maximum=200),
            "context": whole("So many neighbouring passages.", minimum=0, maximum=20, default=0),
            "explain": flag("What each leg thought of a hit."),
        },
        errors=(404, 409, 503),
    ),
    Endpoint(
        "GET",
        "/api/sources",
        "list",
        "The sources of the library.",
        sources,
        {
            **record(
                {
                    "sources": several(ref("Source"), "In the order that is asked for."),
                    "total": whole("How many fit."),
                    "library_total": whole("How many there are."),
                }
            ),
            "additionalProperties": True,
        },
        query={
            "source": _NAME,
            "filter": text("Words that the title or the path must hold.", maxLength=1000),
            "type": text("Only of this type.", maxLength=100),
            "set": _SET,
            "state": text(
                "Only those that are so.", enum=["active", "inactive", "failed", "without_text", "recognised"]
            ),
            "sort": text("What they are sorted by.", enum=list(_SORTS), default="path"),
            "descending": flag("The other way round."),
            "offset": whole("Leave out so many.", minimum=0, maximum=100_000_000, default=0),
            "limit": whole("So many at most; all where it is not given.", minimum=1, maximum=100_000),
        },
        errors=(404, 409),
    ),
    Endpoint(
        "GET",
        "/api/sources/{source_id}",
        "show",
        "One source and its passages, in reading order.",
        source,
        {
            **record({"source": ref("Source"), "passages": several(ref("Passage"), ""), "total": whole("")}),
            "additionalProperties": True,
        },
        query={
            "offset": whole("Leave out so many passages.", minimum=0, maximum=100_000_000, default=0),
            "limit": whole("So many passages at most.", minimum=1, maximum=10_000, default=1000),
        },
        path_names={"source_id": text("The source's id.", minLength=1)},
        errors=(404, 409),
    ),
    Endpoint(
        "GET",
        "/api/passages/{chunk_id}",
        "passage",
        "One passage in its document.",
        passage,
        {
            **record(
                {
                    "document": ref("Document"),
                    "passage": ref("Passage"),
                    "before": several(ref("Passage"), "In reading order."),
                    "after": several(ref("Passage"), "In reading order."),
                }
            ),
            "additionalProperties": True,
        },
        query={"context": whole("So many passages before and after it.", minimum=0, maximum=200, default=1)},
        path_names={"chunk_id": text("The passage's id.", minLength=1)},
        errors=(404, 409),
    ),
    Endpoint(
        "GET",
        "/api/status",
        "status",
        "The library in numbers, and whether it can be used: ready, an old index to migrate, or failed.",
        status,
        {
            **record(
                {
                    "state": text("", enum=["ready", "old", "failed"]),
                    "path": text("The library's folder, or its URL."),
                    "uploads": text("Where uploaded files are kept."),
                    "error": or_null(_FREE),
                    "status": or_null(_FREE),
                    "facets": or_null(_FREE),
                }
            ),
            "additionalProperties": True,
        },
    ),
    Endpoint(
        "GET",
        "/api/folders",
        "folders",
        "The folders within a folder of the machine that runs the page, to choose one to add.",
        folders,
        record(
            {
                "path": text("The folder."),
                "parent": or_null(text("The folder above.")),
                "folders": several(text(""), "Names, by alphabet; a thousand at most."),
                "files": whole("How many files are in it."),
            }
        ),
        query={"path": text("A whole path; your home where it is empty.", default="", maxLength=4096)},
        errors=(404,),
    ),
]
