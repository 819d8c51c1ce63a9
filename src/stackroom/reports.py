"""What a run or a look at a library says: reports of adding, migrating, verifying and compacting, and the library in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stackroom.types import EmbedderIdentity


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be read, and why. `before`: an earlier run found that; the file has not changed, and was not read again."""

    path: str
    reason: str
    kind: str = "ReadError"
    before: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A source that was read, but not all of it. `kind` is "pages_without_text", or "incomplete" for a file that is broken in part."""

    path: str
    reason: str
    kind: str


@dataclass(frozen=True, slots=True)
class ScanEstimate:
    """What recognising pages without text will take. `seconds_a_page` was measured on one of them (0: none could be tried).

    Blank pages are counted, and take no time.
    """

    files: int
    pages: int
    seconds_a_page: float

    @property
    def seconds(self) -> float:
        return self.pages * self.seconds_a_page


@dataclass(frozen=True, slots=True)
class LengthEstimate:
    """Of `chunks` passages, how many are longer than the `max_tokens` that a model reads; it sees only their beginning.

    `looked_at` of them were counted: where these are fewer than all, `longer` is an estimate.
    """

    model: str
    max_tokens: int
    chunks: int
    longer: int
    looked_at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on questions taken from a library's own passages: the one that serves (`before`), and the one that is to (`after`).

    `overlap` is the share of the ten best that both find, and `found` how often the passage that a question is from is among them. What needs the
    model before is None where that is not at hand.
    """

    before: str
    after: str
    questions: int
    overlap: float | None
    found_before: float | None
    found_after: float

    @property
    def is_worse(self) -> bool:
        """Whether it finds clearly fewer of the passages."""
        return self.found_before is not None and self.found_after < self.found_before - _CLEARLY


_CLEARLY = 0.1


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. Counts of sources, but for `chunks`, `embedded` and `reused`, which count chunks.

    `cancelled` means that the run was stopped: everything counted here is committed.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    removed: int = 0
    failed: int = 0
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    seconds: float = 0.0
    cancelled: bool = False
    failures: tuple[Failure, ...] = ()
    pages_without_text: int = 0
    notes: tuple[Note, ...] = ()
    """what was read, but not wholly"""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """files that no reader knows, by suffix"""
    outside: int = 0
    """links that lead out of the given folders, and were left alone"""
    comparison: Comparison | None = None
    """of a change of model: how the two answer"""
    too_long: LengthEstimate | None = None
    """of a change of model: passages that are longer than it reads"""
    switched: bool = False
    """whether another model serves now"""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What is not as it should be in an old store: what it is, how often, what is done about it, and the first cases."""

    kind: str
    count: int
    rule: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelGuess:
    """A model, tried on sampled passages against their stored vectors.

    `cosine` is the median of the likeness; `agrees` when it leaves no doubt. `text` says what was embedded: "text", or "text with
    metadata" as LlamaIndex does it.
    """

    name: str
    cosine: float
    agrees: bool
    text: str
    query_prefix: str = ""
    passage_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an old store holds, and what migrating it takes; nothing was written.

    `dimensions` counts vectors by "namespace:dimension"; `bytes` is the size of its files; `seconds` and `disk` (bytes) are estimates.
    `already`: it was migrated before, and the counts are those of then. `cancelled`: this is what was counted so far.
    """

    path: str
    format: str
    made_by: str
    files: tuple[tuple[str, int], ...]
    bytes: int
    sources: int
    documents: int
    chunks: int
    vectors: int
    dimensions: Mapping[str, int]
    anomalies: tuple[Anomaly, ...]
    models: tuple[ModelGuess, ...]
    indexes: tuple[str, ...]
    seconds: float
    disk: int
    disk_free: int
    target: str
    target_writable: bool = True
    already: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """What was compared after the migration; counts of what was found equal.

    `vectors`: every stored vector, read back, against what was parsed; `collections`: those in collections, likewise; `parsed_again`: samples against another parser, bit for bit;
    `queries`: stored vectors used as queries, whose top ten are those of a float64 search over the old file; `source_unchanged`: the old
    files' hashes before and after.
    """

    chunks: int
    texts: int
    vectors: int
    parsed_again: int
    queries: int
    queries_skipped: str | None
    source_unchanged: bool
    differences: tuple[str, ...] = ()
    collections: int = 0

    @property
    def ok(self) -> bool:
        return not self.differences and self.source_unchanged


