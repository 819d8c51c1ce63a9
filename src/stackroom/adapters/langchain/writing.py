"""Texts with metadata and ids on their way into a library."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackroom.adapters.langchain.embeddings import as_vector
from stackroom.errors import UsageError
from stackroom.index import Index
from stackroom.types import Chunk, EmbedderIdentity


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written, checked: three lists of one length."""

    texts: list[str]
    metadatas: list[dict[str, Any]]
    ids: list[str]


def plan(texts: Iterable[str], metadatas: Iterable[Any] | None, ids: Iterable[Any] | None) -> Plan:
    """Raises UsageError, which is a ValueError, for lists of other lengths, and for what can't be stored as JSON."""
    if isinstance(texts, str):
        raise UsageError("The texts are one text.", hint="Give a list of texts.")
    listed = list(texts)
    told = [{}] * len(listed) if metadatas is None else list(metadatas)
    named = [None] * len(listed) if ids is None else list(ids)
    for what, given in (("metadatas", told), ("ids", named)):
        if len(given) != len(listed):
            raise UsageError(f"There are {len(listed)} texts and {len(given)} {what}.", hint="Give one for each text.")
    for text in listed:
        if not isinstance(text, str):
            raise UsageError(f"{type(text).__name__} is not a text.", hint="Give Documents to add_documents.")
    return Plan(listed, [_metadata(item) for item in told], [_id(item) for item in named])


def _id(given: Any) -> str:
    """An id as it was given, or a new one. A number becomes text, as a Document's does."""
    if given is None or given == "":
        return str(uuid.uuid4())
    if not isinstance(given, str | int):
        raise UsageError(f"An id is text, not {type(given).__name__}.", actual=given)
    return str(given)


def _metadata(given: Any) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"Metadata is a dict, not {type(given).__name__}.")
    return {name: _json(value, name) for name, value in _items(given or {}, "")}


def _json(value: Any, key: str) -> Any:
    """A copy, as it will come back: JSON has no tuples, they become lists."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_json(item, key) for item in value]
    if isinstance(value, Mapping):
        return {name: _json(item, key) for name, item in _items(value, key)}
    raise UsageError(
        f"The metadata {key!r} holds {type(value).__name__}, which can't be stored as JSON.",
        hint="Use text, numbers, true, false, null, lists and dicts of these.",
    )


def _items(given: Mapping[Any, Any], key: str) -> Iterable[tuple[str, Any]]:
    for name in given:
        if not isinstance(name, str):
            raise UsageError(f"A key of the metadata {key!r} is {name!r}.", hint="Keys are text.")
    return given.items()


def write(index: Index, plan: Plan, vectors: Sequence[Any], identity: EmbedderIdentity | None) -> list[str]:
    """Insert or replace, in one commit; returns the ids. Raises what `passages.write` raises."""
    from stackroom.adapters import passages
    from stackroom.ingest.file_facts import IMPORTED
    from stackroom.nodes import reading as nodes

    if len(vectors) != len(plan.texts):
        raise UsageError(
            f"The embedding model made {len(vectors)} vectors of {len(plan.texts)} texts.", hint="Look at the model."
        )
    owners = [_owner(metadata, chunk_id) for metadata, chunk_id in zip(plan.metadatas, plan.ids, strict=True)]
    entries = []
    for text, metadata, chunk_id, owner, vector in zip(
        plan.texts, plan.metadatas, plan.ids, owners, vectors, strict=True
    ):
        chunk = Chunk(text, chunk_id, metadata, nodes.place_of({}, metadata), as_vector(vector))
        # Without a path: `add` would take a source that is a file for its own, and skip it or prune it.
        entries.append(passages.Entry(chunk, owner, owner, nodes.title_of(metadata)))
    passages.write(index.backend, entries, recipe=f"{IMPORTED}langchain", identity=identity)
    return plan.ids


def _owner(metadata: Mapping[str, Any], chunk_id: str) -> str:
    """The document that a passage belongs to, and its source: where the loader says that it is from, else itself."""
    source = metadata.get("source")
    return source if isinstance(source, str) and source else chunk_id
