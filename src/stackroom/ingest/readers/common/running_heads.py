"""Running heads and feet of pages: what stands at the top or bottom of page after page is said once."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

_EDGE = 2
"""Lines at the top and at the bottom that may be a head or a foot."""
_AROUND = 8
"""Pages before and after that are looked at: a head may change with the chapter, and sides alternate."""
_AT_LEAST = 3
_SHARE = 0.4
_SHARE_WITHOUT_NUMBER = 0.7
"""A line without a page's number must stand on more of them: "See also" does on many a page of a manual."""
_LONGEST = 150

_NUMBER = re.compile(r"\d+|(?:(?<=^)|(?<=\s))[ivxlcIVXLC]+(?=\s|$)")
_LETTER = re.compile(r"[^\W\d_]")


def without(pages: Iterable[str]) -> Iterator[str]:
    """The pages' texts without them. The first page of a run keeps a line that has words: it may be a title."""
    before: deque[set[str]] = deque(maxlen=_AROUND)
    waiting: deque[tuple[str, set[str]]] = deque()
    for text in pages:
        waiting.append((text, _edges(text)))
        if len(waiting) > _AROUND:
            yield _one(waiting, before)
    while waiting:
        yield _one(waiting, before)


def _one(waiting: deque[tuple[str, set[str]]], before: deque[set[str]]) -> str:
    text, edges = waiting.popleft()
    dropped = set()
    for line in edges:
        earlier = [number for number, other in enumerate(reversed(before), start=1) if line in other]
        later = [number for number, (_, other) in enumerate(waiting, start=1) if line in other]
        if len(earlier) + len(later) + 1 < _AT_LEAST or not _is_regular(
            line, earlier, later, len(before), len(waiting)
        ):
            continue
        if earlier or not _LETTER.search(line):
            dropped.add(line)
    before.append(edges)
    return _cut(text, dropped) if dropped else text


def _is_regular(line: str, earlier: list[int], later: list[int], before: int, after: int) -> bool:
    """Whether a line stands on many of the pages around, or on many of those of the same side."""
    found = [*earlier, *later]
    every = before + after
    same_side = before // 2 + after // 2
    even = sum(distance % 2 == 0 for distance in found)
    share = _SHARE if "#" in line else _SHARE_WITHOUT_NUMBER
    return len(found) >= share * every or (same_side > 1 and even >= min(2 * share, 1) * same_side)


def _edges(text: str) -> set[str]:
    lines = [line for line in text.split("\n") if line.strip()]
    # A page of a few lines is a title or a picture: nothing of it is at its edge.
    if len(lines) <= 2 * _EDGE:
        return {_normal(line) for line in (lines[:1] + lines[-1:] if len(lines) > 2 else [])}
    return {_normal(line) for line in lines[:_EDGE] + lines[-_EDGE:] if len(line) <= _LONGEST}


def _normal(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line.strip()).split())


def _cut(text: str, dropped: set[str]) -> str:
    """The text without these lines where they stand at its edges, one after the other."""
    lines = text.split("\n")
    filled = [at for at, line in enumerate(lines) if line.strip()]
    gone: set[int] = set()
    for edge in (filled[:_EDGE], filled[: -_EDGE - 1 : -1]):
        for at in edge:
            if _normal(lines[at]) not in dropped:
                break
            gone.add(at)
    return "\n".join(line for at, line in enumerate(lines) if at not in gone)
