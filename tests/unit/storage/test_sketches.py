"""Sketches make searches quick, and change nothing else: deleted, damaged, of other rows or of another FAISS, they do no harm."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stackroom.backend import DocumentRecord, Scope, Scored, SourceRecord
from stackroom.filters import as_filter
from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue.keysets import KeySet
from stackroom.storage.disk import layout
from stackroom.storage.snapshot import Snapshot
from stackroom.storage.store import LocalStore
from stackroom.storage.upkeep import search_files
from stackroom.storage.vectors import nearest, sketches, spaces
from stackroom.storage.words import word_files
from stackroom.types import Chunk, EmbedderIdentity, Metric

DIM = 64
EVERYTHING = Scope()
_BYTES = DIM * 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sketches from 200 rows on, loaded at once, that have to be right about the best 100."""
    monkeypatch.setattr(sketches, "WORTH_BYTES", 200 * _BYTES)
    monkeypatch.setattr(sketches, "LOADING_BYTES", 0)
    monkeypatch.setattr(nearest, "CANDIDATES", 100)
    monkeypatch.setattr(nearest, "SCANNED_BYTES", -(1 << 40))
    # Postings files are test_word_files.py's.
    monkeypatch.setattr(word_files, "LEAST", 1_000_000)


def unit_rows(n: int, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    """As models make them: of fewer dimensions than they seem to have, and some noise."""
    latent = np.random.default_rng(0).standard_normal((8, dim))
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 8)) @ latent + 0.5 * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def put(store: LocalStore, name: str, rows: NDArray[np.float32], metric: Metric = "cosine") -> list[int]:
    with store.commit() as commit:
        commit.use_embedder(EmbedderIdentity(name="rows", dim=DIM, metric=metric))
        document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
        found = [
            Chunk(f"{name} {i}", embedding=row, metadata={"number": i, "third": i % 3 == 0})
            for i, row in enumerate(rows)
        ]
        return commit.add_chunks(document, found)


def fill(
    store: LocalStore, n: int = 1000, *, seed: int = 1, metric: Metric = "cosine", scale: float = 1.0
) -> list[int]:
    """One `add`: its end makes the sketches."""
    with store.lease("add"):
        return put(store, f"document {seed}", unit_rows(n, DIM, seed) * np.float32(scale), metric)


def files(library: Path) -> list[Path]:
    folder = layout.sketches(library)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def named(view: Snapshot) -> list[sketches.Entry]:
    """The sketches that the catalogue names."""
    (space,) = spaces.every(view.connection)
    return sketches.of_space(view.connection, space)


def queries(n: int = 20) -> NDArray[np.float32]:
    return unit_rows(n, DIM, seed=99)


def search(store: LocalStore, scope: Scope = EVERYTHING, *, exact: bool = False, k: int = 10) -> list[Scored]:
    found = []
    for query in queries():
        with store.view() as view:
            found.append(view.nearest(query, k, scope, exact=exact))
    return found


def agree(store: LocalStore, scope: Scope = EVERYTHING) -> None:
    """What the sketches find is what the exact scan finds, with the same scores."""
    for quick, exact in zip(search(store, scope), search(store, scope, exact=True), strict=True):
        assert quick.keys.tolist() == exact.keys.tolist()
        assert quick.scores.tolist() == exact.scores.tolist()


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which sketches were asked: (first row, rows in the selection)."""
    asked: list[tuple[int, int]] = []
    original = sketches.Sketch.candidates

    def candidates(self: sketches.Sketch, query: NDArray[np.float32], k: int, within: KeySet) -> object:
        asked.append((self.first, within.count))
        return original(self, query, k, within)

    monkeypatch.setattr(sketches.Sketch, "candidates", candidates)
    return asked


@pytest.mark.parametrize(("metric", "scale"), [("cosine", 1.0), ("cosine", 7.0), ("dot", 1.0), ("l2", 3.0)])
def test_a_search_over_sketches_finds_what_the_scan_finds(
    store: LocalStore, library: Path, used: list[tuple[int, int]], metric: Metric, scale: float
) -> None:
    fill(store, metric=metric, scale=scale)
    assert len(files(library)) == 1
    agree(store)
    assert set(used) == {(0, 1000)}


ASKER = """
import sys, threading, numpy as np
from pathlib import Path
from stackroom.backend import Scope
from stackroom.storage.store import LocalStore
from stackroom.storage.vectors import nearest, sketches

