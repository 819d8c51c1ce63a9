"""Engines without transactions: commits by one change of a name, one writer without locks, versions of rows, and what is removed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.engines import open_engine
from stackroom.engines.versioned.conditions import EVERYTHING, Among
from stackroom.engines.versioned.conditions import Condition as OnRows
from stackroom.errors import BusyError, FormatVersionError, StorageError, UsageError
from stackroom.filters import Condition
from stackroom.types import Chunk, EmbedderIdentity
from support import DIM, chunks, put, texts, unit_rows

pytestmark = pytest.mark.engines

QUERY = unit_rows(1, seed=99)[0]


@pytest.fixture(params=["chroma", "milvus", "qdrant"])
def url(request: pytest.FixtureRequest) -> str:
    return f"{os.environ[f'STACKROOM_TEST_{request.param.upper()}']}?library={uuid.uuid4().hex}"


def rows(store: Any, table: str, condition: OnRows) -> list[dict]:
    """What the server has, whatever the version."""
    fields = ("id", "born", *(("key", "data") if table == "records" else ()))
    return store.database.rows(table, condition, fields)


def kind(number: int) -> OnRows:
    return Among("kind", (number,))


BORN_SECOND = Among("born", (2,))


def test_a_newer_format_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("stackroom.engines.versioned.store.FORMAT", 2)
        open_engine(url).close()
    with pytest.raises(FormatVersionError, match="format 2"):
        open_engine(url)


def test_what_one_commit_has_no_room_for_is_refused_and_not_written(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", ["one"])
    with monkeypatch.context() as patched:
        patched.setattr("stackroom.engines.versioned.drafts.ROWS_OF_A_COMMIT", 8)
        with pytest.raises(UsageError, match="has room for 8 rows and keys") as caught:
            put(store, "b", ["two", "three", "four"])
    assert "several commits" in (caught.value.hint or "")
    assert texts(store) == ["one"]
    put(store, "b", ["two", "three", "four"])
    assert len(texts(store)) == 4


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from stackroom.backend import DocumentRecord
from stackroom.engines import open_engine
from stackroom.engines.versioned import gate
from support import chunks

store = open_engine(sys.argv[1])
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "publish":
    gate.Hold.publish = die
with store.commit() as commit:
    with store.view() as view:
        source = view.source("s")
        old = view.document("doc:s")
    commit.remove_document(old.key)
    document = commit.put_document(DocumentRecord("new", source.key, metadata={"year": 3}))
    commit.add_chunks(document, chunks(["half a commit"]))
    if sys.argv[2] == "block":
        die()
"""


@pytest.mark.parametrize("at", ["block", "publish"])
def test_a_writer_that_is_killed_leaves_no_trace(store: Any, url: str, at: str) -> None:
    keys = put(store, "s", ["one text", "another text"], year=1)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, at, os.path.dirname(os.path.dirname(__file__))], check=False
    )
    assert done.returncode == -signal.SIGKILL
    left = rows(store, "records", BORN_SECOND)
    assert bool(left) == (at == "publish")
    with store.view() as view:
        assert view.version == 1
        assert view.document("new") is None
        assert view.select(Scope(where=Condition("year", "==", 1))).tolist() == keys
    assert texts(store) == ["one text", "another text"]
    # The next one takes over at once, and sweeps.
    put(store, "t", ["more"])
    assert texts(store) == ["one text", "another text", "more"]
    assert rows(store, "records", BORN_SECOND) == []
    with store.view() as view:
        assert [passage.text for passage in view.passages(view.matching("half", 3, Scope())[0].keys.tolist())] == []
        assert len(view.nearest(QUERY, 9, Scope()).keys) == 3


