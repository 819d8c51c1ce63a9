"""The client: where a library is, calls of the server, and its errors in Stackroom's words."""

from __future__ import annotations

import json
import os
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from stackroom.engines import PORTS, something_else
from stackroom.engines.versioned.database import AbsentError
from stackroom.engines.versioned.place import Place, is_strange
from stackroom.errors import (
    BusyError,
    DiskFullError,
    EngineAwayError,
    ReadOnlyError,
    StackroomError,
    StorageError,
    UnavailableError,
    UsageError,
)

OPTIONS = {
    "tls": ("true", "false"),
    "shards": tuple(map(str, range(1, 33))),
    "replicas": tuple(map(str, range(1, 9))),
}
"""What may stand behind the `?` of a URL besides `library`."""

_SECONDS = 60
"""A server that does not answer for so long is away."""


class ThereError(StorageError):
    """What was to be made is there."""


def place_of(url: str) -> Place:
    """`qdrant://host[:port][/prefix]?library=NAME[&tls=true][&shards=4][&replicas=2]`. Raises UsageError."""
    place = Place.of(url, engine="Qdrant", port=PORTS["qdrant"], options=OPTIONS)
    if place.path and not place.host:
        raise UsageError(
            f"{url} names no server: a folder of the client's local mode is no place for a library.",
            hint="Give its host, or open a folder as a local library.",
        )
    return place


class Server:
    """One connection, that several threads share. Every call raises UnavailableError, AbsentError, ThereError, or what else is in `errors`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client = QdrantClient(
            host=place.host or "localhost",
            port=place.port,
            https=place.options.get("tls") == "true",
            prefix=place.path.strip("/") or None,
            api_key=os.environ.get("QDRANT_API_KEY"),
            timeout=_SECONDS,
            check_compatibility=False,
        )

    def call(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """A method of the client."""
        try:
            return getattr(self._client, verb)(*arguments, **options)
        except (ApiException, QdrantException) as error:
            raise _translation(error, self._place.url) from error
        except (AssertionError, ValueError) as error:
            # What the client makes of an answer that is not Qdrant's.
            said = str(error).partition("\n")[0] or f"it answers, and not to {verb}"
            raise something_else(self._place.url, "Qdrant", said) from error

    def close(self) -> None:
        self._client.close()


def _translation(error: Exception, url: str) -> StackroomError:
    code = error.status_code if isinstance(error, UnexpectedResponse) else None
    said = _said(error)
    if is_strange(said) or (code in (404, 405, 501) and not _is_its_own(error)):
        return something_else(url, "Qdrant", said)
    if code == 404:
        return AbsentError(f"The server of {url} has not what was asked for: {said}", path=url)
    if code == 409:
        return ThereError(f"The server of {url} has it already: {said}", path=url)
    if code == 403:
        return ReadOnlyError(f"The server of {url} refuses: {said}", hint="Ask who runs it.", path=url)
    if code == 429 or isinstance(error, ResourceExhaustedResponse):
        return BusyError(f"The server of {url} has too much to do: {said}", hint="Try again.", path=url)
    if code == 507 or "No space left" in said:
        return DiskFullError(
            f"The server of {url} has no space left.",
            hint="Make space there; the library is as it was before the commit.",
            path=url,
        )
    if code == 401:
        return UnavailableError(
            f"The server of {url} lets nobody in without its key: {said}",
            hint="Put it into the environment: QDRANT_API_KEY.",
            path=url,
        )
    if code in (None, 502, 503, 504):
        return EngineAwayError(
            f"The server of {url} is not there: {said}",
            hint="Start it, or correct the URL. What was committed stays.",
            path=url,
        )
    return StorageError(f"The server of {url} failed ({code}): {said}", path=url)


def _is_its_own(error: Exception) -> bool:
    return isinstance(error, UnexpectedResponse) and _status(error) is not None


def _status(error: UnexpectedResponse) -> str | None:
    """What Qdrant says went wrong; None where it is not Qdrant that says so."""
    try:
        return str(json.loads(error.content)["status"]["error"])
    except (ValueError, LookupError, TypeError):
        return None


def _said(error: Exception) -> str:
    text = str(error)
    if isinstance(error, UnexpectedResponse):
        text = _status(error) or error.content.decode(errors="replace") or error.reason_phrase
    return text.strip().partition("\n")[0] or type(error).__name__
