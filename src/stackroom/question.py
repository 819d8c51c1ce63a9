"""A question as it can be asked of a library: its words, its vector, and the mode that the library's model allows."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple, get_args

from stackroom.errors import EmbedderMismatchError, UnavailableError, UsageError
from stackroom.model import ANEW, LibraryModel, NoModelError
from stackroom.types import Mode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stackroom.backend import View
    from stackroom.protocols import Embedder


class Question(NamedTuple):
    """`vector` is float32 of shape `(dim,)`; `embedder` is the model that made it of `text`."""

    text: str | None
    vector: NDArray[np.float32] | None
    mode: Mode
    embedder: Embedder | None


class Means(NamedTuple):
    """How texts are searched here. `reason` says why it is not by meaning, where nobody asked for words alone."""

    mode: Mode
    embedder: Embedder | None
    reason: str | None


def check_words(query: str) -> None:
    """Raises UsageError where nothing is asked for: to a model signs are as good as any text, and what is nearest to them is arbitrary."""
    if not query.strip():
        raise UsageError("The query is empty.", hint="Ask for a word or two.")
    from stackroom.storage.words.tokenizer import parse_query

    asked = parse_query(query)
    # Pictographs are no words, and some models know them.
    if asked.terms or any(unicodedata.category(sign) == "So" for sign in query):
        return
    if asked.excluded:
        raise UsageError(
            f"The query {query!r} says only what must not occur.", hint="Ask for a word or two as well: cats -dogs"
        )
    raise UsageError(f"There is no word in the query {query!r}.", hint="Ask for a word or two.")


def understood(query: object, mode: Mode | None, model: LibraryModel, view: View, collection: str) -> Question:
    """The query in the mode that is asked for, or in the best there is. Raises UsageError, UnavailableError, EmbedderMismatchError."""
    if isinstance(query, str):
        chosen, embedder, _ = means(mode, model, view, collection)
        if embedder is None:
            return Question(query, None, "text", None)
        from stackroom.storage.words.tokenizer import without_excluded

        return Question(query, embedder.embed_query(without_excluded(query)), chosen, embedder)
    if mode not in (None, "vector"):
        raise UsageError(f"A query that is a vector can't be searched in the mode {mode!r}.")
    return Question(None, _as_vector(query), "vector", None)


def means(mode: Mode | None, model: LibraryModel, view: View, collection: str) -> Means:
    """How a text is searched where `mode` is asked for; None is hybrid, or text where there is no model.

    Raises UsageError or UnavailableError where meaning is asked for and no model is at hand.
    """
    if mode is not None and mode not in get_args(Mode):
        raise UsageError(f"There is no mode {mode!r}.", hint="Use 'hybrid', 'vector' or 'text'.")
    if mode == "text":
        return Means("text", None, None)
    try:
        embedder = model.for_texts(view, collection)
    except (EmbedderMismatchError, UnavailableError, UsageError) as error:
        if model.is_given and not isinstance(error, NoModelError):
            raise
        if mode is None:
            return Means("text", None, error.message)
        kind = UnavailableError if isinstance(error, UnavailableError) else UsageError
        raise kind(
            error.message,
            hint="To search words alone: --mode text (mode='text'). By meaning, in Python: open(..., embedder=...) with the model "
            f"that made the vectors, or a query that is a vector. {ANEW}",
        ) from error
    # In an empty library every mode finds the same.
    return Means("text" if embedder is None else mode or "hybrid", embedder, None)


def _as_vector(query: object) -> NDArray[np.float32]:
    import numpy as np

    try:
        vector = np.ascontiguousarray(query, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{type(query).__name__} is no query.", hint="Give text, or float32 of shape (dim,)."
        ) from error
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise UsageError("A query vector is one row of finite numbers.", hint="Give float32 of shape (dim,).")
    return vector
