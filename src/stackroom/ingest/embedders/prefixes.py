"""What models were trained to see before a text, where those who run them do not add it."""

from __future__ import annotations

from typing import NamedTuple


class Prefixes(NamedTuple):
    query: str = ""
    passage: str = ""


_REPRESENT = "Represent this sentence for searching relevant passages: "
_KNOWN: tuple[tuple[str, Prefixes], ...] = (
    # Each from the model's card on huggingface.co.
    ("e5-mistral", Prefixes()),
    ("e5-small", Prefixes("query: ", "passage: ")),
    ("e5-base", Prefixes("query: ", "passage: ")),
    ("e5-large", Prefixes("query: ", "passage: ")),
    ("nomic-embed-text", Prefixes("search_query: ", "search_document: ")),
    ("mxbai-embed-large", Prefixes(_REPRESENT)),
    ("arctic-embed2", Prefixes("query: ")),
    ("arctic-embed-l-v2", Prefixes("query: ")),
    ("arctic-embed-m-v2", Prefixes("query: ")),
    ("arctic-embed", Prefixes(_REPRESENT)),
    ("bge-small-en", Prefixes(_REPRESENT)),
    ("bge-base-en", Prefixes(_REPRESENT)),
    ("bge-large-en", Prefixes(_REPRESENT)),
)
"""The first whose name a model's name holds."""


def prefixes_of(model: str) -> Prefixes:
    """Those of a model whose name says what it is; none for any other."""
    return next((known for part, known in _KNOWN if part in model.lower()), Prefixes())
