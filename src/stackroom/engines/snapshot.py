"""What views on engines have in common: exact scores, and what no engine has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from stackroom.backend import Scope, Waiting
from stackroom.engines.vectors import require_dim, stacked
from stackroom.errors import NotFoundError
from stackroom.storage.vectors.scan import score_exactly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.storage.derived import Derived
    from stackroom.types import EmbedderIdentity

SpaceT = TypeVar("SpaceT")


class EngineView(Generic[SpaceT]):
    """The part of a View that is the same on every engine, over what one tells of its vectors."""

    def __init__(self, derived: Derived) -> None:
        self._derived = derived

    def _space(self, collection: str) -> tuple[SpaceT, EmbedderIdentity | None]:
        """Where the vectors of a collection are, its own or those of the library, and their identity. Raises NotFoundError."""
        raise NotImplementedError

    def _embeddings(self, space: SpaceT, keys: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors of these chunks, by key; those that have none are left out."""
        raise NotImplementedError

    def _sample(self) -> NDArray[np.float64]:
        """Vectors spread over the library's, the same for every query of one version: float64 of shape (n, dim)."""
        raise NotImplementedError

    def select(self, scope: Scope) -> NDArray[np.int64]:
        raise NotImplementedError

    @property
    def history(self) -> None:
        return None

    @property
    def former(self) -> EmbedderIdentity | None:
        return None

    def unknown_to_former(self) -> NDArray[np.int64]:
        return np.empty(0, dtype=np.int64)

    def waiting(self) -> Waiting:
        return Waiting()

    def members(self, collection: str) -> list[int]:
        keys: list[int] = self.select(Scope(collection=collection)).tolist()
        return keys

    def vectors(self, keys: Sequence[int], *, collection: str = "default") -> NDArray[np.float32]:
        space, identity = self._space(collection)
        found = self._embeddings(space, keys)
        missing = next((key for key in keys if key not in found), None)
        if missing is not None:
            raise NotFoundError(
                f"The chunk with key {missing} has no vector.", hint="See: stackroom status", actual=missing
            )
        return stacked([found[key] for key in keys], 0 if identity is None else identity.dim)

    def scores(self, query: NDArray[np.float32], keys: Sequence[int]) -> NDArray[np.float64]:
        found = np.full(len(keys), np.nan)
        space, identity = self._space("default")
        if identity is None:
            return found
        require_dim(query, identity.dim)
        rows = self._embeddings(space, keys)
        there = [i for i, key in enumerate(keys) if key in rows]
        if there:
            block = stacked([rows[keys[i]] for i in there], identity.dim)
            found[there] = score_exactly(block.astype(np.float64), query.astype(np.float64), identity.metric)
        return found

    def background(self, query: NDArray[np.float32]) -> tuple[float, float]:
        _, identity = self._space("default")
        if identity is None or query.shape != (identity.dim,):
            return 0.0, 0.0
        sample = self._derived.get("sample", self._sample)
        if not len(sample):
            return 0.0, 0.0
        scores = score_exactly(sample, query.astype(np.float64), identity.metric)
        return float(scores.mean()), float(scores.std())


def no_collection(name: str) -> NotFoundError:
    return NotFoundError(f"There is no collection {name!r}.", hint="See what there is: stackroom status", actual=name)
