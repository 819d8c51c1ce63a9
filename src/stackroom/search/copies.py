"""Passages that say the same, word for word, in several files: one of them is shown, with the other places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stackroom.types import Hit

_DEEPER = 4
"""Times `k`: how many hits are looked through for different ones."""


class Different(NamedTuple):
    """The best hit of a text, and the further ones, best first, which have the same text but for spaces."""

    hit: Hit
    copies: tuple[Hit, ...]


def different(hits: Sequence[Hit], k: int, again: Callable[[int], Sequence[Hit]]) -> list[Different]:
    """The best `k` different texts of a search whose first `k` hits these are; `again` gives more, and is asked once where some are copies.

    They are fewer than `k` where four times as many hits have no more.
    """
    found = _grouped(hits)
    if len(found) < k <= len(hits):
        found = _grouped(again(_DEEPER * k))
    return found[:k]


def _grouped(hits: Sequence[Hit]) -> list[Different]:
    alike: dict[str, list[Hit]] = {}
    for hit in hits:
        alike.setdefault(" ".join(hit.text.split()), []).append(hit)
    return [Different(best, tuple(copies)) for best, *copies in alike.values()]