sketches.LOADING_BYTES, nearest.SCANNED_BYTES = 4 * 1000 * 64 * 4, -(1 << 40)
store, scans = LocalStore(Path(sys.argv[1])), int(sys.argv[2])
for _ in range(scans):
    with store.view() as view:
        view.nearest(np.ones(64, np.float32), 10, Scope())
threads = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
if sys.argv[3] == "waits":
    for thread in threads:
        thread.join()
    print("faiss" in sys.modules)
else:
    print(len(threads))
"""


@pytest.mark.parametrize(
    ("questions", "then", "says"),
    [(1, "waits", "False"), (2, "waits", "True"), (3, "waits", "True"), (4, "waits", "True"), (2, "ends", "1")],
)
def test_who_asks_again_finds_faiss_imported(
    store: LocalStore, library: Path, questions: int, then: str, says: str
) -> None:
    """In a thread, which the end of the process waits for. Four questions would scan as much as importing it takes."""
    fill(store)
    arguments = [sys.executable, "-c", ASKER, str(library), str(questions), then]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, says, "")


def test_rows_that_came_since_are_scanned(store: LocalStore, library: Path, used: list[tuple[int, int]]) -> None:
    fill(store)
    put(store, "later", unit_rows(150, DIM, seed=2))
    agree(store)
    assert set(used) == {(0, 1000)}
    query = unit_rows(150, DIM, seed=2)[77]
    with store.view() as view:
        best = view.nearest(query, 1, EVERYTHING).keys.tolist()
        assert view.passages(best)[0].text == "later 77"
    assert len(files(library)) == 1


def test_a_small_sketch_is_asked_for_its_share_and_for_more_where_it_has_the_best(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 4000)
    apart = unit_rows(400, DIM, seed=2) + 3 * np.eye(DIM, dtype=np.float32)[0]
    with store.lease("add"):
        put(store, "apart", apart / np.linalg.norm(apart, axis=1, keepdims=True))
    asked: list[tuple[int, int]] = []
    original = sketches.Sketch.candidates

    def candidates(self: sketches.Sketch, query: NDArray[np.float32], k: int, within: KeySet) -> object:
        asked.append((self.first, k))
        return original(self, query, k, within)

    monkeypatch.setattr(sketches.Sketch, "candidates", candidates)
    with store.view() as view:
        (space,) = spaces.every(view.connection)
        embeddings = view._embeddings
        known, mapped, among = embeddings.sketches_for(space, 1 << 40), view.mapped(space), embeddings.live_rows()
        for row, again in ((7, []), (4200, [(4000, 100)])):
            asked.clear()
            found = nearest._proposal(mapped, known, mapped.rows[row], 100, among)
            assert asked == [(0, 100), (4000, 30), *again]
            every = [original(sketch, mapped.rows[row], 100, among) for sketch in known]
            rows, estimates = (np.concatenate(part) for part in zip(*every, strict=True))
            assert found is not None
            assert set(found.best.rows.tolist()) == set(rows[np.argsort(-estimates, kind="stable")[:100]].tolist())
    agree(store)


def test_few_searches_load_no_sketch(
    store: LocalStore, used: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    monkeypatch.setattr(sketches, "LOADING_BYTES", 3 * 1000 * _BYTES)
    with store.view() as view:
        view.nearest(queries()[0], 10, EVERYTHING)
        view.nearest(queries()[0], 10, EVERYTHING)
        assert used == []
        view.nearest(queries()[0], 10, EVERYTHING)
        assert len(used) == 1


def test_a_small_library_loads_no_sketch_however_often_it_is_searched(
    store: LocalStore, used: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    loaded: list[sketches.Entry] = []

    def load(path: Path, space: spaces.Space, entry: sketches.Entry) -> sketches.Sketch | None:
        loaded.append(entry)
        return original(path, space, entry)

    original = sketches.load
    monkeypatch.setattr(sketches, "load", load)
    # A thousand rows of 256 bytes are scanned before any sketch has answered.
    monkeypatch.setattr(nearest, "SCANNED_BYTES", 1 << 20)
    agree(store)
    assert (loaded, used) == ([], [])
    monkeypatch.setattr(nearest, "SCANNED_BYTES", -(1 << 40))
    agree(store)
    assert loaded
    assert used


@pytest.mark.parametrize("kept", [1, 10, 100])
def test_deleted_rows_are_not_proposed(store: LocalStore, used: list[tuple[int, int]], kept: int) -> None:
    keys = fill(store, 2000)
    gone = np.random.default_rng(3).permutation(keys)[: len(keys) - len(keys) * kept // 100]
    with store.commit() as commit:
        commit.remove_chunks(sorted(gone.tolist()))
    agree(store)
    for found in search(store):
        assert not set(found.keys.tolist()) & set(gone.tolist())
        assert len(found.keys) == 10
    # Of so few rows, no sketch is asked.
    assert bool(used) == (kept > 1)


@pytest.mark.parametrize("where", ["third == true", "number >= 900", "number == 7", "number < 0"])
def test_a_filter_holds_before_anything_is_proposed(store: LocalStore, where: str) -> None:
    fill(store, 2000)
    scope = Scope(where=as_filter(where))
    agree(store, scope)
    with store.view() as view:
        allowed = set(view.select(scope).tolist())
    for found in search(store, scope):
        assert set(found.keys.tolist()) <= allowed
        assert len(found.keys) == min(10, len(allowed))


def test_sketches_grow_and_stay_few(store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "CANDIDATES", 240)
    for seed in range(1, 13):
        fill(store, 250, seed=seed)
        assert len(files(library)) <= 4
        agree(store)
    with store.view() as view:
        made = named(view)
    assert [entry.first for entry in made] == [0, *(entry.end for entry in made[:-1])]
    assert made[-1].end == 12 * 250
    assert sorted(entry.file for entry in made) == [path.name for path in files(library)]


def test_a_commit_by_itself_is_sketched_beside_it(store: LocalStore, library: Path) -> None:
    put(store, "much", unit_rows(500, DIM))
    deadline = time.monotonic() + 30
    while not any(not path.name.endswith(".tmp") for path in files(library)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    agree(store)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_faiss(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b"1.")
    path.write_bytes(data[:at] + b"0.0.1".ljust(16, b"\x00") + data[at + 16 :])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [cut, flip, empty, other_faiss, remove])
def test_a_sketch_that_can_not_be_trusted_is_passed_over_and_made_again(
    store: LocalStore, library: Path, used: list[tuple[int, int]], spoil: Callable[[Path], None]
) -> None:
    fill(store)
    before = [found.keys.tolist() for found in search(store)]
    store.close()
    for path in files(library):
        spoil(path)
    used.clear()
    again = LocalStore(library)
    assert [found.keys.tolist() for found in search(again)] == before
    assert used == []
    damage = again.verify(progress=silent, cancel=CancelToken()).damage
    assert [item.structure for item in damage] == (["sketches"] if spoil in (cut, flip, empty) else [])
    again.compact(progress=silent, cancel=CancelToken())
    assert again.verify(progress=silent, cancel=CancelToken()).ok
    assert [found.keys.tolist() for found in search(again)] == before
    assert used
    again.close()


def test_a_library_that_is_read_only_searches_by_its_sketches(
    store: LocalStore, library: Path, used: list[tuple[int, int]]
) -> None:
    fill(store)
    store.close()
    reader = LocalStore(library, mode="r")
    agree(reader)
    assert used
    reader.close()


def test_compaction_makes_sketches_of_the_new_file(store: LocalStore, library: Path) -> None:
    keys = fill(store)
    before = files(library)
    with store.commit() as commit:
        commit.remove_chunks(keys[::2])
    store.compact(progress=silent, cancel=CancelToken())
    assert len(files(library)) == 1
    assert files(library) != before
    agree(store)


def test_a_restored_catalogue_knows_nothing_of_sketches_made_since(store: LocalStore, library: Path) -> None:
    """Rows past the end that it knows are written anew, under a file and a name that a later sketch was made of."""
    fill(store, 300)
    store.close()
    shutil.copy(layout.catalogue(library), library.parent / "kept")
    later = LocalStore(library)
    fill(later, 300, seed=2)
    later.close()
    made = {path.name for path in files(library)}
    shutil.copy(library.parent / "kept", layout.catalogue(library))
    restored = LocalStore(library)
    put(restored, "other", unit_rows(190, DIM, seed=3))
    agree(restored)
    with restored.view() as view:
        assert not made & {entry.file for entry in named(view)}
    restored.close()


def test_another_model_is_sketched_when_it_serves(store: LocalStore, library: Path) -> None:
    fill(store)
    before = files(library)
    with store.lease("rebuild --embedder"):
        store.reembed(
            EmbedderIdentity(name="other", dim=DIM),
            lambda texts: np.stack([unit_rows(1, DIM, seed=len(text))[0] for text in texts]),
            progress=silent,
            cancel=CancelToken(),
        )
    # That of the model before is kept with its vectors.
    assert len(files(library)) == 2
    assert set(before) < set(files(library))
    agree(store)
    store.discard_former()
    agree(store)


def test_making_one_counts_as_no_commit(store: LocalStore, library: Path) -> None:
    put(store, "few", unit_rows(10, DIM))
    with store.view() as view:
        before = view.version
    fill(store, 500)
    with store.view() as view:
        assert view.version == before + 1
        assert len(named(view)) == 1


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("length", [1e-20, 1e-3, 1.0, 1e4, 1e18, 1e30])
def test_the_length_of_a_query_does_no_harm(store: LocalStore, metric: Metric, length: float) -> None:
    fill(store, metric=metric)
    for query in queries(5):
        long = (query.astype(np.float64) * length).astype(np.float32)
        with store.view() as view, np.errstate(over="ignore"):
            quick = view.nearest(long, 10, EVERYTHING).keys.tolist()
            assert quick == view.nearest(long, 10, EVERYTHING, exact=True).keys.tolist()


def test_rows_of_very_different_lengths_are_not_sketched(store: LocalStore, library: Path) -> None:
    rows = unit_rows(500, DIM)
    rows[::100] *= 1e6
    with store.lease("add"):
        put(store, "uneven", rows, "l2")
    assert files(library) == []
    agree(store)


def test_a_folder_that_leads_elsewhere_is_left_alone(store: LocalStore, library: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "home"
    elsewhere.mkdir()
    names = ["thesis.txt", "1.0001.0-10.00000000", "words.0-9.00000000.tmp"]
    for name in names:
        (elsewhere / name).touch()
    layout.sketches(library).symlink_to(elsewhere)
    fill(store)
    store.compact(progress=silent, cancel=CancelToken())
    store.purge(progress=silent, cancel=CancelToken())
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(names)
    agree(store)


def test_only_files_that_were_made_here_are_swept(store: LocalStore, library: Path) -> None:
    folder = layout.sketches(library)
    (folder / "a folder.tmp").mkdir(parents=True)
    (folder / "notes.txt").touch()
    (folder / "1.0001.0-10.00000000").touch()
    (folder / "words.00000000.tmp").touch()
    fill(store)
    left = {path.name for path in folder.iterdir()}
    assert {"a folder.tmp", "notes.txt"} < left
    assert len(left) == 3


@pytest.mark.parametrize("file", ["/dev/zero", "../../elsewhere", "pipe"])
@pytest.mark.parametrize("n", [1000, -1, 2**40])
def test_a_hostile_catalogue_does_no_harm(store: LocalStore, library: Path, file: str, n: int) -> None:
    fill(store)
    with store.exclusive() as writer, writer.connection:
        writer.connection.execute("UPDATE sketches SET file = ?, n = ?", (file, n))
        writer.connection.execute("INSERT INTO word_files VALUES(0, 1001, 1000, ?)", (file,))
    os.mkfifo(layout.sketches(library) / "pipe")
    agree(store)
    store.verify(progress=silent, cancel=CancelToken())


def test_a_faiss_that_is_broken_costs_speed_alone(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise ImportError("libfaiss.so: cannot open shared object file")

    fill(store)
    with monkeypatch.context() as patch:
        patch.setattr(sketches, "_faiss", broken)
        agree(store)
        fill(store, 900, seed=2)
        store.compact(progress=silent, cancel=CancelToken())
        agree(store)


def test_a_purge_waits_for_nothing_that_was_killed_and_leaves_nothing_of_it(store: LocalStore, library: Path) -> None:
    keys = fill(store)
    left = layout.sketches(library) / "1.0001.0-1000.00000000.tmp"
    left.touch()
    with store.commit() as commit:
        commit.remove_chunks(keys[:500])
    before = set(files(library))
    store.purge(progress=silent, cancel=CancelToken())
    assert not left.exists()
    assert not before & set(files(library))
    agree(store)


def test_views_of_different_age_load_a_sketch_once(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    loads = []
    original = sketches.load
    monkeypatch.setattr(sketches, "load", lambda path, *rest: loads.append(path.name) or original(path, *rest))
    with store.view() as older:
        older.nearest(queries()[0], 3, EVERYTHING)
        fill(store, 900, seed=2)
        for query in queries():
            older.nearest(query, 3, EVERYTHING)
            with store.view() as newer:
                newer.nearest(query, 3, EVERYTHING)
    assert len(loads) == len(set(loads)) == 2


def test_where_there_are_no_threads_a_store_commits_and_closes(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        put(store, "first", unit_rows(1000))
        store.close()
    assert files(library) == []
    with contextlib.closing(LocalStore(library)) as again:
        again.maintain()
        assert len(files(library)) == 1


def test_a_program_that_ends_at_once_ends_well(library: Path) -> None:
    """The thread that makes a sketch is within FAISS when the interpreter ends."""
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
import numpy as np
from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.storage.vectors import sketches
from stackroom.storage.words import word_files
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk, EmbedderIdentity
sketches.WORTH_BYTES = 1
store = LocalStore(Path({str(library)!r}))
rows = np.random.default_rng(1).standard_normal((4000, 256), dtype=np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
with store.commit() as commit:
    commit.use_embedder(EmbedderIdentity(name="rows", dim=256))
    document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
    commit.add_chunks(document, [Chunk("text", embedding=row) for row in rows])
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_what_goes_wrong_with_a_sketch_does_not_hurt_the_run(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sketches, "build", full)
        fill(store)
    assert files(library) == []
    agree(store)
    with store.lease("add"):
        pass
    assert len(files(library)) == 1


FORKER = """
import os, signal, sys
from pathlib import Path
import faiss, numpy as np
from stackroom.storage.store import LocalStore
from stackroom.storage.vectors import sketches
from test_sketches import fill

