"""What commits on engines have in common: the model of the vectors that are let in, and what no engine has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from stackroom.backend import Waiting
from stackroom.engines.vectors import as_row, require_row
from stackroom.errors import UsageError
from stackroom.identity import require_same
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stackroom.types import Chunk


class EngineCommit:
    """The part of a Commit that is the same on every engine."""

    def __init__(self, engine: str, identity: EmbedderIdentity | None) -> None:
        self._engine = engine
        self._identity = identity
        """of the serving space, once it has vectors"""
        self._declared: EmbedderIdentity | None = None

    def _begin_space(self, identity: EmbedderIdentity) -> None:
        """The first vector of the library came. Raises UsageError where the engine holds none of its length."""
        raise NotImplementedError

    def _name_space(self, identity: EmbedderIdentity) -> None:
        """The model of vectors that were there became known."""

    def _checked(self, embeddings: Sequence[NDArray[np.float32] | None]) -> list[NDArray[np.float32] | None]:
        """The same vectors as they are stored. Raises DimensionMismatchError, UsageError."""
        rows = [None if row is None else as_row(row) for row in embeddings]
        for row in rows:
            if row is None:
                continue
            if self._identity is None:
                self._identity = self._declared or EmbedderIdentity(name="", dim=len(row))
                self._begin_space(self._identity)
            require_row(row, self._identity.dim)
        return rows

    def use_embedder(self, identity: EmbedderIdentity) -> None:
        if self._identity is None:
            self._declared = identity
            return
        require_same(self._identity, identity)
        if not self._identity.name and identity.name:
            # Vectors came before their model was known; from now on it is.
            self._identity = identity
            self._name_space(identity)

    def given(self, document_key: int, chunk_ids: Collection[str] | None = None) -> None:
        """No repair has lost anything here."""

    def set_waiting(self, waiting: Waiting) -> None:
        if waiting != Waiting():
            raise UsageError(f"A library on {self._engine} is not repaired, and waits for nothing.")


def last_of_each(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[str]]:
    """The chunks without those whose id a later one has, and the ids that were given."""
    named = {chunk.chunk_id: chunk for chunk in chunks if chunk.chunk_id}
    return [chunk for chunk in chunks if not chunk.chunk_id or named[chunk.chunk_id] is chunk], list(named)
