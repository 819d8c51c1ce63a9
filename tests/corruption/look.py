"""What there is to be seen of a library: every record by its id, and searches of every kind. Done in a process that may die of it."""

from __future__ import annotations

import contextlib
import hashlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import library as made

import stackroom
from stackroom.errors import StackroomError, UsageError
from stackroom.index import Index
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk, Document, Hit
from support import unit_rows

Seen = dict[str, Any]
"""By name of a question: ["is", answer], ["error", class, message, named] or ["foreign", traceback]"""


def _told(work: Callable[[], Any]) -> list[Any]:
    try:
        return ["is", work()]
    except StackroomError as error:
        named = error.path is not None or error.actual is not None
        return ["error", type(error).__name__, str(error), named]
    except BaseException as error:
        return ["foreign", "".join(traceback.format_exception(error)[-3:])]


def passage(chunk_id: str, text: str, document: str, place: Any, metadata: Any) -> list[Any]:
    return [chunk_id, text, document, repr(place), repr(metadata)]


def _hits(found: list[Hit]) -> list[Any]:
    return [
        [
            *passage(hit.chunk_id, hit.text, hit.document.id, hit.place, hit.metadata),
            hit.document.title,
            hit.document.path,
            f"{hit.score:.5f}",
        ]
        for hit in found
    ]


def _digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()[:16]


def _status(index: Index) -> Any:
    found = index.stats()
    return [
        *(found.sources, found.documents, found.chunks, found.active_sources, found.needs_embedding, found.dead_rows),
        *(repr(found.embedder), repr(found.collections), found.failed_count),
    ]


def questions(index: Index, sources: list[str], documents: list[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Everything that is asked; the sources and documents are those of the library as it was."""
    yield "status", lambda: _status(index)
    yield (
        "list",
        lambda: [[s.id, s.path, s.title, s.type, s.documents, s.chunks, s.active, s.state] for s in index.sources()],
    )
    for name in sources:
        yield (
            f"get {name}",
            lambda name=name: [
                passage(p.chunk_id, p.text, p.document_id, p.place, p.metadata) for p in index.get(name)
            ],
        )
    for name in documents:
        yield f"read {name}", lambda name=name: _read(index, name)
    for query in ("harbour lantern", '"paragraph 2 of"', "record -velvet", "glac*"):
        yield f"text {query}", lambda query=query: _hits(index.search(query, k=20, mode="text"))
    yield "vector", lambda: _hits(index.search(made.QUERY, k=20))
    yield "exact", lambda: _hits(index.search(made.QUERY, k=20, exact=True))
    yield "hybrid", lambda: _hits(index.search("copper thunder", k=10, context=1))
    yield "number", lambda: _hits(index.search("record", k=20, mode="text", where="number > 4"))
    yield "colour", lambda: _hits(index.search(made.QUERY, k=20, where=["colour == lantern", "part <= 2"]))
    yield "active", lambda: _hits(index.search("record", k=30, active=True))
    yield "within", lambda: _hits(index.search("paragraph", k=10, sources=["file3*"]))
    yield "beside", lambda: _hits(index.search(made.OWN_QUERY, k=5, collection="beside"))
    for name in ("listed", "apart"):
        yield name, lambda name=name: _hits(index.search("record elsewhere", k=9, mode="text", collection=name))
    yield "kept", lambda: _kept(index)


def _read(index: Index, name: str) -> Any:
    """A document's record, and its passages with their vectors."""
    with index.backend.view() as view:
        document = view.document(name)
        if document is None:
            return None
        held = [
            [
                item.position,
                *passage(item.chunk.chunk_id or "", item.chunk.text, name, item.chunk.place, item.chunk.metadata),
                None if item.chunk.embedding is None else _digest(item.chunk.embedding.tobytes()),
            ]
            for item in view.chunks(document.key, vectors=True)
        ]
        return [document.title, repr(document.metadata), held]


def _kept(index: Index) -> Any:
    with index.backend.view() as view:
        found = [[name, _digest(data)] for name, data in view.attachments()]
        for owner in ("document", "chunk"):
            found += [[owner, key, _digest(data)] for key, data in view.kept(owner, list(range(1, 200))).items()]
        keys = view.members("beside")
        return [*found, keys, _digest(view.vectors(keys, collection="beside").tobytes()), view.members("listed")]


def reference(path: Path) -> tuple[list[str], list[str]]:
    """The ids of sources and documents."""
    with stackroom.open(path, mode="r", embedder=made.embedder()) as index, index.backend.view() as view:
        return [source.id for source in index.sources()], [document.document_id for document in view.each_document()]


def look(path: Path, sources: list[str], documents: list[str], *, write: bool = False) -> Seen:
    """Open, ask everything, verify; with `write` also commit, remove, compact and repair's kin, which must not fail in a strange way."""
    seen: Seen = {}

    def opening() -> str:
        seen["index"] = stackroom.open(path, mode="r", embedder=made.embedder())
        return "opened"

    seen["open"] = _told(opening)
    index = seen.pop("index", None)
    if index is not None:
        with contextlib.closing(index):
            for name, ask in questions(index, sources, documents):
                seen[name] = _told(ask)
            seen["verify"] = _told(
                lambda: [[one.structure, one.message, one.document_id] for one in index.verify().damage]
            )
    if write:
        seen["write"] = _told(lambda: _write(path))
    return seen


def mended(path: Path, sources: list[str], documents: list[str]) -> Seen:
    """Repair it, and look again."""
    seen: Seen = {}

    def repair() -> Any:
        done = stackroom.repair(path, embedder=made.embedder())
        seen["ok"] = ["is", done.ok and not (done.embedded or done.reread)]
        return [
            done.ok,
            [one.message for one in (*done.lost, *done.waiting)],
            done.embedded,
            done.reread,
            done.aside is not None,
        ]

    seen["repair"] = _told(repair)
    seen.update(look(path, sources, documents))
    if seen["repair"][0] == "is":
        seen["again"] = _told(lambda: len(stackroom.repair(path, embedder=made.embedder(), dry_run=True).damage))
    return seen


def _write(path: Path) -> str:
    with stackroom.open(path, embedder=made.embedder()) as index:
        chunk = Chunk("a new passage", chunk_id="new chunk", embedding=unit_rows(1, made.DIM, seed=9)[0])
        index.add_documents([Document("new document", "new source", chunks=[chunk])])
        read = [held.text for held in index.get("new source")]
        if read != ["a new passage"]:
            raise AssertionError(f"what was written reads back as {read}")
        with contextlib.suppress(UsageError):
            index.remove(["record source 5"])
    with contextlib.closing(LocalStore(path)) as store:
        store.compact(progress=silent, cancel=CancelToken())
    return "written"