@dataclass(frozen=True, slots=True)
class MigrationReport(Report):
    """A Report of a migration, with what was there and the proof that it arrived.

    `already` means that this store had been migrated before and nothing was done; `left_out` says what did not come along. `seconds` and
    `bytes_after` are of the library as it was put in its place, before sketches and postings files were made.
    """

    old: str = ""
    library: str = ""
    format: str = ""
    made_by: str = ""
    documents: int = 0
    vectors: int = 0
    model: str | None = None
    models: tuple[ModelGuess, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    proof: Proof | None = None
    bytes_before: int = 0
    bytes_after: int = 0
    left_out: tuple[str, ...] = ()
    already: bool = False


@dataclass(frozen=True, slots=True)
class TransferProof:
    """What was compared between two libraries after a transfer: numbers of what was found equal.

    `passages`: texts with their metadata and places; `vectors`: bit for bit; `queries`: stored vectors and words of passages used as
    queries, whose ten best are the same on both sides; `filters`: values of metadata, which find the same of sampled passages. `recall` is
    the share of the exact ten best that an ordinary search of the target finds, None where there is no vector. `whole`: everything was read
    back, not only what was sent now.
    `differences` say what is not the same, the counts first, and then by name.
    """

    passages: int
    vectors: int
    queries: int
    filters: int
    recall: float | None
    whole: bool
    differences: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True)
