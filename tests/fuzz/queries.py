"""One input of the fuzzer as a query: words, a filter as an expression or as JSON, or the name of a source."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import stackroom
from stackroom import Document, filters
from stackroom.errors import StackroomError
from stackroom.index import Index
from stackroom.search.marking import mark, snippet
from support import WordEmbedder

METADATA = (
    {"year": 2020, "tags": ["a", "b"], "name": "alpha", "ok": True},
    {"year": 1999.5, "name": "beta 東京", "empty": ""},
    {},
)
KINDS = ("words", "expression", "json", "source")


@cache
def library() -> Index:
    opened = stackroom.open(Path(tempfile.mkdtemp(prefix="fuzz-")) / "library", embedder=WordEmbedder())
    opened.add_documents(
        Document(document_id=f"d{at}", title=f"T {at}", source=f"/s/{at}.txt", text=f"alpha beta don't 東京都 {at} -x", metadata=metadata)
        for at, metadata in enumerate(METADATA)
    )  # fmt: skip
    return opened


def attempt(data: bytes) -> None:
    if not data:
        return
    # Bytes that are no UTF-8 are lone surrogates, as in the arguments of a command.
    kind, text = KINDS[data[0] % len(KINDS)], data[1:].decode("utf-8", "surrogateescape")
    with contextlib.suppress(StackroomError):
        ask(kind, text)


def ask(kind: str, text: str) -> None:
    index = library()
    if kind == "words":
        for mode in ("text", "hybrid"):
            for hit in index.search(text, mode=mode, k=3):
                spans = mark(hit.text, text)
                assert all(0 <= start < end <= len(hit.text) for start, end in spans)
                snippet(hit.text, spans, 10)
        return
    if kind == "source":
        index.search("alpha", mode="text", sources=[text])
        index.find(text)
        return
    try:
        condition = filters.as_filter(text if kind == "expression" else json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, StackroomError) or kind == "json":
            return
        raise
    # What is found is what the reference says.
    found = {hit.document.id for hit in index.search("alpha", mode="text", k=10, where=condition)}
    expected = {f"d{at}" for at, metadata in enumerate(METADATA) if filters.matches(condition, metadata)}
    assert found == expected, (condition, found, expected)


def seeds() -> Iterator[bytes]:
    for kind, texts in (
        (0, ["alpha -beta", '"alpha beta" -"don\'t"', "東京 x*", "--x NOT ( OR near(", "\u0301a \u200b"]),
        (1, ["year >= 2020", 'name == "alpha"', "tags contains a", "empty is_empty", 'year in [2020, "a"]', '"k \\" k" != null', "tags any [\"a\"]", "name text_match_insensitive AL"]),
        (2, ['{"key": "year", "op": ">", "value": 1}', '{"or": [{"not": [{"key": "ok", "value": true}]}, {"key": "tags", "op": "all", "value": ["a"]}]}']),
        (3, ["*.txt", "/s/0.txt", "T [0-9]", "**"]),
    ):  # fmt: skip
        yield from (bytes([kind]) + text.encode() for text in texts)
