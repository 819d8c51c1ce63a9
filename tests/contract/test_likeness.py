"""An engine answers as the local store does: the same passages, the same order, the same scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stackroom.backend import Backend, DocumentRecord, Scope, SourceRecord
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk, EmbedderIdentity
from support import unit_rows

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Foxes are quick, and dogs are lazy; a fox is no dog.",
    "Rotating logs: logrotate rotates the logs that rsyslog writes.",
    "Rückgabe einer Größe, naïve café",
    "自然语言处理 是 人工智能 的 一 部分",
    "quick quick quick",
    "It's a 'quoted' back\\slash & an | or ! not : colon * star",
    "",
    "C++ and C# and .NET 8.0, foo_bar-baz",
    *(f"filler passage number {n} about logs and foxes {'again ' * (n % 7)}" for n in range(60)),
]
QUERIES = [
    "quick fox", '"quick brown" fox', "fox -lazy", "logs rotating", "größe", "自然语言", "语", "naive cafe",
    "'quoted' back\\slash", "foo_bar", "nothing-of-this", "the", "again filler 5", '"logs and foxes"', ": & | !",
]  # fmt: skip


def fill(backend: Backend) -> None:
    rows = unit_rows(len(TEXTS), seed=4)
    with backend.commit() as commit:
        commit.use_embedder(EmbedderIdentity("m", rows.shape[1]))
        source = commit.put_source(SourceRecord(name="s"))
        document = commit.put_document(DocumentRecord("d", source))
        commit.add_chunks(
            document,
            [Chunk(text, f"c{i}", embedding=row) for i, (text, row) in enumerate(zip(TEXTS, rows, strict=True))],
        )


@pytest.fixture
def twin(tmp_path: Path):
    store = LocalStore(tmp_path / "twin")
    fill(store)
    yield store
    store.close()


@pytest.mark.parametrize("query", QUERIES)
def test_words_find_the_same(backend: Backend, twin: LocalStore, query: str) -> None:
    fill(backend)
    with backend.view() as view, twin.view() as other:
        for scope in (Scope(), Scope(without=("lazy", "quick brown")), Scope(phrases=("quick brown",))):
            found, said = view.matching(query, 20, scope)
            expected, told = other.matching(query, 20, scope)
            assert view.chunk_ids(found.keys.tolist()) == other.chunk_ids(expected.keys.tolist())
            assert np.allclose(found.scores, expected.scores, rtol=1e-9)
            assert said == told


def test_meaning_finds_the_same(backend: Backend, twin: LocalStore) -> None:
    fill(backend)
    query = unit_rows(1, seed=8)[0]
    with backend.view() as view, twin.view() as other:
        found, expected = view.nearest(query, 20, Scope()), other.nearest(query, 20, Scope())
        assert view.chunk_ids(found.keys.tolist()) == other.chunk_ids(expected.keys.tolist())
        assert found.scores.tolist() == expected.scores.tolist()
        assert np.allclose(view.background(query), other.background(query), atol=1e-6)
