"""What the document store hands out and works with: its nodes as a mapping, hashes that may be equal, and changes to come."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.schema import BaseNode

from stackroom.backend import Backend, Commit, View
from stackroom.errors import UsageError
from stackroom.nodes.kept import dump

_AT_ONCE = 256


@dataclass(slots=True)
class Changes:
    """What one call changes, for one commit."""

    records: list[tuple[int, bytes]] = field(default_factory=list)
    """of passages, by key"""
    documents: dict[int, dict[str, Any]] = field(default_factory=dict)
    """records of documents, by key"""
    discarded: list[int] = field(default_factory=list)
    """keys of passages"""
    attached: dict[str, Any] = field(default_factory=dict)
    detached: list[str] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
    """ids of documents that go with the last of their nodes"""

    def __bool__(self) -> bool:
        return bool(self.records or self.documents or self.discarded or self.attached or self.detached)

    def apply(self, commit: Commit) -> None:
        """Raises UsageError for what is no JSON."""
        commit.keep("chunk", self.records)
        commit.keep("document", [(key, _dumped(record)) for key, record in self.documents.items()])
        commit.discard(self.discarded)
        for name in self.detached:
            commit.detach(name)
        for name, value in self.attached.items():
            commit.attach(name, _dumped(value))


def change(backend: Backend, plan: Callable[[View], Changes]) -> None:
    """Make the changes that `plan` finds necessary, in one commit; no commit where it finds none.

    Where somebody commits between the look and the change, the plan is made again, while nobody else can write (and may come to nothing). Raises UsageError for
    what is no JSON, and what `plan` raises; then nothing was written.
    """
    with backend.view() as view:
        changes, seen = plan(view), view.version
    if not changes:
        return
    with backend.commit() as commit:
        with backend.view() as view:
            if view.version != seen:
                changes = plan(view)
        changes.apply(commit)


def _dumped(value: Any) -> bytes:
    try:
        return dump(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"This node can't be stored as JSON: {error}.",
            hint="Use text, numbers, true, false, null, lists and objects of these in its metadata.",
        ) from error


class Nodes(Mapping[str, BaseNode]):
    """Nodes by id, read when somebody looks: by `items` and `values` many at once. `ids` and `read` give all ids, and the nodes of some."""

    def __init__(self, ids: Callable[[], list[str]], read: Callable[[Sequence[str]], dict[str, BaseNode]]) -> None:
        self._ids = ids
        self._read = read

    def __getitem__(self, node_id: str) -> BaseNode:
        return self._read([node_id])[node_id]

    def __contains__(self, node_id: object) -> bool:
        return isinstance(node_id, str) and node_id in self._read([node_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())

    def items(self) -> ItemsView[str, BaseNode]:
        return _Items(self)

    def values(self) -> ValuesView[BaseNode]:
        return _Values(self)

    def each(self) -> Iterator[tuple[str, BaseNode]]:
        """In portions, so that memory does not follow the library; what is deleted meanwhile is left out."""
        ids = self._ids()
        for first in range(0, len(ids), _AT_ONCE):
            part = ids[first : first + _AT_ONCE]
            found = self._read(part)
            yield from ((node_id, found[node_id]) for node_id in part if node_id in found)


class _Items(ItemsView[str, BaseNode]):
    _mapping: Nodes

    def __iter__(self) -> Iterator[tuple[str, BaseNode]]:
        return self._mapping.each()


class _Values(ValuesView[BaseNode]):
    _mapping: Nodes

    def __iter__(self) -> Iterator[BaseNode]:
        return (node for _, node in self._mapping.each())


class Hashes(dict[str, str]):
    """Document ids by hash. A hash that several documents have leads to the last of them; `values` has them all."""

    def __init__(self) -> None:
        super().__init__()
        self._every: dict[str, None] = {}

    def put(self, told: str, document_id: str) -> None:
        self[told] = document_id
        self._every[document_id] = None

    def values(self) -> Any:
        return self._every.keys()
