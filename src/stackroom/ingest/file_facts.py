"""The files behind an old store, as they are now: so that the first `add` embeds nothing that has not changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackroom.backend import SourceRecord
from stackroom.progress import CancelToken, Stopped
from stackroom.storage.disk import fsio

IMPORTED = "imported:"
"""How the recipe of a source begins that was migrated from another program's index."""

_DAY = 86_400
_BLOCK = 1024 * 1024


class FileFacts:
    """Describes sources. `written_at` is when the old store was last written, in seconds since 1970."""

    def __init__(self, written_at: float, cancel: CancelToken | None = None) -> None:
        self._written_at = written_at
        self._cancel = cancel or CancelToken()
        self.now = datetime.now(UTC).isoformat(timespec="seconds")

    def describe(self, record: SourceRecord, path: str | None, metadata: Mapping[str, Any]) -> SourceRecord:
        """The record with the file's size, time and content, where it is known to be as it was when it was read.

        A file that has changed since, or might have, is recorded without them: the next `add` reads it. Raises Stopped.
        """
        if path is None or not os.path.isabs(path):
            return record
        record = replace(record, is_file=True)
        try:
            status = os.stat(path)
            if not os.path.isfile(path) or self._changed(status, metadata):
                return record
            if self._cancel.cancelled:
                raise Stopped
            content = hash_file(path)
        except OSError:
            return record
        return replace(record, size=status.st_size, mtime_ns=status.st_mtime_ns, content_hash=content)

    def _changed(self, status: os.stat_result, metadata: Mapping[str, Any]) -> bool:
        size = metadata.get("file_size")
        if isinstance(size, int) and size != status.st_size:
            return True
        day = metadata.get("last_modified_date")
        if isinstance(day, str) and day[:10] not in _days_of(status.st_mtime):
            return True
        return status.st_mtime > self._written_at

    @staticmethod
    def type_of(path: str) -> str:
        """The type that a reader would give this file, by its suffix; "record" where none knows it."""
        from stackroom.ingest.readers import READERS

        suffix = Path(path).suffix.lower()
        return next((reader.name for reader in READERS if suffix in reader.suffixes), "record")


def _days_of(seconds: float) -> set[str]:
    """The dates that loaders may have written: LlamaIndex wrote local ones once, and writes UTC now."""
    return {datetime.fromtimestamp(seconds + shift, UTC).strftime("%Y-%m-%d") for shift in (-_DAY / 2, 0, _DAY / 2)}


def hash_file(path: str) -> bytes:
    """BLAKE2b of a file's content, 16 bytes, read as a stream. Raises OSError, also for what is no file any more."""
    with fsio.open_regular(Path(path), follow=True) as file:
        left = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(digest_size=16)
        # Of a file that grows as it is read, what it held when it was opened: the end may never come.
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
        return digest.digest()
