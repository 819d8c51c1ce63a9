"""Forked children of a process that used a library: what they inherit does not count for theirs, and what is not there is not waited for.

Each in a process of its own: the tests' process has threads, and those do not survive a fork.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")

BEGINNING = """
    import contextlib, faulthandler, os, signal, sys, threading
    from pathlib import Path

    library = Path(sys.argv[1])

    class Steps:
        def __init__(self):
            self.readable, self.writable = os.pipe()
        def done(self):
            os.write(self.writable, b".")
        def wait(self):
            assert os.read(self.readable, 1) == b"."

    @contextlib.contextmanager
    def forked():
        # The child does the block, and says why not; the parent goes on behind it.
        child = os.fork()
        children.append(child)
        if child == 0:
            faulthandler.dump_traceback_later(60, exit=True)
            try:
                yield True
            except BaseException as error:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        yield False

    children = []

    def ended():
        while children:
            assert os.waitstatus_to_exitcode(os.waitpid(children.pop(), 0)[1]) == 0
"""
LIBRARY = """
    from stackroom.backend import DocumentRecord, SourceRecord
    from stackroom.errors import StackroomError, UsageError
    from stackroom.storage.store import LocalStore
    from support import chunks

    def put(store, name):
        with store.commit() as commit:
            document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
            commit.add_chunks(document, chunks(["word " + name]))

    def names(store):
        with store.view() as view:
            return sorted(source.path for source in view.listing())
"""


def run(library: Path, body: str, *, before: str = LIBRARY) -> str:
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    code = textwrap.dedent(BEGINNING) + textwrap.dedent(before) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", code, library], capture_output=True, text=True, check=False, env=here)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def names(library: Path) -> list[str]:
    store = LocalStore(library)
    try:
        assert store.verify(progress=silent, cancel=CancelToken()).damage == ()
        with store.view() as view:
            return sorted(source.path or "" for source in view.listing())
    finally:
        store.close()


@pytest.mark.parametrize("opening", ["store", "LocalStore(library)"])
def test_the_commits_of_a_child_stay_when_its_parent_closes(library: Path, opening: str) -> None:
    """SQLite took its parent's locks for the child's: the last one out removed the log that the child went on writing to."""
    body = """
        store = LocalStore(library)
        put(store, "parent")
        names(store)
        first, closed = Steps(), Steps()
        with forked() as child:
            if child:
                mine = OPENING
                put(mine, "before")
                first.done()
                closed.wait()
                assert names(mine) == ["before", "parent"]
                put(mine, "after")
                assert names(mine) == ["after", "before", "parent"]
        first.wait()
        store.close()
        closed.done()
        ended()
    """
    run(library, body.replace("OPENING", opening))
    assert names(library) == ["after", "before", "parent"]


def test_a_child_sees_the_commits_of_others(library: Path) -> None:
    body = """
        store = LocalStore(library)
        put(store, "parent")
        looked, changed = Steps(), Steps()
        with forked() as child:
            if child:
                assert names(store) == ["parent"]
                looked.done()
                changed.wait()
                assert names(store) == ["later", "parent"]
        looked.wait()
        store.close()
        again = LocalStore(library)
        put(again, "later")
        again.close()
        changed.done()
        ended()
    """
    run(library, body)


def test_a_view_of_the_parent_is_no_view_of_the_child(library: Path) -> None:
    body = """
        store = LocalStore(library)
        put(store, "parent")
        parent = os.getpid()
        try:
            with store.view() as view:
                children.append(os.fork())
                listed = view.listing()
                assert os.getpid() == parent
                ended()
                assert [source.path for source in (*listed, *view.listing())] == ["parent", "parent"]
        except UsageError as error:
            assert "belongs to the process" in str(error)
            assert os.getpid() != parent
            put(store, "child")
            os._exit(0)
        assert names(store) == ["child", "parent"]
    """
    run(library, body)


def test_a_child_that_was_forked_within_a_commit_is_refused(library: Path) -> None:
    """What a transaction has written is the parent's: nothing in the child may undo it, and with it SQLite's memory can't be put right."""
    body = """
        store = LocalStore(library)
        with store.commit() as commit:
            commit.put_source(SourceRecord(name="parent"))
            with forked() as child:
                if child:
                    for work in (lambda: names(store), lambda: put(store, "child"), lambda: LocalStore(library)):
                        try:
                            work()
                        except UsageError as error:
                            assert "was forked while" in str(error)
                        else:
                            raise AssertionError("nothing was said")
                    elsewhere = LocalStore(library.with_name("other"))
                    put(elsewhere, "another library")
                    elsewhere.close()
            ended()
        put(store, "after")
    """
    run(library, body)
    assert names(library) == ["after", "parent"]


def test_a_fork_waits_for_the_calls_of_other_threads(library: Path) -> None:
    """A thread that is within SQLite would leave its locks closed in the child."""
    body = """
        store = LocalStore(library)
        put(store, "parent")
        stop = threading.Event()
        def work(n):
            while not stop.is_set():
                names(store)
                if n == 0:
                    with store.commit() as commit:
                        commit.put_source(SourceRecord(name="thread"))
                    # The lock has no queue: on a busy machine a child would look for it in vain.
                    stop.wait(0.01)
        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(3)]
        for thread in threads:
            thread.start()
        for n in range(6):
            with forked() as child:
                if child:
                    put(store, f"child {n}")
                    assert f"child {n}" in names(store)
            ended()
        stop.set()
        for thread in threads:
            thread.join()
        store.close()
    """
    run(library, body)
    assert len(names(library)) == 8


