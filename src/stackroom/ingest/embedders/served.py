"""Models behind a server: Ollama's, and those of whatever speaks OpenAI's embeddings API (LM Studio, llama.cpp, vLLM, TEI, ...).

Formats: docs.ollama.com/api/embed, platform.openai.com/docs/api-reference/embeddings.
"""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom._optional import require
from stackroom.errors import UnavailableError, UsageError
from stackroom.ingest.embedders.prefixes import prefixes_of
from stackroom.model_servers import PASSING, Server, Service, new_client, refusal, seconds_asked, server, unreachable
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 32
"""Texts in one request."""
_ATTEMPTS = 6
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds before the second attempt, doubled for each later one; a server may ask for more, up to the second number."""
_ANSWER_SECONDS = 120.0
_KEPT = "Nothing that was committed is lost."


def from_name(service: Service, rest: str) -> ServedEmbedder:
    """`MODEL` or `MODEL@URL`. Raises UsageError."""
    model, _, url = rest.partition("@")
    if not model:
        raise UsageError(f"Which model? {service}: stands alone.", hint=f"Name it: {service}:MODEL")
    return ServedEmbedder(server(service, url or None), model)


class ServedEmbedder:
    """A model behind a server. Usable from several threads.

    `identity` None has the server tell the vectors' length, at the first use. Its name says nothing of where the server is: the same model elsewhere makes the same vectors.
    """

    tokenizer = None

    def __init__(self, server: Server, model: str, identity: EmbedderIdentity | None = None) -> None:
        self.server = server
        self.model = model
        self._given = identity
        self._has_answered = False

    def __repr__(self) -> str:
        return f"ServedEmbedder({self.server!r}, {self.model!r})"

    @cached_property
    def identity(self) -> EmbedderIdentity:
        """Raises UnavailableError where it must ask and the server does not answer."""
        return self._given or _identity(self.server.service, self.model, len(self._ask(["."])[0]))

    def known_as(self, identity: EmbedderIdentity) -> ServedEmbedder:
        """The same, without asking: a library says which vectors this model makes, and with which prefixes they were made."""
        return ServedEmbedder(self.server, self.model, replace(identity, name=f"{self.server.service}:{self.model}"))

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 of shape `(len(texts), dim)`, in the order given. Raises UnavailableError."""
        prefix = self.identity.passage_prefix
        rows = np.empty((len(texts), self.identity.dim), dtype=np.float32)
        for first in range(0, len(texts), _BATCH):
            part = [prefix + text for text in texts[first : first + _BATCH]]
            rows[first : first + len(part)] = self._rows(part)
        return rows

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """float32 of shape `(dim,)`. Raises UnavailableError."""
        row: NDArray[np.float32] = self._rows([self.identity.query_prefix + text])[0]
        return row

    def _rows(self, texts: list[str]) -> NDArray[np.float32]:
        found = self._ask(texts)
        if any(len(row) != self.identity.dim for row in found):
            raise UnavailableError(
                f"{self._called} makes vectors of {len(found[0])} dimensions, not of {self.identity.dim}.",
                hint="Is it another model under the same name?",
            )
        rows = np.array(found, dtype=np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)

    @property
    def _called(self) -> str:
        return f"The model {self.model!r} of {self.server.url}"

    def _ask(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, as the server gives it."""
        if self.server.service == "ollama":
            told = self._post("/api/embed", {"model": self.model, "input": texts})
            return self._vectors(told.get("embeddings"), len(texts))
        told = self._post("/embeddings", {"model": self.model, "input": texts, "encoding_format": "float"})
        data = told.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise self._misunderstood()
        ordered = sorted(data, key=lambda item: item["index"] if isinstance(item.get("index"), int) else 0)
        return self._vectors([item.get("embedding") for item in ordered], len(texts))

    def _vectors(self, found: object, n: int) -> list[list[float]]:
        if not isinstance(found, list) or len(found) != n:
            raise self._misunderstood()
        for row in found:
            if not isinstance(row, list) or not row or not all(isinstance(value, int | float) for value in row):
                raise self._misunderstood()
        return found

    def _misunderstood(self) -> UnavailableError:
        return UnavailableError(
            f"What {self.server.url} answered is not a list of vectors.",
            hint=f"Is it the address of a server that speaks {'Ollama' if self.server.service == 'ollama' else 'OpenAI'}'s API?",
        )

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer; what may pass is tried again, with longer and longer waits. Raises UnavailableError."""
        httpx = require("httpx", extra="served")
        wait = _FIRST_WAIT
        for attempt in range(1, _ATTEMPTS + 1):
            asked = 0.0
            try:
                answer = self._client.post(path, json=body)
            except httpx.TransportError as error:
                # One that was never there is not waited for.
                if not self._has_answered and isinstance(error, httpx.ConnectError):
                    raise unreachable(self.server, self.model, error, also=_KEPT) from error
                if attempt == _ATTEMPTS:
                    raise unreachable(self.server, self.model, error, also=_KEPT) from error
            else:
                self._has_answered = True
                if answer.status_code < 400:
                    return self._parsed(answer)
                if answer.status_code not in PASSING or attempt == _ATTEMPTS:
                    raise refusal(self.server, self.model, answer.status_code, answer.text, also=_KEPT)
                asked = seconds_asked(answer.headers.get("retry-after"))
            time.sleep(min(max(wait * random.uniform(0.8, 1.2), asked), _LONGEST_WAIT))
            wait *= 2
        raise AssertionError

    @cached_property
    def _client(self) -> Any:
        client = new_client(self.server, _ANSWER_SECONDS)
        weakref.finalize(self, client.close)
        return client

    def _parsed(self, answer: Any) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError:
            raise self._misunderstood() from None
        if not isinstance(told, dict):
            raise self._misunderstood()
        return told


def _identity(service: Service, model: str, dim: int) -> EmbedderIdentity:
    prefixes = prefixes_of(model)
    # Servers name no revision: what they call by one name is taken as one model.
    return EmbedderIdentity(
        name=f"{service}:{model}", dim=dim, model=model, revision="served", query_prefix=prefixes.query, passage_prefix=prefixes.passage,
    )  # fmt: skip
