"""The values that go in and come out: frozen, slotted, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Embedding = NDArray[np.float32]

Mode = Literal["hybrid", "vector", "text"]
Metric = Literal["cosine", "dot", "l2"]
Metadata = Mapping[str, Any]
"""JSON: what a document or chunk is filtered by."""


HIDDEN_CHARACTERS = "hidden_characters"
"""The field of a document's metadata that says how much text its file hides; it was left out."""

INCOMPLETE = "incomplete"
"""The field of a document's metadata that says what of its file could not be read; the rest was."""

RECOGNISED = "recognised"
"""The field of a passage's metadata that is true where its text was recognised in a picture (OCR); it may hold mistakes."""

RECOGNISED_PAGES = "recognised_pages"
"""The field of a document's metadata that says on how many pages text was recognised."""

OF_READING = frozenset({HIDDEN_CHARACTERS, INCOMPLETE, RECOGNISED_PAGES})
"""Fields of a document's metadata that say how its file was read. A file's own field of such a name is kept as `metadata.NAME`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stands in its document. What does not exist is None (or an empty section).

    `start` and `end` are code points in the document's extracted text; pages count from 1;
    `page_label` is the page's number as printed; `section` lists the headings above, outermost first. Where a document
    has something smaller than pages, `unit` says what `first` and `last` count: "line", "row", "cell" or "record", from
    1, both included; or "second", from the beginning of a recording, with fractions.
    """

    start: int | None = None
    end: int | None = None
    page: int | None = None
    page_end: int | None = None
    page_label: str | None = None
    section: tuple[str, ...] = ()
    unit: str | None = None
    first: float | None = None
    last: float | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document: the unit that is embedded and found.

    `chunk_id` None lets the library choose one. `embedding` is float32 of shape `(dim,)`, or None to have
    it computed.
    """

    text: str
    chunk_id: str | None = None
    metadata: Metadata = field(default_factory=dict)
    place: Place = Place()
    embedding: Embedding | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """The unit of writing and deleting.

    `source` is the file or record that the user knows (None: the document is its own source). With no `chunks`,
    `text` is split.
    """

    document_id: str | None = None
    source: str | None = None
    text: str | None = None
    metadata: Metadata = field(default_factory=dict)
    chunks: Sequence[Chunk] = ()
    title: str | None = None


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What makes two embedders interchangeable: vectors of equal identity may be compared.

    `max_tokens` is what one passage may hold, special tokens excluded; None means unlimited.
    `name` is how `--embedder` and `rebuild` call it; `model` and `revision` together pin the weights, and then the name may be another one.
    """

    name: str
    dim: int
    metric: Metric = "cosine"
    model: str = ""
    revision: str = ""
    query_prefix: str = ""
    passage_prefix: str = ""
    pooling: str = ""
    normalised: bool = True
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file or record that the user knows, as `list` shows it.

    `state` is "indexed", "partial" (an interrupted run will finish it) or "failed"; `error` says why the last
    reading failed, also where an older reading still serves. `indexed_at` is ISO 8601 in UTC, and so is `modified_at`, the
    time of the file as it was read (None for a record). `recognised_pages` are those whose text was recognised in a picture (OCR).
    """

    id: str
    path: str
    title: str
    type: str
    documents: int
    chunks: int
    active: bool
    state: str
    indexed_at: str | None
    error: str | None = None
    size: int | None = None
    pages: int | None = None
    pages_without_text: int | None = None
    modified_at: str | None = None
    recognised_pages: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether it was not read to its end: a run reads it now, or was interrupted, and the next one goes on."""
        return self.state == "partial" and self.error is None


@dataclass(frozen=True, slots=True)
class HitDocument:
    """The document that a hit belongs to. `source_id` and `type` are those of its source."""

    id: str
    title: str
    path: str
    metadata: Metadata
    source_id: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg's opinion of a hit: its rank there (from 1), its raw score, and what it added to the fused score."""

    rank: int
    score: float
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit is where it is: each leg that saw it, the weights that fused them, and a reranker's opinion."""

    vector: Leg | None = None
    text: Leg | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    matched: tuple[str, ...] = ()
    rerank: Leg | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as stored, with its place: what `show` prints and `context` adds around a hit."""

    chunk_id: str
    document_id: str
    text: str
    place: Place
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A passage in its document, with those that stand `before` and `after` it, in reading order."""

    document: HitDocument
    passage: Passage
    before: tuple[Passage, ...] = ()
    after: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. `score`: higher is better, whatever the metric. `rank` counts from 1."""

    rank: int
    score: float
    chunk_id: str
    text: str
    document: HitDocument
    place: Place
    metadata: Metadata
    explain: Explanation | None = None
    before: tuple[Passage, ...] = ()
    after: tuple[Passage, ...] = ()
