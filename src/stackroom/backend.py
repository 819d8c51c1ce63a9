"""The protocol between Stackroom and an engine that keeps its records: the local store, or a remote one.

A `Backend` hands out two things. A `View` is a fixed state of the library to read from; it lasts one call. A `Commit`
collects changes and makes them durable and visible all at once when its `with` block ends; an exception inside
the block leaves no trace. `key`s are the engine's own integers: never reused, never shown to a user.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

from stackroom.errors import DamagedError
from stackroom.types import Chunk, EmbedderIdentity, Metadata, Passage, Place, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stackroom.filters import Filter
    from stackroom.history import History
    from stackroom.progress import CancelToken, Progress
    from stackroom.reports import Backup, Compaction, Repair, Stats, Verification

SourceState = Literal["indexed", "partial", "failed"]

Capability = Literal["verify", "repair", "compact", "backup", "purge", "reembed"]
"""What an engine may leave to those who run it. Everything else in the protocol every engine does."""
EVERY_CAPABILITY: frozenset[Capability] = frozenset(get_args(Capability))


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """All that is kept about a source. `name` is a file's absolute path, or the caller's own name.

    `size`, `mtime_ns` and `content_hash` describe the file as it was last read, `None` when it is no file.
    `recipe` says how it was read (reader and splitter with their versions); another recipe means reading again.
    `error` is the reason of the last failed reading; an earlier reading may still serve (`state` "indexed").
    """

    name: str
    title: str = ""
    type: str = ""
    is_file: bool = False
    size: int | None = None
    mtime_ns: int | None = None
    content_hash: bytes | None = None
    recipe: str = ""
    state: SourceState = "indexed"
    error: str | None = None
    error_kind: str | None = None
    pages: int | None = None
    pages_without_text: int | None = None
    indexed_at: str | None = None
    source_id: str = ""
    key: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether it was not read to its end: a run reads it now, or was interrupted, and the next one goes on."""
        return self.state == "partial" and self.error is None

    @property
    def lacks_passages(self) -> bool:
        """Whether a repair has lost passages of it, here or where it was sent from, that nobody has read or given again."""
        return self.state == "partial" and self.error_kind == DamagedError.__name__


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document without its chunks. `document_id` "" lets the engine choose one."""

    document_id: str
    source_key: int
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    chunks: int = 0
    key: int = 0


def indexed_metadata(document: DocumentRecord, source: SourceRecord) -> dict[str, Any]:
    """What a document is filtered by, on every engine: its own metadata, and what the library knows of it.

    `document_id` is reserved, as in LlamaIndex; the others give way to the user's own key of the same name.
    """
    facts: dict[str, Any] = {
        "source": source.name,
        "title": document.title or source.title,
        "type": source.type,
    }
    if source.is_file:
        facts["path"] = source.name
    return {**facts, **document.metadata, "document_id": document.document_id}


Owner = Literal["document", "chunk"]


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A named set of chunks. `identity` is that of its own vectors; None where those of the library count."""

    name: str
    chunks: int
    identity: EmbedderIdentity | None = None
    listed: bool = False
    """whether chunks that live in another collection are listed in it"""


class StoredChunk(NamedTuple):
    """A chunk as stored, with its key and its position among its document's chunks (from 0)."""

    key: int
    position: int
    chunk: Chunk
    """`embedding` is None unless vectors were asked for."""


class Scored(NamedTuple):
    """One leg's answer, best first; equal scores are ordered by key, oldest first."""

    keys: NDArray[np.int64]
    """int64, shape (n,)"""
    scores: NDArray[np.float64]
    """float64, shape (n,), higher is better"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a search looks at: everything by default; all that is given must hold."""

    where: Filter | None = None
    sources: Sequence[str] | None = None
    """Names, titles or globs of sources; a chunk of any of them qualifies."""
    source_ids: Sequence[str] | None = None
    """Ids of sources; those that are gone are no harm."""
    active: bool = False
    collection: str = "default"
    documents: Sequence[str] | None = None
    """Ids of documents."""
    without: Sequence[str] = ()
    """Words and phrases; a chunk that holds one of them does not qualify."""
    phrases: Sequence[str] = ()
    """Words and phrases; a chunk that lacks one of them does not qualify."""
    keys: NDArray[np.int64] | None = None
    """The keys of chunks, int64 of shape (n,) in any order; those that are gone are no harm."""


