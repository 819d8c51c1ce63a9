"""LangChain's and LlamaIndex's embedding objects as embedders. Neither framework is imported: an object is known by its methods.

What such an object puts before a text is its own business, and nothing is added to it: a model that wants prefixes must have been given them
there. Its identity says what it tells of itself; no such object pins its weights, so that it is compared with a library's vectors before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.errors import StackroomError, UnavailableError
from stackroom.protocols import Embedder, LangChainEmbeddings, LlamaIndexEmbedding
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODEL = ("model_name", "model", "model_id", "repo_id", "deployment")
_QUERY = ("query_instruction", "query_prefix")
_PASSAGE = ("text_instruction", "embed_instruction", "document_prefix")
"""Attributes by which the frameworks' own classes tell of themselves."""


class FrameworkEmbedder:
    """An embedder over such an object. `identity` asks it for one vector, at the first use, to know its length."""

    tokenizer = None

    def __init__(
        self,
        name: str,
        given: object,
        passages: Callable[[list[str]], Sequence[Sequence[float]]],
        query: Callable[[str], Sequence[float]],
    ) -> None:
        self._name = name
        self._model = _told(given, _MODEL)
        self._given = given
        self._passages = passages
        self._query = query

    @property
    def name(self) -> str:
        """As in its identity, without asking it for anything."""
        return f"{self._name}:{self._model}" if self._model else self._name

    @cached_property
    def identity(self) -> EmbedderIdentity:
        """Raises UnavailableError where the object can't embed."""
        most = getattr(self._given, "max_length", None)
        return EmbedderIdentity(
            name=self.name,
            dim=len(self._called(self._query, ".")),
            model=self._model,
            query_prefix=_told(self._given, _QUERY),
            passage_prefix=_told(self._given, _PASSAGE),
            max_tokens=most - 2 if isinstance(most, int) and most > 2 else None,
        )

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 of shape `(len(texts), dim)`, in the order given. Raises UnavailableError."""
        if not texts:
            return np.empty((0, self.identity.dim), dtype=np.float32)
        return self._rows(self._called(self._passages, list(texts)))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """float32 of shape `(dim,)`. Raises UnavailableError."""
        row: NDArray[np.float32] = self._rows([self._called(self._query, text)])[0]
        return row

    def _called(self, method: Callable[[Any], Any], given: object) -> Any:
        try:
            return method(given)
        except StackroomError:
            raise
        except Exception as error:  # what somebody else's object raises, nobody knows
            raise UnavailableError(
                f"The model {self._name} failed: {type(error).__name__}: {error}",
                hint="Run the same again once it works. Nothing that was committed is lost.",
            ) from error

    def _rows(self, found: Any) -> NDArray[np.float32]:
        try:
            rows = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UnavailableError(
                f"What {self._name} made of the texts are not vectors of one length.", hint="Look at the model."
            ) from error
        lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
        return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def wrapped(given: object) -> Embedder | None:
    """The object as an embedder; None where it is none of a framework's."""
    inner = getattr(given, "embedder", None)
    if hasattr(given, "stackroom_identity") and isinstance(inner, Embedder):
        return inner  # one of ours, dressed for a framework
    if isinstance(given, LlamaIndexEmbedding):
        return FrameworkEmbedder(
            f"llamaindex:{type(given).__name__}", given, given.get_text_embedding_batch, given.get_query_embedding
        )
    if isinstance(given, LangChainEmbeddings):
        return FrameworkEmbedder(f"langchain:{type(given).__name__}", given, given.embed_documents, given.embed_query)
    return None


def _told(given: object, names: Sequence[str]) -> str:
    for name in names:
        value = getattr(given, name, None)
        if isinstance(value, str) and value not in ("", "unknown"):
            return value
    return ""
