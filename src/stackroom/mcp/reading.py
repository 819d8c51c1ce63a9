"""The tools that only read: search, read, list_documents. What passages say is data of unknown authors, and the instructions say so."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from stackroom.errors import NotFoundError, StackroomError
from stackroom.forms import fallback_form
from stackroom.mcp.telling import refusal
from stackroom.types import RECOGNISED

if TYPE_CHECKING:
    from stackroom.index import Index
    from stackroom.types import Metadata, Place

_MOST_HITS = 50
_MOST_CONTEXT = 10
_MOST_LISTED = 200


def offer(server: MCPServer[Any], index: Index) -> None:
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    @server.tool(annotations=reads)
    def search(
        query: str,
        k: int = 8,
        sources: list[str] | None = None,
        where: list[str] | None = None,
        active: bool = False,
        set_name: str | None = None,
    ) -> dict[str, Any]:
        """Find passages in the documents, by words and by meaning, the best first.

        sources: only in these (title, path, or a glob like *.pdf). where: conditions on metadata, all must hold, like "year >= 2020" or
        "type == pdf". active: only in the set of documents that the user has switched on. set_name: only in a set that the user has
        saved, as list_sets names it. Words in "quotes" must stand so in each passage; -word excludes.
        """
        try:
            return _search(index, query, k, sources, where, active, set_name)
        except StackroomError as error:
            raise refusal(error) from error

    @server.tool(annotations=reads)
    def read(chunk_id: str, context: int = 2) -> dict[str, Any]:
        """Read a passage that a search has found, with up to `context` passages before and after it in its document."""
        try:
            return _read(index, chunk_id, context)
        except StackroomError as error:
            raise refusal(error) from error

    @server.tool(annotations=reads)
    def list_documents(
        name: str | None = None, active: bool = False, first: int = 0, set_name: str | None = None
    ) -> dict[str, Any]:
        """What is in the library, by path. name: a title, path or glob. active: only what the user has switched on. set_name: only what is in
        this set. first: where to go on."""
        try:
            return _list(index, name, active, first, set_name)
        except StackroomError as error:
            raise refusal(error) from error

    @server.tool(annotations=reads)
    def list_sets() -> dict[str, Any]:
        """The sets of documents that the user has saved, and how many documents each has: scopes for search and list_documents."""
        try:
            found = [{"name": one.name, "documents": len(one.source_ids)} for one in index.sets()]
            return {"sets": found, **fallback_form(index.fallback)}
        except StackroomError as error:
            raise refusal(error) from error


def _search(
    index: Index,
    query: str,
    k: int,
    sources: list[str] | None,
    where: list[str] | None,
    active: bool,
    set_name: str | None,
) -> dict[str, Any]:
    from stackroom.filters import as_filter
    from stackroom.search.unmatched import unheld, unmatched

    mode, reason = index.resolve_mode()
    hits = index.search(
        query,
        k=max(1, min(k, _MOST_HITS)),
        mode=mode,
        sources=sources or None,
        where=where or None,
        active=active,
        set_name=set_name or None,
    )
    found = [
        {
            "chunk_id": hit.chunk_id,
            "score": round(hit.score, 4),
            "title": hit.document.title,
            "path": hit.document.path,
            **_place(hit.place),
            **_recognised(hit.metadata),
            "text": hit.text,
        }
        for hit in hits
    ]
    if not found:
        with index.backend.view() as view:
            unmet = unheld(view, query) + (unmatched(view, as_filter(where)) if where else [])
        reason = " ".join(filter(None, [reason, *unmet])) or None
    return {"mode": mode, "reason": reason, "hits": found, **fallback_form(index.fallback)}


def _read(index: Index, chunk_id: str, context: int) -> dict[str, Any]:
    with index.backend.view() as view:
        (key,) = view.chunk_keys([chunk_id])
        if key is None:
            raise NotFoundError(f"There is no passage {chunk_id!r}.", hint="Search again: ids change when a file does.")
        (passage,) = view.passages([key])
        document, source = view.document_of([passage.document_id])[passage.document_id]
        before, after = view.neighbours(key, max(0, min(context, _MOST_CONTEXT)))
    return {
        "chunk_id": passage.chunk_id,
        "title": document.title or source.title or source.name,
        "path": source.name,
        **_place(passage.place),
        **_recognised(passage.metadata),
        "before": [{"chunk_id": one.chunk_id, "text": one.text} for one in before],
        "text": passage.text,
        "after": [{"chunk_id": one.chunk_id, "text": one.text} for one in after],
        **fallback_form(index.fallback),
    }


def _list(index: Index, name: str | None, active: bool, first: int, set_name: str | None) -> dict[str, Any]:
    listed = index.sources(set_name=set_name or None)
    if name:
        named = {one.id for one in index.find(name)}
        listed = [one for one in listed if one.id in named]
    listed = [one for one in listed if one.active or not active]
    part = listed[max(first, 0) : max(first, 0) + _MOST_LISTED]
    keys = ("id", "path", "title", "type", "chunks", "active", "state", "recognised_pages")
    documents = [{key: getattr(one, key) for key in keys} for one in part]
    return {"total": len(listed), "documents": documents, **fallback_form(index.fallback)}


def _recognised(metadata: Metadata) -> dict[str, Any]:
    """Said where it is so: then the text was recognised in a picture of the page, and may hold mistakes."""
    return {RECOGNISED: True} if metadata.get(RECOGNISED) is True else {}


def _place(place: Place) -> dict[str, Any]:
    """What is known of it."""
    told = {**asdict(place), "section": list(place.section) or None}
    return {"place": {name: value for name, value in told.items() if value is not None}}
