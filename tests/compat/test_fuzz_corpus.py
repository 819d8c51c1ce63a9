"""Every input that the fuzzer kept, once more."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import library, migration, queries, readers

CORPUS = Path(__file__).parent / "fuzz"
LEAST = {migration: 100, readers: 100, queries: 50, library: 20}


@pytest.mark.parametrize("target", LEAST, ids=lambda target: target.__name__.rpartition(".")[2])
def test_no_input_of_the_corpus_raises_anything_but_errors_of_ours(target: object) -> None:
    inputs = sorted((CORPUS / target.__name__.rpartition(".")[2]).iterdir())
    assert len(inputs) >= LEAST[target]
    for path in inputs:
        target.attempt(path.read_bytes())


def test_a_target_tells_what_a_reader_does_not_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.ingest.readers.plaintext import PlainTextReader

    def trip(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PlainTextReader, "read", trip)
    with pytest.raises(ZeroDivisionError):
        readers.attempt(bytes([readers.PLAIN.index(".txt")]) + b"some words")
