"""Are an answer's citations there, and are its quotations in what they cite?

A citation is a number in brackets: [2], [1, 3]. Words between quotation marks are a quotation, of the passages whose numbers
follow in the same paragraph before the next quotation. Words are compared without case, punctuation and breaks of lines.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_CITED = re.compile(r"\[\s*(\d{1,3}(?:\s*(?:,|;|-|–|and)\s*\d{1,3})*)\s*\]")
_QUOTED = re.compile(r"“([^“”\n]+)”|„([^„“”\n]+)[“”]|«([^«»\n]+)»|\"([^\"\n]+)\"|「([^「」\n]+)」")
_LEAST_WORDS = 3
_LEAST_CHARACTERS = 8
"""Of words without spaces between them. Shorter quotations are titles and terms."""
_GAP = re.compile(r"\[?(?:\.\.\.|…)\]?")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Citation:
    """`[number]` at `start` to `end` (code points of the answer). `exists`: there is a passage of that number."""

    number: int
    start: int
    end: int
    exists: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """Quoted words at `start` to `end` of the answer, the marks not included.

    `numbers` are the passages that it is ascribed to (none: any of them); `found` says that one of these holds the words.
    """

    text: str
    start: int
    end: int
    numbers: tuple[int, ...]
    found: bool


def citations(answer: str, passages: int) -> list[Citation]:
    """Every number in brackets, in order. A range like [2-4] cites each."""
    found = []
    for match in _CITED.finditer(answer):
        for number in _numbers(match[1]):
            found.append(Citation(number, match.start(), match.end(), 1 <= number <= passages))
    return found


def _numbers(inside: str) -> list[int]:
    numbers: list[int] = []
    for part in re.split(r"[,;]|and", inside):
        ends = [int(number) for number in re.findall(r"\d+", part)]
        first, last = ends[0], ends[-1]
        numbers += range(first, last + 1) if 0 < last - first < 20 else ends
    return numbers


def quotes(answer: str, passages: Sequence[str]) -> list[Quote]:
    """Every quotation, looked for in the passages that it cites. `passages` are their texts, the first is number 1."""
    cited = citations(answer, len(passages))
    folded = [_folded(text) for text in passages]
    matches: list[re.Match[str]] = list(_QUOTED.finditer(answer))
    found: list[Quote] = []
    for place, match in enumerate(matches):
        following = matches[place + 1] if place + 1 < len(matches) else None
        group = match.lastindex or 1
        if not _is_long_enough(match[group]):
            continue
        paragraph = answer.find("\n", match.end())
        limit = min(
            len(answer) if paragraph < 0 else paragraph, len(answer) if following is None else following.start()
        )
        numbers = tuple(
            dict.fromkeys(one.number for one in cited if one.exists and match.end() <= one.start and one.end <= limit)
        )
        where = [folded[number - 1] for number in numbers] or folded
        found.append(
            Quote(match[group], *match.span(group), numbers, any(_holds(text, match[group]) for text in where))
        )
    return found


def _is_long_enough(text: str) -> bool:
    words = _WORD.findall(text)
    return len(words) >= _LEAST_WORDS or (any(ord(c) > 0x2E00 for c in text) and len(text) >= _LEAST_CHARACTERS)


def _holds(folded: str, quotation: str) -> bool:
    """Every part of it, in order; what stands between two parts was left out by whoever quotes."""
    at = 0
    for part in _GAP.split(_CITED.sub(" ", quotation)):
        words = _folded(part).strip()
        if not words:
            continue
        place = folded.find(f" {words} ", at)
        if place < 0:
            return False
        at = place + len(words)
    return True


def _folded(text: str) -> str:
    """Its words, one space around each."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u00ad", "")
    return f" {' '.join(_WORD.findall(plain))} "
