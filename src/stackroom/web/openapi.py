"""The OpenAPI description, made of the endpoints as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stackroom import __version__
from stackroom.web.api.asking import BODY
from stackroom.web.api.shapes import SHAPES
from stackroom.web.endpoint import Endpoint, Schema, record, ref, text, whole

_WHY = {
    400: "The request is wrong.",
    401: "The token is missing.",
    403: "It comes from elsewhere.",
    404: "There is no such thing.",
    409: "The library can't do that as it is: it is busy, damaged, of another model, or an old index.",
    413: "It is too large, or one too many.",
    500: "A fault of Stackroom.",
    503: "Something outside the library is missing: a package, a model, a service.",
    507: "The disk said no.",
}


def description(endpoints: Iterable[Endpoint], url: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    paths.update(_STREAMS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stackroom",
            "version": __version__,
            "description": "The library on this machine: the verbs of the command line, in the same JSON.",
        },
        "servers": [{"url": url}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made at each start; it is in the address that is printed.",
                }
            },
            "schemas": SHAPES,
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schema} for name, schema in endpoint.path_names.items()
    ]
    for name, schema in endpoint.query.items():
        required = bool(schema.get("x-required"))
        shown = {word: value for word, value in schema.items() if word != "x-required"}
        parameters.append({"name": name, "in": "query", "required": required, "schema": shown})
    made: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "responses": {
            str(endpoint.status): _answer("Done.", endpoint.returns),
            **_errors({400, 401, 403, 500, 507, *endpoint.errors, *(() if endpoint.body is None else (413,))}),
        },
    }
    if parameters:
        made["parameters"] = parameters
    if endpoint.body is not None:
        needed = bool(endpoint.body["required"])
        made["requestBody"] = {"required": needed, "content": {"application/json": {"schema": endpoint.body}}}
    return made


def _errors(statuses: Iterable[int]) -> dict[str, Any]:
    return {str(status): _answer(_WHY[status], ref("Error")) for status in sorted(statuses)}


def _answer(about: str, schema: Schema) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


_EVENT: Schema = {
    "type": "object",
    "properties": {"event": text("What is told."), "data": text("JSON.")},
    "required": ["event", "data"],
    "description": "One event of the stream.",
}

_STREAMS: dict[str, Any] = {
    "/api/upload": {
        "post": {
            "operationId": "upload",
            "summary": "Keep a file, whose bytes are the body. Add it to the library by the path that is answered.",
            "parameters": [
                {
                    "name": "name",
                    "in": "query",
                    "required": True,
                    "schema": text("Its name; with folders before it, if they matter.", minLength=1, maxLength=4096),
                }
            ],
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            },
            "responses": {
                "201": _answer("It is there.", record({"path": text("Where it is."), "bytes": whole("Its size.")})),
                **_errors({400, 401, 403, 413, 500, 507}),
            },
        }
    },
    "/api/ask": {
        "post": {
            "operationId": "ask",
            "summary": "An answer with citations, as server-sent events: passages, text in pieces, citations, done; or error.",
            "requestBody": {"required": True, "content": {"application/json": {"schema": BODY}}},
            "responses": {
                "200": {
                    "description": "Each event's data is JSON. Without a model the passages are the answer.",
                    "content": {"text/event-stream": {"schema": _EVENT}},
                },
                **_errors({400, 401, 403, 404, 409, 413, 500, 503}),
            },
        }
    },
    "/api/events": {
        "get": {
            "operationId": "events",
            "summary": "Server-sent events, without an end: `change` whenever a job or the library changed.",
            "responses": {
                "200": {
                    "description": "Each event's data is JSON.",
                    "content": {"text/event-stream": {"schema": _EVENT}},
                },
                **_errors({400, 401, 403, 500}),
            },
        }
    },
    "/api/openapi.json": {
        "get": {
            "operationId": "openapi",
            "summary": "This description.",
            "responses": {
                "200": _answer("OpenAPI 3.1.", {"type": "object", "additionalProperties": True}),
                **_errors({401, 403}),
            },
        }
    },
}
