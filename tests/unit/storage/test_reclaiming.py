"""What deletes leave behind is given back without anybody asking, beside readers and writers, and nothing else changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import stackroom
from stackroom import Chunk, Document, removing
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.filters import as_filter
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue import metadata
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from stackroom.storage.upkeep import compaction
from stackroom.types import EmbedderIdentity

DIM = 32
LEAST = 100 * DIM * 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_LEAST_BYTES", LEAST)


def rows(n: int, seed: int) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def put(store: LocalStore, name: str, n: int, seed: int = 0) -> list[int]:
    with store.commit() as commit:
        commit.use_embedder(EmbedderIdentity(name="rows", dim=DIM))
        document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
        found = [
            Chunk(f"{name} {i}", embedding=row, metadata={"name": name, "number": i})
            for i, row in enumerate(rows(n, seed))
        ]
        return commit.add_chunks(document, found)


def remove(store: LocalStore, keys: list[int]) -> None:
    with store.commit() as commit:
        commit.remove_chunks(keys)


def done(store: LocalStore) -> None:
    """Wait for the thread that a commit may have started."""
    background = store._background
    if background is not None and background._thread is not None:
        background._thread.join()


def vector_bytes(library: Path) -> int:
    return sum(path.stat().st_size for path in layout.vectors(library).iterdir()) - layout.VECTOR_HEADER


def seen(store: LocalStore, query: NDArray[np.float32]) -> tuple[list[int], list[int], list[int]]:
    with store.view() as view:
        where = Scope(where=as_filter("number < 50"))
        return (
            view.nearest(query, 20, Scope()).keys.tolist(),
            view.nearest(query, 20, where).keys.tolist(),
            view.matching("kept", 1_000, Scope())[0].keys.tolist(),
        )


def test_a_commit_that_leaves_a_third_dead_gives_it_back(store: LocalStore, library: Path) -> None:
    query = rows(1, 9)[0]
    dropped = put(store, "dropped", 200)
    put(store, "kept", 300, seed=1)
    remove(store, dropped[:100])
    done(store)
    assert vector_bytes(library) == 500 * DIM * 4
    remove(store, dropped[100:])
    before = seen(store, query)
    done(store)
    assert vector_bytes(library) == 300 * DIM * 4
    assert seen(store, query) == before
    assert store.verify(progress=silent, cancel=CancelToken()).ok


def test_little_is_left_where_it_is(store: LocalStore, library: Path) -> None:
    keys = put(store, "small", 120)
    remove(store, keys[:99])
    done(store)
    store.maintain()
    assert vector_bytes(library) == 120 * DIM * 4


def test_replacing_the_same_document_again_and_again_takes_bounded_space(store: LocalStore, library: Path) -> None:
    put(store, "kept", 300, seed=1)
    most = 0
    for n in range(60):
        keys = put(store, f"replaced {n}", 40, seed=n)
        remove(store, keys)
        done(store)
        most = max(most, vector_bytes(library))
    live = 300 * DIM * 4
    assert most <= live * 3 // 2 + LEAST + 40 * DIM * 4


def test_whoever_reads_meanwhile_sees_what_it_saw(store: LocalStore) -> None:
    query = rows(1, 9)[0]
    dropped = put(store, "dropped", 200)
    put(store, "kept", 300, seed=1)
    with store.view() as view:
        before = view.nearest(query, 400, Scope()).keys.tolist()
        remove(store, dropped)
        done(store)
        assert view.nearest(query, 400, Scope()).keys.tolist() == before


def test_a_commit_meanwhile_is_in_the_new_file(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = put(store, "dropped", 200)
    kept = put(store, "kept", 300, seed=1)
    copied, go_on = threading.Event(), threading.Event()
    before = compaction._switch

    def slowly(*arguments: object) -> int:
        copied.set()
        assert go_on.wait(30)
        return before(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_switch", slowly)
    remove(store, dropped)
    assert copied.wait(30)
    new = put(store, "new", 10, seed=2)
    remove(store, kept[:5])
    go_on.set()
    done(store)
    with store.view() as view:
        assert view.vectors(new).tolist() == rows(10, 2).tolist()
        assert view.vectors(kept[5:]).tolist() == rows(300, 1)[5:].tolist()
    assert store.verify(progress=silent, cancel=CancelToken()).ok
    assert vector_bytes(library) == 310 * DIM * 4


def test_a_copy_that_was_swept_meanwhile_is_not_made_the_library_s(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a change of model in another process, which clears away files that the catalogue does not name."""
    before = compaction._switch

    def swept(*arguments: object) -> int:
        with store.exclusive() as writer:
            compaction.sweep(library, writer.connection)
        return before(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_switch", swept)
    dropped = put(store, "dropped", 200)
    kept = put(store, "kept", 300, seed=1)
    remove(store, dropped)
    done(store)
    with store.view() as view:
        assert view.vectors(kept).tolist() == rows(300, 1).tolist()
    assert store.verify(progress=silent, cancel=CancelToken()).ok


def test_closing_meanwhile_leaves_no_file_behind(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    before = compaction._copy

    def slowly(*arguments: object) -> int:
        begun.set()
        assert store._background is not None
        assert store._background._stop.wait(30)
        return before(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_copy", slowly)
    dropped = put(store, "dropped", 200)
    put(store, "kept", 150, seed=1)
    put(store, "more", 150, seed=2)
    remove(store, dropped)
    assert begun.wait(30)
    store.close()
    assert len(list(layout.vectors(library).iterdir())) == 1
    again = LocalStore(library)
    again.maintain()
    assert vector_bytes(library) == 300 * DIM * 4
    again.close()


def test_free_pages_of_the_catalogue_are_given_back(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name="attached"))
        commit.put_document(DocumentRecord("attached", source))
        commit.attach("large", np.random.default_rng(0).bytes(3_000_000))
    with store.commit() as commit:
        commit.detach("large")
    assert layout.catalogue(library).stat().st_size + (library / layout.WAL).stat().st_size > 3_000_000
    store.maintain()
    store.close()
    assert layout.catalogue(library).stat().st_size < 1_000_000


def test_the_filter_index_forgets_what_is_gone(store: LocalStore) -> None:
    dropped = put(store, "dropped", 200)
    kept = put(store, "kept", 300, seed=1)
    remove(store, [*dropped, *kept[:10]])
    done(store)
    with store.view() as view:
        held = {
            (name, value): keys.keys().tolist()
            for name, value, keys in metadata.memberships(view.connection, metadata.CHUNK)
        }
    assert held["name", '"kept"'] == kept[10:]
    assert ("name", '"dropped"') not in held
    assert ("number", "3") not in held
    assert held["number", "299"] == [kept[299]]


def test_removing_much_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that removes and closes at once would stop the thread."""
    monkeypatch.setattr(removing, "_MANY", 100)
    with stackroom.open(tmp_path / "library") as index:
        for name, n in (("dropped", 200), ("kept", 300)):
            chunks = [Chunk(f"{name} {i}", embedding=row) for i, row in enumerate(rows(n, n))]
            index.add_documents([Document(name, source=name, chunks=chunks)])
        monkeypatch.setattr("stackroom.storage.upkeep.background.Background.start", _nothing)
        index.remove(["dropped"])
    assert vector_bytes(tmp_path / "library") == 300 * DIM * 4


_nothing: Callable[..., None] = lambda *_: None  # noqa: E731


def test_a_commit_beside_a_run_is_seen_to_as_well(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run may have looked before that commit, and another commit may never come."""
    begun, go_on = threading.Event(), threading.Event()
    before = compaction.reclaim

    def looked_already(*arguments: object, **named: object) -> None:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(30)
            return
        before(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "reclaim", looked_already)
    dropped = put(store, "dropped", 200)
    put(store, "kept", 300, seed=1)
    remove(store, dropped[:190])
    assert begun.wait(30)
    remove(store, dropped[190:])
    go_on.set()
    done(store)
    assert vector_bytes(library) == 300 * DIM * 4
