"""Postings files make searches by words quick, and change nothing else: what is found, and its scores, are FTS5's."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackroom.backend import DocumentRecord, Scope, Scored, SourceRecord, TextStatistics
from stackroom.filters import as_filter
from stackroom.progress import CancelToken, silent
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from stackroom.storage.upkeep import search_files
from stackroom.storage.words import maxscore, postings, postings_writer, word_files
from stackroom.types import Chunk

EVERYTHING = Scope()
QUERIES = [
    "common", "common rare17", "rare3 rare5 rare7", "middling5 common running", '"rare3 common"', 'common "middling1 middling2"',
    "state-of-the-art", "common -middling3", "-common rare4", "nowhere", "", "run runs running", "東京タワー", "タ", "Größe straße",
    "the", "middling7 middling7", "rare1 " * 70,
]  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_files, "LEAST", 40)
    monkeypatch.setattr(word_files, "WORTH", 20)
    monkeypatch.setattr(search_files, "_AT_ONCE", 64)
    monkeypatch.setattr(search_files, "_TEXTS", 16)
    monkeypatch.setattr(postings_writer, "_AT_ONCE", 100)


def texts(n: int, seed: int) -> list[str]:
    """Words of every frequency, phrases, other scripts, and passages that are empty, long, or hold what is no text."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        words = ["common"] * rng.choice([0, 1, 1, 2, 5]) + [
            f"middling{rng.randrange(9)}" for _ in range(rng.randrange(6))
        ]
        words += [f"rare{int(40 * rng.random() ** 2)}"] * (rng.random() < 0.3) + ["running"] * (rng.random() < 0.1)
        words += [rng.choice(["state-of-the-art", "東京タワーと東京駅", "Größe", "\ud800 lone", "nul\x00nul", "the"])]
        rng.shuffle(words)
        found.append(" ".join(words))
    return [*found, "", "common " * 300]


def fill(store: LocalStore, n: int = 150, *, seed: int = 1) -> list[int]:
    with store.lease("add"), store.commit() as commit:
        document = commit.put_document(DocumentRecord(f"d{seed}", commit.put_source(SourceRecord(name=f"s{seed}"))))
        found = [Chunk(text, metadata={"number": i, "third": i % 3 == 0}) for i, text in enumerate(texts(n, seed))]
        return commit.add_chunks(document, found)


def files(library: Path) -> list[Path]:
    folder = layout.sketches(library)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def search(store: LocalStore, scope: Scope = EVERYTHING, k: int = 10) -> list[tuple[Scored, TextStatistics]]:
    with store.view() as view:
        return [view.matching(query, k, scope) for query in QUERIES]


def agree(store: LocalStore, monkeypatch: pytest.MonkeyPatch, scope: Scope = EVERYTHING) -> None:
    """What files and FTS5 together find is what FTS5 alone finds."""
    for k in (3, 10, 10_000):
        quick = search(store, scope, k)
        with monkeypatch.context() as patch:
            patch.setattr(word_files.Shelf, "take", lambda *_: {})
            expected = search(store, scope, k)
        for query, (mine, told), (theirs, known) in zip(QUERIES, quick, expected, strict=True):
            assert mine.scores.tolist() == pytest.approx(theirs.scores.tolist(), rel=1e-9, abs=1e-12), query
            # Equal scores are told apart in their last digits by the order in which terms were added.
            rounded = [
                sorted(zip((-leg.scores).round(9).tolist(), leg.keys.tolist(), strict=True)) for leg in (mine, theirs)
            ]
            assert rounded[0] == rounded[1] or k < 10_000, query
            assert told.terms == known.terms
            assert told.chunks == known.chunks
            assert told.document_frequency == known.document_frequency, query


