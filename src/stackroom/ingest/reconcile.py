"""What to do with each file that was found, decided as cheaply as it can be: by its stat, else by its content."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from stackroom.backend import Backend, SourceRecord
from stackroom.ingest import recognition, scans
from stackroom.ingest.discovery import Found
from stackroom.ingest.file_facts import IMPORTED, hash_file
from stackroom.ingest.splitter import TokenSplitter
from stackroom.progress import CancelToken

Action = Literal["unchanged", "touched", "moved", "duplicate", "failed", "parse", "vanished"]

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a file. `record` is its own record, if it has one; `other` the source it equals."""

    action: Action
    found: Found
    content_hash: bytes | None = None
    record: SourceRecord | None = None
    other: SourceRecord | None = None
    reason: str = ""


@dataclass(slots=True)
class Reconciler:
    """Decides for a stream of files. `current_readers` is what a recipe says of the readers now, `splitter` would cut what they read.

    With `recognise` files with pages without text are read again, unless those were looked at.
    """

    backend: Backend
    current_readers: str
    splitter: TokenSplitter
    readers: frozenset[str]
    retry: bool
    force: bool
    cancel: CancelToken
    recognise: bool = False

    def decide(self, found: Iterable[Found]) -> Iterator[Decision]:
        stream = iter(found)
        while batch := list(islice(stream, _BATCH)):
            with self.backend.view() as view:
                records = [view.source(str(item.path)) for item in batch]
            for item, record in zip(batch, records, strict=True):
                if self.cancel.cancelled:
                    return
                yield self._decide(item, record)

    def _decide(self, found: Found, record: SourceRecord | None) -> Decision:
        same_stat = record is not None and (record.size, record.mtime_ns) == (found.size, found.mtime_ns)
        if record is not None and same_stat and not self.force and self._settled(record):
            if record.error is None:
                return Decision("unchanged", found, record.content_hash, record)
            if not self.retry:
                return Decision("failed", found, record.content_hash, record, reason=record.error)
        try:
            content = hash_file(str(found.path))
        except OSError as error:
            return Decision("vanished", found, None, record, reason=f"It can't be read: {error.strerror}.")
        if self.force:
            return Decision("parse", found, content, record)
        if record is not None and record.content_hash == content and self._settled(record):
            if record.error is None:
                return Decision("touched", found, content, record)
            if not self.retry:
                return Decision("failed", found, content, record, reason=record.error)
        return self._by_content(found, content, record)

    def _by_content(self, found: Found, content: bytes, record: SourceRecord | None) -> Decision:
        with self.backend.view() as view:
            others = [other for other in view.sources_with_content(content) if other.name != str(found.path)]
        settled = [other for other in others if self._settled(other)]
        read = [other for other in settled if other.error is None]
        for other in read:
            if record is None and other.is_file and not os.path.lexists(other.name):
                return Decision("moved", found, content, None, other)
        for other in read:
            if other.state == "indexed":
                return Decision("duplicate", found, content, record, other)
        for other in settled:
            if other.error is not None and other.state == "failed" and not self.retry:
                reason = other.error.replace(other.name, str(found.path))
                return Decision("failed", found, content, record, other, reason)
        return Decision("parse", found, content, record)

    def _settled(self, record: SourceRecord) -> bool:
        """Whether reading it again would come to the same: same readers, same splitter, and it was finished."""
        if record.recipe.startswith(IMPORTED):
            # Another program read it: as long as the file is the same, its passages and vectors serve.
            return True
        if record.error is not None and record.content_hash is None:
            # The system would not let it be read: what is in it had no part in that.
            return False
        reader, _, splitter = record.recipe.rpartition(" ")
        # Its parameters follow the model: a change of model is no change of a file, and `rebuild` is there to split all anew.
        if not self.splitter.made(splitter) or record.state == "partial":
            return False
        if self.recognise and scans.waits(record):
            return False
        reader = recognition.without_mark(reader)
        return reader in self.readers or reader == self.current_readers