@pytest.mark.parametrize("module", ["snapshot", "writer"])
def test_a_fork_waits_for_what_another_thread_imports(library: Path, module: str) -> None:
    """The lock of a module that is half imported stays closed in the child."""
    body = f"""
        import time
        LocalStore(library).close()
        importing = threading.Event()

        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "stackroom.storage.{module}" and not importing.is_set():
                    importing.set()
                    time.sleep(0.5)

        sys.meta_path.insert(0, Slow())
        store = LocalStore(library)
        thread = threading.Thread(target=put if {module == "writer"} else lambda store, _: names(store), args=(store, "thread"), daemon=True)
        thread.start()
        assert importing.wait(60)
        with forked() as child:
            if child:
                put(store, "child")
        ended()
        thread.join()
        store.close()
    """
    run(library, body)
    assert "child" in names(library)


def test_a_fork_waits_for_a_thread_that_imports_faiss() -> None:
    body = """
        import logging, time  # FAISS would import it meanwhile, and logging has something to say about that
        from stackroom.storage.vectors import sketches
        importing = threading.Event()

        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "faiss" and not importing.is_set():
                    importing.set()
                    time.sleep(0.5)

        sys.meta_path.insert(0, Slow())
        threading.Thread(target=sketches._faiss, daemon=True).start()
        assert importing.wait(60)
        with forked() as child:
            if child:
                sketches._faiss()
        ended()
    """
    run(Path(), body)


def test_a_child_keeps_no_lock_of_its_parent(library: Path) -> None:
    """The kernel gives up a lock with the last copy of its descriptor, and a parent that is killed gives up nothing by itself."""
    body = """
        leased, ended = Steps(), Steps()
        holder = os.fork()
        if holder == 0:
            store = LocalStore(library)
            put(store, "holder")
            with store.lease("add"), store.commit() as commit:
                if os.fork() == 0:
                    leased.done()
                    ended.wait()
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(holder, 0)
        leased.wait()
        store = LocalStore(library)
        with store.lease("add"):
            put(store, "next")
        ended.done()
        store.close()
    """
    run(library, body)
    assert names(library) == ["holder", "next"]


MODEL = """
    import numpy as np
    from stackroom.ingest.embedders.onnx import shipped
    model = shipped(threads=2)
    texts = [f"passage {n}" for n in range(6)]
    passages, query = model.embed_passages(texts), model.embed_query("passage")
    HELD
    with forked() as child:
        if child:
            assert np.array_equal(model.embed_query("passage"), query)
            assert np.array_equal(model.embed_passages(texts), passages)
    ended()
"""


@pytest.mark.parametrize("held", ["pass", "model._load.acquire()"])
def test_a_child_embeds_with_its_parents_model(library: Path, held: str) -> None:
    """The threads of its pool are not there, nor is the one that may have held its lock; whoever waits for them waits for ever."""
    run(library, MODEL.replace("HELD", held))


def test_a_child_of_a_process_that_used_blas_and_faiss_does_all_there_is_to_do(library: Path) -> None:
    """Both have threads, which do not survive a fork. The child is the first that imports us."""
    body = """
        import faiss
        import numpy as np
        faiss.omp_set_num_threads(4)
        used = faiss.IndexFlatIP(64)
        used.add(np.ones((20_000, 64), "f"))
        used.search(np.ones((200, 64), "f"), 5)
        np.ones((1500, 1500)) @ np.ones((1500, 1500))
        with forked() as child:
            if child:
                import stackroom
                from small_worlds import quickly, Sizes
                from stackroom.types import Chunk, Document
                from support import WordEmbedder, unit_rows
                from stackroom.storage.vectors import sketches
                with quickly(64):
                    Sizes().set()
                    rows = unit_rows(900, 64, seed=1)
                    given = [Document(f"d{n}", f"s{n}", chunks=[Chunk(f"word {n}", embedding=row)]) for n, row in enumerate(rows)]
                    with stackroom.open(library, embedder=WordEmbedder(dim=64)) as index:
                        index.add_documents(given)
                        index.backend.maintain()
                        assert list((library / "sketches").iterdir())
                        assert index.search(rows[7], k=3)[0].text == "word 7"
                        assert index.search(rows[7], k=3, exact=True)[0].text == "word 7"
                        assert index.search("word 8", k=3, mode="text")
                        index.remove(["s5"])
                        index.compact()
                        assert not index.verify().damage
                        index.backup(library.with_name("copy"))
                    for path in (library / "sketches").iterdir():
                        path.write_bytes(b"damaged")
                    assert stackroom.repair(library, embedder=WordEmbedder(dim=64)).ok
        ended()
    """
    run(library, body, before="")


def test_workers_of_a_pool_work_with_what_was_opened_before_them(library: Path) -> None:
    """As gunicorn with `--preload` and multiprocessing's "fork" do it: one Index, opened and used first, for all of them."""
    body = """
        import multiprocessing
        import stackroom
        from stackroom.types import Chunk, Document

        index = stackroom.open(library)
        index.add_documents([Document("first", "first", chunks=[Chunk("A lighthouse by the harbour."), Chunk("Bread is baked.")])])
        assert index.search("ships at night")

        def work(n):
            index.add_documents([Document(f"d{n}", f"s{n}", chunks=[Chunk(f"Passage {n}."), Chunk(f"Another one {n}.")])])
            found = index.search(f"passage {n}", k=50)
            index.remove([f"s{n}"]) if n % 2 else None
            return f"Passage {n}." in [hit.text for hit in found] and index.search("harbour")[0].document.id == "first"

        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map(work, range(8), chunksize=1) == [True] * 8
            assert {source.path for source in index.sources()} == {"first", "s0", "s2", "s4", "s6"}
        index.close()
    """
    run(library, body, before="")
    assert names(library) == ["first", "s0", "s2", "s4", "s6"]
