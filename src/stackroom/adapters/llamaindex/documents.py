"""What the document store hands out and works with: its nodes as a mapping, hashes that may be equal, and changes to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.schema import BaseNode

_AT_ONCE = 256


@dataclass(slots=True)
class Changes:
    """What one call changes, for one commit."""

    records: list[tuple[int, bytes]] = field(default_factory=list)
    """of passages, by key"""
    discarded: list[int] = field(default_factory=list)
    """keys of passages"""
    forgotten: list[int] = field(default_factory=list)
    """keys of documents of which only their passages are kept"""
    attached: dict[str, Any] = field(default_factory=dict)
    detached: list[str] = field(default_factory=list)
    found: bool = False
    """whether there was anything to delete"""


class Nodes(Mapping[str, BaseNode]):
    """Nodes by id, read when somebody looks. `ids` and `read` give all ids, and the nodes of some."""

    def __init__(
        self,
        ids: Callable[[], list[str]],
        read: Callable[[Sequence[str]], dict[str, BaseNode]],
        count: Callable[[], int],
    ) -> None:
        self._ids = ids
        self._read = read
        self._count = count

    def __getitem__(self, node_id: str) -> BaseNode:
        return self._read([node_id])[node_id]

    def __contains__(self, node_id: object) -> bool:
        return isinstance(node_id, str) and node_id in self._read([node_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return self._count()

    def items(self) -> _Items:  # type: ignore[override]
        return _Items(self)

    def values(self) -> _Values:  # type: ignore[override]
        return _Values(self)

    def each(self) -> Iterator[tuple[str, BaseNode]]:
        """In portions, so that memory does not follow the library."""
        ids = self._ids()
        for first in range(0, len(ids), _AT_ONCE):
            part = ids[first : first + _AT_ONCE]
            found = self._read(part)
            yield from ((node_id, found[node_id]) for node_id in part if node_id in found)


class _Items:
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def __iter__(self) -> Iterator[tuple[str, BaseNode]]:
        return self._nodes.each()

    def __len__(self) -> int:
        return len(self._nodes)


class _Values:
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def __iter__(self) -> Iterator[BaseNode]:
        return (node for _, node in self._nodes.each())

    def __len__(self) -> int:
        return len(self._nodes)


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
