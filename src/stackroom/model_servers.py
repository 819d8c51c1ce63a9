"""Servers of models, for embedding and for chat: where they are, how they are called, what their refusals mean.

Texts leave this process, and the machine where the server is elsewhere. So where a server is comes from the user alone (the name that he gives, or his
environment) and never from a library, which may be a stranger's. No key is ever stored, logged or shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from stackroom._optional import require
from stackroom.errors import UnavailableError, UsageError

Service = Literal["ollama", "openai"]

_DEFAULT_URLS: dict[Service, str] = {"ollama": "http://127.0.0.1:11434", "openai": "https://api.openai.com/v1"}
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may do better."""
_CONNECT_SECONDS = 5.0
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Server:
    """Where a service is, and the key that it wants. The key is in no text that anybody sees."""

    service: Service
    url: str
    key: str | None = None

    def __repr__(self) -> str:
        return f"Server({self.service!r}, {self.url!r})"

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return (urlsplit(self.url).hostname or "") in ("localhost", "127.0.0.1", "::1")


def server(service: Service, url: str | None = None) -> Server:
    """The server at `url`, else that of the environment (OLLAMA_HOST; OPENAI_BASE_URL), else the usual one. Raises UsageError."""
    named = url or os.environ.get("OLLAMA_HOST" if service == "ollama" else "OPENAI_BASE_URL") or _DEFAULT_URLS[service]
    if "://" not in named:
        named = f"http://{named}"
    try:
        parts = urlsplit(named)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"No server can be at that address ({error}).", hint="Give it as http://HOST:PORT") from error
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{named!r} is no address of a server.", hint="Give it as http://HOST:PORT")
    if parts.username or parts.password or parts.query:
        # A name is kept in the library and shown.
        raise UsageError(
            f"The address of a model's server on {host} holds a user, a password or a query.",
            hint="Give the key by OPENAI_API_KEY.",
        )
    if service == "ollama":
        # What a server listens on is no address to call.
        host = "127.0.0.1" if host == "0.0.0.0" else host
        return Server(service, f"{parts.scheme}://{_bracketed(host)}:{port or 11434}{parts.path.rstrip('/')}")
    return Server(service, named.rstrip("/"), _key())


def _key() -> str | None:
    """That of the environment. What no header can hold is refused here: who sends it would repeat it in his error."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError(
            "OPENAI_API_KEY holds a line's end or a character outside ASCII, as no key does.",
            hint="Set it to the key alone.",
        )
    return key or None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def new_client(server: Server, seconds: float) -> Any:
    """An httpx.Client for this server, which may be silent for so long. Raises MissingExtraError."""
    httpx = require("httpx", extra="served")
    return httpx.Client(
        base_url=server.url,
        headers={"Authorization": f"Bearer {server.key}"} if server.key else {},
        timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS),
        # A proxy of the environment is not for servers on this machine.
        trust_env=not server.is_here,
    )


def unreachable(server: Server, model: str, error: Exception, *, also: str = "") -> UnavailableError:
    """The error of a server that does not answer; `also` ends its hint."""
    hint = f"Is Ollama running? ollama serve, then: ollama pull {model}."
    if server.service == "openai":
        hint = "Is the server running? Its address is in OPENAI_BASE_URL, or in the model's name: openai:MODEL@URL."
    return UnavailableError(
        f"The model server {server.url} does not answer ({type(error).__name__}).",
        hint=" ".join(filter(None, [hint, also])),
    )


def refusal(server: Server, model: str, status: int, text: str, *, also: str = "") -> UnavailableError:
    """The error of a server that answers by `status` and says `text`; the key is in neither. `also` ends the hint to try again later."""
    # Before it is cut: half of a key is one that nobody finds.
    said = " ".join((text.replace(server.key, "(the key)") if server.key else text).split())[:_SHOWN]
    hint = " ".join(filter(None, ["Try again later.", also]))
    if status in (401, 403):
        hint = "Is the key right? It is read from OPENAI_API_KEY."
    elif status == 404 and server.service == "ollama":
        hint = f"Fetch the model: ollama pull {model}"
    return UnavailableError(f"The model {model!r} of {server.url} refused ({status}): {said}", hint=hint)


def seconds_asked(header: str | None) -> float:
    """Of a Retry-After header; a date is not waited for."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0
