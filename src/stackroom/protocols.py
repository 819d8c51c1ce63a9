"""What can be plugged in: each a small protocol that any object may satisfy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from stackroom.types import Chunk, EmbedderIdentity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stackroom.progress import CancelToken


@dataclass(frozen=True, slots=True)
class Section:
    """A run of a document's text under one heading path, or on one page.

    The document's extracted text is the concatenation of its sections' texts, separators included, so that a
    chunk's `start` and `end` are offsets into it. A page without text is a Section with an empty `text`.

    A text made of lines, rows, records or cues says so by `unit` (as in Place) and `marks`: `(offset, first, last)`, one
    for each of them, in order, the first at 0. A chunk keeps them whole, as far as they fit into one.
    """

    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    page_label: str | None = None
    unit: str | None = None
    marks: Sequence[tuple[int, float, float]] = ()
    hidden: int = 0
    """characters that the file hides from its readers here, and that are left out"""
    recognised: bool = False
    """whether the text was recognised in a picture of it"""
    incomplete: str = ""
    """what of the file could not be read and was left out, in a sentence; said once, in any of its sections"""


@dataclass(slots=True)
class Reading:
    """What a reader makes of one file; `sections` is consumed once and may be produced as the file is read.

    A file that holds several documents (a mailbox) gives them by `documents`, each consumed before the next, and has no
    sections of its own. Each has a `part`: its name within the file, by which the next reading knows it again.
    """

    type: str
    sections: Iterable[Section] = ()
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    documents: Iterable[Reading] | None = None
    part: str = ""


@runtime_checkable
class Reader(Protocol):
    """Turns one kind of file into text with places.

    `version` is raised when the same file would give other text, so that a failure recorded by an older
    version is tried again. One that has `asked_only`, and it is true, is left out of folder walks until it is asked for.
    """

    name: str
    version: int
    suffixes: tuple[str, ...]

    def accepts(self, path: Path, head: bytes) -> bool:
        """Whether this reader knows the content, judged by its first bytes (4 KiB) before its suffix."""
        ...

    def read(self, path: Path) -> Reading:
        """Read the file. Raises ReadError (or a kind of it) when it can't be read, also while iterating."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Finds a model's tokens in a text; picklable, so that it can go to a worker process."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """`(start, end)` code points of every token, special tokens excluded, in order."""
        ...


@runtime_checkable
class Splitter(Protocol):
    """Cuts a document into chunks with exact places; picklable."""

    def split(self, sections: Iterable[Section]) -> Iterator[Chunk]: ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors. Prefixes are its own business, and part of its identity."""

    @property
    def identity(self) -> EmbedderIdentity: ...

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's own tokenizer, or None where it is not known (lengths are then estimated)."""
        ...

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 of shape `(len(texts), dim)`, in the order given."""
        ...

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """float32 of shape `(dim,)`."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reads a question together with each passage, which is slower than comparing vectors, and judges better."""

    @property
    def name(self) -> str: ...

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each text answers the query: higher is better, in the order given."""
        ...


@runtime_checkable
class LangChainEmbeddings(Protocol):
    """LangChain's `Embeddings`, as far as it is called."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]: ...

    def embed_query(self, text: str) -> list[float]: ...


@runtime_checkable
class LlamaIndexEmbedding(Protocol):
    """LlamaIndex's `BaseEmbedding`, as far as it is called."""

    def get_text_embedding_batch(self, texts: list[str]) -> list[list[float]]: ...

    def get_query_embedding(self, query: str) -> list[float]: ...


AnyEmbedder = Embedder | LangChainEmbeddings | LlamaIndexEmbedding
"""What is accepted as a model."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of what a chat model is told."""

    role: Literal["system", "user", "assistant"]
    text: str


@runtime_checkable
class ChatModel(Protocol):
    """Writes an answer, piece by piece. `name` is how `--model` calls it."""

    @property
    def name(self) -> str: ...

    def stream(
        self, messages: Sequence[Message], *, cancel: CancelToken, max_tokens: int | None = None
    ) -> Iterator[str]:
        """Pieces of text as they come; whoever closes the iterator ends the answer. It ends soon after `cancel` is set, also while nothing comes.

        `max_tokens` bounds the answer. Raises UnavailableError, also between two pieces.
        """
        ...
