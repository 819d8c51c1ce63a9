"""Old chunks against new ones: what is still there keeps its id, its key and its vector."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from stackroom.backend import StoredChunk
from stackroom.types import Chunk, Place


class _Known(NamedTuple):
    key: int
    position: int
    place: int  # hash of the place: to see whether it moved


@dataclass(slots=True)
class OldChunks:
    """A document's stored chunks by digest of their text; equal texts are taken in their order."""

    _by_text: dict[bytes, deque[_Known]] = field(default_factory=lambda: defaultdict(deque))

    @classmethod
    def of(cls, stored: Iterable[StoredChunk]) -> OldChunks:
        """Only digests and keys are held, so that a document of any length fits."""
        old = cls()
        for item in stored:
            old._by_text[digest(item.chunk)].append(_Known(item.key, item.position, hash(item.chunk.place)))
        return old

    def take(self, chunk: Chunk, position: int) -> tuple[int, tuple[int, int, Place] | None] | None:
        """The key of an equal old chunk, and the move it needs to stand here; None when the chunk is new."""
        known = self._by_text.get(digest(chunk))
        if not known:
            return None
        found = known.popleft()
        if (found.position, found.place) == (position, hash(chunk.place)):
            return found.key, None
        return found.key, (found.key, position, chunk.place)

    def left(self) -> list[int]:
        """The keys that no new chunk took: what has vanished from the document."""
        return [known.key for waiting in self._by_text.values() for known in waiting]


def digest(chunk: Chunk) -> bytes:
    """Sixteen bytes that stand for a chunk's text and metadata."""
    described = repr(sorted(chunk.metadata.items())) if chunk.metadata else ""
    return hashlib.blake2b(f"{described}\x00{chunk.text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
