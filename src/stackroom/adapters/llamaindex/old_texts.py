"""The text that a document may have had, put together from its passages.

Splitters drop the white space around what they cut, and say by offsets how much: of what kind it was has to be guessed. Old releases looked
for a passage's offset by its text, and found the first place where that stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product

from stackroom.backend import StoredChunk

_ENDS = ("", "\n", " ", "\n\n", "\r\n", " \n", "\n ")
"""What may follow after the last passage."""
_UNKNOWN = -1
"""A gap of which no offset tells the length."""
_TRIED_BYTES = 64_000_000


def candidates(chunks: Sequence[StoredChunk]) -> Iterator[str]:
    """The most likely first; as many as are tried in some tenths of a second."""
    pieces = _pieces(chunks)
    size = sum(len(piece) for piece in pieces if isinstance(piece, str)) or 1
    return islice(_filled(pieces), max(16, min(20_000, _TRIED_BYTES // size)))


def _pieces(chunks: Sequence[StoredChunk]) -> list[str | int]:
    """Text that is known, and lengths of gaps between; what overlaps stands once."""
    pieces: list[str | int] = []
    text = ""  # what is known so far, with a blank for each unknown character
    for item in chunks:
        start, own = item.chunk.place.start, item.chunk.text
        if start is not None and start > len(text):
            pieces += [start - len(text), own]
            text = text.ljust(start) + own
            continue
        overlap = len(text) - start if start is not None else 0
        if start is None or not _agree(text[start : start + len(own)], own[:overlap]):
            overlap = _shared(text, own)
            if text and not overlap:
                pieces.append(_UNKNOWN)
        pieces.append(own[overlap:])
        text += own[overlap:]
    return pieces


def _agree(before: str, now: str) -> bool:
    """Whether the same characters stand there, where those before are known."""
    return len(before) == len(now) and all(one in (other, " ") for one, other in zip(before, now, strict=True))


def _shared(text: str, own: str) -> int:
    """How many characters of a passage are the end of the text before it."""
    longest = min(len(text), len(own))
    return next((n for n in range(longest, 0, -1) if text.endswith(own[:n])), 0)


def _filled(pieces: list[str | int]) -> Iterator[str]:
    """Gaps of the same length alike first, then each on its own."""
    gaps = [piece for piece in pieces if isinstance(piece, int)]
    lengths = list(dict.fromkeys(gaps))
    for choice in product(*(_fillings(length) for length in lengths)):
        alike = dict(zip(lengths, choice, strict=True))
        yield from _joined(pieces, [alike[gap] for gap in gaps])
    if len(gaps) > len(lengths):
        for each in product(*(_fillings(gap) for gap in gaps)):
            yield from _joined(pieces, each)


def _joined(pieces: list[str | int], fillings: Sequence[str]) -> Iterator[str]:
    filling = iter(fillings)
    text = "".join(piece if isinstance(piece, str) else next(filling) for piece in pieces)
    return (text + end for end in _ENDS)


def _fillings(length: int) -> list[str]:
    """White space of this length, the plainest first."""
    if length == _UNKNOWN:
        return ["", " ", "\n", "\n\n"]
    plain = ["\n" * length, " " * length] if length % 2 == 0 else [" " * length, "\n" * length]
    if length > 6:
        return plain
    return list(dict.fromkeys([*plain, *map("".join, product("\n \t\r", repeat=length))]))
