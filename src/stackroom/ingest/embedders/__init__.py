"""Embedders by name: the model that is shipped, a folder with an ONNX model, a model behind a server, or any object with the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stackroom.errors import DimensionMismatchError, UsageError
from stackroom.protocols import AnyEmbedder, Embedder
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT = "minilm"

__all__ = ["DEFAULT", "checked", "destination", "resolve"]


def resolve(embedder: str | AnyEmbedder) -> Embedder:
    """The embedder of that name, without loading its model yet; an object with the protocol is taken as it is, one of LangChain's or LlamaIndex's is wrapped.

    Names: "minilm" (also "default"), the model that is shipped; "multilingual", that of the extra; "onnx:PATH", a folder with `model.onnx` and its
    tokenizer; "fastembed:MODEL" and "sentence-transformers:MODEL", of these libraries; "ollama:MODEL" and "openai:MODEL", behind a server, whose address may follow: "openai:MODEL@URL".
    Raises UsageError for any other, and UnavailableError when the folder lacks something.
    """
    if not isinstance(embedder, str):
        if not isinstance(embedder, Embedder):
            from stackroom.ingest.embedders.frameworks import wrapped

            if (found := wrapped(embedder)) is not None:
                return found
            raise UsageError(
                f"{type(embedder).__name__} is not an embedder.",
                hint="It needs identity, tokenizer, embed_passages(texts) and embed_query(text), or to be an embedding object of LangChain or LlamaIndex.",
            )
        if not isinstance(embedder.identity, EmbedderIdentity):
            raise UsageError(
                f"The identity of {type(embedder).__name__} is {embedder.identity!r}, and not an EmbedderIdentity.",
                hint="Give it one: stackroom.EmbedderIdentity(name='my-model', dim=768)",
                actual=embedder.identity,
            )
        return embedder
    from stackroom.ingest.embedders.onnx import from_folder, shipped

    if embedder in (DEFAULT, "default"):
        return shipped()
    if embedder == "multilingual":
        from stackroom.ingest.embedders.multilingual import named

        return named()
    kind, _, rest = embedder.partition(":")
    if kind == "onnx" and rest:
        return from_folder(Path(rest).expanduser())
    if kind == "fastembed" and rest:
        from stackroom.ingest.embedders.fastembed import FastEmbedder

        return FastEmbedder(rest)
    if kind == "sentence-transformers" and rest:
        from stackroom.ingest.embedders.sentence_transformers import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(rest)
    if kind in ("ollama", "openai"):
        from stackroom.ingest.embedders.served import from_name

        return from_name("ollama" if kind == "ollama" else "openai", rest)
    raise UsageError(
        f"There is no embedder called {embedder!r}.",
        hint=f"There are: {DEFAULT} (shipped), multilingual, onnx:PATH (a folder with model.onnx and tokenizer.json), "
        "fastembed:MODEL, sentence-transformers:MODEL, ollama:MODEL, openai:MODEL, openai:MODEL@URL.",
        actual=embedder,
    )


def destination(embedder: Embedder) -> str | None:
    """The address that texts are sent to, where it is on another machine."""
    from stackroom.ingest.embedders.served import ServedEmbedder

    return embedder.server.url if isinstance(embedder, ServedEmbedder) and not embedder.server.is_here else None


def checked(vectors: object, *, n: int, dim: int) -> NDArray[np.float32]:
    """What an embedder returned, as C-contiguous float32 of shape `(n, dim)`. Raises DimensionMismatchError, UsageError."""
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.shape != (n, dim):
        raise DimensionMismatchError(
            f"The embedder returned an array of shape {array.shape}, its identity promises {(n, dim)}.",
            expected=(n, dim),
            actual=array.shape,
        )
    if not np.isfinite(array).all():
        raise UsageError("The embedder returned NaN or infinity.", hint="Look at the model and its input.")
    return array
