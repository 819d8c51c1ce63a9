"""Cuts a document's sections into chunks: as long as the model reads, at the ends of sentences, with exact offsets.

The text goes by as a stream: only what the chunk in hand needs is held. Sentences are found by their marks (Latin, CJK,
Arabic, Devanagari); a line's end is a weaker place to cut, a token's end the last resort. A new heading begins a new
chunk, unless what stands before it is so short that it reads better together; pages are no boundaries, but where text that was
printed meets text that was recognised. Rows, lines, records
and cues that a section marks are kept whole where they fit into a chunk.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from stackroom.protocols import Embedder, Section, Tokenizer
from stackroom.types import RECOGNISED, Chunk, Place

VERSION = 2
LONGEST = 512

_WINDOW = 100_000
_LONGEST_TOKEN = 32

_BOUNDARY = re.compile(
    r"""(?P<strong>(?<![.!?…])[.!?…]+["'”’»)\]]*(?=\s)   # Latin marks, before a space; a run is looked at once
        |[。！？｡]+["'”’」』）]*                       # CJK marks need none
        |(?<!\d)．(?!\d)                              # the wide full stop, where it is none of a number
        |[؟۔।॥༎။።፧។៕]+                             # Arabic, Urdu, Devanagari, Tibetan, Burmese, Amharic, Khmer
        |\n[ \t]*(?=\n))                              # a blank line
        |(?P<weak>\n)""",
    re.VERBOSE,
)

_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:[A-Z]|e\.g|i\.e|z\.B|d\.h|u\.a|bzw|ca|cf|dr|etc|fig|figs|mr|mrs|ms|no|nos|nr|p|pp|prof|sec|st|vs"
    r"|vol|al)\.$",
    re.IGNORECASE,
)

# A mark ends strongly where a paragraph does; what is said in a recording, where a sentence does.
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*$")
_SENTENCE_END = re.compile(r"""[.!?…。！？｡．؟۔।॥༎။።፧។៕]["'”’»)\]」』）]*\s*$""")

_LONGEST_BLANK = 2_000
"""Characters of white space within a chunk."""

# Where no tokenizer is known: four letters a token errs on the side of shorter chunks.
_ROUGH_TOKEN = re.compile(
    r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]{1,4}|[^\w\s]|_"
)


class _Unit(NamedTuple):
    """A piece that is not cut: `[start, end)` in the document, its tokens, and whether a sentence ends with it."""

    start: int
    end: int
    tokens: int
    strong: bool
    section: int


@dataclass(frozen=True, slots=True)
class TokenSplitter:
    """A Splitter by tokens. `tokenizer` None estimates lengths (four letters, or one CJK character, a token).

    `max_tokens` is the most that a chunk may hold, special tokens excluded; `overlap` how many of them a chunk may share
    with the one before it (whole sentences only).
    """

    tokenizer: Tokenizer | None
    max_tokens: int = 254
    overlap: int = 32

    @property
    def recipe(self) -> str:
        """Name, version and parameters: another recipe would make other chunks."""
        return f"tokens:{VERSION}:{self.max_tokens}:{self.overlap}"

    def made(self, recipe: str) -> bool:
        """Whether it is a recipe of this splitter in this version, whatever its parameters."""
        return recipe.split(":")[:2] == self.recipe.split(":")[:2]

    def split(self, sections: Iterable[Section]) -> Iterator[Chunk]:
        return _Packing(self).run(sections)

    def token_starts(self, text: str) -> list[int]:
        if self.tokenizer is None:
            return [found.start() for found in _ROUGH_TOKEN.finditer(text)]
        starts: list[int] = []
        for start, end in self.tokenizer.spans(text):
            # A "word" of any length may be one unknown token to a model, but its parts are not.
            step = 2 if text[start:end].isascii() else 1
            starts += [start] if end - start <= _LONGEST_TOKEN else range(start, end, step)
        return starts


def splitter_for(embedder: Embedder) -> TokenSplitter:
    """The splitter whose chunks this embedder reads whole: up to its limit, at most 512 tokens, an eighth of them shared."""
    limit = min(embedder.identity.max_tokens or LONGEST, LONGEST)
    return TokenSplitter(embedder.tokenizer, limit, limit // 8)


class _Packing:
    """One document on its way through: units in, chunks out."""

    def __init__(self, splitter: TokenSplitter) -> None:
        self._splitter = splitter
        self._limit = splitter.max_tokens
        self._units: list[_Unit] = []
        self._tokens = 0
        self._fresh = False  # whether the units in hand hold anything that no chunk has yet
        self._shared = 0  # how many of them, from the first on, the chunk before has too
        self._text = ""
        self._base = 0
        self._sections: dict[int, Section] = {}
        self._starts: dict[int, int] = {}

    def run(self, sections: Iterable[Section]) -> Iterator[Chunk]:
        before: Section | None = None
        for number, section in enumerate(sections):
            self._sections[number] = section
            self._starts[number] = self._base + len(self._text)
            if (before is not None and section.text and section.recognised != before.recognised) or (
                before is not None and section.headings != before.headings and not self._joins(before, section)
            ):
                yield from self._flush()
            if section.text:
                before = section
            for window in _windows(section.text):
                offset = self._base + len(self._text)
                self._text += window
                for unit in self._cut(window, offset, number):
                    yield from self._add(unit)
            self._forget()
        yield from self._flush()

    def _joins(self, before: Section, after: Section) -> bool:
        """Whether a new section goes on in the same chunk: what there is so far is short, and the chapter the same."""
        return self._tokens < self._limit // 4 and before.headings[:1] == after.headings[:1]

    def _add(self, unit: _Unit) -> Iterator[Chunk]:
        while self._units and self._tokens + unit.tokens > self._limit:
            if self._fresh:
                yield from self._emit()
            else:
                # Only shared sentences are in hand, and too many of them.
                self._tokens -= self._units.pop(0).tokens
                self._shared = max(self._shared - 1, 0)
        if not unit.tokens and not self._units:
            return
        if not unit.tokens and not self._units[-1].tokens:
            # White space upon white space is one unit; a long stretch of it ends the chunk and is let go.
            unit = self._units.pop()._replace(end=unit.end)
            if unit.end - unit.start > _LONGEST_BLANK:
                yield from self._flush()
                return
        self._units.append(unit)
        self._tokens += unit.tokens
        self._fresh = self._fresh or unit.tokens > 0

    def _emit(self) -> Iterator[Chunk]:
        """Close the chunk at its last sentence, if that leaves it at least half full; what follows goes on."""
        cut = len(self._units)
        tokens = self._tokens
        # What the chunk before has too is no chunk by itself.
        fresh = next((at for at in range(self._shared, cut) if self._units[at].tokens), 0)
        for index in range(len(self._units) - 1, fresh, -1):
            if self._units[index].strong:
                break
            tokens -= self._units[index].tokens
            if tokens * 2 < self._limit:
                break
            if self._units[index - 1].strong:
                cut = index
                break
        chunk = self._chunk(self._units[:cut])
        rest = self._units[cut:]
        shared = self._overlap(self._units[:cut], sum(unit.tokens for unit in rest))
        self._units, self._shared = shared + rest, len(shared)
        self._tokens = sum(unit.tokens for unit in self._units)
        self._fresh = any(unit.tokens for unit in rest)
        if chunk is not None:
            yield chunk

    def _overlap(self, units: Sequence[_Unit], following: int) -> list[_Unit]:
        """The last sentences of a chunk that the next one begins with."""
        room = min(self._splitter.overlap, self._limit // 2 - following)
        first = len(units)
        while first > 1 and units[first - 1].tokens <= room:
            first -= 1
            room -= units[first].tokens
        while first < len(units) and first > 0 and not units[first - 1].strong:
            first += 1
        return list(units[first:])

    def _flush(self) -> Iterator[Chunk]:
        if self._fresh:
            chunk = self._chunk(self._units)
            if chunk is not None:
                yield chunk
        self._units, self._tokens, self._fresh, self._shared = [], 0, False, 0

    def _chunk(self, units: Sequence[_Unit]) -> Chunk | None:
        if not units:
            return None
        start, end = units[0].start, units[-1].end
        text = self._text[start - self._base : end - self._base]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        if not text:
            return None
        inside = [unit for unit in units if unit.end > start and unit.tokens]
        if not inside:
            return None
        first, last = self._sections[inside[0].section], self._sections[inside[-1].section]
        unit, counted = self._counted(inside[0], start), self._counted(inside[-1], start + len(text) - 1)
        place = Place(
            start=start,
            end=start + len(text),
            page=first.page,
            page_end=last.page if last.page is not None else first.page,
            page_label=first.page_label,
            section=self._sections[_mostly(inside)].headings,
            unit=first.unit,
            first=None if unit is None else unit[0],
            last=counted[1] if counted is not None and last.unit == first.unit else unit and unit[1],
        )
        return Chunk(text, metadata={RECOGNISED: True} if first.recognised else {}, place=place)

    def _counted(self, unit: _Unit, at: int) -> tuple[float, float] | None:
        """What the mark at this offset of the document counts, or None in a section without marks."""
        marks = self._sections[unit.section].marks
        if not marks:
            return None
        found = bisect.bisect_right(marks, at - self._starts[unit.section], key=lambda mark: mark[0])
        return marks[max(found - 1, 0)][1:]

    def _forget(self) -> None:
        """Let go of text and sections that no chunk can need any more."""
        keep = self._units[0].start if self._units else self._base + len(self._text)
        self._text = self._text[keep - self._base :]
        self._base = keep
        oldest = self._units[0].section if self._units else max(self._sections)
        for number in [number for number in self._sections if number < oldest]:
            del self._sections[number], self._starts[number]

    def _cut(self, text: str, offset: int, section: int) -> Iterator[_Unit]:
        """The units of a window; those longer than a chunk are cut between tokens, at a space where there is one."""
        starts = self._splitter.token_starts(text)
        for first, end, strong in self._pieces(text, offset, section, starts):
            low, high = bisect.bisect_left(starts, first), bisect.bisect_left(starts, end)
            while high - low > self._limit:
                # What begins inside a word may be more tokens by itself than it was within it.
                room = self._limit if first == 0 or text[first - 1].isspace() else self._limit - self._limit // 8
                cut = _break(text, starts, low, low + room)
                yield _Unit(offset + first, offset + starts[cut], cut - low, False, section)
                first, low = starts[cut], cut
            yield _Unit(offset + first, offset + end, high - low, strong, section)

    def _pieces(self, text: str, offset: int, section: int, starts: list[int]) -> Iterator[tuple[int, int, bool]]:
        """The pieces of a window: what its section marks, where that fits into a chunk, else sentences and lines."""
        marked = self._sections[section]
        if not marked.marks:
            yield from _pieces(text)
            return
        shift = self._starts[section] - offset
        bounds = [shift + mark[0] for mark in marked.marks if 0 < shift + mark[0] < len(text)]
        ending = _SENTENCE_END if marked.unit == "second" else _BLANK_LINE
        for first, end in pairwise([0, *bounds, len(text)]):
            if bisect.bisect_left(starts, end) - bisect.bisect_left(starts, first) <= self._limit:
                yield first, end, ending.search(text, max(first, end - 20), end) is not None
            else:
                yield from ((first + low, first + high, strong) for low, high, strong in _pieces(text[first:end]))


def _mostly(units: Sequence[_Unit]) -> int:
    """The section that gives a chunk most of its tokens; the earlier of two."""
    tokens: Counter[int] = Counter()
    for unit in units:
        tokens[unit.section] += unit.tokens
    return max(tokens, key=lambda section: (tokens[section], -section))


def _break(text: str, starts: list[int], low: int, high: int) -> int:
    """The last token up to `high` that begins after a space, but not below three quarters of the way."""
    for index in range(high, low + (high - low) * 3 // 4, -1):
        if text[starts[index] - 1].isspace():
            return index
    # Inside a word: step back so that two tokens never share a character.
    while high > low + 1 and starts[high] == starts[high - 1]:
        high -= 1
    return high


def _pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """`(start, end, strong)` of sentences and lines; together they are the whole text."""
    start = 0
    for found in _BOUNDARY.finditer(text):
        strong = found["strong"] is not None
        if (
            strong
            and found[0].startswith(".")
            and _ABBREVIATION.search(text[max(start, found.end() - 12) : found.end()])
        ):
            continue
        yield start, found.end(), strong
        start = found.end()
    if start < len(text):
        yield start, len(text), False


def _windows(text: str) -> Iterator[str]:
    """A long section in parts, cut at a line's or at least a word's end."""
    start = 0
    while len(text) - start > _WINDOW:
        end = start + _WINDOW
        for mark in ("\n\n", "\n", " "):
            at = text.rfind(mark, start + _WINDOW // 2, end)
            if at > 0:
                end = at + len(mark)
                break
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