def test_rows_that_come_late_of_a_writer_that_was_taken_for_dead_are_passed_over(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stackroom.engines.versioned import gate

    keys = put(store, "s", ["first"], year=1)
    with contextlib.closing(open_engine(url)) as other:
        with pytest.raises(BusyError, match="took this one for dead"), store.commit() as commit:
            commit.remove_chunks(keys)
            document = commit.put_document(DocumentRecord("late", commit.put_source(SourceRecord(name="late"))))
            commit.add_chunks(document, chunks(["late"]))
            # To the other one it is of another machine, and silent.
            monkeypatch.setattr(gate, "_machine", lambda: "00000000")
            monkeypatch.setattr(gate, "_SILENT", 0.2)
            put(other, "t", ["second"], year=2)
        assert texts(other) == ["first", "second"]
        # Its rows are there, and belong to nobody.
        assert [row["born"] for row in rows(store, "chunks_1", BORN_SECOND)] == [2]
        with other.view() as view:
            assert view.matching("late", 3, Scope())[0].keys.tolist() == []
            assert len(view.nearest(QUERY, 9, Scope()).keys) == 2
            assert view.source("late") is None


@pytest.mark.parametrize("times", [1, 2])
def test_an_answer_that_is_lost_is_no_lost_commit(store: Any, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """A rename that is done and reported as failed, of the taking and of the publishing."""
    put(store, "s", ["first"])
    rename, renamed = store.database.rename, []

    def forgetful(old: str, new: str) -> None:
        rename(old, new)
        renamed.append(new)
        if len(renamed) == times:
            raise StorageError("what was done is forgotten")

    with monkeypatch.context() as patched:
        patched.setattr(store.database, "rename", forgetful)
        put(store, "t", ["second"])
    assert len(renamed) == 2
    assert texts(store) == ["first", "second"]
    put(store, "u", ["third"])
    assert texts(store) == ["first", "second", "third"]


@pytest.mark.parametrize("done", [True, False])
def test_an_answer_that_is_lost_until_another_has_published(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """Whether the commit is in stands in the version that came after it."""
    rename = store.database.rename
    with contextlib.closing(open_engine(url)) as other, monkeypatch.context() as patched:

        def late(old: str, new: str) -> None:
            if new.endswith("_free"):
                if done:
                    rename(old, new)
                with monkeypatch.context() as dead:
                    dead.setattr("stackroom.engines.versioned.gate._held", set())
                    put(other, "t", ["second"])
            rename(old, new)

        patched.setattr(store.database, "rename", late)
        with contextlib.nullcontext() if done else pytest.raises(BusyError, match="for dead"):
            put(store, "s", ["first"])
        assert texts(other) == ["first"] * done + ["second"]


def test_a_sign_of_life_whose_answer_is_lost(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.versioned import gate

    monkeypatch.setattr(gate, "_BEATS", 0.05)
    rename, names, lost = store.database.rename, store.database.names, threading.Event()

    def forgetful(old: str, new: str) -> None:
        """The first sign of life is given; neither its answer nor the look after it arrives."""
        if threading.current_thread() is threading.main_thread():
            rename(old, new)
            return
        if not lost.is_set():
            rename(old, new)
            lost.set()
        raise StorageError("what was done is forgotten")

    def silent() -> list[str]:
        if threading.current_thread() is not threading.main_thread():
            raise StorageError("nothing is heard")
        return names()

    monkeypatch.setattr(store.database, "rename", forgetful)
    monkeypatch.setattr(store.database, "names", silent)
    with store.commit() as commit:
        commit.put_source(SourceRecord(name="s"))
        assert lost.wait(60)
    with store.view() as view:
        assert view.source("s") is not None


def test_a_rename_that_fails_is_a_commit_that_fails(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "s", ["first"])
    rename = store.database.rename

    def refusing(old: str, new: str) -> None:
        if new.endswith("_free"):
            raise StorageError("no")
        rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(store.database, "rename", refusing)
        with pytest.raises(StorageError, match="no"):
            put(store, "t", ["second"])
    assert texts(store) == ["first"]
    put(store, "u", ["third"])
    assert texts(store) == ["first", "third"]


def test_a_holder_that_is_alive_is_not_taken_over(store: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.versioned import gate

    monkeypatch.setattr(gate, "_BEATS", 0.05)
    with contextlib.closing(open_engine(url)) as other, store.lease("add"):
        monkeypatch.setattr(gate, "_machine", lambda: "00000000")
        monkeypatch.setattr(gate, "_SILENT", 1.0)
        with pytest.raises(BusyError, match="stackroom add"), other.lease("add", wait=2.5):
            pass


def test_who_is_publishing_is_not_taken_over_by_another_thread(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = store.database.rename
    with contextlib.closing(open_engine(url)) as other:

        def watched(old: str, new: str) -> None:
            if new.endswith("_free"):
                with pytest.raises(BusyError, match="commit"):
                    other._gate.take("other", wait=0.0)
            rename(old, new)

        monkeypatch.setattr(store.database, "rename", watched)
        put(store, "s", ["first"])
        assert texts(other) == ["first"]


def test_a_process_that_has_the_number_of_a_dead_one_is_no_holder(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate of one that was killed, whose number another process of this machine has now."""
    from stackroom.engines.versioned import gate

    put(store, "s", ["first"])
    with contextlib.closing(open_engine(url)) as other:
        name = other._gate.look().name
        left = name.replace("_1_free", f"_2_held_0_{gate._machine()}_{os.getppid()}_0f1e2d3c4b5a_gone")
        other._gate.rename(name, left)
        with pytest.raises(BusyError, match="gone"), other.commit(wait=0.0):
            pass
        monkeypatch.setattr(gate, "_SILENT", 0.2)
        put(other, "t", ["second"])
        assert texts(other) == ["first", "second"]


def test_a_machine_may_have_any_name(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "bücher-büro.例")
    with store.lease("add"):
        name = store._ingest.look().name
        assert name.endswith("_b_cher_b_ro__stackroom_add")


def test_a_process_is_not_asked_where_that_would_interrupt_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows."""
    from stackroom.engines.versioned import gate

    asked: list[int] = []
    monkeypatch.setattr(gate.os, "kill", lambda pid, signal: asked.append(pid))
    assert gate._lives(815)
    monkeypatch.setattr(gate, "_CAN_ASK", False)
    assert gate._lives(815)
    assert asked == [815]


def test_a_writer_that_gets_no_answer_writes_no_more(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.versioned import gate

    put(store, "s", ["first"])
    with pytest.raises(BusyError, match="another may write"), store.commit() as commit:
        commit.put_source(SourceRecord(name="t"))
        monkeypatch.setattr(gate, "_SURE", -1.0)
    monkeypatch.undo()
    with store.view() as view:
        assert view.source("t") is None
    put(store, "u", ["second"])
    assert texts(store) == ["first", "second"]


def test_a_library_in_the_place_of_another_is_not_taken_for_it(store: Any, url: str) -> None:
    """Of the same version, after the first was dropped; whoever had it open reads and writes the second."""
    put(store, "s", ["first"], year=1)
    with store.view() as view:
        assert view.document("doc:s").metadata == {"year": 1}
        assert view.document("doc:t") is None
    for name in store.database.names():
        store.database.drop_name(name)
    for table in store.database.tables():
        store.database.drop(table)
    near = np.ones(3, dtype=np.float32)

    def put_near(one: Any, name: str, texts: list[str]) -> None:
        with one.commit() as commit:
            commit.use_embedder(EmbedderIdentity("m", 3, metric="l2"))
            source = commit.put_source(SourceRecord(name=name))
            document = commit.put_document(DocumentRecord(f"doc:{name}", source, metadata={"year": 2}))
            commit.add_chunks(document, [Chunk(text, embedding=near) for text in texts])

    with contextlib.closing(open_engine(url)) as other:
        put_near(other, "s", ["second", "third"])
    with store.view() as view:
        assert view.version == 1
        assert view.nearest(near, 3, Scope()).scores.tolist() == [0.0, 0.0]
        assert view.document("doc:s").metadata == {"year": 2}
        assert view.asking.state.chunks == 2
    put_near(store, "t", ["fourth"])
    with store.view() as view:
        assert view.asking.state.chunks == 3
        assert view.nearest(near, 3, Scope()).scores.tolist() == [0.0, 0.0, 0.0]
        assert len(view.matching("fourth", 3, Scope())[0].keys) == 1


def test_two_that_make_a_library_at_once_make_one(url: str) -> None:
    made: list[Any] = []
    threads = [threading.Thread(target=lambda: made.append(open_engine(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    for number, one in enumerate(made):
        put(one, f"s{number}", [f"text {number}"])
    assert len(texts(made[0])) == 4
    for one in made:
        one.close()


def test_documents_are_found_while_others_fill_what_is_remembered(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.versioned import records

    monkeypatch.setattr(records, "_REMEMBERED", 3)
    for name in "abcdef":
        put(store, name, [name])
    with store.view() as view, store.view() as other:
        find = view.asking.find
        view._reading.documents_of(["doc:a", "doc:b", "doc:none"])

        def interrupted(*given: Any, **options: Any) -> list[dict]:
            for name in "bdef":
                other.document(f"doc:{name}")
            return find(*given, **options)

        monkeypatch.setattr(view.asking, "find", interrupted)
        assert sorted(view._reading.documents_of(["doc:a", "doc:b", "doc:c", "doc:none"])) == [
            "doc:a",
            "doc:b",
            "doc:c",
        ]


@pytest.mark.parametrize("looks", [0, 1])
def test_a_gate_that_went_on_is_not_made_again(store: Any, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """Who waited for another client to make it comes late: after its first commit, or right before."""
    put(store, "s", ["first"])
    look, looked = store._gate.look, []
    monkeypatch.setattr(store._gate, "look", lambda: look() if len(looked) == looks else looked.append(None))
    store._gate.create()
    assert [name for name in store.database.names() if name.startswith("format_")] == [look().name]
    assert texts(store) == ["first"]


def test_texts_longer_than_a_row_come_back_and_go(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "Größe \U0001f600 und Länge. " * 9_000
    with store.commit() as commit:
        document = commit.put_document(
            DocumentRecord("d" * 70_000, commit.put_source(SourceRecord(name="s" * 70_000)), metadata={"x": long})
        )
        (key,) = commit.add_chunks(document, [Chunk(long, "c" * 70_000, {"y": long}, embedding=QUERY)])
        commit.attach("a", os.urandom(100_000))
    with store.view() as view:
        (passage,) = view.passages([key])
        assert (passage.text, passage.chunk_id, passage.metadata) == (long, "c" * 70_000, {"y": long})
        assert view.document("d" * 70_000).metadata == {"x": long}
        assert view.source("s" * 70_000).name == "s" * 70_000
        assert view.chunk_keys(["c" * 70_000]) == [key]
        assert len(view.attachment("a")) == 100_000
        assert view.select(Scope(where=Condition("y", "==", long))).tolist() == [key]
    with store.commit() as commit:
        commit.remove_document(document)
    monkeypatch.setattr("stackroom.engines.versioned.purging.KEPT", 0.0)
    store.maintain()
    assert [row for row in rows(store, "records", kind(7)) if row["data"].startswith(long[:9])] == []


def test_vectors_may_come_after_texts(store: Any) -> None:
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        keys = commit.add_chunks(document, [Chunk(f"text {n}") for n in range(5)])
        commit.enlist("some", keys[:2])
    with store.view() as view:
        before = view.identity
        assert before is None
    with store.commit() as commit:
        commit.use_embedder(EmbedderIdentity("m", DIM, metric="dot"))
        commit.give_vectors(list(zip(keys[:3], unit_rows(3), strict=True)))
        commit.remove_chunks(keys[4:])
        keys += commit.add_chunks(document, chunks(["new"], seed=4), position=9)
    with store.view() as view:
        assert view.live_keys(with_vector=True).tolist() == [*keys[:3], keys[5]]
        assert sorted(view.nearest(QUERY, 9, Scope()).keys.tolist()) == [*keys[:3], keys[5]]
        assert view.vectors(keys[:3]).tobytes() == unit_rows(3).tobytes()
        assert len(view.matching("text", 9, Scope())[0].keys) == 4
        assert view.members("some") == keys[:2]
        assert view.identity.metric == "dot"


def test_vectors_of_a_collection_may_be_other_ones_after_an_attempt_that_came_to_nothing(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = put(store, "s", ["text"])
    with store.commit() as commit:
        commit.enlist("own", keys)

    def fail(hold: Any, _: Any) -> None:
        hold.release(used=True)
        raise StorageError("no")

    with monkeypatch.context() as patched:
        patched.setattr("stackroom.engines.versioned.gate.Hold.publish", fail)
        with pytest.raises(StorageError, match="no"), store.commit() as commit:
            commit.add_vectors("own", [(keys[0], np.ones(3, dtype=np.float32))])
    vector = np.arange(5, dtype=np.float32)
    with store.commit() as commit:
        commit.add_vectors("own", [(keys[0], vector)])
    with store.view() as view:
        assert view.vectors(keys, collection="own").tolist() == [vector.tolist()]
        assert view.nearest(vector, 3, Scope(collection="own")).keys.tolist() == keys


def test_what_was_removed_is_deleted_a_day_later(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = put(store, "a", ["going"], only="here", both="shared")
    put(store, "b", ["staying"], both="shared")
    with store.commit() as commit:
        commit.remove_chunks(keys)
    with store.view() as view:
        table = view.asking.state.chunk_table
    store.maintain()
    assert len(rows(store, table, EVERYTHING)) == 2
    monkeypatch.setattr("stackroom.engines.versioned.purging.KEPT", 0.0)
    store.maintain()
    assert len(rows(store, table, EVERYTHING)) == 1
    values = [row["data"] for row in rows(store, "records", kind(6))]
    assert [value for value in values if "here" in value] == []
    assert len([value for value in values if "shared" in value]) == 1
    assert len(rows(store, "records", kind(8))) == 1
    monkeypatch.undo()
    assert texts(store) == ["staying"]
    with store.view() as view:
        assert len(view.select(Scope(where=Condition("both", "==", "shared")))) == 1


def test_what_was_written_is_sealed_where_it_is_much(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed: list[str] = []
    monkeypatch.setattr(store.database, "seal", sealed.append)
    with store.lease("add"):
        put(store, "few", ["a", "b"])
    assert sealed == []
    monkeypatch.setattr("stackroom.engines.versioned.store._SEALED", 3)
    with store.lease("add"):
        put(store, "more", ["c"])
    assert sealed == ["chunks_1"]
    store.maintain()
    assert sealed == ["chunks_1"]
    monkeypatch.undo()
    with store.view() as view:
        store.database.seal(view.asking.state.chunk_table)
        assert len(view.nearest(QUERY, 9, Scope()).keys) == 3


def test_a_view_that_is_too_old_says_so(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", ["text"])
    monkeypatch.setattr("stackroom.engines.versioned.asking.KEPT", -1.0)
    with store.view() as view, pytest.raises(BusyError, match="took so long"):
        view.live_keys()


def test_the_age_of_a_view_counts_the_sleep_of_its_machine(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.versioned import gate

    put(store, "a", ["text"])
    with store.view() as view:
        asked = gate.time.clock_gettime
        monkeypatch.setattr(gate.time, "clock_gettime", lambda which: asked(which) + 25 * 3600)
        with pytest.raises(BusyError, match="took so long"):
            view.live_keys()


def test_more_hits_than_the_database_gives_at_once(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = unit_rows(1)[0]
    with store.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        keys = commit.add_chunks(document, [Chunk("same", embedding=row) for _ in range(300)])
    with store.view() as view:
        # Equal ones that do not fit into a first answer: the older ones, all the same.
        assert view.nearest(QUERY, 5, Scope()).keys.tolist() == keys[:5]
        monkeypatch.setattr(store.database, "bounds", replace(store.database.bounds, rows=100))
        assert view.nearest(QUERY, 5, Scope()).keys.tolist() == keys[:5]
        assert view.nearest(QUERY, 200, Scope()).keys.tolist() == keys[:200]


def test_the_sample_of_a_large_library_is_not_read_from_all_keys(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.versioned import snapshot

    put(store, "s", [f"text {n}" for n in range(400)])
    monkeypatch.setattr(snapshot, "_SPREAD", 100)
    monkeypatch.setattr(snapshot, "_SAMPLE", 50)
    monkeypatch.setattr(snapshot.VersionedView, "live_keys", None)
    with store.view() as view:
        mean, deviation = view.background(QUERY)
        assert len(view._sample()) == 50
    scores = unit_rows(400) @ QUERY
    assert abs(mean - scores.mean()) < 0.2
    assert 0.5 < deviation / scores.std() < 2


def test_words_are_found_without_a_search_for_them(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same passages with the same scores, where a database has none."""
    put(store, "s", ["quick brown fox", "the fox is quick, quick", "a quick dog", "nothing of it", "brown fox"])
    queries = ["quick fox", '"brown fox"', "fox -dog", "quick", "nowhere"]

    def answers() -> list[tuple[list[int], list[float]]]:
        with store.view() as view:
            found = [view.matching(query, 3, Scope())[0] for query in queries]
        return [(one.keys.tolist(), one.scores.tolist()) for one in found]

    searched = answers()
    assert [len(keys) for keys, _ in searched] == [3, 2, 3, 3, 0]
    monkeypatch.setattr(store.database, "finds_words", False)
    monkeypatch.setattr(store.database, "heaviest", None)
    assert answers() == searched


def test_a_name_is_no_condition(store: Any) -> None:
    """Texts of users stand in no condition; here are some that would harm one."""
    names = ['" or id >= 0 or "', "'", "\\", "%", "in [1]", "\x00", "\ud800"]
    for name in names:
        put(store, name, [name], **{name: name})
    with store.view() as view:
        for name in names:
            assert view.source(name).name == name
            assert view.document(f"doc:{name}").metadata == {name: name}
            assert len(view.select(Scope(where=Condition(name, "==", name)))) == 1
            assert len(view.select(Scope(where=Condition(name, "contains", name)))) == 1
    with store.commit() as commit:
        commit.attach(names[0], b"1")
        assert commit.detach("nothing") is False
        assert commit.detach(names[0]) is True


def test_what_is_remembered_of_queries_is_bounded(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.engines.versioned import facts, words

    put(store, "s", ["one two"], year=1)
    monkeypatch.setattr(words, "_REMEMBERED", 3)
    monkeypatch.setattr(facts, "_REMEMBERED", 3)
    with store.view() as view:
        for n in range(8):
            assert len(view.matching(f'one none{n} "two none{n}"', 3, Scope())[0].keys) == 1
            assert view.select(Scope(where=Condition(f"field {n}", ">", 1))).tolist() == []
        known = view._derived._values
        assert sorted(known) == ["frequencies", "state", "values"]
        assert len(known["frequencies"]._values) <= 3
        assert len(known["values"]._values) <= 3


def test_a_document_that_moves_to_another_source_takes_its_passages_along(store: Any) -> None:
    (key,) = put(store, "s", ["text"], year=1)
    with store.commit() as commit:
        other = commit.put_source(SourceRecord(name="other", title="Other"))
        commit.put_document(DocumentRecord("doc:s", other, metadata={"year": 2}))
    with store.view() as view:
        assert view.select(Scope(sources=["other"])).tolist() == [key]
        assert view.select(Scope(sources=["s"])).tolist() == []
        assert view.select(Scope(where=Condition("year", "==", 2))).tolist() == [key]
        assert view.select(Scope(where=Condition("source", "==", "other"))).tolist() == [key]
        record = view.document("doc:s")
        assert (record.chunks, record.source_key) == (1, other)