def test_they_answer_as_fts5_does(store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    assert len(files(library)) == 1
    agree(store, monkeypatch)


def test_also_for_what_came_since(store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    before = files(library)
    fill(store, 10, seed=2)
    assert files(library) == before
    agree(store, monkeypatch)


@pytest.mark.parametrize("where", ["third == true", "number >= 100", "number == 7", "number < 0"])
def test_filters_hold_before_anything_is_ranked(store: LocalStore, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    fill(store)
    fill(store, 12, seed=2)
    agree(store, monkeypatch, Scope(where=as_filter(where)))


def test_deleted_passages_count_nowhere(store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = fill(store)
    fill(store, 12, seed=2)
    with store.commit() as commit:
        commit.remove_chunks(keys[::3])
    for query, (found, _) in zip(QUERIES, search(store), strict=True):
        assert not set(found.keys.tolist()) & set(keys[::3]), query
    agree_on_living(store, monkeypatch)


def agree_on_living(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `agree`, but for the statistics: FTS5's vocabulary goes on counting what was removed until segments are merged."""
    quick = search(store)
    with monkeypatch.context() as patch:
        patch.setattr(word_files.Shelf, "take", lambda *_: {})
        expected = search(store)
    for query, (mine, _), (theirs, _) in zip(QUERIES, quick, expected, strict=True):
        assert mine.scores.tolist() == pytest.approx(theirs.scores.tolist(), rel=1e-9, abs=1e-12), query


def test_files_stay_few(store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(1, 13):
        fill(store, 30, seed=seed)
        assert len(files(library)) <= 4
    agree(store, monkeypatch)


def test_a_file_that_holds_mostly_what_is_gone_is_written_again(store: LocalStore, library: Path) -> None:
    keys = fill(store)
    before = files(library)
    with store.commit() as commit:
        commit.remove_chunks(keys[:100])
    store.compact(progress=silent, cancel=CancelToken())
    assert len(files(library)) == 1
    assert files(library) != before
    with store.view() as view:
        (entry,) = word_files.every(view.connection)
    assert entry.n == len(keys) - 100


def test_a_purge_leaves_no_word_of_what_is_gone(store: LocalStore, library: Path) -> None:
    fill(store)
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord("secret", commit.put_source(SourceRecord(name="secret"))))
        commit.add_chunks(document, [Chunk("unspeakable")] * 30)
    with store.lease("add"):
        pass
    name = postings.hash_of("unspeak").to_bytes(8, "little")
    assert any(name in path.read_bytes() for path in files(library))
    with store.commit() as commit:
        found = view_source(store)
        commit.remove_source(found)
    store.purge(progress=silent, cancel=CancelToken())
    store.compact(progress=silent, cancel=CancelToken())
    assert files(library)
    assert not any(name in path.read_bytes() for path in files(library))


def view_source(store: LocalStore) -> int:
    with store.view() as view:
        found = view.source("secret")
        assert found is not None
        return found.key


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """The lowest bits of the sizes of postings, so that they do not fit any more."""
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data) - 64):
        data[at] ^= 1
    path.write_bytes(data)


def miscount(path: Path) -> None:
    """How many words there are in all, by which scores would be others."""
    data = bytearray(path.read_bytes())
    data[33] ^= 255
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [cut, miscount, empty, remove])
def test_a_file_that_can_not_be_trusted_is_passed_over_and_made_again(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    fill(store)
    store.close()
    for path in files(library):
        spoil(path)
    again = LocalStore(library)
    agree(again, monkeypatch)
    damage = again.verify(progress=silent, cancel=CancelToken()).damage
    assert [item.structure for item in damage] == ([] if spoil is remove else ["sketches"])
    again.compact(progress=silent, cancel=CancelToken())
    assert again.verify(progress=silent, cancel=CancelToken()).ok
    assert len(files(library)) == 1
    agree(again, monkeypatch)
    again.close()


def test_a_file_of_an_older_version_is_made_anew(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    store.close()
    (path,) = files(library)
    path.write_bytes(b"STRMPST\x01" + path.read_bytes()[8:])
    again = LocalStore(library)
    agree(again, monkeypatch)
    assert again.verify(progress=silent, cancel=CancelToken()).ok
    with again.lease("add"):
        pass
    (made,) = files(library)
    assert made != path
    assert made.read_bytes().startswith(postings.MAGIC)
    agree(again, monkeypatch)
    again.close()


def test_bits_that_changed_do_no_worse_than_hide_words(store: LocalStore, library: Path) -> None:
    fill(store)
    store.close()
    for path in files(library):
        flip(path)
    again = LocalStore(library)
    with again.view() as view:
        live = set(view.live_keys().tolist())
    for found, _ in search(again):
        assert set(found.keys.tolist()) <= live
    assert [item.structure for item in again.verify(progress=silent, cancel=CancelToken()).damage] == ["sketches"]
    again.close()


def test_passages_that_are_all_empty_are_no_trouble(store: LocalStore) -> None:
    with store.lease("add"), store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        commit.add_chunks(document, [Chunk("")] * 50)
    for found, told in search(store):
        assert not len(found.keys)
        assert not any(told.document_frequency)


def test_most_passages_are_passed_over(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, 400)
    added = []
    add = maxscore.WordTerm.add

    def counted(self: maxscore.WordTerm, block: int, scores: Any) -> None:
        added.append(self.word.n)
        add(self, block, scores)

    monkeypatch.setattr(maxscore.WordTerm, "add", counted)
    with store.view() as view:
        found, told = view.matching("rare3 common", 1, EVERYTHING)
    assert len(found.keys) == 1
    assert added == [min(told.document_frequency)]


def test_counts_beyond_a_byte_are_kept(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lease("add"), store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        commit.add_chunks(document, [Chunk("often " * n) for n in (1, 2, 254, 255, 256, 257, 700) for _ in range(10)])
    agree(store, monkeypatch)
    with store.view() as view:
        best = view.matching("often", 3, EVERYTHING)[0].keys.tolist()
        assert all(passage.text == "often " * 700 for passage in view.passages(best))
