"""The text leg of one snapshot: postings files as far as there are any, else FTS5, which finds the same."""

from __future__ import annotations

from stackroom.backend import Scope, Scored, TextStatistics
from stackroom.storage.catalogue.selection import Selector, Sets
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.derived import Derived
from stackroom.storage.shared import Shared
from stackroom.storage.words import bm25, fulltext, tokenizer, word_files
from stackroom.storage.words.bm25 import File
from stackroom.storage.words.postings import Postings


def matching(
    connection: Connection,
    shared: Shared,
    derived: Derived,
    sets: Sets,
    selector: Selector,
    query: str,
    k: int,
    scope: Scope,
) -> tuple[Scored, TextStatistics]:
    """The best `k` in scope by BM25. Raises NotFoundError, InvalidFilterError."""
    parsed = tokenizer.parse_query(query)
    allowed = selector.select(scope)
    found = shared.word_files.take(shared.library, word_files.every(connection))
    if found:
        files = [_seen(derived, sets, name, file) for name, file in found.items()]
        wanted = allowed
        if parsed.excluded:
            excluded = fulltext.holding(connection, parsed.excluded)
            wanted = (sets.everything() if allowed is None else allowed).difference(excluded)
        try:
            return bm25.matching(connection, files, parsed, k, wanted, sets.everything())
        except ValueError:
            # One of them is damaged: FTS5 answers, until they are made anew.
            for name in found:
                shared.word_files.forget(name)
    return fulltext.matching(connection, parsed, k, allowed, sets.everything().count)


def _seen(derived: Derived, sets: Sets, name: str, file: Postings) -> File:
    """A postings file as this version sees it."""
    return derived.get(f"words {name}", lambda: File(file, file.alive(sets.everything())))
