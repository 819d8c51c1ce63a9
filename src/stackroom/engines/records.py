"""What engines have in common about records: an embedder's identity as text, what was found for each key, and rows that are not what was written."""

from __future__ import annotations

import contextlib
import functools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, ParamSpec, TypeVar

from stackroom.errors import DamagedError
from stackroom.storage.catalogue import codec
from stackroom.types import EmbedderIdentity, Place

T = TypeVar("T")
P = ParamSpec("P")

AGAIN = "Push the library that it came from again, to the same URL: this is sent anew then."
ELSEWHERE = "Push the library that it came from under another name (?library=NAME), or restore this one from the server's backup."

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, zlib.error)
"""What reading a row raises that somebody else wrote to."""


class UnreadableError(DamagedError):
    """Something of a library on an engine is not what was written there; `unreadable_of` says of which library."""


def readable(what: Callable[..., str], hint: str = ELSEWHERE) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Of a function that reads a row: raises UnreadableError where it can't. `what` is given the same arguments without those that are named, and says of what it is."""

    def decorated(read: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(read)
        def reading(*given: P.args, **options: P.kwargs) -> T:
            try:
                return read(*given, **options)
            except _UNREADABLE as error:
                raise UnreadableError(
                    f"{what(*given)} can't be read ({type(error).__name__}: {error})", hint=hint
                ) from error

        return reading

    return decorated


@contextlib.contextmanager
def unreadable_of(url: str) -> Iterator[None]:
    """What can't be read is of the library at `url`. Raises DamagedError."""
    try:
        yield
    except UnreadableError as error:
        raise DamagedError(
            f"{url} is damaged: {error.message}.", hint=error.hint, path=url, actual=error.actual
        ) from error


def lost_source(document_id: str) -> UnreadableError:
    return UnreadableError(f"the source of the document {document_id} is not there", hint=AGAIN, actual=document_id)


def dump_identity(identity: EmbedderIdentity) -> str:
    return json.dumps(asdict(identity), sort_keys=True)


@readable(lambda _: "what it says of the model of its vectors")
def load_identity(text: str) -> EmbedderIdentity:
    known = {field.name for field in fields(EmbedderIdentity)}
    return EmbedderIdentity(**{name: value for name, value in json.loads(text).items() if name in known})


def each(found: Mapping[int, T], keys: Sequence[int]) -> list[T]:
    """What was found for each key. Raises DamagedError."""
    try:
        return [found[key] for key in keys]
    except KeyError as error:
        raise UnreadableError(
            f"the index names the passage {error}, which the library does not hold",
            hint=AGAIN,
            actual=error.args[0],
        ) from None


def load_details(text: str | None) -> tuple[Place, dict[str, Any]]:
    """Place and metadata of a chunk, of the JSON that `dump_details` made. Raises ValueError, TypeError."""
    place, metadata = codec.load_details(None if text is None else text.encode())
    return place, an_object(metadata)


def an_object(value: Any) -> dict[str, Any]:
    """Metadata as they were read. Raises TypeError where they are something else."""
    if not isinstance(value, dict):
        raise TypeError(f"metadata are no {type(value).__name__}")
    return value
