"""Every error that Stackroom raises on purpose.

    StackroomError
    ├── UsageError (also ValueError)         the call is wrong                        exit 2
    │   ├── InvalidFilterError               a filter that means nothing
    │   └── DimensionMismatchError           a vector of another length
    ├── NotFoundError (also LookupError)     no such library, source or chunk         exit 3
    │   ├── NotALibraryError                 the folder holds something else
    │   └── UnknownStoreError                nothing that can be migrated
    ├── BusyError                            somebody else is writing                 exit 4
    ├── DamagedError                         stored bytes are not what was written    exit 5
    │   └── FormatVersionError               written by a newer Stackroom
    ├── EmbedderMismatchError                another model than the library's         exit 6
    ├── MigrationNeeded                      an old index was opened                  exit 1
    ├── MigrationError                       what arrived is not what was there       exit 5
    ├── UnavailableError                     something outside is missing             exit 7
    │   ├── MissingExtraError                an optional dependency is not installed
    │   └── EngineAwayError                  an engine can't be reached, or answers nobody now
    ├── StorageError                         the disk or its file system said no      exit 1
    │   ├── DiskFullError
    │   └── ReadOnlyError
    ├── ClosedError                          the Index was closed                     exit 1
    └── ReadError                            one source can't be read                 exit 1
        ├── EncryptedError                   it needs a password
        ├── NoTextError                      it holds no text
        │   └── ScannedError                 its pages are pictures
        ├── UnsupportedFormatError           no reader knows it
        └── ReaderCrashedError               its parser died, hung or ran out of memory

OldFilesChangedWarning is a warning: another program wrote to an index that was migrated. EngineAwayWarning is one: a local copy answers.
NoCopyWarning is one: the engine answers, and what was named as its copy could not. UnfinishedTransferWarning is one: the library holds a part.

An error says what happened, to which file, and what to do next: `message`, `path`, `hint`;
where something was compared, `expected` and `actual` say with what.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackroom.reports import Inventory


_LONGEST_MESSAGE = 2_000


class StackroomError(Exception):
    """Base of all errors; catching it catches everything that Stackroom raises on purpose."""

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: str | os.PathLike[str] | None = None,
        expected: object = None,
        actual: object = None,
    ) -> None:
        if len(message) > _LONGEST_MESSAGE:
            # It names what it was given, which may be anything.
            message = f"{message[: _LONGEST_MESSAGE // 2]} [...] {message[-_LONGEST_MESSAGE // 2 :]}"
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = None if path is None else os.fspath(path)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(kind: type[StackroomError], state: dict[str, object]) -> StackroomError:
    """Unpickle an error: it crosses from a parser process to the one that reports it."""
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class UsageError(StackroomError, ValueError):
    """The call is wrong: an argument that can't be meant."""

    exit_code = 2


class InvalidFilterError(UsageError):
    """A filter with an unknown operator, a value of the wrong type or a broken expression."""


class DimensionMismatchError(UsageError):
    """A vector whose length is not the embedding space's."""


class NotFoundError(StackroomError, LookupError):
    """No library, source, document or chunk of that name."""

    exit_code = 3


class NotALibraryError(NotFoundError):
    """The folder exists and holds something else than a Stackroom library."""


class UnknownStoreError(NotFoundError):
    """The file or folder is no index that Stackroom can migrate."""


class MigrationNeeded(StackroomError):
    """The folder holds an old index. `inventory` says what is in it, for the application to show before it migrates."""

    inventory: Inventory | None = None


class MigrationError(StackroomError):
    """A migration could not be proven; the old files are untouched, and nothing was activated."""

    exit_code = 5


class BusyError(StackroomError):
    """Another process or thread holds the lock; `actual` says who, where that is known."""

    exit_code = 4


class DamagedError(StackroomError):
    """Stored bytes are not those that were written."""

    exit_code = 5


class FormatVersionError(DamagedError):
    """The library was written by a newer Stackroom than this one."""


class EmbedderMismatchError(StackroomError):
    """The embedder at hand is not the one that made the library's vectors."""

    exit_code = 6


class UnavailableError(StackroomError):
    """Something outside the library is missing: a package, a model file, a service."""

    exit_code = 7


class MissingExtraError(UnavailableError):
    """An optional dependency is not installed; the hint names the extra."""


class EngineAwayError(UnavailableError):
    """An engine can't be reached, or answers nobody now: later it may. One that refuses a login, or has no such database, is not away."""


class StorageError(StackroomError):
    """The operating system refused to read or write a file of the library."""


class DiskFullError(StorageError):
    """No space is left; the library is as it was before the commit."""


class ReadOnlyError(StorageError):
    """The library, or the medium it lies on, can't be written."""


class ClosedError(StackroomError):
    """The Index was closed."""


class ReadError(StackroomError):
    """One source can't be read; the others go on."""


class EncryptedError(ReadError):
    """The file needs a password."""


class NoTextError(ReadError):
    """The file was read, and holds no text (a scan without recognised text, for example)."""


class ScannedError(NoTextError):
    """The file's `pages` are pictures; what is written in them was not recognised."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: str | os.PathLike[str] | None = None,
        expected: object = None,
        actual: object = None,
        pages: int = 0,
    ) -> None:
        super().__init__(message, hint=hint, path=path, expected=expected, actual=actual)
        self.pages = pages


class UnsupportedFormatError(ReadError):
    """No reader knows this content."""


class ReaderCrashedError(ReadError):
    """The parser of this file died, failed, hung, or went over its limits of memory or time."""


class NotRerankedWarning(UserWarning):
    """A reranker failed or took too long: the hits are in the order that they had before it."""


class NoVectorsWarning(UserWarning):
    """An old index was migrated on the way, and none of its passages had a vector: only words find them."""


class EngineAwayWarning(UserWarning):
    """The engine was away when its library was opened: a local copy answers, which may be older."""


class NoCopyWarning(UserWarning):
    """The engine answers, and the folder that is to stand in for it when it is away is no copy of its library."""


class UnfinishedTransferWarning(UserWarning):
    """A transfer to the library that was opened, or to what it is a copy of, began and did not come to its end: it may hold a part of what it is to hold."""


class OldFilesChangedWarning(UserWarning):
    """The old index that was opened was written after it was migrated: what changed is not in the library."""
