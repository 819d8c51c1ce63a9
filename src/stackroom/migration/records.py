"""What an old store is made of, whatever wrote it: a stream of chunks, documents by id, and what is kept unread."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from stackroom.types import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

DEFAULT_NAMESPACE = "default"


class MainSpace(NamedTuple):
    """Which vectors become the library's: those of one namespace and dimension."""

    namespace: str
    dim: int

    @classmethod
    def of(cls, dimensions: Counter[tuple[str, int]]) -> MainSpace:
        """The commonest dimension of the default namespace, or of the largest one where that has no vectors."""
        totals: Counter[str] = Counter()
        for (namespace, _), n in dimensions.items():
            totals[namespace] += n
        if not totals:
            return cls(DEFAULT_NAMESPACE, 0)
        namespace = DEFAULT_NAMESPACE if totals[DEFAULT_NAMESPACE] else totals.most_common(1)[0][0]
        own = {dim: n for (name, dim), n in dimensions.items() if name == namespace}
        return cls(namespace, max(own, key=lambda dim: (own[dim], dim)))


@dataclass(slots=True)
class OldVector:
    """A vector as it was written: float64 of shape `(dim,)`; `values` is None where it holds something else."""

    namespace: str
    values: NDArray[np.float64] | None


@dataclass(slots=True)
class OldChunk:
    """A passage of an old store. `document_id` is None for a passage without a document.

    `metadata` is the user's own. `original` is the record as the old program wrote it, without its text, metadata and vector where these
    are kept elsewhere; None where the old program had no record of its own.
    """

    chunk_id: str
    text: str
    metadata: dict[str, Any]
    document_id: str | None = None
    place: Place = field(default_factory=Place)
    vectors: Sequence[OldVector] = ()
    original: dict[str, Any] | None = None
    orphan: bool = False
    """whether the store has a vector of this id, and no text"""


@dataclass(slots=True)
class OldDocument:
    """What an old store says of a document beside its passages."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    active: bool = True
    original: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class OldIndex:
    """A named choice of passages: one of several indexes that share a store.

    `members` are the hashes of their ids in ascending order (int64), eight bytes each; None where it does not say.
    """

    name: str
    members: NDArray[np.int64] | None
    original: bytes


def usable(values: NDArray[np.float64]) -> bool:
    """Whether a vector can be a query: finite as float32 too, and not all zeros."""
    with np.errstate(over="ignore"):
        row = values.astype(np.float32)
    return bool(np.isfinite(row).all() and row.any())


class Recent(dict[str, T]):
    """The newest few thousand entries: what chunks say of their documents, which is asked for right after them."""

    KEPT = 4096

    def __setitem__(self, key: str, value: T) -> None:
        if len(self) >= self.KEPT:
            del self[next(iter(self))]
        super().__setitem__(key, value)


class Anomalies:
    """What is not as it should be in an old store: counted by kind, with the first ids of each."""

    SHOWN = 5

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def note(self, kind: str, example: str, *, count: int = 1) -> None:
        if not count:
            return
        self.counts[kind] += count
        if len(self.examples[kind]) < self.SHOWN:
            self.examples[kind].append(example[:200])


class OldStore(Protocol):
    """A reader of one store of another program. Opened read-only; nothing of it is ever changed."""

    format: str
    """as the detector calls it"""
    made_by: str
    """the program and the releases that write this"""
    files: Sequence[Path]
    """every file that is read"""

    def dimensions(self) -> Counter[tuple[str, int]]:
        """How many vectors there are of each (namespace, dimension), without parsing them."""
        ...

    def count(self) -> int:
        """About how many chunks there are."""
        ...

    def chunks(self, anomalies: Anomalies) -> Iterator[OldChunk]:
        """Every chunk, in the order of the store; the same order every time."""
        ...

    def sample(self, n: int) -> Sequence[tuple[str, NDArray[np.float64]]]:
        """Vectors spread evenly over the main namespace, with their ids, parsed by the standard library's json.

        That is another parser than the one that `chunks` uses, where the format is JSON.
        """
        ...

    def document(self, document_id: str) -> OldDocument: ...

    def indexes(self) -> Sequence[OldIndex]:
        """The indexes over this store; none where it knows no such thing."""
        ...

    def attachments(self) -> Iterator[tuple[str, bytes]]:
        """What is carried along unread: name and content."""
        ...

    def close(self) -> None: ...
