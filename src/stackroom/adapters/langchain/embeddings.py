"""Stackroom's own models for LangChain: what `stackroom add` embeds with, offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from stackroom.errors import UsageError
from stackroom.index import Index
from stackroom.protocols import AnyEmbedder, Embedder
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class StackroomEmbeddings(Embeddings):
    """An embedding model by the name that Stackroom knows it by: "minilm", the one that is shipped, or "onnx:PATH".

    With it a store over a library that `stackroom add` made understands its vectors, and the command line understands those of
    a library that was written through the store. Raises UsageError for an unknown name.
    """

    def __init__(self, embedder: str | AnyEmbedder = "minilm") -> None:
        from stackroom.ingest.embedders import resolve

        self._given = embedder
        self._embedder = resolve(embedder)

    def __getstate__(self) -> dict[str, Any]:
        return {"embedder": self._given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    @property
    def stackroom_identity(self) -> EmbedderIdentity:
        """What a library records of the model: any object with this attribute can declare one."""
        return self._embedder.identity

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed_passages(texts).tolist() if texts else []

    def embed_query(self, text: str) -> list[float]:
        found: list[float] = self._embedder.embed_query(text).tolist()
        return found


def as_vector(values: Any) -> NDArray[np.float32]:
    """Numbers of any kind as one row: float32 of shape (dim,). Raises UsageError, which is a ValueError."""
    import numpy as np

    try:
        # A float64 beyond float32 becomes infinity, which is refused below.
        with np.errstate(over="ignore"):
            row = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError("An embedding is a list of numbers.", hint="Look at the embedding model.") from error
    if row.ndim != 1 or not len(row) or not np.isfinite(row).all():
        raise UsageError("An embedding is one row of finite numbers.", hint="Look at the embedding model.")
    return row


def require_like(index: Index, embeddings: Embeddings) -> None:
    """Try a model that does not say which one it is on stored passages. Raises EmbedderMismatchError where it is another one."""
    import numpy as np

    from stackroom.adapters import likeness

    with index.backend.view() as view:
        identity = view.identity
        if identity is None:
            return
        keys = view.live_keys(with_vector=True)[: likeness.SAMPLES].tolist()
        texts = [passage.text for passage in view.passages(keys)]
        stored = view.vectors(keys)
    if not any(texts):
        return
    made = [as_vector(row) for row in embeddings.embed_documents(texts)]
    if any(row.shape != (identity.dim,) for row in made):
        return
    likeness.require_like(
        stored,
        np.array(made),
        library=identity,
        others=f"{type(embeddings).__name__} makes other vectors",
        hint="Leave embedding out to use the library's own model, or change that: stackroom rebuild --embedder NAME"
        if identity.name
        else "Give the one that made them: StackroomVectorStore(..., embedding=...)",
    )
