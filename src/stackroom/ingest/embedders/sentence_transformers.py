"""`sentence-transformers:MODEL`: a model of that library, by its name on a hub or by its folder. It needs torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom._optional import require
from stackroom.errors import UnavailableError
from stackroom.ingest.embedders.prefixes import prefixes_of
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPECIAL_TOKENS = 2


class SentenceTransformersEmbedder:
    """Loaded, and fetched where it is not there yet, at its first use.

    A model's own prompts (`query`, and `passage` or `document`) are its prefixes; where it has none, those that its name is known by.
    """

    def __init__(self, model: str) -> None:
        self._name = model

    @cached_property
    def identity(self) -> EmbedderIdentity:
        """Raises MissingExtraError, UnavailableError."""
        model, known = self._model, prefixes_of(self._name)
        prompts = getattr(model, "prompts", None) or {}
        passage = prompts.get("passage") or prompts.get("document") or known.passage
        limit = getattr(model, "max_seq_length", None)
        taken = len(self.tokenizer.spans(passage)) if passage else 0
        size = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        return EmbedderIdentity(
            name=f"sentence-transformers:{self._name}",
            dim=int(size()),
            model=self._name,
            revision=self._revision,
            query_prefix=prompts.get("query") or known.query,
            passage_prefix=passage,
            max_tokens=limit - _SPECIAL_TOKENS - taken if isinstance(limit, int) else None,
        )

    @cached_property
    def tokenizer(self) -> _LoadedTokenizer:
        """The model's own. Raises MissingExtraError, UnavailableError."""
        return _LoadedTokenizer(self._model.tokenizer)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 of shape `(len(texts), dim)`, in the order given. Raises MissingExtraError, UnavailableError."""
        if not texts:
            return np.empty((0, self.identity.dim), dtype=np.float32)
        return self._rows(list(texts), self.identity.passage_prefix)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """float32 of shape `(dim,)`. Raises MissingExtraError, UnavailableError."""
        row: NDArray[np.float32] = self._rows([text], self.identity.query_prefix)[0]
        return row

    def _rows(self, texts: list[str], prompt: str) -> NDArray[np.float32]:
        # An empty prompt keeps the model from its default one.
        found = self._model.encode(
            texts, prompt=prompt, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(found, dtype=np.float32)

    @property
    def _revision(self) -> str:
        """The commit on the hub, or the hash of a folder's weights."""
        folder = Path(self._name).expanduser()
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (folder / name).is_file():
                with (folder / name).open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        config = getattr(getattr(self._model[0], "auto_model", None), "config", None)
        return str(getattr(config, "_commit_hash", None) or "")

    @cached_property
    def _model(self) -> Any:
        library = require("sentence_transformers", extra="sentence-transformers")
        try:
            return library.SentenceTransformer(str(Path(self._name).expanduser()))
        except Exception as error:  # of transformers, torch, and what it fetches with
            raise UnavailableError(
                f"sentence-transformers can't load the model {self._name!r}: {error}",
                hint="Give its name on huggingface.co, or a folder that it was saved to.",
            ) from error


class _LoadedTokenizer:
    """A tokenizer of the transformers library."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """`(start, end)` code points of every token, special tokens excluded, in order."""
        text = text.encode("utf-8", "replace").decode()
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [(int(start), int(end)) for start, end in found["offset_mapping"]]
