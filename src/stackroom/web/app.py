"""The application: endpoints as routes, errors as JSON with a status, events as they come."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stackroom.errors import (
    BusyError,
    DamagedError,
    EmbedderMismatchError,
    MigrationNeeded,
    NotFoundError,
    ReadError,
    StackroomError,
    StorageError,
    UnavailableError,
    UsageError,
)
from stackroom.forms import error_form, plain, plain_error
from stackroom.web import pages
from stackroom.web.api import asking, conversing, gathering, reading, upkeep, writing
from stackroom.web.endpoint import Endpoint, given_body, given_query
from stackroom.web.guard import Address, Guard
from stackroom.web.openapi import description
from stackroom.web.uploads import TooMuchError
from stackroom.web.workspace import Workspace

ENDPOINTS: tuple[Endpoint, ...] = (
    *reading.ENDPOINTS,
    *writing.ENDPOINTS,
    *upkeep.ENDPOINTS,
    *gathering.ENDPOINTS,
    *asking.ENDPOINTS,
    *conversing.ENDPOINTS,
)

_STATUS: tuple[tuple[type[StackroomError], int], ...] = (
    (TooMuchError, 413),
    (UsageError, 400),
    (NotFoundError, 404),
    (BusyError, 409),
    (DamagedError, 409),
    (EmbedderMismatchError, 409),
    (MigrationNeeded, 409),
    (UnavailableError, 503),
    (StorageError, 507),
    (ReadError, 409),
)
_LONGEST_BODY = 4 * 1024**2
_TICK = 0.2
_KEEP_ALIVE = 15.0

Handler = Callable[[Request], Awaitable[Response]]


def application(workspace: Workspace, address: Address, token: str, once: str | None = None) -> Guard:
    """The whole page, guarded: `token` and `once` are those of Guard. `workspace` is closed by the caller."""
    described = description(ENDPOINTS, address.url)

    async def openapi(request: Request) -> Response:
        del request
        return JSONResponse(described)

    routes: list[Route | Mount] = [
        Route("/", pages.home),
        Route("/read", pages.read),
        Route("/original/{name:path}", pages.original),
        Route("/api/openapi.json", _told(openapi)),
        Route("/api/events", _told(_events)),
        Route("/api/upload", _told(_upload), methods=["POST"]),
        Route("/api/ask", _told(_ask), methods=["POST"]),
        Mount("/static", StaticFiles(directory=pages.HERE / "static")),
    ]
    # What ends a path may hold slashes; what goes on behind it comes first.
    for endpoint in sorted(ENDPOINTS, key=lambda one: one.path.endswith("}")):
        path = endpoint.path[:-1] + ":path}" if endpoint.path.endswith("}") else endpoint.path
        routes.append(Route(path, _told(_handler(endpoint)), methods=[endpoint.method]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})  # type: ignore[dict-item]
    app.state.workspace = workspace
    return Guard(app, address, token, once)


async def _no_route(request: Request, error: HTTPException) -> Response:
    if not request.url.path.startswith("/api/"):
        return PlainTextResponse(f"{error.detail}\n", error.status_code, headers=error.headers)
    kind = "NotFoundError" if error.status_code == 404 else "UsageError"
    form = plain_error(kind, f"{request.method} {request.url.path}: {error.detail}.", "See: GET /api/openapi.json")
    return JSONResponse(form, error.status_code, headers=error.headers)


def _told(handler: Handler) -> Handler:
    """Errors become JSON; no trace of ours leaves."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except StackroomError as error:
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
            return JSONResponse(error_form(error), status)
        except (HTTPException, ClientDisconnect):
            raise
        except Exception as error:
            traceback.print_exc()
            return JSONResponse(plain_error("InternalError", f"{type(error).__name__}: {error}", None), 500)

    return answered


@functools.cache
def _answering() -> anyio.CapacityLimiter:
    """Of many that ask at once, so many are answered at a time: with more, threads take the processor from each other."""
    return anyio.CapacityLimiter(8)


@functools.cache
def _looking() -> anyio.CapacityLimiter:
    """Threads of their own: what runs is told while a hundred others wait for their answers."""
    return anyio.CapacityLimiter(2)


def _handler(endpoint: Endpoint) -> Handler:
    async def answer(request: Request) -> Response:
        given: dict[str, Any] = dict(request.path_params)
        given |= given_query(request.query_params.multi_items(), endpoint.query)
        if endpoint.body is not None:
            given |= given_body(await _body(request), endpoint.body)
        told = await anyio.to_thread.run_sync(endpoint.answer, request.app.state.workspace, given, limiter=_answering())
        return JSONResponse(told, endpoint.status)

    return answer


async def _body(request: Request) -> object:
    """Raises UsageError."""
    data = bytearray()
    async for block in request.stream():
        data += block
        if len(data) > _LONGEST_BODY:
            raise TooMuchError(f"The body is longer than {_LONGEST_BODY // 1024**2} MB.")
    if not data:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Forms of other pages can send no JSON without asking first.
        raise UsageError("The body is no JSON.", hint="Send it with: content-type: application/json")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("The body is no JSON.", hint="Send an object.") from None


async def _upload(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    wanted = {"name": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "", "x-required": True}}
    name = given_query(request.query_params.multi_items(), wanted)["name"]
    length = request.headers.get("content-length", "")
    path = await workspace.uploads.take(name, int(length) if length.isdecimal() else None, request.stream())
    return JSONResponse(plain({"path": str(path), "bytes": os.path.getsize(path)}), 201)


async def _ask(request: Request) -> Response:
    given_query(request.query_params.multi_items(), {})
    given = given_body(await _body(request), asking.BODY)
    events = await run_in_threadpool(asking.begun, request.app.state.workspace, given)
    return StreamingResponse(events, media_type="text/event-stream")


async def _events(request: Request) -> Response:
    given_query(request.query_params.multi_items(), {})
    return StreamingResponse(_changes(request.app.state.workspace), media_type="text/event-stream")


async def _changes(workspace: Workspace) -> AsyncIterator[str]:
    """What runs, and the library's version, as soon as one of them changes. Looked at some times a second, so that a run waits for nobody."""
    last: object = None
    quiet = 0.0
    while not workspace.closing.is_set():
        version = -1
        with contextlib.suppress(StackroomError):
            version = await anyio.to_thread.run_sync(workspace.library.version, limiter=_looking())
        now = (workspace.jobs.revision, workspace.removals.revision, version)
        if now != last:
            last, quiet = now, 0.0
            told = {
                "version": version,
                "jobs": [job.form() for job in workspace.jobs.all()],
                "removals": workspace.removals.revision,
            }
            yield f"event: change\ndata: {json.dumps(told)}\n\n"
        elif quiet >= _KEEP_ALIVE:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(_TICK)
        quiet += _TICK
