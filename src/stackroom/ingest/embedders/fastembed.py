"""`fastembed:MODEL`: the models that Qdrant's fastembed fetches and runs, by onnxruntime, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom._optional import require
from stackroom.errors import UnavailableError
from stackroom.ingest.embedders.prefixes import prefixes_of
from stackroom.ingest.embedders.tokens import FileTokenizer
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_USUAL_LIMIT = 512


class FastEmbedder:
    """Loaded, and fetched where it is not there yet, at its first use. `options` go to fastembed's TextEmbedding as they are."""

    def __init__(self, model: str, **options: Any) -> None:
        self._name = model
        self._options = options

    def at_hand(self) -> FastEmbedder:
        """The same, but nothing is fetched."""
        return FastEmbedder(self._name, **{**self._options, "local_files_only": True})

    @cached_property
    def identity(self) -> EmbedderIdentity:
        """Raises MissingExtraError, UnavailableError."""
        prefixes = prefixes_of(self._name)
        truncation = getattr(getattr(self._model.model, "tokenizer", None), "truncation", None) or {}
        limit = int(truncation.get("max_length") or _USUAL_LIMIT) - 2
        taken = len(self.tokenizer.spans(prefixes.passage)) if self.tokenizer is not None else len(prefixes.passage)
        return EmbedderIdentity(
            name=f"fastembed:{self._name}",
            dim=int(self._model.embedding_size),
            model=self._name,
            revision="fastembed",  # it pins no weights: what it calls by one name is taken as one model
            query_prefix=prefixes.query,
            passage_prefix=prefixes.passage,
            max_tokens=limit - taken,
        )

    @cached_property
    def tokenizer(self) -> FileTokenizer | None:
        """The one beside the model's file. Raises MissingExtraError, UnavailableError."""
        folder = getattr(self._model.model, "_model_dir", None)
        path = None if folder is None else Path(folder) / "tokenizer.json"
        return FileTokenizer(path) if path is not None and path.is_file() else None

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 of shape `(len(texts), dim)`, in the order given. Raises MissingExtraError, UnavailableError."""
        prefix = self.identity.passage_prefix
        return self._rows([prefix + text for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """float32 of shape `(dim,)`. Raises MissingExtraError, UnavailableError."""
        row: NDArray[np.float32] = self._rows([self.identity.query_prefix + text])[0]
        return row

    def _rows(self, texts: list[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.identity.dim), dtype=np.float32)
        # One at a time: padding costs, and a quantised model's vector would depend on its neighbours.
        rows = np.stack(list(self._model.embed(texts, batch_size=1))).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)

    @cached_property
    def _model(self) -> Any:
        fastembed = require("fastembed", extra="fastembed")
        try:
            return fastembed.TextEmbedding(model_name=self._name, **self._options)
        except Exception as error:  # fastembed's own, and those of what it fetches with
            names = [one["model"] for one in fastembed.TextEmbedding.list_supported_models()]
            raise UnavailableError(
                f"fastembed can't load the model {self._name!r}: {error}",
                hint=f"It is fetched from the network once it is named: --embedder, or STACKROOM_EMBEDDER=fastembed:{self._name}"
                if self._name in names
                else f"There are: {', '.join(names)}.",
            ) from error
