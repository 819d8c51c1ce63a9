"""The part of Qdrant's HTTP interface that Stackroom asks for, over the local mode of Qdrant's own client.

    qdrant_server.py FOLDER PORT

Qdrant's server is in no package index. This stands in for it where tests need one: the client, its requests and its answers are real, and what
answers is the implementation that Qdrant's makers offer for tests. It can be killed, and several processes can ask it, which local mode itself
does not allow. It keeps points in SQLite, compares rows one by one, and is for small libraries.
"""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from typing import Any

from pydantic import BaseModel, TypeAdapter
from qdrant_client import QdrantClient, models

warnings.simplefilter("ignore")

Answer = Callable[[QdrantClient, str, bytes], Any]
_DONE = {"operation_id": 0, "status": "completed"}


def _create(client: QdrantClient, name: str, body: bytes) -> bool:
    asked = models.CreateCollection.model_validate_json(body)
    return client.create_collection(name, vectors_config=asked.vectors, sparse_vectors_config=asked.sparse_vectors)


def _drop(client: QdrantClient, name: str, _: bytes) -> bool:
    return client.delete_collection(name)


def _index(client: QdrantClient, name: str, _: bytes) -> dict[str, Any]:
    # Local mode has no indexes.
    client.get_collection(name)
    return _DONE


def _upsert(client: QdrantClient, name: str, body: bytes) -> dict[str, Any]:
    client.upsert(name, models.PointsList.model_validate_json(body).points)
    return _DONE


def _set_payload(client: QdrantClient, name: str, body: bytes) -> dict[str, Any]:
    asked = models.SetPayload.model_validate_json(body)
    client.set_payload(name, payload=asked.payload, points=asked.filter or asked.points)
    return _DONE


def _delete(client: QdrantClient, name: str, body: bytes) -> dict[str, Any]:
    client.delete(name, points_selector=models.FilterSelector.model_validate_json(body))
    return _DONE


def _scroll(client: QdrantClient, name: str, body: bytes) -> dict[str, Any]:
    asked = models.ScrollRequest.model_validate_json(body)
    points, following = client.scroll(
        name,
        scroll_filter=asked.filter,
        limit=asked.limit or 10,
        offset=asked.offset,
        with_payload=asked.with_payload,
        with_vectors=asked.with_vector,
    )
    return {"points": points, "next_page_offset": following}


def _query(client: QdrantClient, name: str, body: bytes) -> dict[str, Any]:
    asked = models.QueryRequest.model_validate_json(body)
    return {
        "points": client.query_points(
            name,
            query=asked.query,
            using=asked.using,
            query_filter=asked.filter,
            limit=asked.limit or 10,
            with_payload=asked.with_payload,
            with_vectors=asked.with_vector,
        ).points
    }


def _count(client: QdrantClient, name: str, body: bytes) -> Any:
    return client.count(name, count_filter=models.CountRequest.model_validate_json(body).filter)


def _change_aliases(client: QdrantClient, _: str, body: bytes) -> bool:
    asked = models.ChangeAliasesOperation.model_validate_json(body)
    return client.update_collection_aliases(change_aliases_operations=asked.actions)


ROUTES: list[tuple[str, str, Answer]] = [
    ("POST", "/collections/aliases", _change_aliases),
    ("GET", "/collections", lambda client, _, __: client.get_collections()),
    ("GET", "/collections/{}", lambda client, name, _: client.get_collection(name)),
    ("GET", "/collections/{}/aliases", lambda client, name, _: client.get_collection_aliases(name)),
    ("PUT", "/collections/{}", _create),
    ("DELETE", "/collections/{}", _drop),
    ("PUT", "/collections/{}/index", _index),
    ("PUT", "/collections/{}/points", _upsert),
    ("POST", "/collections/{}/points/payload", _set_payload),
    ("POST", "/collections/{}/points/delete", _delete),
    ("POST", "/collections/{}/points/scroll", _scroll),
    ("POST", "/collections/{}/points/query", _query),
    ("POST", "/collections/{}/points/count", _count),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    client: QdrantClient
    guard = threading.Lock()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].rstrip("/")
        if not path:
            self._send(200, {"title": "qdrant", "version": metadata.version("qdrant-client")})
            return
        for verb, pattern, answer in ROUTES:
            found = re.fullmatch(pattern.replace("{}", "([^/]+)"), path)
            if found and verb == self.command:
                self._try(answer, found.group(1) if found.groups() else "", body)
                return
        self._send(404, {"status": {"error": f"There is no {self.command} {path}."}})

    def _try(self, answer: Answer, name: str, body: bytes) -> None:
        try:
            with self.guard:
                result = answer(self.client, name, body)
        except (KeyError, ValueError) as error:
            said = str(error)
            code = 409 if "already exists" in said else 404 if re.search("not found|not exist", said) else 400
            self._send(code, {"status": {"error": said}})
            return
        self._send(200, {"result": result, "status": "ok", "time": 0.0})

    def _send(self, code: int, answer: Any) -> None:
        data = _JSON.dump_json(answer, exclude_none=True, serialize_as_any=True)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of the standard library

    def log_message(self, *_: Any) -> None:
        """Nothing."""


_JSON: TypeAdapter[dict[str, Any] | BaseModel] = TypeAdapter(dict[str, Any])


def main(folder: str, port: int) -> None:
    Handler.client = QdrantClient(path=folder, force_disable_check_same_thread=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
