"""The client: where a library is, calls of the server, and its errors in Stackroom's words."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from pymilvus import MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

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
)

T = TypeVar("T")

# pymilvus writes every refusal to stderr, with a traceback; here each is raised, or was expected.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)

_SECONDS = 10.0
"""A server that does not answer a new connection for so long is away."""

_AGAIN, _LOOKS = 20, 0.01
"""Times that names are listed where that fails, and seconds between looks."""

_LOADING = 600.0
"""Seconds for which a collection's loading is waited for."""

_ABSENT, _NOT_LOADED = 100, 101
"""Milvus's numbers for a collection that is not there, and for one that is not in memory."""
_BUSY, _FULL = (8, 9), (30, 31)
_LOST = (103, 106, 202, 401, 501, 503, 601, 602, 901, 902, 903, 905)
"""For a collection, replica, channel, segment or node that a cluster has lost and brings back (Milvus, pkg/util/merr/errors.go)."""


OPTIONS = {"tls": ("true", "false"), "index": ("FLAT", "IVF_FLAT"), "shards": tuple(map(str, range(1, 17)))}
"""What may stand behind the `?` of a URL besides `library`."""


def place_of(url: str) -> Place:
    """`milvus://[user@]host[:port][/database]?library=NAME[&tls=true][&index=IVF_FLAT][&shards=4]`. Raises UsageError."""
    return Place.of(url, engine="Milvus", port=PORTS["milvus"], options=OPTIONS)


class Server:
    """One connection, that several threads share. Every call raises UnavailableError, AbsentError, or what else is in `errors`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        try:
            self._client = MilvusClient(
                uri=f"{'https' if place.options.get('tls') == 'true' else 'http'}://{place.host or 'localhost'}:{place.port}",
                user=place.user or os.environ.get("MILVUS_USER", ""),
                password=os.environ.get("MILVUS_PASSWORD", ""),
                token=os.environ.get("MILVUS_TOKEN", ""),
                db_name=place.path.strip("/") or "default",
                timeout=_SECONDS,
                dedicated=True,
                # A connection of its own: others to the same server, which wait after a failure, don't make it wait.
                grpc_options={"grpc.use_local_subchannel_pool": 1},
            )
        except (MilvusException, grpc.RpcError) as error:
            raise _translation(error, place) from error

    def call(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """A method of the client. A collection that was released, as by a restart, is loaded first."""
        try:
            try:
                return getattr(self._client, verb)(*arguments, retry_times=2, **options)
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            self._load(arguments[0])
            return getattr(self._client, verb)(*arguments, retry_times=2, **options)
        except (MilvusException, grpc.RpcError) as error:
            raise _translation(error, self.place) from error

    def load(self, name: str) -> None:
        """A collection into memory. Raises what a call does."""
        try:
            self._load(name)
        except (MilvusException, grpc.RpcError) as error:
            raise _translation(error, self.place) from error

    def _load(self, name: str) -> None:
        """The client's own waiting would have no end where milvus-lite loses a load beside a rename: it is asked for again."""
        end, pause = time.monotonic() + _LOADING, _LOOKS
        while (state := self._client.get_load_state(name, retry_times=2)["state"]) != LoadState.Loaded:
            if time.monotonic() > end:
                raise EngineAwayError(
                    f"The server of {self.place.url} has not loaded the library in {_LOADING / 60:.0f} minutes.",
                    hint="Try again, or ask who runs it. What was committed stays.",
                    path=self.place.url,
                )
            if state != LoadState.Loading:
                self._client.load_collection(name, retry_times=2, _async=True)
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def names(self) -> list[str]:
        """Of all collections of the database."""
        for _ in range(_AGAIN):
            with contextlib.suppress(StorageError):
                return list(self.call("list_collections"))
            # milvus-lite can't list names while one of them changes.
            time.sleep(_LOOKS)
        return list(self.call("list_collections"))

    def guarded(self, step: Callable[[], T]) -> T:
        """A step of an iterator of the client's."""
        try:
            return step()
        except (MilvusException, grpc.RpcError) as error:
            raise _translation(error, self.place) from error

    def close(self) -> None:
        self._client.close()


def _translation(error: Exception, place: Place) -> StackroomError:
    if isinstance(error.__cause__, grpc.RpcError):
        # Of a connection that failed the client says no more than that; what the server said is below.
        error = error.__cause__
    code = error.code() if isinstance(error, grpc.RpcError) else getattr(error, "code", None)
    said = _first_line(error)
    if is_strange(said):
        return something_else(place.url, "Milvus", said)
    if code == _ABSENT:
        return AbsentError(f"The server of {place.url} has not what was asked for: {said}", path=place.url)
    if code in _FULL:
        return DiskFullError(
            f"The server of {place.url} has no space left.",
            hint="Make space there; the library is as it was before the commit.",
            path=place.url,
        )
    if code == grpc.StatusCode.PERMISSION_DENIED:
        return ReadOnlyError(f"The server of {place.url} refuses: {said}", hint="Ask who runs it.", path=place.url)
    if code in _BUSY or code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return BusyError(f"The server of {place.url} has too much to do: {said}", hint="Try again.", path=place.url)
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return UnavailableError(
            f"The server of {place.url} refuses the login: {said}",
            hint="Credentials come from MILVUS_TOKEN, or MILVUS_USER and MILVUS_PASSWORD.",
            path=place.url,
        )
    if code in (2, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        return EngineAwayError(
            f"The server of {place.url} is not there: {said}",
            hint="Start it, or correct the URL. What was committed stays.",
            path=place.url,
        )
    if code in _LOST:
        return EngineAwayError(
            f"The cluster of {place.url} has lost a part, and does not answer until it is loaded again ({code}): {said}",
            hint="Try again; in-memory replicas answer meanwhile. What was committed stays.",
            path=place.url,
        )
    # Asked last: a host's name may have the word in it.
    if "database" in said and "not" in said:
        return UnavailableError(
            f"The server of {place.url} has no such database: {said}", hint="Correct the URL.", path=place.url
        )
    return StorageError(f"The server of {place.url} failed ({code}): {said}", path=place.url)


def _first_line(error: Exception) -> str:
    text = error.details() if isinstance(error, grpc.RpcError) else getattr(error, "message", str(error))
    return str(text).strip().partition("\n")[0] or type(error).__name__