class TransferReport(Report):
    """A Report of `push` or `pull`. `added`, `updated`, `unchanged` and `removed` count documents, `chunks` and `vectors` what was sent.

    `repeated` says how often the engine was away and the run went on; `proof` is None where the run was cancelled.
    `origin_unfinished`: the origin holds a part of what it is to hold, as a transfer to it has not come to its end.
    """

    origin: str = ""
    target: str = ""
    vectors: int = 0
    repeated: int = 0
    proof: TransferProof | None = None
    origin_unfinished: bool = False

    @property
    def said_of_origin(self) -> str:
        """For a person: what the target does not have, although it is what the origin is; "" where it is whole."""
        if not self.origin_unfinished:
            return ""
        verb = "push" if "://" in self.origin else "transfer"
        return (
            f"{self.origin} may itself hold a part of what it is to hold: a {verb} to it did not finish (or goes on)."
        )


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of passages. `dim` is that of its vectors, None while it has none.

    `own_vectors`: they are its own, of a model that may be another one than the library's.
    """

    name: str
    chunks: int
    dim: int | None = None
    own_vectors: bool = False


@dataclass(frozen=True, slots=True)
class Copied:
    """What a library says of the transfer that made it a copy.

    `url` is what a pull made it of, "" where a push brought it. `version` is the origin's commit that it is a copy of, `taken_at` when that was
    read (ISO 8601, UTC); 0 and "" as long as none came to its end. `begun_at`: a transfer began then, and has not come to its end; "" otherwise.
    `changed`: it was written to, repaired or compacted here since it was pulled. `origin_unfinished`: what it is a copy of was a part itself, as a
    transfer to that had not come to its end.
    """

    url: str
    version: int
    taken_at: str
    begun_at: str = ""
    changed: bool = False
    origin_unfinished: bool = False

    @property
    def is_proven(self) -> bool:
        """Whether it is as the last transfer proved it to be."""
        return not self.begun_at and not self.changed

    @property
    def said(self) -> str:
        """For a person, of the library that it is said by."""
        of = f"of {self.url}" if self.url else "by a push"
        parts = [f"{of}, of {minute(self.taken_at)}"] if self.taken_at else []
        if self.changed:
            parts.append("changed here since")
        if self.origin_unfinished and self.taken_at:
            again = "pull it" if self.url else "push"
            parts.append(f"of a library {_HALF_PUSHED}: {again} again once that has")
        if self.begun_at:
            verb = f"pull of {self.url}" if self.url else "push to this"
            parts.append(
                f"a {verb} that began at {minute(self.begun_at)} did not finish (or goes on; sources come before their documents): run it again"
            )
        return "; ".join(parts)


_HALF_PUSHED = "whose push had not finished"


def minute(moment: str) -> str:
    """A moment (ISO 8601, UTC) as a person reads it."""
    return f"{moment[:16].replace('T', ' ')} UTC"


@dataclass(frozen=True, slots=True)
class Fallback:
    """The local copy that answers, for reading, since the engine was away when its library was opened.

    `version` is the engine's commit that it is a copy of, `taken_at` when that was read (ISO 8601, UTC). `unfinished`: a later pull into it
    did not come to its end, so that it is partly newer. `changed`: it was written to, repaired or compacted since. `origin_unfinished`: a push to
    the engine had not come to its end when it was read.
    """

    url: str
    folder: str
    version: int
    taken_at: str
    unfinished: bool = False
    changed: bool = False
    origin_unfinished: bool = False

    @property
    def said(self) -> str:
        """For a person: which copy, and how old it is."""
        newer = ", partly newer by a pull that did not end" if self.unfinished else ""
        changed = ", changed here since" if self.changed else ""
        part = f", of a library {_HALF_PUSHED}" if self.origin_unfinished else ""
        return f"the copy {self.folder} of {minute(self.taken_at)}{newer}{changed}{part}"


@dataclass(frozen=True, slots=True)
class Stats:
    """The library in numbers; `bytes` has `catalogue`, `vectors`, `sketches`, of a local library `set_aside`, and `total`."""

    library: str
    format_version: int
    sources: int
    documents: int
    chunks: int
    active_sources: int
    embedder: EmbedderIdentity | None
    bytes: Mapping[str, int]
    failed: tuple[Failure, ...]
    failed_count: int
    missing: int
    pages_without_text: int
    sqlite: str
    unfinished: int = 0
    """sources that were not read to their end: a run reads them now, or was interrupted, and the next one goes on"""
    needs_embedding: int = 0
    dead_rows: int = 0
    collections: tuple[Collection, ...] = ()
    former: EmbedderIdentity | None = None
    """the model before the last change, while its vectors are kept"""
    hiding: int = 0
    """documents whose files hide text; it was left out"""
    recognised: int = 0
    """documents with pages whose text was recognised (OCR)"""
    set_aside: tuple[str, ...] = ()
    """the folders in which repairs have put aside what they replaced, until somebody deletes them"""
    engine: str = ""
    """the engine that keeps it, with its version; "" for a local library"""
    fallback: Fallback | None = None
    """the local copy that these numbers are of, while the engine is away"""
    copied: Copied | None = None
    """of what it is a copy, where a transfer made it one"""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long something takes, in milliseconds: in the middle, and at the 99th percentile."""

    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What a search would be with so many candidates: rows that are scored exactly after the sketches were asked."""

    candidates: int
    recall: float
    vector: Timing


@dataclass(frozen=True, slots=True)
class Measurement:
    """How a library answers. `searches` has "vector", "exact", "text" and "hybrid"; `recall` is that of "vector": the share of the exact ten best.

    `candidates` is the library's setting, None: as many as it takes for what is promised. `promised` is the recall that a setting must have.
    """

    chunks: int
    questions: int
    asked: str
    candidates: int | None
    recall: float
    promised: float
    searches: Mapping[str, Timing]
    settings: tuple[Setting, ...]
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that `verify` found: which structure, and the document it belongs to if it is a chunk's.

    `file` is the one that is hit, below the library's folder ("catalogue.db", "vectors/1.0001"); None for what is no file's.
    """

    structure: str
    message: str
    document_id: str | None = None
    source: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` checked and found; `ok` when nothing is damaged.

    `incomplete` are sources that were not read to their end, or of which a repair could not bring back every passage: what is
    stored of them is what was written. Each says why.
    """

    chunks: int
    rows: int
    damage: tuple[Damage, ...]
    incomplete: tuple[Damage, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.damage


@dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` did. `damage` is what was found; `restored` says what was brought back.

    `lost` can't be brought back; `waiting` can, once something is there that was not: the model that made the vectors, a file as it was.
    `embedded` counts passages, `reread` sources. `aside` is the folder in which the damaged files are kept (None: nothing was replaced).
    With `dry_run` nothing was changed, and the rest says what would be done, as far as that can be known; `to_read` names the files then that would be read again.
    """

    damage: tuple[Damage, ...] = ()
    restored: tuple[str, ...] = ()
    lost: tuple[Damage, ...] = ()
    waiting: tuple[Damage, ...] = ()
    embedded: int = 0
    reread: int = 0
    aside: str | None = None
    to_read: tuple[str, ...] = ()
    dry_run: bool = False
    cancelled: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything is there again."""
        return not self.lost and not self.waiting


@dataclass(frozen=True, slots=True)
class Backup:
    """What `backup` did: whether it copied anything, which a folder that holds the newest commit already needs not; `cancelled` leaves it as it was."""

    copied: bool
    cancelled: bool = False
    compared: bool = False
    """whether every byte there was compared with what was written, as where a backup was refreshed"""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What `compact` did: bytes on disk before and after, and rows that were dropped."""

    bytes_before: int
    bytes_after: int
    rows_dropped: int
