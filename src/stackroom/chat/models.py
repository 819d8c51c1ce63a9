"""Chat models by name, and those that are found on this machine.

Text goes to a model that the user has named, and to no other: what is found is shown, never used unasked.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stackroom._optional import require
from stackroom.chat.served import ServedChat
from stackroom.errors import UsageError
from stackroom.model_servers import Server, new_client, server
from stackroom.protocols import ChatModel

NAMED = "STACKROOM_CHAT_MODEL"
"""The environment variable that names the model, where nothing else does."""

_PLACES = (
    # Where they listen unless they are told otherwise.
    ("LM Studio", "http://127.0.0.1:1234/v1"),
    ("llama.cpp", "http://127.0.0.1:8080/v1"),
    ("vLLM", "http://127.0.0.1:8000/v1"),
)
_SECONDS = 0.5
_MOST_MODELS = 200
_EMBEDS = ("embed", "bge-", "e5-", "minilm", "rerank")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model of a server on this machine. `name` is what `--model` takes; `program` says whose server it seems to be."""

    name: str
    program: str


def resolve(model: str | ChatModel | None = None) -> ChatModel | None:
    """The chat model of that name; None: that of STACKROOM_CHAT_MODEL, or none. An object with the protocol is taken as it is.

    Names: "ollama:MODEL" and "openai:MODEL", behind a server, whose address may follow: "openai:MODEL@URL". Nothing is asked
    yet. Raises UsageError.
    """
    if model is not None and not isinstance(model, str):
        if not isinstance(model, ChatModel):
            raise UsageError(
                f"{type(model).__name__} is not a chat model.", hint="It needs name and stream(messages, cancel=...)."
            )
        return model
    named = model if model is not None else os.environ.get(NAMED)
    if not named:
        return None
    kind, _, rest = named.partition(":")
    called, _, url = rest.partition("@")
    if kind not in ("ollama", "openai") or not called:
        raise UsageError(
            f"There is no chat model called {named!r}.",
            hint="There are: ollama:MODEL, openai:MODEL, openai:MODEL@URL.",
            actual=named,
        )
    return ServedChat(server("ollama" if kind == "ollama" else "openai", url or None), called, name=named)


def destination(model: ChatModel) -> str | None:
    """The address that texts are sent to, where it is on another machine."""
    return model.server.url if isinstance(model, ServedChat) and not model.server.is_here else None


def found() -> list[FoundModel]:
    """The chat models of servers on this machine, by program and name; it takes half a second at most where servers are silent.

    No key is sent, for whoever listens on a port may not be who one thinks. Models that Ollama only passes on to another machine
    are left out. Raises MissingExtraError.
    """
    require("httpx", extra="served")
    ollama = server("ollama")
    if not ollama.is_here:
        ollama = Server("ollama", "http://127.0.0.1:11434")
    places = [("Ollama", ollama), *((program, Server("openai", url)) for program, url in _PLACES)]
    with ThreadPoolExecutor(len(places), thread_name_prefix="found") as pool:
        listed = list(pool.map(lambda place: _models(*place), places))
    return [model for models in listed for model in models]


def _models(program: str, place: Server) -> list[FoundModel]:
    told = _asked(place, "/api/tags" if place.service == "ollama" else "/models")
    items = told.get("models" if place.service == "ollama" else "data") if isinstance(told, dict) else None
    if not isinstance(items, list):
        return []
    names: list[str] = []
    for item in items[:_MOST_MODELS]:
        name = item.get("name" if place.service == "ollama" else "id") if isinstance(item, dict) else None
        if isinstance(name, str) and name.isprintable() and not _is_elsewhere(item) and not _embeds(name):
            names.append(name)
    after = "" if place.service == "ollama" else f"@{place.url}"
    return [FoundModel(f"{place.service}:{name}{after}", program) for name in sorted(names)]


def _is_elsewhere(item: dict[str, Any]) -> bool:
    """Ollama's cloud models have an address, and a name that ends so."""
    return bool(item.get("remote_host") or item.get("remote_model")) or str(item.get("name", "")).endswith("cloud")


def _embeds(name: str) -> bool:
    return any(part in name.lower() for part in _EMBEDS)


def _asked(place: Server, path: str) -> object:
    httpx = require("httpx", extra="served")
    try:
        with new_client(place, _SECONDS) as client:
            answer = client.get(path)
            return answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None
