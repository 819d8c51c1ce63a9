"""Which words of a passage a query matched, and the part of it that shows them best."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import tokenizer

_local = threading.local()


def mark(text: str, query: str) -> list[tuple[int, int]]:
    """`(start, end)` code points of every match, in order, not overlapping: the index's own folding and stems decide."""
    parsed = tokenizer.parse_query(query)
    connection = _tokenizing_connection()
    stems: set[str] = set()
    pairs: set[str] = set()
    for term in parsed.terms:
        for part in term.removesuffix("*").split():
            if tokenizer.UNSPACED.fullmatch(part):
                pairs.add(part)
            else:
                stems.update(tokenizer.stem(connection, part))
    shown, places = _folded(text)
    spans = [(match.start(), match.end()) for pair in pairs for match in re.finditer(re.escape(pair), shown)]
    if stems:
        spans += [(start, end) for start, end, token in _tokens(connection, shown) if token in stems]
    return _joined(sorted((places[start], places[end - 1] + 1) for start, end in spans))


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """The text as the index reads it, and where each of its characters stands in the text."""
    if text.isascii():
        return text, range(len(text))
    shown: list[str] = []
    places: list[int] = []
    for at, character in enumerate(text):
        folded = "" if character == tokenizer.NO_WIDTH else tokenizer.folded(character)
        shown.append(folded)
        places += [at] * len(folded)
    return "".join(shown), places


def _tokens(connection: Connection, text: str) -> list[tuple[int, int, str]]:
    """The index's tokens with positions in code points."""
    found = tokenizer.tokens(connection, text)
    if text.isascii():
        return found
    at = [0]
    for character in text:
        at.append(at[-1] + len(character.encode("utf-8", "replace")))
    place = {offset: index for index, offset in enumerate(at)}
    return [(place[start], place[end], token) for start, end, token in found if start in place and end in place]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def snippet(text: str, spans: list[tuple[int, int]], width: int) -> tuple[int, int]:
    """`(start, end)` of the window of about `width` characters that holds the most matches, cut between words."""
    if len(text) <= width:
        return 0, len(text)
    best, most = 0, -1
    for index, (start, _) in enumerate(spans):
        inside = sum(end <= start + width for _, end in spans[index:])
        if inside > most:
            best, most = start, inside
    start = max(0, min(best - width // 6, len(text) - width))
    end = min(len(text), start + width)
    if start:
        start = _after_space(text, start, end)
    if end < len(text):
        space = text.rfind(" ", start + width // 2, end)
        end = space if space > 0 else end
    return start, end


def _after_space(text: str, start: int, end: int) -> int:
    space = text.find(" ", start, min(start + 40, end))
    return space + 1 if space >= 0 else start


def _tokenizing_connection() -> Connection:
    """A database of this thread without a file: SQLite's tokenizers belong to a connection."""
    connection: Connection | None = getattr(_local, "connection", None)
    if connection is None:
        connection = _local.connection = Connection(":memory:")
    return connection
