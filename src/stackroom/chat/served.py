"""Chat models behind a server: Ollama's, and those of whatever speaks OpenAI's chat API (LM Studio, llama.cpp, vLLM, ...).

The request runs in a thread of its own, so that whoever waits for a piece can turn away at any moment: the socket is shut
then, and the server sees that nobody listens. Formats: docs.ollama.com/api/chat, platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from stackroom._optional import require
from stackroom.errors import StackroomError, UnavailableError
from stackroom.model_servers import PASSING, Server, new_client, refusal, seconds_asked, unreachable
from stackroom.progress import CancelToken
from stackroom.protocols import Message

_ATTEMPTS = 3
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
"""Seconds; somebody sits there and waits."""
_SILENT_SECONDS = 300.0
"""A processor may take minutes to read a long prompt."""
_LOOK_SECONDS = 0.05
_LONGEST_LINE = 1 << 20
_LONGEST_ANSWER = 1 << 20
"""Bytes, and characters: what goes on beyond that is no answer."""
_LONGEST_STREAM = 1 << 26
"""Bytes of all that a server sends for one answer, of which most may say nothing."""
_CONTEXT = 8192
"""Tokens that Ollama is told to make room for; its own default cuts a prompt without a word."""


class ServedChat:
    """A chat model behind a server. Usable from several threads."""

    def __init__(self, server: Server, model: str, *, name: str | None = None) -> None:
        self.server = server
        self.model = model
        self._name = name or f"{server.service}:{model}"

    def __repr__(self) -> str:
        return f"ServedChat({self.server!r}, {self.model!r})"

    @property
    def name(self) -> str:
        return self._name

    def stream(
        self, messages: Sequence[Message], *, cancel: CancelToken, max_tokens: int | None = None
    ) -> Iterator[str]:
        """Pieces of the answer. What fails before the first of them is tried again. Raises UnavailableError, MissingExtraError."""
        require("httpx", extra="served")
        call = _Call(self.server, self.model, self._body(messages, max_tokens), cancel)
        threading.Thread(target=call.run, name="chat", daemon=True).start()
        try:
            while not cancel.cancelled:
                try:
                    piece = call.pieces.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                if not cancel.cancelled:
                    yield piece
        finally:
            call.stop()

    def _body(self, messages: Sequence[Message], max_tokens: int | None) -> dict[str, Any]:
        # JSON goes out as UTF-8, which holds no half characters.
        told = [{"role": one.role, "content": one.text.encode("utf-8", "replace").decode()} for one in messages]
        body: dict[str, Any] = {"model": self.model, "messages": told, "stream": True}
        if self.server.service == "ollama":
            options: dict[str, Any] = {"num_ctx": _CONTEXT, "temperature": 0}
            return {**body, "options": options if max_tokens is None else {**options, "num_predict": max_tokens}}
        # Some of OpenAI's own models take no temperature, and another name for the limit: what is not needed is not sent.
        return body if max_tokens is None or self._is_openai else {**body, "max_tokens": max_tokens, "temperature": 0}

    @property
    def _is_openai(self) -> bool:
        return "api.openai.com" in self.server.url


class _Call:
    """One request, and what came of it: pieces, then None or an error."""

    def __init__(self, server: Server, model: str, body: dict[str, Any], cancel: CancelToken) -> None:
        self.pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self._server = server
        self._model = model
        self._body = body
        self._cancel = cancel
        self._stopped = threading.Event()
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None

    def stop(self) -> None:
        """Let nobody wait for the server any more."""
        self._stopped.set()
        with self._guard:
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpcore: which socket the request goes over, the encrypted one last."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._guard:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._stopped.is_set():
                    self._shut()

    def run(self) -> None:
        try:
            self._run()
            self.pieces.put(None)
        except StackroomError as error:
            self.pieces.put(error)
        except Exception as error:  # of whatever kind: whoever waits must hear of it
            failed = UnavailableError(
                f"The model {self._model!r} of {self._server.url} failed ({type(error).__name__})."
            )
            failed.__cause__ = error
            self.pieces.put(failed)

    def _run(self) -> None:
        httpx = require("httpx", extra="served")
        wait = _FIRST_WAIT
        for attempt in range(1, _ATTEMPTS + 1):
            begun = False
            asked = 0.0
            try:
                with new_client(self._server, _SILENT_SECONDS) as client:
                    path = "/api/chat" if self._server.service == "ollama" else "/chat/completions"
                    with client.stream("POST", path, json=self._body, extensions={"trace": self._trace}) as answer:
                        if answer.status_code < 400:
                            begun = True
                            self._pass_on(answer)
                            return
                        text = answer.read().decode("utf-8", "replace")
                        refused = refusal(self._server, self._model, answer.status_code, text)
                        if answer.status_code not in PASSING or attempt == _ATTEMPTS:
                            raise refused
                        asked = seconds_asked(answer.headers.get("retry-after"))
            except httpx.TransportError as error:
                if self._stopped.is_set():
                    return
                if begun:
                    raise self._broken(type(error).__name__) from error
                if isinstance(error, httpx.ConnectError) or attempt == _ATTEMPTS:
                    raise unreachable(self._server, self._model, error) from error
            if self._stopped.wait(min(max(wait * random.uniform(0.8, 1.2), asked), _LONGEST_WAIT)):
                return
            wait *= 2

    def _pass_on(self, answer: Any) -> None:
        total = 0
        ended = False
        for told in self._objects(answer):
            if self._stopped.is_set():
                return
            if told.get("error"):
                problem = told["error"]
                said = problem.get("message") if isinstance(problem, dict) else problem
                raise refusal(self._server, self._model, answer.status_code, str(said))
            piece, last = _of_ollama(told) if self._server.service == "ollama" else _of_openai(told)
            ended = ended or last
            if piece:
                total += len(piece)
                if total > _LONGEST_ANSWER:
                    raise self._broken("it never ends")
                self.pieces.put(piece)
        if not ended and not self._stopped.is_set():
            raise self._broken("the connection was closed")

    def _objects(self, answer: Any) -> Iterator[dict[str, Any]]:
        """What the server says: JSON in events, in lines, or one for all where it does not stream."""
        kind = answer.headers.get("content-type", "")
        is_events = "event-stream" in kind
        is_whole = not is_events and self._server.service == "openai"
        whole = bytearray()
        for line in _lines(answer.iter_bytes()):
            if is_whole:
                whole += line + b"\n"
                if len(whole) > _LONGEST_LINE:
                    raise self._broken("its answer is too long")
                continue
            if is_events:
                if not line.startswith(b"data:"):
                    continue
                line = line[5:].strip()
                if line == b"[DONE]":
                    yield {"done": True}
                    return
            if line:
                yield self._parsed(line)
        if is_whole:
            yield self._parsed(bytes(whole))

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            told = json.loads(data)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            speaks = "Ollama" if self._server.service == "ollama" else "OpenAI"
            raise UnavailableError(
                f"What {self._server.url} answered is no answer of a chat model.",
                hint=f"Is it the address of a server that speaks {speaks}'s API?",
            )
        return told

    def _broken(self, why: str) -> UnavailableError:
        return UnavailableError(
            f"The model {self._model!r} of {self._server.url} broke off in its answer ({why}).", hint="Ask again."
        )


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    total = 0
    for part in parts:
        total += len(part)
        if total > _LONGEST_STREAM:
            raise UnavailableError("A model's server sent an answer without an end.")
        *lines, held = (held + part).split(b"\n")
        yield from (line.rstrip(b"\r") for line in lines)
        if len(held) > _LONGEST_LINE:
            raise UnavailableError("A model's server sent a line without an end.")
    if held:
        yield held


def _of_ollama(told: dict[str, Any]) -> tuple[str, bool]:
    """`(piece, whether it is the last)`; what a model thinks to itself is no part of its answer."""
    message = told.get("message")
    piece = message.get("content") if isinstance(message, dict) else None
    return (piece if isinstance(piece, str) else ""), bool(told.get("done"))


def _of_openai(told: dict[str, Any]) -> tuple[str, bool]:
    choices = told.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return "", bool(told.get("done"))
    choice = choices[0]
    said = choice.get("delta") if isinstance(choice.get("delta"), dict) else choice.get("message")
    piece = said.get("content") if isinstance(said, dict) else None
    return (piece if isinstance(piece, str) else ""), choice.get("finish_reason") is not None