class Waiting(NamedTuple):
    """What a repair could not do without the model, without a file as it was, or without being given a record again.

    `embed`: keys of chunks whose vector is lost. `read`: keys of sources that lost chunks, with the hash of the content they had.
    """

    embed: tuple[int, ...] = ()
    read: tuple[tuple[int, bytes | None], ...] = ()


GIVE_AGAIN = "Passages of it are still lost, and it was not read from a file. Give all of it again, or remove it."
"""The reason with which a source is recorded of which a part was given again."""

EMBED_AGAIN = "to be embedded again by the model that made their vectors: stackroom repair"
"""What a verification says of passages that wait: storage does not know whether the model is at hand."""


class TextStatistics(NamedTuple):
    """What a text leg knows of the query, for the fusion to weigh it."""

    terms: tuple[str, ...]
    """The query's words as they were looked up."""
    document_frequency: tuple[int, ...]
    """For each term, in how many chunks of the library it occurs."""
    chunks: int
    """Chunks in the library."""


class View(Protocol):
    """A fixed state of the library."""

    @property
    def version(self) -> int:
        """The number of commits so far."""
        ...

    @property
    def history(self) -> History | None:
        """Of which library this is which commit; None on an engine, which does not say."""
        ...

    @property
    def identity(self) -> EmbedderIdentity | None:
        """The embedder of the serving space; None while nothing was embedded."""
        ...

    @property
    def former(self) -> EmbedderIdentity | None:
        """The embedder of the space that served before the model was changed, while that is kept."""
        ...

    def unknown_to_former(self) -> NDArray[np.int64]:
        """The keys of the chunks that have no vector in that space, in order: int64 of shape (n,); none where there is no such space."""
        ...

    def source(self, name: str) -> SourceRecord | None:
        """By exact name (a file's absolute path)."""
        ...

    def sources_with_content(self, content_hash: bytes) -> list[SourceRecord]: ...

    def each_source(self, *, under: str | None = None) -> Iterator[SourceRecord]:
        """Every source, or those whose name is `under` or lies below it as a folder, by name."""
        ...

    def find_sources(self, wanted: str) -> list[SourceRecord]:
        """By id, name, title, file name or glob over these; [] when there is none."""
        ...

    def listing(self, records: Sequence[SourceRecord] | None = None) -> list[Source]:
        """Sources as users see them, in the order given; None: all, by name."""
        ...

    def documents(self, source_key: int) -> list[DocumentRecord]: ...

    def document(self, document_id: str) -> DocumentRecord | None: ...

    def each_document(self) -> Iterator[DocumentRecord]:
        """Every document, without its count of chunks, in the order of their keys."""
        ...

    def chunks(self, document_key: int, *, vectors: bool = False) -> Iterator[StoredChunk]:
        """A document's chunks in order, verified."""
        ...

    def keys_of(self, document_key: int) -> list[int]:
        """The keys of a document's chunks, in order."""
        ...

    def passages(self, keys: Sequence[int]) -> list[Passage]:
        """The chunks of these keys, in the order given, verified. Raises DamagedError."""
        ...

    def document_keys(self, keys: Sequence[int]) -> list[int]:
        """The key of the document that each of these chunks is of, in the order given; no text is read. Raises DamagedError."""
        ...

    def document_of(self, document_ids: Sequence[str]) -> dict[str, tuple[DocumentRecord, SourceRecord]]: ...

    def chunk_keys(self, chunk_ids: Sequence[str]) -> list[int | None]: ...

    def neighbours(self, key: int, context: int) -> tuple[list[Passage], list[Passage]]:
        """Up to `context` chunks before and after this one in its document, in reading order."""
        ...

    def vectors(self, keys: Sequence[int], *, collection: str = "default") -> NDArray[np.float32]:
        """A copy, float32 of shape `(len(keys), dim)`, bit for bit what was stored. Raises NotFoundError."""
        ...

    def nearest(
        self, query: NDArray[np.float32], k: int, scope: Scope, *, exact: bool = False, candidates: int | None = None
    ) -> Scored:
        """The vector leg. `query` is float32 of shape `(dim,)`; `candidates` is another setting than the library's."""
        ...

    @property
    def candidates(self) -> int | None:
        """How many rows are scored exactly after a quick look at all; None: as many as it takes."""
        ...

    def scores(self, query: NDArray[np.float32], keys: Sequence[int]) -> NDArray[np.float64]:
        """The exact vector score of these chunks: float64 of shape `(len(keys),)`, NaN where one has no vector."""
        ...

    def background(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """Mean and standard deviation of the query's score over a fixed sample of rows."""
        ...

    def matching(self, query: str, k: int, scope: Scope) -> tuple[Scored, TextStatistics]:
        """The text leg: BM25, turned positive."""
        ...

    def live_keys(self, *, with_vector: bool = False) -> NDArray[np.int64]:
        """The keys of all chunks, or of those that have a vector in the serving space, in order: int64 of shape (n,)."""
        ...

    def collections(self) -> list[CollectionRecord]: ...

    def has_collection(self, name: str) -> bool: ...

    def members(self, collection: str) -> list[int]:
        """The keys of a collection's chunks, in order. Raises NotFoundError."""
        ...

    def kinds(self, field: str) -> frozenset[str]:
        """Of which kinds the values of a metadata field are: "text", "number", "bool", "list", "object", "null", "long"."""
        ...

    def select(self, scope: Scope) -> NDArray[np.int64]:
        """The keys of the chunks in scope, in order: int64 of shape (n,). Raises NotFoundError, InvalidFilterError."""
        ...

    def chunk_ids(self, keys: Sequence[int] | None = None) -> list[str]:
        """The ids of these chunks, in the order given; None: of all, in the order of their keys. Raises NotFoundError."""
        ...

    def kept(self, owner: Owner, keys: Sequence[int]) -> dict[int, bytes]:
        """What is kept of another program's records of these documents or chunks, by key; those without one are left out."""
        ...

    def waiting(self) -> Waiting:
        """What a repair has left to be done."""
        ...

    def attachment(self, name: str) -> bytes | None:
        """What is kept under this name."""
        ...

    def attachments(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """What is kept under names that begin so, by name."""
        ...


class Commit(Protocol):
    """Changes that land together."""

    def set_candidates(self, candidates: int | None) -> None:
        """How many rows a vector search scores exactly after a quick look at all; None: by the library's size."""
        ...

    def put_source(self, record: SourceRecord) -> int:
        """Insert, or replace by `key` (or by `name` where `key` is 0); returns the key.

        A new source joins the active set; an existing one keeps its id and whether it is active.
        """
        ...

    def put_document(self, record: DocumentRecord) -> int:
        """Insert, or replace by `document_id`; existing chunks stay. Returns the key."""
        ...

    def add_chunks(
        self,
        document_key: int,
        chunks: Sequence[Chunk],
        *,
        position: int | None = 0,
        collection: str = "default",
    ) -> list[int]:
        """Add chunks, the first at `position` (None: after the last one there is); returns their keys.

        A chunk whose `embedding` is None is kept for text search and counted as needing one. A `chunk_id` that
        exists is replaced, wherever it was; "" or None makes one. Raises DimensionMismatchError.
        """
        ...

    def add_vectors(self, collection: str, vectors_: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        """Give chunks vectors of the collection's own, beside those of the library: `(key, float32 of shape (dim,))`.

        The first one makes the collection's space; all must have its dimension. Raises DimensionMismatchError.
        """
        ...

    def enlist(self, collection: str, keys: Sequence[int]) -> None:
        """Let chunks belong to this collection as well; it is made where it is missing."""
        ...

    def listings(self, source_key: int) -> list[str]:
        """The collections in which chunks of this source are enlisted."""
        ...

    def leave(self, collection: str, keys: Sequence[int]) -> None:
        """Take chunks that live elsewhere off a collection's list, and drop the vectors that it has of them."""
        ...

    def disband(self, collection: str) -> None:
        """Forget which chunks were enlisted; chunks that live there stay, and so do its own vectors."""
        ...

    def keep(self, owner: Owner, records: Sequence[tuple[int, bytes]]) -> None:
        """Keep another program's records of documents or chunks, by key, until these are removed."""
        ...

    def attach(self, name: str, data: bytes) -> None:
        """Keep something unread under this name, in place of what was there."""
        ...

    def detach(self, name: str) -> bool:
        """Forget what is kept under this name; False where there was nothing."""
        ...

    def move_chunks(self, moves: Sequence[tuple[int, int, Place]]) -> None:
        """Give kept chunks a new position and place: `(key, position, place)`. Text and vector stay."""
        ...

    def remove_chunks(self, keys: Sequence[int]) -> None: ...

    def discard(self, keys: Sequence[int]) -> None:
        """Remove chunks, and documents and sources that have none left through it."""
        ...

    def remove_document(self, document_key: int) -> None: ...

    def remove_source(self, source_key: int) -> None: ...

    def set_active(self, source_keys: Sequence[int] | None, active: bool) -> None:
        """None: every source."""
        ...

    def give_vectors(self, vectors: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        """Give chunks that have none their vector in the serving space: `(key, float32 of shape (dim,))`; chunks that are gone are left out."""
        ...

    def given(self, document_key: int, chunk_ids: Collection[str] | None = None) -> None:
        """A document, or these chunks of it, were given by who has them: what a repair had lost of them is lost no more.

        A source that lacks nothing any more is `indexed`, one without a file that lacks something else stays recorded as failed.
        """
        ...

    def set_waiting(self, waiting: Waiting) -> None:
        """What of a repair is left to be done."""
        ...

    def use_embedder(self, identity: EmbedderIdentity) -> None:
        """Declare the model of the serving space; raises EmbedderMismatchError when it has another."""
        ...


class Backend(Protocol):
    """An engine. Usable from several threads at once.

    A call that needs a capability which the engine has not raises UsageError, and says what does the same there.
    """

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def require(self, capability: Capability) -> None:
        """To be asked before anything is done that leads to it. Raises UsageError where the backend has it not."""
        ...

    def stats(self) -> Stats:
        """The newest commit in numbers."""
        ...

    def view(self) -> AbstractContextManager[View]: ...

    def commit(self, *, wait: float = 30.0) -> AbstractContextManager[Commit]:
        """Take the writer lock, within `wait` seconds or BusyError."""
        ...

    def lease(self, purpose: str, *, wait: float = 0.0) -> AbstractContextManager[None]:
        """Take the right to run a long ingest; BusyError says who holds it."""
        ...

    def maintain(self, *, cancel: CancelToken | None = None) -> None:
        """Do now what is due: make what searches of a large library are quick by, and give back what deletes have left.

        The library holds the same without it.
        """
        ...

    def verify(self, *, progress: Progress, cancel: CancelToken) -> Verification: ...

    def repair(self, *, dry_run: bool, progress: Progress, cancel: CancelToken) -> Repair:
        """Bring back what can be without a model and without files; what waits for these is in `View.waiting`. Raises DamagedError."""
        ...

    def compact(self, *, progress: Progress, cancel: CancelToken) -> Compaction: ...

    def backup(self, folder: Path, *, refresh: bool, progress: Progress, cancel: CancelToken) -> Backup:
        """Copy the newest commit to a folder, whole or not at all. Raises UsageError, StorageError."""
        ...

    def purge(self, *, progress: Progress, cancel: CancelToken) -> None:
        """Leave nothing of what was removed in any file."""
        ...

    def reembed(
        self,
        identity: EmbedderIdentity,
        embed: EmbedTexts,
        *,
        judge: Judge | None = None,
        progress: Progress,
        cancel: CancelToken,
    ) -> tuple[int, bool]:
        """Build a second space beside the serving one and switch to it when it is whole; the old one is kept as the former.

        Where the former space is this model's, it is taken, and what it lacks is embedded. `judge` is asked once, before the switch. Returns how
        many chunks were embedded now, and whether the space serves; a run that was cancelled or refused is continued by the next one.
        """
        ...

    def discard_former(self) -> bool:
        """Forget the former space for good; False where there is none."""
        ...

    def close(self) -> None: ...


class EmbedTexts(Protocol):
    """Texts in, float32 of shape `(n, dim)` out."""

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]: ...


class Judge(Protocol):
    """Whether another space is to serve: `view` shows the one that does, `nearest(query, k)` asks the other."""

    def __call__(self, view: View, nearest: Callable[[NDArray[np.float32], int], Scored], /) -> bool: ...
