"""What is shown as HTML: the page itself, a document at a passage, and the files of documents, sandboxed."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from stackroom import __version__
from stackroom.errors import NotFoundError, StackroomError
from stackroom.search.marking import mark
from stackroom.storage.disk import fsio
from stackroom.types import RECOGNISED, RECOGNISED_PAGES, Excerpt, Passage, Place
from stackroom.web.workspace import Workspace

if TYPE_CHECKING:
    import jinja2

HERE = Path(__file__).parent
_AROUND = 30
_LARGEST_PAGE = 16 * 1024**2

SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
"""For a document of anybody's: it runs nothing, fetches nothing, and is of no origin."""

PDF_POLICY = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
"""A browser's own viewer, which is a sandbox itself, shows nothing within another one."""


@functools.cache
def _templates() -> jinja2.Environment:
    # Here, for the address is printed before the first page is asked for.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, status: int = 200, **names: Any) -> HTMLResponse:
    page = _templates().get_template(template).render(version=__version__, **names)
    return HTMLResponse(page.encode("utf-8", "replace"), status_code=status)


class Piece(NamedTuple):
    """A run of text within a passage: matched by the query, or not."""

    text: str
    marked: bool


class Shown(NamedTuple):
    """A passage as the reading page has it. `heading` and `mark` (its page, and whether its text was printed) are there where they change."""

    chunk_id: str
    pieces: list[Piece]
    heading: str | None
    mark: str | None
    recognised: bool
    wanted: bool