faiss.omp_set_num_threads(4)
index = faiss.IndexFlatIP(64)
index.add(np.ones((20_000, 64), 'f'))
index.search(np.ones((200, 64), 'f'), 5)
child = os.fork()
if child == 0:
    signal.alarm(30)
    sketches.WORTH_BYTES = 200 * 64 * 4
    fill(LocalStore(Path(sys.argv[1])))
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_of_a_process_that_used_faiss_makes_sketches(library: Path) -> None:
    """OpenMP's threads do not survive a fork, and it waits for them."""
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", FORKER, str(library)], env=here, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(files(library)) == 1


def test_a_space_that_can_not_be_sketched_is_not_due(store: LocalStore, library: Path) -> None:
    rows = unit_rows(500, DIM)
    rows[::100] *= 1e6
    with store.lease("add"):
        put(store, "uneven", rows, "l2")
    with store.view() as view:
        assert not search_files.is_due(view.connection, library)


def test_while_a_sketch_is_loaded_other_threads_scan(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    loading, loaded = threading.Event(), threading.Event()
    original = sketches.load

    def load(*given: object) -> object:
        loading.set()
        assert loaded.wait(60)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(sketches, "load", load)
    first = threading.Thread(target=search, args=(store,))
    first.start()
    assert loading.wait(60)
    try:
        # Without an end, if it waited for the other.
        assert len(search(store)) == 20
    finally:
        loaded.set()
        first.join()
