"""A search that leaves passages out finds what one that scores them all finds, and FTS5 says the same: random texts, filters, deletes."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stackroom.storage.catalogue import tables
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.words import bm25, fulltext, maxscore, postings, postings_writer, tokenizer
from stackroom.storage.words.counting import Vocabulary
from stackroom.storage.words.postings import Postings

WORDS = [f"word{i}" for i in range(12)]
KS = (1, 3, 10, 100, 1000)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 passages, so that some hundred fill many."""
    for module in (postings, postings_writer, maxscore, bm25):
        monkeypatch.setattr(module, "BITS", 6)
        monkeypatch.setattr(module, "BLOCK", 64)
    for module in (postings, maxscore):
        monkeypatch.setattr(module, "GROUP", 16)
    monkeypatch.setattr(postings_writer, "_AT_ONCE", 300)


def texts_of(n: int, seed: int) -> dict[int, str]:
    """Passages by key, with gaps: words of every frequency; few or hundreds of them; now and then one word many times."""
    choose = random.Random(seed)
    likely = [1.0 / (1 + number) ** choose.choice([0.2, 1, 2]) for number in range(len(WORDS))]
    found, key = {}, choose.randrange(5)
    for _ in range(n):
        words = choose.choices(WORDS, likely, k=choose.choice([0, 1, 4, 9, 30]))
        words += [choose.choice(WORDS)] * choose.choice([0, 0, 0, 0, 0, 14, 17, 260])
        choose.shuffle(words)
        found[key] = " ".join(words)
        key += choose.choice([1, 1, 1, 1, 4])
    return found


def filtered(kind: str, keys: list[int], choose: random.Random) -> KeySet | None:
    if kind == "none":
        return None
    if kind == "nothing":
        return KeySet.empty()
    if kind == "ranges":
        start = choose.randrange(len(keys))
        keys = keys[start : start + choose.randrange(1, 40)]
    share = {"few": 0.02, "some": 0.3}.get(kind, 1.0)
    return KeySet.from_keys(np.array([key for key in keys if choose.random() < share], dtype=np.int64))


class Library:
    """FTS5 with every passage, files of the first ones, and some that were removed since."""

    def __init__(self, folder: Path, n: int, seed: int, removed: float) -> None:
        choose = random.Random(seed)
        self.connection = Connection(":memory:")
        self.connection.execute(next(statement for statement in tables.TABLES if "USING fts5" in statement))
        texts = texts_of(n, seed)
        fulltext.add(self.connection, texts.items())
        keys = list(texts)
        first, second = sorted(choose.randrange(len(keys) + 1) for _ in range(2))
        edges = [0, *(keys[at] if at < len(keys) else keys[-1] + 1 for at in (first, second))]
        gone = {key for key in keys if choose.random() < removed}
        self.live = KeySet.from_keys(np.array([key for key in keys if key not in gone], dtype=np.int64))
        made = [
            self._write(folder / str(number), start, end, texts) for number, (start, end) in enumerate(pairwise(edges))
        ]
        if choose.random() < 0.5:
            # Joined as they were; what is removed is still in them.
            path = folder / "joined"
            postings_writer.join(path, made, [None] * len(made), check=lambda: None)
            joined = postings.load(path, 0, edges[-1])
            assert joined is not None
            made = [joined]
        fulltext.remove(self.connection, sorted(gone))
        self.files = [bm25.File(file, file.alive(self.live)) for file in made]

    def _write(self, path: Path, first: int, end: int, texts: dict[int, str]) -> Postings:
        found = ((key, text) for key, text in texts.items() if first <= key < end)
        postings_writer.write(path, first, end, found, Vocabulary(), check=lambda: None)
        assert not postings.is_damaged(path)
        made = postings.load(path, first, end)
        assert made is not None
        return made


def unpruned(terms: Sequence[maxscore.Term], blocks: int, size: int, k: int, wanted: Any) -> Any:
    """Every passage that has a term and is wanted."""
    scores = np.zeros((blocks, size), dtype=np.float32)
    for term in terms:
        for block in range(blocks):
            term.add(block, scores[block])
    found = np.flatnonzero(scores.reshape(-1) > 0)
    if wanted is None:
        return found
    few = wanted.numbers()
    return found[wanted.has(found)] if few is None else np.intersect1d(found, few)


@given(
    n=st.integers(1, 500),
    seed=st.integers(0, 2**32),
    removed=st.sampled_from([0.0, 0.0, 0.05, 0.5]),
    kind=st.sampled_from(["none", "none", "nothing", "ranges", "few", "some", "all"]),
    words=st.lists(
        st.sampled_from([*WORDS, "nowhere", '"word0 word1"', "-word3"]), min_size=1, max_size=8, unique=True
    ),
)
@example(n=500, seed=1, removed=0.0, kind="none", words=WORDS[:8])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_lost_by_leaving_out(n: int, seed: int, removed: float, kind: str, words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _compare(Library(Path(scratch), n, seed, removed), seed, kind, words)


def _compare(library: Library, seed: int, kind: str, words: list[str]) -> None:
    query = tokenizer.parse_query(" ".join(word for word in words if word[0] != "-"))
    allowed = filtered(kind, library.live.keys().tolist() or [0], random.Random(seed))
    if allowed is not None:
        allowed = allowed.intersection(library.live)
    excluded = [word[1:] for word in words if word[0] == "-"]
    if excluded:
        allowed = (library.live if allowed is None else allowed).difference(
            fulltext.holding(library.connection, excluded)
        )
    for k in KS:
        arguments = library.connection, library.files, query, k, allowed, library.live
        quick, told = bm25.matching(*arguments)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maxscore, "best", unpruned)
            slow, expected = bm25.matching(*arguments)
        assert quick.keys.tolist() == slow.keys.tolist()
        assert quick.scores.tolist() == slow.scores.tolist()
        assert told == expected
        whole, _ = fulltext.matching(library.connection, query, k, allowed, library.live.count)
        assert quick.scores.tolist() == pytest.approx(whole.scores.tolist(), rel=1e-9, abs=1e-12)
