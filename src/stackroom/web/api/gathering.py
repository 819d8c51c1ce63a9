"""Named sets of sources, over HTTP: which there are, save one, forget some."""

from __future__ import annotations

from stackroom import named_sets
from stackroom.forms import plain
from stackroom.web.endpoint import Endpoint, Given, flag, record, several, text, whole
from stackroom.web.workspace import Workspace


def listed(workspace: Workspace, given: Given) -> object:
    del given
    found = workspace.library.index().sets()
    return plain({"sets": [{"name": one.name, "sources": len(one.source_ids)} for one in found]})


def saved(workspace: Workspace, given: Given) -> object:
    kept = workspace.library.index().save_set(given["name"], given["sources"], join=given["join"])
    return {"sources": kept}


def deleted(workspace: Workspace, given: Given) -> object:
    names = list(dict.fromkeys(given["sets"]))
    named_sets.delete(workspace.library.index().backend, names)
    return {"deleted": len(names)}


_NAME = text("The set's name.", minLength=1, maxLength=200)

ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/sets",
        "sets",
        "The sets of sources that were saved, by name.",
        listed,
        record({"sets": several(record({"name": text(""), "sources": whole("How many it has.")}), "")}),
        errors=(409,),
    ),
    Endpoint(
        "POST",
        "/api/sets",
        "saveSet",
        "Keep sources as a set, in place of what it had.",
        saved,
        record({"sources": whole("How many it has now.")}),
        body=record(
            {
                "name": _NAME,
                "sources": several(
                    text("An id, a title, a path, or a glob over these.", minLength=1, maxLength=4096),
                    "",
                    minItems=1,
                    maxItems=100_000,
                ),
            },
            {"join": flag("Put them beside what it has.")},
        ),
        errors=(404, 409),
    ),
    Endpoint(
        "POST",
        "/api/sets/delete",
        "deleteSets",
        "Forget sets; their sources stay.",
        deleted,
        record({"deleted": whole("How many.")}),
        body=record({"sets": several(_NAME, "", minItems=1, maxItems=1000)}),
        errors=(404, 409),
    ),
]
