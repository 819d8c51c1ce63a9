"""Every input that the fuzzer kept, once more."""

from __future__ import annotations

from pathlib import Path

import fuzz_target

CORPUS = Path(__file__).parent / "fuzz-corpus"


def test_no_input_of_the_corpus_raises_anything_but_errors_of_ours() -> None:
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) > 100
    for path in inputs:
        fuzz_target.attempt(path.read_bytes())
