"""LlamaIndex's nodes as passages of a library, and back.

A node's own record is kept beside its passage, without what is stored elsewhere; so every kind of node comes back as it was, and
`stackroom export` writes what LlamaIndex wrote. A passage that no LlamaIndex made becomes a TextNode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore.utils import json_to_doc

from stackroom.adapters.passages import Entry
from stackroom.backend import View
from stackroom.errors import UsageError
from stackroom.nodes import reading as nodes
from stackroom.nodes import writing
from stackroom.nodes.kept import clean, dump, fold, unfold
from stackroom.types import Chunk

NODE_TYPE = "_node_type"
"""The key by which LlamaIndex's filters know a node's class; kept with a passage where it is no TextNode."""


NO_DOCUMENT = "None"
"""What LlamaIndex's vector stores call the document of a node that has none."""


def to_entry(node: BaseNode, embedding: Any) -> Entry:
    """A node as a passage; `embedding` is float32 of shape (dim,), or None. Raises UsageError where it is not JSON."""
    if not node.node_id:
        raise UsageError("A node has no id.", hint="Leave id_ out, and LlamaIndex chooses one.")
    body = body_of(node)
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    source = source_of(node)
    about = dict(source.metadata or {}) if source else {}
    metadata = clean(node.metadata)
    if node.class_name() != TextNode.class_name():
        metadata[NODE_TYPE] = node.class_name()
    path = nodes.file_of({**about, **node.metadata})
    document_id = source.node_id if source else node.node_id
    return Entry(
        Chunk(text, node.node_id, metadata, nodes.place_of(body, node.metadata), embedding),
        document_id,
        path or document_id,
        nodes.title_of({**node.metadata, **about}),
        path,
        clean(about),
        record_of(node, body, text),
    )


def body_of(node: BaseNode) -> dict[str, Any]:
    """The node's own record, without its vector, which would only be copied to be thrown away."""
    return node.model_copy(update={"embedding": None}).to_dict()


def record_of(node: BaseNode, body: Mapping[str, Any], text: str) -> bytes:
    """What is kept of a node: its own record, and its hash as a docstore has it."""
    source = source_of(node)
    told = {"doc_hash": node.hash, **({"ref_doc_id": source.node_id} if source else {})}
    kept = {"type": type_of(node), "node": fold(body, text=text), "docstore": told}
    try:
        return dump(kept if source else {**kept, "parentless": True})
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"The metadata of the node {node.node_id} can't be stored as JSON: {error}.",
            hint="Use text, numbers, true, false, null, lists and objects of these.",
        ) from error


def loads(data: bytes | None) -> dict[str, Any]:
    """What is kept of a document or node; empty where nothing is."""
    return dict(json.loads(data)) if data else {}


def source_of(node: BaseNode) -> RelatedNodeInfo | None:
    """The document that a node is from, where it says so."""
    source = node.source_node
    return source if source is not None and source.node_id else None


def following(node: BaseNode) -> str | None:
    """The id of the next node of its document, where it says so."""
    found = node.relationships.get(NodeRelationship.NEXT)
    return found.node_id if isinstance(found, RelatedNodeInfo) else None


def type_of(node: BaseNode) -> str:
    """The number of its type; the releases differ in whether that is an enum."""
    kind = node.get_type()
    return str(getattr(kind, "value", kind))


def read(view: View, keys: Sequence[int], *, vectors: bool = False) -> list[BaseNode]:
    """The nodes of these chunks, in the order given."""
    return list(_nodes(view, keys, vectors=vectors))


def _nodes(view: View, keys: Sequence[int], *, vectors: bool) -> Iterator[BaseNode]:
    passages = view.passages(keys)
    kept = view.kept("chunk", keys)
    foreign = {passage.document_id for key, passage in zip(keys, passages, strict=True) if key not in kept}
    documents = view.document_of(list(foreign))
    for key, passage in zip(keys, passages, strict=True):
        record = json.loads(kept[key]) if key in kept else {}
        folded = record.get("node")
        if isinstance(folded, dict):
            body = unfold(folded, text=passage.text, vector=None)
            owner = None if record.get("parentless") else passage.document_id
            if "class_name" not in body:
                about = nodes.source_of(body)[1]
                body = writing.text_node(passage, nodes.metadata_of(body) or {}, owner, about, like=body)
            node = from_record(str(record.get("type", "1")), body)
        else:
            document, source = documents[passage.document_id]
            about = writing.document_metadata(document, source)
            metadata = {**about, **writing.chunk_metadata(passage.place, passage.metadata)}
            node = from_record("1", writing.text_node(passage, metadata, passage.document_id, about))
        if vectors:
            node.embedding = [float(value) for value in view.vectors([key])[0]]
        yield node


def from_record(kind: str, body: dict[str, Any]) -> BaseNode:
    """A node of the class that wrote it; of the plain one of its type where that class is not known here."""
    known = _classes().get(str(body.get("class_name")))
    if known is not None:
        return known.from_dict(body)
    return json_to_doc({"__type__": kind, "__data__": body})


def _classes() -> dict[str, type[BaseNode]]:
    """Every class of nodes that is imported, by the name that its records bear."""
    return _classes_of(len(_subclasses(BaseNode)))  # type: ignore[type-abstract]


@cache
def _classes_of(count: int) -> dict[str, type[BaseNode]]:
    del count  # another number means that somebody has made a class since
    return {kind.class_name(): kind for kind in reversed(_subclasses(BaseNode))}  # type: ignore[type-abstract]


def _subclasses(kind: type[BaseNode]) -> list[type[BaseNode]]:
    found = kind.__subclasses__()
    return found + [below for one in found for below in _subclasses(one)]
