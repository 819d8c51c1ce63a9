"""The part of Qdrant's HTTP interface that Stackroom asks for, over Qdrant's own engine.

    qdrant_server.py FOLDER [PORT]

Qdrant's server is in no package index, but its engine is: qdrant-edge, which Qdrant's makers build from the same code for use within a process. It
stores, indexes, filters and searches here, and Qdrant's client sends and reads. What stands in for the server is this file: a folder for each
collection, the list of aliases, which it writes in one step, and HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

try:
    import qdrant_edge as edge
except ModuleNotFoundError:
    sys.exit("Qdrant's engine is not installed: pip install qdrant-edge-py")

_DISTANCES = {"Dot": edge.Distance.Dot, "Euclid": edge.Distance.Euclid, "Cosine": edge.Distance.Cosine}
_DONE = {"operation_id": 0, "status": "completed"}


class Refused(Exception):
    """What the server answers instead: a status and what it says."""


class Collection:
    """A shard of the engine, and what it was made with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made_with = json.loads((folder / "made_with.json").read_text())
        self.shard = edge.EdgeShard.load(str(folder / "shard"))

    @classmethod
    def create(cls, folder: Path, asked: dict[str, Any]) -> Collection:
        vectors = {
            name: edge.EdgeVectorParams(size=one["size"], distance=_DISTANCES[one["distance"]])
            for name, one in (asked.get("vectors") or {}).items()
        }
        sparse = {name: edge.EdgeSparseVectorParams() for name in asked.get("sparse_vectors") or {}}
        # A shard can't be without any vector, as a collection can.
        config = edge.EdgeConfig(
            vectors=vectors, sparse_vectors=sparse or {"none": edge.EdgeSparseVectorParams()}, wal_enabled=True
        )
        edge.EdgeShard.create(str(folder / "shard"), config).close()
        made_with = {key: asked[key] for key in ("vectors", "sparse_vectors") if asked.get(key)}
        (folder / "made_with.json").write_text(json.dumps(made_with))
        return cls(folder)

    def describe(self) -> dict[str, Any]:
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "config": {"params": self.made_with, "hnsw_config": _HNSW, "optimizer_config": _OPTIMIZER},
            "payload_schema": {},
        }


_HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000}
_OPTIMIZER = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "flush_interval_sec": 5,
}
"""What the client wants to read of every collection."""


class Server:
    """All collections and aliases of a folder. One request at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob("*/"):
            if not (unfinished / "made_with.json").exists():
                shutil.rmtree(unfinished)
        self._collections = {one.name: Collection(one) for one in folder.glob("*/")}
        aliases = folder / "aliases.json"
        self._aliases: dict[str, str] = json.loads(aliases.read_text()) if aliases.exists() else {}

    def answer(self, verb: str, path: str, asked: dict[str, Any]) -> Any:
        """Raises Refused."""
        for its_verb, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and verb == its_verb:
                with self._guard:
                    return answer(self, asked, *found.groups())
        raise Refused(404, f"There is no {verb} {path}.")

    def _of(self, name: str) -> Collection:
        if name not in self._collections:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._collections[name]

    def names(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"collections": [{"name": name} for name in self._collections]}

    def describe(self, _: dict[str, Any], name: str) -> dict[str, Any]:
        return self._of(name).describe()

    def create(self, asked: dict[str, Any], name: str) -> bool:
        if name in self._collections or name in self._aliases:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        folder = self._folder / name
        folder.mkdir()
        self._collections[name] = Collection.create(folder, asked)
        return True

    def drop(self, _: dict[str, Any], name: str) -> bool:
        gone = self._collections.pop(name, None)
        if gone is None:
            return False
        gone.shard.close()
        shutil.rmtree(gone.folder)
        self._save_aliases({alias: there for alias, there in self._aliases.items() if there != name})
        return True

    def aliases(self, _: dict[str, Any], name: str) -> dict[str, Any]:
        self._of(name)
        found = [alias for alias, there in self._aliases.items() if there == name]
        return {"aliases": [{"alias_name": alias, "collection_name": name} for alias in found]}

    def change_aliases(self, asked: dict[str, Any]) -> bool:
        """As Qdrant's alias_mapping.rs does: one is renamed if it is there."""
        changed = dict(self._aliases)
        for action in asked["actions"]:
            if made := action.get("create_alias"):
                self._of(made["collection_name"])
                changed[made["alias_name"]] = made["collection_name"]
            elif gone := action.get("delete_alias"):
                changed.pop(gone["alias_name"], None)
            else:
                renamed = action["rename_alias"]
                if renamed["old_alias_name"] not in changed:
                    raise Refused(404, f"Not found: Alias {renamed['old_alias_name']} does not exists!")
                changed[renamed["new_alias_name"]] = changed.pop(renamed["old_alias_name"])
        self._save_aliases(changed)
        return True

    def _save_aliases(self, changed: dict[str, str]) -> None:
        made = self._folder / "aliases.json.new"
        made.write_text(json.dumps(changed))
        os.replace(made, self._folder / "aliases.json")
        self._aliases = changed

    def index(self, asked: dict[str, Any], name: str) -> dict[str, Any]:
        schema = asked["field_schema"]
        lookup = edge.IntegerIndexParams(lookup=schema["lookup"], range=schema["range"])
        return self._update(name, edge.UpdateOperation.create_field_index(asked["field_name"], lookup))

    def upsert(self, asked: dict[str, Any], name: str) -> dict[str, Any]:
        points = [edge.Point(one["id"], _vectors(one["vector"]), one.get("payload")) for one in asked["points"]]
        return self._update(name, edge.UpdateOperation.upsert_points(points))

    def set_payload(self, asked: dict[str, Any], name: str) -> dict[str, Any]:
        these = _filter(asked["filter"])
        return self._update(name, edge.UpdateOperation.set_payload_by_filter(these, asked["payload"]))

    def delete(self, asked: dict[str, Any], name: str) -> dict[str, Any]:
        return self._update(name, edge.UpdateOperation.delete_points_by_filter(_filter(asked["filter"])))

    def _update(self, name: str, operation: Any) -> dict[str, Any]:
        self._of(name).shard.update(operation)
        return _DONE

    def count(self, asked: dict[str, Any], name: str) -> dict[str, Any]:
        found = edge.CountRequest(exact=asked["exact"], filter=_filter(asked.get("filter")))
        return {"count": self._of(name).shard.count(found)}

    def scroll(self, asked: dict[str, Any], name: str) -> dict[str, Any]:
        request = edge.ScrollRequest(
            offset=asked.get("offset"),
            limit=asked["limit"],
            filter=_filter(asked.get("filter")),
            with_payload=asked["with_payload"],
            with_vector=asked["with_vector"],
        )
        points, following = self._of(name).shard.scroll(request)
        return {"points": [_point(one) for one in points], "next_page_offset": following}

    def query(self, asked: dict[str, Any], name: str) -> dict[str, Any]:
        how = asked.get("params") or {}
        request = edge.QueryRequest(
            limit=asked["limit"],
            query=edge.Query.Nearest(_vector(asked["query"]["nearest"]), asked["using"]),
            filter=_filter(asked.get("filter")),
            params=edge.SearchParams(hnsw_ef=how.get("hnsw_ef"), exact=how.get("exact", False)),
            with_payload=asked["with_payload"],
            with_vector=asked["with_vector"],
        )
        found = self._of(name).shard.query(request)
        return {"points": [{**_point(one), "score": one.score, "version": one.version} for one in found]}


