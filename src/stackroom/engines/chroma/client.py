"""The client: where a library is, requests to the server, and its errors in Stackroom's words."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx

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

OPTIONS = {"tls": ("true", "false")}
"""What may stand behind the `?` of a URL besides `library`."""

_WAIT = httpx.Timeout(300.0, connect=10.0)
"""Seconds for an answer, and for a connection: Chroma answers a write when its indexes have it."""
_AT_FIRST = 15.0
"""Seconds for the first answer, which takes no work: a copy is to answer soon where the server is silent."""
_LISTED_AT_ONCE = 1_000
_SYNC = 5_000
"""Writes after which Chroma writes a collection's index anew. It writes it in place: a server that is killed meanwhile has lost it. So it is seldom;
until then the vectors stand in its log, from which it makes them again, and which it reads whole for every write."""


class TakenError(StorageError):
    """A collection of that name is there."""


class LostError(StorageError):
    """The record is there, and the index has lost its vector."""


def place_of(url: str) -> Place:
    """`chroma://host[:port][/database]?library=NAME[&tls=true]`. Raises UsageError."""
    place = Place.of(url, engine="Chroma", port=PORTS["chroma"], options=OPTIONS)
    if place.user:
        raise UsageError(f"Chroma knows no users, and {url} names one.", hint="Its key is CHROMA_API_KEY.")
    return place


class Server:
    """Requests to one database of a server, by several threads. Every one raises UnavailableError, AbsentError, or what else is in `errors`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        token = os.environ.get("CHROMA_API_KEY", "").strip()
        if not (token.isascii() and token.isprintable()):
            # Who sends it would repeat it in his error.
            raise UsageError(
                "CHROMA_API_KEY holds a line's end or a character outside ASCII, as no key does.",
                hint="Set it to the key alone.",
            )
        headers = {"x-chroma-token": token} if token else {}
        self._known: dict[str, dict[str, Any]] = {}
        self._client = httpx.Client(headers=headers, timeout=_WAIT, trust_env=False)
        scheme = "https" if place.options.get("tls") == "true" else "http"
        self._address = f"{scheme}://{place.host or 'localhost'}:{place.port}/api/v2"
        self._tenant = os.environ.get("CHROMA_TENANT") or "default_tenant"
        self._its_name = place.path.strip("/") or "default_database"
        self._database = f"/tenants/{quote(self._tenant, safe='')}/databases/{quote(self._its_name, safe='')}"
        try:
            self._require_server()
        except BaseException:
            self.close()
            raise

    def _require_server(self) -> None:
        """That it is one, new enough, and that it has the database."""
        try:
            found = self._request("GET", "/pre-flight-checks", timeout=_AT_FIRST)
        except AbsentError as error:
            raise something_else(self.place.url, "Chroma", f"it has no {self._address}") from error
        if not isinstance(found, dict) or "max_batch_size" not in found:
            raise something_else(self.place.url, "Chroma", f"it says {found!r:.100}")
        if not found.get("supports_base64_encoding"):
            raise UsageError(
                f"The Chroma server of {self.place.url} is too old.", hint="Upgrade it: 1.5.9 is new enough."
            )
        try:
            self._request("GET", self._database)
        except AbsentError:
            raise UnavailableError(
                f"The server of {self.place.url} has no database {self._its_name!r} of the tenant {self._tenant!r}.",
                hint="Create it with Chroma's client (AdminClient.create_database), or correct the URL or CHROMA_TENANT.",
                path=self.place.url,
            ) from None

    def version(self) -> str:
        """Of its API: it tells no other."""
        return str(self._request("GET", "/version"))

    def names(self) -> list[str]:
        """Of the library's collections, without what every one of them begins with."""
        found: list[str] = []
        while True:
            asked = {"limit": _LISTED_AT_ONCE, "offset": len(found)}
            part = self._request("GET", f"{self._database}/collections", params=asked)
            found += [one["name"] for one in part]
            if len(part) < _LISTED_AT_ONCE:
                prefix = self.place.named("")
                return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]

    def create(self, name: str, *, space: str, **metadata: Any) -> None:
        """A collection of the library; one alone creates a name. Raises TakenError."""
        body = {
            "name": self.place.named(name),
            "configuration": {"hnsw": {"space": space, "sync_threshold": _SYNC}},
            "metadata": metadata or None,
        }
        self._request("POST", f"{self._database}/collections", json=body)

    def drop(self, name: str) -> None:
        """Have no such collection."""
        self._known.pop(name, None)
        with suppress(AbsentError):
            self._request("DELETE", f"{self._database}/collections/{self.place.named(name)}")

    def about(self, name: str) -> dict[str, Any]:
        """What was said of a collection when it was created. It is not remembered: another may have come in its place."""
        self._known.pop(name, None)
        said: dict[str, Any] = self._collection(name)["metadata"]
        return said

    def _collection(self, name: str) -> dict[str, Any]:
        found = self._known.get(name)
        if found is None:
            found = self._request("GET", f"{self._database}/collections/{self.place.named(name)}")
            self._known[name] = found
        return found

    def ask(self, name: str, verb: str, **body: Any) -> Any:
        """`get`, `query`, `add`, `upsert`, `update` or `delete` of records of a collection."""
        return self._of(name, "POST", verb, json=body)

    def count(self, name: str) -> int:
        """Records of a collection."""
        return int(self._of(name, "GET", "count"))

    def _of(self, name: str, method: str, verb: str, **options: Any) -> Any:
        def request() -> Any:
            its_id = self._collection(name)["id"]
            return self._request(method, f"{self._database}/collections/{its_id}/{verb}", **options)

        if name in self._known:
            with suppress(AbsentError):
                return request()
            # That is the id of one that was dropped; it may have been made again.
            self._known.pop(name, None)
        return request()

    def _request(self, method: str, path: str, **options: Any) -> Any:
        url = self._address + path
        try:
            try:
                answer = self._client.request(method, url, **options)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A connection that was kept, and that a server which was started anew knows nothing of.
                answer = self._client.request(method, url, **options)
            if answer.is_error:
                raise _refusal(answer, self.place)
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            if is_strange(said):
                raise something_else(self.place.url, "Chroma", said) from error
            raise _away(self.place, said) from error
        except httpx.InvalidURL as error:
            raise UsageError(
                f"{self.place.url} can't be asked: {error}", hint="Correct its host.", path=self.place.url
            ) from error
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise something_else(self.place.url, "Chroma", f"it answers, and not in JSON ({error})") from error

    def close(self) -> None:
        self._client.close()


