"""Words that are counted as numbers are those that the full-text index has: random texts of many scripts, in portions of any size."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import counting, tokenizer
from stackroom.storage.words.counting import Counting, Vocabulary
from stackroom.storage.words.postings import hash_of

RUNS = st.sampled_from(
    ["The", "the", "runs", "RUNNING", "extraordinarily", "a1", "x" * 8, "X" * 9, "über", "Straße", "naïve", "—", "“so”", "½", "İstanbul",
     "word—word", "世界和平", "カタカナ", "ภาษาไทย", "کتاب", "שָׁלוֹם", "e\u0301", "_a_", "a\x00b", "don't", "\ud800", "\u3000", "🙂", "C++", "3.14"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(RUNS, max_size=40).map(" ".join), st.lists(RUNS, max_size=10).map("".join), st.text())


@given(st.lists(TEXTS, max_size=30), st.integers(1, 200), st.integers(0, 30))
@example(["", "", "a"], 1, 0)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counted_words_are_those_of_the_index(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], at_once: int, first: int
) -> None:
    monkeypatch.setattr(counting, "_AT_ONCE", at_once)
    monkeypatch.setattr(counting, "_SLOTS", 2)
    vocabulary, connection = Vocabulary(), Connection(":memory:")
    for part in (texts[:first], texts[first:]):
        counted = Counting(vocabulary)
        for text in part:
            counted.add(text)
        found = counted.done()
        expected = [Counter(map(hash_of, tokenizer.indexed(connection, text))) for text in part]
        words = [Counter[int]() for _ in part]
        for number, owner, n in zip(found.numbers, found.owners, found.counts, strict=True):
            words[owner][vocabulary.hashes[number]] += int(n)
        assert words == expected
        assert found.lengths.tolist() == [each.total() for each in expected]
        assert (np.diff(found.owners.astype(np.int64)) >= 0).all()
    assert len(set(vocabulary.hashes)) == len(vocabulary.hashes)


def test_a_word_that_fills_a_passage_is_counted_up_to_what_a_file_can_hold() -> None:
    counted = Counting(Vocabulary())
    counted.add("word " * 70_000)
    found = counted.done()
    assert found.counts.tolist() == [0xFFFF]
    assert found.lengths.tolist() == [70_000]


def test_runs_that_are_ever_new_count_as_what_is_known() -> None:
    """Their words are few: who bounds the vocabulary by these alone holds every run."""
    vocabulary = Vocabulary()
    counted = Counting(vocabulary)
    words = [f"w{n:05}" for n in range(30)]
    for first in words:
        counted.add(" ".join(f"{first}—{second}" for second in words))
    counted.done()
    assert len(vocabulary.hashes) == len(words)
    assert len(vocabulary) >= len(words) ** 2