async def home(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    return render("page.html", library=workspace.library.name, path=workspace.library.where)


async def read(request: Request) -> Response:
    """`/read?chunk=ID` (or `source=ID`, from its beginning), with `q` the query whose words are marked."""
    return await run_in_threadpool(_read, request.app.state.workspace, request.query_params)


def _read(workspace: Workspace, given: Any) -> Response:
    try:
        excerpt = _excerpt(workspace, given)
    except StackroomError as error:
        status = 404 if isinstance(error, NotFoundError) else 409
        return render("trouble.html", status, message=error.message, hint=error.hint or "")
    passages = [*excerpt.before, excerpt.passage, *excerpt.after]
    document = excerpt.document
    source = workspace.source(document.source_id)
    mixed = bool(document.metadata.get(RECOGNISED_PAGES))
    shown = list(_shown(passages, excerpt.passage.chunk_id, given.get("q", ""), document.title, mixed=mixed))
    place = excerpt.passage.place
    return render(
        "read.html",
        title=document.title,
        path=document.path,
        source=source,
        passages=shown,
        chunk=excerpt.passage.chunk_id,
        query=given.get("q", ""),
        where=_where(place, document.title),
        recognised=_is_recognised(excerpt.passage),
        earlier=passages[0].chunk_id if len(excerpt.before) == _AROUND else None,
        later=passages[-1].chunk_id if len(excerpt.after) == _AROUND else None,
        original=_original(document.path, document.type),
        file=os.path.basename(document.path) or "file",
        page=place.page or 1,
        fallback=workspace.library.index().fallback,
    )


def _excerpt(workspace: Workspace, given: Any) -> Excerpt:
    index = workspace.library.index()
    chunk = given.get("chunk")
    if chunk is None:
        passages = index.get(workspace.source(given.get("source", "")).id)
        if not passages:
            raise NotFoundError("Nothing of this source is in the library.", hint="See why it failed, under Documents.")
        chunk = passages[0].chunk_id
    return index.read(chunk, context=_AROUND)


def _original(path: str, kind: str) -> str | None:
    """How the file itself can be shown: in the browser's PDF viewer, as a page, or not."""
    if not os.path.isabs(path) or not os.path.isfile(path):
        return None
    return {"pdf": "pdf", "html": "html"}.get(kind, "file")


def _shown(passages: Sequence[Passage], wanted: str, query: str, title: str, *, mixed: bool) -> Iterator[Shown]:
    """In reading order, each without what the one before has said already. With `mixed` some pages are pictures, and each says how it was read."""
    end: int | None = None
    document = heading = mark = None
    for passage in passages:
        place = passage.place
        if passage.document_id != document:
            document, end = passage.document_id, None
        text = passage.text
        repeated = 0
        exact = place.start is not None and place.end is not None and place.end - place.start == len(text)
        if exact and end is not None and place.start is not None and place.start < end:
            repeated = min(end - place.start, len(text))
        here = _section(place, title)
        recognised = _is_recognised(passage)
        at = _mark(_page(place), (RECOGNISED if recognised else "printed") if mixed else None)
        ending = _ending(here, heading, text[repeated:]) if here and here != heading else None
        yield Shown(
            passage.chunk_id,
            _pieces(text, repeated, query if passage.chunk_id == wanted else ""),
            ending or None,
            at if at and at != mark else None,
            recognised,
            passage.chunk_id == wanted,
        )
        end, heading, mark = place.end if exact else None, here or heading, at or mark


def _is_recognised(passage: Passage) -> bool:
    return passage.metadata.get(RECOGNISED) is True


def _mark(page: str | None, origin: str | None) -> str:
    return " · ".join(part for part in (f"page {page}" if page else None, origin) if part)


def _page(place: Place) -> str | None:
    if place.page is None:
        return place.page_label
    if place.page_label and place.page_label != str(place.page):
        return f"{place.page} ({place.page_label})"
    return str(place.page)


def _pieces(text: str, repeated: int, query: str) -> list[Piece]:
    at = repeated
    pieces = []
    for start, end in mark(text, query) if query.strip() else []:
        if start >= at:
            pieces += [Piece(text[at:start], False), Piece(text[start:end], True)]
            at = end
    return [piece for piece in (*pieces, Piece(text[at:], False)) if piece.text]


def _where(place: Place, title: str) -> str:
    page = _page(place)
    return ", ".join(part for part in (f"page {page}" if page else "", _section(place, title)) if part)


def _section(place: Place, title: str) -> str:
    """The headings above; one that only repeats the title is left out."""
    return " › ".join(heading for heading in place.section if heading != title)


def _ending(here: str, before: str | None, text: str) -> str:
    """A heading without those above it that the passage before is under too, and without its end where the text begins with that itself."""
    parts, others = here.split(" › "), (before or "").split(" › ")
    same = next((n for n, (one, other) in enumerate(zip(parts, others, strict=False)) if one != other), len(parts))
    said = text.lstrip("#* \n").startswith(parts[-1])
    return " › ".join(parts[same : len(parts) - said]) or ("" if said else parts[-1])


async def original(request: Request) -> Response:
    """`/original/NAME?source=ID`: the file itself; a viewer shows the name. A page of HTML is cleaned, and the passage `chunk` marked in it."""
    return await run_in_threadpool(_serve, request.app.state.workspace, request.query_params)


def _serve(workspace: Workspace, given: Any) -> Response:
    try:
        source = workspace.source(given.get("source", ""))
        passage = workspace.library.index().read(given["chunk"]).passage if given.get("chunk") else None
        path = Path(source.path)
        if _original(source.path, source.type) is None:
            raise NotFoundError(f"The file {source.path} is not there any more.", hint="Its text is: open it as text.")
        with fsio.translated(path), fsio.open_regular(path, follow=True) as file:
            head = file.read(1024)
            if source.type == "html" and "download" not in given:
                from stackroom.web.cleaning import cleaned

                data = head + file.read(_LARGEST_PAGE)
                page = cleaned(data, None if passage is None else passage.text)
                return HTMLResponse(
                    page.encode("utf-8", "replace"),
                    headers={"content-security-policy": SANDBOX, "x-frame-options": "SAMEORIGIN"},
                )
    except StackroomError as error:
        status = 404 if isinstance(error, NotFoundError) else 409
        return render("trouble.html", status, message=error.message, hint=error.hint or "")
    if b"%PDF-" in head and source.type == "pdf":
        return FileResponse(
            path,
            media_type="application/pdf",
            filename=path.name,
            content_disposition_type="inline",
            headers={"content-security-policy": PDF_POLICY, "x-frame-options": "SAMEORIGIN"},
        )
    return FileResponse(
        path, media_type="application/octet-stream", filename=path.name, headers={"content-security-policy": SANDBOX}
    )