def _away(place: Place, said: str) -> EngineAwayError:
    return EngineAwayError(
        f"The server of {place.url} is not there: {said}",
        hint="Start it, or correct the URL. What was committed stays.",
        path=place.url,
    )


def _refusal(answer: httpx.Response, place: Place) -> StackroomError:
    said = _said(answer)
    if answer.status_code in (502, 503, 504):
        # From what stands before it, or from one that is not ready.
        return _away(place, said)
    if answer.status_code == 404:
        return AbsentError(f"The server of {place.url} has not what was asked for: {said}", path=place.url)
    if answer.status_code == 409 or "UNIQUE constraint failed: collections" in said:
        return TakenError(f"The server of {place.url} has that already: {said}", path=place.url)
    if "disk is full" in said or "No space left" in said:
        return DiskFullError(
            f"The server of {place.url} has no space left.",
            hint="Make space there; the library is as it was before the commit.",
            path=place.url,
        )
    if answer.status_code == 401:
        return UnavailableError(
            f"The server of {place.url} lets nobody in without a key: {said}",
            hint="Put it into the environment: CHROMA_API_KEY.",
            path=place.url,
        )
    if answer.status_code == 403:
        return ReadOnlyError(f"The server of {place.url} refuses: {said}", hint="Ask who runs it.", path=place.url)
    if answer.status_code == 429 or "database is locked" in said:
        return BusyError(f"The server of {place.url} has too much to do: {said}", hint="Try again.", path=place.url)
    if "Error finding id" in said:
        return LostError(f"The server of {place.url} has lost a vector of its index: {said}", path=place.url)
    if "hnsw" in said:
        return StorageError(
            f"The server of {place.url} can't read or write the index of a collection: {said}",
            hint="If it was killed while it wrote that: docs/engines.md says how it is made anew; nothing else is lost.",
            path=place.url,
        )
    return StorageError(f"The server of {place.url} failed ({answer.status_code}): {said}", path=place.url)


def _said(answer: httpx.Response) -> str:
    try:
        found = answer.json()
        text = found["message"] if isinstance(found, dict) and "message" in found else str(found)
    except ValueError:
        text = answer.text
    return str(text).strip().partition("\n")[0] or answer.reason_phrase
