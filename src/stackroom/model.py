"""The model of a library: the one that its user gave, else the one that made its vectors, else the shipped one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stackroom.errors import EmbedderMismatchError, NotFoundError, UnavailableError, UsageError
from stackroom.identity import require_same
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stackroom.backend import Backend, Scored, View
    from stackroom.progress import CancelToken, Progress
    from stackroom.protocols import AnyEmbedder, Embedder
    from stackroom.reports import Comparison, LengthEstimate, Report


ALLOWED = "STACKROOM_EMBEDDER"
"""The environment variable that names the model of new libraries, and allows one that is behind a server on another machine."""

ANEW = "Or embed all anew, with minilm or onnx:FOLDER: stackroom rebuild --embedder NAME"
"""The way out of a library whose model is not at hand, as a hint ends."""


class NoModelError(UsageError):
    """A text can't become a vector here, whichever model is given."""


class LibraryModel:
    """Found at the first use, and kept. `given` is a name, an object with the Embedder protocol, or None."""

    def __init__(self, backend: Backend, given: str | AnyEmbedder | None) -> None:
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
        given = None
        if not isinstance(self._given, str):
            from stackroom.ingest.embedders import resolve

            given = resolve(self._given)
        with self._backend.view() as view:
            identity = view.identity
        if identity is not None and identity.name:
            from stackroom.ingest.embedders.frameworks import FrameworkEmbedder

            if isinstance(given, FrameworkEmbedder) and given.name == identity.name:
                return  # what else is to be known it must be asked for, at its first use
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

    def change(
        self,
        embedder: str | AnyEmbedder,
        progress: Progress,
        cancel: CancelToken,
        confirm: Callable[[Comparison], bool] | None = None,
        agree: Callable[[LengthEstimate], bool] | None = None,
    ) -> Report:
        """Embed every passage with another model, compare the two, and switch to it unless `confirm` refuses.

        Nothing is done where `agree` refuses to cut passages that are longer than the model reads. Raises BusyError, UsageError.
        """
        # Before a model is asked for, which may need another package.
        self._backend.require("reembed")
        from stackroom.ingest import fitting
        from stackroom.ingest.embedders import resolve

        model = resolve(embedder)
        begun = time.monotonic()
        with self._backend.view() as view:
            too_long = fitting.too_long(view, model, view.live_keys())
        if too_long is not None and agree is not None and not agree(too_long):
            return self._report(begun, 0, False, cancel, None, too_long)
        compared: list[Comparison] = []

        def judge(view: View, nearest: Callable[[NDArray[np.float32], int], Scored]) -> bool:
            from stackroom.search.comparing import compare

            try:
                before = None if view.identity is None else self.for_texts(view, "default")
            except (EmbedderMismatchError, UnavailableError, UsageError):
                before = None
            name = "" if view.identity is None else view.identity.name
            compared.append(compare(view, before, model, nearest, name=name))
            return confirm is None or confirm(compared[0])

        with self._backend.lease("rebuild --embedder"):
            embedded, switched = self._backend.reembed(
                model.identity, model.embed_passages, judge=judge, progress=progress, cancel=cancel
            )
        if switched:
            self._given, self._found = embedder, model
        return self._report(begun, embedded, switched, cancel, compared[0] if compared else None, too_long)

    def go_back(
        self, progress: Progress, cancel: CancelToken, agree: Callable[[LengthEstimate], bool] | None = None
    ) -> Report:
        """Let the model before the last change serve again; what was added since is embedded with it.

        Nothing is done where `agree` refuses to cut what of that is longer than the model reads. Raises NotFoundError, BusyError, and
        where something was added since what a call raises.
        """
        # Before a model is asked for, which may need another package.
        self._backend.require("reembed")
        from stackroom.ingest import fitting

        begun = time.monotonic()
        with self._backend.view() as view:
            former = view.former
            since = view.unknown_to_former()
        if former is None:
            raise NotFoundError(
                "There is no model to go back to.", hint="Change it: stackroom rebuild --embedder NAME", actual=None
            )
        model = LibraryModel(self._backend, None)
        too_long = None
        # What has its vectors needs no model.
        if len(since):
            with self._backend.view() as view:
                too_long = fitting.too_long(view, model(former), since)
        if too_long is not None and agree is not None and not agree(too_long):
            return self._report(begun, 0, False, cancel, None, too_long)

        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            return model(former).embed_passages(texts)

        with self._backend.lease("rebuild --back"):
            embedded, switched = self._backend.reembed(former, embed, progress=progress, cancel=cancel)
        if switched:
            self._given = self._found = None
        return self._report(begun, embedded, switched, cancel, None, too_long)

    @staticmethod
    def _report(
        begun: float,
        embedded: int,
        switched: bool,
        cancel: CancelToken,
        comparison: Comparison | None,
        too_long: LengthEstimate | None = None,
    ) -> Report:
        from stackroom.reports import Report

        return Report(
            chunks=embedded,
            embedded=embedded,
            seconds=round(time.monotonic() - begun, 3),
            cancelled=cancel.cancelled and not switched,
            comparison=comparison,
            too_long=too_long,
            switched=switched,
        )

    def _find(self, identity: EmbedderIdentity | None) -> Embedder:
        from stackroom.ingest.embedders.frameworks import FrameworkEmbedder
        from stackroom.ingest.embedders.onnx import OnnxEmbedder
        from stackroom.ingest.embedders.served import ServedEmbedder

        if identity is None:
            return self._resolved(None)
        if not identity.name and self._given is None:
            raise EmbedderMismatchError(
                f"The library does not say which model made its vectors ({identity.dim} dimensions).",
                hint=f"Name it: add --embedder NAME, or in Python open(..., embedder=...). {ANEW}",
                expected=identity,
            )
        found = self._resolved(identity)
        if identity.name and isinstance(found, OnnxEmbedder):
            # Vectors that were migrated may be this model's with other prefixes than its files name.
            found = found.with_prefixes(identity.query_prefix, identity.passage_prefix)
        if identity.name and isinstance(found, ServedEmbedder) and found.model == identity.model:
            found = found.known_as(identity)
        require_same(identity, found.identity)
        if not identity.name:
            from stackroom.migration.probe import claimed

            return claimed(self._backend, found)
        if isinstance(found, FrameworkEmbedder):
            from stackroom.migration.probe import proven

            with self._backend.view() as view:
                return proven(view, found)
        return found

    def _resolved(self, identity: EmbedderIdentity | None) -> Embedder:
        from stackroom.ingest.embedders import DEFAULT, destination, resolve
        from stackroom.ingest.embedders.fastembed import FastEmbedder
        from stackroom.ingest.embedders.sentence_transformers import SentenceTransformersEmbedder

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
                hint=f"In Python, open it with that model: open(..., embedder=...). {ANEW}",
                expected=identity,
            ) from error
        if isinstance(found, FastEmbedder):
            return found.at_hand()
        if isinstance(found, SentenceTransformersEmbedder):
            # A model's folder may hold code, which that library runs.
            raise UnavailableError(
                f"The library's model {stored!r} is loaded by another library, which nobody has allowed here.",
                hint=f"To allow it: {ALLOWED}={stored}, or in Python open(..., embedder={stored!r}).",
                expected=identity,
            )
        elsewhere = destination(found)
        if elsewhere is not None:
            # A library may come from a stranger: that its texts or its user's questions are sent away, with a key, is for the user to say.
            raise UnavailableError(
                f"The library's model {stored!r} is on another machine ({elsewhere}), and nobody has said that texts may be sent there.",
                hint=f"To allow it: {ALLOWED}={stored}, or in Python open(..., embedder={stored!r}).",
                expected=identity,
            )
        return found