def _vector(asked: Any) -> Any:
    return edge.SparseVector(asked["indices"], asked["values"]) if isinstance(asked, dict) else asked


def _vectors(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: _vector(vector) for name, vector in asked.items()}


def _point(one: Any) -> dict[str, Any]:
    vectors = {
        name: {"indices": list(vector.indices), "values": list(vector.values)} if hasattr(vector, "indices") else list(vector)
        for name, vector in (one.vector or {}).items()
    }  # fmt: skip
    return {"id": one.id, "payload": one.payload, "vector": vectors}


def _filter(asked: dict[str, Any] | None) -> Any:
    if asked is None:
        return None
    return edge.Filter(**{word: [_condition(one) for one in asked[word]] for word in asked})


def _condition(asked: dict[str, Any]) -> Any:
    if "has_id" in asked:
        return edge.HasIdCondition(set(asked["has_id"]))
    if "key" not in asked:
        return _filter(asked)
    if "match" in asked:
        return edge.FieldCondition(asked["key"], match=edge.MatchAny(asked["match"]["any"]))
    return edge.FieldCondition(asked["key"], range=edge.RangeFloat(**asked["range"]))


_NAME = "/collections/([^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("POST", "/collections/aliases", Server.change_aliases),
    ("GET", "/collections", Server.names),
    ("GET", _NAME, Server.describe),
    ("PUT", _NAME, Server.create),
    ("DELETE", _NAME, Server.drop),
    ("GET", f"{_NAME}/aliases", Server.aliases),
    ("PUT", f"{_NAME}/index", Server.index),
    ("PUT", f"{_NAME}/points", Server.upsert),
    ("POST", f"{_NAME}/points/payload", Server.set_payload),
    ("POST", f"{_NAME}/points/delete", Server.delete),
    ("POST", f"{_NAME}/points/scroll", Server.scroll),
    ("POST", f"{_NAME}/points/query", Server.query),
    ("POST", f"{_NAME}/points/count", Server.count),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_: Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].rstrip("/")
        if not path:
            self._send(200, {"title": "qdrant", "version": f"edge {metadata.version('qdrant-edge-py')}"})
            return
        try:
            result = self.server_.answer(self.command, path, json.loads(body or b"{}"))
        except Refused as refused:
            code, said = refused.args
            self._send(code, {"status": {"error": said}})
        except Exception as error:
            self._send(500, {"status": {"error": f"{type(error).__name__}: {error}"}})
        else:
            self._send(200, {"result": result, "status": "ok", "time": 0.0})

    def _send(self, code: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of the standard library

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Stand in for Qdrant's server, over Qdrant's own engine: for tests, and for trying a push on one machine. Ctrl-C stops it."
    )
    parser.add_argument("folder", type=Path, help="keeps the collections; it is made where it is missing")
    parser.add_argument("port", type=int, nargs="?", default=6333, help="listened on at 127.0.0.1 (default: 6333)")
    asked = parser.parse_args()
    Handler.server_ = Server(asked.folder)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", asked.port), Handler)
    except OSError as error:
        sys.exit(f"Port {asked.port} can't be listened on: {error.strerror}.")
    print(f"Listens on 127.0.0.1:{asked.port}, and keeps its collections in {asked.folder.resolve()}.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
