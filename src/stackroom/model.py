"""The model of a library: the one that its user gave, else the one that made its vectors, else the shipped one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from stackroom.errors import EmbedderMismatchError, UnavailableError, UsageError
from stackroom.identity import require_same
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from stackroom.backend import Backend, View
    from stackroom.progress import CancelToken, Progress
    from stackroom.protocols import Embedder
    from stackroom.reports import Report


ALLOWED = "STACKROOM_EMBEDDER"
"""The environment variable that names the model of new libraries, and allows one that is behind a server on another machine."""

ANEW = "Or embed all anew, with minilm or onnx:FOLDER: stackroom rebuild --embedder NAME"
"""The way out of a library whose model is not at hand, as a hint ends."""


class NoModelError(UsageError):
    """A text can't become a vector here, whichever model is given."""


class LibraryModel:
    """Found at the first use, and kept. `given` is a name, an object with the Embedder protocol, or None."""

    def __init__(self, backend: Backend, given: str | Embedder | None) -> None:
        self._backend = backend
        self._given = given
        self._found: Embedder | None = None

    @property
    def is_given(self) -> bool:
        return self._given is not None

    def __call__(self, identity: EmbedderIdentity | None = None) -> Embedder:
        """The embedder. `identity` is the library's, where the caller has it at hand.

        Where the library does not know its model, the given one's claim is checked, once, and remembered.
        Raises EmbedderMismatchError, MissingExtraError, UnavailableError.
        """
        if self._found is None:
            if identity is None:
                with self._backend.view() as view:
                    identity = view.identity
            self._found = self._find(identity)
        return self._found

    def check(self) -> None:
        """Raises EmbedderMismatchError when the given model is not the library's."""
        if self._given is None:
            return
        if not isinstance(self._given, str):
            from stackroom.ingest.embedders import resolve

            resolve(self._given)
        with self._backend.view() as view:
            identity = view.identity
        if identity is not None and identity.name:
            self(identity)

    def for_texts(self, view: View, collection: str) -> Embedder | None:
        """The model that makes a query of a text; None in an empty library. Raises NoModelError, and what a call raises."""
        if collection != "default":
            named = {item.name: item for item in view.collections()}
            if collection in named and named[collection].identity is not None:
                raise NoModelError(f"The collection {collection!r} does not say which model made its vectors.")
        identity = view.identity
        if identity is not None:
            return self(identity)
        if len(view.live_keys()):
            raise NoModelError("No passage of this library has a vector.")
        return None

    def change(self, embedder: str | Embedder, progress: Progress, cancel: CancelToken) -> Report:
        """Embed every passage with another model, and switch to it. Raises BusyError, UsageError."""
        from stackroom.ingest.embedders import resolve
        from stackroom.reports import Report

        model = resolve(embedder)
        begun = time.monotonic()
        with self._backend.lease("rebuild --embedder"):
            embedded = self._backend.reembed(model.identity, model.embed_passages, progress=progress, cancel=cancel)
        if not cancel.cancelled:
            self._given, self._found = embedder, model
        seconds = round(time.monotonic() - begun, 3)
        return Report(chunks=embedded, embedded=embedded, seconds=seconds, cancelled=cancel.cancelled)

    def _find(self, identity: EmbedderIdentity | None) -> Embedder:
        from stackroom.ingest.embedders.onnx import OnnxEmbedder
        from stackroom.ingest.embedders.served import ServedEmbedder

        if identity is None:
            return self._resolved(None)
        if not identity.name and self._given is None:
            raise EmbedderMismatchError(
                f"The library does not say which model made its vectors ({identity.dim} dimensions).",
                hint=f"Give it where the library is opened: open(..., embedder=...). {ANEW}",
                expected=identity,
            )
        found = self._resolved(identity)
        if identity.name and isinstance(found, OnnxEmbedder):
            # Vectors that were migrated may be this model's with other prefixes than its files name.
            found = found.with_prefixes(identity.query_prefix, identity.passage_prefix)
        if identity.name and isinstance(found, ServedEmbedder) and found.model == identity.model:
            found = found.known_as(identity)
        require_same(identity, found.identity)
        if identity.name:
            return found
        from stackroom.migration.probe import claimed

        return claimed(self._backend, found)

    def _resolved(self, identity: EmbedderIdentity | None) -> Embedder:
        from stackroom.ingest.embedders import DEFAULT, destination, resolve

        if self._given is not None:
            return resolve(self._given)
        allowed = os.environ.get(ALLOWED)
        if identity is None:
            return resolve(allowed or DEFAULT)
        stored = identity.name
        if allowed and allowed.partition("@")[0] == stored:
            return resolve(allowed)
        try:
            found = resolve(stored)
        except UsageError as error:
            raise EmbedderMismatchError(
                f"The library's model {stored!r} is an application's own, and can't be made from its name.",
                hint=f"Open it with that model: open(..., embedder=...). {ANEW}",
                expected=identity,
            ) from error
        elsewhere = destination(found)
        if elsewhere is not None:
            # A library may come from a stranger: that its texts or its user's questions are sent away, with a key, is for the user to say.
            raise UnavailableError(
                f"The library's model {stored!r} is on another machine ({elsewhere}), and nobody has said that texts may be sent there.",
                hint=f"To allow it: {ALLOWED}={stored}, or open(..., embedder={stored!r}).",
                expected=identity,
            )
        return found
