"""Files with pages that wait to be recognised (OCR): which they are, and how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from stackroom.backend import Backend, SourceRecord
from stackroom.errors import MissingExtraError, ReadError, ScannedError, StackroomError, UnavailableError
from stackroom.ingest import recognition
from stackroom.ingest.discovery import Found
from stackroom.ingest.workers import PACE, Job, ParserPool
from stackroom.progress import CancelToken
from stackroom.reports import ScanEstimate

Agree = Callable[[ScanEstimate], bool]
"""Whether so much is to be recognised."""

_BATCH = 256
_LACKING: dict[str, type[StackroomError]] = {kind.__name__: kind for kind in (MissingExtraError, UnavailableError)}


def waits(record: SourceRecord) -> bool:
    """Whether pages of it hold no text as far as is known, and were not looked at by this version of the recogniser."""
    reader = record.recipe.rpartition(" ")[0]
    if reader.endswith(recognition.with_mark("")):
        return False
    if record.error_kind == ScannedError.__name__:
        return True
    # One whose text was recognised by an older version counts the pages on which that found none.
    return record.type in recognition.KINDS and (bool(record.pages_without_text) or recognition.is_marked(reader))


def waiting(backend: Backend, found: Iterable[Found]) -> Iterator[tuple[Found, int]]:
    """Files that wait, with the number of their pages without text."""
    stream = iter(found)
    while batch := list(islice(stream, _BATCH)):
        with backend.view() as view:
            records = [view.source(str(item.path)) for item in batch]
        for item, record in zip(batch, records, strict=True):
            if record is not None and waits(record):
                yield item, record.pages_without_text or record.pages or 1


def estimate(files: list[tuple[Found, int]], pool: ParserPool, cancel: CancelToken) -> ScanEstimate:
    """How long these files will take: a page of the first that has one to try is recognised, and its time taken.

    Raises MissingExtraError and UnavailableError, where there is nothing to recognise with; RunCancelled.
    """
    pages = sum(count for _, count in files)
    for item, _ in files:
        for document in pool.stream([Job(item.path, ocr=PACE)], cancel):
            try:
                document.open()
                seconds = float(document.metadata["seconds"])
            except ReadError as error:
                if error.actual in _LACKING:
                    # The parser's message of these has the hint in it.
                    message = error.message.removesuffix(f" {error.hint}")
                    raise _LACKING[str(error.actual)](message, hint=error.hint) from error
                continue
            document.drain()
            if seconds:
                return ScanEstimate(len(files), pages, seconds)
    return ScanEstimate(len(files), pages, 0.0)
